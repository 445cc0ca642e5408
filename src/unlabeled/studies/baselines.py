"""Study 1: classical models on pixels. What does one get without any representation learning?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from unlabeled.comparison import compare, read_scores
from unlabeled.outcomes import ClassicalOutcome
from unlabeled.records import ArmKey, ArmSummary, Comparison, Contrast, Row, of_arm
from unlabeled.results import read_result
from unlabeled.studies.specs import PixelFeatures
from unlabeled.studies.tasks import Classical, ClassicalTask, Perform

if TYPE_CHECKING:
    from unlabeled.studies.lab import Lab

LOGISTIC, TREES, BOOSTING = (ArmKey("pixels", model) for model in ("logistic", "trees", "boosting"))
CONTRASTS = (Contrast(TREES, LOGISTIC), Contrast(BOOSTING, LOGISTIC), Contrast(BOOSTING, TREES))


@dataclass(frozen=True)
class Agreement:
    """How far both ways to logistic regression agree on the test split; losses in nats, the largest difference of a fold."""

    same_answers: float
    image_log_loss: float
    log_loss: float
    gradient: float
    converged: bool
    agrees: bool
    seconds: float


@dataclass(frozen=True)
class BaselinesFindings:
    """What study 1 found."""

    comparison: Comparison
    agreement: Agreement
    rows: tuple[Row, ...]


def run(lab: Lab, do: Perform) -> BaselinesFindings:
    """Fit logistic regression both ways, a forest and gradient boosting on pixels."""
    rows = do(list(baseline_tasks(lab)))
    # The network of one layer takes over what scikit-learn's regression chose, so it comes after it.
    twins = do(list(baseline_tasks(lab, ("linear-network",))))
    scores = read_scores(lab.folder, rows, lab.splits.test.classes)
    compared = compare(rows, scores, CONTRASTS, correlation=lab.folds.correlation)
    return BaselinesFindings(compared, _agreement(lab, rows, twins), (*rows, *twins))


def baseline_tasks(
    lab: Lab, models: Sequence[Classical] = ("logistic", "trees", "boosting")
) -> Iterator[ClassicalTask]:
    """Yield the runs on pixels that every later study is drawn beside."""
    for seed, model, fold in product(range(lab.config.seeds), models, range(len(lab.folds.folds))):
        yield ClassicalTask(ArmKey("pixels", model), PixelFeatures(), model, fold, seed)


def baseline_arms(lab: Lab, do: Perform) -> tuple[ArmSummary, ...]:
    """Run the models on pixels, or read them, and return their means."""
    rows = do(list(baseline_tasks(lab)))
    scores = read_scores(lab.folder, rows, lab.splits.test.classes)
    return compare(rows, scores, (), correlation=lab.folds.correlation).arms


def _agreement(lab: Lab, rows: Sequence[Row], twins: Sequence[Row]) -> Agreement:
    """Compare both ways to logistic regression, image by image on the test split."""
    by_fold = {row.fold: row for row in of_arm(rows, LOGISTIC)}
    same, apart, least, outcomes = [], [], [], []
    for twin in twins:
        other = by_fold[twin.fold]
        assert isinstance(twin.outcome, ClassicalOutcome)
        assert isinstance(other.outcome, ClassicalOutcome)
        ours, theirs = (read_result(lab.folder / row.run).arrays("test.npz") for row in (twin, other))
        same.append(float((ours["predicted"] == theirs["predicted"]).mean()))
        apart.append(float(np.abs(ours["log_loss"].astype(np.float64) - theirs["log_loss"]).mean()))
        least.append(abs(twin.outcome.log_loss - other.outcome.log_loss))
        outcomes.append(twin.outcome)
    return Agreement(
        same_answers=min(same),
        image_log_loss=max(apart),
        log_loss=max(least),
        gradient=max(outcome.facts["gradient"] for outcome in outcomes),
        converged=all(outcome.converged for outcome in outcomes),
        agrees=min(same) >= 0.99 and max(least) <= 0.005,
        seconds=float(np.median([outcome.seconds for outcome in outcomes])),
    )
