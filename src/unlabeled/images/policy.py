"""Strong changes of training images: rotations, shears, tones and colours, each image's own, without a loop over images.

An image's changes are one row of amounts, a number for each operation; at 0 an operation changes nothing. Operations on places
make one affine map, those on tones one table, so each batch is gathered once and looked up once, whatever was drawn. The ranges
are those of Cubuk et al., "RandAugment" (2020), where both have the operation.
"""

from __future__ import annotations

from collections.abc import Callable
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
    geometric = amounts[:, : len(PLACES)]
    changed = np.flatnonzero(geometric.any(1))
    if not len(changed):
        return
    height, width = rows.shape[1], columns.shape[1]
    angle, shear_x, shear_y, zoom, move_x, move_y = geometric[changed].T[:, :, None, None]
    y = (rows[changed].astype(np.float32) - (height - 1) / 2)[:, :, None]
    x = (columns[changed].astype(np.float32) - (width - 1) / 2)[:, None, :]
    cos, sin, factor = np.cos(_ANGLE * angle), np.sin(_ANGLE * angle), np.exp(_ZOOM * zoom)
    # Shear first, then turn and scale: (x + a y, y + b x), then the rotation.
    a, b = _SHEAR * shear_x, _SHEAR * shear_y
    from_x = factor * ((cos - sin * b) * x + (cos * a - sin) * y) + (width - 1) / 2 + _MOVE * width * move_x
    from_y = factor * ((sin + cos * b) * x + (sin * a + cos) * y) + (height - 1) / 2 + _MOVE * height * move_y
    whole_y = np.clip(np.rint(from_y), 0, height - 1).astype(places.dtype)
    whole_x = np.clip(np.rint(from_x), 0, width - 1).astype(places.dtype)
    places[changed] = whole_y * width + whole_x


def recolour(images: NDArray[np.uint8], amounts: Floats) -> None:
    """Change tones and colours of images (n, h, w, c), uint8, in place; grey images have tones only."""
    tones = amounts[:, len(PLACES) : len(PLACES) + len(TONES)]
    changed = np.flatnonzero(tones.any(1))
    if len(changed):
        images[changed] = _look_up(images[changed], tones[changed])
    colours = amounts[:, -len(COLOURS) :]
    changed = np.flatnonzero(colours.any(1))
    if len(changed) and images.shape[3] == 3:
        images[changed] = _mix(images[changed], colours[changed])


def _mix(images: NDArray[np.uint8], amounts: Floats) -> NDArray[np.uint8]:
    """Move pixels from or to their grey value (saturation), and red against blue (tint)."""
    saturation, tint = amounts.T
    mixed = images.astype(np.float32)
    grey = (mixed @ _GREY)[..., None]
    mixed -= grey
    mixed *= (1 + _FACTOR * saturation)[:, None, None, None]
    mixed += grey
    gain = 1 + _TINT * tint[:, None] * np.array([1, 0, -1], dtype=np.float32)
    mixed *= gain[:, None, None, :]
    return _to_bytes(mixed)


def _look_up(images: NDArray[np.uint8], amounts: Floats) -> NDArray[np.uint8]:
    """Send each pixel of images (n, h, w, c) through its image's and channel's table."""
    n, channels = len(images), images.shape[3]
    tables = np.broadcast_to(np.arange(256, dtype=np.float32), (n, channels, 256)).copy()
    for number, name in enumerate(TONES):
        chosen = np.flatnonzero(amounts[:, number])
        if len(chosen):
            tables[chosen] = _TABLES[name](tables[chosen], amounts[chosen, number][:, None, None], images[chosen])
    flat = _to_bytes(tables).reshape(-1)
    offsets = (np.arange(n * channels, dtype=np.int32) * 256).reshape(n, 1, 1, channels)
    return np.take(flat, offsets + images, mode="clip")


def _brighten(tables: Floats, amounts: Floats, _: NDArray[np.uint8]) -> Floats:
    return tables * (1 + _FACTOR * amounts)


def _contrast(tables: Floats, amounts: Floats, images: NDArray[np.uint8]) -> Floats:
    mean = images.mean((1, 2, 3), dtype=np.float32)[:, None, None]
    return mean + (tables - mean) * (1 + _FACTOR * amounts)


def _gamma(tables: Floats, amounts: Floats, _: NDArray[np.uint8]) -> Floats:
    return 255 * (tables.clip(0, 255) / 255) ** np.exp(amounts)


def _posterise(tables: Floats, amounts: Floats, _: NDArray[np.uint8]) -> Floats:
    step = 2.0 ** np.rint(_BITS * np.abs(amounts))
    return np.floor(tables / step) * step + (step - 1) / 2


def _solarise(tables: Floats, amounts: Floats, _: NDArray[np.uint8]) -> Floats:
    return np.where(tables > 255 * (1 - np.abs(amounts)), 255 - tables, tables)


def _autocontrast(tables: Floats, amounts: Floats, images: NDArray[np.uint8]) -> Floats:
    """Stretch each channel to its full range, in part."""
    low = images.min((1, 2)).astype(np.float32)[:, :, None]
    high = images.max((1, 2)).astype(np.float32)[:, :, None]
    stretched = (tables - low) * (255 / np.maximum(high - low, 1))
    return tables + np.abs(amounts) * (stretched - tables)


def _equalise(tables: Floats, amounts: Floats, images: NDArray[np.uint8]) -> Floats:
    """Give each channel an even histogram, in part: a tone becomes the share of pixels up to it, half of its own counted."""
    n, height, width, channels = images.shape
    owners = np.arange(n * channels).reshape(n, 1, 1, channels) * 256
    counts = np.bincount((owners + images).reshape(-1), minlength=n * channels * 256).reshape(n, channels, 256)
    share = (np.cumsum(counts, axis=2) - counts / 2) / (height * width)
    tones = np.clip(tables, 0, 255).astype(np.intp)
    even = 255 * np.take_along_axis(share, tones, axis=2)
    return tables + np.minimum(np.abs(amounts), 1) * (even - tables)


_TABLES: dict[str, Callable[[Floats, Floats, NDArray[np.uint8]], Floats]] = {
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
