"""Codes in two dimensions, and their nearest neighbours: where a classifier puts images. Knows nothing of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from unlabeled.evaluation.choosing import directions

Floats = NDArray[np.floating[Any]]

_SEED = 0
_COMPONENTS = 50  # van der Maaten and Hinton's own first step; distances in more are slower and hardly other
_PERPLEXITY = 30.0
_FEW = 10  # codes below which there are no neighbourhoods to keep
_LEAST_SPREAD = 1e-5  # directions that differ by less are the same but for rounding


def project(codes: Floats) -> NDArray[np.float32]:
    """Place codes (n, d) in two dimensions, (n, 2) in [0, 1]: like codes near one another, the same places each time.

    By t-SNE of directions (van der Maaten and Hinton, "Visualizing Data using t-SNE", 2008), begun at two principal components, so that
    the large shape is theirs and not of chance (Kobak and Linderman, "Initialization is critical for preserving global data structure",
    2021). Of fewer than ten codes, principal components alone.
    """
    unit = directions(codes)
    scores = np.zeros((len(unit), 2))
    if len(unit) > 1 and np.ptp(unit, axis=0).max() > _LEAST_SPREAD:
        scores = PCA(min(_COMPONENTS, *unit.shape), random_state=_SEED).fit_transform(unit)
        # The sign of a component is chance; that of its largest entry is not.
        scores *= np.where(np.take_along_axis(scores, abs(scores).argmax(axis=0)[None], axis=0) < 0, -1, 1)
    places = np.zeros((len(unit), 2))
    places[:, : scores.shape[1]] = scores[:, :2]
    spread = places[:, 0].std() if len(places) else 0.0
    if len(unit) >= _FEW and spread > _LEAST_SPREAD:
        # As scikit-learn scales its own start by principal components.
        start = (places * (1e-4 / spread)).astype(np.float32)
        perplexity = min(_PERPLEXITY, (len(unit) - 1) / 3)
        placing = TSNE(2, perplexity=perplexity, init=start, random_state=_SEED, n_jobs=-1)
        places = placing.fit_transform(scores.astype(np.float32))
    return _within_one(places)


def _within_one(places: Floats) -> NDArray[np.float32]:
    """Move and shrink places (n, 2), both axes alike, into the middle of [0, 1]."""
    if not len(places):
        return np.empty((0, 2), dtype=np.float32)
    low, extent = places.min(axis=0), np.ptp(places, axis=0)
    centred = (places - low - extent / 2) / max(extent.max(), _LEAST_SPREAD) + 0.5
    return np.clip(centred, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Neighbours:
    """The nearest of other codes, nearest first: their rows (n, k), and how far they are, one less the cosine of the angle (n, k)."""

    rows: NDArray[np.intp]
    farness: NDArray[np.float32]


def nearest(codes: Floats, among: Floats, count: int, *, same: bool = False) -> Neighbours:
    """Find for each of codes (n, d) the nearest of others (m, d): k is the smaller of ``count`` and m.

    ``same`` says that both are the same images: then none is its own neighbour.
    """
    shape = len(codes), max(0, min(count, len(among) - same))
    if not all(shape):
        return Neighbours(np.empty(shape, dtype=np.intp), np.empty(shape, dtype=np.float32))
    search = NearestNeighbors(n_neighbors=shape[1], algorithm="brute").fit(directions(among))
    far, rows = search.kneighbors(None if same else directions(codes))
    return Neighbours(rows, (far**2 / 2).astype(np.float32))


def nearest_within(codes: Floats, split: NDArray[np.integer[Any]], among: int, most: int) -> NDArray[np.intp]:
    """Return for each of codes (n, d) the rows of the nearest of those whose split (n,) is ``among``, (n, k); none is its own."""
    members = np.flatnonzero(split == among)
    count = min(most, len(members) - 1)
    found = np.empty((len(codes), max(0, count)), dtype=np.intp)
    if count < 1:
        return found
    inside = split == among
    found[inside] = members[nearest(codes[members], codes[members], count, same=True).rows]
    found[~inside] = members[nearest(codes[~inside], codes[members], count).rows]
    return found
