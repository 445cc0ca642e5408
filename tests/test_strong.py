"""Laws of the strong network, its augmentation, averaged weights and self-training."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conftest import make_images
from test_training import _StopAfter, _StopError, same
from unlabeled.config import TrainingConfig
from unlabeled.errors import DataError
from unlabeled.images import Images
from unlabeled.images.augmentation import GREY, Augmentation, augment
from unlabeled.images.policy import COLOURS, OPERATIONS, PLACES, TONES, draw_amounts, recolour, warp
from unlabeled.kernels import building
from unlabeled.kernels.blocks import convolve_pool
from unlabeled.networks import strong
from unlabeled.networks.models import ConvNet
from unlabeled.networks.rebuilding import StrongAutoencoder
from unlabeled.networks.strong import Norm, StrongBlock, StrongNet, most_blocks, whitening_of
from unlabeled.training import fit
from unlabeled.training.averaging import Average
from unlabeled.training.beside import Beside
from unlabeled.training.checkpoints import load_weights
from unlabeled.training.labelling import balance, prior_of
from unlabeled.training.measuring import predict
from unlabeled.training.objectives import Classification, Rotations, SelfTraining, turns_of
from unlabeled.training.optimizers import Group
from unlabeled.training.runtime import Runtime, seeded

CPU = Runtime.of("cpu")
SGD = {"optimizer": "sgd", "nesterov": True, "learning_rate": 0.05, "schedule": "linear", "keep": "last"}


def network(seed=0, **more):
    with seeded(seed):
        model = StrongNet((3, 9, 12), classes=3, **{"widths": (4, 6), **more})
    model.set_whitening(make_images(20, classes=None, seed=3))
    return model


def smooth_images(n, channels=3, size=(24, 31), seed=0):
    """Images whose neighbouring pixels are alike, as in photographs."""
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, channels, 8, 9))).float()
    wide = F.interpolate(noise, size, mode="bicubic") + 0.1 * torch.randn(
        n, channels, *size, generator=torch.manual_seed(1)
    )
    return Images((wide * 40 + 120).clamp(0, 255).to(torch.uint8).numpy())


# ---- the network


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        ((1, 8, 8), (4, 5)),
        ((3, 9, 17), (4, 5, 6)),
        ((3, 24, 24), (4, 5, 6)),
        ((1, 28, 28), (5,)),
        ((3, 96, 61), (2, 2, 3, 4)),
    ],
)
def test_it_takes_all_sizes_and_gives_logits_and_codes(size, widths):
    model = StrongNet(size, classes=7, widths=widths, layers=2 if size[0] == 1 else 1)
    images = torch.rand(3, *size) * 2 - 1
    for training in (True, False):
        model.train(training)
        assert model(images).shape == (3, 7)
        assert model.codes(images).shape == (3, widths[-1]) == (3, model.code_length)
    assert {name.partition(".")[0] for name, _ in model.named_parameters()} == {"blocks", "head"}
    assert {name.partition(".")[0] for name, _ in model.named_buffers()} == {"whitening", "blocks"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_size": (3, 7, 9)},
        {"classes": 1},
        {"widths": (4, 4, 4, 4, 4, 4)},
        {"layers": (1,)},
        {"dropout": 1.0},
        {"widths": (0,)},
    ],
)
def test_what_can_not_be_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StrongNet(**wrong)
    with pytest.raises(ValueError, match="this model takes"):
        network()(torch.zeros(2, 3, 12, 9))


@pytest.mark.parametrize("channels", [1, 3])
def test_whitening_whitens(channels):
    images = smooth_images(60, channels)
    model = StrongNet((channels, 24, 31), widths=(4,))
    model.set_whitening(images)
    pixels = torch.from_numpy(images.pixels) / 127.5 - 1
    outputs = F.conv2d(pixels, model.whitening.weight, model.whitening.bias).permute(1, 0, 2, 3).flatten(1).double()
    half = len(outputs) // 2
    torch.testing.assert_close(outputs[:half], -outputs[half:])
    assert outputs.mean(1).abs().max() < 1e-3
    covariance = torch.cov(outputs[:half])
    torch.testing.assert_close(
        covariance - torch.diag(covariance.diag()), torch.zeros_like(covariance), atol=0.01, rtol=0
    )
    # The smallest directions are damped, none is blown up.
    assert covariance.diag()[0] > 0.99
    assert 0.7 < covariance.diag().min() <= covariance.diag().max() < 1.001


def test_whitening_is_finite_for_dull_images_and_the_same_for_the_same_images():
    grey = smooth_images(5, 1).pixels.repeat(3, axis=1)
    for pixels in (np.full((4, 3, 24, 31), 200, np.uint8), grey, grey[:1], grey[:0]):
        matrix, mean = whitening_of(Images(pixels))
        again, _ = whitening_of(Images(pixels.copy()))
        assert np.isfinite(matrix).all()
        assert np.isfinite(mean).all()
        np.testing.assert_array_equal(matrix, again)
        model = StrongNet((3, 24, 31), widths=(4,))
        model.set_whitening(Images(pixels))
        assert model(torch.zeros(2, 3, 24, 31)).isfinite().all()


def test_norm_is_batch_normalisation():
    own, theirs = Norm(5), nn.BatchNorm2d(5)
    x = torch.randn(6, 5, 3, 4) * 3 + 1
    torch.testing.assert_close(own(x), theirs(x))
    torch.testing.assert_close(own.variance, theirs.running_var)
    own.eval(), theirs.eval()
    torch.testing.assert_close(own(x), theirs(x))


def test_a_single_image_trains_by_the_running_statistics():
    model = network(widths=(4, 5, 6)).train()
    before = model.blocks[2].norm.variance.clone()
    assert model(torch.rand(1, 3, 9, 12)).isfinite().all()
    assert torch.equal(model.blocks[2].norm.variance, before)
    assert not torch.equal(model.blocks[0].norm.variance, torch.ones(4))


# ---- by the kernels


def answers(model, images):
    """Return logits and the gradients of all that learns."""
    model.zero_grad()
    logits = model(images)
    logits.square().sum().backward()
    return [logits.detach(), *(parameter.grad for parameter in model.parameters() if parameter.requires_grad)]


@pytest.mark.skipif(building.kernels() is None, reason="this machine has no compiler, or UNLABELED_KERNELS=off")
@pytest.mark.parametrize("learns", ["all", "head"])
@pytest.mark.parametrize(
    ("size", "widths"), [((1, 8, 8), (5,)), ((3, 24, 31), (4, 17, 33)), ((3, 32, 32), (16, 32, 64))]
)
def test_the_kernels_give_what_pytorchs_layers_give_in_double_precision(size, widths, learns, monkeypatch):
    with seeded(0):
        model, images = StrongNet(size, classes=3, widths=widths), torch.rand(6, *size) * 2 - 1
    asked, images = [], images.contiguous(memory_format=torch.channels_last)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(learns == "all" or name.startswith(learns))
    monkeypatch.setattr(strong, "convolve_pool", lambda *a, **k: (asked.append(a), convolve_pool(*a, **k))[1])
    for training in (True, False):
        model.train(training)
        exact = copy.deepcopy(model).double()
        mine = answers(model, images)
        assert len(asked) == len(widths)
        true = answers(exact, images.double())
        with building.without_kernels():
            theirs = answers(copy.deepcopy(model), images)
        assert len(asked) == len(widths)
        asked.clear()
        for found in (mine, theirs):
            assert (found[0] - true[0]).abs().max() < 1e-4 * true[0].abs().max()
            # Two values of a window that are equal but for rounding can change places: a few gradients are others then.
            for own, wanted in zip(found[1:], true[1:], strict=True):
                assert (own - wanted).norm() < 1e-2 * wanted.norm()
        model.load_state_dict(exact.float().state_dict())


class Wrapped(nn.Module):
    """Something else that does the same."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize("size", [8, 16])
