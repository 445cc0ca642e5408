"""Which images to label next, by a trained network; and the same tried on labels that are known: hide some, choose of them, train again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unlabeled.evaluation.folds import Fold
from unlabeled.experiments.tasks import Task
from unlabeled.experiments.within import AroundTask, LabelShare, WithinTask, lab_within
from unlabeled.images import Images
from unlabeled.images.near import find_pairs
from unlabeled.keeping.results import Run
from unlabeled.outcomes import Outcome

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab
    from unlabeled.training import Watcher

How: TypeAlias = Literal["suggested", "random"]
Codes: TypeAlias = tuple[NDArray[np.floating], NDArray[np.floating]]
HIDDEN = 0.5  # share of a fold's labels that is hidden
_CHOSEN = 0.25  # share of the hidden ones that is then labeled
# Raise it when the same network would choose others.
_VERSION = 1
_ROUNDS = 4


def pick(
    chances: NDArray[np.floating], pool: Images, known: Images, codes: Codes, count: int, *, classes: int
) -> NDArray[np.intp]:
    """Return the rows of a pool to label next, near-copies of one another and of the labeled images left out.

    Parameters
    ----------
    chances
        The probabilities of the pool's images, (n, classes).
    pool, known
        Images to choose from, and those that have labels.
    codes
        Of the pool and of the known images, by the network that tells images apart.
    count
        How many; there are fewer if no more are unlike one another.
    """
    from unlabeled.evaluation.choosing import choose

    of_pool, of_known = codes
    chosen: NDArray[np.intp] = np.empty(0, dtype=np.intp)
    left = np.arange(len(pool))
    for _ in range(_ROUNDS):
        missing = count - len(chosen)
        if missing < 1 or not len(left):
            break
        found = left[choose(chances[left], of_pool[left], missing, known=of_known, per_class=len(known) / classes)]
        left = np.setdiff1d(left, found)
        chosen = _unlike(np.concatenate([chosen, found]), pool, known)
    return chosen


def _unlike(rows: NDArray[np.intp], pool: Images, known: Images) -> NDArray[np.intp]:
    """Leave out what is a near-copy of a labeled image or of one that stands before it."""
    splits = {"labeled": pool.subset(rows), "unlabeled": replace(known, labels=None), "test": pool.subset([])}
    _, found = find_pairs(splits)
    among, labeled = found["labeled", "labeled"], found["unlabeled", "labeled"]
    out = set(labeled.second.tolist())
    for first, second in sorted(zip(among.first.tolist(), among.second.tolist(), strict=True)):
        if first not in out:
            out.add(second)
    return rows[[place for place in range(len(rows)) if place not in out]]


@dataclass(frozen=True)
class GrownTask(AroundTask):
    """Labels alone, from a half of a fold's labels and some of the other half: chosen by the network of the first half, or at random."""

    how: How

    @property
    def needs(self) -> Sequence[Task]:
        """The network of the first half, for both, so that they wait for the same."""
        arm = replace(self.inner.arm, factor="labels", value=f"{HIDDEN:g}")
        return (WithinTask(arm, self.inner, LabelShare(HIDDEN)),)

    def key(self, lab: Lab) -> Run:
        """Return its folder."""
        (base,) = self.needs
        configuration = {
            "stands on": base.key(lab).folder.name,
            "how": self.how,
            "chosen": _CHOSEN,
            "version": _VERSION,
        }
        return Run(lab.folder / "runs", f"grown-{self.how}/fold{self.fold}-seed{self.seed}", configuration)

    def run(self, lab: Lab, folder: Path, needed: Sequence[Outcome], watcher: Watcher | None) -> Outcome:
        """Choose, train, and score."""
        assert self.fold is not None
        begun = lab_within(lab, LabelShare(HIDDEN)).folds.folds[self.fold]
        hidden = np.setdiff1d(lab.folds.folds[self.fold].train, begun.train)
        chosen = hidden[self._choose(lab, begun, hidden)]
        grown = Fold(np.sort(np.concatenate([begun.train, chosen])), begun.valid)
        other = lab.like(lab.splits)
        folds = [grown if number == self.fold else one for number, one in enumerate(lab.folds.folds)]
        other.folds = replace(lab.folds, folds=tuple(folds))
        return self.inner.run(other, folder, (), watcher)

    def _choose(self, lab: Lab, begun: Fold, hidden: NDArray[np.intp]) -> NDArray[np.intp]:
        count = chosen_of(len(hidden), lab.classes)
        if self.how == "random":
            return np.random.default_rng([self.fold or 0, self.seed, 6]).permutation(len(hidden))[:count]
        from unlabeled.experiments.applying import apply

        applied, labeled = apply(lab, self.needs[0]), lab.splits.labeled
        pool, known = (replace(labeled, labels=None).subset(rows) for rows in (hidden, begun.train))
        codes = applied.codes(pool), applied.codes(known)
        found = pick(applied.probabilities(pool), pool, known, codes, count, classes=lab.classes)
        # As many as at random: where near-copies leave too few, the rest is drawn.
        others = np.setdiff1d(np.arange(len(hidden)), found)
        rest = np.random.default_rng([self.fold or 0, self.seed, 7]).permutation(others)
        return np.concatenate([found, rest[: count - len(found)]])


def chosen_of(hidden: int, classes: int) -> int:
    """Return how many of so many hidden labels are chosen."""
    return min(hidden, max(classes, round(_CHOSEN * hidden)))
