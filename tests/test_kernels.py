import ctypes
import functools
import os
import platform
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch.nn.utils import prune

from unlabeled.geometry import GeometryError, solve
from unlabeled.kernels import building
from unlabeled.kernels.blocks import convolve_pool, runs, to_switches, unpool_convolve
from unlabeled.kernels.pooling import max_pool, max_unpool
from unlabeled.networks.models import ConvAutoEncoder, ConvNet


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


CASES = {
    "block": blocks(), "n": st.sampled_from([1, 2, 3, 19, 70]), "relu": st.booleans(), "last": st.booleans(), "seed": st.integers(0, 99),
}  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**CASES)
def test_blocks_equal_their_twin_in_values_winners_and_gradients_ties_included(compiled, **case):
    assert_equals_its_twin(**case)


# Without -march the compiler knows no more than the oldest processor of the kind.
@pytest.mark.parametrize("flags", [["-O1"], ["-O3", "-march=x86-64-v3"]], ids=["oldest", "avx2"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**CASES)
def test_any_processor_computes_the_same(compiled, monkeypatch, tmp_path_factory, flags, **case):
    if "-march=x86-64-v3" in flags and "avx2" not in building.processor().split():
        pytest.skip("this processor has no AVX2")
    other = built_with(tuple(flags), tmp_path_factory.getbasetemp() / "processors")
    with monkeypatch.context() as patch:
        patch.setattr("unlabeled.kernels.blocks.library", lambda: other)
        assert_equals_its_twin(**case)


@functools.cache
def built_with(flags, cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNLABELED_CACHE", str(cache))
        patch.setattr(
            building, "_FLAGS", (*flags, *(flag for flag in building._FLAGS if flag not in {"-march=native", "-O3"}))
        )
        return building._load(building._find_or_build())


def assert_equals_its_twin(*, block, n, relu, last, seed):
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


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(block=blocks(), relu=st.booleans(), odd=st.sampled_from([float("nan"), float("inf")]), seed=st.integers(0, 99))
def test_what_is_no_number_reaches_the_same_pixels_as_in_the_twin(compiled, block, relu, odd, seed):
    random = torch.Generator().manual_seed(seed)
    c, f, kernel = block.in_channels, block.out_channels, block.conv_kernel
    shapes = [(3, c, *block.input_size), (f, c, *kernel), (f,), (f, c, *kernel), (c,)]
    inputs = [whole_numbers(random, *shape) for shape in shapes]
    at = torch.randint(inputs[0].numel(), (int(torch.randint(1, 4, (), generator=random)),), generator=random)
    inputs[0].view(-1)[at] = odd
    with torch.no_grad():
        found = [run(*inputs, block=block, relu=relu) for run in (fused, twin)]
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


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


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the assembly of one kind of processor is read")
@pytest.mark.parametrize("processor", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_sums_of_the_dense_product_stay_in_registers(compiled, tmp_path, processor):
    """Vectors longer than a register are kept in memory: the same numbers, thirty times as slowly, and no other test sees it."""
    flags = [flag for flag in building._FLAGS if flag not in {"-march=native", "-shared", "-lpthread", "-lm"}]
    source, made = files("unlabeled.kernels") / "blocks.c", tmp_path / "blocks.s"
    options = ["-o", str(made), *flags, f"-march={processor}", "-S"]
    subprocess.run([*shlex.split(os.environ.get("CC", "cc")), str(source), *options], check=True)
    product = re.search(r"^encode_image[\w.]*:\n(.*?)^\t\.size", made.read_text(), re.MULTILINE | re.DOTALL)[1]
    instructions = re.findall(r"^\t(v?(?:mul|add|fmadd|mov)\w*ps)\t(.*)$", product, re.MULTILINE)
    kept = [
        f"{name} {to}"
        for name, to in instructions
        if name.lstrip("v").startswith("mov") and re.search(r"%[re](sp|bp)\)$", to)
    ]
    assert sum("mov" not in name for name, _ in instructions) >= 16
    assert len(kept) < 20, kept


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
def test_without_a_compiler_there_are_no_kernels_and_one_line_says_so(monkeypatch, tmp_path, recwarn, caplog, compiler):
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", compiler)
    assert building._path.__wrapped__() is None
    assert [record.message.partition(" (")[0] for record in caplog.records] == ["kernels are off"]
    assert compiler in caplog.text
    assert not recwarn.list
    assert not list(tmp_path.rglob("*.so"))


def test_several_builds_at_the_same_time_leave_one_library(compiled, monkeypatch, tmp_path):
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: building._find_or_build(), range(2)))
    assert made[0] == made[1]
    assert [path.name for path in (tmp_path / "kernels").iterdir()] == [made[0].name]
    assert ctypes.CDLL(str(made[0])).encode


def test_the_source_compiles_without_a_warning(compiled, tmp_path):
    (tmp_path / "blocks.c").write_bytes(building.sources())
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


# Libraries in the cache


@pytest.fixture
def own_library(compiled, monkeypatch, tmp_path):
    """A library in a cache of the test's own."""
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path))
    monkeypatch.setattr(
        building, "_FLAGS", ("-O0", *building._FLAGS[2:])
    )  # quicker to make; what it computes is not asked
    path = building._find_or_build()
    assert building._find_or_build() == path
    return path


