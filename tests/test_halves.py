"""What the kernels do in half precision, against PyTorch's own operations and against double precision."""

import contextlib
import copy
import statistics

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from test_kernels import built_with
from test_strong import Wrapped, answers
from unlabeled.kernels import building, halves
from unlabeled.networks import strong
from unlabeled.networks.strong import Norm, StrongBlock, StrongNet
from unlabeled.training.runtime import seeded

pytestmark = pytest.mark.skipif(
    building.kernels() is None, reason="this machine has no compiler, or UNLABELED_KERNELS=off"
)
HALF = torch.bfloat16
SIZES = {"n": st.integers(1, 40), "channels": st.sampled_from([1, 5, 15, 16, 17, 32, 40]), "seed": st.integers(0, 999)}
SIDES = {"height": st.integers(1, 9), "width": st.integers(1, 9)}
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FLAGS = [None, ["-O1"], ["-O3", "-march=x86-64-v3"]]


@pytest.fixture(autouse=True)
def _same_weights_every_time():
    torch.manual_seed(0)


@pytest.fixture(params=FLAGS, ids=["own", "oldest", "avx2"])
def processor(request, monkeypatch, tmp_path_factory):
    """The kernels of this processor, and of others that it can stand for."""
    if request.param is not None:
        if "-march=x86-64-v3" in request.param and "avx2" not in building.processor().split():
            pytest.skip("this processor has no AVX2")
        other = built_with(tuple(request.param), tmp_path_factory.getbasetemp() / "processors")
        monkeypatch.setattr("unlabeled.kernels.blocks.library", lambda: other)


def maps(generator, n, channels, height, width):
    x = torch.randn(n, channels, height, width, generator=generator) * 2
    return x.to(HALF).contiguous(memory_format=torch.channels_last)


def bits(x):
    """Return the bits of numbers; what is no number has many, and one here."""
    return torch.where(x.isnan(), torch.tensor(float("nan"), dtype=HALF), x).contiguous().view(torch.int16)


def away(found, true):
    """Return the distance from the truth."""
    return float((found.detach().double() - true.detach().double()).norm())


@MANY
@given(
    **SIZES, **SIDES, odd=st.lists(st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0, -0.0]), max_size=9)
)
def test_the_pool_has_pytorchs_bytes_ties_and_what_is_no_number_included(
    processor, n, channels, height, width, seed, odd
):
    random = torch.Generator().manual_seed(seed)
    x = maps(random, n, channels, height + 1, width + 1).round()
    cells = x.permute(0, 2, 3, 1).view(-1)
    cells[torch.randperm(len(cells), generator=random)[: len(odd)]] = torch.tensor(odd[: len(cells)], dtype=HALF)
    found = []
    for pool in (halves.max_pool_by_two, lambda x: F.max_pool2d(x, 2)):
        leaf = x.clone().requires_grad_()
        values = pool(leaf)
        gradient = torch.randint(-1, 2, values.shape, generator=torch.Generator().manual_seed(seed)).to(HALF)
        values.backward(gradient * -1)  # negative zeros among them
        found.append((values.detach(), leaf.grad))
    assert halves.takes(x)
    for mine, theirs in zip(*found, strict=True):
        assert torch.equal(bits(mine), bits(theirs))
    assert found[0][0].is_contiguous(memory_format=torch.channels_last)


@MANY
@given(**SIZES, **SIDES, learns=st.booleans(), path=st.booleans())
@example(n=1, channels=1, height=1, width=2, seed=0, learns=True, path=True)
def test_normalisation_is_as_near_to_the_truth_as_pytorchs(processor, n, channels, height, width, seed, learns, path):
    random = torch.Generator().manual_seed(seed)
    learns = learns and n * height * width > 1
    x, beside, gradient = (maps(random, n, channels, height, width) for _ in range(3))
    norm = Norm(channels).train(learns)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2, generator=random)
        norm.bias.normal_(generator=random)
        norm.mean.normal_(generator=random)
        norm.variance.uniform_(0.5, 2, generator=random)
        x += norm.bias[:, None, None] * 3  # channels far from nought

    def answer(norm, numbers, activate):
        x_, beside_ = (one.to(numbers).clone().requires_grad_() for one in (x, beside))
        out = activate(norm, x_, beside_ if path else None)
        out.backward(gradient.to(numbers))
        return [out.detach(), x_.grad, norm.weight.grad, norm.bias.grad, norm.mean, norm.variance, beside_.grad]

    def plainly(norm, x, beside):
        return F.relu(norm(x)) + (0 if beside is None else beside)

    true = answer(copy.deepcopy(norm).double(), torch.float64, plainly)
    theirs = answer(copy.deepcopy(norm), HALF, plainly)
    mine = answer(norm, HALF, lambda norm, x, beside: norm.activated(x, beside))
    assert (mine[-1] is None) == (not path)
    if path:
        assert torch.equal(mine[-1], gradient)
    for own, other, wanted in zip(mine[:-1], theirs[:-1], true[:-1], strict=True):
        # A number that is nought but for rounding can be open in one and closed in the other; and of two numbers the gradient is nought.
        assert away(own, wanted) <= max(
            1.3 * away(other, wanted), 0.01 * float(wanted.norm()), 1e-3 * float(gradient.norm())
        )


