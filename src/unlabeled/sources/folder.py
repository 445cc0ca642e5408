"""A folder of image files: ``train/<class>/``, ``test/<class>/`` (optional) and ``unlabeled/``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlabeled.decoding import FILTER, Decoded, decode_all
from unlabeled.errors import DataError
from unlabeled.store import StoreWriter, look_at, stored

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
_TEST_SHARE = 0.2
_PARTS = ("train", "unlabeled")
_NAMED = 3  # files of one kind that a note names


@dataclass(frozen=True)
class _Listing:
    """The files of a folder, by split; classes are numbered by their names' order."""

    class_names: tuple[str, ...]
    train: list[tuple[str, int]]
    test: list[tuple[str, int]]
    unlabeled: list[str]
    ignored: int


def store_folder(path: Path, cache: Path, *, side: int, partly: bool = False) -> Path:
    """Decode and shrink a folder's images into a store, and return the store's folder.

    With ``partly`` a part may be missing or empty.

    Raises
    ------
    DataError
        If a part is missing or empty, there are fewer than two classes, or a labeled or test image can't be read.
    """
    listing = _list(path, partly)
    files = [file for file, _ in listing.train + listing.test] + listing.unlabeled
    signature = ["folder", str(side), listing.class_names, listing.ignored, look_at(files, path)]
    return stored(cache, signature, lambda: _build(path, listing, cache, side))


def _build(path: Path, listing: _Listing, cache: Path, side: int) -> Path:
    train, test = listing.train, listing.test
    notes = []
    if train and not test and not (path / "test").is_dir():
        train, test = _set_aside(train, len(listing.class_names))
        notes.append(
            f"There is no test folder: {len(test):,} of the {len(listing.train):,} labeled images, the same share of every "
            "class, were set aside as the test split."
        )
    present = {label for _, label in test}
    absent = [name for number, name in enumerate(listing.class_names) if number not in present]
    if absent:
        notes.append(f"No test image is of class {', '.join(absent)}: the accuracy says nothing of it.")
    if listing.ignored:
        notes.append(f"{listing.ignored:,} files that are no images by their names were ignored.")
    with StoreWriter(cache, "folder", (3, side, side)) as writer:
        writer.need(len(train) + len(test) + len(listing.unlabeled))
        groups = [[file for file, _ in train], [file for file, _ in test], listing.unlabeled]
        skipped = []
        for number, batches in groupby(decode_all(groups, side), key=itemgetter(0)):
            if number < 2:
                _store_labeled(writer, ("labeled", "test")[number], (train, test)[number], batches)
                continue
            for _, batch in batches:
                writer.append("unlabeled", batch.pixels, batch.digests)
                skipped += batch.problems
        if listing.unlabeled and not writer.counts["unlabeled"]:
            raise DataError(
                f"{path / 'unlabeled'}: none of its {len(skipped):,} images can be read, the first is {_named(skipped, 1)}"
            )
        if skipped:
            notes.append(
                f"{len(skipped):,} unlabeled images can't be read and were skipped: {_named(skipped, _NAMED)}."
            )
        origin = {"source": "folder", "filter": FILTER, "test_set_aside": not listing.test}
        return writer.finish(class_names=listing.class_names, notes=notes, origin=origin)


def _store_labeled(
    writer: StoreWriter, split: str, files: Sequence[tuple[str, int]], batches: Iterable[tuple[int, Decoded]]
) -> None:
    labels = np.array([label for _, label in files], dtype=np.int64)
    done = 0
    problems = []
    for _, batch in batches:
        writer.append(split, batch.pixels, batch.digests, labels[done : done + len(batch.pixels)])
        done += len(batch.pixels) + len(batch.problems)
        problems += batch.problems
    if problems:
        name = "labeled" if split == "labeled" else "test"
        raise DataError(
            f"{len(problems):,} {name} images can't be read: {_named(problems, _NAMED)}; mend or remove them "
            "(unlabeled ones would be skipped)"
        )


