"""How far probabilities can be taken at their word, and one number that mends them. Knows nothing of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

_BINS = 15
_WIDEST = 3.0  # log temperatures are looked for between minus and plus this
_LEAST = 1e-30

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Bin:
    """Answers of about the same confidence: their mean confidence, their accuracy, and how many there are."""

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """What one temperature does to probabilities: the expected calibration error (a share), and the bins, before and after."""

    temperature: float
    before: float
    after: float
    bins_before: tuple[Bin, ...]
    bins_after: tuple[Bin, ...]


def warm(probabilities: Floats, temperature: float) -> NDArray[np.float64]:
    """Return probabilities (n, classes) to the power of one over a temperature, rows adding up to 1: above 1 they are less sure."""
    logs = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), _LEAST)) / temperature
    logs -= logs.max(axis=1, keepdims=True)
    powers = np.exp(logs)
    warmed: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return warmed


def find_temperature(probabilities: Floats, labels: NDArray[np.integer[Any]]) -> float:
    """Return the temperature with the least log loss on labeled images (Guo et al., "On Calibration of Modern Neural Networks", 2017).

    It changes no answer. Give probabilities of images that were not trained on.
    """
    logs = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), _LEAST))
    right = logs[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        most = scaled.max(axis=1)
        sums = np.log(np.exp(scaled - most[:, None]).sum(axis=1)) + most
        return float((sums - right / np.exp(log_temperature)).mean())

    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=(-_WIDEST, _WIDEST), method="bounded").x))


def reliability(probabilities: Floats, labels: NDArray[np.integer[Any]]) -> tuple[float, tuple[Bin, ...]]:
    """Return the expected calibration error, a share, and its bins: 15 of equal width by the probability of the answer."""
    chances = np.asarray(probabilities, dtype=np.float64)
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == labels
    places = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    bins = [
        Bin(float(confidence[here].mean()), float(right[here].mean()), int(here.sum()))
        for number in range(_BINS)
        if (here := places == number).any()
    ]
    error = sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / max(1, len(labels))
    return float(error), tuple(bins)


def calibrate(probabilities: Floats, labels: NDArray[np.integer[Any]]) -> Calibration:
    """Find the temperature, and say what it does on the same images: of one number for all of them that is hardly too good."""
    temperature = find_temperature(probabilities, labels)
    before, bins_before = reliability(probabilities, labels)
    after, bins_after = reliability(warm(probabilities, temperature), labels)
    return Calibration(temperature, before, after, bins_before, bins_after)
