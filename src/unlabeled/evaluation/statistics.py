"""Paired effects, their intervals and verdicts, and how large a study must be. Knows nothing of torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from unlabeled.records import Effect

Numbers = NDArray[np.float64]
# With fewer seeds than this nothing holds a verdict: the 97.5 % quantile of t is 12.7 with one degree of freedom, and 4.3 with two.
LEAST_SEEDS = 3
_MOST_RUNS = 1000
_NODES = 16


@dataclass(frozen=True)
class Squares:
    """The mean squares of a two-way layout, divided by the number of runs: what each says of the variance of the mean.

    Attributes
    ----------
    folds
        Between folds; inflated where folds overlap. Its expectation holds the runs' own noise once.
    seeds
        Between seeds; zero for one seed. Its expectation holds the runs' own noise once.
    runs
        The runs' own noise: what is left when the means of folds and seeds are taken off. Zero for one seed.
    every
        All runs taken for independent: their variance divided by their number.
    """

    folds: Numbers
    seeds: Numbers
    runs: Numbers
    every: Numbers


@dataclass(frozen=True)
class Needed:
    """How many folds, seeds, or times as many test images would do, each alone; None where no number does."""

    folds: int | None
    seeds: int | None
    images: float | None


def paired_effect(
    differences: ArrayLike, *, correlation: float = 0.0, test_variance: float = 0.0, level: float = 0.95
) -> Effect:
    """Estimate the mean of paired differences, with an interval that respects what the runs share.

    Runs of a fold share labels, runs of a seed share an autoencoder, and all runs share one test split. The interval is that of
    ``half_width``: of the studies without an effect no more than 1 - level miss zero, whichever of these dominates. The p value is
    the level of error at which the interval just reaches zero, so p < 1 - level says the same as the interval.

    It is about these labels, other seeds, and other test images, if ``correlation`` is zero; then folds are ways to split the same
    labels. For another draw of labels give the share that folds have in common.

    Parameters
    ----------
    differences
        One number a run: the score with less the score without, same fold and seed, (folds, seeds). Or numbers (n,) that share
        nothing; then the interval is Student's.
    correlation
        rho, in [0, 1): how strongly fold effects are correlated by what folds have in common.
    test_variance
        Of the mean over test images, in the squared unit of the differences.
    level
        Coverage of the interval.

    Raises
    ------
    ValueError
        If there are fewer than two folds, a number is not finite, or rho or the level is out of range.
    """
    table = np.asarray(differences, dtype=np.float64)
    alone = table.ndim == 1
    table = table[:, None] if alone else table
    if table.ndim != 2 or len(table) < 2 or table.shape[1] < 1:
        raise ValueError(f"differences have shape {np.shape(differences)}; give (folds, seeds) with two folds or more")
    if not np.isfinite(table).all() or not 0 <= test_variance < math.inf:
        raise ValueError("differences and their test variance must be finite, and the variance at least 0")
    if not 0 <= correlation < 1:
        raise ValueError(f"correlation={correlation}; give a number of at least 0 and below 1")
    if not 0 < level < 1:
        raise ValueError(f"level={level}; give a number between 0 and 1")
    folds, seeds = table.shape
    squares, mean, variance = mean_squares(table, correlation), float(table.mean()), float(test_variance)

    def half(wrong: float) -> float:
        return float(_half_width(squares, folds, seeds, correlation, variance, wrong))

    wide, least = half(1 - level), _least_p(abs(mean), squares, folds, seeds, variance)
    parts = (float(squares.folds), float(squares.seeds), variance)
    return Effect(
        mean, mean - wide, mean + wide, _p_value(abs(mean), half, least), _degrees(squares, folds, seeds),
        float(table.std(ddof=1)), int((table.mean(axis=1) > 0).sum()), folds, seeds, parts,
        runs=float(squares.runs), correlation=float(correlation), decidable=(folds if alone else seeds) >= LEAST_SEEDS,
    )  # fmt: skip


def mean_squares(tables: NDArray[np.float64], correlation: float = 0.0) -> Squares:
    """Return the mean squares of tables (..., folds, seeds) of differences.

    That between folds is inflated by 1 + J rho / (1 - rho) for J folds: what they have in common does not show in their spread
    (Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003).
    """
    folds, seeds = tables.shape[-2:]
    rows, columns, runs = tables.mean(axis=-1), tables.mean(axis=-2), folds * seeds
    none = np.zeros(tables.shape[:-2])
    own = tables - rows[..., :, None] - columns[..., None, :] + tables.mean(axis=(-2, -1))[..., None, None]
    return Squares(
        rows.var(axis=-1, ddof=1) / folds * _inflation(folds, correlation),
        columns.var(axis=-1, ddof=1) / seeds if seeds > 1 else none,
        (own**2).sum(axis=(-2, -1)) / ((folds - 1) * (seeds - 1) * runs) if seeds > 1 else none,
        tables.var(axis=(-2, -1), ddof=1) / runs,
    )


def half_width(
    squares: Squares,
    folds: int,
    seeds: int,
    *,
    correlation: float = 0.0,
    test_variance: float | Numbers = 0.0,
    level: float = 0.95,
) -> Numbers:
    """Return half the width of the interval of the mean, for one study or many.

    With F, S and E for the mean squares (per run) of folds, seeds and runs, t and z for two-sided quantiles, its square is

        z² (F + S - E) + max((t² - z²) F, (t² - z²) S)

    where each t has the degrees of freedom of what it stands before. F + S - E estimates the variance of the mean without bias
    (Scheffé, "The Analysis of Variance", 1959, chapter 7); it would do if it were known. The rest pays for its estimation from few
    folds and seeds, and is so large that where one of them is all there is, the interval is Student's of its means. It is Howe's sum
    of intervals ("Approximate Confidence Limits on the Mean of X + Y Where X and Y Are Two Tabled Independent Random Variables",
    JASA 69, 1974; the modified large-sample intervals of Burdick and Graybill, "Confidence Intervals on Variance Components", 1992)
    with the greater in place of the root of squares, which is narrower and does as well: of 5 % the rate of errors is at most 5.01 %
    from 3 x 3 to 10 x 5 whichever dominates, and 5.2 % for 30 x 30.

    It is never below Student's interval of all runs, which would be right if they shared nothing. Of overlapping folds more of E is
    taken off, for F holds E inflated: as much as leaves the level where seeds don't matter and folds dominate, to first order in
    E / F. The variance z² v of the test images is added last. If a square without it keeps a level, one with it does too: the tail
    of chi-square is convex (Banerjee, "Approximate Confidence Interval for Linear Functions of Means of k Populations", Sankhyā 22,
    1960). ``benchmarks/calibration.py`` has the rates at which it errs.
    """
    return _half_width(squares, folds, seeds, correlation, test_variance, 1 - level)


def smallest_effect(
    effect: Effect,
    *,
    folds: int | None = None,
    seeds: int | None = None,
    power: float = 0.8,
    level: float = 0.95,
) -> float | None:
    """Return the smallest true effect that such a study would find with this power, or None if it can hold no verdict.

    ``folds`` and ``seeds`` are the study's own where they are left out. The variances are taken for what the study estimates.

    Raises
    ------
    ValueError
        If the power is not between 1 - level and 1.
    """
    if not 1 - level < power < 1:
        raise ValueError(f"power={power}; give a number between {1 - level:.3g} and 1")
    if not (effect.decidable if seeds in (None, effect.seeds) else seeds is not None and seeds >= LEAST_SEEDS):
        return None
    squares, variance, shape = _expect(effect, folds or effect.folds, seeds or effect.seeds)
    half = half_width(squares, *shape, correlation=effect.correlation, test_variance=effect.parts[2], level=level)
    error = math.sqrt(variance + effect.parts[2])
    if error == 0:
        return 0.0

    def missing(true: float) -> float:
        found = scipy.special.ndtr((true - half) / error) + scipy.special.ndtr((-true - half) / error)
        return float(found.mean()) - power

    return float(scipy.optimize.brentq(missing, 0.0, float(half.max()) + 10 * error))


def needed(effect: Effect, below: float, *, level: float = 0.95) -> Needed:
    """Return how large a study's half-width falls below a number from, in half of the studies: folds, seeds or test images alone.

    Folds and seeds are searched up to 1,000; images are times those of the study. Variances are taken for what it estimates. More
    stratified folds also train on more labels, which this does not know of. With one seed the share of seeds isn't known.
    """
    seeds_known = effect.seeds > 1

    def half(folds: int, seeds: int, images: float = 1.0) -> float:
        squares, _, _ = _expect(effect, folds, seeds)
        variance = effect.parts[2] / images
        wide = half_width(squares, folds, seeds, correlation=effect.correlation, test_variance=variance, level=level)
        return float(np.median(wide))

    return Needed(
        _least(lambda folds: half(folds, effect.seeds) < below, effect.folds),
        _least(lambda seeds: half(effect.folds, seeds) < below, effect.seeds) if seeds_known else None,
        _times(half(effect.folds, effect.seeds), half(effect.folds, effect.seeds, math.inf), below),
    )


def shared_test_variance(values: ArrayLike) -> float:
    """Return the variance of the mean that the choice of test images brings in: the part that all runs share.

    Runs of other folds and other seeds have nothing but the test images in common, so it is the mean covariance of such pairs. What
    single runs, folds or seeds add on images is in their own mean squares already. With one fold or seed it is the variance over images
    of the mean over runs.

    Parameters
    ----------
    values
        A number for each test image of each run, (folds, seeds, images).
    """
    table = np.asarray(values, dtype=np.float64)
    folds, seeds, images = table.shape
    if images < 2:
        return 0.0
    centred = table - table.mean(axis=2, keepdims=True)
    if folds < 2 or seeds < 2:
        return float((centred.mean(axis=(0, 1)) ** 2).sum() / (images - 1) / images)
    every, of_folds, of_seeds = ((centred.sum(axis=axes) ** 2).sum() for axes in ((0, 1), (1,), (0,)))
    pairs = folds * seeds * (folds - 1) * (seeds - 1)
    return max(0.0, float(every - of_folds - of_seeds + (centred**2).sum()) / pairs / (images - 1) / images)


def fold_correlation(folds: Sequence[NDArray[Any]]) -> float:
    """Return rho for folds that are subsets drawn from the same labels: the mean share that two of them have in common.

    For results that are means over images it is the correlation itself.
    """
    shares = [len(np.intersect1d(a, b)) / math.sqrt(len(a) * len(b)) for a, b in combinations(folds, 2)]
    return float(np.mean(shares))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's step-down method (Scand. J. Statist. 6, 1979)."""
    count = len(p_values)
    order = sorted(range(count), key=lambda number: p_values[number])
    corrected, largest = [0.0] * count, 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, (count - rank) * p_values[number]))
        corrected[number] = largest
    return corrected


