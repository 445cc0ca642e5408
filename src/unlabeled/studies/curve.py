"""The answer in labels: labels alone and the best use of the unlabeled images, over the number of labels and of unlabeled images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from unlabeled.errors import DataError, UserError
from unlabeled.evaluation.comparison import all_apart, effect_of, read_scores
from unlabeled.evaluation.saving import (
    Equivalent,
    Measured,
    More,
    Saving,
    gain_of_more,
    label_equivalent,
    label_saving,
    nice_below,
    straightest,
)
from unlabeled.experiments.tasks import Perform, Task
from unlabeled.experiments.within import LabelShare, Place, Pool, WithinTask, lab_within
from unlabeled.methods import METHODS, method_of
from unlabeled.records import ArmKey, Comparison, Effect, Row

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

_LEAST_POOL = 10
_MOST_LABELS, _MOST_IMAGES = 8, 4  # what more is asked about: at most such a part of what there is


@dataclass(frozen=True)
class CurveWay:
    """A way's accuracy (%) at each number of labels."""

    arm: ArmKey
    accuracies: tuple[Effect, ...]


@dataclass(frozen=True)
class LabelCurve:
    """What the unlabeled images are worth in labels.

    Attributes
    ----------
    labels
        Labels of a fold, to train on and to choose with, rising; the last number is all of them.
    ways
        Labels alone, the best use, and what else was asked for.
    scale, departures
        The scale on which the first two are straightest, and how far from straight they are on each, points of accuracy.
    saving, over_twin
        With how many labels the best use reaches labels alone, and its twin of labeled images alone, each with all labels.
    equivalent, more_labels
        Extrapolated: labels alone that would reach the best use; what more labels would bring the best use.
    images, over_images, more_images
        The best use's accuracy with all labels over the number of unlabeled images, and what more of them would bring.
    missing
        Points that these images do not have, and why.
    """

    labels: tuple[int, ...]
    ways: tuple[CurveWay, ...]
    scale: str = ""
    departures: Mapping[str, float] = field(default_factory=dict)
    saving: Saving | None = None
    over_twin: Saving | None = None
    equivalent: Equivalent | None = None
    more_labels: More | None = None
    images: tuple[int, ...] = ()
    over_images: tuple[Effect, ...] = ()
    more_images: More | None = None
    missing: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()

    @property
    def best(self) -> ArmKey:
        """The best use of the unlabeled images."""
        return self.ways[1].arm


def check_curve(lab: Lab) -> None:
    """Refuse further ways that there are not.

    Raises
    ------
    UserError
        If a name is no method's.
    """
    for name in lab.config.curve.ways:
        if name not in {method.name for method in METHODS}:
            raise UserError(f"--curve.ways {name}: there is no such way; take of {', '.join(m.name for m in METHODS)}")


def measure_curve(lab: Lab, do: Perform, rows: Sequence[Row], comparison: Comparison) -> LabelCurve | None:
    """Run labels alone and the best use with fewer labels, and the best use with fewer unlabeled images; None where no curve is asked for.

    Rows of all labels and images are the main job's.
    """
    if not lab.config.curve.labels:
        return None
    answer = comparison.answer
    runs, arms = _Runs(lab, do, rows), drawn_ways(lab, answer.without.control, answer.arm)
    points, missing = label_points(lab)
    whole = tuple(point for point in points if runs.at(point, arms))
    # A run that diverged has no accuracy, and its point none.
    missing += [f"{point.value} of the labels: a run diverged" for point in points if point not in whole]
    pools = tuple(point for point in image_points(lab) if runs.at(point, [answer.arm]))
    labels = (*(_labels_of(lab_within(lab, point.place)) for point in whole), _labels_of(lab))
    ways = tuple(CurveWay(arm, runs.accuracies(arm, whole)) for arm in arms)
    found = LabelCurve(labels, ways, missing=tuple(missing), rows=tuple(runs.rows))
    if len(labels) > 1:
        found = _judged(found, runs, whole, answer.twin.control)
    return _over_images(found, runs, pools)


@dataclass(frozen=True)
class Point:
    """A part of the data at which ways are run; arms there have the ``factor`` and ``value``."""

    place: Place
    factor: str
    value: str

    def arm(self, way: ArmKey) -> ArmKey:
        """Return a way's arm at this point."""
        return replace(way, factor=self.factor, value=self.value)


def drawn_ways(lab: Lab, alone: ArmKey, best: ArmKey) -> list[ArmKey]:
    """Return the ways that are run over labels: labels alone, the best use, and those that are asked for besides."""
    extra = [arm for method in METHODS if method.name in lab.config.curve.ways for arm in method.arms]
    return list(dict.fromkeys([alone, best, *extra]))


def label_points(lab: Lab) -> tuple[list[Point], list[str]]:
    """Return the shares of the labels that every class has enough of, and why the others are left out."""
    points, missing = [], []
    for share in lab.config.curve.labels:
        place = LabelShare(share)
        try:
            _ = lab_within(lab, place)
        except DataError as error:
            missing.append(str(error))
        else:
            points.append(Point(place, "labels", f"{share:g}"))
    return points, missing


