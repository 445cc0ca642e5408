"""Changes of training images by the kernels, in the very bytes that NumPy gives; where there are none, NumPy does the work."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.kernels.building import library

Bytes = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.integer[Any]]


class _Batch(ctypes.Structure):
    """What C calls ``batch``."""

    _fields_ = tuple((name, ctypes.c_int64) for name in "nchw")


def moved(images: Bytes, rows: Rows, columns: Rows, turned: Rows, maps: Floats) -> Bytes:
    """Return images (n, c, h, w) as (n, h, w, c), each pixel from its row (n, h) and column (n, w).

    Those numbered ``turned`` (m,) come from where their map (m, 7) says: the matrix (xx, xy, yx, yy), its factor, and what is added
    to columns and rows.
    """
    n, c, h, w = images.shape
    whole, flags = np.zeros((n, 7), dtype=np.float32), np.zeros(n, dtype=np.uint8)
    whole[turned], flags[turned] = maps, 1
    out = np.empty((n, h, w, c), dtype=np.uint8)
    given = (images, _whole(rows), _whole(columns), whole, flags)
    _call("move_pixels", _Batch(n, c, h, w), *given, out)
    return out


def counted(images: Bytes, chosen: Rows) -> NDArray[np.int64]:
    """Return how often each tone stands in each channel of those numbered ``chosen`` (m,) of images (n, h, w, c): (m, c, 256)."""
    counts = np.empty((len(chosen), images.shape[3], 256), dtype=np.int64)
    _call("count_tones", _batch(images), images, _whole(chosen), len(chosen), counts)
    return counts


def tone(images: Bytes, chosen: Rows, tables: Bytes) -> None:
    """Send the pixels of those numbered ``chosen`` (m,) of images (n, h, w, c) through their tables (m, c, 256), in place."""
    _call("tone_pixels", _batch(images), images, _whole(chosen), len(chosen), np.ascontiguousarray(tables))


def mix(images: Bytes, chosen: Rows, grey: Floats, factor: Floats, gain: Floats) -> None:
    """Move pixels away from their grey values (m, h, w) by a factor (m,), then by a gain (m, 3), in place; images are (n, h, w, 3)."""
    given = (np.ascontiguousarray(one, dtype=np.float32) for one in (grey, factor, gain))
    _call("mix_colours", _batch(images), images, _whole(chosen), len(chosen), *given)


def cut(images: Bytes, rows: Rows, columns: Rows, side: int, value: int) -> None:
    """Put a square of one value into each image (n, h, w, c), in place; it begins at a row and a column (n,), which may lie outside."""
    _call("cut_squares", _batch(images), images, _whole(rows), _whole(columns), side, value)


def _whole(numbers: Rows) -> NDArray[np.int64]:
    return np.ascontiguousarray(numbers, dtype=np.int64)


def _batch(images: Bytes) -> _Batch:
    n, h, w, c = images.shape
    return _Batch(n, c, h, w)


def _call(name: str, batch: _Batch, *arguments: NDArray[Any] | int) -> None:
    given = [argument if isinstance(argument, int) else argument.ctypes.data for argument in arguments]
    if getattr(library(), name)(ctypes.byref(batch), *given):
        raise MemoryError(f"not enough memory to change {batch.n} images; use smaller batches")
