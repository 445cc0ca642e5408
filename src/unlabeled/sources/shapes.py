"""The embedded data set: drawn shapes over crops of real photographs, built like STL-10 and written in its layout.

Ten classes of shapes at any place, size, angle, colour, texture and light, with clutter before and behind them, 96x96
RGB. Unlabeled images come from a broader set of shapes, as in STL-10. A crop that camouflages its shape, a shape half
hidden by clutter: it happens, so nothing is perfect. The difficulty was set with logistic regression on pixels and a
network from scratch, near where they stand on STL-10; no choice was made by looking at what autoencoders do with it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlabeled.config import ShapesConfig
from unlabeled.images.fitting import Wanted
from unlabeled.images.store import stored
from unlabeled.images.writer import Piece, unfinished
from unlabeled.sources.stl10 import SIDE, STL10Writer, read_stl10, stl10_writer

Field: TypeAlias = NDArray[Any]  # float32

_VERSION = 2
_CHUNK = 100
_FOLDS, _FOLD_SHARE = 10, 0.2  # as STL-10: ten folds of a fifth of the labeled images each
_APART = 5  # folds in a row that share none


def store_shapes(config: ShapesConfig, cache: Path, wanted: Wanted) -> Path:
    """Draw the data set, read it as STL-10 into a store, and return the store's folder; the drawing is removed."""
    signature = ["shapes", _VERSION, wanted.as_json(), config.model_dump()]
    return stored(cache, signature, "shapes", (3, *wanted.size), lambda: _read(config, cache, wanted))


def _read(config: ShapesConfig, cache: Path, wanted: Wanted) -> Generator[Piece]:
    drawn = unfinished(cache)
    try:
        write_shapes(drawn, config)
        yield from read_stl10(drawn, wanted, name="shapes")
    finally:
        shutil.rmtree(drawn, ignore_errors=True)


def write_shapes(folder: Path, config: ShapesConfig) -> None:
    """Write the data set in the binary layout of STL-10; the same seed gives the same bytes."""
    random = np.random.default_rng([config.seed, 99])
    with stl10_writer(folder) as writer:
        labels = random.permutation(np.arange(config.train) % len(CLASSES))
        _write_split(writer, "train", labels, config.seed, 0)
        _write_split(writer, "test", random.permutation(np.arange(config.test) % len(CLASSES)), config.seed, 1)
        kinds = random.integers(len(CLASSES) + len(_OTHERS), size=config.unlabeled)
        _write_split(writer, "unlabeled", kinds, config.seed, 2)
        writer.describe(CLASSES, _folds(labels, random))


