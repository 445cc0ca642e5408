import ctypes
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from unlabeled.geometry import GeometryError, solve
from unlabeled.kernels import building
from unlabeled.kernels.blocks import convolve_pool, runs, to_switches, unpool_convolve
from unlabeled.models import ConvAutoEncoder
from unlabeled.pooling import max_pool, max_unpool


@pytest.fixture
def compiled():
    if building.kernels() is None:
        pytest.skip("this machine has no compiler, or UNLABELED_KERNELS=off")


@st.composite
def blocks(draw):
    pair = st.tuples(st.integers(1, 5), st.integers(1, 5))
    kernel = draw(st.one_of(st.just((3, 3)), pair))
    pool = draw(st.sampled_from([(2, 2), (2, 2), (1, 2), (2, 1), (3, 3), (2, 3), (4, 4), (3, 5)]))
    padding = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    channels = draw(st.sampled_from([1, 2, 3, 6, 12, 16, 17, 32, 40]))
    filters = draw(st.sampled_from([1, 2, 5, 6, 12, 16, 17, 32, 33]))
    try:
        geometry = solve((channels, draw(st.integers(4, 13)), draw(st.integers(4, 14))), 1, conv_out_channels=filters,
                         conv_kernel_size=[kernel], conv_stride=1, conv_padding=[padding], pool_kernel_size=[pool],
                         pool_stride=[pool], pool_padding=0)  # fmt: skip
    except GeometryError:
        assume(False)
    return geometry.blocks[0]


def whole_numbers(generator, *shape, most=3):
    # Sums of small whole numbers are exact in any order, and windows have ties in plenty.
    return torch.randint(-most, most + 1, shape, generator=generator).float()


def twin(x, weight, bias, back, back_bias, *, block, relu):
    convolved = F.conv2d(x, weight, bias, 1, block.conv_padding)
    values, switches = max_pool(convolved.relu() if relu else convolved, block.pool_kernel, block.pool_stride)
    unpooled = max_unpool(values, switches, block.conv_size, kernel=block.pool_kernel, stride=block.pool_stride)
    out = F.conv_transpose2d(unpooled, back, back_bias, 1, block.conv_padding)
    return values, switches, out.relu() if relu else out


def fused(x, weight, bias, back, back_bias, *, block, relu):
    values, places = convolve_pool(x, weight, bias, block, relu=relu)
    out = unpool_convolve(values, places, back, back_bias, block, after_relu=relu, relu=relu)
    return values, to_switches(places, block), out


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    block=blocks(), n=st.sampled_from([1, 2, 3, 19]), relu=st.booleans(), last=st.booleans(), seed=st.integers(0, 99)
)
def test_blocks_equal_their_twin_in_values_winners_and_gradients_ties_included(compiled, block, n, relu, last, seed):
    random = torch.Generator().manual_seed(seed)
    c, f, kernel = block.in_channels, block.out_channels, block.conv_kernel
    shapes = [(n, c, *block.input_size), (f, c, *kernel), (f,), (f, c, *kernel), (c,)]
    inputs = [whole_numbers(random, *shape) for shape in shapes]
    assert runs(block, inputs[0])
    found = []
    for run in (fused, twin):
        leaves = [
            x.clone(
                memory_format=torch.channels_last if last and x.ndim == 4 else torch.contiguous_format
            ).requires_grad_()
            for x in inputs
        ]
        values, switches, out = run(*leaves, block=block, relu=relu)
        # The values' own gradient too, as from a term of the loss that looks at the code.
        weights = [whole_numbers(torch.Generator().manual_seed(seed + 1), *x.shape, most=1) for x in (values, out)]
        ((values * weights[0]).sum() + (out * weights[1]).sum()).backward()
        found.append((values, switches, out, *(leaf.grad for leaf in leaves)))
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_a_model_uses_the_kernels_only_where_they_are_quicker(compiled):
    images = torch.rand(2, 3, 12, 12)
    for pool, dtype in ((2, torch.uint8), (3, torch.int64)):
        model = ConvAutoEncoder((3, 12, 12), conv_out_channels=4, conv_kernel_size=1, conv_stride=1,
                                pool_kernel_size=pool, pool_stride=pool)  # fmt: skip
        assert model.encoder(images, places=True).switches[0].dtype == dtype


def ladder(**more):
    # The first block is narrow, the second wide; sides and filters fill no vector evenly.
    torch.manual_seed(0)
    return ConvAutoEncoder((3, 13, 18), conv_out_channels=(18, 21), conv_kernel_size=3, conv_stride=1, conv_padding=1,
                           pool_kernel_size=2, pool_stride=2, **more)  # fmt: skip


def gradients(model, images):
    model.zero_grad()
    output = model(images)
    F.mse_loss(output, images).backward()
    return [output.detach(), *(parameter.grad.clone() for parameter in model.parameters())]