def _inflation(folds: int, correlation: float) -> float:
    return 1 + folds * correlation / (1 - correlation)


def _half_width(
    squares: Squares, folds: int, seeds: int, correlation: float, test_variance: float | Numbers, wrong: float
) -> Numbers:
    normal, of_folds, every = (_quantile(degrees, wrong) ** 2 for degrees in (math.inf, folds - 1, folds * seeds - 1))
    of_seeds = _quantile(seeds - 1, wrong) ** 2 if seeds > 1 else normal
    held = (folds - 2) / (folds - 1 + of_folds)
    own = squares.runs * (1 + (_inflation(folds, correlation) - 1) * held)
    few = np.maximum((of_folds - normal) * squares.folds, (of_seeds - normal) * squares.seeds)
    square = np.maximum(normal * (squares.folds + squares.seeds - own) + few, every * squares.every)
    return np.sqrt(square + normal * np.asarray(test_variance))


def _quantile(degrees: float, wrong: float) -> float:
    """Return the two-sided quantile of t, or of the normal distribution for infinite degrees; bounded, for it multiplies zeros."""
    below = scipy.special.ndtri(wrong / 2) if degrees == math.inf else scipy.special.stdtrit(degrees, wrong / 2)
    # Far out SciPy's inversion ends in an infinity of either sign.
    return min(abs(float(below)), 1e100)


