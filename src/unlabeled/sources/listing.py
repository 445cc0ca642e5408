"""What lies under a folder of a user's: images by their names, other files, and what systems leave behind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unlabeled.console.plain import printable
from unlabeled.errors import DataError
from unlabeled.images.formats import suffixes

# What systems, archives and storage boxes leave behind beside one's own; hidden names, which begin with a dot, are skipped as well.
_SYSTEM = frozenset(
    name.casefold()
    for name in (
        "@eaDir", "@tmp", "@sharebin", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "__MACOSX", "$RECYCLE.BIN", "RECYCLER",
        "System Volume Information", "lost+found", "Network Trash Folder", "Temporary Items", "__pycache__", "Thumbs.db", "ehthumbs.db",
        "ehthumbs_vista.db", "desktop.ini", "Icon\r", "~snapshot", "FOUND.000",
    )
)  # fmt: skip
# Text and tables beside images describe them; they are no images that were forgotten.
_TEXT = frozenset(
    (
        ".txt",
        ".csv",
        ".tsv",
        ".json",
        ".jsonl",
        ".xml",
        ".md",
        ".yaml",
        ".yml",
        ".toml",
        ".html",
        ".log",
        ".rst",
        ".xmp",
    )
)
_MANY = 10_000
_HEIC = (".heic", ".heif", ".hif", ".heics", ".heifs")


@dataclass
class Part:
    """What was found under a folder: images by their paths, what is no image, and what a system left there."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    system: Counter[str] = field(default_factory=Counter)

    def add(self, other: Part) -> None:
        """Put what was found under another folder to it."""
        self.images += other.images
        self.others += other.others
        self.system += other.system


def look_under(path: str) -> Part:
    """Find the images under a folder, however deep, in the order of their names.

    They are strings, for a path of an image costs more than to decode a small one.
    """
    part = Part()
    for folder, name in _walk(path, part.system):
        (part.images if is_image(name) else part.others).append(f"{folder}{os.sep}{name}")
    # Folder by folder, as paths are ordered: "a/b" comes before "a-b".
    part.images.sort(key=lambda image: image.replace(os.sep, "\0"))
    part.others.sort()
    return part


def _walk(path: str, system: Counter[str]) -> Iterator[tuple[str, str]]:
    """Yield (folder, name) of every file that is neither hidden nor a system's, following links but never in a circle."""
    seen = set()
    root = os.path.realpath(path)
    for folder, below, names in os.walk(path, followlinks=True, onerror=_refuse):
        real = os.path.realpath(folder)
        # A link to a folder above would bring the images of other classes into this one.
        if real in seen or root.startswith(real.rstrip(os.sep) + os.sep):
            below.clear()
            continue
        seen.add(real)
        for name in (name for name in below if _is_system(name)):
            system[name] += sum(len(files) for _, _, files in os.walk(f"{folder}{os.sep}{name}"))
        below[:] = [name for name in below if not _is_skipped(name)]
        for name in names:
            if _is_system(name):
                system[name] += 1
            elif not _is_skipped(name):
                yield folder, name


def entries(path: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what lies in a folder, without what is hidden or a system's."""
    try:
        with os.scandir(path) as entries:
            yield from (entry for entry in entries if not _is_skipped(entry.name))
    except OSError as error:
        _refuse(error)


def _is_system(name: str) -> bool:
    return name.casefold() in _SYSTEM


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or _is_system(name)


def _refuse(error: OSError) -> None:
    raise DataError(
        f"{printable(str(error.filename))}: this folder can't be read ({error.strerror}); change its permissions, or remove it"
    )


def count_system(path: Path) -> Counter[str]:
    """Return how many files lie in folders that systems left right in a folder, by the folders' names."""
    names: Counter[str] = Counter()
    if path.is_dir():
        for name in filter(_is_system, os.listdir(path)):  # noqa: PTH208 - names are all that is wanted
            names[name] += max(1, sum(len(files) for _, _, files in os.walk(path / name)))
    return names


def count_images(path: str) -> str:
    """Say how many images lie under a folder that is not used: not beyond a bound, and what can't be read is not counted."""
    count = 0
    for _, _, names in os.walk(path):
        count += sum(map(is_image, names))
        if count > _MANY:
            return f"more than {_MANY:,}"
    return f"{count:,}"


def is_image(name: str) -> bool:
    """Tell whether a file is an image by its name."""
    return name.lower().endswith(suffixes()) and not name.startswith(".")


def _suffix(path: str) -> str:
    return printable(os.path.splitext(path)[1].lower()) or "no suffix"  # noqa: PTH122 - many names


def refuse_left_out(path: Path, others: Sequence[str]) -> None:
    """Refuse labeled files that may be images and can't be read as such; text beside images is noted, and stays."""
    unknown = [file for file in others if _suffix(file) not in _TEXT]
    if not unknown:
        return
    name = "labeled" if path.name == "train" else "test"
    counts = Counter(map(_suffix, unknown))
    way = "convert them to JPEG or PNG, or remove them"
    if any(suffix in _HEIC for suffix in counts):
        way = f"install the reader of HEIC, pip install 'unlabeled[heic]', or {way}"
    raise DataError(
        f"{len(unknown):,} {name} files are of no kind of image that can be read: {_by_suffix(counts)}, {printable(unknown[0])} for one; "
        f"{way}"
    )


def _by_suffix(counts: Counter[str]) -> str:
    return ", ".join(
        f"{count:,} {suffix}" for suffix, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def left_out(found: Mapping[str, Part]) -> list[str]:
    """Say which files are no images by their names: suffix, number and split."""
    notes = []
    for part, files in found.items():
        if files.others:
            counts = Counter(map(_suffix, files.others))
            more = "; for HEIC install unlabeled[heic]" if any(suffix in _HEIC for suffix in counts) else ""
            notes.append(
                f"{len(files.others):,} files in {part} are no images by their names and are left out: {_by_suffix(counts)}{more}."
            )
    return notes


def left_by_systems(found: Mapping[str, Part]) -> list[str]:
    """Say how many files were skipped because a system, an archive or a storage box left them."""
    counts: Counter[str] = sum((part.system for part in found.values()), Counter())
    if not counts:
        return []
    names = ", ".join(printable(name) for name in sorted(counts))
    return [f"{counts.total():,} files that systems leave behind were skipped ({names})."]


def loose_names(path: Path) -> list[str]:
    """Return the names of files beside the class folders."""
    return sorted(entry.name for entry in entries(path) if not entry.is_dir())
