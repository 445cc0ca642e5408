"""Train what features and networks stand on: autoencoders of images, filters of patches; and say what came of it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unlabeled.errors import TrainingDiverged
from unlabeled.evaluation.features import pixel_features
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.performing import median_speed, operations_of_training
from unlabeled.experiments.specs import Learned, PatchesLearned
from unlabeled.images import Images
from unlabeled.images.patches import as_numbers
from unlabeled.keeping.files import write_arrays, write_history
from unlabeled.networks.layout import count_parameters
from unlabeled.networks.models import ConvAutoEncoder
from unlabeled.networks.sparse import SparseAutoencoder, SparseReconstruction, fit_full_batch, mean_activations
from unlabeled.outcomes import Activations, AutoencoderOutcome, FilterShapes, PatchesOutcome
from unlabeled.training import Watcher, fit
from unlabeled.training.checkpoints import save_weights
from unlabeled.training.objectives import Reconstruction
from unlabeled.training.runtime import Runtime, evaluating
from unlabeled.training.stacking import fit_stacked

# A filter of equal energy everywhere has a quarter of it in each quarter of its area.
LOCALISED = 0.5
_PICTURES = 10
_IMAGES_OF_MEAN = 2000


def train_autoencoder(learned: Learned, lab: Lab, folder: Path, watcher: Watcher | None) -> AutoencoderOutcome:
    """Train an autoencoder, and keep weights, history and pictures in a folder."""
    (images, valid), config = lab.images_of(learned), learned.config
    model = lab.new_autoencoder(learned.encoder, learned.seed, config=config)
    objective = Reconstruction(config.loss, config.noise, config.noise_level)
    fitted = fit_stacked(
        model, objective, images, valid=valid, config=config.training, stacking=config.stacking,
        seed=learned.seed, runtime=lab.runtime, folder=folder, watcher=watcher,
    )  # fmt: skip
    write_history(folder / "history.jsonl", fitted.history)
    save_weights(folder / "weights.safetensors", model)
    write_arrays(folder / "pictures.npz", **_pictures(model, valid, lab.runtime))
    for path in folder.glob("**/checkpoint.safetensors"):
        path.unlink(missing_ok=True)
    return AutoencoderOutcome(
        held_out_mse=fitted.history[fitted.best_epoch - 1]["valid_mse"],
        held_out_variance=_error_of_mean(images, valid),
        images=len(images),
        code_size=list(model.geometry.code_size),
        code_length=model.geometry.code_length,
        input_length=model.geometry.input_length,
        switches=_switches(model),
        parameters=count_parameters(model),
        model=repr(model),
        best_epoch=fitted.best_epoch,
        seconds=fitted.seconds,
        images_per_second=median_speed(fitted),
        operations=operations_of_training(model, images, fitted) if config.stacking == "whole" else 0.0,
    )


def _switches(model: ConvAutoEncoder) -> int:
    """Return how many switches go round the code: one a cell of every max-pool's map."""
    if not model.decoder.uses_switches:
        return 0
    return sum(block.out_channels * math.prod(block.pool_size) for block in model.geometry.blocks if block.pools)


def _pictures(model: ConvAutoEncoder, images: Images, runtime: Runtime) -> dict[str, NDArray[Any]]:
    """Return held-out originals and their reconstructions, uint8, and the first layer's filters, float32."""
    originals = images.take(np.arange(min(_PICTURES, len(images))))
    with evaluating(model), runtime.autocast():
        outputs = model(runtime.load(originals)).float().cpu()
    first = next(model.encoder.convolutions.parameters())  # its weight comes before its bias
    filters = first.detach().float().cpu().numpy()
    return {"originals": originals, "reconstructions": to_pixels(outputs), "filters": filters}


