"""A run on a part of the data: the same task where folds hold fewer labels, or the pool other images. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from unlabeled.evaluation.folds import share_folds
from unlabeled.experiments.specs import pretrained
from unlabeled.experiments.tasks import Task
from unlabeled.records import ArmKey

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab
    from unlabeled.keeping.results import Run
    from unlabeled.outcomes import Outcome
    from unlabeled.training import Watcher

_MARKED = ("labels", "final")  # what its teacher has no more of than it has itself
_SEED = 5  # of which unlabeled images a smaller pool holds


class Place(Hashable, Protocol):
    """A part of the data, said in values."""

    def lab_of(self, lab: Lab) -> Lab:
        """Return the lab in which runs see that part alone."""


@dataclass(frozen=True)
class AroundTask:
    """A run that is another one under other circumstances: it has the other's fold, seed and duration."""

    arm: ArmKey
    inner: Task

    @property
    def fold(self) -> int | None:
        """Its fold."""
        return self.inner.fold

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.inner.seed

    @property
    def apart(self) -> bool:
        """Whether it shares nothing random with runs of other folds."""
        return getattr(self.inner, "apart", False)

    @property
    def kind(self) -> str:
        """What takes about the same time."""
        return self.inner.kind


@dataclass(frozen=True)
class WithinTask(AroundTask):
    """A run on a part of the data, and with it all that it stands on."""

    place: Place

    @property
    def title(self) -> str:
        """What it is called where another run can't go on without it."""
        return getattr(self.inner, "title", str(self.inner.arm))

    @property
    def needs(self) -> Sequence[Task]:
        """What it stands on, on the same part; with fewer labels it is called so too."""
        factor, value = (self.arm.factor, self.arm.value) if self.arm.factor in _MARKED else ("", "")
        return tuple(
            WithinTask(replace(one.arm, factor=factor, value=value), one, self.place) for one in self.inner.needs
        )

    def key(self, lab: Lab) -> Run:
        """Return its folder: that of the same run on all data where the part makes no difference to it."""
        return self.inner.key(lab_within(lab, self.place))

    def run(self, lab: Lab, folder: Path, needed: Sequence[Outcome], watcher: Watcher | None) -> Outcome:
        """Do it."""
        return self.inner.run(lab_within(lab, self.place), folder, needed, watcher)


@lru_cache(maxsize=4)
def lab_within(lab: Lab, place: Place) -> Lab:
    """Return the lab of a part, made once; each can hold features of all images, so few are kept."""
    return place.lab_of(lab)


@dataclass(frozen=True)
class LabelShare:
    """A share of each class's labels in every fold, to train on and to choose with; a larger share holds those of a smaller one."""

    share: float

    def lab_of(self, lab: Lab) -> Lab:
        """Return the lab of the same images with smaller folds.

        Raises
        ------
        DataError
            If a fold would have fewer than two images of a class to train on, or none to choose with.
        """
        other = lab.like(lab.splits)
        other.folds = share_folds(lab.folds, lab.splits.labeled.classes, lab.splits.class_names, self.share)
        own = other.features
        # What no fold has a part in is the same for all of them.
        other.features = lambda spec: (own if _of_fold(spec) else lab.features)(spec)
        return other


def _of_fold(spec: object) -> bool:
    return getattr(pretrained(spec) or spec, "fold", None) is not None  # type: ignore[arg-type]


@dataclass(frozen=True)
class Pool:
    """So many of the unlabeled images; more of them hold those of fewer."""

    images: int

    def lab_of(self, lab: Lab) -> Lab:
        """Return the lab of the same labels and folds with a smaller pool."""
        splits = lab.splits
        order = np.random.default_rng(_SEED).permutation(len(splits.unlabeled))
        pool = splits.unlabeled.subset(np.sort(order[: self.images]))
        other = lab.like(replace(splits, unlabeled=pool, origin={**splits.origin, "pool": f"{self.images} images"}))
        other.folds = lab.folds
        return other
