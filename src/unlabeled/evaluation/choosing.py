"""Which images to label next: uncertain ones that are unlike one another, of every class; with few labels, typical ones of all kinds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, MiniBatchKMeans

FEW = 10  # labels a class below which a classifier's doubts say little
_SEED = 0
_NEIGHBOURS = 20
_BATCH = 4096
_STARTS = 3
_ITERATIONS = 50
_MANY = 50_000  # codes from which batches are enough

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.intp]


def uncertainty(probabilities: Floats) -> NDArray[np.float64]:
    """Return the entropy of probabilities (n, classes) as a share of the most there can be, in [0, 1]."""
    chances = np.maximum(np.asarray(probabilities, dtype=np.float64), 1e-12)
    doubt: NDArray[np.float64] = -(chances * np.log(chances)).sum(axis=1) / np.log(chances.shape[1])
    return doubt


def choose(probabilities: Floats, codes: Floats, count: int, *, known: Floats, per_class: float) -> Rows:
    """Return the rows of images to label next, the most useful first; there may be fewer images than are asked for.

    Each class gets as many as its share of the pool is expected to be by the probabilities. Within a class the codes are put into as
    many clusters, those of doubtful images counting more ("CLUE": Prabhu et al., "Active Domain Adaptation via Clustering
    Uncertainty-weighted Embeddings", 2021), and of each cluster the most doubtful image is taken. With fewer than ten labels a class
    clusters of all images are made instead, and of those that hold no labeled image, the largest first, the most typical one is taken
    (Hacohen, Dekel and Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets", 2022).

    Parameters
    ----------
    probabilities, codes
        Of the pool, (n, classes) and (n, d).
    count
        How many to choose.
    known
        Codes of the labeled images, (m, d).
    per_class
        Labels a class so far.
    """
    count = min(count, len(codes))
    if count < 1:
        return np.empty(0, dtype=np.intp)
    pool, labeled = (directions(one) for one in (codes, known))
    if per_class < FEW:
        return _typical(pool, labeled, count)
    doubt, guesses = uncertainty(probabilities), np.asarray(probabilities).argmax(axis=1)
    chosen = []
    for number, quota in enumerate(_quotas(np.asarray(probabilities, dtype=np.float64), guesses, count)):
        rows = np.flatnonzero(guesses == number)
        if quota:
            chosen.append(_doubtful(pool[rows], doubt[rows], quota, rows))
    rows = np.concatenate(chosen)
    return rows[np.argsort(-doubt[rows], kind="stable")]


def _quotas(probabilities: NDArray[np.float64], guesses: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Share a number out to the classes as the pool's expected shares ask for, and no class more than it has images."""
    expected = count * probabilities.mean(axis=0) / probabilities.mean(axis=0).sum()
    room = np.bincount(guesses, minlength=len(expected))
    quotas = np.minimum(np.floor(expected + 1e-9).astype(np.intp), room)
    while quotas.sum() < count:
        # One by one to the class that is furthest below what is expected, of those that have images left.
        quotas[np.argmax(np.where(quotas < room, expected - quotas, -np.inf))] += 1
    return quotas


def _doubtful(codes: Floats, doubt: NDArray[np.float64], quota: int, rows: Rows) -> Rows:
    """Return of each of so many clusters the row of the most doubtful image."""
    clusters = _cluster(codes, quota, doubt + 1e-6)
    best = [
        members[np.argmax(doubt[members])] for one in range(quota) if len(members := np.flatnonzero(clusters == one))
    ]
    missing = quota - len(best)
    if missing:  # for clusters that stayed empty
        order = np.argsort(-doubt, kind="stable")
        best += order[~np.isin(order, best)][:missing].tolist()
    return rows[np.array(best, dtype=np.intp)]


def _typical(pool: Floats, labeled: Floats, count: int) -> Rows:
    """Return the most typical image of each cluster that holds no labeled one, of the largest clusters first."""
    together = np.concatenate([pool, labeled])
    number = min(len(labeled) + count, len(together))
    clusters = _cluster(together, number, np.ones(len(together)))
    taken = np.bincount(clusters[len(pool) :], minlength=number)
    sizes = np.bincount(clusters[: len(pool)], minlength=number)
    order = np.lexsort((-sizes, taken))
    order = order[sizes[order] > 0]
    chosen: list[int] = []
    left = [np.flatnonzero(clusters[: len(pool)] == one) for one in order]
    while len(chosen) < count:
        for place, members in enumerate(left):
            if len(members) and len(chosen) < count:
                best = int(members[np.argmax(_typicality(pool[members]))])
                chosen.append(best)
                left[place] = members[members != best]
    return np.array(chosen, dtype=np.intp)


def _typicality(codes: Floats) -> NDArray[np.float64]:
    """Return how near the nearest neighbours of each code are: the mean of their cosines."""
    sample = codes[:_BATCH]
    cosines = np.sort(codes @ sample.T, axis=1)[:, -min(_NEIGHBOURS, len(sample)) :]
    near: NDArray[np.float64] = cosines.mean(axis=1).astype(np.float64)
    return near


def _cluster(codes: Floats, number: int, weights: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return each code's cluster."""
    if number >= len(codes):
        return np.arange(len(codes), dtype=np.intp)
    model = (
        KMeans(number, random_state=_SEED, n_init=_STARTS, max_iter=_ITERATIONS)
        if len(codes) <= _MANY
        else MiniBatchKMeans(number, random_state=_SEED, n_init=_STARTS, batch_size=_BATCH)
    )
    return model.fit(codes, sample_weight=weights).labels_.astype(np.intp)


def directions(codes: Floats) -> NDArray[np.float32]:
    """Return codes (n, ...) as (n, d) of length one; a code of zeros stays."""
    flat = np.asarray(codes, dtype=np.float32).reshape(len(codes), math.prod(codes.shape[1:]))
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
