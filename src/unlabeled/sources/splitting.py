"""Which labeled images are set aside for the test where a source has no test split. Knows nothing of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_TEST_SHARE = 0.2


def set_aside(labels: NDArray[np.integer[Any]], classes: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of labels (n,) that stay, and those set aside: a fifth of every class, at least one image, always the same ones."""
    random = np.random.default_rng(0)
    chosen = np.zeros(len(labels), dtype=bool)
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        chosen[random.permutation(members)[: max(1, round(_TEST_SHARE * len(members)))]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
