"""Labels that look wrong. Knows nothing of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Suspects:
    """Labeled images whose label looks wrong, the clearest first.

    Attributes
    ----------
    rows
        Which of the labeled images.
    given, likely
        Their labels, and the classes that look likelier.
    confidence
        The probability of the likelier class less that of the given one, both of networks that were not trained on the image.
    """

    rows: tuple[int, ...]
    given: tuple[int, ...]
    likely: tuple[int, ...]
    confidence: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.rows)


def find_suspects(probabilities: NDArray[np.floating[Any]], given: NDArray[np.integer[Any]]) -> Suspects:
    """Find labels that look wrong by out-of-fold probabilities (n, classes); rows that are NaN are not judged.

    It is confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, 2021):
    a class counts as likely where its probability reaches its mean over the images that carry its label, and a label looks wrong if of the
    classes that do the likeliest is another one.
    """
    judged = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    chances, labels = np.asarray(probabilities, dtype=np.float64)[judged], np.asarray(given)[judged]
    classes = chances.shape[1]
    usual = np.array(
        [chances[labels == one, one].mean() if (labels == one).any() else np.inf for one in range(classes)]
    )
    reached = np.where(chances >= usual, chances, -1.0)
    likely = reached.argmax(axis=1)
    confidence = chances[np.arange(len(labels)), likely] - chances[np.arange(len(labels)), labels]
    # Where the given class itself is the likelier of the two its threshold alone was missed.
    wrong = np.flatnonzero((reached.max(axis=1) > 0) & (likely != labels) & (confidence > 0))
    wrong = wrong[np.lexsort((judged[wrong], -confidence[wrong]))]
    return Suspects(
        tuple(judged[wrong].tolist()),
        tuple(labels[wrong].tolist()),
        tuple(likely[wrong].tolist()),
        tuple(np.round(confidence[wrong], 4).tolist()),
    )
