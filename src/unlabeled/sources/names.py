"""What images are called: their files, or their numbers where they come from one file. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unlabeled.config import Config
from unlabeled.errors import DataError
from unlabeled.images import Images, Splits
from unlabeled.images.fitting import Wanted
from unlabeled.keeping.caching import expand
from unlabeled.sources.folder import folder_files
from unlabeled.sources.saved import saved_rows
from unlabeled.sources.table import table_files

_FILES = {"folder": folder_files, "table": table_files, "coco": table_files}
_NAMED = {**_FILES, "hf": saved_rows}


@dataclass(frozen=True)
class Names:
    """The names of the images of each split, in the splits' order; ``files`` tells whether they are files."""

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    files: bool

    def of(self, split: str) -> tuple[str, ...]:
        """Return a split's."""
        return self.labeled if split == "labeled" else self.unlabeled


def name_images(config: Config, splits: Splits) -> Names:
    """Return what images are called: by folders and tables their files' absolute paths, by saved data sets split and row, else numbers.

    Raises
    ------
    DataError
        If the folder holds other images than those that the splits were made of.
    """
    kind, _, path = config.data.partition(":")
    if kind not in _NAMED:
        labeled, unlabeled = (
            tuple(f"{name}/{row}" for row in _rows(images))
            for name, images in (("labeled", splits.labeled), ("unlabeled", splits.unlabeled))
        )
        return Names(labeled, unlabeled, files=False)
    folder = expand(path)
    found = _NAMED[kind](folder, Wanted(config.pixels, config.fit), unlabeled=len(splits.unlabeled.pixels))
    for name, files, images in zip(("labeled", "unlabeled"), found, (splits.labeled, splits.unlabeled), strict=True):
        if len(files) != len(images.pixels):
            raise DataError(
                f"{folder}: {len(files):,} {name} images are there now, and {len(images.pixels):,} were; run unlabeled run again"
            )
    labeled, unlabeled = (
        _named(files, images, files=kind in _FILES)
        for files, images in zip(found, (splits.labeled, splits.unlabeled), strict=True)
    )
    return Names(labeled, unlabeled, files=kind in _FILES)


def _rows(images: Images) -> np.ndarray:
    return np.arange(len(images.pixels)) if images.rows is None else images.rows


def _named(names: Sequence[str], images: Images, *, files: bool) -> tuple[str, ...]:
    some = (names[row] for row in _rows(images))
    return tuple(str(Path(name).absolute()) for name in some) if files else tuple(some)