@pytest.mark.parametrize("how", ["empty", "cut", "bit", "writable by all", "folder writable by all", "a link"])
def test_a_library_that_is_damaged_or_that_others_can_write_is_made_anew(own_library, monkeypatch, how):
    content = own_library.read_bytes()
    folder = own_library.parent
    if how in ("empty", "cut"):
        own_library.write_bytes(content[: 0 if how == "empty" else 9000])
    elif how == "bit":
        own_library.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    elif how == "writable by all":
        own_library.chmod(0o666)
    elif how == "folder writable by all":
        folder.chmod(0o777)
    else:
        own_library.rename(folder / "elsewhere")
        own_library.symlink_to(folder / "elsewhere")
    assert not building._is_trusted(own_library)
    made = building._find_or_build()
    assert building._is_trusted(made)
    assert folder.stat().st_mode & 0o022 == 0
    assert building._load(made).encode


def test_a_library_of_another_user_is_not_trusted(own_library, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: own_library.stat().st_uid + 1)
    trusted = building._is_trusted(own_library)
    assert trusted == (own_library.stat().st_uid == 0)  # root's alone
    with pytest.raises(PermissionError) if not trusted else pytest.MonkeyPatch.context():
        building._own_folder()


OUTPUT = 'while [ "$1" != -o ]; do shift; done'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("exit 1", "failed with status 1"),
        ("sleep 100", "gave no answer within 1 s"),
        ('case "$*" in *--version*) echo x;; esac', "made no library"),
        (
            'case "$*" in *--version*) echo x;; *) cc "$@" -O0; while [ "$1" != -o ]; do shift; done; truncate -s 9000 "$2";; esac',
            "can't be loaded",
        ),
        (
            'case "$*" in *--version*) echo x;; *) while [ "$1" != -o ]; do shift; done; echo hello > "$2";; esac',
            "can't be loaded",
        ),
    ],
)
def test_a_compiler_that_can_not_is_said_in_one_line_and_leaves_nothing(
    compiled, monkeypatch, tmp_path, caplog, body, said
):
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\n{body}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(building, "_ASKING", 1)
    assert building._path.__wrapped__() is None
    assert [said in record.message for record in caplog.records] == [True]
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_a_compiler_is_given_with_its_arguments(compiled, monkeypatch, tmp_path):
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", "cc -m64 -DX='a b'")
    monkeypatch.setattr(building, "_FLAGS", (*building._FLAGS, "-O0"))
    assert building._load(building._find_or_build()).encode


def test_where_the_cache_can_not_hold_it_the_library_is_made_for_this_process(compiled, monkeypatch, tmp_path):
    (tmp_path / "kernels").write_text("a file in the folder's place")
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path))
    path = building._find_or_build()
    assert path.parent.parent.name.startswith("unlabeled-kernels-")
    assert building._load(path).encode


# What PyTorch allows to do to a module


class Wrapped(torch.nn.Module):
    """As adapters do: the convolution inside, and something more."""

    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, x):
        return 1.5 * self.inside(x)


class Own(torch.nn.Conv2d):
    def forward(self, x):
        return super().forward(x) + 1