@MANY
@given(**SIZES, height=st.integers(1, 9), width=st.integers(1, 8), outs=st.sampled_from([1, 8, 33]))
def test_filters_gradients_of_short_rows_are_as_near_to_the_truth_as_pytorchs(n, channels, height, width, outs, seed):
    random = torch.Generator().manual_seed(seed)
    x, gradient = maps(random, n, channels, height, width), maps(random, n, outs, height, width)
    with seeded(seed):
        layer = nn.Conv2d(channels, outs, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    rounded = copy.deepcopy(layer).to(HALF).double()

    def answer(layer, x, convolve):
        x = x.clone().requires_grad_()
        with torch.autocast("cpu", HALF, enabled=x.dtype == HALF):
            out = convolve(layer, x)
        out.backward(gradient.to(x.dtype))
        return out.detach(), x.grad, layer.weight.grad, type(out.grad_fn).__name__

    mine, theirs = (
        answer(copy.deepcopy(layer), x, convolve) for convolve in (halves.convolve, lambda layer, x: layer(x))
    )
    true = answer(rounded, x.double(), lambda layer, x: layer(x))
    assert mine[3] == "_ConvolutionBackward"
    assert mine[2].dtype == torch.float32
    assert torch.equal(mine[0], theirs[0])
    for own, other, wanted in zip(mine[:3], theirs[:3], true[:3], strict=True):
        assert away(own, wanted) <= max(2 * away(other, wanted), 0.02 * float(wanted.norm()))


def test_gelu_is_pytorchs_of_every_number_and_left_to_it_where_a_gradient_is_wanted():
    numbers = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(HALF)
    x = numbers.view(2, 64, 32, 16).permute(0, 3, 1, 2)
    assert halves.takes(x)
    assert torch.equal(bits(halves.gelu(x)), bits(F.gelu(x)))
    x.requires_grad_()
    assert halves.gelu(x).requires_grad


def test_bytes_are_the_same_for_any_number_of_threads():
    x = maps(torch.Generator().manual_seed(0), 70, 33, 7, 6)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            norm, leaf = Norm(33), x.clone().requires_grad_()
            out = halves.max_pool_by_two(norm.activated(leaf, x))
            out.square().sum().backward()
            found.append([out, leaf.grad, norm.weight.grad, norm.bias.grad, norm.mean, norm.variance])
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))


