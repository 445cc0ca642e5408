"""Study 7: the sparse linear autoencoder on patches. What do rho, beta and lambda do to its filters and activations?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.errors import DataError
from unlabeled.files import write_arrays
from unlabeled.outcomes import Activations, FilterShapes, PatchesOutcome
from unlabeled.records import ArmKey, Row, of_arm, outcomes_of
from unlabeled.results import read_result
from unlabeled.studies.specs import PatchesLearned
from unlabeled.studies.tasks import PatchesTask, Perform

if TYPE_CHECKING:
    from unlabeled.studies.lab import Lab

BASE, UNTRAINED, IN_BATCHES = ArmKey("sparse"), ArmKey("sparse", way="untrained"), ArmKey("sparse", way="batches")


def prepared(preparation: str) -> ArmKey:
    """Return the arm whose patches are prepared otherwise."""
    return ArmKey("sparse", factor="preparation", value=preparation)


def changed(setting: str, value: float) -> ArmKey:
    """Return the arm with another rho, beta or lambda."""
    return ArmKey("sparse", factor=setting, value=f"{value:g}")


UNPENALISED = changed("beta", 0)


@dataclass(frozen=True)
class Means:
    """What a variant's runs came to, means over seeds; times in seconds, ``explained`` shares of the held-out variance."""

    explained: float
    explained_runs: tuple[float, ...]
    loss: float
    mse: float
    iterations: float
    not_converged: int
    seconds: float
    losses: tuple[float, ...]
    activations: Activations
    filters: FilterShapes


@dataclass(frozen=True)
class SparseLine:
    """A variant: its settings, and its means, if a run came to an end."""

    arm: ArmKey
    preparation: str
    solver: str
    rho: float
    beta: float
    decay: float
    diverged: int
    runs: int
    means: Means | None


@dataclass(frozen=True)
class SparseFindings:
    """What study 7 found; ``other`` is the preparation that the base has not."""

    variants: tuple[SparseLine, ...]
    other: str
    settings: dict[str, Any]
    rows: tuple[Row, ...]

    def line(self, arm: ArmKey) -> SparseLine:
        """Return a variant by its arm."""
        return next(line for line in self.variants if line.arm == arm)

    def means(self, arm: ArmKey) -> Means | None:
        """Return a variant's means, if a run of it came to an end."""
        return self.line(arm).means

    def known(self, *arms: ArmKey) -> list[tuple[SparseLine, Means]]:
        """Return those of some variants, or of all, that came to an end."""
        lines = [self.line(arm) for arm in arms] if arms else self.variants
        return [(line, line.means) for line in lines if line.means is not None]


def run(lab: Lab, do: Perform) -> SparseFindings:
    """Train every variant on patches of the unlabeled images."""
    planned = variants(lab)
    rows = do([PatchesTask(arm, learned[seed]) for seed in range(lab.config.seeds) for arm, learned in planned.items()])
    arrays: dict[str, NDArray[Any]] = {}
    for number, arm in enumerate(planned):
        first = next((row for row in of_arm(rows, arm) if not row.diverged), None)
        if first is not None:
            stored = read_result(lab.folder / first.run).arrays("filters.npz")
            arrays |= {f"{name}{number}": array for name, array in stored.items()}
    write_arrays(lab.folder / "sparse" / "pictures.npz", **arrays)
    grid = lab.config.studies.sparse
    lines = tuple(_line(arm, learned[0], of_arm(rows, arm)) for arm, learned in planned.items())
    return SparseFindings(lines, _other(grid.preparation), grid.model_dump(mode="json"), tuple(rows))


def check(lab: Lab) -> None:
    """Refuse patches that do not fit these images, and batches that say too little of how often a unit is active."""
    from unlabeled.sparse import check_batch

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


def variants(lab: Lab) -> dict[ArmKey, list[PatchesLearned]]:
    """Return every variant's runs by seed: the base, and the base with one thing changed."""
    grid = lab.config.studies.sparse
    other = _other(grid.preparation)
    changes: dict[ArmKey, dict[str, Any]] = {
        UNTRAINED: {"kind": "random"},
        BASE: {},
        IN_BATCHES: {"solver": "batches"},
        prepared(other): {"preparation": other},
        UNPENALISED: {"beta": 0.0},
    }
    changes |= {changed("rho", rho): {"rho": rho} for rho in grid.rhos if rho != grid.rho}
    changes |= {changed("beta", beta): {"beta": beta} for beta in grid.betas if beta not in (grid.beta, 0)}
    changes |= {changed("lambda", decay): {"decay": decay} for decay in grid.decays if decay != grid.decay}
    seeds = range(lab.config.seeds)
    return {arm: [PatchesLearned.of(grid, seed, **change) for seed in seeds] for arm, change in changes.items()}


def _other(preparation: str) -> str:
    return "clip" if preparation == "whitening" else "whitening"


def _line(arm: ArmKey, learned: PatchesLearned, rows: Sequence[Row]) -> SparseLine:
    """Return a variant's settings and its means over seeds."""
    outcomes = outcomes_of(rows, PatchesOutcome)
    settings = (learned.preparation, learned.solver, learned.rho, learned.beta, learned.decay)
    return SparseLine(arm, *settings, len(rows) - len(outcomes), len(rows), _means(outcomes) if outcomes else None)


def _means(outcomes: Sequence[PatchesOutcome]) -> Means:
    explained = tuple(1 - outcome.held_out_mse / outcome.held_out_variance for outcome in outcomes)
    return Means(
        explained=float(np.mean(explained)),
        explained_runs=explained,
        loss=float(np.mean([outcome.held_out_loss for outcome in outcomes])),
        mse=float(np.mean([outcome.held_out_mse for outcome in outcomes])),
        iterations=float(np.median([outcome.iterations for outcome in outcomes])),
        not_converged=sum(not outcome.converged for outcome in outcomes),
        seconds=float(np.median([outcome.seconds for outcome in outcomes])),
        losses=tuple(outcomes[0].losses),
        activations=Activations(**_mean_of([outcome.activations for outcome in outcomes])),
        filters=FilterShapes(**_mean_of([outcome.filters for outcome in outcomes])),
    )


def _mean_of(facts: Sequence[Activations] | Sequence[FilterShapes]) -> dict[str, float]:
    tables = [asdict(fact) for fact in facts]
    return {name: float(np.mean([table[name] for table in tables])) for name in tables[0]}
