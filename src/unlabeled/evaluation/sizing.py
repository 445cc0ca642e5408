"""How large a study must be: the smallest effect that one finds, and what it takes to find a smaller one. Knows nothing of torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from unlabeled.evaluation.statistics import Numbers, Squares, decidable, half_width, inflation, noise_degrees
from unlabeled.records import Effect

_MOST_RUNS = 1000
_NODES = 16


@dataclass(frozen=True)
class Needed:
    """How many folds, seeds, or times as many test images would do, each alone; None where no number does."""

    folds: int | None
    seeds: int | None
    images: float | None


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
    shape = (folds or effect.folds, seeds or effect.seeds)
    own = effect.decidable if shape == (effect.folds, effect.seeds) else decidable(*shape, nested=effect.nested)
    if not own:
        return None
    squares, variance = _expect(effect, *shape)
    half = half_width(
        squares,
        *shape,
        correlation=effect.correlation,
        test_variance=effect.parts[2],
        level=level,
        nested=effect.nested,
    )
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
        squares, _ = _expect(effect, folds, seeds)
        variance, rho = effect.parts[2] / images, effect.correlation
        wide = half_width(
            squares, folds, seeds, correlation=rho, test_variance=variance, level=level, nested=effect.nested
        )
        return float(np.median(wide))

    return Needed(
        _least(lambda folds: half(folds, effect.seeds) < below, effect.folds),
        _least(lambda seeds: half(effect.folds, seeds) < below, effect.seeds) if seeds_known else None,
        _times(half(effect.folds, effect.seeds), half(effect.folds, effect.seeds, math.inf), below),
    )


def _expect(effect: Effect, folds: int, seeds: int) -> tuple[Squares, float]:
    """Return mean squares as studies of a size would have them, at even quantiles, and the variance of their mean."""
    had, nested = effect.folds * effect.seeds, effect.nested
    own = effect.runs * had
    of_fold = max(effect.parts[0] / inflation(effect.folds, effect.correlation) * had - own, 0.0) / effect.seeds
    of_seed = 0.0 if nested else max(effect.parts[1] * had - own, 0.0) / effect.folds
    runs, inflated = folds * seeds, inflation(folds, effect.correlation)
    of_folds, of_seeds, left = folds - 1, 0 if nested else seeds - 1, noise_degrees(folds, seeds, nested)
    f, s, e = np.meshgrid(*(_even(degrees) for degrees in (of_folds, of_seeds, left)), indexing="ij")
    f, s, e = f * (own + seeds * of_fold) / runs, s * (own + folds * of_seed) / runs, e * own / runs
    every = (of_folds * f + of_seeds * s + left * e) / (runs - 1)
    variance = of_fold * inflated / folds + of_seed / seeds + own / runs
    return Squares(inflated * f, s, e, every), variance


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