@pytest.mark.parametrize("learns", [True, False])
def test_a_gradient_can_be_differentiated(learns):
    def second(norm, layer, x, beside, kernels):
        x = x.clone().requires_grad_()
        with torch.autocast("cpu", HALF, enabled=x.dtype == HALF):
            if kernels:
                out = halves.max_pool_by_two(norm.activated(halves.convolve(layer, x), beside))
            else:
                out = F.max_pool2d(F.relu(norm(layer(x))) + beside, 2)
        (first,) = torch.autograd.grad(out.double().pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(first.double().square().sum(), [x, layer.weight, norm.weight])

    distances = []
    for number in range(15):
        random = torch.Generator().manual_seed(number)
        x, beside = maps(random, 4, 6, 6, 4), maps(random, 4, 6, 6, 4)
        norm, layer = Norm(6).train(learns), nn.Conv2d(6, 6, 3, padding=1, bias=False)
        layer.weight.data = layer.weight.data.to(HALF).float()
        exact = [copy.deepcopy(one).double() for one in (norm, layer)]
        found = second(norm, layer, x, beside, kernels=True)
        true = second(*exact, x.double(), beside.double(), kernels=False)
        distances.append(max(away(*pair) / float(pair[1].norm()) for pair in zip(found, true, strict=True)))
    # Where rounding decides which cell wins, it is a third of the gradient, with PyTorch's operations too; mostly it is a hundredth.
    assert statistics.median(distances) < 0.05


def test_what_is_no_number_is_never_hidden():
    norm, x = Norm(3), maps(torch.Generator().manual_seed(0), 2, 3, 4, 4)
    x[0, 1, 2, 2] = float("nan")
    out = norm.eval().activated(x, None)
    assert out.isnan().nonzero().tolist() == [[0, 1, 2, 2]]
    assert norm.train().activated(x, None)[:, 1].isnan().all()
    leaf = maps(torch.Generator().manual_seed(0), 2, 3, 4, 4).requires_grad_()
    gradient = torch.ones_like(leaf)
    gradient[1, 2] = float("nan")
    norm = Norm(3)
    norm.activated(leaf, None).backward(gradient)
    assert norm.bias.grad.isnan().tolist() == [False, False, True]
    assert leaf.grad[:, 2].isnan().any()


def _norm(**how):
    with seeded(7):
        norm = Norm(6)
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
    for name, value in how.items():
        setattr(norm, name, value)
    return norm


def _convolution(numbers=torch.float32):
    with seeded(8):
        return nn.Conv2d(6, 6, 3, padding=1, bias=False).to(numbers)


def _apply(x, norm, layer=None):
    """A block of all that there is."""
    with torch.autocast("cpu", HALF):
        x = halves.convolve(layer or _convolution(), x)
        return halves.max_pool_by_two(strong._activate(norm, x, x))


def _penalised(norm):
    def scenario(x):
        first = torch.autograd.grad(_apply(x, norm()).float().square().sum(), x, create_graph=True)[0]
        return first, *torch.autograd.grad(first.float().square().sum(), x)

    return scenario


def _twice(x):
    norm = _norm()
    out = strong._activate(norm, strong._activate(norm, x) * 2 + x)
    return torch.autograd.grad(out.float().square().sum(), (x, norm.weight, norm.bias), create_graph=True)


def _without_a_gradient_of_the_map(x):
    norm = _norm()
    (first,) = torch.autograd.grad(
        strong._activate(norm, x.detach()).float().square().sum(), norm.weight, create_graph=True
    )
    return first, *torch.autograd.grad(first.square().sum(), norm.weight)


def _many_gradients(x):
    norm = _norm()
    out = _apply(x, norm)
    some = torch.ones(3, *out.shape, dtype=HALF) * torch.arange(1, 4).view(3, 1, 1, 1, 1)
    return torch.autograd.grad(out, (x, norm.weight), some.to(HALF), is_grads_batched=True)


def _jacobian(x):
    norm = _norm().eval().requires_grad_(False)
    of = torch.autograd.functional.jacobian(
        lambda x: _apply(x, norm).float().sum((0, 2, 3)), x.detach(), vectorize=True
    )
    return (of,)


def _changed_in_place(x):
    pooled = halves.max_pool_by_two(x)
    pooled.mul_(2)
    layer = _convolution()
    with torch.autocast("cpu", HALF):
        out = halves.convolve(layer, pooled)
    with torch.no_grad():
        layer.weight.add_(1)  # autocast has its own copy
    out.sum().backward()
    return x.grad, layer.weight.grad


def _another_autocast(x):
    layer = _convolution(HALF)
    with torch.autocast("cpu", torch.float16):
        out = halves.convolve(layer, x)
    out.sum().backward()
    return x.grad, layer.weight.grad


def _checkpointed(x):
    norm = _norm()
    checkpoint(_apply, x, norm, use_reentrant=False).sum().backward()
    return x.grad, norm.weight.grad


def _mapped(x):
    net, other = (StrongNet((3, 16, 16), classes=3, widths=(8, 16)).to(HALF).eval() for _ in range(2))
    weights, buffers = torch.func.stack_module_state([net, other])
    images = torch.ones(2, 3, 16, 16, dtype=HALF)
    return (torch.vmap(lambda w, b: torch.func.functional_call(net, (w, b), (images,)))(weights, buffers) * 0,)


def _compiled(x):
    block = StrongBlock(6, 8, 1).eval()
    with torch.autocast("cpu", HALF):
        out = torch.compile(block, backend="eager", fullgraph=True)(x)
    torch._dynamo.reset()
    return (out * 0,)


def _forward_exchanged(x):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Norm, "forward", lambda norm, x: x * 3)
        return (strong._activate(_norm(), x),)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "scenario",
    [
        _penalised(_norm),
        _penalised(lambda: _norm().requires_grad_(requires_grad=False)),
        _penalised(lambda: _norm().eval()),
        _penalised(lambda: _norm(held=True)),
        _twice, _without_a_gradient_of_the_map, _many_gradients, _jacobian, _changed_in_place, _another_autocast,
        _checkpointed, _mapped, _compiled, _forward_exchanged,
    ],
)  # fmt: skip
def test_what_can_be_done_with_pytorchs_operations_can_be_done_with_these(scenario):
    found = []
    for way in (contextlib.nullcontext(), building.without_kernels()):
        with way:
            found.append(scenario(maps(torch.Generator().manual_seed(4), 4, 6, 8, 6).requires_grad_()))
    for mine, theirs in zip(*found, strict=True):
        assert away(mine, theirs) <= 0.1 * float(theirs.detach().norm())


