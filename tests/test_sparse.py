"""The sparse autoencoder on patches: its loss against loops, its gradient against finite differences, and its training."""

import math

import numpy as np
import pytest
import torch

from conftest import make_images
from unlabeled.config import TrainingConfig
from unlabeled.errors import DataError, UserError
from unlabeled.images import Images
from unlabeled.images.patches import as_numbers, cut_patches, prepare
from unlabeled.networks.sparse import (
    SparseAutoencoder,
    SparseReconstruction,
    fit_full_batch,
    kl_divergence,
    mean_activations,
)
from unlabeled.training import fit


def patches(n=300, side=4, seed=0):
    """Patches with something to find: a bright stripe at one of three places, and noise."""
    return cut_patches(make_images(40, (3, 9, 12), classes=3, seed=seed), n, side=side, seed=seed)


def pixels(cut):
    return torch.from_numpy(as_numbers(cut)).float().view(-1, *cut.shape)


def model_of(hidden=(5,), kind="whitening", seed=0):
    torch.manual_seed(seed)
    return SparseAutoencoder(prepare(patches(), kind), hidden)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def naive_loss(model, prepared, rho, beta, decay):
    """The loss of the lecture notes, number by number."""
    weights = [(layer.weight.tolist(), layer.bias.tolist()) for layer in model.layers]
    error, sums = 0.0, [[0.0] * len(bias) for _, bias in weights[:-1]]
    for patch in prepared.tolist():
        x = patch
        for number, (weight, bias) in enumerate(weights):
            x = [b + sum(w * v for w, v in zip(row, x, strict=True)) for row, b in zip(weight, bias, strict=True)]
            if number < len(weights) - 1:
                x = [sigmoid(v) for v in x]
                sums[number] = [s + v for s, v in zip(sums[number], x, strict=True)]
        error += 0.5 * sum((a - b) ** 2 for a, b in zip(x, patch, strict=True))
    loss = error / len(prepared)
    for weight, _ in weights:
        loss += 0.5 * decay * sum(w * w for row in weight for w in row)
    for layer in sums:
        for total in layer:
            mean = total / len(prepared)
            loss += beta * (rho * math.log(rho / mean) + (1 - rho) * math.log((1 - rho) / (1 - mean)))
    return loss


@pytest.mark.parametrize("hidden", [(5,), (6, 4, 7)])
@pytest.mark.parametrize("kind", ["whitening", "clip"])
def test_the_loss_is_that_of_a_loop(hidden, kind):
    model = model_of(hidden, kind).double()
    prepared = model.prepare(torch.from_numpy(as_numbers(patches(60))).view(60, *model.shape))
    objective = SparseReconstruction(rho=0.17, beta=2.5, decay=0.03)
    loss, mse = objective.measure(model, model.rebuild(prepared))
    assert abs(float(loss.detach()) - naive_loss(model, prepared, 0.17, 2.5, 0.03)) <= 1e-9
    rebuilt = model.rebuild(prepared).rebuilt.detach()
    assert float(mse) == pytest.approx(float(((rebuilt - prepared) ** 2).mean()))


def test_the_gradient_is_that_of_finite_differences():
    model = model_of((4, 3, 4)).double()
    prepared = model.prepare(torch.from_numpy(as_numbers(patches(50))).view(50, *model.shape))
    objective = SparseReconstruction(rho=0.1, beta=3.0, decay=0.01)
    parameters = list(model.parameters())
    slopes = torch.autograd.grad(objective.measure(model, model.rebuild(prepared))[0], parameters)
    step, worst = 1e-5, 0.0
    random = np.random.default_rng(0)
    for parameter, slope in zip(parameters, slopes, strict=True):
        flat = parameter.data.view(-1)
        for place in random.integers(0, len(flat), 25):
            kept, losses = float(flat[place]), []
            for sign in (1, -1):
                flat[place] = kept + sign * step
                with torch.no_grad():
                    losses.append(float(objective.measure(model, model.rebuild(prepared))[0]))
            flat[place] = kept
            worst = max(worst, abs((losses[0] - losses[1]) / (2 * step) - float(slope.view(-1)[place])))
    assert worst <= 1e-7


def test_the_penalty_is_zero_at_rho_and_grows_away_from_it():
    means = torch.tensor([0.01, 0.03, 0.06, 0.2, 0.7], dtype=torch.float64)
    each = [float(kl_divergence(0.06, mean[None])) for mean in means]
    assert each[2] == pytest.approx(0, abs=1e-12)
    assert each[0] > each[1] > 0
    assert each[4] > each[3] > 0
    assert float(kl_divergence(0.06, means)) == pytest.approx(sum(each))
    silent = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    kl_divergence(0.06, silent).backward()
    assert torch.isfinite(silent.grad).all()


@pytest.mark.parametrize(("size", "rho", "least"), [(64, 0.06, 167), (9, 0.5, 20), (100, 0.95, 200)])
def test_a_batch_too_small_for_mean_activations_is_refused(size, rho, least):
    model = model_of()
    objective = SparseReconstruction(rho=rho)
    expected = rf"a batch of {size} patches is too small .* use batches of at least {least}, or the full batch"
    with pytest.raises(UserError, match=expected):
        objective(model.train(), pixels(patches(size)), None)
    with pytest.raises(UserError, match="too small"):
        fit_full_batch(model, objective, pixels(patches(size)).numpy())
    objective(model.eval(), pixels(patches(size)), None)
    SparseReconstruction(rho=rho, beta=0)(model.train(), pixels(patches(size)), None)
    objective(model.train(), pixels(patches(least)), None)


