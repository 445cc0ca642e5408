import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlabeled.geometry import GeometryError, solve

REST = {"conv_stride": 1, "conv_padding": 0, "pool_kernel_size": 1, "pool_stride": 1, "pool_padding": 0}


def test_the_assignments_specification_closes_as_it_says():
    geometry = solve(
        (3, 32, 32),
        2,
        conv_out_channels=(6, 6),
        conv_kernel_size=(2, 3),
        conv_stride=(2, 2),
        conv_padding=0,
        pool_kernel_size=(2, 1),
        pool_stride=(1, 1),
        pool_padding=0,
    )
    assert [(b.conv_size, b.pool_size) for b in geometry.blocks] == [((16, 16), (15, 15)), ((7, 7), (7, 7))]
    assert (geometry.code_size, geometry.code_length, geometry.input_length) == ((6, 7, 7), 294, 3072)


def test_one_number_stands_for_every_layer_and_pairs_are_height_and_width():
    geometry = solve((1, 9, 20), conv_out_channels=(4, 5), conv_kernel_size=((1, 4), 3), **REST)
    assert [b.conv_kernel for b in geometry.blocks] == [(1, 4), (3, 3)]
    assert geometry.code_size == (5, 7, 15)


@given(
    n=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 5), padding=st.integers(0, 4)
)  # fmt: skip
def test_output_padding_is_what_the_stride_left_over(n, kernel, stride, padding):
    arguments = REST | {"conv_stride": stride, "conv_padding": min(padding, kernel - 1)}
    if n + 2 * arguments["conv_padding"] < kernel:
        with pytest.raises(GeometryError):
            solve((1, n, n), conv_out_channels=1, conv_kernel_size=kernel, **arguments)
        return
    (block,) = solve((1, n, n), conv_out_channels=1, conv_kernel_size=kernel, **arguments).blocks
    back = (block.conv_size[0] - 1) * stride - 2 * arguments["conv_padding"] + kernel + block.output_padding[0]
    assert back == n
    assert 0 <= block.output_padding[0] < stride


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"conv_out_channels": 4, "conv_kernel_size": (5, 5), "pool_kernel_size": 2, "pool_stride": 2},
            "block 2: a 5x5 kernel does not fit a 4x4 map (what block 1 leaves); "
            "use conv_kernel_size <= 4 there or conv_padding >= 1",
        ),
        (
            {"conv_out_channels": 4, "conv_kernel_size": 1, "pool_kernel_size": 14},
            "block 1: a 14x14 pool does not fit a 12x12 map (what its convolution leaves); "
            "use pool_kernel_size <= 12 there or pool_padding >= 1",
        ),
        (
            {"conv_out_channels": 4, "conv_kernel_size": 3, "conv_padding": 3},
            "block 1: a conv padding of 3x3 lets a 3x3 kernel see nothing but padding; use conv_padding <= 2 there",
        ),
        (
            {"conv_out_channels": 4, "conv_kernel_size": 3, "pool_kernel_size": 3, "pool_padding": 2},
            "block 1: a pool padding of 2x2 is more than half of the 3x3 pool, so whole windows would hold nothing; "
            "use pool_padding <= 1 there",
        ),
        (
            {"conv_out_channels": (4, 4, 4), "conv_kernel_size": (3, 3)},
            "conv_kernel_size=(3, 3) has 2 values where conv_out_channels has 3; "
            "give one value a layer, or one number for all layers; what is left out has its default",
        ),
        (
            {"conv_out_channels": 4, "conv_kernel_size": 3, "layers_num": 0},
            "layers_num=0 is out of range; give a whole number of at least 1",
        ),
        (
            {"conv_out_channels": 4.5, "conv_kernel_size": 3},
            "conv_out_channels=4.5 is not a whole number; give one of at least 1",
        ),
        (
            {"conv_out_channels": 4, "conv_kernel_size": ((3, 3, 3),)},
            "conv_kernel_size: (3, 3, 3) has 3 numbers; a layer's entry is a number or (height, width)",
        ),
    ],
)
def test_an_illegal_specification_is_refused_with_place_numbers_and_way_out(arguments, message):
    with pytest.raises(GeometryError) as caught:
        solve((3, 12, 12), **(REST | arguments))
    assert str(caught.value) == message


def test_the_way_out_of_a_refusal_works():
    arguments = REST | {
        "conv_out_channels": 4,
        "conv_kernel_size": (5, 5),
        "pool_kernel_size": (2, 1),
        "pool_stride": 2,
    }
    for change in ({"conv_kernel_size": (5, 4)}, {"conv_padding": (0, 1)}):
        solve((3, 12, 12), **(arguments | change))