def test_what_listens_to_a_convolution_or_stands_in_its_place_is_called(size):
    model, heard = StrongBlock(24, 5, 1).eval(), []
    images = torch.rand(2, 24, size, size)
    expected = model(images)
    with model.first.register_forward_hook(lambda *_: heard.append(1)):
        torch.testing.assert_close(model(images), expected)
    assert heard == [1]
    changed = copy.deepcopy(model)
    changed.first, changed.norm = Wrapped(model.first), Wrapped(model.norm)
    torch.testing.assert_close(changed(images), expected)
    for first in (
        nn.Conv2d(24, 5, 3, padding=1),
        nn.Conv2d(24, 5, 5, padding=2),
        nn.Conv2d(24, 5, 3, padding=1, stride=2),
    ):
        changed.first, changed.norm = first, nn.Identity()
        if first.bias is not None:
            nn.init.constant_(first.bias, 3.0)
        found = changed._shrink(images)
        torch.testing.assert_close(found, F.max_pool2d(first(images), 2), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")  # of tracing itself, which is old
@pytest.mark.parametrize("kind", ["strong", "small"])
def test_what_is_traced_holds_pytorchs_operations_alone(tmp_path, kind):
    how = {"conv_out_channels": 6, "conv_kernel_size": 3, "conv_padding": 1, "pool_kernel_size": 2}
    model = (network() if kind == "strong" else ConvNet((3, 9, 12), classes=3, **how)).eval()
    with torch.no_grad():
        traced = torch.jit.trace(model, torch.rand(2, 3, 9, 12))
        torch.jit.save(traced, tmp_path / "traced.pt")
        images = torch.rand(5, 3, 9, 12)
        torch.testing.assert_close(torch.jit.load(tmp_path / "traced.pt")(images), model(images), rtol=1e-4, atol=1e-5)


# ---- under fit


def config(**more):
    return TrainingConfig(
        **{
            **SGD,
            "epochs": 4,
            "batch_size": 7,
            "flip": True,
            "shift": 1,
            "cutout": 3,
            "operations": 2,
            "average": 0.8,
            **more,
        }
    )


def test_frozen_blocks_keep_their_bytes_and_statistics():
    model = network()
    before = copy.deepcopy(model.state_dict())
    fit(
        model,
        Classification(),
        make_images(),
        valid=None,
        config=config(),
        groups=[Group("blocks.0", rate=0)],
        runtime=CPU,
    )
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not {name for name in changed if name.startswith(("blocks.0", "whitening"))}
    assert {"blocks.1.norm.mean", "blocks.1.norm.variance", "blocks.1.first.weight", "head.weight"} <= changed
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_blocks_that_learn_later_keep_their_statistics_until_then():
    model, seen = network(), []

    class Look:
        def step(self, done, total):
            pass

        def epoch(self, row):
            seen.append(model.blocks[0].norm.mean.clone())

    fit(
        model, Classification(), make_images(), valid=None, config=config(), groups=[Group("blocks.0", after=0.5)],
        runtime=CPU, watcher=Look(),
    )  # fmt: skip
    assert [float(mean.abs().max()) > 0 for mean in seen] == [False, False, True, True]


def soft(n, seed=0):
    return np.random.default_rng(seed).dirichlet([0.5] * 3, n).astype(np.float32)


def besides():
    pool = make_images(33, classes=None, seed=8)
    strong = Augmentation(flip=True, operations=3, magnitude=1.0)
    return [
        Beside(pool, soft(33), augmentation=strong),
        Beside(pool, taught=True, augmentation=strong, weak=Augmentation(flip=True)),
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_a_killed_self_training_ends_in_the_same_bytes(tmp_path, which):
    images, valid = make_images(), make_images(9, seed=5)
    how = {
        "valid": valid, "config": config(beside_ratio=2), "seed": 4, "runtime": CPU, "beside": besides()[which],
    }  # fmt: skip
    objective = SelfTraining(smoothing=0.1, temperature=0.8, mixing=0.5)
    whole, killed, resumed = network(dropout=0.2), network(dropout=0.2), network(dropout=0.2)
    fit(whole, objective, images, **how)
    with pytest.raises(_StopError):
        fit(killed, objective, images, **how, folder=tmp_path, watcher=_StopAfter(3))
    fit(resumed, objective, images, **how, folder=tmp_path)
    assert same(whole, resumed)
    assert not same(whole, killed)


def test_half_precision_learns_too_and_keeps_full_weights():
    images, losses = make_images(), []
    for precision in ("fp32", "bf16"):
        model = network()
        how = {"config": config(beside_ratio=2), "beside": besides()[1], "runtime": Runtime.of("cpu", precision)}
        losses.append(fit(model, SelfTraining(), images, valid=images, **how).history[-1]["valid_loss"])
        assert all(tensor.dtype == torch.float32 for tensor in model.state_dict().values())
    # So small a network differs by its rounding after few steps, but both learn: guessing evenly has 1.1.
    assert max(losses) < 0.9


SCRIPT = """
import sys, warnings
warnings.filterwarnings("ignore")
sys.path.insert(0, {tests!r})
import torch, test_strong
torch.set_num_threads(1)
test_strong.train_shared({out!r})
"""


def train_shared(out):
    """Train on batches of 7 and a rest of 3, which two processes share unevenly."""
    from unlabeled.training.checkpoints import save_weights

    model = network()
    how = {"config": config(epochs=2, beside_ratio=2), "beside": besides()[0], "runtime": CPU}
    fit(model, SelfTraining(weight=0.7), make_images(24), valid=None, **how)
    if CPU.rank == 0:
        save_weights(Path(out), model)
    return model


@pytest.mark.slow
def test_two_processes_end_in_the_weights_of_one(tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "two.safetensors"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), out=str(out)))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, two = train_shared(tmp_path / "one.safetensors"), network(seed=5)
    load_weights(out, two)
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_averaged_weights_follow_the_formula():
    model = network()
    average, expected = Average(model, 0.6), copy.deepcopy(model.state_dict())
    for step in range(6):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.add_(torch.rand_like(tensor))
        average.follow(model, step)
        moving = min(0.6, (1 + step) / (10 + step))
        expected = {
            name: moving * expected[name] + (1 - moving) * tensor for name, tensor in model.state_dict().items()
        }
    for name, tensor in average.model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])