def test_the_full_batch_lowers_the_loss_until_it_is_flat():
    model, cut = model_of((6,)), patches(400)
    objective = SparseReconstruction(rho=0.1, beta=1.0, decay=1e-3)
    before = float(objective(model.eval(), pixels(cut), None)[0].detach())
    found = fit_full_batch(model, objective, pixels(cut).numpy(), iterations=5000)
    after = float(objective(model, pixels(cut), None)[0].detach())
    assert found.converged
    assert found.losses == sorted(found.losses, reverse=True)
    assert after == pytest.approx(found.losses[-1], rel=1e-4)
    assert after < 0.8 * before
    again = fit_full_batch(model, objective, pixels(cut).numpy(), iterations=500)
    assert again.losses == [] or again.losses[-1] > 0.995 * after


def test_large_batches_come_close_to_the_full_batch():
    cut = patches(600)
    objective = SparseReconstruction(rho=0.1, beta=1.0, decay=1e-3)
    full, batches = model_of((6,)), model_of((6,))
    found = fit_full_batch(full, objective, pixels(cut).numpy(), iterations=500)
    config = TrainingConfig(epochs=400, batch_size=300, learning_rate=5e-2, weight_decay=0)
    fitted = fit(batches, objective, cut, valid=None, config=config)
    assert fitted.history[-1]["train_loss"] < 1.1 * found.losses[-1]


def test_the_penalty_makes_units_seldom_active():
    cut = patches(500)
    means = {}
    for beta in (0.0, 10.0):
        model = model_of((8,))
        fit_full_batch(
            model, SparseReconstruction(rho=0.08, beta=beta, decay=1e-4), pixels(cut).numpy(), iterations=150
        )
        means[beta] = mean_activations(model, pixels(cut))
    assert abs(means[10.0] - 0.08).max() < 0.04
    assert abs(means[0.0] - 0.08).mean() > 2 * abs(means[10.0] - 0.08).mean()
    assert means[10.0] == pytest.approx(model.encode(pixels(cut)).mean(dim=0).detach().numpy(), abs=1e-6)


def test_patches_are_parts_of_images_and_the_same_each_time():
    images = make_images(7, (3, 9, 12), classes=None)
    cut = cut_patches(images, 200, side=4, seed=3)
    assert cut.shape == (3, 4, 4)
    assert len(cut) == 200
    everywhere = {
        image[:, top : top + 4, left : left + 4].tobytes()
        for image in images.pixels
        for top in range(6)
        for left in range(9)
    }
    assert {patch.tobytes() for patch in cut.pixels} <= everywhere
    assert len({patch.tobytes() for patch in cut.pixels}) > 100
    assert np.array_equal(cut.pixels, cut_patches(images, 200, side=4, seed=3).pixels)
    assert not np.array_equal(cut.pixels, cut_patches(images, 200, side=4, seed=4).pixels)
    subset = images.subset([2])
    only = cut_patches(subset, 20, side=9)
    assert {patch.tobytes() for patch in only.pixels} <= {images.pixels[2, :, :, x : x + 9].tobytes() for x in range(4)}


def test_patches_that_can_not_be_cut_are_refused():
    with pytest.raises(DataError, match=r"patches of 10x10 do not fit images of 9x12; use --studies\.sparse\.side 9"):
        cut_patches(make_images(), 10, side=10)
    with pytest.raises(DataError, match="no images to cut patches from"):
        cut_patches(Images(np.empty((0, 3, 8, 8), dtype=np.uint8)), 10, side=4)


def test_whitening_makes_directions_alike_and_clip_keeps_to_its_range():
    cut = cut_patches(make_images(60, (3, 9, 12), classes=3), 4000, side=4)
    numbers = as_numbers(cut).reshape(-1, *cut.shape)
    white = prepare(cut, "whitening").apply(numbers)
    variances = np.linalg.eigvalsh(np.cov(as_numbers(cut).T))
    expected = np.sort(variances / (variances + 0.4))
    assert np.allclose(np.linalg.eigvalsh(np.cov(white.T)), expected, atol=1e-3)
    assert abs(white.mean(axis=0)).max() < 1e-9
    clipped = prepare(cut, "clip")
    prepared = clipped.apply(numbers)
    assert prepared.min() >= 0.1 - 1e-12
    assert prepared.max() <= 0.9 + 1e-12
    by_channel = numbers.transpose(1, 0, 2, 3).reshape(3, -1)
    centred = by_channel - by_channel.mean(axis=1, keepdims=True)
    sigma = 3 * centred.std()
    by_hand = (np.clip(centred, -sigma, sigma) / sigma + 1) * 0.4 + 0.1
    assert np.allclose(prepared.reshape(numbers.shape).transpose(1, 0, 2, 3).reshape(3, -1), by_hand)


@pytest.mark.parametrize("hidden", [(), (3, 4), (0,)])
def test_layers_without_a_middle_are_refused(hidden):
    with pytest.raises(ValueError, match="odd number of layers, of at least 1 unit each"):
        model_of(hidden)
