"""One image file to one shrunken image; and many, on all cores. Knows nothing of torch.

Pillow knows every format; plain JPEG files take a shorter way. A file is a stranger's: only formats of images are opened (one of Pillow's
other readers starts Ghostscript), and its size is looked at before it is read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from unlabeled.images.fitting import PAD, Wanted
from unlabeled.images.formats import formats
from unlabeled.images.jpeg import MAX_BYTES, MAX_MEGAPIXELS, decode_jpeg, read_jpeg
from unlabeled.images.store import digest
from unlabeled.images.writer import Deep
from unlabeled.processes import in_processes

FILTER = "triangle (antialiased bilinear), JPEG decoded at the nearest scale of at least twice the side"
_LARGE = 16e6  # pixels from which on an image is converted a strip at a time, for each copy of it takes hundreds of megabytes
_STRIP_PIXELS = 1_000_000  # of a large image that are converted at a time
BATCH = 256
_WORTH_A_POOL = 1.0  # seconds of decoding on one core; the start of processes takes half of that
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")

# What readers of images raise on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, MemoryError,
           RuntimeError, struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning)  # fmt: skip


class Held(Protocol):
    """An image as a file has it, which something else holds; it travels to other processes, and is read there."""

    @property
    def name(self) -> str:
        """What it is called where it can't be read."""

    def read(self) -> bytes:
        """Return what a file would hold."""


Encoded: TypeAlias = str | Held


@dataclass(frozen=True)
class Decoded:
    """A batch of files.

    Attributes
    ----------
    pixels, digests
        Images uint8 (n, 3, height, width), black where they are deep, and the SHA-256 of what was in the files, uint8 (n, 32).
    good
        Places, within the batch, of the files that the images come from.
    problems
        Path of each other file, and what is wrong with it.
    deep
        The values of grey images of more than 8 bits.
    cut
        Share of each image that is cut off, (n,).
    halved
        How many images have 16 bits a colour, of which the upper 8 are kept.
    """

    pixels: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    good: list[int]
    problems: list[tuple[str, str]]
    deep: Deep
    cut: NDArray[np.float64]
    halved: int = 0


class Picture(NamedTuple):
    """One image: shrunken pixels uint8 (height, width, 3), or deep values float32 (height, width) with the greatest of the file's own.

    ``halved`` says that the file has 16 bits a colour, of which Pillow gives the upper 8.
    """

    digest: bytes
    size: tuple[int, int]
    pixels: NDArray[np.uint8] | None = None
    values: NDArray[np.float32] | None = None
    greatest: int = 0
    halved: bool = False


def decode_all(groups: Sequence[Sequence[Encoded]], wanted: Wanted) -> Iterator[tuple[int, Decoded]]:
    """Decode groups of files in batches, in order, and yield each batch with the number of its group.

    The first batch is decoded here, and tells whether the others are worth the start of a process a core.
    """
    from joblib import delayed

    batches = [
        (number, paths[start : start + BATCH])
        for number, paths in enumerate(groups)
        for start in range(0, len(paths), BATCH)
    ]
    start = time.perf_counter()
    first = [decode_batch(paths, wanted) for _, paths in batches[:1]]
    ahead = (time.perf_counter() - start) * (len(batches) - 1)
    rest = (paths for _, paths in batches[1:])
    if ahead > _WORTH_A_POOL:
        others = in_processes(delayed(decode_batch)(paths, wanted) for paths in rest)
    else:
        others = (decode_batch(paths, wanted) for paths in rest)
    yield from zip((number for number, _ in batches), chain(first, others), strict=True)


def decode_batch(paths: Sequence[Encoded], wanted: Wanted) -> Decoded:
    """Decode files one after the other."""
    pixels = np.zeros((len(paths), 3, *wanted.size), dtype=np.uint8)
    digests: list[bytes] = []
    good: list[int] = []
    problems: list[tuple[str, str]] = []
    deep: dict[int, Picture] = {}
    cuts: list[float] = []
    halved = 0
    known: dict[tuple[int, int], float] = {}
    with warnings.catch_warnings():
        # Pillow warns of odd tags in files that it reads well.
        warnings.simplefilter("ignore", UserWarning)
        # And of large ones, whose size is looked at here.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for place, path in enumerate(paths):
            try:
                picture = decode(path if isinstance(path, str) else path.read(), wanted)
            except _DAMAGE as error:
                problems.append((name_of(path), _reason(error)))
                continue
            if picture.pixels is None:
                deep[len(good)] = picture
            else:
                pixels[len(good)] = picture.pixels.transpose(2, 0, 1)
            if picture.size not in known:
                known[picture.size] = wanted.cut(picture.size)
            cuts.append(known[picture.size])
            halved += picture.halved
            digests.append(picture.digest)
            good.append(place)
    n = len(good)
    hashes = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)
    return Decoded(pixels[:n], hashes, good, problems, _gather(deep, wanted), np.array(cuts), halved)


