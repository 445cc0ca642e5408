"""What images are called: their files, or their numbers where they come from one file. Knows nothing of torch."""

from __future__ import annotations

import os
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
    test: tuple[str, ...]
    files: bool

    def root(self, data: str) -> str | None:
        """Return the folder that all files lie below, that of the images or of the table if it does; None where they are no files.

        A COCO-like file often lies beside the folder of its images.
        """
        if not self.files:
            return None
        place = expand(data.partition(":")[2]).absolute()
        place = place if place.is_dir() else place.parent
        return os.path.commonpath([str(place), *self.labeled, *self.unlabeled, *self.test])


def name_images(config: Config, splits: Splits) -> Names:
    """Return what images are called: by folders and tables their files' absolute paths, by saved data sets split and row, else numbers.

    Raises
    ------
    DataError
        If the folder holds other images than those that the splits were made of.
    """
    kind, _, path = config.data.partition(":")
    if kind not in _NAMED:
        labeled, unlabeled, test = (
            tuple(f"{name}/{row}" for row in _rows(images)) for name, images in _parts(splits).items()
        )
        return Names(labeled, unlabeled, test, files=False)
    folder = expand(path)
    found = _NAMED[kind](folder, Wanted(config.pixels, config.fit), unlabeled=len(splits.unlabeled.pixels))
    parts = _parts(splits)
    for (name, images), files in zip(parts.items(), found, strict=True):
        if len(files) != len(images.pixels):
            raise DataError(
                f"{folder}: {len(files):,} {name} images are there now, and {len(images.pixels):,} were; run unlabeled run again"
            )
    labeled, unlabeled, test = (
        _named(files, images, files=kind in _FILES) for files, images in zip(found, parts.values(), strict=True)
    )
    return Names(labeled, unlabeled, test, files=kind in _FILES)


def _parts(splits: Splits) -> dict[str, Images]:
    return {"labeled": splits.labeled, "unlabeled": splits.unlabeled, "test": splits.test}


def _rows(images: Images) -> np.ndarray:
    return np.arange(len(images.pixels)) if images.rows is None else images.rows


def _named(names: Sequence[str], images: Images, *, files: bool) -> tuple[str, ...]:
    some = (names[row] for row in _rows(images))
    return tuple(str(Path(name).absolute()) for name in some) if files else tuple(some)
