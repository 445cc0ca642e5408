"""Which kinds of files are images that can be read."""

from __future__ import annotations

import functools

from PIL import Image

# Formats of pictures alone: one of Pillow's other readers starts Ghostscript.
_FORMATS = (
    "JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "AVIF", "HEIF", "JPEG2000", "TGA", "PCX", "SGI", "SUN", "QOI", "DDS",
    "PSD", "ICO", "ICNS", "XBM", "XPM", "MSP",
)  # fmt: skip


@functools.cache
def formats() -> tuple[str, ...]:
    """Return the formats that can be read, by Pillow's names; HEIF is among them where the extra ``heic`` is installed."""
    try:
        import pillow_heif
    except (ImportError, OSError):  # not installed, or not fit for this system
        pass
    else:
        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@functools.cache
def suffixes() -> tuple[str, ...]:
    """Return the endings of names of images that can be read, in small letters."""
    known = (*formats(), "MPO")  # several JPEG pictures in one file, which the reader of JPEG opens
    return tuple(sorted(suffix for suffix, name in Image.registered_extensions().items() if name in known))
