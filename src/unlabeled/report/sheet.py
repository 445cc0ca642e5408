"""A contact sheet of a data set, as a PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from unlabeled.images import Images, Splits
from unlabeled.keeping.files import write_atomically

_COLUMNS = 10
_GAP = 4
_LABEL_WIDTH = 110
_NUMBER = 16


def write_sheet(path: Path, splits: Splits) -> None:
    """Write a row of images for every class (20 at the most), then rows of unlabeled images."""
    random = np.random.default_rng(0)
    rows = []
    for number, name in enumerate(splits.class_names[:20]):
        members = np.flatnonzero(splits.labeled.classes == number)
        rows.append((name, _some(splits.labeled.subset(members), random)))
    rows += [("unlabeled", _some(splits.unlabeled, random)) for _ in range(max(3, min(len(rows), 10) // 2))]
    scale = max(1, 64 // splits.labeled.shape[2])
    _, height, width = (scale * size for size in splits.labeled.shape)
    sheet = Image.new("RGB", (_LABEL_WIDTH + _COLUMNS * (width + _GAP), len(rows) * (height + _GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (name, pixels) in enumerate(rows):
        top = place * (height + _GAP)
        pen.text((4, top + height // 2 - 6), name[:16], fill="black")
        for column, image in enumerate(pixels):
            sheet.paste(
                _picture(image).resize((width, height), Image.Resampling.NEAREST),
                (_LABEL_WIDTH + column * (width + _GAP), top),
            )
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    write_atomically(path, lambda file: file.write(content.getvalue()))


def numbered_sheet(images: Sequence[NDArray[np.uint8]]) -> bytes:
    """Return a PNG of images uint8 (c, h, w), ten a row, each with its number below, from 1 on; of none one white row."""
    shape = images[0].shape if images else (3, 32, 32)
    scale = max(1, 64 // shape[2])
    height, width = scale * shape[1], scale * shape[2]
    rows = max(1, -(-len(images) // _COLUMNS))
    sheet = Image.new("RGB", (_COLUMNS * (width + _GAP), rows * (height + _NUMBER)), "white")
    pen = ImageDraw.Draw(sheet)
    for place, image in enumerate(images):
        left, top = (place % _COLUMNS) * (width + _GAP), (place // _COLUMNS) * (height + _NUMBER)
        sheet.paste(_picture(image).resize((width, height), Image.Resampling.NEAREST), (left, top))
        pen.text((left + 2, top + height + 1), str(place + 1), fill="black")
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    return content.getvalue()


def _picture(image: NDArray[np.uint8]) -> Image.Image:
    colours = np.repeat(image, 3, axis=0) if len(image) == 1 else image[:3]
    return Image.fromarray(np.ascontiguousarray(colours.transpose(1, 2, 0)))


def _some(images: Images, random: np.random.Generator) -> NDArray[np.uint8]:
    return images.take(np.sort(random.permutation(len(images))[:_COLUMNS]))
