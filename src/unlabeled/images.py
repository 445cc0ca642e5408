"""Images and Splits: the containers that every source fills and everything else reads. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.errors import DataError


@dataclass(frozen=True)
class Images:
    """Pixels, and classes where they are known.

    Attributes
    ----------
    pixels
        uint8 (n, c, h, w), usually mapped from disk.
    labels
        int64 (n,), or None.
    rows
        Which rows of ``pixels`` and ``labels`` belong here, in order; None is all. So a subset copies nothing.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    rows: NDArray[np.intp] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.dtype != np.uint8:
            raise DataError(f"pixels are {self.pixels.dtype} {self.pixels.shape}; images are uint8 (n, c, h, w)")
        if self.labels is not None and len(self.labels) != len(self.pixels):
            raise DataError(f"{len(self.labels)} labels for {len(self.pixels)} images; give one label an image")

    def __len__(self) -> int:
        return len(self.pixels) if self.rows is None else len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> NDArray[np.int64]:
        """The classes (n,) of images that have some."""
        if self.labels is None:
            raise DataError("these images have no labels; this step needs labeled images")
        return self.labels if self.rows is None else self.labels[self.rows]

    def take(self, indices: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Copy the pixels of some images into memory, uint8 (len(indices), c, h, w)."""
        return self.pixels[indices if self.rows is None else self.rows[indices]]

    def subset(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> Images:
        """Return some of the images, in the order of the indices, without copying."""
        chosen = np.asarray(indices, dtype=np.intp)
        return Images(self.pixels, self.labels, chosen if self.rows is None else self.rows[chosen])


@dataclass(frozen=True)
class Leaks:
    """How many images stood in two splits, by their bytes before shrinking, and what was done about it."""

    policy: str
    unlabeled_in_test: int = 0
    unlabeled_in_labeled: int = 0
    labeled_in_test: int = 0

    @property
    def total(self) -> int:
        """Images concerned; one that stands in test and among the labeled counts twice."""
        return self.unlabeled_in_test + self.unlabeled_in_labeled + self.labeled_in_test


@dataclass(frozen=True)
class Splits:
    """What a source returns.

    Attributes
    ----------
    labeled, unlabeled, test
        The three splits; unlabeled has no labels.
    class_names
        Name of each class, by its number.
    folds
        The data set's own folds, each an array of indices into ``labeled`` to train with; empty if it has none.
    leaks
        What was found and done.
    notes
        What a reader of the results has to know: images skipped, a test split set aside, and the like.
    origin
        What the images were made from, for the protocol: content key, filter, sizes.
    """

    labeled: Images
    unlabeled: Images
    test: Images
    class_names: tuple[str, ...]
    folds: tuple[NDArray[np.intp], ...] = ()
    leaks: Leaks = field(default_factory=lambda: Leaks("drop"))
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
