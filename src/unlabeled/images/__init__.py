"""Images and Splits: the containers that every source fills and everything else reads. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.errors import DataError
from unlabeled.images.sharded import ShardedPixels

_CHANNELS = (1, 3, 4)
_NAMED = 5  # classes that a description names


@dataclass(frozen=True, repr=False)
class Images:
    """Pixels, and classes where they are known.

    Attributes
    ----------
    pixels
        uint8 (n, c, h, w), usually mapped from disk, or in shards.
    labels
        int64 (n,) from 0 on, or None.
    rows
        Which rows of ``pixels`` and ``labels`` belong here, in order; None is all. So a subset copies nothing.

    Raises
    ------
    DataError
        If pixels are no uint8 or lie otherwise, or labels are no whole numbers from 0 on; the message says how to convert them.
    """

    pixels: NDArray[np.uint8] | ShardedPixels
    labels: NDArray[np.int64] | None = None
    rows: NDArray[np.intp] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, ShardedPixels):
            _check_pixels(self.pixels)
        if self.labels is not None:
            _check_labels(self.labels, len(self.pixels))

    def __repr__(self) -> str:
        channels, height, width = self.shape
        where = "mapped from disk" if isinstance(self.pixels, np.memmap) else "in memory"
        if isinstance(self.pixels, ShardedPixels):
            where = f"in {len(self.pixels.shards):,} shard{'s' * (len(self.pixels.shards) > 1)}"
        if self.labels is None:
            text = "no labels"
        elif not len(self):
            text = "no images, so no classes"
        else:
            counts = np.unique(self.classes, return_counts=True)[1]
            text = f"{len(counts):,} classes of {counts.min():,} to {counts.max():,} images"
        return f"Images: {len(self):,} of {width}x{height}, {channels} channel{'s' * (channels > 1)}, uint8, {where}\n  {text}"

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

    @property
    def bounds(self) -> NDArray[np.intp] | None:
        """Where the images of each shard begin, and how many there are, (shards + 1,); None if they lie in no shards, or out of order."""
        if not isinstance(self.pixels, ShardedPixels):
            return None
        if self.rows is None:
            return self.pixels.starts
        in_order = bool((np.diff(self.rows) > 0).all())
        return np.searchsorted(self.rows, self.pixels.starts) if in_order else None

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
class Near:
    """How many images have a near-copy elsewhere, and what was done about it.

    Attributes
    ----------
    policy
        "drop" or "keep".
    threshold
        Agreement from which a pair counts.
    unlabeled_in_test, labeled_in_test
        Images with a near-copy in test; under "drop" they were left out.
    unlabeled_in_labeled
        Unlabeled images with a near-copy among the labeled. They stay: what they show is known, but not of the test.
    within_labeled, within_test
        Images with a near-copy in their own split; they stay.
    test_in_others
        Test images with a near-copy among labeled or unlabeled ones.
    examples
        For each relation ("unlabeled in test") some pairs, best first: row, row, agreement, mirrored.
    """

    policy: str
    threshold: float = 1.0
    unlabeled_in_test: int = 0
    labeled_in_test: int = 0
    unlabeled_in_labeled: int = 0
    within_labeled: int = 0
    within_test: int = 0
    test_in_others: int = 0
    examples: Mapping[str, tuple[tuple[int, int, float, bool], ...]] = field(default_factory=dict)

    @property
    def dropped(self) -> int:
        """Images that were left out."""
        return self.unlabeled_in_test + self.labeled_in_test if self.policy == "drop" else 0


@dataclass(frozen=True, repr=False)
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
    near, near_pairs
        Near-copies that were found, and what was done; some pairs with test images, best first, (pairs, 2, c, h, w).
    """

    labeled: Images
    unlabeled: Images
    test: Images
    class_names: tuple[str, ...]
    folds: tuple[NDArray[np.intp], ...] = ()
    leaks: Leaks = field(default_factory=lambda: Leaks("drop"))
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
    near: Near = field(default_factory=lambda: Near("keep"))
    near_pairs: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        for name, images in (("labeled", self.labeled), ("test", self.test)):
            if (
                images.labels is not None
                and len(images)
                and (most := int(images.classes.max())) >= len(self.class_names)
            ):
                raise DataError(
                    f"the {name} images have the label {most}, and there are names for {len(self.class_names)} classes, numbered from 0; "
                    "mend the labels, or name every class"
                )

    def __repr__(self) -> str:
        channels, height, width = self.labeled.shape
        shown = ", ".join(self.class_names[:_NAMED]) + (", ..." if len(self.class_names) > _NAMED else "")
        folds = f"{len(self.folds)} folds of its own" if self.folds else "no folds of its own"
        return (
            f"Splits: {len(self.labeled):,} labeled, {len(self.unlabeled):,} unlabeled and {len(self.test):,} test images of "
            f"{width}x{height}, {channels} channel{'s' * (channels > 1)}\n  {len(self.class_names):,} classes ({shown}); {folds}; "
            f"{self.leaks.total:,} exact copies, {'dropped' if self.leaks.policy == 'drop' else 'kept'}; "
            f"{self.near.dropped:,} near-copies of test images dropped"
        )


def _check_array(what: str, given: Any) -> None:
    if not isinstance(given, np.ndarray):
        kind = type(given).__name__
        way = f"{what}.numpy()" if kind == "Tensor" else f"numpy.array({what})"
        raise DataError(f"{what} are a {kind}; give a NumPy array: {way}")


def _check_pixels(pixels: NDArray[Any]) -> None:
    _check_array("pixels", pixels)
    text = f"pixels are {pixels.dtype} {pixels.shape}"
    if pixels.dtype != np.uint8:
        way = (
            "for floats in [0, 1] give (255 * pixels).round().astype('uint8')"
            if pixels.dtype.kind == "f"
            else "give pixels.astype('uint8')"
        )
        raise DataError(f"{text}; images are uint8, 0 to 255: {way}")
    if pixels.ndim == 3:
        raise DataError(f"{text}; images are (n, channels, height, width): for grey ones give pixels[:, None]")
    if pixels.ndim != 4:
        raise DataError(f"{text}; images are (n, channels, height, width)")
    if pixels.shape[3] in _CHANNELS and min(pixels.shape[1:3]) > max(_CHANNELS):
        raise DataError(
            f"{text}, with the channels last; images are (n, channels, height, width): give pixels.transpose(0, 3, 1, 2)"
        )


def _check_labels(labels: NDArray[Any], images: int) -> None:
    _check_array("labels", labels)
    if labels.ndim != 1:
        way = ": give labels.argmax(1)" if labels.ndim == 2 and labels.shape[1] > 1 else ""
        raise DataError(f"labels have shape {labels.shape}; give one number an image, (n,){way}")
    if len(labels) != images:
        raise DataError(f"{len(labels)} labels for {images} images; give one label an image")
    if labels.dtype.kind not in "iu":
        raise DataError(
            f"labels are {labels.dtype}; they are whole numbers from 0 on, int64: give labels.astype('int64')"
        )
    if len(labels) and (least := int(labels.min())) < 0:
        raise DataError(
            f"labels hold {least}; they are whole numbers from 0 on. Images without a label are Images of their own, without labels"
        )
