"""Strong changes of training images: rotations, shears, tones and colours, each image's own, without a loop over images.

An image's changes are one row of amounts, a number for each operation; at 0 an operation changes nothing. Operations on places
make one affine map, those on tones one table, so each batch is gathered once and looked up once, whatever was drawn. The ranges
are those of Cubuk et al., "RandAugment" (2020), where both have the operation.

What goes over pixels is done by the kernels where there are any, several times as fast, in the bytes that NumPy gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]

PLACES = ("rotate", "shear-x", "shear-y", "scale", "move-x", "move-y")
TONES = ("brightness", "contrast", "gamma", "posterise", "solarise", "autocontrast", "equalise")
COLOURS = ("saturation", "tint")
OPERATIONS = (*PLACES, *TONES, *COLOURS)

# What an operation does at amount 1.
_ANGLE = np.pi / 6
_SHEAR = 0.3
_ZOOM = 0.4  # logarithm of the factor
_MOVE = 0.3  # share of the side
_FACTOR = 0.9  # brightness, contrast and saturation times 1 + 0.9 amount
_BITS = 4  # bits that posterise takes away
_TINT = 0.3
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # luminance, ITU-R BT.601


def kernels(images: NDArray[np.uint8]) -> ModuleType | None:
    """Return what does the work on pixels faster than NumPy, if it is there and can; it is asked for late, for it takes PyTorch."""
    if images.dtype != np.uint8 or not images.flags.c_contiguous:
        return None
    from unlabeled.kernels import building, pixels

    return None if building.kernels() is None else pixels


def draw_amounts(n: int, operations: int, magnitude: float, random: np.random.Generator) -> Floats:
    """Return how much of each operation each image gets, (n, len(OPERATIONS)); an operation that is drawn twice adds up."""
    amounts = np.zeros((n, len(OPERATIONS)), dtype=np.float32)
    if operations:
        kinds = random.integers(len(OPERATIONS), size=(n, operations))
        strengths = magnitude * random.uniform(-1, 1, size=(n, operations))
        np.add.at(amounts, (np.arange(n)[:, None], kinds), strengths.astype(np.float32))
    return amounts


def warp(places: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any], amounts: Floats) -> None:
    """Turn, shear, scale and move images: overwrite the places (n, h, w) that their pixels come from.

    ``rows`` (n, h) and ``columns`` (n, w) are where they came from so far. The nearest pixel is taken, and edges are repeated.
    """
    height, width = rows.shape[1], columns.shape[1]
    changed, maps = maps_of(amounts, height, width)
    if not len(changed):
        return
    xx, xy, yx, yy, factor, right, down = maps.T[:, :, None, None]
    y = (rows[changed].astype(np.float32) - (height - 1) / 2)[:, :, None]
    x = (columns[changed].astype(np.float32) - (width - 1) / 2)[:, None, :]
    from_x = factor * (xx * x + xy * y) + (width - 1) / 2 + right
    from_y = factor * (yx * x + yy * y) + (height - 1) / 2 + down
    whole_y = np.clip(np.rint(from_y), 0, height - 1).astype(places.dtype)
    whole_x = np.clip(np.rint(from_x), 0, width - 1).astype(places.dtype)
    places[changed] = whole_y * width + whole_x


def maps_of(amounts: Floats, height: int, width: int) -> tuple[NDArray[np.intp], Floats]:
    """Return which images (m,) amounts turn, shear, scale or move, and by what affine maps, float32 (m, 7).

    A map is its matrix (xx, xy, yx, yy), measured from the middle, a factor, and what is added to columns and to rows.
    """
    geometric = amounts[:, : len(PLACES)]
    changed = np.flatnonzero(geometric.any(1))
    angle, shear_x, shear_y, zoom, move_x, move_y = geometric[changed].T
    cos, sin, factor = np.cos(_ANGLE * angle), np.sin(_ANGLE * angle), np.exp(_ZOOM * zoom)
    # Shear first, then turn and scale: (x + a y, y + b x), then the rotation.
    a, b = _SHEAR * shear_x, _SHEAR * shear_y
    matrix = cos - sin * b, cos * a - sin, sin + cos * b, sin * a + cos
    return changed, np.stack([*matrix, factor, _MOVE * width * move_x, _MOVE * height * move_y], axis=1)


def recolour(images: NDArray[np.uint8], amounts: Floats) -> None:
    """Change tones and colours of images (n, h, w, c), uint8, in place; grey images have tones only."""
    tones = amounts[:, len(PLACES) : len(PLACES) + len(TONES)]
    changed = np.flatnonzero(tones.any(1))
    if len(changed):
        tables = _tables(images, changed, tones[changed])
        if (fast := kernels(images)) is not None:
            fast.tone(images, changed, tables)
        else:
            images[changed] = _look_up(images[changed], tables)
    colours = amounts[:, -len(COLOURS) :]
    changed = np.flatnonzero(colours.any(1))
    if len(changed) and images.shape[3] == 3:
        _mix(images, changed, colours[changed])


def _mix(images: NDArray[np.uint8], changed: NDArray[np.intp], amounts: Floats) -> None:
    """Move pixels from or to their grey value (saturation), and red against blue (tint)."""
    mixed = images[changed].astype(np.float32)
    grey = mixed @ _GREY
    factor = 1 + _FACTOR * amounts[:, 0]
    gain = 1 + _TINT * amounts[:, 1, None] * np.array([1, 0, -1], dtype=np.float32)
    if (fast := kernels(images)) is not None:
        fast.mix(images, changed, grey, factor, gain)
        return
    mixed -= grey[..., None]
    mixed *= factor[:, None, None, None]
    mixed += grey[..., None]
    mixed *= gain[:, None, None, :]
    images[changed] = _to_bytes(mixed)


def _tables(images: NDArray[np.uint8], changed: NDArray[np.intp], amounts: Floats) -> NDArray[np.uint8]:
    """Return what becomes of each tone in each channel of the images ``changed`` (m,), (m, c, 256)."""
    tables = np.broadcast_to(np.arange(256, dtype=np.float32), (len(changed), images.shape[3], 256)).copy()
    for number, name in enumerate(TONES):
        chosen = np.flatnonzero(amounts[:, number])
        if len(chosen):
            tables[chosen] = _TABLES[name](
                tables[chosen], amounts[chosen, number][:, None, None], _Some(images, changed[chosen])
            )
    return _to_bytes(tables)


def _look_up(images: NDArray[np.uint8], tables: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Send each pixel of images (n, h, w, c) through its image's and channel's table."""
    n, channels = len(images), images.shape[3]
    offsets = (np.arange(n * channels, dtype=np.int32) * 256).reshape(n, 1, 1, channels)
    return np.take(tables.reshape(-1), offsets + images, mode="clip")


