"""Near-copies that stand in two splits: the same photograph shifted, cut, mirrored, recoloured or saved again. Knows nothing of torch.

First all images are compared by blocks of matrix products of short, partly whitened vectors (a search: nothing is lost by a pair too
many); then each pair found is laid over one another at full size (``fields.agreement``). Both compare directions of gradients, not
pixels. What counts as a near-copy is said by the data: their least like neighbours show how like different images are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unlabeled.images import Images, Near
from unlabeled.images.fields import Floats, agreement, coarse_fields, fine_fields, halves, mirrored

Pixels: TypeAlias = NDArray[np.uint8]
Policy: TypeAlias = Literal["drop", "keep"]

# Which splits are compared, and with which.
RELATIONS = (
    ("unlabeled", "test"),
    ("labeled", "test"),
    ("unlabeled", "labeled"),
    ("labeled", "labeled"),
    ("test", "test"),
)

# Raise it when the same images would give other pairs.
NEAR_VERSION = 1
_DIRECTIONS = 128  # numbers that describe an image in the search
_FITTED = 8192  # images that the directions are found from
_ASKED = 512  # images whose neighbours say what is usual
_ASKED_AT_ONCE = 64
_POOL = 65_536  # among this many at the most
_NEIGHBOURS = 16  # neighbours of each that are laid over it
_LIKE = 0.45  # cosine from which the search keeps a pair, unless it would keep more than this many an image:
_KEPT = 8
_STEPS = 110
_LEAST = 0.55  # agreement that a near-copy has at the least, however unlike the others are
_SPREADS = 9.0  # and so many spreads over what is usual among neighbours
_READ = 1024  # images that are read at a time
_PAIRS = 512  # pairs that are laid over one another at a time
_LEAST_SIDE = 8  # pixels
_SHOWN = 24  # pairs of each relation that a report may show


@dataclass(frozen=True)
class Pairs:
    """Pairs of near-copies, best first: row of the one, row of the other, whether one is mirrored, agreement."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    mirrored: NDArray[np.bool_]
    score: Floats

    def __len__(self) -> int:
        return len(self.first)


def find_near(
    labeled: Images, unlabeled: Images, test: Images, *, policy: Policy
) -> tuple[Near, NDArray[np.intp], NDArray[np.intp]]:
    """Compare the splits by what they show, images of one size; those of fewer than 8 pixels a side show too little.

    Returns
    -------
    near
        The counts, which do not depend on the policy.
    labeled, unlabeled
        The rows that stay: under "drop" no labeled and no unlabeled image has a near-copy in test; under "keep" all.
    """
    splits = {"labeled": labeled, "unlabeled": unlabeled, "test": test}
    threshold, found = find_pairs(splits)
    rows = {relation: np.unique(pairs.first) for relation, pairs in found.items()}
    inside = {name: len(np.union1d(rows[name, name], found[name, name].second)) for name in ("labeled", "test")}
    others = np.union1d(found["unlabeled", "test"].second, found["labeled", "test"].second)
    near = Near(
        policy,
        threshold,
        unlabeled_in_test=len(rows["unlabeled", "test"]),
        labeled_in_test=len(rows["labeled", "test"]),
        unlabeled_in_labeled=len(rows["unlabeled", "labeled"]),
        within_labeled=inside["labeled"],
        within_test=inside["test"],
        test_in_others=len(others),
        examples={" in ".join(relation): _examples(pairs) for relation, pairs in found.items() if len(pairs)},
    )
    if policy == "keep":
        return near, np.arange(len(labeled)), np.arange(len(unlabeled))
    return (
        near,
        np.setdiff1d(np.arange(len(labeled)), rows["labeled", "test"]),
        np.setdiff1d(np.arange(len(unlabeled)), rows["unlabeled", "test"]),
    )