def test_the_averaged_weights_are_judged_and_kept():
    images, valid, kept = make_images(), make_images(9, seed=5), []
    for average in (0.0, 1e-9, 0.9):
        model = network()
        history = fit(model, Classification(), images, valid=valid, config=config(average=average), runtime=CPU).history
        kept.append((model, history[-1]["valid_loss"]))
        assert predict(model, valid, runtime=CPU).shape == (9, 3)
    torch.testing.assert_close(kept[0][0].state_dict(), kept[1][0].state_dict())
    assert kept[0][1] == pytest.approx(kept[1][1], rel=1e-5)
    assert abs(kept[2][1] - kept[0][1]) > 1e-4


# ---- self-training


def test_soft_targets_that_are_one_hot_equal_hard_labels():
    images, labels = torch.rand(10, 3, 9, 12) * 2 - 1, torch.arange(10) % 3
    model, targets = network(), F.one_hot(labels[4:], 3).float()
    hard, _ = Classification()(model, images, labels)
    marked = torch.where(torch.arange(10) < 4, labels, -1)
    torch.testing.assert_close(SelfTraining().guided(model, images, marked, targets)[0], hard)
    # One-hot targets are as sharp and sure as can be.
    torch.testing.assert_close(
        SelfTraining(temperature=0.5, threshold=0.99).guided(model, images, marked, targets)[0], hard
    )


