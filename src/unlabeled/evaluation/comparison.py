"""What runs say of each other: means, effects, verdicts. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unlabeled.evaluation.statistics import holm, paired_effect
from unlabeled.keeping.results import read_result
from unlabeled.records import (
    ArmKey,
    ArmSummary,
    Comparison,
    Contrast,
    ContrastResult,
    Decision,
    Difference,
    Effect,
    Row,
)

# What is told of an arm beside its scores: the median over its runs.
_MEDIANS = (
    "seconds", "predict_seconds", "images_per_second", "predictions_per_second", "seconds_to_best", "valid_log_loss",
    "train_accuracy", "features", "parameters",
)  # fmt: skip

# For each run: right or wrong, and the log loss, of every test image.
Scores: TypeAlias = Mapping[tuple[ArmKey, int, int], tuple[NDArray[np.bool_], NDArray[np.floating[Any]]]]


def compare(rows: Sequence[Row], scores: Scores, contrasts: Iterable[Contrast], *, correlation: float) -> Comparison:
    """Return every arm's means and every contrast's effect and verdict.

    An arm with a run that diverged has no mean (None), and its contrasts no effect.

    Parameters
    ----------
    rows
        One for each (arm, fold, seed), all combinations.
    scores
        By (arm, fold, seed); what diverged has none.
    contrasts
        Which arms to compare.
    correlation
        Between the results of two folds, for ``paired_effect``.
    """
    compared = _Compared(rows, scores, correlation)
    arms = tuple(compared.describe(arm) for arm in dict.fromkeys(row.arm for row in rows))
    return Comparison(arms, decide([compared.contrast(contrast) for contrast in contrasts]))


def decide(contrasts: Sequence[ContrastResult]) -> tuple[ContrastResult, ...]:
    """Return contrasts with verdicts, and p values that are corrected for their family's number by Holm's method.

    A contrast that was named beforehand is no member of a family. Those that diverged have neither.
    """
    p_values: dict[int, float] = {}
    measured = [number for number, found in enumerate(contrasts) if found.accuracy is not None]
    families: dict[str, list[int]] = {}
    for number in measured:
        contrast = contrasts[number].contrast
        if contrast.named:
            p_values[number] = _p(contrasts[number])
        else:
            families.setdefault(contrast.family, []).append(number)
    for members in families.values():
        p_values |= zip(members, holm([_p(contrasts[number]) for number in members]), strict=True)
    return tuple(
        replace(found, p=p_values[number], verdict=_verdict(found.accuracy.mean, p_values[number]))
        if found.accuracy is not None
        else found
        for number, found in enumerate(contrasts)
    )


def _p(found: ContrastResult) -> float:
    assert found.accuracy is not None
    return found.accuracy.p


def _verdict(mean: float, p: float) -> Decision:
    if p >= 0.05:
        return "no evidence"
    return "helps" if mean > 0 else "hurts"


def read_scores(folder: Path, rows: Iterable[Row], labels: NDArray[np.int64]) -> Scores:
    """Read what every test image got, from the runs of rows in a study's folder; ``labels`` are the test images' classes."""
    scores = {}
    for row in rows:
        if row.scored is not None and row.fold is not None:
            stored = read_result(folder / row.run).arrays("test.npz")
            scores[row.arm, row.fold, row.seed] = (stored["predicted"] == labels, stored["log_loss"])
    return scores


class _Compared:
    """The rows and scores of a comparison."""

    def __init__(self, rows: Sequence[Row], scores: Scores, correlation: float) -> None:
        self.rows, self.scores, self.correlation = rows, scores, correlation
        self.folds = sorted({row.fold for row in rows if row.fold is not None})
        self.seeds = sorted({row.seed for row in rows})

    def table(self, arm: ArmKey, metric: int) -> NDArray[np.float64]:
        """Return each test image's value, (folds, seeds, images): percent right, or nats."""
        unit = 100.0 if metric == 0 else 1.0
        return unit * np.array(
            [[self.scores[arm, fold, seed][metric] for seed in self.seeds] for fold in self.folds], dtype=np.float64
        )

    def whole(self, arm: ArmKey) -> bool:
        """Tell whether each of an arm's runs came to an end."""
        return all((arm, fold, seed) in self.scores for fold in self.folds for seed in self.seeds)

    def describe(self, arm: ArmKey) -> ArmSummary:
        """Return an arm's means with intervals, medians of times and speeds, and what went wrong."""
        own = [row for row in self.rows if row.arm == arm]
        accuracy = loss = None
        if self.whole(arm):
            accuracy, loss = (_effect(self.table(arm, metric), self.correlation) for metric in (0, 1))
            # No accuracy is below 0 or above 100 %, whatever a symmetric interval says of few runs.
            accuracy = replace(accuracy, low=max(accuracy.low, 0.0), high=min(accuracy.high, 100.0))
            loss = replace(loss, low=max(loss.low, 0.0))
        outcomes = [outcome for row in own if (outcome := row.scored) is not None]
        medians = {}
        for name in _MEDIANS:
            values = [getattr(outcome, name) for outcome in outcomes if hasattr(outcome, name)]
            if values:
                medians[name] = float(np.median(values))
        not_converged = sum(not outcome.converged for outcome in outcomes)
        return ArmSummary(arm, accuracy, loss, medians, not_converged, len(own) - len(outcomes), len(own))

    def contrast(self, contrast: Contrast) -> ContrastResult:
        """Return the effect of what two arms differ in."""
        treated, control = contrast.treated, contrast.control
        if not (self.whole(treated) and self.whole(control)):
            return ContrastResult(contrast, None, None)
        accuracy, loss = (self.table(treated, metric) - self.table(control, metric) for metric in (0, 1))
        differences = accuracy.mean(axis=2)
        effect = _effect(accuracy, self.correlation)
        return ContrastResult(
            contrast,
            # No two accuracies are further apart than 100 points, whatever a symmetric interval says of few runs.
            replace(effect, low=max(effect.low, -100.0), high=min(effect.high, 100.0)),
            _effect(loss, self.correlation),
            tuple(
                Difference(fold, seed, float(differences[row, column]))
                for row, fold in enumerate(self.folds)
                for column, seed in enumerate(self.seeds)
            ),
        )


def _effect(values: NDArray[np.float64], correlation: float) -> Effect:
    """Estimate the mean of values (folds, seeds, images), with the variance that the choice of test images adds."""
    of_images = values.mean(axis=(0, 1))
    test_variance = float(of_images.var(ddof=1)) / len(of_images) if len(of_images) > 1 else 0.0
    return paired_effect(values.mean(axis=2), correlation=correlation, test_variance=test_variance)
