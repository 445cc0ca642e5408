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
from unlabeled.sources.table import table_files

_FILES = {"folder": folder_files, "table": table_files}


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
    """Return what the images of splits are called: of folders and tables their files' absolute paths, of other sources split and number.

    Raises
    ------
    DataError
        If the folder holds other images than those that the splits were made of.
    """
    kind, _, path = config.data.partition(":")
    if kind not in _FILES:
        labeled, unlabeled = (
            tuple(f"{name}/{row}" for row in _rows(images))
            for name, images in (("labeled", splits.labeled), ("unlabeled", splits.unlabeled))
        )
        return Names(labeled, unlabeled, files=False)
    folder = expand(path)
    found = _FILES[kind](folder, Wanted(config.pixels, config.fit), unlabeled=len(splits.unlabeled.pixels))
    for name, files, images in zip(("labeled", "unlabeled"), found, (splits.labeled, splits.unlabeled), strict=True):
        if len(files) != len(images.pixels):
            raise DataError(
                f"{folder}: {len(files):,} {name} images are there now, and {len(images.pixels):,} were; run unlabeled run again"
            )
    labeled, unlabeled = (
        _named(files, images) for files, images in zip(found, (splits.labeled, splits.unlabeled), strict=True)
    )
    return Names(labeled, unlabeled, files=True)


def _rows(images: Images) -> np.ndarray:
    return np.arange(len(images.pixels)) if images.rows is None else images.rows


def _named(files: Sequence[str], images: Images) -> tuple[str, ...]:
    return tuple(str(Path(files[row]).absolute()) for row in _rows(images))