def _hooked(module):
    module.register_forward_hook(lambda module, given, out: 2 * out)


def _hooked_before(module):
    module.register_forward_pre_hook(lambda module, given: (given[0] + 1,))


def _hooked_backward(module):
    module.register_full_backward_hook(
        lambda module, into, out: tuple(None if one is None else 3 * one for one in into)
    )


def _with_old_spectral_norm(module):
    torch.nn.utils.spectral_norm(module)


def _with_parametrisation(module):
    torch.nn.utils.parametrizations.weight_norm(module)


def _pruned(module):
    prune.l1_unstructured(module, "weight", 0.5)


def _circular(module):
    module.padding_mode = "circular"


def _called_otherwise(module):
    usual = module.forward
    module.forward = lambda x: usual(x) - 1


def _without_bias(module):
    module.bias = None


def _in_double(module):
    module.double()


CHANGES = [
    _hooked,
    _hooked_before,
    _hooked_backward,
    _with_old_spectral_norm,
    _with_parametrisation,
    _pruned,
    _called_otherwise,
]


def _both_ways(make, images, monkeypatch):
    """Values and gradients with the kernels, and without."""
    found = []
    for switch in ("on", "off"):
        monkeypatch.setenv("UNLABELED_KERNELS", switch)
        torch.manual_seed(0)
        model = make()
        given = images.clone().requires_grad_()
        torch.manual_seed(1)
        out = model(given)
        out.square().sum().backward()
        found.append([out.detach(), given.grad, *(parameter.grad for parameter in model.parameters())])
    return found


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:.*weight_norm.*")
@pytest.mark.parametrize("where", ["encoder", "decoder", "activation"])
@pytest.mark.parametrize("change", [*CHANGES, _circular, _without_bias], ids=lambda change: change.__name__)
def test_values_and_gradients_are_the_same_whatever_is_done_to_a_module(compiled, monkeypatch, change, where):
    if where == "activation" and change not in (_hooked, _hooked_before, _hooked_backward, _called_otherwise):
        pytest.skip("has no weights")
    if where == "decoder" and change is _circular:
        pytest.skip("PyTorch's transposed convolution pads with zeros only")

    def make():
        model = ConvAutoEncoder((3, 12, 10), conv_out_channels=(5, 4), conv_kernel_size=3, conv_stride=1, conv_padding=1,
                                pool_kernel_size=2, pool_stride=2, activation="relu")  # fmt: skip
        change(model.encoder.activation if where == "activation" else getattr(model, where).convolutions[0])
        return model

    with_kernels, without = _both_ways(make, torch.randn(3, 3, 12, 10), monkeypatch)
    for one, other in zip(with_kernels, without, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "replace",
    [Wrapped, lambda old: Own(5, 4, 3, padding=1), lambda old: torch.nn.Conv2d(5, 4, 3, padding=2, dilation=2)],
)
def test_another_module_in_a_convolutions_place_is_called(compiled, monkeypatch, replace):
    def make():
        model = ConvNet((3, 12, 10), conv_out_channels=(5, 4), conv_kernel_size=3, conv_stride=1, conv_padding=1,
                        pool_kernel_size=2, pool_stride=2, classes=3)  # fmt: skip
        model.encoder.convolutions[1] = replace(model.encoder.convolutions[1])
        return model

    for one, other in zip(*_both_ways(make, torch.randn(3, 3, 12, 10), monkeypatch), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("switch", ["on", "off"])
def test_sizes_that_do_not_fit_are_errors_and_never_other_memory(monkeypatch, switch):
    monkeypatch.setenv("UNLABELED_KERNELS", switch)
    given = {"conv_kernel_size": 3, "conv_stride": 1, "conv_padding": 1, "pool_kernel_size": 2, "pool_stride": 2}
    model = ConvAutoEncoder((3, 16, 16), conv_out_channels=(16, 20), **given)
    images = torch.rand(2, 3, 16, 16)
    places = model.encoder(images, places=True).switches
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        model.decoder.block(0, torch.rand(2, 16, 2, 2), places[0]).sum()
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        model.encoder.block(1, torch.rand(2, 5, 8, 8))
    network = ConvNet((3, 16, 16), conv_out_channels=(16, 20), **given)
    network.encoder.convolutions[0] = torch.nn.Conv2d(3, 16, 3, stride=2, padding=1)
    with pytest.raises(RuntimeError):
        network(images)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("bias", [True, False])
def test_many_gradients_at_once_are_each_alone(compiled, monkeypatch, bias):
    model = ConvAutoEncoder((2, 8, 6), conv_out_channels=(16, 3), conv_kernel_size=3, conv_stride=1, conv_padding=1,
                            pool_kernel_size=2, pool_stride=2)  # fmt: skip
    if not bias:
        for module in (*model.encoder.convolutions, *model.decoder.convolutions):
            module.bias = None
    images = torch.randn(1, 2, 8, 6, requires_grad=True)
    out = model(images)
    along = torch.randn(3, *out.shape)
    (together,) = torch.autograd.grad(out, [images], along, is_grads_batched=True, retain_graph=True)
    for number in range(3):
        (alone,) = torch.autograd.grad(out, [images], along[number], retain_graph=True, create_graph=True)
        torch.testing.assert_close(together[number], alone.detach(), rtol=1e-4, atol=1e-5)
        alone.square().sum().backward(retain_graph=True)


def test_modes_and_views_that_change_numbers_are_seen(compiled):
    model, images = ladder(), torch.rand(2, 3, 13, 18)
    expected = model(images)

    seen = []

    class Watching(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, kinds, arguments=(), named=None):
            seen.append(getattr(function, "__name__", ""))
            return function(*arguments, **(named or {}))

    with Watching():
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    assert "conv2d" in seen
    negative = torch._neg_view(-images)
    assert negative.is_neg()
    torch.testing.assert_close(model(negative), expected, rtol=1e-4, atol=1e-5)


def test_a_hook_is_called_once_a_call(compiled):
    model, calls = ladder(), []
    for module in (model.encoder.convolutions[0], model.encoder.activation, model.decoder.convolutions[-1]):
        module.register_forward_hook(lambda *_: calls.append(1))
    model(torch.rand(2, 3, 13, 18))
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, given, out: calls.append(type(module).__name__)
    )
    model(torch.rand(2, 3, 13, 18))
    handle.remove()
    assert "Conv2d" in calls
    assert "ConvTranspose2d" in calls


