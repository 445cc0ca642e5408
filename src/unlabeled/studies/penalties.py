"""The sparse autoencoders of study 7: the base, and the base with one thing changed, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unlabeled.experiments.specs import PatchesLearned
from unlabeled.outcomes import Activations, FilterShapes, PatchesOutcome
from unlabeled.records import ArmKey, Row, outcomes_of

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

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


def variants(lab: Lab) -> dict[ArmKey, list[PatchesLearned]]:
    """Return every variant's runs by seed: the base, and the base with one thing changed."""
    grid = lab.config.studies.sparse
    other = other_preparation(grid.preparation)
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


def other_preparation(preparation: str) -> str:
    """Return the preparation that the base has not."""
    return "clip" if preparation == "whitening" else "whitening"


def describe(arm: ArmKey, learned: PatchesLearned, rows: Sequence[Row]) -> SparseLine:
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