def find_pairs(
    splits: Mapping[str, Images], *, relations: Sequence[tuple[str, str]] = RELATIONS, block: int = 1024
) -> tuple[float, dict[tuple[str, str], Pairs]]:
    """Find the near-copies of every relation.

    Parameters
    ----------
    splits
        Images by the splits' names, all of one size.
    relations
        Which splits are compared, and with which.
    block
        Images on either side of one matrix product, which holds ``8 * block ** 2`` bytes; it changes nothing else.

    Returns
    -------
    threshold
        Agreement from which a pair counts.
    pairs
        By relation; within one split each pair once, the lower row first.
    """
    pool = _pool(splits)
    if not len(pool) or min(pool.shape[1:]) < _LEAST_SIDE:
        return _LEAST, {relation: Pairs(*_none(), np.empty(0, dtype=np.float32)) for relation in relations}
    vectors = _describe(pool)
    least, threshold = _learn(pool, vectors)
    places = dict(zip(splits, zip(pool.starts, pool.starts[1:], strict=False), strict=True))
    found = {}
    for one, other in relations:
        first, second, turned = _search(vectors, places[one], places[other], least, block)
        # Rounded, so that the order of a sum decides nothing.
        score = np.round(_lay(pool, first, second, turned), 4)
        kept = np.flatnonzero(score >= threshold)
        kept = kept[np.lexsort((second[kept], first[kept], -score[kept]))]
        rows = first[kept] - places[one][0], second[kept] - places[other][0]
        found[one, other] = Pairs(*rows, turned[kept], score[kept])
    return threshold, found


@dataclass(frozen=True)
class _Vectors:
    """Descriptions of length 1, in the two halves that tell an image from its mirror image."""

    same: Floats
    turning: Floats

    def __len__(self) -> int:
        return len(self.same)

    def take(self, rows: NDArray[np.intp] | slice) -> _Vectors:
        return _Vectors(self.same[rows], self.turning[rows])

    def compare(self, other: _Vectors) -> tuple[Floats, Floats]:
        """Return the cosines with an image or its mirror image, the better one, and what is below 0 where that is the mirror image."""
        part = self.turning @ other.turning.T
        cosines = self.same @ other.same.T
        cosines += np.abs(part)
        return cosines, part


@dataclass(frozen=True)
class _Pool:
    """The images of all splits one after the other."""

    images: tuple[Images, ...]
    starts: NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.images[0].shape

    def __len__(self) -> int:
        return int(self.starts[-1])

    def take(self, rows: NDArray[np.intp]) -> Pixels:
        """Copy some images into memory."""
        taken = np.empty((len(rows), *self.shape), dtype=np.uint8)
        for images, start, end in zip(self.images, self.starts, self.starts[1:], strict=False):
            here = (start <= rows) & (rows < end)
            if here.any():
                taken[here] = images.take(rows[here] - start)
        return taken


def _pool(splits: Mapping[str, Images]) -> _Pool:
    counts = [0, *(len(images) for images in splits.values())]
    return _Pool(tuple(splits.values()), np.cumsum(counts).astype(np.intp))


def _describe(pool: _Pool) -> _Vectors:
    """Project the coarse fields on their main directions, each divided by the root of its spread."""
    sample = np.unique(np.linspace(0, len(pool) - 1, min(_FITTED, len(pool))).astype(np.intp))
    projections = _directions(pool, sample)
    vectors = _Vectors(*(np.empty((len(pool), found.shape[1]), dtype=np.float32) for found in projections))
    for start in range(0, len(pool), _READ):
        now = np.arange(start, min(start + _READ, len(pool)))
        parts = halves(coarse_fields(pool.take(now)))
        same, turning = parts[0] @ projections[0], parts[1] @ projections[1]
        # A flat image has no length, and is like nothing.
        length = np.maximum(np.sqrt((same**2).sum(axis=1) + (turning**2).sum(axis=1)), 1e-6)[:, None]
        vectors.same[now], vectors.turning[now] = same / length, turning / length
    return vectors


def _directions(pool: _Pool, sample: NDArray[np.intp]) -> list[Floats]:
    sums: list[Any] = [0.0, 0.0]
    for start in range(0, len(sample), _READ):
        for of, part in enumerate(halves(coarse_fields(pool.take(sample[start : start + _READ])))):
            sums[of] = sums[of] + (part.T @ part).astype(np.float64)
    solved = [np.linalg.eigh(total / len(sample)) for total in sums]
    spreads = np.sort(np.concatenate([spread for spread, _ in solved]))[::-1]
    least = spreads[min(_DIRECTIONS, len(spreads)) - 1]
    # Few images say little of the lesser directions: these are taken for more usual than they seem.
    more = max(float(spreads.mean()) * len(spreads) / len(sample), 1e-9)
    return [
        (directions[:, spread >= least] * (spread[spread >= least] + more) ** -0.25).astype(np.float32)
        for spread, directions in solved
    ]