def _single(squares: Squares, folds: int, seeds: int) -> list[tuple[float, float]]:
    """Return variances of the mean with their degrees of freedom, as each part has them alone."""
    alone = [(float(squares.every), folds * seeds - 1.0), (float(squares.folds), folds - 1.0)]
    return [*alone, (float(squares.seeds), seeds - 1.0)] if seeds > 1 else alone


def _degrees(squares: Squares, folds: int, seeds: int) -> float:
    """Return the degrees of freedom of the part that alone would give the widest interval of 95 %."""
    variance, degrees = max(_single(squares, folds, seeds), key=lambda part: part[0] * _quantile(part[1], 0.05) ** 2)
    # Without any variance that had to be estimated the normal distribution is exact; t needs a number.
    return degrees if variance > 0 else 1e6


def _least_p(distance: float, squares: Squares, folds: int, seeds: int, test_variance: float) -> float:
    """Return what p can't be below: Student's of all runs, and that of the test images, for the interval is no narrower."""
    students = (
        2 * scipy.special.stdtr(folds * seeds - 1, -distance / math.sqrt(squares.every)) if squares.every > 0 else 0.0
    )
    normal = 2 * scipy.special.ndtr(-distance / math.sqrt(test_variance)) if test_variance > 0 else 0.0
    return float(max(students, normal))


