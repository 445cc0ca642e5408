"""What runs say of each other: means, effects, verdicts. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unlabeled.evaluation.statistics import decidable, holm, paired_effect, shared_test_variance
from unlabeled.keeping.results import read_result
from unlabeled.outcomes import NetworkOutcome
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
    Worth,
)

# What is told of an arm beside its scores: the median over its runs.
_MEDIANS = (
    "seconds", "predict_seconds", "images_per_second", "predictions_per_second", "seconds_to_best", "valid_log_loss",
    "train_accuracy", "features", "parameters", "seconds_in_all", "teraoperations",
)  # fmt: skip

_NO_VERDICT = ("unfinished", "reading")

# For each run: right or wrong, and the log loss, of every test image.
Scores: TypeAlias = Mapping[tuple[ArmKey, int, int], tuple[NDArray[np.bool_], NDArray[np.floating[Any]]]]


def compare(
    rows: Sequence[Row],
    scores: Scores,
    contrasts: Iterable[Contrast],
    *,
    correlation: float,
    difference: float = 2.0,
    level: ArmKey | None = None,
) -> Comparison:
    """Return every arm's means, every contrast's effect and verdict, and what the unlabeled images are worth to an arm.

    An arm with a run that diverged has no mean (None), and its contrasts no effect. With fewer than three seeds there is no verdict (of
    arms whose runs are ``apart`` with fewer than three folds), nor for a network that was not trained to the end: the best epoch of more
    than half of its runs is the last one, or it is less accurate than ``level``.

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
    difference
        The smallest difference that matters, points of accuracy.
    level
        The arm that every network has to reach, if it is among the rows.
    """
    compared = _Compared(rows, scores, correlation)
    arms = tuple(compared.describe(arm) for arm in dict.fromkeys(row.arm for row in rows))
    unfinished = _unfinished(arms, level)
    results = [compared.contrast(contrast, unfinished) for contrast in contrasts]
    return Comparison(arms, decide(results, difference), _worths(results, difference))


def _unfinished(arms: Iterable[ArmSummary], level: ArmKey | None) -> frozenset[ArmKey]:
    """Return the networks that were not trained to the end."""
    known = {arm.arm: arm for arm in arms}
    reached = known[level].accuracy if level in known else None
    return frozenset(
        arm.arm
        for arm in known.values()
        if arm.arm.model == "network"
        and not (arm.trained and (reached is None or arm.accuracy is None or arm.accuracy.mean >= reached.mean))
    )


def decide(contrasts: Sequence[ContrastResult], difference: float = 2.0) -> tuple[ContrastResult, ...]:
    """Return contrasts with verdicts, and p values that are corrected for their family's number by Holm's method.

    A contrast that was named beforehand is no member of a family. Those that diverged have neither, and those that can't carry a
    verdict keep saying why. What the unlabeled images are worth to a way, by two contrasts, is decided in ``_worths``.
    """
    p_values: dict[int, float] = {}
    families: dict[str, list[int]] = {}
    for number, result in enumerate(contrasts):
        if result.accuracy is None:
            continue
        if result.contrast.named:
            p_values[number] = result.accuracy.p
        else:
            families.setdefault(result.contrast.family or result.contrast.role, []).append(number)
    for members in families.values():
        raw = [effect.p for number in members if (effect := contrasts[number].accuracy) is not None]
        p_values |= zip(members, holm(raw), strict=True)
    return tuple(
        result
        if result.accuracy is None
        else replace(result, p=p_values[number], verdict=_verdict(result, p_values[number], difference))
        for number, result in enumerate(contrasts)
    )


def _verdict(result: ContrastResult, p: float, difference: float) -> Decision:
    effect = result.accuracy
    assert effect is not None
    if result.verdict in _NO_VERDICT:
        return result.verdict
    if p < 0.05:
        return "helps" if effect.mean > 0 else "hurts"
    return "no difference" if -difference < effect.low and effect.high < difference else "imprecise"


def _worths(results: Sequence[ContrastResult], difference: float) -> tuple[Worth, ...]:
    """Return a verdict for every arm that is compared with the arm without unlabeled images and with its twin.

    "Helps" needs both differences, each at 5 %, and so has an error of at most 5 % (intersection-union test: Berger,
    "Multiparameter Hypothesis Testing and Acceptance Sampling", Technometrics 24, 1982); "hurts" needs the first. Either is corrected for
    the number of arms by Holm's method.
    """
    twins = {result.treated: result for result in results if result.contrast.role == "twin"}
    pairs = [
        (result, twins[result.treated])
        for result in results
        if result.contrast.role == "without" and result.treated in twins
    ]
    measured = [pair for pair in pairs if pair[0].accuracy is not None and pair[1].accuracy is not None]
    helped, hurt = (
        _corrected(measured, count) for count in (lambda one, two: max(one.p, two.p), lambda one, _two: one.p)
    )
    return tuple(
        Worth(without, twin, None, "diverged")
        if without.accuracy is None or twin.accuracy is None
        else _worth(without, twin, helped[without.treated], hurt[without.treated], difference)
        for without, twin in pairs
    )


def _corrected(
    pairs: Sequence[tuple[ContrastResult, ContrastResult]], p_of: Callable[[Effect, Effect], float]
) -> dict[ArmKey, float]:
    """Return each arm's p, corrected for the number of arms; one that was named beforehand is none of many."""
    p_values = {
        without.treated: p_of(without.accuracy, twin.accuracy)
        for without, twin in pairs
        if without.accuracy is not None and twin.accuracy is not None
    }
    others = [without.treated for without, _ in pairs if not without.contrast.named]
    return p_values | dict(zip(others, holm([p_values[arm] for arm in others]), strict=True))


