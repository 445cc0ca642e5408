"""One image file to one shrunken square image; and many, on all cores. Knows nothing of torch.

Pillow knows every format. Plain JPEG files go through simplejpeg where it is installed: the same bytes, from the same
libjpeg-turbo, without a second look at the file in Python, which takes longer than decoding a small one.
"""

from __future__ import annotations

import struct
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from unlabeled.processes import in_processes
from unlabeled.store import digest

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

MAX_MEGAPIXELS = 100
FILTER = "triangle (antialiased bilinear), JPEG decoded at the nearest scale of at least twice the side"
_BATCH = 256
_WORTH_A_POOL = 1.0  # seconds of decoding on one core; the start of processes takes half of that
_FIRST_READ = 1 << 16  # bytes of a file, most often all
_SHRINKS = (8, 4, 2)  # of a JPEG's sides, while it is decoded
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
    problems: list[tuple[str, str]]


def decode_all(groups: Sequence[Sequence[str]], side: int) -> Iterator[tuple[int, Decoded]]:
    """Decode groups of files in batches, in order, and yield each batch with the number of its group.

    The first batch is decoded here, and tells whether the others are worth the start of a process a core.
    """
    from joblib import delayed

    batches = [
        (number, paths[start : start + _BATCH])
        for number, paths in enumerate(groups)
        for start in range(0, len(paths), _BATCH)
    ]
    start = time.perf_counter()
    first = [decode_batch(paths, side) for _, paths in batches[:1]]
    ahead = (time.perf_counter() - start) * (len(batches) - 1)
    rest = (paths for _, paths in batches[1:])
    if ahead > _WORTH_A_POOL:
        others = in_processes(delayed(decode_batch)(paths, side) for paths in rest)
    else:
        others = (decode_batch(paths, side) for paths in rest)
    yield from zip((number for number, _ in batches), chain(first, others), strict=True)


def decode_batch(paths: Sequence[str], side: int) -> Decoded:
    """Decode files one after the other."""
    pixels = np.empty((len(paths), 3, side, side), dtype=np.uint8)
    digests: list[bytes] = []
    good: list[int] = []
    problems: list[tuple[str, str]] = []
    with warnings.catch_warnings():
        # Pillow warns of odd tags in files that it reads well.
        warnings.simplefilter("ignore", UserWarning)
        for place, path in enumerate(paths):
            try:
                image, found = decode(path, side)
            except _DAMAGE as error:
                problems.append((path, _reason(error)))
                continue
            pixels[len(good)] = image
            digests.append(found)
            good.append(place)
    return Decoded(
        pixels[: len(good)], np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32), good, problems
    )


def decode(path: str | Path, side: int) -> tuple[NDArray[np.uint8], bytes]:
    """Return the image uint8 (3, side, side), and the SHA-256 of its size and its pixels as decoded.

    Grey becomes RGB, 16 bits become 8, transparency lies on white, the camera's orientation is applied, and of an
    image that is not square the middle is taken.
    """
    decoded = _decode_jpeg(path, side)
    pixels, size = _decode_any(path, side) if decoded is None else decoded
    # With the size: two images of one colour and the same area are not the same.
    found = digest(pixels, f"{size[0]}x{size[1]}")
    if pixels.shape[:2] != (side, side):
        image = ImageOps.fit(Image.fromarray(pixels), (side, side), method=Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    return pixels.transpose(2, 0, 1), found


def _decode_any(path: str | Path, side: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return the pixels (h, w, 3) near the wanted side, and the (width, height) that the file names, with Pillow."""
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
        return np.asarray(_to_rgb(opened)), size


def _decode_jpeg(path: str | Path, side: int) -> tuple[NDArray[np.uint8], tuple[int, int]] | None:
    """Do the same for a JPEG file that is whole, in grey or three colours and of common size, and needs no turning; else None."""
    if simplejpeg is None:
        return None
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - quicker for many small files
        content = file.read(_FIRST_READ)
        if not content.startswith(b"\xff\xd8"):
            return None
        if len(content) == _FIRST_READ:
            content += file.read()
    # Where the camera's orientation can stand.
    if b"Exif\0" in content or b"tiff:Orientation" in content:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if width * height > min(MAX_MEGAPIXELS * 1e6, Image.MAX_IMAGE_PIXELS or np.inf) or colours == "CMYK":
            return None
        least, room = (0, 0), min(width, height) // (2 * side)
        if room > 1:
            shrink = next(n for n in _SHRINKS if room >= n)
            least = -(-height // shrink), -(-width // shrink)
        pixels = simplejpeg.decode_jpeg(content, "RGB", min_height=least[0], min_width=least[1])
        return pixels, (width, height)
    except ValueError:
        # Damaged in some way; Pillow may read it all the same, or says what is wrong.
        return None


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
