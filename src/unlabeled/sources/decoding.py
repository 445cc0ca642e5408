"""One image file to one shrunken square image, with Pillow; and many, on all cores. Knows nothing of torch."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from unlabeled.processes import in_processes
from unlabeled.store import digest

MAX_MEGAPIXELS = 100
FILTER = "triangle (antialiased bilinear), JPEG decoded at the nearest scale of at least twice the side"
_BATCH = 256
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")

# What Pillow's readers raise on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError,
           struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning)  # fmt: skip


@dataclass(frozen=True)
class Decoded:
    """A batch of files: images uint8 (n, 3, side, side), digests uint8 (n, 32), and what went wrong with others.

    ``good`` are the places, within the batch, of the files that the images come from.
    """

    pixels: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    good: list[int]
    problems: list[tuple[Path, str]]


def decode_all(paths: Sequence[Path], side: int) -> Iterator[Decoded]:
    """Decode files in batches on all cores, in order."""
    from joblib import delayed

    batches = [paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH)]
    if len(batches) <= 1:
        # A pool of processes costs more than so few images.
        yield from (decode_batch(batch, side) for batch in batches)
        return
    yield from in_processes(delayed(decode_batch)(batch, side) for batch in batches)


def decode_batch(paths: Sequence[Path], side: int) -> Decoded:
    """Decode files one after the other."""
    images: list[NDArray[np.uint8]] = []
    digests: list[bytes] = []
    good: list[int] = []
    problems: list[tuple[Path, str]] = []
    for place, path in enumerate(paths):
        try:
            image, found = decode(path, side)
        except _DAMAGE as error:
            problems.append((path, _reason(error)))
            continue
        images.append(image)
        digests.append(found)
        good.append(place)
    pixels = np.stack(images) if images else np.empty((0, 3, side, side), dtype=np.uint8)
    return Decoded(pixels, np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32), good, problems)


def decode(path: Path, side: int) -> tuple[NDArray[np.uint8], bytes]:
    """Return the image uint8 (3, side, side), and the SHA-256 of its size and its pixels as decoded.

    Grey becomes RGB, 16 bits become 8, transparency lies on white, the camera's orientation is applied, and of an
    image that is not square the middle is taken.
    """
    with Image.open(path) as opened:
        megapixels = opened.width * opened.height / 1e6
        if megapixels > MAX_MEGAPIXELS:
            raise ValueError(
                f"{opened.width}x{opened.height} is {megapixels:,.0f} megapixels; the limit is {MAX_MEGAPIXELS}"
            )
        size = opened.size
        # For JPEG: decode at a half, a quarter or an eighth, as long as twice the side remains.
        opened.draft("RGB", (2 * side, 2 * side))
        # In place: most images need no turning, and would be copied.
        ImageOps.exif_transpose(opened, in_place=True)
        image = _to_rgb(opened)
    pixels = np.asarray(image)
    # With the size: two images of one colour and the same area are not the same.
    found = digest(pixels, f"{size[0]}x{size[1]}")
    if image.size != (side, side):
        pixels = np.asarray(ImageOps.fit(image, (side, side), method=Image.Resampling.BILINEAR))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), found


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode in _SIXTEEN_BIT or image.mode == "I":
        # Pillow's own conversion cuts 16 bits off at 255 instead of scaling them.
        values = np.asarray(image).astype(np.int64)
        bits = 8 if values.max(initial=0) > 255 or image.mode != "I" else 0
        image = Image.fromarray(np.clip(values >> bits, 0, 255).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers of unknown range; save the image with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _reason(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "not an image" if text.startswith("cannot identify image file") else text
