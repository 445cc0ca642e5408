"""What unlabeled images are worth in labels: where two learning curves reach the same accuracy. Knows nothing of torch.

A learning curve is the accuracy of one way at several numbers of labels. The labels of a fold are those that it trains on and those that it
chooses with. All runs of a curve have the folds, seeds and test images of the others, so differences are paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from unlabeled.evaluation.statistics import decidable, half_width, mean_squares, pairs_apart

Numbers = NDArray[np.float64]
Scale: TypeAlias = Literal["accuracy", "log error", "logit"]
_STEPS = 64  # between two points of a curve
_FLOORS = 48
_FURTHEST = 64  # times the labels that were measured
_PLACES = 1024
_TINY = float(np.finfo(float).tiny)
_LEAST_POWER = 1e-3
_MOST_EXPONENT = 60.0
_MOST_TIMES = 8  # more than this is no number to tell


@dataclass(frozen=True)
class Saving:
    """With how many labels a way reaches what another one does with all of them.

    Attributes
    ----------
    labels, least
        All labels, and the fewest of the curve.
    equal
        The number that reaches as much; None where it lies below ``least``, and ``labels`` where all do not reach it.
    low, high
        The ends of its 95 % interval; None where they lie below ``least``, or not below ``labels``.
    decidable
        Whether there are seeds or folds enough for an interval to be told.
    """

    labels: int
    least: int
    equal: float | None
    low: float | None
    high: float | None
    decidable: bool = True

    @property
    def measurable(self) -> bool:
        """Whether fewer labels than all are enough, and surely so."""
        return self.decidable and self.high is not None


@dataclass(frozen=True)
class Equivalent:
    """How many labels alone would reach an accuracy that lies beyond the curve: an extrapolation of a power law with a floor.

    ``floor`` is the error (%) that no number of labels gets below, where the law fits best; ``low`` and ``high`` are the ends of the
    interval, over all floors with which the law fits; ``high`` is None where one of them is not reached with any number of labels.
    """

    labels: float
    low: float
    high: float | None
    floor: float


@dataclass(frozen=True)
class More:
    """What so many more would bring, points of accuracy with a 95 % interval: an extrapolation."""

    number: int
    gain: float
    low: float
    high: float


class Measured:
    """The errors of several ways or numbers of labels on the same folds, seeds and test images.

    Attributes
    ----------
    errors
        Of each run, a share, (quantities, folds, seeds).
    covariance
        Of their means, what the choice of test images adds, (quantities, quantities).
    correlation
        Between the results of two folds.
    nested
        Whether each fold has seeds of its own.
    """

    def __init__(self, right: ArrayLike, correlation: float = 0.0, *, nested: bool = False) -> None:
        """Take what is right or wrong, (quantities, folds, seeds, images)."""
        wrong = 1.0 - np.asarray(right, dtype=np.float64)
        self.errors: Numbers = wrong.mean(axis=3)
        self.covariance = shared_test_covariance(wrong, nested=nested)
        self.correlation, self.nested = correlation, nested
        self._least = 0.5 / wrong.shape[3]  # no error is so small that its logarithm has no bounds

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def means(self) -> Numbers:
        """The mean error of each quantity over all runs."""
        means: Numbers = np.clip(self.errors.mean(axis=(1, 2)), self._least, 1 - self._least)
        return means

    def transformed(self, scale: Scale) -> tuple[Numbers, Numbers]:
        """Return each run's value on a scale that rises with accuracy, (quantities, folds, seeds), and the test covariance there."""
        value, slope = _SCALES[scale]
        errors, slopes = np.clip(self.errors, self._least, 1 - self._least), slope(self.means)
        return value(errors), self.covariance * np.outer(slopes, slopes)

    def interval(self, tables: Numbers, covariance: Numbers, weights: Numbers) -> tuple[Numbers, Numbers]:
        """Return means and half-widths (95 %) of weighted sums of the quantities; weights (..., quantities)."""
        folds, seeds = tables.shape[1:]
        sums = np.tensordot(weights, tables, axes=1)
        tested = np.maximum(0.0, np.einsum("...j,jk,...k->...", weights, covariance, weights))
        rho, nested = self.correlation, self.nested
        squares = mean_squares(sums, rho, nested=nested)
        wide = half_width(squares, folds, seeds, correlation=rho, test_variance=tested, nested=nested)
        return sums.mean(axis=(-2, -1)), wide


