"""A data set that Hugging Face's ``datasets`` saved to disk, with a column of images."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from unlabeled.console.plain import printable
from unlabeled.errors import DataError
from unlabeled.images.decoding import Encoded
from unlabeled.images.fitting import Wanted
from unlabeled.images.formats import suffixes
from unlabeled.images.store import look_at, stored
from unlabeled.images.writer import Piece
from unlabeled.sources.folder import Listing, Named, read_listing, readable_files
from unlabeled.sources.table import check_rows

_LABELS = ("label", "labels", "class", "category", "target", "fine_label")
_USES = {
    "train": "train", "labeled": "train", "validation": "train", "valid": "train", "dev": "train", "test": "test", "unlabeled": "unlabeled",
    "unsupervised": "unlabeled",
}  # fmt: skip
_ONLY = "train"  # what a data set without splits is


@dataclass(frozen=True)
class Row:
    """An image in a split of a saved data set; it is read where it is decoded."""

    folder: str
    split: str
    column: str
    row: int

    @property
    def name(self) -> str:
        """What it is called: as it is written in Python, ``train[12]``."""
        return f"{self.split}[{self.row}]"

    def read(self) -> bytes:
        """Return the encoded image."""
        image = _opened(self.folder)[self.split][self.row][self.column]
        if image is None:
            raise ValueError("the row has no image")
        return image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()


def store_saved(path: Path, cache: Path, wanted: Wanted, *, partly: bool = False) -> Path:
    """Decode and shrink the images of a saved data set into a store.

    The split train (and validation, for choices are made on folds) is labeled, test is the test split, and unlabeled or unsupervised,
    and rows whose label is missing or -1, are unlabeled. The column of images is the first of that kind, and the labels' the one called
    label or the first of classes.

    Raises
    ------
    DataError
        If the extra is not installed, it is no saved data set, or a column is missing.
    """
    listing = _list(path, partly=partly)
    # What the folder holds tells of any change; its files are few.
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    signature = ["hf", wanted.as_json(), suffixes(), listing.class_names, partly, look_at(files, path)]

    def read() -> Generator[Piece]:
        yield from read_listing(listing, wanted, source="hf", set_aside_note="The data set has no test split")

    return stored(cache, signature, "hf", (3, *wanted.size), read)


def saved_rows(path: Path, wanted: Wanted, *, unlabeled: int) -> Named:
    """Return the rows of the images, of whose unlabeled ones so many could be read."""
    return readable_files(_list(path, partly=True), wanted, unlabeled=unlabeled, sets_aside=True)


def _list(path: Path, *, partly: bool) -> Listing:
    shown, folder = printable(str(path)), str(path)
    splits = _opened(folder)
    notes, numbers = [], _Numbers(shown)
    train: list[tuple[Encoded, int]] = []
    test: list[tuple[Encoded, int]] = []
    unlabeled: list[Encoded] = []
    for name, split in splits.items():
        use = _USES.get(name.lower())
        if use is None:
            notes.append(f"The split {printable(name)!r} ({len(split):,} rows) is not used.")
            continue
        column = _column_of_images(folder, name)
        labels = [None] * len(split) if use == "unlabeled" else numbers.of(split, name)
        for row, label in enumerate(labels):
            image = Row(folder, name, column, row)
            if label is None and use == "test":
                raise DataError(f"{shown}: {name}[{row}] has no label, and every test image needs one")
            if label is None:
                unlabeled.append(image)
            else:
                (test if use == "test" else train).append((image, label))
    # Numbers follow the names' order, but for those that the data set itself numbers.
    names, order = numbers.names
    train, test = ([(image, order[label]) for image, label in some] for some in (train, test))
    check_rows(shown, names, train, unlabeled, partly=partly)
    return Listing(tuple(names), train, test, unlabeled, notes)


class _Numbers:
    """Gives classes numbers, those of the data set where it has names for them."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.own: list[str] = []
        self.found: dict[str, int] = {}

    def of(self, split: Any, name: str) -> list[int | None]:
        """Return the class of each row of a split; None is no label."""
        from datasets import ClassLabel

        column = _column_of_labels(split)
        if column is None:
            if name == "test":
                raise DataError(f"{self.shown}: split {name} has no column of labels ({', '.join(split.column_names)})")
            return [None] * len(split)
        kind = split.features[column]
        names = list(kind.names) if isinstance(kind, ClassLabel) else None
        labels: list[int | None] = []
        for label in split[column]:
            if label is None or label in (-1, ""):
                labels.append(None)
                continue
            if not isinstance(label, str | int):
                raise DataError(
                    f"{self.shown}: column {column!r} holds {type(label).__name__}; labels are names or numbers"
                )
            text = names[label] if names is not None and isinstance(label, int) else str(label)
            labels.append(self.found.setdefault(text, len(self.found)))
        self.own = self.own or names or []
        return labels

    @property
    def names(self) -> tuple[list[str], list[int]]:
        """The classes' names, and the place among them of each number given."""
        known = [name for name in self.own if name in self.found]
        rest = sorted(
            self.found.keys() - set(known),
            key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name),
        )
        names = [*known, *rest]
        return names, [names.index(name) for name in self.found]


@lru_cache(maxsize=2)
def _opened(folder: str) -> Mapping[str, Any]:
    """Return the splits of a saved data set, images as they were encoded."""
    shown = printable(folder)
    try:
        from datasets import Dataset, DatasetDict, Image, load_from_disk
    except ImportError:
        raise DataError(f"{shown}: a saved data set needs the package datasets; pip install '.[hf]'") from None
    try:
        found = load_from_disk(folder)
        splits = dict(found) if isinstance(found, DatasetDict) else {_ONLY: found}
        for name, split in splits.items():
            assert isinstance(split, Dataset)
            for column, kind in split.features.items():
                if isinstance(kind, Image):
                    splits[name] = splits[name].cast_column(column, Image(decode=False))
    # What it raises of what is none is not documented.
    except Exception as error:  # noqa: BLE001
        raise DataError(
            f"{shown}: no data set as save_to_disk of datasets writes it ({printable(str(error)).partition(chr(10))[0][:200]})"
        ) from None
    return splits


def _column_of_images(folder: str, split: str) -> str:
    from datasets import Image

    found = _opened(folder)[split]
    column = next((name for name, kind in found.features.items() if isinstance(kind, Image)), None)
    if column is None:
        raise DataError(
            f"{printable(folder)}: split {split} has no column of images; its columns are {', '.join(found.column_names)}"
        )
    return str(column)


def _column_of_labels(split: Any) -> str | None:
    from datasets import ClassLabel

    named = next((name for name in _LABELS if name in split.features), None)
    return named or next((name for name, kind in split.features.items() if isinstance(kind, ClassLabel)), None)
