"""Paired effects, their intervals and p values. Knows nothing of torch."""

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
# With fewer seeds than this, or folds where these share nothing, nothing holds a verdict: the 97.5 % quantile of t is 12.7 with one
# degree of freedom, and 4.3 with two.
_LEAST = 3


@dataclass(frozen=True)
class Squares:
    """The mean squares of a layout, divided by the number of runs: what each says of the variance of the mean.

    Attributes
    ----------
    folds
        Between folds; inflated where folds overlap. Its expectation holds the runs' own noise once.
    seeds
        Between seeds; zero for one seed, and where each fold has seeds of its own. Its expectation holds the runs' own noise once.
    runs
        The runs' own noise: what is left when the means of folds and seeds are taken off; of seeds where they are common to all
        folds. Zero for one seed.
    every
        All runs taken for independent: their variance divided by their number.
    """

    folds: Numbers
    seeds: Numbers
    runs: Numbers
    every: Numbers


def paired_effect(
    differences: ArrayLike,
    *,
    correlation: float = 0.0,
    test_variance: float = 0.0,
    level: float = 0.95,
    nested: bool = False,
) -> Effect:
    """Estimate the mean of paired differences, with an interval that respects what the runs share.

    Runs of a fold share labels, runs of a seed share an autoencoder (or nothing, if ``nested``), and all runs share one test split. The
    interval is that of
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
    nested
        Whether each fold has seeds of its own, so that runs of two folds share nothing but what the folds have in common.

    Raises
    ------
    ValueError
        If there are fewer than two folds, a number is not finite, or rho or the level is out of range.
    """
    table = np.asarray(differences, dtype=np.float64)
    # Numbers that share nothing are folds of one run each.
    nested = nested or table.ndim == 1
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) < 2 or table.shape[1] < 1:
        raise ValueError(f"differences have shape {np.shape(differences)}; give (folds, seeds) with two folds or more")
    if not np.isfinite(table).all() or not 0 <= test_variance < math.inf:
        raise ValueError("differences and their test variance must be finite, and the variance at least 0")
    if not 0 <= correlation < 1:
        raise ValueError(f"correlation={correlation}; give a number of at least 0 and below 1")
    if not 0 < level < 1:
        raise ValueError(f"level={level}; give a number between 0 and 1")
    folds, seeds = table.shape
    squares, mean, variance = mean_squares(table, correlation, nested=nested), float(table.mean()), float(test_variance)

    def half(wrong: float) -> float:
        return float(_half_width(squares, folds, seeds, correlation, variance, wrong, nested))

    wide, least = half(1 - level), _least_p(abs(mean), squares, folds, seeds, variance)
    parts = (float(squares.folds), float(squares.seeds), variance)
    return Effect(
        mean, mean - wide, mean + wide, _p_value(abs(mean), half, least), _degrees(squares, folds, seeds, nested),
        float(table.std(ddof=1)), int((table.mean(axis=1) > 0).sum()), folds, seeds, parts, runs=float(squares.runs),
        correlation=float(correlation), decidable=decidable(folds, seeds, nested=nested), nested=nested,
    )  # fmt: skip


def decidable(folds: int, seeds: int, *, nested: bool) -> bool:
    """Tell whether there are seeds enough for a verdict, or folds enough where each has seeds of its own."""
    return (folds if nested else seeds) >= _LEAST


