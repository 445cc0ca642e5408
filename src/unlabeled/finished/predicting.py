"""Classify files of any number: streamed, named, counted, and written as they come."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from unlabeled.console.plain import printable
from unlabeled.errors import UserError
from unlabeled.finished.classifier import Classifier, Predicted, load_classifier
from unlabeled.keeping.files import write_atomically
from unlabeled.sources.listing import look_under

NONE = "none of these classes"
_DIGITS = 4
_TOLD_EVERY = 5.0  # seconds
_WRITERS = (".csv", ".json", ".parquet")


@dataclass(frozen=True)
class Classified:
    """What became of the files: how many of each class, of none, and what could not be read."""

    counts: dict[str, int]
    none: int
    problems: tuple[tuple[str, str], ...]

    @property
    def total(self) -> int:
        """Images that were classified."""
        return sum(self.counts.values()) + self.none


def classify(
    run: Path,
    images: Sequence[str],
    *,
    out: Path | None = None,
    top: int = 3,
    none_below: float | None = None,
    copy_to: Path | None = None,
    tell: Callable[[str], None] = print,
    device: str = "auto",
) -> Classified:
    """Classify files, folders and patterns by a kept classifier, and write what comes out.

    Parameters
    ----------
    run
        Folder of a run, or of a classifier.
    images
        Paths of files and of folders, whose images are looked for at any depth, and patterns.
    out
        A .csv, .json or .parquet file; without it a line an image is said.
    top
        How many classes are told of each image.
    none_below
        Probability of the likeliest class below which an image is counted as none of the classes.
    copy_to
        Folder to copy files into, a folder a class.

    Raises
    ------
    UserError
        If there is no classifier or no image, or an option is out of range.
    """
    _check(out, top, none_below)
    classifier = load_classifier(run, device=device)
    paths = find_images(images)
    top = min(top, len(classifier.classes))
    counts: Counter[str] = Counter()
    problems: list[tuple[str, str]] = []
    with _writer(out, top, tell) as write:
        for batch in _counted(classifier.stream(paths), len(paths)):
            problems += batch.problems
            for path, line in _lines(batch, classifier, top, none_below):
                counts[line[0][0]] += 1
                write(path, line)
                if copy_to is not None:
                    _copy(path, copy_to, line[0][0])
    none = counts.pop(NONE, 0)
    return Classified({name: counts[name] for name in classifier.classes if counts[name]}, none, tuple(problems))


def _check(out: Path | None, top: int, none_below: float | None) -> None:
    if top < 1:
        raise UserError(f"--top {top}: give 1 or more")
    if none_below is not None and not 0 < none_below <= 1:
        raise UserError(f"--none-below {none_below:g}: give a probability above 0 and up to 1")
    if out is not None and out.suffix.lower() not in _WRITERS:
        raise UserError(f"--out {out}: give a name that ends in {', '.join(_WRITERS[:-1])} or {_WRITERS[-1]}")


def find_images(given: Sequence[str]) -> list[str]:
    """Return the files that paths and patterns mean, each once, in the order given; of folders all images, hidden ones apart.

    Raises
    ------
    UserError
        If one of them means none.
    """
    found: dict[str, None] = {}
    for one in given:
        path = os.path.expanduser(one)  # noqa: PTH111 - a pattern is no path
        if os.path.isdir(path):  # noqa: PTH112
            several = look_under(path).images
        elif os.path.lexists(path):
            several = [path]
        else:
            several = sorted(glob.glob(path, recursive=True))  # noqa: PTH207
        if not several:
            raise UserError(
                f"{printable(one)}: no image is there; give files, folders of images, or patterns like 'photos/*.jpg'"
            )
        found |= dict.fromkeys(several)
    return list(found)


def _lines(
    batch: Predicted, classifier: Classifier, top: int, none_below: float | None
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Yield each image with its likeliest classes and their probabilities; none of the classes stands before them where it is none."""
    order = np.argsort(-batch.probabilities, axis=1, kind="stable")[:, :top]
    for path, chances, best in zip(batch.paths, batch.probabilities, order, strict=True):
        line = [(classifier.classes[number], round(float(chances[number]), _DIGITS)) for number in best]
        if none_below is not None and chances[best[0]] < none_below:
            line = [(NONE, round(1 - float(chances[best[0]]), _DIGITS)), *line[: top - 1]]
        yield path, line