def _list(path: Path, partly: bool) -> _Listing:
    if not path.is_dir():
        raise DataError(
            f"{path}: no such folder; give one that holds train/<class>/, unlabeled/ and, if there is one, test/<class>/"
        )
    for part in ("train", "unlabeled"):
        if not (path / part).is_dir() and not (partly and any((path / other).is_dir() for other in _PARTS)):
            raise DataError(
                f"{path}: no folder {part!r} in it; the layout is train/<class>/, unlabeled/ and, if there is one, test/<class>/"
            )
    names = _class_names(path / "train") if (path / "train").is_dir() else ()
    train, ignored = _list_classes(path / "train", names)
    test: list[tuple[str, int]] = []
    if (path / "test").is_dir():
        strange = sorted(set(_class_names(path / "test")) - set(names))
        if strange:
            raise DataError(
                f"{path / 'test'}: class {strange[0]!r} has no folder in train; the classes there are {', '.join(names)}"
            )
        test, more = _list_classes(path / "test", names)
        ignored += more
        if not test and not partly:
            raise DataError(
                f"{path / 'test'}: no images in it; add some, or remove the folder to have a share of train set aside"
            )
    unlabeled, more = _list_images(path / "unlabeled") if (path / "unlabeled").is_dir() else ([], 0)
    if not unlabeled and not partly:
        raise DataError(
            f"{path / 'unlabeled'}: no images in it; the question is what unlabeled images are worth, so add some"
        )
    for number, name in enumerate(names):
        count = sum(label == number for _, label in train)
        if count == 0:
            raise DataError(f"{path / 'train' / name}: no images in it; add some, or remove the folder")
        if count < 2:
            raise DataError(
                f"{path / 'train' / name}: class {name!r} has one image; every class needs two or more, for training and validation"
            )
    return _Listing(names, train, test, unlabeled, ignored + more)


def _class_names(path: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")))
    loose = sorted(entry.name for entry in path.iterdir() if entry.is_file() and _is_image(entry.name))
    if loose:
        raise DataError(
            f"{path}: {len(loose):,} images lie outside of the class folders, {loose[0]!r} for one; move each into its class's folder"
        )
    if len(names) < 2 and path.name == "train":
        found = f"only the class {names[0]!r}" if names else "no class folder"
        raise DataError(f"{path}: {found} in it; a classifier needs two classes or more, each a folder")
    return names


def _list_classes(path: Path, names: Sequence[str]) -> tuple[list[tuple[str, int]], int]:
    files, ignored = [], 0
    for number, name in enumerate(names):
        if not (path / name).is_dir():
            continue
        found, more = _list_images(path / name)
        files += [(file, number) for file in found]
        ignored += more
    return files, ignored


def _list_images(path: Path) -> tuple[list[str], int]:
    """Return the images under a folder, however deep, by name, and how many other files there are.

    They are strings, for a path of an image costs more than to decode a small one.
    """
    images, ignored = [], 0
    for folder, name in _walk(path):
        if _is_image(name):
            images.append(f"{folder}{os.sep}{name}")
        else:
            ignored += 1
    # Folder by folder, as paths are ordered: "a/b" comes before "a-b".
    return sorted(images, key=lambda image: image.replace(os.sep, "\0")), ignored


def _walk(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (folder, name) of every visible file, following links but never in a circle."""
    seen = set()
    for folder, below, names in os.walk(path, followlinks=True, onerror=_refuse):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = [name for name in below if not name.startswith(".")]
        yield from ((folder, name) for name in names if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise DataError(
        f"{error.filename}: this folder can't be read ({error.strerror}); change its permissions, or remove it"
    )


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _set_aside(files: list[tuple[str, int]], classes: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Split a share of every class off, at least one image, always the same ones."""
    random = np.random.default_rng(0)
    labels = np.array([label for _, label in files])
    chosen: NDArray[np.bool_] = np.zeros(len(files), dtype=bool)
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        chosen[random.permutation(members)[: max(1, round(_TEST_SHARE * len(members)))]] = True
    rest = [file for file, taken in zip(files, chosen, strict=True) if not taken]
    return rest, [file for file, taken in zip(files, chosen, strict=True) if taken]


def _named(problems: Sequence[tuple[str, str]], at_most: int) -> str:
    text = ", ".join(f"{path} ({reason})" for path, reason in problems[:at_most])
    return text + (f" and {len(problems) - at_most:,} more" if len(problems) > at_most else "")
