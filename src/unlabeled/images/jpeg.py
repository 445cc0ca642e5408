"""The short way of plain JPEG files, through simplejpeg where it is installed.

The same bytes, from the same libjpeg-turbo, without a second look at the file in Python, which takes longer than decoding a small one.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlabeled.images.fitting import Wanted

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

MAX_MEGAPIXELS = 100
MAX_BYTES = 1 << 30  # of a file; no image of so many megapixels has more
_JPEG = b"\xff\xd8"
_FIRST_READ = 1 << 16  # bytes of a file, most often all
_SHRINKS = (8, 4, 2)  # of a JPEG's sides, while it is decoded


def read_jpeg(handle: int, wanted: Wanted) -> tuple[NDArray[np.uint8], tuple[int, int]] | None:
    """Return what ``decode_jpeg`` makes of a file; of what is none no more than the beginning is read."""
    content = os.read(handle, _FIRST_READ)
    if not content.startswith(_JPEG):
        return None
    if len(content) == _FIRST_READ:
        if os.fstat(handle).st_size > MAX_BYTES // 4:
            return None
        content += _read_rest(handle)
    return decode_jpeg(content, wanted)


def decode_jpeg(content: bytes, wanted: Wanted) -> tuple[NDArray[np.uint8], tuple[int, int]] | None:
    """Return pixels (h, w, 3) near the wanted size and the (width, height) that the file names, of a JPEG file that is whole, in grey or
    three colours and of common size, and needs no turning; else None, and it is left to Pillow.
    """  # noqa: D205
    if simplejpeg is None or not content.startswith(_JPEG):
        return None
    # Where the camera's orientation can stand.
    if b"Exif\0" in content or b"tiff:Orientation" in content:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if width * height > min(MAX_MEGAPIXELS * 1e6, Image.MAX_IMAGE_PIXELS or np.inf) or colours == "CMYK":
            return None
        least, room = (0, 0), min(width // (2 * wanted.size[1]), height // (2 * wanted.size[0]))
        if room > 1:
            shrink = next(n for n in _SHRINKS if room >= n)
            least = -(-height // shrink), -(-width // shrink)
        pixels = simplejpeg.decode_jpeg(content, "RGB", min_height=least[0], min_width=least[1])
        return pixels, (width, height)
    except ValueError:
        # Damaged in some way; Pillow may read it all the same, or says what is wrong.
        return None


def _read_rest(handle: int) -> bytes:
    parts = []
    while part := os.read(handle, 1 << 20):
        parts.append(part)
    return b"".join(parts)
