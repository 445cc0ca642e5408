"""A folder of image files: ``train/<class>/``, ``test/<class>/`` (optional) and ``unlabeled/``."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unlabeled.console.plain import class_name, printable
from unlabeled.errors import DataError
from unlabeled.images.decoding import FILTER, Decoded, Encoded, decode_all, name_of
from unlabeled.images.fitting import Wanted, cut_note
from unlabeled.images.formats import suffixes
from unlabeled.images.store import look_at, stored
from unlabeled.images.writer import Batch, Description, Expected, Piece
from unlabeled.sources.listing import (
    Part,
    count_images,
    count_system,
    entries,
    is_image,
    left_by_systems,
    left_out,
    look_under,
    loose_names,
    refuse_left_out,
)
from unlabeled.sources.splitting import set_aside

_PARTS = ("train", "unlabeled")
_KNOWN = ("train", "test", "unlabeled")
_NAMED = 3  # files of one kind that a note names
_VALIDATION = ("validation", "valid", "val", "dev", "eval")


@dataclass(frozen=True)
class Listing:
    """Files of images, by split; classes are numbered by their names' order."""

    class_names: tuple[str, ...]
    train: list[tuple[Encoded, int]]
    test: list[tuple[Encoded, int]]
    unlabeled: list[Encoded]
    notes: list[str]

    @property
    def files(self) -> list[str]:
        """The paths of all images that are files."""
        every = [*(file for file, _ in self.train + self.test), *self.unlabeled]
        return [file for file in every if isinstance(file, str)]


def store_folder(path: Path, cache: Path, wanted: Wanted, *, partly: bool = False) -> Path:
    """Decode and shrink a folder's images into a store, and return the store's folder.

    With ``partly`` a part may be missing or empty.

    Raises
    ------
    DataError
        If a part is missing or empty, there are fewer than two classes, or a labeled or test image can't be read.
    """
    listing = _list(path, partly)
    files = listing.files
    signature = ["folder", wanted.as_json(), suffixes(), listing.class_names, listing.notes, look_at(files, path)]
    return stored(cache, signature, "folder", (3, *wanted.size), lambda: _read(path, listing, wanted))


def _read(path: Path, listing: Listing, wanted: Wanted) -> Generator[Piece]:
    has_test = bool(listing.test) or (path / "test").is_dir()
    return read_listing(listing, wanted, source="folder", set_aside_note="" if has_test else "There is no test folder")


def read_listing(
    listing: Listing, wanted: Wanted, *, source: str, set_aside_note: str, folds: Sequence[NDArray[np.intp]] = ()
) -> Generator[Piece]:
    """Yield the images of a listing, decoded and shrunken.

    Where there are no test images and ``set_aside_note`` says so, a share of the labeled ones is set aside.
    """
    train, test = listing.train, listing.test
    notes = []
    if train and not test and set_aside_note:
        train, test = _set_aside(train, len(listing.class_names))
        notes.append(
            f"{set_aside_note}: {len(test):,} of the {len(listing.train):,} labeled images, the same share of every "
            "class, were set aside as the test split."
        )
    present = {label for _, label in test}
    absent = [name for number, name in enumerate(listing.class_names) if number not in present]
    if absent:
        notes.append(f"No test image is of class {', '.join(absent)}: the accuracy says nothing of it.")
    notes += listing.notes
    yield Expected(len(train) + len(test) + len(listing.unlabeled))
    groups = [[file for file, _ in train], [file for file, _ in test], listing.unlabeled]
    skipped: list[tuple[str, str]] = []
    cut = _Cut()
    for number, batches in groupby(decode_all(groups, wanted), key=itemgetter(0)):
        if number < 2:
            yield from _labeled(("labeled", "test")[number], (train, test)[number], batches, cut)
            continue
        for _, batch in batches:
            yield Batch("unlabeled", batch.pixels, batch.digests, deep=batch.deep)
            skipped += batch.problems
            cut.add(batch)
    if skipped and len(skipped) == len(listing.unlabeled):
        raise DataError(f"none of the {len(skipped):,} unlabeled images can be read, the first is {_named(skipped, 1)}")
    if skipped:
        notes.append(f"{len(skipped):,} unlabeled images can't be read and were skipped: {_named(skipped, _NAMED)}.")
    notes += cut.notes(wanted)
    origin = {"source": source, "filter": FILTER, "fit": wanted.fit, "test_set_aside": not listing.test}
    yield Description(listing.class_names, folds, notes, origin)


def folder_files(path: Path, wanted: Wanted, *, unlabeled: int) -> Named:
    """Return the files of a folder's images, of whose unlabeled ones so many could be read."""
    sets_aside = not (path / "test").is_dir()
    return readable_files(_list(path, partly=True), wanted, unlabeled=unlabeled, sets_aside=sets_aside)