def _counted(batches: Iterator[Predicted], total: int) -> Iterator[Predicted]:
    """Pass batches on, and tell on standard error how far it is, every few seconds."""
    begun = last = time.perf_counter()
    done = 0
    for batch in batches:
        yield batch
        done += len(batch.paths) + len(batch.problems)
        if (now := time.perf_counter()) - last > _TOLD_EVERY:
            print(f"{done:,} of {total:,} images, {done / (now - begun):,.0f} a second", file=sys.stderr)
            last = now


Write = Callable[[str, list[tuple[str, float]]], None]


def _writer(out: Path | None, top: int, tell: Callable[[str], None]) -> AbstractContextManager[Write]:
    if out is None:
        return _said(tell)
    return {".csv": _csv, ".json": _json, ".parquet": _parquet}[out.suffix.lower()](out, top)


@contextmanager
def _said(tell: Callable[[str], None]) -> Iterator[Write]:
    yield lambda path, line: tell(f"{path}: " + ", ".join(f"{name} {100 * chance:.1f} %" for name, chance in line))


def _heads(top: int) -> list[str]:
    return ["image", *(name for number in range(1, top + 1) for name in (f"class_{number}", f"probability_{number}"))]


def _cells(path: str, line: Sequence[tuple[str, float]]) -> list[Any]:
    return [path, *(cell for pair in line for cell in pair)]


@contextmanager
def _beside(out: Path) -> Iterator[BinaryIO]:
    """Write a file beside its place, and name it when it is whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _csv(out: Path, top: int) -> Iterator[Write]:
    with _beside(out) as file, io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(_heads(top))
        yield lambda path, line: writer.writerow(_cells(path, line))


@contextmanager
def _json(out: Path, top: int) -> Iterator[Write]:
    del top
    before = "[\n"
    with _beside(out) as file:

        def write(path: str, line: list[tuple[str, float]]) -> None:
            nonlocal before
            entry = {"image": path, "classes": [{"class": name, "probability": chance} for name, chance in line]}
            file.write((before + json.dumps(entry)).encode("ascii"))
            before = ",\n"

        yield write
        file.write(b"\n]\n" if before != "[\n" else b"[]\n")


@contextmanager
def _parquet(out: Path, top: int) -> Iterator[Write]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"--out {out}: Parquet needs pyarrow; pip install '.[parquet]' in the folder of unlabeled, or write .csv"
        ) from None
    heads = _heads(top)
    schema = pa.schema([(name, pa.float32() if name.startswith("probability") else pa.string()) for name in heads])
    rows: list[list[Any]] = []
    with _beside(out) as file, parquet.ParquetWriter(file, schema) as writer:

        def flush() -> None:
            columns = {name: [row[place] for row in rows] for place, name in enumerate(heads)}
            writer.write_table(pa.table(columns, schema=schema))
            rows.clear()

        def write(path: str, line: list[tuple[str, float]]) -> None:
            rows.append(_cells(printable(path), line))
            if len(rows) >= _ROWS:
                flush()

        yield write
        flush()


_ROWS = 10_000


def _copy(path: str, folder: Path, name: str) -> None:
    """Copy a file into its class's folder; a name that is taken by another file gets a number."""
    # A class's name may be a stranger's.
    safe = name.replace("/", "_").replace("\0", "_").strip(". ") or "_"
    place = folder / safe
    place.mkdir(parents=True, exist_ok=True)
    source = Path(path)
    target, number = place / source.name, 1
    while target.exists() and not _same(source, target):
        number += 1
        target = place / f"{source.stem}-{number}{source.suffix}"
    if not target.exists():
        write_atomically(target, lambda file: _pour(source, file))


def _pour(source: Path, file: IO[bytes]) -> None:
    with source.open("rb") as content:
        shutil.copyfileobj(content, file)


def _same(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
