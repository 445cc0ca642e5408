"""The runs that learn filters on patches, and what is told of filters and of activations."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unlabeled.checkpoints import save_weights
from unlabeled.errors import TrainingDiverged
from unlabeled.files import write_arrays
from unlabeled.images import Images
from unlabeled.patches import as_numbers
from unlabeled.results import Run
from unlabeled.runtime import evaluating
from unlabeled.sparse import SparseAutoencoder, SparseReconstruction, fit_full_batch, mean_activations
from unlabeled.studies.lab import Lab
from unlabeled.studies.specs import PatchesLearned
from unlabeled.training import Watcher, fit

# A filter of equal energy everywhere has a quarter of it in each quarter of its area.
LOCALISED = 0.5


@dataclass(frozen=True)
class PatchesTask:
    """Learn filters on patches of the unlabeled images."""

    arm: str
    learned: PatchesLearned

    @property
    def kind(self) -> str:
        """What takes about the same time."""
        return f"patches {self.learned.solver} {len(self.learned.hidden)}"

    @property
    def label(self) -> str:
        """What a line of progress calls it."""
        return f"{self.arm}, seed {self.learned.seed}"

    @property
    def position(self) -> dict[str, int]:
        """Where its row stands beside others of its arm."""
        return {"seed": self.learned.seed}

    def run(self, lab: Lab) -> Run:
        """Return its folder."""
        return lab.patches_run(self.learned)

    def compute(self, lab: Lab, run: Run, watcher: Watcher | None) -> dict[str, Any]:
        """Train, and keep weights, filters and mean activations."""
        learned = self.learned
        patches, held_out = lab.patches(learned)
        model = lab.new_patches(learned)
        objective = SparseReconstruction(learned.rho, learned.beta, learned.decay)
        before = _activations(model, held_out)
        began = time.perf_counter()
        if learned.kind == "random":
            how: dict[str, Any] = {"losses": [], "converged": True}
        elif learned.training is not None:
            whole = _in_whole_batches(patches, learned.training.batch_size)
            fitted = fit(
                model, objective, whole, valid=held_out, config=learned.training, seed=learned.seed,
                runtime=lab.runtime, folder=run.folder, watcher=watcher,
            )  # fmt: skip
            (run.folder / "checkpoint.safetensors").unlink(missing_ok=True)
            how = {"losses": [row["train_loss"] for row in fitted.history], "converged": True}
        else:
            pixels = as_numbers(patches).reshape(len(patches), *patches.shape)
            full = fit_full_batch(model.cpu(), objective, pixels, iterations=learned.iterations)
            how = {"losses": full.losses, "converged": full.converged}
        seconds = time.perf_counter() - began
        after = _activations(model.cpu(), held_out)
        filters = _filters(model)
        save_weights(run.folder / "weights.safetensors", model)
        write_arrays(run.folder / "filters.npz", filters=filters, before=before, after=after)
        return _measure(model, objective, patches, held_out) | {
            "converged": how["converged"],
            "iterations": len(how["losses"]),
            "losses": _some(how["losses"]),
            "activations": describe_activations(after, learned.rho),
            "filters": describe_filters(filters),
            "patches": len(patches),
            "held_out": len(held_out),
            "seconds": seconds,
        }


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


def describe_activations(means: NDArray[np.float64], rho: float) -> dict[str, float]:
    """Return what the distribution of the units' mean activations looks like; ``near`` is within a factor of two of rho."""
    quantiles = np.quantile(means, (0.1, 0.5, 0.9))
    return {
        "mean": float(means.mean()),
        "deviation": float(means.std()),
        "least": float(means.min()),
        "most": float(means.max()),
        "low": float(quantiles[0]),
        "median": float(quantiles[1]),
        "high": float(quantiles[2]),
        "near": float(((means >= rho / 2) & (means <= 2 * rho)).mean()) if rho else 0.0,
        "silent": float((means < 0.01).mean()),
    }


def describe_filters(filters: NDArray[np.float32]) -> dict[str, float]:
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
    return {
        "compact": float(np.median(compact)),
        "localised": float((compact > LOCALISED).mean()),
        "oriented": float(np.median(coherence)),
        "colour": float(np.median(colour)),
        "coloured": float((colour > 0.5).mean()),
    }


def _some(losses: list[float]) -> list[float]:
    """Return at most 60 of the losses, evenly spread, the last one among them."""
    chosen = np.unique(np.linspace(0, len(losses) - 1, min(60, len(losses))).round().astype(int))
    return [losses[place] for place in chosen]
