"""A table of image files: a row an image, with its path, its label if it has one, and perhaps its split and fold."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.console.plain import printable
from unlabeled.errors import DataError
from unlabeled.images.decoding import Encoded
from unlabeled.images.fitting import Wanted
from unlabeled.images.formats import suffixes
from unlabeled.images.store import look_at, stored
from unlabeled.images.writer import Piece
from unlabeled.sources.coco import read_coco
from unlabeled.sources.folder import Listing, Named, read_listing, readable_files

_PATHS = ("path", "image", "file", "filename", "file_name")
_LABELS = ("label", "class", "category", "target")
_SPLITS = {
    "": "", "train": "labeled", "training": "labeled", "labeled": "labeled", "labelled": "labeled", "test": "test", "testing": "test",
    "unlabeled": "unlabeled", "unlabelled": "unlabeled",
}  # fmt: skip
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_MOST = 1 << 20  # characters of a cell


@dataclass(frozen=True)
class _Row:
    """A row: where its file is, its label and its split ("" is none), its fold, and its number in the table."""

    path: str
    label: str
    split: str
    fold: str
    number: int


def store_table(path: Path, cache: Path, wanted: Wanted, *, partly: bool = False) -> Path:
    """Decode and shrink the images of a table into a store: .csv, .tsv or .parquet with a row of names, or .json as COCO has it.

    ``path`` is relative to the table's folder; ``label`` is a class, empty for unlabeled images; ``split`` (train, test or unlabeled) and
    ``fold`` may be left out. The rows of one fold are one draw of labels, as STL-10's folds are.

    Raises
    ------
    DataError
        If the table can't be read, lacks a column, or a row is none of an image; the message names the row.
    """
    rows = list(_rows(path))
    listing, folds = _list(path, rows, partly=partly)
    for row in rows:
        if not os.path.lexists(row.path):
            raise DataError(
                f"{printable(str(path))}: row {row.number} names {printable(row.path)}, and there is no such file; paths are relative to "
                "the table's folder"
            )
    signature = [
        "table",
        wanted.as_json(),
        suffixes(),
        listing.class_names,
        partly,
        look_at([path, *listing.files], path.parent),
    ]

    def read() -> Generator[Piece]:
        yield from read_listing(
            listing, wanted, source="table", set_aside_note="The table has no test images", folds=folds
        )

    return stored(cache, signature, "table", (3, *wanted.size), read)


def table_files(path: Path, wanted: Wanted, *, unlabeled: int) -> Named:
    """Return the files of a table's images, of whose unlabeled ones so many could be read."""
    listing, _ = _list(path, list(_rows(path)), partly=True)
    return readable_files(listing, wanted, unlabeled=unlabeled, sets_aside=True)


def _rows(path: Path) -> Iterator[_Row]:
    shown = printable(str(path))
    if not path.is_file():
        raise DataError(f"{shown}: no such file; give a table with the columns path and label")
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".json") and suffix not in _SEPARATORS:
        raise DataError(f"{shown}: a table's name ends in .csv, .tsv, .parquet or .json")
    read = {".json": read_coco, ".parquet": _parquet}.get(suffix, _text)
    table: Iterable[Mapping[str, Any]] = read(path)
    names: dict[str, str] = {}
    for number, row in enumerate(table, 2):
        if not names:
            names = _columns(row, shown)
        given = {column: str(row.get(name) or "").strip() for column, name in names.items()}
        if not given["path"]:
            raise DataError(f"{shown}: row {number} has no path")
        split = given.get("split", "").lower()
        if split not in _SPLITS:
            raise DataError(
                f"{shown}: row {number} has the split {printable(split)!r}; use train, test or unlabeled (choices are made on folds of "
                "train, so a validation split belongs to train)"
            )
        place = os.path.join(path.parent, os.path.expanduser(given["path"]))  # noqa: PTH111, PTH118 - of each of many rows
        yield _Row(place, given.get("label", ""), _SPLITS[split], given.get("fold", ""), number)
    if not names:
        raise DataError(f"{shown}: no rows in it")


