"""The main job: what are the unlabeled images worth? Trains the arms, and compares them under one protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlabeled.comparison import compare, read_scores
from unlabeled.errors import TrainingDiverged
from unlabeled.methods import METHODS, all_contrasts
from unlabeled.outcomes import ClassicalOutcome, Diverged
from unlabeled.records import ArmKey, Comparison, Row, outcomes_of
from unlabeled.studies.specs import Learned
from unlabeled.studies.tasks import AutoencoderTask, Perform, Task

if TYPE_CHECKING:
    from unlabeled.studies.lab import Lab


@dataclass(frozen=True)
class GainFindings:
    """What the main job found; ``code_length`` and ``pca_length`` are the numbers of a code and of principal components."""

    comparison: Comparison
    code_length: int
    pca_length: int
    autoencoders: tuple[Row, ...]
    rows: tuple[Row, ...]


def check(lab: Lab) -> None:
    """Refuse an encoder, folds or a network that do not fit."""
    lab.geometry(lab.config.encoder)
    _ = lab.folds
    lab.check_network(lab.config.encoder, lab.config.network)


def run(lab: Lab, do: Perform) -> GainFindings:
    """Run every arm on every fold and seed.

    Raises
    ------
    TrainingDiverged
        If a run diverged: without one of its arms there is no answer.
    """
    config = lab.config
    learned = [Learned(config.encoder, config.autoencoder, seed) for seed in range(config.seeds)]
    autoencoders = _whole(do([AutoencoderTask(ArmKey("autoencoder"), one) for one in learned]))
    rows = _whole(do(list(plan(lab))))
    scores = read_scores(lab.folder, rows, lab.splits.test.classes)
    of_components = outcomes_of((row for row in rows if row.arm.source == "pca"), ClassicalOutcome)
    return GainFindings(
        comparison=compare(rows, scores, all_contrasts(), correlation=lab.folds.correlation),
        code_length=lab.geometry(config.encoder).code_length,
        pca_length=min(outcome.features for outcome in of_components),
        autoencoders=tuple(autoencoders),
        rows=tuple(rows),
    )


def plan(lab: Lab) -> Iterator[Task]:
    """Yield the runs of all methods, by seed and method, so that features are made once for all models and folds."""
    for seed in range(lab.config.seeds):
        for method in METHODS:
            for fold in range(len(lab.folds.folds)):
                yield from method.tasks(lab, fold, seed)


def _whole(rows: Sequence[Row]) -> Sequence[Row]:
    for row in rows:
        if isinstance(row.outcome, Diverged):
            raise TrainingDiverged(row.outcome.diverged)
    return rows
