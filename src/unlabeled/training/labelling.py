"""Pseudo-labels: what a classifier's probabilities become before another one learns from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_ROUNDS = 100
_NEAR = 1e-6


def balance(
    probabilities: NDArray[np.floating[Any]], prior: ArrayLike, *, strength: float = 1.0
) -> NDArray[np.float32]:
    """Scale probabilities (n, classes) by a factor a class so that their mean over the images is ``prior`` (classes,).

    So no class swallows the pseudo-labels of its neighbours. Class factors and rows' sums are set in turns until both hold
    (Sinkhorn and Knopp 1967; as distribution alignment in Berthelot et al., "ReMixMatch", 2020). A ``strength`` below 1 takes the
    factors to that power: at 0 nothing changes, as where the pool's own classes may lie otherwise than the labels'. Classes whose
    prior is 0 get nothing at strength 1.
    """
    start = np.asarray(probabilities, dtype=np.float64)
    wanted = np.asarray(prior, dtype=np.float64) / np.sum(prior)
    factors = np.ones(start.shape[1])
    for _ in range(_ROUNDS):
        mean = _scaled(start, factors).mean(0)
        if np.abs(mean - wanted).max() < _NEAR:
            break
        factors = factors * wanted / np.maximum(mean, np.finfo(float).tiny)
    return _scaled(start, factors**strength).astype(np.float32)


def farness(codes: NDArray[np.floating[Any]], known: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return how far codes (n, d) lie from the nearest of known ones (m, d): one less the cosine of the angle, in [0, 2]."""
    own, others = (one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-12) for one in (codes, known))
    nearest: NDArray[np.float32] = (own.astype(np.float32, copy=False) @ others.astype(np.float32, copy=False).T).max(1)
    return 1 - nearest


def unfamiliar(
    scores: NDArray[np.floating[Any]], judged: NDArray[np.floating[Any]], *, share: float = 0.05
) -> NDArray[np.bool_]:
    """Tell of which images the score (n,), the higher the stranger, is above that of all but a share of known ones (m,)."""
    return scores > np.quantile(judged, 1 - share)


def prior_of(classes: NDArray[np.integer[Any]], number: int) -> NDArray[np.float64]:
    """Return the share of each of so many classes among labels (n,)."""
    return np.bincount(classes, minlength=number) / len(classes)


def _scaled(probabilities: NDArray[np.float64], factors: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = probabilities * factors
    return scaled / np.maximum(scaled.sum(1, keepdims=True), np.finfo(float).tiny)