def _logit(error: Numbers) -> Numbers:
    return np.log1p(-error) - np.log(error)


_SCALES: Mapping[Scale, tuple[Callable[[Numbers], Numbers], Callable[[Numbers], Numbers]]] = {
    "accuracy": (lambda error: 1 - error, lambda error: -np.ones_like(error)),
    "log error": (lambda error: -np.log(error), lambda error: -1 / error),
    "logit": (_logit, lambda error: -1 / (error * (1 - error))),
}


def shared_test_covariance(values: Numbers, *, nested: bool = False) -> Numbers:
    """Return the covariance of means (quantities, folds, seeds, images) that the choice of test images brings in.

    It is ``statistics.shared_test_variance`` of every weighted sum: the variance of the sum with weights w is w' C w.
    """
    count, folds, seeds, images = values.shape
    if images < 2:
        return np.zeros((count, count))
    centred = values - values.mean(axis=3, keepdims=True)

    def products(axes: tuple[int, ...]) -> Numbers:
        flat = (centred.sum(axis=axes) if axes else centred).reshape(count, -1)
        return flat @ flat.T

    pairs, sums = pairs_apart(folds, seeds, nested=nested)
    shared = np.sum([sign * products(tuple(axis + 1 for axis in axes)) for sign, axes in sums], axis=0)
    return np.asarray(shared / pairs / (images - 1) / images)


def straightest(labels: Sequence[int], curves: Sequence[Measured]) -> tuple[Scale, dict[Scale, float]]:
    """Return the scale on which curves over the logarithm of the number of labels are straightest, and how far from it each is.

    How far is the root mean square distance of the mean accuracies from straight lines through them, in points of accuracy. Two numbers
    of labels are on a line whatever the scale, so it is accuracy itself.
    """
    places = np.log(np.asarray(labels, dtype=np.float64))
    design = np.stack([np.ones_like(places), places], axis=1)
    departures: dict[Scale, float] = {}
    for scale, (value, slope) in _SCALES.items():
        left = []
        for curve in curves:
            values = value(curve.means)
            line = design @ np.linalg.lstsq(design, values, rcond=None)[0]
            left += list(100 * (values - line) / slope(curve.means))
        departures[scale] = float(np.sqrt(np.mean(np.square(left))))
    return min(departures, key=lambda scale: round(departures[scale], 9)), departures  # rounding errors choose nothing


def label_saving(labels: Sequence[int], measured: Measured, *, scale: Scale) -> Saving:
    """Return with how many labels a way reaches what another one does with all of them.

    Between two numbers of labels the curve of each fold and seed is straight over the logarithm of the number, on ``scale``, and
    nowhere falls in the mean: where it would, neighbours have their mean. The interval holds the numbers at which the paired
    difference to the other way is not shown to be other than zero (the inversion of a test: Fieller, "Some Problems in Interval
    Estimation", JRSS B 16, 1954), so where the curves do not come near each other it has an open end.

    Parameters
    ----------
    labels
        Numbers of labels, rising, the last one all of them.
    measured
        The way at each of them, and behind them the other way with all labels.
    """
    points = len(labels)
    if len(measured) != points + 1 or points < 2:
        raise ValueError(f"{len(measured)} quantities for {points} numbers of labels; give one more, and two numbers")
    tables, covariance = measured.transformed(scale)
    rising = _pooled(tables[:points].mean(axis=(1, 2)))
    weights, places = _between(rising, np.log(labels))
    goal = np.broadcast_to(-np.eye(points + 1)[points], (len(weights), points + 1))
    means, wide = measured.interval(tables, covariance, np.hstack([weights, np.zeros((len(weights), 1))]) + goal)
    surely, perhaps = means - wide, means + wide
    equal: float | None = labels[-1]
    if means[0] > 0:
        equal = None
    elif means[-1] > 0:
        equal = _zero(means, places, int(np.argmax(means > 0)))
    high: float | None = None
    if surely[-1] > 0:
        not_better = np.flatnonzero(surely <= 0)
        high = _zero(surely, places, int(not_better[-1]) + 1) if len(not_better) else float(labels[0])
    low: float | None = None
    if perhaps[0] < 0:
        not_worse = np.flatnonzero(perhaps >= 0)
        low = _zero(perhaps, places, int(not_worse[0])) if len(not_worse) else float(labels[-1])
    return Saving(labels[-1], labels[0], equal, low, high, decidable(*tables.shape[1:], nested=measured.nested))