def image_points(lab: Lab) -> list[Point]:
    """Return the numbers of unlabeled images, fewer than all, at which the best use is run."""
    total = len(lab.splits.unlabeled)
    counts = [round(share * total) for share in lab.config.curve.unlabeled]
    return [Point(Pool(count), "images", f"{count}") for count in counts if _LEAST_POOL <= count < total]


def tasks_at(lab: Lab, point: Point, arms: Sequence[ArmKey]) -> Iterator[Task]:
    """Yield the runs of ways at a point, on every fold and seed."""
    for seed in range(lab.config.seeds):
        for arm in arms:
            method = method_of(arm)
            assert method is not None
            for fold in range(len(lab.folds.folds)):
                own = (task for task in method.tasks(lab, fold, seed) if task.arm == arm)
                yield from (WithinTask(point.arm(arm), task, point.place) for task in own)


def _judged(curve: LabelCurve, runs: _Runs, points: tuple[Point, ...], twin: ArmKey) -> LabelCurve:
    """Read off the curves what is saved, and extrapolate where there are points enough."""
    labels, (alone, best) = curve.labels, (way.arm for way in curve.ways[:2])
    over, whole = [(way, points) for way in (alone, best)], [(way, ()) for way in (alone, best, twin)]
    scale, departures = straightest(labels, [runs.measured(one) for one in over])
    enough = len(labels) > 2
    return replace(
        curve,
        scale=scale,
        departures={name: departures[name] for name in departures},
        saving=label_saving(labels, runs.measured(over[1], whole[0]), scale=scale),
        over_twin=label_saving(labels, runs.measured(over[1], whole[2]), scale=scale),
        equivalent=label_equivalent(labels, runs.measured(over[0], whole[1])) if enough else None,
        more_labels=gain_of_more(labels, runs.measured(over[1]), nice_below(max(1.0, labels[-1] / _MOST_LABELS))),
    )


def _over_images(curve: LabelCurve, runs: _Runs, points: tuple[Point, ...]) -> LabelCurve:
    """Add the best use with fewer unlabeled images, if it was run with fewer."""
    if not points:
        return curve
    counts = (*(int(point.value) for point in points), runs.images)
    gain = gain_of_more(counts, runs.measured((curve.best, points)), nice_below(max(1.0, counts[-1] / _MOST_IMAGES)))
    return replace(curve, images=counts, over_images=runs.accuracies(curve.best, points), more_images=gain)


def _labels_of(lab: Lab) -> int:
    """Return how many labels a fold has in the mean, to train on and to choose with."""
    return round(float(np.mean([len(fold.train) + len(fold.valid) for fold in lab.folds.folds])))


class _Runs:
    """The runs of the curves, and what each test image got in them and in the main job's."""

    def __init__(self, lab: Lab, do: Perform, rows: Sequence[Row]) -> None:
        self._lab, self._do, self._main = lab, do, rows
        self.rows: list[Row] = []
        self.right = lru_cache(maxsize=None)(self._right)  # read once for all that is told of it

    @property
    def images(self) -> int:
        """All unlabeled images."""
        return len(self._lab.splits.unlabeled)

    def at(self, point: Point, arms: Sequence[ArmKey]) -> bool:
        """Run ways at a point; return whether all came to an end."""
        rows = self._do(list(tasks_at(self._lab, point, arms)))
        whole = all(row.scored is not None for row in rows)
        self.rows += rows if whole else []
        return whole

    def _right(self, way: ArmKey, points: tuple[Point, ...] = ()) -> np.ndarray:
        """Return what a way got right at each point and, last, in the main job: (points, folds, seeds, images)."""
        arms = [point.arm(way) for point in points]
        rows = [row for row in (*self.rows, *self._main) if row.arm in (*arms, way)]
        scores = read_scores(self._lab.folder, rows, self._lab.splits.test.classes)
        folds, seeds = range(len(self._lab.folds.folds)), range(self._lab.config.seeds)
        return np.array([[[scores[arm, f, s][0] for s in seeds] for f in folds] for arm in (*arms, way)])

    def measured(self, *asked: tuple[ArmKey, tuple[Point, ...]]) -> Measured:
        """Return the errors of ways at points and in the main job, with what they share."""
        right = np.concatenate([self.right(way, points) for way, points in asked])
        return Measured(right, self._lab.folds.correlation, nested=all_apart(self._main, [way for way, _ in asked]))

    def accuracies(self, way: ArmKey, points: tuple[Point, ...]) -> tuple[Effect, ...]:
        """Return a way's accuracy (%) at each point and in the main job."""
        rho, nested = self._lab.folds.correlation, all_apart(self._main, [way])
        effects = (effect_of(100.0 * point, rho, nested=nested) for point in self.right(way, points))
        return tuple(replace(one, low=max(one.low, 0.0), high=min(one.high, 100.0)) for one in effects)