def _learn(pool: _Pool, vectors: _Vectors) -> tuple[float, float]:
    """Return the cosine from which the search keeps a pair, and the agreement from which it is one of near-copies.

    A few hundred images of all splits are laid over their nearest neighbours. Most of these are no near-copies: the middle of
    the agreements, and how far their upper sixth is above it, say how like different images are.
    """
    asked = np.unique(np.linspace(0, len(pool) - 1, min(_ASKED, len(pool))).astype(np.intp))
    others = np.unique(np.linspace(0, len(pool) - 1, min(_POOL, len(pool))).astype(np.intp))
    near = min(_NEIGHBOURS, len(others) - 1)
    if near < 1:
        return _LIKE, _LEAST
    rows, turned, many = [], [], np.zeros(_STEPS, dtype=np.int64)
    for start in range(0, len(asked), _ASKED_AT_ONCE):
        now = asked[start : start + _ASKED_AT_ONCE]
        like, part = vectors.take(now).compare(vectors.take(others))
        like[now[:, None] == others] = -1
        best = np.argpartition(-like, near - 1, axis=1)[:, :near].copy()
        rows.append(best)
        many += np.histogram(like[like >= _LIKE], _STEPS, (_LIKE, 1.0001))[0]
        turned.append(np.take_along_axis(part, best, axis=1) < 0)
    pairs = others[np.concatenate(rows)]
    score = _lay(pool, np.repeat(asked, near), pairs.ravel(), np.concatenate(turned).ravel()).reshape(pairs.shape)
    # So many pairs an image reach each of these cosines.
    reached = many[::-1].cumsum()[::-1] * (len(pool) / len(others) / len(asked))
    least = _LIKE + (1 - _LIKE) / _STEPS * int((reached > _KEPT).sum())
    return least, _threshold(score)


def _threshold(score: Floats) -> float:
    # The middle one of an image's neighbours: half of them may be near-copies. Cosines have even spreads as atanh.
    usual = np.arctanh(np.clip(np.median(score, axis=1).astype(np.float64), 0.0, 0.9999))
    middle, high = np.quantile(usual, (0.5, 0.84))
    return round(max(_LEAST, float(np.tanh(middle + _SPREADS * (high - middle)))), 4)


def _search(
    vectors: _Vectors, one: tuple[int, int], other: tuple[int, int], least: float, block: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Return the pairs with a cosine from ``least`` on, rows of the pool; within one split each once."""
    found = [_none()]
    for top in range(*one, block):
        upper = vectors.take(slice(top, min(top + block, one[1])))
        for left in range(top if one == other else other[0], other[1], block):
            cosines, part = upper.compare(vectors.take(slice(left, min(left + block, other[1]))))
            first, second = np.nonzero(cosines >= least)
            kept = first + top < second + left if one == other else slice(None)
            first, second = first[kept], second[kept]
            found.append((first + top, second + left, part[first, second] < 0))
    firsts, seconds, turned = zip(*found, strict=True)
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(turned)


def _none() -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp), np.empty(0, dtype=np.bool_)


def _lay(pool: _Pool, first: NDArray[np.intp], second: NDArray[np.intp], turned: NDArray[np.bool_]) -> Floats:
    """Lay pairs over one another, rows of the pool; return their agreement."""
    score = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), _PAIRS):
        now = slice(start, start + _PAIRS)
        fields = fine_fields(pool.take(second[now]))
        fields[turned[now]] = mirrored(fields[turned[now]])
        score[now] = agreement(fine_fields(pool.take(first[now])), fields)
    return score


def _examples(pairs: Pairs) -> tuple[tuple[int, int, float, bool], ...]:
    return tuple(
        (int(first), int(second), round(float(score), 4), bool(turned))
        for first, second, score, turned in zip(
            pairs.first[:_SHOWN], pairs.second[:_SHOWN], pairs.score[:_SHOWN], pairs.mirrored[:_SHOWN], strict=True
        )
    )
