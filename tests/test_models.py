import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unlabeled.geometry import GeometryError
from unlabeled.networks.layout import count_parameters
from unlabeled.networks.models import ConvAutoEncoder, ConvNet
from unlabeled.training.runtime import to_images


@st.composite
def specifications(draw):
    layers = draw(st.integers(1, 3))
    side = st.integers(1, 4)
    entry = st.one_of(side, st.tuples(side, side))
    small = st.integers(0, 1)
    return {
        "input_size": (draw(st.integers(1, 3)), draw(st.integers(6, 17)), draw(st.integers(6, 17))),
        "conv_out_channels": tuple(draw(st.integers(1, 4)) for _ in range(layers)),
        "conv_kernel_size": tuple(draw(entry) for _ in range(layers)),
        "conv_stride": tuple(draw(st.integers(1, 3)) for _ in range(layers)),
        "pool_kernel_size": tuple(draw(entry) for _ in range(layers)),
        "pool_stride": tuple(draw(st.integers(1, 3)) for _ in range(layers)),
        "conv_padding": tuple(draw(small) for _ in range(layers)),
        "pool_padding": tuple(draw(small) for _ in range(layers)),
        "pool": draw(st.sampled_from(["max", "average"])),
        "activation": draw(st.sampled_from(["sigmoid", "tanh", "relu", "leaky-relu"])),
    }


@settings(max_examples=100, deadline=None)
@given(specifications())
def test_the_output_has_the_inputs_size_for_every_legal_specification(specification):
    try:
        model = ConvAutoEncoder(**specification)
    except GeometryError as error:
        assert "use " in str(error)
        assume(False)
    images = torch.rand(2, *specification["input_size"]) * 2 - 1
    encoding = model.encode(images)
    assert tuple(encoding.code.shape) == (2, *model.geometry.code_size)
    output = model.decode(encoding)
    assert output.shape == images.shape
    output.sum().backward()
    assert torch.equal(model.decode(encoding.code, encoding.switches), output)


def test_the_assignments_call_works_as_written():
    given = ConvAutoEncoder(
        input_size=(3, 32, 32), layers_num=2, conv_out_channels=(6, 6), conv_kernel_size=(2, 3), conv_stride=(2, 2),
        pool_kernel_size=(2, 1), pool_stride=(1, 1),
    )  # fmt: skip
    default = ConvAutoEncoder()
    assert repr(given) == repr(default)
    assert tuple(default.encode(torch.zeros(1, 3, 32, 32)).code.shape) == (1, 6, 7, 7)


def test_a_network_with_another_head_can_be_printed():
    network = ConvNet()
    network.head = torch.nn.Linear(4, 7)
    assert "linear 7" in repr(network)


def test_printing_shows_sizes_parameters_and_code_length():
    model = ConvAutoEncoder()
    text = str(model)
    assert (
        text.splitlines()[0] == f"ConvAutoEncoder: code of 294 numbers for 3,072, {count_parameters(model)} parameters"
    )
    assert "3x32x32" in text
    assert "6x15x15" in text


def test_a_decoder_block_is_unpool_then_transposed_convolution_then_activation():
    model = ConvAutoEncoder(
        input_size=(2, 7, 8), conv_out_channels=3, conv_kernel_size=2, conv_stride=1, pool_kernel_size=2, pool_stride=2
    )
    images = torch.rand(2, 2, 7, 8)
    convolved = model.encoder.convolutions[0](images)
    pooled, switches = torch.nn.functional.max_pool2d(convolved.relu(), 2, 2, return_indices=True)
    unpooled = torch.nn.functional.max_unpool2d(pooled, switches, 2, 2, 0, convolved.shape[2:])
    expected = torch.tanh(model.decoder.convolutions[0](unpooled))
    torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "leaky-relu"])
def test_activating_after_the_pool_is_pooling_after_the_activation(activation):
    model = ConvNet((3, 10, 11), conv_out_channels=5, conv_kernel_size=3, conv_stride=1, pool_kernel_size=3,
                    pool_stride=2, activation=activation, classes=4)  # fmt: skip
    images = torch.randn(3, 3, 10, 11)
    before = model.encoder.activation(model.encoder.convolutions[0](images))
    code, switches = torch.nn.functional.max_pool2d(before, 3, 2, return_indices=True)
    encoding = model.encoder(images)
    torch.testing.assert_close(encoding.code, code)
    assert torch.equal(encoding.switches[0], switches)