def _worth(without: ContrastResult, twin: ContrastResult, p: float, p_hurts: float, difference: float) -> Worth:
    first, second = without.accuracy, twin.accuracy
    assert first is not None
    assert second is not None
    blocked = next((one.verdict for one in (without, twin) if one.verdict in _NO_VERDICT), None)
    verdict: Decision = "imprecise"
    if blocked is not None:
        verdict = blocked
    elif p < 0.05 and min(first.mean, second.mean) > 0:
        verdict = "helps"
    elif p_hurts < 0.05 and first.mean < 0:
        verdict = "hurts"
    elif first.low > -difference and min(first.high, second.high) < difference:
        # Not worse than without them by so much, and not better by so much than both.
        verdict = "no difference"
    return Worth(without, twin, p, verdict)


def read_scores(folder: Path, rows: Iterable[Row], labels: NDArray[np.int64]) -> Scores:
    """Read what every test image got, from the runs of rows in a study's folder; ``labels`` are the test images' classes."""
    scores = {}
    for row in rows:
        if row.scored is not None and row.fold is not None:
            stored = read_result(folder / row.run).arrays("test.npz")
            scores[row.arm, row.fold, row.seed] = (stored["predicted"] == labels, stored["log_loss"])
    return scores


def all_apart(rows: Iterable[Row], arms: Collection[ArmKey]) -> bool:
    """Tell whether runs of some arms share nothing random with those of other folds."""
    return all(row.apart for row in rows if row.arm in arms)


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
            nested = all_apart(self.rows, [arm])
            accuracy, loss = (effect_of(self.table(arm, metric), self.correlation, nested=nested) for metric in (0, 1))
            # No accuracy is below 0 or above 100 %, whatever a symmetric interval says of few runs.
            accuracy = replace(accuracy, low=max(accuracy.low, 0.0), high=min(accuracy.high, 100.0))
            loss = replace(loss, low=max(loss.low, 0.0))
        outcomes = [outcome for row in own if (outcome := row.scored) is not None]
        medians = {}
        for name in _MEDIANS:
            values = [value for outcome in outcomes if (value := getattr(outcome, name, None)) is not None]
            if values:
                medians[name] = float(np.median(values))
        not_converged = sum(not outcome.converged for outcome in outcomes)
        at_last = sum(isinstance(outcome, NetworkOutcome) and outcome.best_at_last for outcome in outcomes)
        return ArmSummary(arm, accuracy, loss, medians, not_converged, len(own) - len(outcomes), len(own), at_last)

    def contrast(self, contrast: Contrast, unfinished: Collection[ArmKey] = ()) -> ContrastResult:
        """Return the effect of what two arms differ in; its verdict says why it can't have one, if so."""
        treated, control = contrast.treated, contrast.control
        if not (self.whole(treated) and self.whole(control)):
            return ContrastResult(contrast, None, None)
        accuracy, loss = (self.table(treated, metric) - self.table(control, metric) for metric in (0, 1))
        differences, nested = accuracy.mean(axis=2), all_apart(self.rows, [treated, control])
        blocked: Decision = "imprecise"
        if treated in unfinished or control in unfinished:
            blocked = "unfinished"
        elif not decidable(len(self.folds), len(self.seeds), nested=nested):
            blocked = "reading"
        effect = effect_of(accuracy, self.correlation, nested=nested)
        return ContrastResult(
            contrast,
            # No two accuracies are further apart than 100 points, whatever a symmetric interval says of few runs.
            replace(effect, low=max(effect.low, -100.0), high=min(effect.high, 100.0)),
            effect_of(loss, self.correlation, nested=nested),
            tuple(
                Difference(fold, seed, float(differences[row, column]))
                for row, fold in enumerate(self.folds)
                for column, seed in enumerate(self.seeds)
            ),
            verdict=blocked,
        )


def effect_of(values: NDArray[np.float64], correlation: float, *, nested: bool = False) -> Effect:
    """Estimate the mean of values (folds, seeds, images), with the variance that the choice of test images adds."""
    tested = shared_test_variance(values, nested=nested)
    return paired_effect(values.mean(axis=2), correlation=correlation, test_variance=tested, nested=nested)