def _zero(values: Numbers, places: Numbers, after: int) -> float:
    """Return the number of labels at which a rising line passes zero, between a place and the one before."""
    return float(np.exp(np.interp(0.0, values[after - 1 : after + 1], places[after - 1 : after + 1])))


def _pooled(means: Numbers) -> Numbers:
    """Return weights (points, points) that take means to the nearest ones that nowhere fall (pool adjacent violators)."""
    blocks: list[list[int]] = []
    for point in range(len(means)):
        blocks.append([point])
        while len(blocks) > 1 and means[blocks[-2]].mean() > means[blocks[-1]].mean():
            last = blocks.pop()
            blocks[-1] += last
    weights = np.zeros((len(means), len(means)))
    for block in blocks:
        weights[np.ix_(block, block)] = 1 / len(block)
    return weights


def _between(points: Numbers, places: Numbers) -> tuple[Numbers, Numbers]:
    """Return weights of points on and between points, and where they lie."""
    weights, where = [points[:1]], [places[:1]]
    for left in range(len(places) - 1):
        share = np.arange(1, _STEPS + 1)[:, None] / _STEPS
        weights.append((1 - share) * points[left] + share * points[left + 1])
        where.append((1 - share[:, 0]) * places[left] + share[:, 0] * places[left + 1])
    return np.concatenate(weights), np.concatenate(where)


def label_equivalent(labels: Sequence[int], measured: Measured) -> Equivalent | None:
    """Return how many labels a way would need to reach what another one does with all labels, by a power law with a floor.

    The error is floor + a labels^-b (Hestness et al., "Deep Learning Scaling Is Predictable, Empirically", 2017). For each of many floors
    a and b are fitted, by least squares of relative errors. What a floor leaves of the curve, in the direction in which another floor
    would change it, is in half-widths of its interval how far the floor is off, and so is the distance of law and goal at a number of
    labels. The interval holds the numbers at which for some floor the squares of both add up to at most one, as a profile of the
    likelihood does; folds, seeds and test images come in by their share in the fit, to first order.

    None, and so nothing to tell, where no floor fits, or where even the near end is more than eight times the labels.

    Parameters
    ----------
    labels
        Numbers of labels, rising, three or more.
    measured
        The way that is extrapolated at each of them, and behind them what is to be reached.
    """
    if len(measured) != len(labels) + 1 or len(labels) < 3:
        raise ValueError(
            f"{len(measured)} quantities for {len(labels)} numbers of labels; give one more, and three numbers"
        )
    goal = float(measured.means[-1])
    places = np.linspace(math.log(labels[0]), math.log(_FURTHEST * labels[-1]), _PLACES)
    laws = list(_laws(labels, measured))
    if not laws:
        return None
    best = min(laws, key=lambda law: law.misfit)
    possible = np.zeros(_PLACES, dtype=bool)
    unreached = False
    for law in laws:
        weights = law.gradient(places) - np.eye(len(measured))[-1]
        wide = measured.interval(measured.errors, measured.covariance, weights)[1] * law.room(best)
        over = law.error(places) - goal
        possible |= np.abs(over) <= wide
        unreached |= bool(over[-1] > wide[-1])
    reached = best.labels_at(goal)
    if reached is None or not possible.any():
        return None
    first, last = np.flatnonzero(possible)[[0, -1]]
    low = float(np.exp(places[first]))
    if low > _MOST_TIMES * labels[-1]:
        return None
    high = None if unreached or last == _PLACES - 1 else float(np.exp(places[last]))
    return Equivalent(reached, low, high, 100 * best.floor)


@dataclass(frozen=True)
class _Law:
    """A power law above a floor, fitted to the first ``points`` quantities; ``pull`` is how its logarithmic parameters follow them."""

    floor: float
    scale: float
    power: float
    misfit: float
    pull: Numbers

    def error(self, places: Numbers) -> Numbers:
        """Return the error at logarithms of numbers of labels."""
        return self.floor + np.exp(self.scale - self.power * places)

    def gradient(self, places: Numbers) -> Numbers:
        """Return how the error there follows each quantity that was measured, (places, quantities)."""
        above = np.exp(self.scale - self.power * places)[:, None]
        return above * self.pull[0] - above * places[:, None] * self.pull[1]

    def room(self, best: _Law) -> float:
        """Return the share of an interval's half-width that is left beside a floor which is off by so much."""
        return math.sqrt(max(0.0, 1 - self.misfit**2 + best.misfit**2))

    def labels_at(self, error: float) -> float | None:
        """Return the number of labels with which it reaches an error, if any does."""
        if error <= self.floor:
            return None
        exponent = (self.scale - math.log(error - self.floor)) / self.power
        return math.exp(exponent) if exponent < _MOST_EXPONENT else None


