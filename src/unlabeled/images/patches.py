"""Patches cut from images, and what is done to them before they are learned from. Knows nothing of torch.

Every preparation here is a linear map of a patch, after its pixels were clipped one by one. So a layer on prepared patches can be
applied to whole images as a convolution, with the preparation folded into its weights and offsets: exactly, not nearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from unlabeled.errors import DataError
from unlabeled.images import Images

Preparation: TypeAlias = Literal["whitening", "clip"]
_CHUNK = 2000
# Added to the variances before whitening, on pixels in [-1, 1]: 0.1 on pixels in [0, 1], as A. Ng's course has it for patches of
# STL-10. With a fortieth of it whitening turns mostly noise up, and filters look like noise.
_WHITENING_OFFSET = 0.4


def cut_patches(images: Images, count: int, *, side: int, seed: int = 0) -> Images:
    """Cut square patches at random places of randomly chosen images.

    Returns
    -------
    Images
        uint8 (count, c, side, side), without labels.

    Raises
    ------
    DataError
        If there are no images, or they are smaller than a patch.
    """
    channels, height, width = images.shape
    if len(images) == 0:
        raise DataError("there are no images to cut patches from; give some unlabeled ones")
    if side > min(height, width):
        raise DataError(
            f"patches of {side}x{side} do not fit images of {height}x{width}; use --studies.sparse.side {min(height, width)}"
        )
    random = np.random.default_rng([seed, 5])
    # Sorted, so that a mapped file is read from its beginning to its end.
    chosen = np.sort(random.integers(0, len(images), count))
    tops, lefts = random.integers(0, height - side + 1, count), random.integers(0, width - side + 1, count)
    patches = np.empty((count, channels, side, side), dtype=np.uint8)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        views = np.lib.stride_tricks.sliding_window_view(images.take(chosen[part]), (side, side), axis=(2, 3))
        patches[part] = views[np.arange(len(views)), :, tops[part], lefts[part]]
    return Images(patches[random.permutation(count)])


@dataclass(frozen=True)
class Prepared:
    """How patches were prepared: clip each pixel to ``low`` and ``high`` of its channel, then ``matrix @ patch + offset``.

    Attributes
    ----------
    low, high
        float64 (c,), on pixels in [-1, 1].
    matrix
        float64 (d, d), for patches laid out as (c, side, side), d numbers.
    offset
        float64 (d,).
    shape
        (c, side, side).
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    shape: tuple[int, int, int]

    def apply(self, patches: NDArray[np.floating]) -> NDArray[np.float64]:
        """Prepare patches (n, c, side, side) in [-1, 1]; return (n, d)."""
        bounds = self.low[:, None, None], self.high[:, None, None]
        flat = np.clip(patches.astype(np.float64), *bounds).reshape(len(patches), -1)
        prepared: NDArray[np.float64] = flat @ self.matrix.T + self.offset
        return prepared


def prepare(patches: Images, kind: Preparation) -> Prepared:
    """Learn a preparation from patches.

    "clip" takes each channel less its mean, clips it to three standard deviations, and maps that range to [0.1, 0.9], where a sigmoid
    can follow. "whitening" takes away each pixel's mean and makes all directions of about equal variance, turned back so
    that a prepared patch still looks like one (ZCA; Bell and Sejnowski, "The 'independent components' of natural scenes are edge
    filters", 1997).
    """
    flat = as_numbers(patches)
    channels, side, _ = patches.shape
    if kind == "clip":
        by_channel = flat.reshape(len(flat), channels, -1)
        mean = by_channel.mean(axis=(0, 2))
        # One spread for all channels, so that colours keep their proportions.
        spread = max(3 * float((by_channel - mean[:, None]).std()), 1e-6)
        scale = 0.4 / spread
        offset = np.repeat(0.5 - scale * mean, side * side)
        return Prepared(mean - spread, mean + spread, scale * np.eye(flat.shape[1]), offset, patches.shape)
    centre, matrix = whitening(flat, offset=_WHITENING_OFFSET)
    everything = np.ones(channels)
    return Prepared(-everything, everything, matrix, -matrix @ centre, patches.shape)


def whitening(flat: NDArray[np.float64], *, offset: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centre (d,) and matrix (d, d) that whiten vectors (n, d): matrix @ (x - centre), turned back to where x was.

    ``offset`` is added to the variances, so that directions with hardly any are not blown up.
    """
    centre = flat.mean(axis=0)
    centred = flat - centre
    variances, directions = scipy.linalg.eigh(centred.T @ centred / len(flat))
    return centre, directions / np.sqrt(np.maximum(variances, 0) + offset) @ directions.T


def as_numbers(patches: Images) -> NDArray[np.float64]:
    """Return patches as pixels in [-1, 1], float64 (n, d)."""
    pixels = patches.take(np.arange(len(patches))).astype(np.float64)
    return pixels.reshape(len(pixels), -1) / 127.5 - 1.0
