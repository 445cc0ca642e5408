"""Random changes of training images: whole batches, on uint8 pixels, by one gather."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def augment(
    pixels: NDArray[np.uint8], random: np.random.Generator, *, flip: bool = False, shift: int = 0
) -> NDArray[np.uint8]:
    """Return the images (n, c, h, w), half of them mirrored left to right, each moved by up to ``shift`` pixels.

    Where an image moves away, its edge is repeated.
    """
    if not flip and not shift:
        return pixels
    n, _, height, width = pixels.shape
    rows, columns = (_moved(size, shift, n, random) for size in (height, width))
    if flip:
        mirrored = random.random(n) < 0.5
        columns[mirrored] = columns[mirrored, ::-1]
    batch = np.arange(n)[:, None, None]
    # Advanced indices around a slice come first: (n, h, w, c), which is also the layout that convolutions prefer.
    gathered = pixels[batch, :, rows[:, :, None], columns[:, None, :]]
    return gathered.transpose(0, 3, 1, 2)


def _moved(size: int, shift: int, n: int, random: np.random.Generator) -> NDArray[Any]:
    """Return for each image the source (n, size) of every row or column."""
    by = random.integers(-shift, shift + 1, size=(n, 1))
    return np.clip(np.arange(size)[None, :] + by, 0, size - 1)