def _p_value(distance: float, half: Callable[[float], float], least: float) -> float:
    """Return the share of wrong verdicts at which the interval's half-width is this distance."""
    if distance == 0 or half(0.5) == 0:
        return float(distance == 0)
    low = max(least, 1e-280)
    if half(low) <= distance:
        return low
    # A little below, for low itself may be the answer, but for rounding.
    start = math.log(low) - 0.001
    return math.exp(scipy.optimize.brentq(lambda log: half(math.exp(log)) - distance, start, 0.0, xtol=1e-13))


def _expect(effect: Effect, folds: int, seeds: int) -> tuple[Squares, float, tuple[int, int]]:
    """Return mean squares as studies of a size would have them, at even quantiles, the variance of their mean, and the size."""
    had = effect.folds * effect.seeds
    own = effect.runs * had
    of_fold = max(effect.parts[0] / _inflation(effect.folds, effect.correlation) * had - own, 0.0) / effect.seeds
    of_seed = max(effect.parts[1] * had - own, 0.0) / effect.folds
    runs, inflation = folds * seeds, _inflation(folds, effect.correlation)
    of_folds, of_seeds, left = folds - 1, seeds - 1, (folds - 1) * (seeds - 1)
    f, s, e = np.meshgrid(*(_even(degrees) for degrees in (of_folds, of_seeds, left)), indexing="ij")
    f, s, e = f * (own + seeds * of_fold) / runs, s * (own + folds * of_seed) / runs, e * own / runs
    every = (of_folds * f + of_seeds * s + left * e) / (runs - 1)
    variance = of_fold * inflation / folds + of_seed / seeds + own / runs
    return Squares(inflation * f, s, e, every), variance, (folds, seeds)


def _even(degrees: int) -> Numbers:
    """Return a mean square of expectation 1 at even quantiles; zero without degrees of freedom."""
    tails = (np.arange(_NODES) + 0.5) / _NODES
    return scipy.special.chdtri(degrees, tails) / degrees if degrees else np.zeros(1)


def _least(enough: Callable[[int], bool], start: int) -> int | None:
    """Return the least number from ``start`` on that is enough, if any up to 1,000 is."""
    if enough(start):
        return start
    low, high = start, start
    while not enough(high):
        if high >= _MOST_RUNS:
            return None
        low, high = high, min(2 * high, _MOST_RUNS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _times(now: float, without: float, below: float) -> float | None:
    """Return how many times as many test images bring a half-width below a number."""
    if now < below:
        return 1.0
    return (now**2 - without**2) / (below**2 - without**2) if without < below else None