def draw(kinds: NDArray[np.intp], random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one image for each kind (an index into the classes, then the other shapes): uint8 (n, 3, 96, 96)."""
    n = len(kinds)
    canvas = _crops(n, random) * _uniform(random, n, 0.3, 0.8)[:, None]
    canvas = _clutter(canvas, random, count=1)
    x, y = _frame(n, random, radius=(0.5, 0.9), spread=0.25, tilt=0.3)
    cover = np.empty((n, SIDE, SIDE), dtype=np.float32)
    for kind in np.unique(kinds):
        chosen = kinds == kind
        cover[chosen] = _SHAPES[kind](x[chosen], y[chosen])
    colour = 0.3 + 0.7 * random.random((n, 3, 1, 1), dtype=np.float32)
    light = 1 + _uniform(random, n, 0.1, 0.4) * _wave(x, y, random, n, 0.3, 0.9)
    surface = (0.5 * colour + 0.5 * _texture(n, x, y, random)) * light[:, None]
    canvas = _over(canvas, surface, _soften(cover, x))
    canvas = _clutter(canvas, random, count=1)
    gain, offset = _uniform(random, n, 0.7, 1.2)[:, None], _uniform(random, n, -0.1, 0.1)[:, None]
    canvas = canvas * gain + offset + random.normal(0, 0.02, canvas.shape).astype(np.float32)
    return (np.clip(canvas, 0, 1) * 255).astype(np.uint8)


def _write_split(writer: STL10Writer, split: str, kinds: NDArray[np.intp], seed: int, number: int) -> None:
    def chunk(start: int) -> NDArray[np.uint8]:
        return draw(kinds[start : start + _CHUNK], np.random.default_rng([seed, number, start]))

    starts = iter(range(0, len(kinds), _CHUNK))
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting = [(start, pool.submit(chunk, start)) for start in islice(starts, 2 * workers)]
        while waiting:
            start, future = waiting.pop(0)
            labels = None if split == "unlabeled" else kinds[start : start + _CHUNK]
            writer.append(split, future.result(), labels)
            waiting += [(after, pool.submit(chunk, after)) for after in islice(starts, 1)]


def _folds(labels: NDArray[np.intp], random: np.random.Generator) -> list[NDArray[np.intp]]:
    """Draw ten folds, each with the same share of every class; of the first five, and of the others, no two share an image.

    So they are as independent as labels that are drawn anew; of STL-10's own, two share a fifth by chance. A class that does not
    divide by five has a fifth rounded up or down, so two parts can have an image in common.
    """
    members = [np.flatnonzero(labels == label) for label in range(len(CLASSES))]
    folds: list[NDArray[np.intp]] = []
    while len(folds) < _FOLDS:
        mixed = [random.permutation(m) for m in members]
        folds += [np.sort(np.concatenate([_part(m, number) for m in mixed])) for number in range(_APART)]
    return folds


def _part(members: NDArray[np.intp], number: int) -> NDArray[np.intp]:
    """Take a fold's share of a class, at least two; the parts of a class of fewer than ten images overlap as little as they can."""
    count = max(2, round(_FOLD_SHARE * len(members)))
    start = number * len(members) // _APART
    return np.take(members, np.arange(start, start + count), mode="wrap")


# The shapes: functions of coordinates with the shape within about -1..1, positive inside, about 1 a unit of length.


def _disc(x: Field, y: Field) -> Field:
    return 0.9 - np.hypot(x, y)


def _ring(x: Field, y: Field) -> Field:
    return 0.22 - abs(np.hypot(x, y) - 0.72)


def _polygon(corners: int) -> Callable[[Field, Field], Field]:
    def inside(x: Field, y: Field) -> Field:
        sector = 2 * np.pi / corners
        angle = np.arctan2(y, x)
        return np.cos(np.pi / corners) - np.hypot(x, y) * np.cos((angle + sector / 2) % sector - sector / 2)

    return inside


def _star(points: int, depth: float) -> Callable[[Field, Field], Field]:
    def inside(x: Field, y: Field) -> Field:
        # The edge is a line from the tip at radius 1 to the notch at radius depth, mirrored and repeated.
        sector = 2 * np.pi / points
        angle = abs((np.arctan2(y, x) + sector / 2) % sector - sector / 2)
        along, across = np.hypot(x, y) * np.cos(angle), np.hypot(x, y) * np.sin(angle)
        notch_x, notch_y = depth * np.cos(sector / 2), depth * np.sin(sector / 2)
        length = np.hypot(1 - notch_x, notch_y)
        return ((1 - along) * notch_y - across * (1 - notch_x)) / length

    return inside


def _cross(x: Field, y: Field) -> Field:
    bar = np.minimum(0.3 - abs(x), 0.95 - abs(y))
    return np.maximum(bar, np.minimum(0.95 - abs(x), 0.3 - abs(y)))


def _crescent(x: Field, y: Field) -> Field:
    return np.minimum(0.95 - np.hypot(x, y), np.hypot(x - 0.45, y) - 0.68)


def _heart(x: Field, y: Field) -> Field:
    # A square on its corner, and a disc on each of its upper edges.
    y = y + 0.08
    square = (0.75 - abs(x) - abs(y)) / np.sqrt(2)
    return np.maximum(square, 0.75 / np.sqrt(2) - np.hypot(abs(x) - 0.375, y - 0.375))


def _arrow(x: Field, y: Field) -> Field:
    shaft = np.minimum(0.2 - abs(y), np.minimum(x + 0.95, 0.2 - x))
    head = np.minimum(x - 0.05, (0.95 - x) * 0.6 - abs(y) * 0.75)
    return np.maximum(shaft, head)


def _half_disc(x: Field, y: Field) -> Field:
    return np.minimum(0.95 - np.hypot(x, y + 0.3), y + 0.3)


def _ellipse(x: Field, y: Field) -> Field:
    return (1 - np.hypot(x / 0.95, y / 0.5)) * 0.5


def _drop(x: Field, y: Field) -> Field:
    return np.minimum((0.6 - np.hypot(x, y)) + np.clip(x, 0, 1) * 0.45, 1 - abs(x))


def _corner(x: Field, y: Field) -> Field:
    square = 0.8 - np.maximum(abs(x), abs(y))
    return np.minimum(square, np.maximum(-x - 0.1, -y - 0.1))


def _gear(x: Field, y: Field) -> Field:
    return 0.75 + 0.14 * np.tanh(3 * np.cos(8 * np.arctan2(y, x))) - np.hypot(x, y)


def _wavy(x: Field, y: Field) -> Field:
    return np.minimum(0.25 - abs(y - 0.4 * np.sin(4 * x)), 0.95 - abs(x))


CLASSES = ("disc", "ring", "triangle", "square", "pentagon", "star", "cross", "crescent", "heart", "arrow")
_OTHERS = ("hexagon", "ellipse", "half-disc", "drop", "corner", "gear", "wave", "burst")
_SHAPES: tuple[Callable[[Field, Field], Field], ...] = (
    _disc, _ring, _polygon(3), _polygon(4), _polygon(5), _star(5, 0.42), _cross, _crescent, _heart, _arrow,
    _polygon(6), _ellipse, _half_disc, _drop, _corner, _gear, _wavy, _star(9, 0.55),
)  # fmt: skip


def _frame(
    n: int, random: np.random.Generator, *, radius: tuple[float, float], spread: float, tilt: float
) -> tuple[Field, Field]:
    """Return coordinates (n, 96, 96), x to the right and y up, of shapes at random places, sizes and angles.

    1 is the shape's own radius; radius and spread are in half sides of the image, tilt in radians either way.
    """
    grid = np.linspace(-1, 1, SIDE, dtype=np.float32)
    size, angle = _uniform(random, n, *radius), _uniform(random, n, -tilt, tilt)
    stretch = _uniform(random, n, 0.8, 1.25)
    across = (grid[None, None, :] - _uniform(random, n, -spread, spread)) / size
    up = (_uniform(random, n, -spread, spread) - grid[None, :, None]) / size
    return (np.cos(angle) * across + np.sin(angle) * up) * stretch, np.cos(angle) * up - np.sin(angle) * across


def _soften(inside: Field, x: Field) -> Field:
    """Turn a signed distance into the share of each pixel that is covered."""
    pixel = abs(x[:, :, 1:2] - x[:, :, 0:1]) + abs(x[:, 1:2, :] - x[:, 0:1, :])
    return np.clip(inside / pixel + 0.5, 0, 1)


def _texture(n: int, x: Field, y: Field, random: np.random.Generator) -> Field:
    """Return colours (n, 3, 96, 96): two random ones mixed by stripes, checks, or a piece of photograph."""
    first, second = (random.random((n, 3, 1, 1), dtype=np.float32) for _ in range(2))
    stripes = _wave(x, y, random, n, 4, 14)
    checks = stripes * _wave(x, y, random, n, 4, 14)
    kind = random.integers(4, size=n)
    mix = np.select([kind[:, None, None] == 1, kind[:, None, None] == 2], [stripes, checks], 0).astype(np.float32)
    colours = first + (second - first) * (0.5 + 0.5 * mix)[:, None]
    photo = kind == 3
    colours[photo] = 0.5 * colours[photo] + 0.5 * _crops(int(photo.sum()), random)
    return colours


def _wave(x: Field, y: Field, random: np.random.Generator, n: int, slow: float, fast: float) -> Field:
    """Return waves (n, 96, 96) between -1 and 1 of random direction, frequency and phase."""
    angle, frequency = _uniform(random, n, 0, 2 * np.pi), _uniform(random, n, slow, fast)
    return np.sin(frequency * (np.cos(angle) * x + np.sin(angle) * y) + _uniform(random, n, 0, 2 * np.pi))


def _clutter(canvas: Field, random: np.random.Generator, *, count: int) -> Field:
    """Draw bars and blobs of random colour over the canvas (n, 3, 96, 96)."""
    n = len(canvas)
    for _ in range(count):
        x, y = _frame(n, random, radius=(0.08, 0.22), spread=0.95, tilt=np.pi)
        length = _uniform(random, n, 0.0, 4.0)
        inside = 0.6 - np.hypot(np.maximum(abs(x) - length, 0), y)
        canvas = _over(canvas, random.random((n, 3, 1, 1), dtype=np.float32), _soften(inside, x))
    return canvas


def _over(canvas: Field, colours: Field, cover: Field) -> Field:
    return canvas + (colours - canvas) * cover[:, None]


def _crops(n: int, random: np.random.Generator) -> Field:
    """Cut 96x96 pieces out of the photographs at several scales, half of them mirrored: (n, 3, 96, 96) in 0..1."""
    photographs = _photographs()
    pieces = np.empty((n, 3, SIDE, SIDE), dtype=np.float32)
    for number in range(n):
        photograph = photographs[random.integers(len(photographs))]
        top, left = (random.integers(size - SIDE + 1) for size in photograph.shape[1:])
        piece = photograph[:, top : top + SIDE, left : left + SIDE]
        pieces[number] = piece[:, :, ::-1] if random.random() < 0.5 else piece
    return pieces


@cache
def _photographs() -> tuple[Field, ...]:
    """Return scikit-learn's two sample photographs at several scales, each (3, h, w) in 0..1."""
    return tuple(_scaled())


def _scaled() -> Iterator[Field]:
    from sklearn.datasets import load_sample_images

    for photograph in load_sample_images().images:
        image = Image.fromarray(photograph)
        for scale in (1.0, 0.7, 0.5, 0.35):
            small = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR)
            yield np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / 255


def _uniform(random: np.random.Generator, n: int, low: float, high: float) -> Field:
    """Draw one number an image, (n, 1, 1)."""
    return random.uniform(low, high, (n, 1, 1)).astype(np.float32)
