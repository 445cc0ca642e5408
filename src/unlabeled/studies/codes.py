"""Kinds of features, how they hang together, and how well models fit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlabeled.outcomes import ClassicalOutcome
from unlabeled.records import ArmKey, Row, of_arm, outcomes_of

_MOST_COLUMNS = 512


@dataclass(frozen=True)
class Shape:
    """How features hang together: how many there are and vary, their mean absolute correlation, directions, share of zeros."""

    kind: ArmKey
    features: int
    alive: int
    correlation: float
    directions: float
    zeros: float


@dataclass(frozen=True)
class Fit:
    """The mean accuracy of an arm on its own training images, and the mean depth of its trees."""

    arm: ArmKey
    train_accuracy: float
    depth: float | None = None


def describe(kind: ArmKey, features: NDArray[np.float32]) -> Shape:
    """Return how features hang together: mean absolute correlation, and how many directions hold the variance.

    The second is the participation ratio (sum of the covariance's eigenvalues)^2 / sum of their squares; it needs no
    eigenvalues, being trace(C)^2 / |C|^2.
    """
    centred = features - features.mean(axis=0)
    covariance = (centred.T @ centred).astype(np.float64) / len(features)
    ratio = float(np.trace(covariance) ** 2 / max(float((covariance**2).sum()), 1e-300))
    deviations = np.sqrt(np.diag(covariance))
    alive = np.flatnonzero(deviations > 1e-6 * deviations.max(initial=1e-300))
    chosen = alive[np.unique(np.linspace(0, len(alive) - 1, min(_MOST_COLUMNS, len(alive))).astype(int))]
    correlation = covariance[np.ix_(chosen, chosen)] / np.outer(deviations[chosen], deviations[chosen])
    apart = ~np.eye(len(chosen), dtype=bool)
    return Shape(
        kind,
        features=features.shape[1],
        alive=len(alive),
        correlation=float(np.abs(correlation[apart]).mean()) if len(chosen) > 1 else 0.0,
        directions=ratio,
        zeros=float((features == 0).mean()),
    )


def make_fits(rows: Sequence[Row]) -> tuple[Fit, ...]:
    """Return each classical arm's fit on its own training images."""
    fits = []
    for arm in dict.fromkeys(row.arm for row in rows):
        outcomes = outcomes_of(of_arm(rows, arm), ClassicalOutcome)
        if outcomes:
            depths = [outcome.facts["depth"] for outcome in outcomes if "depth" in outcome.facts]
            accuracy = float(np.mean([outcome.train_accuracy for outcome in outcomes]))
            fits.append(Fit(arm, accuracy, float(np.mean(depths)) if depths else None))
    return tuple(fits)
