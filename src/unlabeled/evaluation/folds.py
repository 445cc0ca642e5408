"""Which images a run may train on, and on which ones it makes its choices or measures. Knows nothing of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlabeled.errors import DataError
from unlabeled.evaluation.statistics import fold_correlation
from unlabeled.images import Images, Splits
from unlabeled.records import FoldsSummary

_VALID_SHARE = 0.2
_FOLDS = 5
_MOST_CORRELATION = 0.95
_MOST_HELD_OUT = 2000


@dataclass(frozen=True)
class Fold:
    """Indices into the labeled split: to train on, and to choose with."""

    train: NDArray[np.intp]
    valid: NDArray[np.intp]


@dataclass(frozen=True)
class Folds:
    """The folds, whether they are the data set's own, and how strongly their results are correlated."""

    folds: tuple[Fold, ...]
    own: bool
    correlation: float


def make_folds(splits: Splits, *, count: int | None = None, labels: int | None = None) -> Folds:
    """Take the data set's own folds (all, or the first ``count``), or stratified ones of the labeled split (5).

    Of an own fold a fifth, stratified, is for validation. Stratified folds are those of cross-validation: each part in
    turn is for validation, the others are for training. ``labels`` limits the labeled images of a fold, both together.

    Raises
    ------
    DataError
        If a class is too small for so many folds, or the data set has fewer.
    """
    classes, names = splits.labeled.classes, splits.class_names
    if splits.folds:
        count = count or len(splits.folds)
        if count > len(splits.folds):
            raise DataError(
                f"folds={count}, and the data set has {len(splits.folds)} of its own; use --folds {len(splits.folds)}"
            )
        own = [_at_most(fold, classes, labels, number) for number, fold in enumerate(splits.folds[:count])]
        folds = [_split_off(fold, classes, names, number) for number, fold in enumerate(own)]
        correlation = fold_correlation(own) if len(own) > 1 else 1.0
        if correlation > _MOST_CORRELATION:
            raise DataError(
                f"the data set's {len(own)} folds are one and the same or nearly so, so their spread says nothing; "
                "it needs two folds or more that differ"
            )
        return Folds(tuple(folds), own=True, correlation=correlation)
    count = count or _FOLDS
    chosen = _at_most(np.arange(len(classes)), classes, labels, 0)
    parts = _stratified_parts(chosen, classes, names, count)
    cross = [Fold(np.sort(np.concatenate(parts[:k] + parts[k + 1 :])), parts[k]) for k in range(count)]
    # Other splits of the same labels are what they stand for, and as splits they do not overlap.
    return Folds(tuple(cross), own=False, correlation=0.0)


def limit_folds(folds: Folds, classes: NDArray[np.int64], per_class: int) -> Folds | None:
    """Keep so many labeled images a class in every fold, drawn anew for each; a fifth of them, rounded, is to choose with.

    Returns None if a fold's class has fewer. A fold of more labels holds those of a fold of fewer. As subsets drawn from the same
    labels the folds are correlated by the share that two of them have in common.
    """
    valid = max(1, round(_VALID_SHARE * per_class))
    limited = []
    for number, fold in enumerate(folds.folds):
        parts = [
            _first_of_class(rows, classes, count, number)
            for rows, count in ((fold.train, per_class - valid), (fold.valid, valid))
        ]
        if parts[0] is None or parts[1] is None:
            return None
        limited.append(Fold(parts[0], parts[1]))
    drawn = [np.concatenate([fold.train, fold.valid]) for fold in limited]
    correlation = fold_correlation(drawn) if len(drawn) > 1 else 0.0
    return Folds(tuple(limited), own=folds.own, correlation=min(correlation, _MOST_CORRELATION))


def share_folds(folds: Folds, classes: NDArray[np.int64], names: tuple[str, ...], share: float) -> Folds:
    """Keep a share of each class's labeled images in every fold, to train on and to choose with; more hold those of fewer.

    Raises
    ------
    DataError
        If a class would have fewer than two images to train on, or none to choose with; the message says how many labels it takes.
    """
    limited = []
    for number, fold in enumerate(folds.folds):
        parts = []
        for rows, least in ((fold.train, 2), (fold.valid, 1)):
            shuffled = np.random.default_rng([number, 4]).permutation(rows)
            members = [shuffled[classes[shuffled] == label] for label in np.unique(classes[rows])]
            counts = [int(share * len(one) + 0.5) for one in members]
            if min(counts) < least:
                few = members[int(np.argmin(counts))]
                raise DataError(
                    f"{share:g} of the labels: fold {number + 1} would have {min(counts)} images of class {names[classes[few[0]]]!r} to "
                    f"{'train on' if least == 2 else 'choose with'}, where {least} are needed; that takes "
                    f"{math.ceil((least - 0.5) / share)} of its {len(few)} now"
                )
            parts.append(np.sort(np.concatenate([one[:count] for one, count in zip(members, counts, strict=True)])))
        limited.append(Fold(parts[0], parts[1]))
    return Folds(tuple(limited), folds.own, folds.correlation)