def test_weight_and_threshold_count_images():
    images, labels = torch.rand(10, 3, 9, 12) * 2 - 1, torch.tensor([0, 1, 2, 1] + [-1] * 6)
    model, targets = network(), torch.from_numpy(soft(6))
    logs = model(images).log_softmax(1)
    of_labels = -logs[range(4), labels[:4]].sum()
    single = -(targets * logs[4:]).sum(1)
    loss = SelfTraining(weight=0.5).guided(model, images, labels, targets)[0]
    torch.testing.assert_close(loss, (of_labels + 0.5 * single.sum()) / 7)
    loss = SelfTraining(threshold=0.7).guided(model, images, labels, targets)[0]
    torch.testing.assert_close(loss, (of_labels + single[targets.amax(1) >= 0.7].sum()) / 10)
    loss = SelfTraining(temperature=0.5).guided(model, images, labels, targets)[0]
    sharp = targets**2 / (targets**2).sum(1, keepdim=True)
    torch.testing.assert_close(loss, (of_labels - (sharp * logs[4:]).sum()) / 10)


def test_targets_that_do_not_fit_are_refused():
    pool, images = make_images(33, classes=None), make_images()
    for wrong in (soft(32), soft(33).astype(np.float64), -soft(33), soft(33)[0]):
        with pytest.raises(DataError, match="targets"):
            Beside(pool, wrong)
    with pytest.raises(DataError, match="no images beside"):
        Beside(pool.subset([]))
    with pytest.raises(ValueError, match="SelfTraining"):
        fit(
            network(), Classification(), images, valid=None, config=config(), beside=Beside(pool, soft(33)), runtime=CPU
        )
    with pytest.raises(ValueError, match="average is 0"):
        fit(network(), SelfTraining(), images, valid=None, config=config(average=0), beside=besides()[1], runtime=CPU)