@pytest.mark.parametrize("activation", ["relu", "leaky-relu", "tanh", "sigmoid"])
def test_a_model_is_the_same_without_kernels(compiled, monkeypatch, activation):
    model, images = ladder(activation=activation), torch.rand(7, 3, 13, 18) * 2 - 1
    with_kernels, encoding = gradients(model, images), model.encode(images)
    torch.testing.assert_close(model.decode(encoding), with_kernels[0], rtol=1e-4, atol=1e-5)
    by_places = model.encoder(images, places=True)
    assert [switch.dtype for switch in by_places.switches] == [torch.uint8] * 2
    monkeypatch.setenv("UNLABELED_KERNELS", "off")
    for one, other in zip(with_kernels, gradients(model, images), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    without = model.encode(images)
    assert all(torch.equal(one, other) for one, other in zip(encoding.switches, without.switches, strict=True))
    torch.testing.assert_close(model.decode(by_places), with_kernels[0], rtol=1e-4, atol=1e-5)


def test_gradients_have_the_same_bytes_for_any_number_of_threads_and_every_time(compiled):
    model, images = ladder(), torch.rand(70, 3, 13, 18) * 2 - 1
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            values = [
                x
                for block, convolution in zip(model.geometry.blocks, model.encoder.convolutions, strict=True)
                for x in _one_block(block, convolution)
            ]
            found.append(values)
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))
    assert len(images) == 70


def _one_block(block, convolution):
    x = torch.randn(
        70, block.in_channels, *block.input_size, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    convolution.zero_grad()
    values, places = convolve_pool(x, convolution.weight, convolution.bias, block, relu=True)
    out = unpool_convolve(values, places, convolution.weight, None, block, after_relu=True, relu=True)
    out.square().mean().backward()
    return values.detach(), places, out.detach(), x.grad, convolution.weight.grad.clone(), convolution.bias.grad.clone()


def test_what_is_no_number_reaches_the_output(compiled):
    model, images = ladder(), torch.rand(2, 3, 13, 18)
    images[1, 0, 5, 5] = float("nan")
    output = model(images)
    assert output[0].isfinite().all()
    assert output[1].isnan().any()


@pytest.mark.parametrize(
    "more",
    [
        {"conv_stride": 2},
        {"pool_stride": 1},
        {"pool_padding": 1},
        {"pool_kernel_size": 5, "pool_stride": 5},
        {"pool_kernel_size": 1, "pool_stride": 1},
    ],
)
def test_other_blocks_are_left_to_pytorch(more):
    given = {"conv_stride": 1, "pool_kernel_size": 2, "pool_stride": 2, "conv_padding": 1, **more}
    block = ConvAutoEncoder((3, 13, 18), conv_out_channels=4, conv_kernel_size=3, **given).geometry.blocks[0]
    assert not runs(block, torch.zeros(1, 3, 13, 18))


def test_any_processor_computes_the_same(compiled, monkeypatch, tmp_path):
    # Without -march=native the compiler knows no more than the oldest processor of the kind; vectors are split.
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path))
    kept = [flag for flag in building._FLAGS if flag not in {"-march=native", "-O3"}]
    monkeypatch.setattr(building, "_FLAGS", ("-O1", *kept))
    plain = building.library.__wrapped__()
    for shape, filters in (((3, 9, 12), 18), ((17, 8, 9), 5)):
        block = solve(shape, 1, conv_out_channels=filters, conv_kernel_size=3, conv_stride=1, conv_padding=1,
                      pool_kernel_size=2, pool_stride=2, pool_padding=0).blocks[0]  # fmt: skip
        convolution = torch.nn.Conv2d(shape[0], filters, 3)
        expected = _one_block(block, convolution)
        with monkeypatch.context() as patch:
            patch.setattr("unlabeled.kernels.blocks.library", lambda: plain)
            found = _one_block(block, convolution)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_other_numbers_are_left_to_pytorch(compiled):
    block = ladder().geometry.blocks[0]
    assert runs(block, torch.zeros(1, 3, 13, 18))
    assert not runs(block, torch.zeros(1, 3, 13, 18, dtype=torch.float64))
    assert not runs(block, torch.zeros(1, 3, 13, 18, device="meta"))
    assert not runs(block, torch.zeros(0, 3, 13, 18))
    assert not runs(block, torch.zeros(1, 3, 13, 18), torch.zeros(18, 3, 3, 3, dtype=torch.float64))
    with torch.autocast("cpu", torch.bfloat16):
        assert not runs(block, torch.zeros(1, 3, 13, 18))


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_there_are_no_kernels_and_no_noise(monkeypatch, tmp_path, recwarn, compiler):
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", compiler)
    assert building.library.__wrapped__() is None
    assert not recwarn.list
    assert not list(tmp_path.rglob("*.so"))


def test_several_builds_at_the_same_time_leave_one_library(compiled, monkeypatch, tmp_path):
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: building._build(), range(2)))
    assert made[0] == made[1]
    assert [path.name for path in (tmp_path / "kernels").iterdir()] == [made[0].name]
    assert ctypes.CDLL(str(made[0])).encode


def test_the_source_compiles_without_a_warning(compiled, tmp_path):
    source = (building.files("unlabeled.kernels") / "blocks.c").read_bytes()
    (tmp_path / "blocks.c").write_bytes(source)
    command = [
        "cc",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Wno-psabi",
        "-Wno-unknown-pragmas",
        "-Werror",
        "-fPIC",
        "-c",
        "blocks.c",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_weights_of_another_precision_are_refused_as_ever(compiled):
    with pytest.raises(RuntimeError, match="type"):
        ladder().double()(torch.zeros(1, 3, 13, 18))


def test_an_encoder_can_be_exported(compiled):
    encoder, images = ladder().encoder.eval(), torch.rand(2, 3, 13, 18)
    exported = torch.export.export(encoder, (images,)).module()
    torch.testing.assert_close(exported(images)[0], encoder(images).code, rtol=1e-4, atol=1e-5)