def test_who_counts_operations_sees_the_convolutions(compiled):
    from torch.utils.flop_counter import FlopCounterMode

    model = ConvNet(
        (3, 8, 8),
        conv_out_channels=4,
        conv_kernel_size=3,
        conv_stride=1,
        conv_padding=1,
        pool_kernel_size=2,
        pool_stride=2,
    )
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(1, 3, 8, 8))
    assert counter.get_total_flops() == 2 * (8 * 8 * 4 * 3 * 9 + 4 * 4 * 4 * 10)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_transforms_of_torch_func_and_second_derivatives_are_those_of_the_plain_layers(
    compiled, monkeypatch, activation
):
    from torch.func import functional_call, grad, hessian, jvp, vmap

    model = ConvAutoEncoder((2, 8, 6), conv_out_channels=(4, 3), conv_kernel_size=3, conv_stride=1, conv_padding=1,
                            pool_kernel_size=2, pool_stride=2, activation=activation)  # fmt: skip
    images = torch.randn(4, 2, 8, 6)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}

    def loss(weights, image):
        return functional_call(model, weights, (image[None],)).square().mean()

    each = vmap(grad(loss), (None, 0))(weights, images)
    for number in range(4):
        model.zero_grad()
        model(images[number : number + 1]).square().mean().backward()
        for name, weight in model.named_parameters():
            torch.testing.assert_close(each[name][number], weight.grad, rtol=1e-4, atol=1e-5)
    # Forwards along one direction, and backwards along another, is the same number.
    along, back = torch.randn_like(images), torch.randn_like(images)
    forwards = (jvp(model, (images,), (along,))[1] * back).sum()
    torch.testing.assert_close(
        forwards, (grad(lambda given: (model(given) * back).sum())(images) * along).sum(), rtol=1e-3, atol=1e-3
    )
    assert hessian(lambda image: model(image).square().sum())(images[:1]).shape == (1, 2, 8, 6, 1, 2, 8, 6)

    def second(switch):
        monkeypatch.setenv("UNLABELED_KERNELS", switch)
        given = images.clone().requires_grad_()
        first = torch.autograd.grad(model(given).square().sum(), [given, *model.parameters()], create_graph=True)
        return torch.autograd.grad(sum(one.square().sum() for one in first), [given, *model.parameters()])

    for one, other in zip(second("on"), second("off"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("pool", ["max", "average"])
@pytest.mark.parametrize("switch", ["on", "off"])
def test_an_empty_batch_gives_an_empty_output(monkeypatch, pool, switch):
    monkeypatch.setenv("UNLABELED_KERNELS", switch)
    given = {
        "conv_out_channels": (4, 5),
        "conv_kernel_size": 3,
        "conv_stride": 1,
        "conv_padding": 1,
        "pool_kernel_size": 2,
        "pool_stride": 2,
    }
    nothing = torch.zeros(0, 3, 8, 12, requires_grad=True)
    model = ConvAutoEncoder((3, 8, 12), pool=pool, **given)
    assert model(nothing).shape == (0, 3, 8, 12)
    assert model.decode(model.encode(nothing)).shape == (0, 3, 8, 12)
    assert ConvNet((3, 8, 12), pool=pool, classes=3, **given)(nothing).shape == (0, 3)
    model(nothing).sum().backward()
    assert nothing.grad.shape == nothing.shape


@pytest.mark.parametrize("switch", ["on", "off"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda code, switch: (code[:1], switch), "have shape"),
        (lambda code, switch: (code[:, :-1], switch), "the code has shape"),
        (lambda code, switch: (code, switch[:, :, :1, :1]), "have shape"),
        (lambda code, switch: (code, switch + 10**9), "outside of 0..95"),
        (lambda code, switch: (code, switch - 1000), "outside of 0..95"),
        (lambda code, switch: (code, switch.to(torch.uint8) % 4 + 4), "outside of 0..3"),
        (lambda code, switch: (code, switch.float()), "encode returns int64"),
        (lambda code, switch: (code, switch.to(torch.int32)), "encode returns int64"),
    ],
)
def test_switches_of_another_model_are_refused(monkeypatch, change, said, switch):
    monkeypatch.setenv("UNLABELED_KERNELS", switch)
    model = ConvAutoEncoder((3, 8, 12), conv_out_channels=16, conv_kernel_size=3, conv_stride=1, conv_padding=1, pool_kernel_size=2,
                            pool_stride=2)  # fmt: skip
    encoding = model.encode(torch.rand(2, 3, 8, 12))
    code, switches = change(encoding.code, encoding.switches[0])
    with pytest.raises(ValueError, match=said):
        model.decode(code, (switches,))
    with pytest.raises(ValueError, match="0 switches for 1 blocks"):
        model.decode(encoding.code, ())


def test_a_users_own_code_has_its_gradient_where_it_is_zero(compiled, monkeypatch):
    model = ConvAutoEncoder((3, 8, 12), conv_out_channels=16, conv_kernel_size=3, conv_stride=1, conv_padding=1, pool_kernel_size=2,
                            pool_stride=2)  # fmt: skip
    places = model.encoder(torch.rand(2, 3, 8, 12), places=True).switches
    code = torch.zeros(2, 16, 4, 6, requires_grad=True)
    model.decode(code, places).sum().backward()
    assert (code.grad != 0).float().mean() > 0.9


@pytest.mark.parametrize("make", [ConvAutoEncoder, ConvNet])
def test_models_can_be_exported_for_any_number_of_images(compiled, make):
    model = make(
        (3, 8, 12),
        conv_out_channels=(16, 5),
        conv_kernel_size=3,
        conv_stride=1,
        conv_padding=1,
        pool_kernel_size=2,
        pool_stride=2,
    )
    images = torch.rand(5, 3, 8, 12)
    number = torch.export.Dim("number", min=2)
    exported = torch.export.export(model, (images[:3],), dynamic_shapes={"images": {0: number}}).module()
    torch.testing.assert_close(exported(images), model(images), rtol=1e-4, atol=1e-5)
