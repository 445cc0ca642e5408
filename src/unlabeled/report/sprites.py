"""Many small images in a few large ones, for a page: sheets of tiles."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlabeled.report.explored import Take

_SIDE = 2048  # pixels of a sheet at the most: what every phone's graphics take
_AT_A_TIME = 32_000_000  # bytes of pixels that are read at a time
_QUALITIES = (90, 80, 70, 60, 50, 40, 30)


@dataclass(frozen=True)
class Tiles:
    """How images lie in sheets.

    Attributes
    ----------
    width, height
        Of a tile, pixels.
    columns, rows
        Of a sheet, which is filled row by row; the last one has the rows that it needs.
    """

    width: int
    height: int
    columns: int
    rows: int

    @classmethod
    def of(cls, shape: tuple[int, int, int], count: int, *, pixels: int) -> Tiles:
        """Return tiles of images (channels, height, width), shrunken alike where so many would have more pixels than that in all."""
        _, height, width = shape
        scale = min(1.0, (pixels / max(1, count * height * width)) ** 0.5, _SIDE / max(height, width))
        wide, high = (max(1, int(side * scale + 1e-9)) for side in (width, height))
        columns, rows = _SIDE // wide, _SIDE // high
        if count < columns * rows:  # about as wide as high
            columns = min(columns, max(1, round((count * high / wide) ** 0.5)))
        return cls(wide, high, columns, rows)

    @property
    def each(self) -> int:
        """Tiles of a sheet."""
        return self.columns * self.rows

    def place(self, number: int) -> tuple[int, int, int]:
        """Return the sheet of an image, and its tile's column and row there."""
        sheet, rest = divmod(number, self.each)
        return sheet, rest % self.columns, rest // self.columns


def sheets_of(take: Take, numbers: NDArray[np.intp], tiles: Tiles) -> list[Image.Image]:
    """Lay images out in sheets, in the order of their numbers."""
    sheets, step = [], max(1, _AT_A_TIME // max(1, take(numbers[:1]).nbytes))
    for start in range(0, len(numbers), tiles.each):
        own = numbers[start : start + tiles.each]
        rows = -(-len(own) // tiles.columns)
        sheet = np.zeros((rows * tiles.columns, tiles.height, tiles.width, 3), dtype=np.uint8)
        for first in range(0, len(own), step):
            sheet[first : first + step][: len(own) - first] = _shrunken(take(own[first : first + step]), tiles)
        laid = sheet.reshape(rows, tiles.columns, tiles.height, tiles.width, 3).transpose(0, 2, 1, 3, 4)
        sheets.append(Image.fromarray(np.ascontiguousarray(laid.reshape(rows * tiles.height, -1, 3))))
    return sheets


def _shrunken(images: NDArray[np.uint8], tiles: Tiles) -> NDArray[np.uint8]:
    """Return images uint8 (n, c, h, w) as (n, height, width, 3) of a tile's size."""
    colours = (np.repeat(images, 3, axis=1) if images.shape[1] == 1 else images[:, :3]).transpose(0, 2, 3, 1)
    if colours.shape[1:3] == (tiles.height, tiles.width):
        return np.ascontiguousarray(colours)
    n, height, width, _ = colours.shape
    # One above another: each keeps its rows, for the heights of all shrink by the same share.
    column = Image.fromarray(np.ascontiguousarray(colours.reshape(n * height, width, 3)))
    small = column.resize((tiles.width, n * tiles.height), Image.Resampling.BOX)
    return np.asarray(small).reshape(n, tiles.height, tiles.width, 3)


def encode(sheets: list[Image.Image], *, most: int) -> tuple[list[bytes], int]:
    """Return sheets as WebP, and the quality: the best at which they take no more than so many bytes, or the least."""
    # The first tells, for the others are like it.
    quality = _QUALITIES[-1]
    if sheets:
        share = sum(sheet.width * sheet.height for sheet in sheets) / (sheets[0].width * sheets[0].height)
        fitting = (one for one in _QUALITIES if len(_webp(sheets[0], one)) * share <= most)
        quality = next(fitting, quality)
    return [_webp(sheet, quality) for sheet in sheets], quality


def _webp(sheet: Image.Image, quality: int) -> bytes:
    content = io.BytesIO()
    sheet.save(content, format="WEBP", quality=quality, method=4)
    return content.getvalue()
