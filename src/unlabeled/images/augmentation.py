"""Random changes of training images: whole batches, on uint8 pixels, by one gather; by the kernels, or by NumPy in the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.images.policy import draw_amounts, kernels, maps_of, recolour, warp

GREY = 128  # what stands in a hole: zero, as models see pixels


@dataclass(frozen=True)
class Augmentation:
    """How training images are changed; the names are those of ``augment``."""

    flip: bool = False
    shift: int = 0
    cutout: int = 0
    operations: int = 0
    magnitude: float = 0.5

    def __call__(self, pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        """Return changed copies of images (n, c, h, w)."""
        return augment(
            pixels,
            random,
            flip=self.flip,
            shift=self.shift,
            cutout=self.cutout,
            operations=self.operations,
            magnitude=self.magnitude,
        )


def augment(
    pixels: NDArray[np.uint8],
    random: np.random.Generator,
    *,
    flip: bool = False,
    shift: int = 0,
    cutout: int = 0,
    operations: int = 0,
    magnitude: float = 0.5,
) -> NDArray[np.uint8]:
    """Return changed copies of images, uint8 (n, c, h, w).

    Parameters
    ----------
    pixels
        uint8 (n, c, h, w).
    random
        Draws for the batch as a whole; what happens to an image does not depend on the pixels of the others.
    flip
        Mirror half of the images left to right.
    shift
        Move each image by up to so many pixels each way. Where it moves away, its edge is repeated.
    cutout
        Side in pixels of a grey square in each image; its centre lies anywhere in the image (DeVries and Taylor, "Improved
        Regularization of Convolutional Neural Networks with Cutout", 2017).
    operations
        How many operations of ``policy`` each image undergoes, drawn with replacement (after Cubuk et al., "RandAugment", 2020).
    magnitude
        The most that an operation does, as a share of its full range, in [0, 1]; each image's strengths are drawn evenly up to it.
    """
    if not flip and not shift and not cutout and not operations:
        return pixels
    n, _, height, width = pixels.shape
    rows, columns = (_moved(size, shift, n, random) for size in (height, width))
    if flip:
        mirrored = random.random(n) < 0.5
        columns[mirrored] = columns[mirrored, ::-1]
    amounts = draw_amounts(n, operations, magnitude, random)
    changed = _move(pixels, rows, columns, amounts)
    recolour(changed, amounts)
    if cutout:
        _cut(changed, cutout, random)
    return changed.transpose(0, 3, 1, 2)


def _moved(size: int, shift: int, n: int, random: np.random.Generator) -> NDArray[Any]:
    """Return for each image the source (n, size) of every row or column."""
    by = random.integers(-shift, shift + 1, size=(n, 1))
    return np.clip(np.arange(size)[None, :] + by, 0, size - 1)


def _move(
    pixels: NDArray[np.uint8], rows: NDArray[Any], columns: NDArray[Any], amounts: NDArray[Any]
) -> NDArray[np.uint8]:
    """Return (n, h, w, c), the layout that convolutions prefer: each pixel from its row (n, h) and column (n, w), then warped."""
    n, channels, height, width = pixels.shape
    if (fast := kernels(pixels)) is not None:
        return fast.moved(pixels, rows, columns, *maps_of(amounts, height, width))
    places = rows[:, :, None] * width + columns[:, None, :]
    warp(places, rows, columns, amounts)
    flat = pixels.transpose(0, 2, 3, 1).reshape(-1, channels)
    places = places + (np.arange(n) * (height * width))[:, None, None]
    # Places are in range by construction; "clip" spares a copy that "raise" makes in case they are not.
    return np.take(flat, places, axis=0, mode="clip")


def _cut(images: NDArray[np.uint8], side: int, random: np.random.Generator) -> None:
    """Put a grey square into each image (n, h, w, c)."""
    n, height, width, _ = images.shape
    firsts = [random.integers(0, size, size=(n, 1)) - side // 2 for size in (height, width)]
    if (fast := kernels(images)) is not None:
        fast.cut(images, *firsts, side, GREY)
        return
    covered = [np.arange(size) - first for size, first in zip((height, width), firsts, strict=True)]
    rows, columns = ((at >= 0) & (at < side) for at in covered)
    images[rows[:, :, None] & columns[:, None, :]] = GREY