class Named(NamedTuple):
    """The names of the images of each split, in the order of their store."""

    labeled: list[str]
    unlabeled: list[str]
    test: list[str]


def readable_files(listing: Listing, wanted: Wanted, *, unlabeled: int, sets_aside: bool) -> Named:
    """Return the names of the files of a listing's images.

    Where there are other than so many ``unlabeled`` ones, all are decoded once more, and those that can't be are left out.
    """
    train, test = listing.train, listing.test
    if train and not test and sets_aside:
        train, test = _set_aside(train, len(listing.class_names))
    files = listing.unlabeled
    if len(files) != unlabeled:
        skipped = {name for _, batch in decode_all([[], [], files], wanted) for name, _ in batch.problems}
        files = [file for file in files if name_of(file) not in skipped]
    labeled, tested = ([name_of(file) for file, _ in some] for some in (train, test))
    return Named(labeled, [name_of(file) for file in files], tested)


class _Cut:
    """Counts how much of the pictures is lost."""

    def __init__(self) -> None:
        self._images, self._total, self._most, self._halved = 0, 0.0, 0.0, 0

    def add(self, batch: Decoded) -> None:
        """Count a batch's shares."""
        shares = batch.cut
        self._halved += batch.halved
        self._images += len(shares)
        self._total += float(shares.sum())
        self._most = max(self._most, float(shares.max(initial=0)))

    def notes(self, wanted: Wanted) -> list[str]:
        """Return what a reader has to know: nothing if less than half a percent of every image is cut off."""
        notes = [cut_note(self._total / self._images, self._most, wanted)] if self._most >= 0.005 else []
        if self._halved:
            notes.append(
                f"{self._halved:,} pictures have 16 bits a colour, of which the upper 8 are kept: if only 10 or 12 of them are in use, "
                "most of the picture is lost, and they should be saved with 8 bits."
            )
        return notes


def _labeled(
    split: str, files: Sequence[tuple[Encoded, int]], batches: Iterable[tuple[int, Decoded]], cut: _Cut
) -> Iterator[Batch]:
    labels = np.array([label for _, label in files], dtype=np.int64)
    done = 0
    problems = []
    for _, batch in batches:
        yield Batch(split, batch.pixels, batch.digests, labels[done : done + len(batch.pixels)], batch.deep)
        done += len(batch.pixels) + len(batch.problems)
        problems += batch.problems
        cut.add(batch)
    if problems:
        name = "labeled" if split == "labeled" else "test"
        raise DataError(
            f"{len(problems):,} {name} images can't be read: {_named(problems, _NAMED)}; mend or remove them "
            "(unlabeled ones would be skipped)"
        )


def _list(path: Path, partly: bool) -> Listing:
    shown = printable(str(path))
    if not path.is_dir():
        raise DataError(
            f"{shown}: no such folder; give one that holds train/<class>/, unlabeled/ and, if there is one, test/<class>/"
        )
    beside = sorted(entry.name for entry in entries(path) if entry.name not in _KNOWN)
    for part in _PARTS:
        if not (path / part).is_dir() and not (partly and any((path / other).is_dir() for other in _PARTS)):
            raise DataError(
                f"{shown}: no folder {part!r} in it{_meant(part, beside)}; the layout is train/<class>/, unlabeled/ and, if there is one, "
                "test/<class>/"
            )
    if os.path.lexists(path / "test") and not (path / "test").is_dir():
        raise DataError(
            f"{shown}/test: no folder that can be reached (a link that leads nowhere, or a file); mend or remove it"
        )
    classes = _class_folders(path / "train") if (path / "train").is_dir() else {}
    names = tuple(sorted(classes))
    found = {"train": Part(), "test": Part(), "unlabeled": Part()}
    train = _list_classes(classes, names, found["train"])
    test: list[tuple[Encoded, int]] = []
    if (path / "test").is_dir():
        tested = _class_folders(path / "test")
        strange = sorted(tested.keys() - set(names))
        if strange:
            raise DataError(
                f"{printable(str(path / 'test'))}: class {strange[0]!r} has no folder in train; the classes there are {', '.join(names)}"
            )
        test = _list_classes(tested, names, found["test"])
    if (path / "unlabeled").is_dir():
        found["unlabeled"] = look_under(str(path / "unlabeled"))
    for part in ("train", "test"):
        refuse_left_out(path / part, found[part].others)
    _check_numbers(path, partly, names, train, test, found["unlabeled"].images)
    loose = {part: loose_names(path / part) for part in ("train", "test") if (path / part).is_dir()}
    for place in (path, path / "train", path / "test"):
        found["unlabeled"].system += count_system(place)
    notes = [*_alike(names), *left_out(found), *left_by_systems(found), *_beside(path, beside, loose)]
    return Listing(names, train, test, list(found["unlabeled"].images), notes)