def _first_of_class(
    rows: NDArray[np.intp], classes: NDArray[np.int64], count: int, seed: int
) -> NDArray[np.intp] | None:
    """Return the first so many rows of each class of a fixed random order."""
    shuffled = np.random.default_rng([seed, 3]).permutation(rows)
    members = [shuffled[classes[shuffled] == label][:count] for label in np.unique(classes)]
    if count < 1 or min(map(len, members)) < count:
        return None
    return np.sort(np.concatenate(members))


def _stratified_parts(
    chosen: NDArray[np.intp], classes: NDArray[np.int64], names: tuple[str, ...], count: int
) -> list[NDArray[np.intp]]:
    random = np.random.default_rng(0)
    part = np.empty(len(chosen), dtype=np.intp)
    begin = 0
    for label in range(len(names)):
        members = np.flatnonzero(classes[chosen] == label)
        if len(members) < count:
            raise DataError(
                f"class {names[label]!r} has {len(members)} labeled images for {count} folds, after limits, dropped leaks and "
                "images set aside for the test; "
                + (
                    f"use --folds {len(members)} or fewer"
                    if len(members) >= 2
                    else "raise --labels, or add images of it"
                )
            )
        # Classes begin at different parts, so that the odd images do not all fall into the first ones.
        part[random.permutation(members)] = (begin + np.arange(len(members))) % count
        begin += len(members)
    return [chosen[part == number] for number in range(count)]


def _split_off(fold: NDArray[np.intp], classes: NDArray[np.int64], names: tuple[str, ...], seed: int) -> Fold:
    random = np.random.default_rng([seed, 1])
    valid = []
    for label in range(len(names)):
        members = fold[classes[fold] == label]
        if len(members) == 1:
            raise DataError(
                f"fold {seed + 1} has one image of class {names[label]!r}; training and validation need one each, so raise --labels"
            )
        valid.append(
            random.permutation(members)[: max(1, round(_VALID_SHARE * len(members)))] if len(members) else members
        )
    chosen = np.sort(np.concatenate(valid))
    return Fold(np.setdiff1d(fold, chosen), chosen)


def _at_most(rows: NDArray[np.intp], classes: NDArray[np.int64], limit: int | None, seed: int) -> NDArray[np.intp]:
    """Draw at most so many images, the same share of every class."""
    if limit is None or limit >= len(rows):
        return rows
    random = np.random.default_rng([seed, 2])
    shuffled = random.permutation(rows)
    rank = np.empty(len(rows))
    for label in np.unique(classes[rows]):
        members = np.flatnonzero(classes[shuffled] == label)
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(shuffled[np.argsort(rank, kind="stable")[:limit]])


def hold_out(unlabeled: Images, share: float) -> tuple[Images, Images]:
    """Split unlabeled images into those to train on and those that only measure the error.

    Raises
    ------
    DataError
        If there are fewer than two.
    """
    if len(unlabeled) < 2:
        raise DataError(f"{len(unlabeled)} unlabeled images; an autoencoder needs 2 or more, one to measure its error")
    count = min(max(1, round(share * len(unlabeled))), _MOST_HELD_OUT, len(unlabeled) - 1)
    order = np.random.default_rng(0).permutation(len(unlabeled))
    return unlabeled.subset(np.sort(order[count:])), unlabeled.subset(np.sort(order[:count]))


def describe(folds: Folds) -> FoldsSummary:
    """Return what the protocol says of the folds."""
    sizes = [(len(fold.train), len(fold.valid)) for fold in folds.folds]
    trains, valids = zip(*sizes, strict=True)
    return FoldsSummary(
        len(folds.folds), folds.own, folds.correlation, (min(trains), max(trains)), (min(valids), max(valids))
    )