def _gather(deep: dict[int, Picture], wanted: Wanted) -> Deep:
    values = [picture.values for picture in deep.values() if picture.values is not None]
    stacked = np.stack(values) if values else np.empty((0, *wanted.size), dtype=np.float32)
    greatest = max((picture.greatest for picture in deep.values()), default=0)
    return Deep(np.fromiter(deep, dtype=np.intp, count=len(deep)), stacked, greatest)


def name_of(path: Encoded) -> str:
    """Return a file's path, or what an image that something else holds is called."""
    return path if isinstance(path, str) else path.name


def decode(given: str | Path | bytes, wanted: Wanted) -> Picture:
    """Return the image of a file, or of what a file would hold, with the SHA-256 of its size and its pixels as decoded.

    Grey becomes RGB, transparency lies on white, the camera's orientation is applied. Grey of more than 8 bits keeps its values.

    Raises
    ------
    OSError, ValueError, and others of ``_DAMAGE``
        If the file is no image that can be read; the text says why.
    """
    if isinstance(given, bytes):
        decoded = decode_jpeg(given, wanted)
        return _decode_any(BytesIO(given), wanted) if decoded is None else _fitted(*decoded, wanted)
    handle = _open(given)
    try:
        decoded = read_jpeg(handle, wanted)
        if decoded is None:
            os.lseek(handle, 0, os.SEEK_SET)
            with os.fdopen(os.dup(handle), "rb") as file:
                return _decode_any(cast("BinaryIO", file), wanted)
    finally:
        os.close(handle)
    return _fitted(*decoded, wanted)


def _fitted(pixels: NDArray[np.uint8], size: tuple[int, int], wanted: Wanted) -> Picture:
    shape = pixels.shape[:2]
    # Many sets are small already; to make an image of an array takes longer than to decode it.
    fitted = pixels if shape == wanted.size else _fit(Image.fromarray(pixels), wanted)
    return Picture(digest(pixels, _size_text(size)), shape, fitted)