def mean_squares(tables: NDArray[np.float64], correlation: float = 0.0, *, nested: bool = False) -> Squares:
    """Return the mean squares of tables (..., folds, seeds) of differences, where seeds are common to all folds, or ``nested``.

    That between folds is inflated by 1 + J rho / (1 - rho) for J folds: what they have in common does not show in their spread
    (Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003).
    """
    folds, seeds = tables.shape[-2:]
    rows, columns, runs = tables.mean(axis=-1), tables.mean(axis=-2), folds * seeds
    none = np.zeros(tables.shape[:-2])
    own = tables - rows[..., :, None]
    if not nested:
        own = own - columns[..., None, :] + tables.mean(axis=(-2, -1))[..., None, None]
    degrees = noise_degrees(folds, seeds, nested)
    return Squares(
        rows.var(axis=-1, ddof=1) / folds * inflation(folds, correlation),
        columns.var(axis=-1, ddof=1) / seeds if seeds > 1 and not nested else none,
        (own**2).sum(axis=(-2, -1)) / (degrees * runs) if degrees else none,
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
    nested: bool = False,
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

    Where the design is ``nested`` nothing is common to all folds, and the interval is Student's of the folds' means, its square t² F, and
    again no narrower than that of all runs. Of overlapping folds as much of E is taken off as above; 5 % hold up to ten folds that share
    four fifths.
    """
    return _half_width(squares, folds, seeds, correlation, test_variance, 1 - level, nested)


def shared_test_variance(values: ArrayLike, *, nested: bool = False) -> float:
    """Return the variance of the mean that the choice of test images brings in: the part that all runs share.

    Runs of other folds and other seeds (if ``nested``, of other folds) have nothing but the test images in common, so it is the mean
    covariance of such pairs. What single runs, folds or seeds add on images is in their own mean squares already. Without such pairs it
    is the variance over images of the mean over runs.

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
    pairs, sums = pairs_apart(folds, seeds, nested=nested)
    shared = sum(sign * float((centred.sum(axis=axes) ** 2).sum()) for sign, axes in sums)
    return max(0.0, shared / pairs / (images - 1) / images)


def pairs_apart(folds: int, seeds: int, *, nested: bool) -> tuple[int, list[tuple[int, tuple[int, ...]]]]:
    """Return how many pairs of runs, either way round, share nothing but test images, and which sums of products add up to theirs.

    A sum is a sign, and the axes of (folds, seeds) over which runs are added before their products are taken.
    """
    runs, every = folds * seeds, (1, (0, 1))
    if folds < 2 or (seeds < 2 and not nested):
        return runs**2, [every]
    if nested:
        return runs * (folds - 1) * seeds, [every, (-1, (1,))]
    return runs * (folds - 1) * (seeds - 1), [every, (-1, (1,)), (-1, (0,)), (1, ())]


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


def inflation(folds: int, correlation: float) -> float:
    """Return by what the mean square of so many folds is multiplied for what they have in common."""
    return 1 + folds * correlation / (1 - correlation)


def noise_degrees(folds: int, seeds: int, nested: bool) -> int:
    """Return the degrees of freedom of the runs' own noise."""
    return (folds if nested else folds - 1) * (seeds - 1)


def _half_width(
    squares: Squares, folds: int, seeds: int, correlation: float, test_variance: float | Numbers, wrong: float, nested: bool
) -> Numbers:  # fmt: skip
    normal, of_folds, every = (_quantile(degrees, wrong) ** 2 for degrees in (math.inf, folds - 1, folds * seeds - 1))
    held, too_much = (folds - 2) / (folds - 1 + of_folds), inflation(folds, correlation) - 1
    if nested:
        square = of_folds * squares.folds - normal * squares.runs * too_much * held
    else:
        of_seeds = _quantile(seeds - 1, wrong) ** 2 if seeds > 1 else normal
        few = np.maximum((of_folds - normal) * squares.folds, (of_seeds - normal) * squares.seeds)
        square = normal * (squares.folds + squares.seeds - squares.runs * (1 + too_much * held)) + few
    return np.sqrt(np.maximum(square, every * squares.every) + normal * np.asarray(test_variance))


def _quantile(degrees: float, wrong: float) -> float:
    """Return the two-sided quantile of t, or of the normal distribution for infinite degrees; bounded, for it multiplies zeros."""
    below = scipy.special.ndtri(wrong / 2) if degrees == math.inf else scipy.special.stdtrit(degrees, wrong / 2)
    # Far out SciPy's inversion ends in an infinity of either sign.
    return min(abs(float(below)), 1e100)


def _single(squares: Squares, folds: int, seeds: int, nested: bool) -> list[tuple[float, float]]:
    """Return variances of the mean with their degrees of freedom, as each part has them alone."""
    alone = [(float(squares.every), folds * seeds - 1.0), (float(squares.folds), folds - 1.0)]
    return [*alone, (float(squares.seeds), seeds - 1.0)] if seeds > 1 and not nested else alone


def _degrees(squares: Squares, folds: int, seeds: int, nested: bool) -> float:
    """Return the degrees of freedom of the part that alone would give the widest interval of 95 %."""
    parts = _single(squares, folds, seeds, nested)
    variance, degrees = max(parts, key=lambda part: part[0] * _quantile(part[1], 0.05) ** 2)
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