def test_balanced_probabilities_have_the_prior_and_at_strength_0_are_as_they_were():
    given, prior = soft(400), np.array([0.5, 0.3, 0.2])
    even = balance(given, prior)
    np.testing.assert_allclose(even.mean(0), prior, atol=1e-4)
    np.testing.assert_allclose(even.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(balance(given, prior, strength=0), given, atol=1e-6)
    assert balance(given, [1, 1, 0])[:, 2].max() < 1e-6
    np.testing.assert_allclose(prior_of(np.array([0, 2, 2, 1]), 4), [0.25, 0.25, 0.5, 0])


def test_prediction_with_flips_is_symmetric_and_the_mean_of_both():
    model, images = network().train(), make_images(9)
    mirrored = Images(images.pixels[..., ::-1].copy(), images.labels)
    both = predict(model, images, flip=True, runtime=CPU)
    np.testing.assert_allclose(both, predict(model, mirrored, flip=True, runtime=CPU), atol=1e-6)
    single = [predict(model, one, runtime=CPU) for one in (images, mirrored)]
    np.testing.assert_allclose(both, (single[0] + single[1]) / 2, atol=1e-6)
    np.testing.assert_allclose(both.sum(1), 1, atol=1e-5)
    assert model.training


# ---- augmentation


WAYS = [
    {"flip": True}, {"shift": 2}, {"cutout": 4}, {"operations": 2, "magnitude": 1.0},
    {"flip": True, "shift": 3, "cutout": 5, "operations": 3, "magnitude": 0.7},
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(3, 9, 14), (1, 11, 8)])
def test_augmented_images_keep_their_form_and_depend_on_no_other_image(way, shape):
    pixels = np.random.default_rng(0).integers(0, 256, size=(40, *shape), dtype=np.uint8)
    kept = pixels.copy()
    once = augment(pixels, np.random.default_rng(5), **way)
    assert once.shape == pixels.shape
    assert once.dtype == np.uint8
    np.testing.assert_array_equal(once, Augmentation(**way)(pixels, np.random.default_rng(5)))
    np.testing.assert_array_equal(pixels, kept)
    assert (once != augment(pixels, np.random.default_rng(6), **way)).any()
    others = 255 - pixels
    others[7] = pixels[7]
    np.testing.assert_array_equal(augment(others, np.random.default_rng(5), **way)[7], once[7])


def test_at_zero_magnitude_and_zero_amounts_nothing_changes():
    pixels = make_images(30).pixels
    np.testing.assert_array_equal(augment(pixels, np.random.default_rng(1), operations=4, magnitude=0.0), pixels)


def test_flips_are_flips_and_holes_are_squares():
    pixels = np.random.default_rng(0).integers(0, 100, size=(200, 3, 9, 14), dtype=np.uint8)
    flipped = augment(pixels, np.random.default_rng(1), flip=True)
    mirrored = (flipped == pixels[..., ::-1]).all((1, 2, 3))
    assert (mirrored | (flipped == pixels).all((1, 2, 3))).all()
    assert 70 < mirrored.sum() < 130
    cut = augment(pixels, np.random.default_rng(1), cutout=4)
    holes = (cut == GREY).all(1)
    np.testing.assert_array_equal(np.where(holes[:, None], pixels, cut), pixels)
    sides = holes.any(2).sum(1), holes.any(1).sum(1)
    np.testing.assert_array_equal(holes.sum((1, 2)), sides[0] * sides[1])
    assert {int(side) for one in sides for side in one} == {2, 3, 4}


