"""Paired effects, their intervals and verdicts. Knows nothing of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from unlabeled.records import Effect


def paired_effect(
    differences: ArrayLike, *, correlation: float | None = None, test_variance: float = 0.0, level: float = 0.95
) -> Effect:
    """Estimate the mean of paired differences, with an interval that respects what the runs share.

    The variance of the mean has three parts, for runs share three things:

    * Folds share labeled images, so their results are correlated. The variance between folds is inflated by
      1 + J * rho / (1 - rho) for J folds: the corrected resampled t-test of Nadeau and Bengio ("Inference for the
      Generalization Error", Machine Learning 52, 2003), whose rho for k-fold cross-validation is the held-out share 1/k.
      On a common test split that rho covers another split of the same labels, not another draw of labeled images.
    * All folds of a seed share one autoencoder. The variance between seeds is added as in a two-way layout. It is
      not reduced by the noise that it holds, which errs on the wide side; with one seed it can't be known.
    * All runs share one test split. ``test_variance`` is the variance of the mean over test images.

    The parts are joined with Satterthwaite's degrees of freedom ("An Approximate Distribution of Estimates of Variance
    Components", Biometrics 2, 1946). With one seed and no test variance it is exactly Nadeau and Bengio's test.

    Parameters
    ----------
    differences
        One number a run, (folds, seeds) or (folds,): the score with less the score without, same fold and seed.
    correlation
        rho, in [0, 1); left out, 1 / folds.
    test_variance
        In the squared unit of the differences.
    level
        Coverage of the interval.

    Raises
    ------
    ValueError
        If there are fewer than two folds, a number is not finite, or rho is out of range.
    """
    table = np.asarray(differences, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) < 2 or table.shape[1] < 1:
        raise ValueError(f"differences have shape {np.shape(differences)}; give (folds, seeds) with two folds or more")
    if not np.isfinite(table).all() or test_variance < 0:
        raise ValueError("differences and their test variance must be finite, and the variance at least 0")
    folds, seeds = table.shape
    rho = 1 / folds if correlation is None else correlation
    if not 0 <= rho < 1:
        raise ValueError(f"correlation={rho}; give a number of at least 0 and below 1")
    mean = float(table.mean())
    of_folds = float(table.mean(axis=1).var(ddof=1)) * (1 / folds + rho / (1 - rho))
    of_seeds = float(table.mean(axis=0).var(ddof=1)) / seeds if seeds > 1 else 0.0
    parts = (of_folds, of_seeds, float(test_variance))
    degrees = _satterthwaite(parts, (folds - 1, max(seeds - 1, 1), math.inf))
    error = math.sqrt(sum(parts))
    if error == 0:
        low, high, p = mean, mean, float(mean == 0)
    else:
        low, high = (float(bound) for bound in stats.t.interval(level, degrees, loc=mean, scale=error))
        p = float(2 * stats.t.sf(abs(mean) / error, degrees))
    won = int((table.mean(axis=1) > 0).sum())
    return Effect(mean, low, high, p, degrees, float(table.std(ddof=1)), won, folds, seeds, parts)


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


def _satterthwaite(parts: Sequence[float], degrees: Sequence[float]) -> float:
    below = sum(part**2 / degree for part, degree in zip(parts, degrees, strict=True))
    # Without any variance that had to be estimated the normal distribution is exact; t needs a number.
    return min(sum(parts) ** 2 / below, 1e6) if below > 0 else 1e6