@dataclass(frozen=True)
class _Some:
    """Some of the images (n, h, w, c), for tables that depend on what they show."""

    images: NDArray[np.uint8]
    rows: NDArray[np.intp]

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """They alone, (m, h, w, c)."""
        return self.images[self.rows]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each tone stands in each channel, (m, c, 256)."""
        if (fast := kernels(self.images)) is not None:
            counted: NDArray[np.int64] = fast.counted(self.images, self.rows)
            return counted
        m, channels = len(self.rows), self.images.shape[3]
        owners = np.arange(m * channels).reshape(m, 1, 1, channels) * 256
        return np.bincount((owners + self.pixels).reshape(-1), minlength=m * channels * 256).reshape(m, channels, 256)


def _brighten(tables: Floats, amounts: Floats, _: _Some) -> Floats:
    return tables * (1 + _FACTOR * amounts)


def _contrast(tables: Floats, amounts: Floats, images: _Some) -> Floats:
    mean = images.pixels.mean((1, 2, 3), dtype=np.float32)[:, None, None]
    return mean + (tables - mean) * (1 + _FACTOR * amounts)


def _gamma(tables: Floats, amounts: Floats, _: _Some) -> Floats:
    return 255 * (tables.clip(0, 255) / 255) ** np.exp(amounts)


def _posterise(tables: Floats, amounts: Floats, _: _Some) -> Floats:
    step = 2.0 ** np.rint(_BITS * np.abs(amounts))
    return np.floor(tables / step) * step + (step - 1) / 2


def _solarise(tables: Floats, amounts: Floats, _: _Some) -> Floats:
    return np.where(tables > 255 * (1 - np.abs(amounts)), 255 - tables, tables)


def _autocontrast(tables: Floats, amounts: Floats, images: _Some) -> Floats:
    """Stretch each channel to its full range, in part."""
    there = images.counts > 0
    low = there.argmax(2).astype(np.float32)[:, :, None]
    high = 255 - there[:, :, ::-1].argmax(2).astype(np.float32)[:, :, None]
    stretched = (tables - low) * (255 / np.maximum(high - low, 1))
    return tables + np.abs(amounts) * (stretched - tables)


def _equalise(tables: Floats, amounts: Floats, images: _Some) -> Floats:
    """Give each channel an even histogram, in part: a tone becomes the share of pixels up to it, half of its own counted."""
    counts = images.counts
    share = (np.cumsum(counts, axis=2) - counts / 2) / (images.images.shape[1] * images.images.shape[2])
    tones = np.clip(tables, 0, 255).astype(np.intp)
    even = 255 * np.take_along_axis(share, tones, axis=2)
    return tables + np.minimum(np.abs(amounts), 1) * (even - tables)


_TABLES: dict[str, Callable[[Floats, Floats, _Some], Floats]] = {
    "brightness": _brighten,
    "contrast": _contrast,
    "gamma": _gamma,
    "posterise": _posterise,
    "solarise": _solarise,
    "autocontrast": _autocontrast,
    "equalise": _equalise,
}


def _to_bytes(numbers: Floats) -> NDArray[np.uint8]:
    return np.rint(np.clip(numbers, 0, 255)).astype(np.uint8)