def test_statistics_that_stood_still_are_those_of_then():
    """PyTorch's own normalisation would take the moved ones for the gradient."""
    x, norm = maps(torch.Generator().manual_seed(4), 4, 6, 8, 6), _norm(held=True)
    together = x.clone().requires_grad_()
    held = norm.activated(together, None)
    norm.held = False
    (held.sum() + norm.activated(together, None).sum()).backward()
    single = []
    for apart in (_norm(held=True), _norm()):
        leaf = x.clone().requires_grad_()
        apart.activated(leaf, None).sum().backward()
        single.append(leaf.grad)
    assert away(together.grad, sum(single)) < 0.01 * float(together.grad.norm())


def test_what_a_function_returned_may_be_changed_in_place_in_full_precision_too():
    block = StrongBlock(24, 5, 1)
    block.norm = nn.LeakyReLU(inplace=True)
    block(torch.rand(2, 24, 8, 8)).sum().backward()
    assert block.first.weight.grad.norm() > 0


@pytest.mark.parametrize("what", ["full", "fp16", "rows first", "an empty batch", "a subclass"])
def test_other_maps_are_left_to_pytorch(what):
    x = {
        "full": torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "fp16": torch.rand(2, 3, 4, 4).half().contiguous(memory_format=torch.channels_last),
        "rows first": torch.rand(2, 3, 4, 4).to(HALF),
        "an empty batch": torch.rand(0, 3, 4, 4).to(HALF).contiguous(memory_format=torch.channels_last),
        "a subclass": nn.Parameter(torch.rand(2, 3, 4, 4).to(HALF).contiguous(memory_format=torch.channels_last)),
    }[what]
    assert not halves.takes(x)
    assert torch.equal(halves.max_pool_by_two(x), F.max_pool2d(x, 2))
    assert torch.equal(halves.gelu(x), F.gelu(x))
    assert torch.equal(halves.convolve(nn.Identity(), x), x)


@pytest.mark.parametrize("size", [4, 9, 16])
def test_what_listens_or_stands_in_a_modules_place_is_called(size):
    block, heard = StrongBlock(24, 5, 1), []
    x = maps(torch.Generator().manual_seed(1), 4, 24, size, size)

    def run(block):
        with torch.autocast("cpu", HALF):
            return block(x)

    expected = run(copy.deepcopy(block))
    for module in (block.norm, block.layers[0].norm, block.first, block.layers[0].convolution):
        with module.register_forward_hook(lambda *_: heard.append(1)):
            torch.testing.assert_close(run(copy.deepcopy(block)), expected, rtol=0.05, atol=0.05)
    assert heard == [1] * 4
    changed = copy.deepcopy(block)
    changed.first, changed.norm = Wrapped(block.first), Wrapped(copy.deepcopy(block.norm))
    torch.testing.assert_close(run(changed), expected, rtol=0.05, atol=0.05)
    changed = copy.deepcopy(block).to(HALF)  # its weights too: numbers a channel of another kind
    torch.testing.assert_close(changed(x), expected, rtol=0.1, atol=0.1)
    for first in (
        nn.Conv2d(24, 5, 3, padding=1),
        nn.Conv2d(24, 5, 5, padding=2),
        nn.Conv2d(24, 5, 3, padding=1, groups=1, dilation=1, stride=1, padding_mode="reflect"),
    ):
        changed = copy.deepcopy(block)
        changed.first, changed.norm = first, nn.Identity()
        if first.bias is not None:
            nn.init.constant_(first.bias, 3.0)
        with torch.autocast("cpu", HALF):
            assert torch.equal(changed._shrink(x), F.max_pool2d(first(x), 2))


@pytest.mark.parametrize(
    ("size", "widths"), [((1, 8, 8), (5,)), ((3, 24, 31), (4, 17, 33)), ((3, 32, 32), (16, 32, 64))]
)
def test_a_network_is_as_near_to_the_truth_as_by_pytorchs_layers(size, widths):
    with seeded(0):
        model, images = StrongNet(size, classes=3, widths=widths), torch.rand(24, *size) * 2 - 1
    images = images.contiguous(memory_format=torch.channels_last)
    distances = []
    for training in (True, False):
        model.to(memory_format=torch.channels_last).train(training)
        true = answers(copy.deepcopy(model).double(), images.double())
        with torch.autocast("cpu", HALF):
            mine = answers(copy.deepcopy(model), images)
            with building.without_kernels():
                theirs = answers(copy.deepcopy(model), images)
        assert not torch.equal(mine[0], theirs[0])
        lengths = [float(one.norm()) for one in true]
        distances += [
            [away(*pair) / length for *pair, length in zip(found, true, lengths, strict=True)]
            for found in (mine, theirs)
        ]
    # Rounding decides which of two cells wins, so single gradients are further from the truth by the one or the other.
    assert sum(map(sum, distances[::2])) < 1.3 * sum(map(sum, distances[1::2]))