def to_pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    """Turn images in [-1, 1] into pixels, what lies outside cut off."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()


def _error_of_mean(images: Images, held_out: Images) -> float:
    """Return the mean squared error on [-1, 1] of always guessing the mean of the (first) images."""
    mean = pixel_features(images.subset(np.arange(min(len(images), _IMAGES_OF_MEAN)))).mean(axis=0, dtype=np.float64)
    return float(((pixel_features(held_out) - mean) ** 2).mean())


def train_patches(learned: PatchesLearned, lab: Lab, folder: Path, watcher: Watcher | None) -> PatchesOutcome:
    """Learn filters on patches, and keep weights, filters and mean activations in a folder."""
    patches, held_out = lab.patches(learned)
    model = lab.new_patches(learned)
    objective = SparseReconstruction(learned.rho, learned.beta, learned.decay)
    before = _activations(model, held_out)
    began = time.perf_counter()
    losses, converged = _learn(model, objective, learned, lab, folder, watcher)
    seconds = time.perf_counter() - began
    after = _activations(model.cpu(), held_out)
    filters = _filters(model)
    save_weights(folder / "weights.safetensors", model)
    write_arrays(folder / "filters.npz", filters=filters, before=before, after=after)
    return PatchesOutcome(
        **_measure(model, objective, patches, held_out),
        converged=converged,
        iterations=len(losses),
        losses=_some(losses),
        activations=describe_activations(after, learned.rho),
        filters=describe_filters(filters),
        patches=len(patches),
        held_out=len(held_out),
        seconds=seconds,
    )


def _learn(
    model: SparseAutoencoder, objective: SparseReconstruction, learned: PatchesLearned, lab: Lab, folder: Path,
    watcher: Watcher | None,
) -> tuple[list[float], bool]:  # fmt: skip
    """Train in place, in batches or on the full batch; return the losses, and whether the solver came to an end."""
    if learned.kind == "random":
        return [], True
    patches, held_out = lab.patches(learned)
    if learned.training is not None:
        whole = _in_whole_batches(patches, learned.training.batch_size)
        fitted = fit(
            model, objective, whole, valid=held_out, config=learned.training, seed=learned.seed,
            runtime=lab.runtime, folder=folder, watcher=watcher,
        )  # fmt: skip
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
        return [row["train_loss"] for row in fitted.history], True
    pixels = as_numbers(patches).reshape(len(patches), *patches.shape)
    full = fit_full_batch(model.cpu(), objective, pixels, iterations=learned.iterations)
    return full.losses, full.converged


def _measure(
    model: SparseAutoencoder, objective: SparseReconstruction, patches: Images, held_out: Images
) -> dict[str, float]:
    """Return the loss and the error per number on held-out patches, and the error of always guessing the patches' mean."""
    with evaluating(model):
        output = model(_pixels(held_out))
        loss, mse = objective.measure(model, output)
        mean = model.prepare(_pixels(patches)).double().mean(dim=0)
    if not np.isfinite(float(loss)):
        raise TrainingDiverged(f"training diverged: the loss became {float(loss)}; lower the learning rate or beta")
    of_mean = float((output.prepared.double() - mean).square().mean())
    return {"held_out_loss": float(loss), "held_out_mse": float(mse), "held_out_variance": max(of_mean, 1e-12)}


def _in_whole_batches(patches: Images, size: int) -> Images:
    """Leave out what would be a short last batch: mean activations over it would say too little."""
    return patches.subset(np.arange(len(patches) - len(patches) % size)) if len(patches) > size else patches


def _pixels(patches: Images) -> torch.Tensor:
    """Return patches as float (n, c, side, side) in [-1, 1]."""
    return torch.from_numpy(as_numbers(patches)).float().view(-1, *patches.shape)


def _activations(model: SparseAutoencoder, patches: Images) -> NDArray[np.float64]:
    return mean_activations(model, _pixels(patches))


def _filters(model: SparseAutoencoder) -> NDArray[np.float32]:
    """Return the first layer's filters on pixels, (h, c, side, side)."""
    with torch.no_grad():
        weights: NDArray[np.float32] = (model.encoding[0].weight @ model.matrix).view(-1, *model.shape).numpy()
    return weights


def describe_activations(means: NDArray[np.float64], rho: float) -> Activations:
    """Return what the distribution of the units' mean activations looks like."""
    low, median, high = (float(value) for value in np.quantile(means, (0.1, 0.5, 0.9)))
    return Activations(
        mean=float(means.mean()),
        deviation=float(means.std()),
        least=float(means.min()),
        most=float(means.max()),
        low=low,
        median=median,
        high=high,
        near=float(((means >= rho / 2) & (means <= 2 * rho)).mean()) if rho else 0.0,
        silent=float((means < 0.01).mean()),
    )


def describe_filters(filters: NDArray[np.float32]) -> FilterShapes:
    """Return how localised, how oriented and how coloured filters (h, c, side, side) are, medians over filters.

    ``compact``: the largest share of a filter's energy (sum of squares) in a square of half its side. ``localised``: the share of filters
    where that is above one half. ``oriented``: the coherence of the gradients of the mean over channels, (l1 - l2) / (l1 + l2) for the
    eigenvalues of their structure tensor (Bigun and Granlund 1987): 1 for an edge, 0 for a blob. ``colour``: the share of the energy
    that the mean over channels lacks.
    """
    energy = (filters.astype(np.float64) ** 2).sum(axis=1)
    total = np.maximum(energy.sum(axis=(1, 2)), 1e-300)
    half = max(1, filters.shape[-1] // 2)
    windows = np.lib.stride_tricks.sliding_window_view(energy, (half, half), axis=(1, 2)).sum(axis=(3, 4))
    compact = windows.max(axis=(1, 2)) / total
    grey = filters.astype(np.float64).mean(axis=1)
    colour = 1 - filters.shape[1] * (grey**2).sum(axis=(1, 2)) / total
    down, across = np.gradient(grey, axis=(1, 2))
    xx, yy, xy = ((a * b).sum(axis=(1, 2)) for a, b in ((across, across), (down, down), (across, down)))
    coherence = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / np.maximum(xx + yy, 1e-300)
    return FilterShapes(
        compact=float(np.median(compact)),
        localised=float((compact > LOCALISED).mean()),
        oriented=float(np.median(coherence)),
        colour=float(np.median(colour)),
        coloured=float((colour > 0.5).mean()),
    )


def _some(losses: list[float]) -> list[float]:
    """Return at most 60 of the losses, evenly spread, the last one among them."""
    chosen = np.unique(np.linspace(0, len(losses) - 1, min(60, len(losses))).round().astype(int))
    return [losses[place] for place in chosen]