def _alike(names: Sequence[str]) -> list[str]:
    """Name classes that differ in capital letters alone."""
    by_name: dict[str, list[str]] = {}
    for name in names:
        by_name.setdefault(name.casefold(), []).append(name)
    return [
        f"Classes {' and '.join(printable(name) for name in same)} differ in capitals alone; if they are one, put them in one folder."
        for same in by_name.values()
        if len(same) > 1
    ]


def _check_numbers(
    path: Path,
    partly: bool,
    names: Sequence[str],
    train: Sequence[tuple[Encoded, int]],
    test: Sequence[tuple[Encoded, int]],
    unlabeled: Sequence[str],
) -> None:
    """Refuse parts without images, and classes that can't be split."""
    shown = printable(str(path))
    if (path / "test").is_dir() and not test and not partly:
        raise DataError(
            f"{shown}/test: no images in it; add some, or remove the folder to have a share of train set aside"
        )
    if not unlabeled and not partly:
        raise DataError(
            f"{shown}/unlabeled: no images in it; the question is what unlabeled images are worth, so add some"
        )
    counts = Counter(label for _, label in train)
    for number, name in enumerate(names):
        if counts[number] == 0:
            raise DataError(f"{shown}/train/{name}: no images in it; add some, or remove the folder")
        if counts[number] < 2:
            raise DataError(
                f"{shown}/train/{name}: class {name!r} has one image; every class needs two or more, for training and validation"
            )


def _class_folders(path: Path) -> dict[str, list[str]]:
    """Return the paths of every class's folders, by the class's name: the same name can be written in two ways."""
    inside = list(entries(path))
    loose = sorted(entry.name for entry in inside if not entry.is_dir() and is_image(entry.name))
    shown = printable(str(path))
    if loose:
        raise DataError(
            f"{shown}: {len(loose):,} images lie outside of the class folders, {printable(loose[0])!r} for one; move each into its "
            "class's folder"
        )
    classes: dict[str, list[str]] = {}
    for entry in sorted(inside, key=lambda entry: entry.name):
        if entry.is_dir():
            classes.setdefault(class_name(entry.name), []).append(entry.path)
    for name, folders in classes.items():
        if len({unicodedata.normalize("NFC", Path(folder).name) for folder in folders}) > 1:
            raise DataError(f"{shown}: two folders are both shown as {name!r}; rename one of them")
    if len(classes) < 2 and path.name == "train":
        found = f"only the class {next(iter(classes))!r}" if classes else "no class folder"
        raise DataError(f"{shown}: {found} in it; a classifier needs two classes or more, each a folder")
    return classes


def _list_classes(classes: Mapping[str, Sequence[str]], names: Sequence[str], into: Part) -> list[tuple[Encoded, int]]:
    files: list[tuple[Encoded, int]] = []
    for number, name in enumerate(names):
        for folder in classes.get(name, ()):
            part = look_under(folder)
            files += [(file, number) for file in part.images]
            into.add(part)
    return files


def _beside(path: Path, names: Sequence[str], loose: Mapping[str, Sequence[str]]) -> list[str]:
    """Say what lies beside the known folders and is not used."""
    notes = []
    folders = [name for name in names if (path / name).is_dir()]
    for name in folders:
        images = count_images(str(path / name))
        way = "; choices are made on folds of train, so move its images there" if name.lower() in _VALIDATION else ""
        notes.append(f"The folder {printable(name)!r} ({images} images) is not used{way}.")
    files = [name for name in names if name not in folders]
    files += [f"{part}/{name}" for part, several in loose.items() for name in several]
    if files:
        shown = ", ".join(map(printable, files[:_NAMED])) + (
            f" and {len(files) - _NAMED:,} more" if len(files) > _NAMED else ""
        )
        notes.append(f"Files beside the folders of images are not read: {shown}; a class is told by its folder alone.")
    return notes


def _meant(part: str, beside: Sequence[str]) -> str:
    """Suggest the folder that may have been meant for a missing one."""
    small = {name.lower(): name for name in beside}
    others = {"train": ("training", "labeled", "labelled"), "unlabeled": ("unlabelled", "unsup", "extra")}[part]
    close = [name for name in others if name in small] or get_close_matches(part, small, n=1)
    return f"; rename {printable(small[close[0]])!r} to it if that is meant" if close else ""


def _set_aside(
    files: list[tuple[Encoded, int]], classes: int
) -> tuple[list[tuple[Encoded, int]], list[tuple[Encoded, int]]]:
    """Split a share of every class off."""
    rest, test = set_aside(np.array([label for _, label in files]), classes)
    return [files[row] for row in rest], [files[row] for row in test]


def _named(problems: Sequence[tuple[str, str]], at_most: int) -> str:
    text = ", ".join(f"{printable(path)} ({printable(reason)})" for path, reason in problems[:at_most])
    return text + (f" and {len(problems) - at_most:,} more" if len(problems) > at_most else "")
