"""A contact sheet of a data set, as a PNG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from unlabeled.images import Images, Splits
from unlabeled.keeping.files import write_atomically

_COLUMNS = 10
_GAP = 4
_LABEL_WIDTH = 110


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
            tile = np.repeat(image, 3, axis=0) if len(image) == 1 else image[:3]
            picture = Image.fromarray(np.ascontiguousarray(tile.transpose(1, 2, 0)))
            sheet.paste(
                picture.resize((width, height), Image.Resampling.NEAREST), (_LABEL_WIDTH + column * (width + _GAP), top)
            )
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    write_atomically(path, lambda file: file.write(content.getvalue()))


def _some(images: Images, random: np.random.Generator) -> NDArray[np.uint8]:
    return images.take(np.sort(random.permutation(len(images))[:_COLUMNS]))