def _columns(row: Mapping[str, Any], shown: str) -> dict[str, str]:
    """Return which of the table's columns is which, whatever its case."""
    given = {str(name).strip().lower().lstrip("\ufeff"): name for name in row if name is not None}
    found = {}
    for column, names in (("path", _PATHS), ("label", _LABELS), ("split", ("split",)), ("fold", ("fold",))):
        name = next((one for one in names if one in given), None)
        if name is not None:
            found[column] = given[name]
    for column in ("path", "label"):
        if column not in found:
            raise DataError(
                f"{shown}: no column {column!r}; its columns are {', '.join(map(printable, map(str, given))) or 'none'}"
            )
    return found


def _text(path: Path) -> Iterator[Mapping[str, Any]]:
    csv.field_size_limit(_MOST)
    separator = _SEPARATORS[path.suffix.lower()]
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield from csv.DictReader(file, delimiter=separator)
    except (csv.Error, OSError) as error:
        raise DataError(f"{printable(str(path))}: can't be read as a table ({error})") from None


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            f"{printable(str(path))}: Parquet needs pyarrow; pip install '.[parquet]', or save the table as .csv"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{printable(str(path))}: no Parquet file ({str(error).partition(chr(10))[0]})") from None


def _list(path: Path, rows: list[_Row], *, partly: bool) -> tuple[Listing, list[np.ndarray]]:
    """Sort rows into splits; classes are numbered by their names' order, and folds by their numbers'."""
    shown = printable(str(path))
    names = tuple(sorted({row.label for row in rows if row.label and row.split != "unlabeled"}))
    numbers = {name: number for number, name in enumerate(names)}
    train: list[tuple[Encoded, int]] = []
    test: list[tuple[Encoded, int]] = []
    unlabeled: list[Encoded] = []
    folds: list[str] = []
    for row in rows:
        if row.split == "unlabeled" or (not row.label and row.split == ""):
            unlabeled.append(row.path)
        elif not row.label:
            raise DataError(
                f"{shown}: row {row.number} is of the split {'test' if row.split == 'test' else 'train'} and has no label"
            )
        elif row.split == "test":
            test.append((row.path, numbers[row.label]))
        else:
            train.append((row.path, numbers[row.label]))
            folds.append(row.fold)
    check_rows(shown, names, train, unlabeled, partly=partly)
    notes: list[str] = []
    if any(folds) and not test:
        notes.append("Folds were left out: without a test split some of their images are set aside.")
        folds = [""] * len(folds)
    keys = sorted(
        {fold for fold in folds if fold},
        key=lambda fold: (not fold.isdigit(), int(fold) if fold.isdigit() else 0, fold),
    )
    drawn = [np.flatnonzero([own == key for own in folds]) for key in keys]
    return Listing(names, train, test, unlabeled, notes), drawn


def check_rows(
    shown: str,
    names: Sequence[str],
    train: Sequence[tuple[Encoded, int]],
    unlabeled: Sequence[Encoded],
    *,
    partly: bool,
) -> None:
    """Refuse rows that answer no question: without unlabeled or labeled images, or with a class that can't be split.

    Raises
    ------
    DataError
        If they are such.
    """
    if not partly and not unlabeled:
        raise DataError(
            f"{shown}: no unlabeled images in it; the question is what they are worth, so add rows with an empty label"
        )
    if not train and not partly:
        raise DataError(f"{shown}: no labeled images to train with; give some rows a label")
    counts = Counter(label for _, label in train)
    if train and len(counts) < 2:
        raise DataError(
            f"{shown}: only the class {names[next(iter(counts))]!r} to train with; a classifier needs two classes or more"
        )
    for number, name in enumerate(names):
        if train and counts[number] < 2:
            where = "only in the test split" if counts[number] == 0 else "on one image"
            raise DataError(
                f"{shown}: class {name!r} is {where}; every class needs two or more images to train and validate with"
            )