def _open(path: str | Path) -> int:
    """Open a regular file; a pipe or a device is never waited for, and nothing is read of what is no image by its size."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise ValueError("not a regular file") from None
        raise
    facts = os.fstat(handle)
    if stat.S_ISREG(facts.st_mode) and facts.st_size <= MAX_BYTES:
        return handle
    os.close(handle)
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError("not a regular file")
    raise ValueError(f"{facts.st_size / 1e6:,.0f} MB; no image of {MAX_MEGAPIXELS} megapixels has so many")


def _decode_any(file: BinaryIO, wanted: Wanted) -> Picture:
    """Decode any image with Pillow."""
    with Image.open(file, formats=formats()) as opened, _silent(opened.format == "TIFF"):
        megapixels = opened.width * opened.height / 1e6
        if megapixels > MAX_MEGAPIXELS:
            raise ValueError(
                f"{opened.width}x{opened.height} is {megapixels:,.0f} megapixels; the limit is {MAX_MEGAPIXELS}"
            )
        size = _size_text(opened.size)
        # How the file has its numbers is known until it is loaded.
        halved = any(";16" in str(part) for tile in opened.tile for part in tile[3:])
        high, wide = wanted.size
        # For JPEG: decode at a half, a quarter or an eighth, as long as twice the size remains.
        opened.draft("RGB", (2 * wide, 2 * high))
        # In place: most images need no turning, and would be copied.
        ImageOps.exif_transpose(opened, in_place=True)
        turned = opened.height, opened.width
        if opened.mode in _DEEP:
            return _decode_deep(opened, size, wanted)
        if opened.width * opened.height > _LARGE:
            sha, small = _convert_in_strips(opened, size, wanted)
            return Picture(sha, turned, _pad(small, wanted), halved=halved)
        image = _to_rgb(opened)
        return Picture(digest(np.asarray(image), size), turned, _fit(image, wanted), halved=halved)


@contextmanager
def _silent(wanted: bool) -> Iterator[None]:
    """Keep libtiff, which writes what it finds wrong to standard error by itself, from doing so."""
    nowhere = os.open(os.devnull, os.O_WRONLY) if wanted else None
    try:
        kept = None if nowhere is None else os.dup(2)
    except OSError:  # there is no standard error
        kept = None
    if kept is None or nowhere is None:
        yield
        return
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _convert_in_strips(image: Image.Image, size: str, wanted: Wanted) -> tuple[bytes, Image.Image]:
    """Return the digest of a large image in RGB, and the part of it that is used, shrunken; never all of it in RGB at once.

    Each side is reduced by a whole factor first, to at least twice what is wanted.
    """
    sha = hashlib.sha256(size.encode())
    step = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, step):
        strip = _to_rgb(image.crop((0, top, image.width, min(image.height, top + step))))
        sha.update(np.asarray(strip).data)
    kept, filled = wanted.kept((image.height, image.width)), wanted.filled((image.height, image.width))
    left, top = (image.width - kept[1]) // 2, (image.height - kept[0]) // 2
    across, down = (max(1, kept[side] // (2 * filled[side])) for side in (1, 0))
    small = Image.new("RGB", (-(-kept[1] // across), -(-kept[0] // down)))
    step = down * max(1, _STRIP_PIXELS // (down * kept[1]))
    for row in range(0, kept[0], step):
        strip = image.crop((left, top + row, left + kept[1], top + min(kept[0], row + step)))
        small.paste(_to_rgb(strip).reduce((across, down)), (0, row // down))
    return sha.digest(), small.resize((filled[1], filled[0]), Image.Resampling.BILINEAR)


def _decode_deep(image: Image.Image, size: str, wanted: Wanted) -> Picture:
    """Return the values of a grey image of 16 or 32 bits, shrunken, on the file's own scale."""
    values = np.asarray(image)
    if values.min(initial=0) < 0:
        raise ValueError("grey values below 0, or above 2,147,483,647; save the image with values between")
    sha = hashlib.sha256(size.encode())
    step = max(1, _STRIP_PIXELS // values.shape[1])
    for top in range(0, len(values), step):
        # In 32 bits, whatever the file has: the same image in two containers is the same.
        sha.update(np.ascontiguousarray(values[top : top + step], dtype="<i4").data)
    greatest = int(values.max(initial=0))
    kept, filled = wanted.kept(values.shape), wanted.filled(values.shape)
    top, left = ((whole - part) // 2 for whole, part in zip(values.shape, kept, strict=True))
    middle = values[top : top + kept[0], left : left + kept[1]]
    if middle.size > _LARGE:
        middle = _reduce(middle, max(1, kept[0] // (2 * filled[0])), max(1, kept[1] // (2 * filled[1])))
    small = Image.fromarray(middle.astype(np.float32)).resize((filled[1], filled[0]), Image.Resampling.BILINEAR)
    inner = np.asarray(small)
    if inner.shape != wanted.size:
        padded = np.full(wanted.size, np.nan, dtype=np.float32)
        top, left = ((a - b) // 2 for a, b in zip(wanted.size, inner.shape, strict=True))
        padded[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        inner = padded
    return Picture(sha.digest(), (image.height, image.width), values=inner.astype(np.float32), greatest=greatest)


def _reduce(values: NDArray[Any], down: int, across: int) -> NDArray[np.float32]:
    """Return the means of rectangles; what is left over at two edges is left out."""
    rows, columns = values.shape[0] // down, values.shape[1] // across
    small = np.empty((rows, columns), dtype=np.float32)
    for row in range(rows):
        strip = values[row * down : (row + 1) * down, : columns * across]
        small[row] = strip.reshape(down, columns, across).mean(axis=(0, 2))
    return small


def _fit(image: Image.Image, wanted: Wanted) -> NDArray[np.uint8]:
    """Return an RGB image in the wanted size, uint8 (height, width, 3)."""
    return _pad(_resized(image, wanted), wanted)


def _pad(small: Image.Image, wanted: Wanted) -> NDArray[np.uint8]:
    """Put grey around an image that does not fill the wanted size."""
    high, wide = wanted.size
    if small.size != (wide, high):
        padded = Image.new("RGB", (wide, high), (PAD, PAD, PAD))
        padded.paste(small, ((wide - small.width) // 2, (high - small.height) // 2))
        small = padded
    return np.asarray(small)


def _resized(image: Image.Image, wanted: Wanted) -> Image.Image:
    """Return the part of an image that is used, in the size that it will have."""
    size = image.height, image.width
    kept, filled = wanted.kept(size), wanted.filled(size)
    if size == filled:
        return image
    top, left = (size[0] - kept[0]) / 2, (size[1] - kept[1]) / 2
    box = left, top, left + kept[1], top + kept[0]
    return image.resize((filled[1], filled[0]), Image.Resampling.BILINEAR, box=box)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers of unknown range; save the image with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _size_text(size: tuple[int, int]) -> str:
    """Name a (width, height); with it two images of one colour and the same area are not the same."""
    return f"{size[0]}x{size[1]}"


def _reason(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "not an image" if text.startswith("cannot identify image file") else text