def _laws(labels: Sequence[int], measured: Measured) -> Iterator[_Law]:
    """Yield the law of every floor that is possible."""
    places, means = np.log(np.asarray(labels, dtype=np.float64)), measured.means[: len(labels)]
    for floor in means.min() * np.linspace(0.0, 0.99, _FLOORS):
        fitted = _fit(places, means, floor)
        if fitted is None:
            continue
        scale, power, jacobian = fitted
        # Of relative errors: a test image that is wrong with few labels says less than one that is wrong with many.
        follows = np.linalg.pinv(jacobian / means[:, None]) / means
        rest = np.eye(len(places)) - jacobian @ follows
        direction = (1 / means**2) @ rest
        residual = means - floor - np.exp(scale - power * places)
        padding = (0, len(measured) - len(places))
        wide = float(measured.interval(measured.errors, measured.covariance, np.pad(direction, padding)[None])[1][0])
        off = abs(float(direction @ residual))
        if off <= wide:
            yield _Law(float(floor), scale, power, off / max(wide, _TINY), np.pad(follows, ((0, 0), padding)))


def _fit(places: Numbers, means: Numbers, floor: float) -> tuple[float, float, Numbers] | None:
    """Return log a, b, and how the errors follow both, of the law through mean errors; None where it does not fall."""

    def left(parameters: Numbers) -> Numbers:
        return (floor + np.exp(parameters[0] - parameters[1] * places)) / means - 1

    def slopes(parameters: Numbers) -> Numbers:
        above = np.exp(parameters[0] - parameters[1] * places)
        return np.stack([above, -above * places], axis=1)

    design = np.stack([np.ones_like(places), -places], axis=1)
    start = np.linalg.lstsq(design, np.log(means - floor), rcond=None)[0]
    fitted = scipy.optimize.least_squares(left, start, jac=lambda given: slopes(given) / means[:, None], method="lm").x
    return (float(fitted[0]), float(fitted[1]), slopes(fitted)) if fitted[1] > _LEAST_POWER else None


def gain_of_more(numbers: Sequence[int], measured: Measured, more: int) -> More | None:
    """Return what so many more labels, or images, would bring by the power laws that fit, as in ``label_equivalent``; None if none does.

    ``measured`` holds one quantity for each number, two or more, the last one all of them. With two numbers there is no floor to find, and
    the error is taken to be a line over the logarithm of the number.
    """
    ends = np.log([numbers[-1], numbers[-1] + more])
    if len(numbers) < 3:
        places = np.log(np.asarray(numbers, dtype=np.float64))
        weights = np.array([[1.0, -1.0]]) * (ends[1] - ends[0]) / (places[1] - places[0])
        gain, wide = (float(one[0]) for one in measured.interval(measured.errors, measured.covariance, weights))
        return More(more, 100 * gain, 100 * (gain - wide), 100 * (gain + wide))
    found = []
    for law in _laws(numbers, measured):
        now, then = law.error(ends)
        weights = law.gradient(ends)
        wide = float(measured.interval(measured.errors, measured.covariance, (weights[0] - weights[1])[None])[1][0])
        found.append((law, now - then, wide))
    if not found:
        return None
    best = min((law for law, _, _ in found), key=lambda law: law.misfit)
    gain = next(gain for law, gain, _ in found if law is best)
    low, high = min(g - law.room(best) * w for law, g, w in found), max(g + law.room(best) * w for law, g, w in found)
    return More(more, 100 * gain, 100 * low, 100 * high)


def rounded(value: float) -> int:
    """Round a number to the two digits that count, as is due to what is known of it."""
    return int(round(value, 1 - math.floor(math.log10(value)))) if value >= 1 else 0


def nice_below(most: float) -> int:
    """Return the largest of 1, 2 and 5 with zeros behind that is not above a number of at least 1."""
    power = 10 ** math.floor(math.log10(most))
    return int(max(step * power for step in (1, 2, 5) if step * power <= most))