def test_each_operation_does_what_it_says():
    image = smooth_images(1, 3, (15, 15)).pixels
    ways = np.eye(len(OPERATIONS), dtype=np.float32)
    n = len(OPERATIONS)
    rows = np.broadcast_to(np.arange(15), (n, 15))
    places = rows[:, :, None] * 15 + rows[:, None, :]
    moved = places.copy()
    warp(moved, rows, rows, ways)
    still = [name for number, name in enumerate(OPERATIONS) if (moved[number] == places[number]).all()]
    assert still == [*TONES, *COLOURS]
    shift_x = PLACES.index("move-x")
    np.testing.assert_array_equal(
        moved[shift_x], np.minimum(rows[0] + 4.5, 14).round().astype(int)[None] + 15 * rows[0][:, None]
    )
    images = np.repeat(image, n, axis=0).transpose(0, 2, 3, 1).copy()
    before = images.astype(float)
    recolour(images, ways)
    after = {name: images[number].astype(float) for number, name in enumerate(OPERATIONS)}
    assert all((after[name] == before[0]).all() for name in PLACES)
    np.testing.assert_allclose(after["brightness"], np.minimum(before[0] * 1.9, 255), atol=0.51)
    np.testing.assert_allclose(after["solarise"], 255 - before[0])
    assert len(np.unique(after["posterise"])) <= 16
    np.testing.assert_allclose(after["autocontrast"].min((0, 1)), 0)
    np.testing.assert_allclose(after["autocontrast"].max((0, 1)), 255)
    spread = np.sort(after["equalise"][..., 0].reshape(-1))
    np.testing.assert_allclose(spread, 255 * (np.arange(225) + 0.5) / 225, atol=8)
    assert after["tint"][..., 0].mean() > before[0, ..., 0].mean()
    assert after["saturation"].std(2).mean() > before[0].std(2).mean()


def test_amounts_are_even_and_add_up():
    amounts = draw_amounts(6000, 2, 0.5, np.random.default_rng(0))
    assert amounts.shape == (6000, len(OPERATIONS))
    assert np.abs(amounts).max() <= 1.0
    used = (amounts != 0).mean(0) * len(OPERATIONS) / 2
    np.testing.assert_allclose(used, 1 - 1 / (2 * len(OPERATIONS)), atol=0.1)
    assert not draw_amounts(3, 0, 1.0, np.random.default_rng(0)).any()


@pytest.mark.parametrize("size", [(3, 32, 32), (1, 24, 37), (3, 9, 8)])
def test_the_strong_autoencoder_gives_back_the_size_it_was_given(size):
    encoder = StrongNet(size, widths=(4, 6, 8)[: most_blocks(size)])
    model = StrongAutoencoder(encoder)
    images = torch.rand(5, *size) * 2 - 1
    rebuilt = model(images)
    assert rebuilt.shape == images.shape
    assert rebuilt.abs().max() <= 1
    # The head alone has no part in it.
    rebuilt.square().sum().backward()
    assert {name for name, weight in model.named_parameters() if weight.grad is None} == {
        "encoder.head.weight",
        "encoder.head.bias",
    }


@pytest.mark.parametrize("size", [(3, 8, 8), (1, 8, 12)])
def test_rotations_turn_images_as_their_classes_say(size):
    """A model that tells where the one bright corner went is right on every image, in training and else."""
    ways = turns_of(size)
    assert ways == (4 if size[1] == size[2] else 2)
    images = torch.zeros(16, *size)
    images[:, :, 0, 0] = 1
    corners = {4: [(0, 0), (-1, 0), (-1, -1), (0, -1)], 2: [(0, 0), (-1, -1)]}[ways]

    class Corner(nn.Module):
        def forward(self, seen):
            return torch.stack([9 * seen[:, 0, y, x] for y, x in corners], 1)

    for model in (Corner().train(), Corner().eval()):
        loss, right = Rotations()(model, images, None)
        assert right == 1
        assert loss < 0.01
    drawn = []

    class Watch(Corner):
        def forward(self, seen):
            drawn.append(super().forward(seen).argmax(1))
            return super().forward(seen)

    for _ in range(2):
        Rotations()(Watch().eval(), images, None)
        Rotations()(Watch().train(), images, None)
    assert (drawn[0] == torch.arange(16) % ways).all()
    assert (drawn[0] == drawn[2]).all()
    assert (drawn[1] != drawn[3]).any()