@pytest.mark.parametrize("padding", [0, 1])
def test_windows_that_a_relu_closes_have_their_first_cell_as_switch(padding):
    # With a padding the first cell of a window at the border is not its corner.
    model = ConvAutoEncoder((1, 6, 8), conv_out_channels=4, conv_kernel_size=1, conv_stride=1, pool_kernel_size=3,
                            pool_stride=2, pool_padding=padding)  # fmt: skip
    images = torch.randn(2, 1, 6, 8)
    with torch.no_grad():
        model.encoder.convolutions[0].bias[:] = torch.tensor([-9.0, -1.0, 0.0, 9.0])
        convolved = model.encoder.convolutions[0](images).relu()
    expected = torch.nn.functional.max_pool2d(convolved, 3, 2, padding, return_indices=True)[1]
    found = model.encode(images).switches[0]
    assert (convolved[:, 0] == 0).all()
    assert torch.equal(found, expected)


def test_three_layers_are_the_plain_model_that_activates_before_it_pools():
    torch.manual_seed(0)
    model = ConvAutoEncoder((3, 16, 16), conv_out_channels=(5, 6, 7), conv_kernel_size=3, conv_stride=1, conv_padding=1,
                            pool_kernel_size=2, pool_stride=2)  # fmt: skip
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    x, switches = images, []
    for convolution in model.encoder.convolutions:
        x, switch = torch.nn.functional.max_pool2d(convolution(x).relu(), 2, 2, return_indices=True)
        switches.append(switch)
    for convolution in model.decoder.convolutions:
        x = convolution(torch.nn.functional.max_unpool2d(x, switches.pop(), 2, 2))
        x = x.relu() if switches else x.tanh()
    torch.testing.assert_close(model(images), x)


def test_leaky_relu_has_slope_001():
    assert ConvAutoEncoder(activation="leaky-relu").encoder.activation(torch.tensor(-2.0)).item() == pytest.approx(
        -0.02
    )


def test_a_network_from_an_encoder_copies_it_and_leaves_it_as_it_was():
    torch.manual_seed(0)
    autoencoder = ConvAutoEncoder()
    before = copy.deepcopy(autoencoder.state_dict())
    network = ConvNet.from_encoder(autoencoder, classes=7, hidden=(5,), dropout=0.1)
    for name, tensor in autoencoder.encoder.state_dict().items():
        assert torch.equal(network.encoder.state_dict()[name], tensor), name
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    network(torch.randn(4, 3, 32, 32)).logsumexp(1).sum().backward()
    optimizer.step()
    assert not torch.equal(network.encoder.convolutions[0].weight, before["encoder.convolutions.0.weight"])
    for name, tensor in autoencoder.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_same_seed_gives_the_copied_network_the_same_head_as_a_new_one():
    torch.manual_seed(3)
    new = ConvNet(classes=4)
    autoencoder = ConvAutoEncoder()
    torch.manual_seed(3)
    copied = ConvNet.from_encoder(autoencoder, classes=4)
    assert torch.equal(copied.head[-1].weight, new.head[-1].weight)


def test_network_returns_logits_with_hidden_layers_and_dropout():
    network = ConvNet((1, 9, 7), conv_out_channels=4, conv_kernel_size=2, conv_stride=1, pool_kernel_size=2,
                      pool_stride=2, classes=3, hidden=(6, 5), dropout=0.5)  # fmt: skip
    logits = network(torch.randn(8, 1, 9, 7))
    assert logits.shape == (8, 3)
    assert (logits < 0).any()
    assert [m.out_features for m in network.head if isinstance(m, torch.nn.Linear)] == [6, 5, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvAutoEncoder(pool="mean"), "pool='mean' is not known; use one of max, average"),
        (
            lambda: ConvAutoEncoder(activation="elu"),
            "activation='elu' is not known; use one of sigmoid, tanh, relu, leaky-relu",
        ),
        (lambda: ConvNet(classes=1), "classes=1; a classifier needs at least 2"),
        (lambda: ConvNet(dropout=1.0), "dropout=1.0; give a probability of at least 0 and below 1"),
        (
            lambda: ConvNet()(torch.zeros(2, 3, 31, 32)),
            "images have shape (2, 3, 31, 32); this model takes (n, 3, 32, 32)",
        ),
        (
            lambda: ConvAutoEncoder().decode(torch.zeros(1, 6, 7, 7)),
            "max unpooling needs the switches that encode returned; call decode(encode(images))",
        ),
    ],
)
def test_mistakes_are_refused_in_words(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message


def test_pixels_become_minus_one_to_one():
    assert to_images(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
