"""Study 7: the sparse linear autoencoder on patches. What do rho, beta and lambda do to its filters and activations?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.errors import DataError
from unlabeled.files import write_arrays
from unlabeled.results import read_result
from unlabeled.sparse import check_batch
from unlabeled.studies.lab import Lab
from unlabeled.studies.patches import PatchesTask
from unlabeled.studies.performing import Perform
from unlabeled.studies.specs import PatchesLearned


def run(lab: Lab, do: Perform) -> dict[str, Any]:
    """Train every variant on patches of the unlabeled images."""
    planned = variants(lab)
    rows = do([PatchesTask(arm, learned[seed]) for seed in range(lab.config.seeds) for arm, learned in planned.items()])
    lines = [_line(arm, learned[0], [row for row in rows if row["arm"] == arm]) for arm, learned in planned.items()]
    arrays: dict[str, NDArray[Any]] = {}
    for number, arm in enumerate(planned):
        first = next((row for row in rows if row["arm"] == arm and "diverged" not in row), None)
        if first is not None:
            stored = read_result(lab.folder / first["run"]).arrays("filters.npz")
            arrays |= {f"{name}{number}": array for name, array in stored.items()}
    write_arrays(lab.folder / "sparse" / "pictures.npz", **arrays)
    grid = lab.config.studies.sparse
    return {
        "variants": lines,
        "base": "base",
        "other": _other(grid.preparation),
        "settings": grid.model_dump(mode="json"),
        "rows": rows,
    }


def check(lab: Lab) -> None:
    """Refuse patches that do not fit these images, and batches that say too little of how often a unit is active."""
    check_size(lab)
    grid = lab.config.studies.sparse
    check_batch(min(grid.training.batch_size, grid.patches), grid.rho)


def check_size(lab: Lab) -> None:
    """Refuse patches that do not fit these images."""
    side, (_, height, width) = lab.config.studies.sparse.side, lab.splits.unlabeled.shape
    if side > min(height, width):
        raise DataError(
            f"patches of {side}x{side} do not fit images of {width}x{height}; use --studies.sparse.side {min(height, width)}"
        )


def variants(lab: Lab) -> dict[str, list[PatchesLearned]]:
    """Return every variant's runs by seed: the base, and the base with one thing changed."""
    grid = lab.config.studies.sparse
    changes: dict[str, dict[str, Any]] = {
        "untrained": {"kind": "random"},
        "base": {},
        "adam": {"solver": "batches"},
        _other(grid.preparation): {"preparation": _other(grid.preparation)},
        "beta 0": {"beta": 0.0},
    }
    changes |= {f"rho {rho:g}": {"rho": rho} for rho in grid.rhos if rho != grid.rho}
    changes |= {f"beta {beta:g}": {"beta": beta} for beta in grid.betas if beta not in (grid.beta, 0)}
    changes |= {f"lambda {decay:g}": {"decay": decay} for decay in grid.decays if decay != grid.decay}
    seeds = range(lab.config.seeds)
    return {arm: [PatchesLearned.of(grid, seed, **change) for seed in seeds] for arm, change in changes.items()}


def _other(preparation: str) -> str:
    return "clip" if preparation == "whitening" else "whitening"


def _line(arm: str, learned: PatchesLearned, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a variant's settings and its means over seeds."""
    ended = [row for row in rows if "diverged" not in row]
    line: dict[str, Any] = {
        "arm": arm,
        "preparation": learned.preparation,
        "solver": learned.solver,
        "rho": learned.rho,
        "beta": learned.beta,
        "decay": learned.decay,
        "diverged": len(rows) - len(ended),
        "runs": len(rows),
        "explained": None,
    }
    if not ended:
        return line
    explained = [1 - row["held_out_mse"] / row["held_out_variance"] for row in ended]
    return line | {
        "explained": float(np.mean(explained)),
        "explained_runs": explained,
        "loss": float(np.mean([row["held_out_loss"] for row in ended])),
        "mse": float(np.mean([row["held_out_mse"] for row in ended])),
        "iterations": float(np.median([row["iterations"] for row in ended])),
        "not_converged": sum(not row["converged"] for row in ended),
        "seconds": float(np.median([row["seconds"] for row in ended])),
        "losses": ended[0]["losses"],
        "activations": _mean_of([row["activations"] for row in ended]),
        "filters": _mean_of([row["filters"] for row in ended]),
    }


def _mean_of(facts: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([fact[name] for fact in facts])) for name in facts[0]}
