"""The main job: what are the unlabeled images worth? Trains the arms, and compares them under one protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlabeled.comparison import ARMS, CONTRASTS, compare, read_scores
from unlabeled.errors import TrainingDiverged
from unlabeled.outcomes import ClassicalOutcome, Diverged
from unlabeled.records import ArmKey, Comparison, Row, ended
from unlabeled.studies.joint import network_task
from unlabeled.studies.specs import ComponentFeatures, FeatureSpec, Learned, LearnedCodes, PixelFeatures, RandomCodes
from unlabeled.studies.tasks import AutoencoderTask, Classical, ClassicalTask, Perform, Task

if TYPE_CHECKING:
    from unlabeled.studies.lab import Lab

# Features are made once for all models, so runs go by source.
_SOURCES = ("pixels", "random", "pca", "autoencoder", "labeled", "joint")
_CLASSICAL: tuple[Classical, ...] = ("logistic", "trees")


@dataclass(frozen=True)
class GainFound:
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


def run(lab: Lab, do: Perform) -> GainFound:
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
    of_components = ended((row for row in rows if row.arm.source == "pca"), ClassicalOutcome)
    return GainFound(
        comparison=compare(rows, scores, CONTRASTS, correlation=lab.folds.correlation),
        code_length=lab.geometry(config.encoder).code_length,
        pca_length=min(outcome.features for outcome in of_components),
        autoencoders=tuple(autoencoders),
        rows=tuple(rows),
    )


def plan(lab: Lab) -> Iterator[Task]:
    """Yield the runs of all arms, by seed and source."""
    for seed in range(lab.config.seeds):
        for arm in sorted(ARMS, key=lambda arm: _SOURCES.index(arm.source)):
            for fold in range(len(lab.folds.folds)):
                yield _task(lab, arm, fold, seed)


def _task(lab: Lab, arm: ArmKey, fold: int, seed: int) -> Task:
    if arm.model == "network":
        return network_task(lab, arm, fold, seed)
    encoder = lab.config.encoder
    features: dict[str, FeatureSpec] = {
        "pixels": PixelFeatures(),
        "random": RandomCodes(encoder, seed),
        "pca": ComponentFeatures(encoder),
        "autoencoder": LearnedCodes(Learned(encoder, lab.config.autoencoder, seed)),
    }
    model = next(model for model in _CLASSICAL if model == arm.model)
    return ClassicalTask(arm, features[arm.source], model, fold, seed)


def _whole(rows: Sequence[Row]) -> Sequence[Row]:
    for row in rows:
        if isinstance(row.outcome, Diverged):
            raise TrainingDiverged(row.outcome.diverged)
    return rows
