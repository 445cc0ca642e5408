"""One shard as a file: a head of JSON, the pixels, the labels if there are some. Knows nothing of torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.console.plain import printable
from unlabeled.errors import DamagedFile, DataError
from unlabeled.images.writer import SPLITS
from unlabeled.keeping.files import write_atomically

HEAD = 4096  # bytes before the pixels
AGAIN = "write it again"
_KIND = "shard of unlabeled"
_FORMAT = 1


@dataclass(frozen=True)
class ShardFile:
    """A shard that lies on this machine: its split, the shape (n, c, h, w) of its pixels, what the system says of the file."""

    path: Path
    split: str
    shape: tuple[int, int, int, int]
    facts: tuple[int, int, int]

    @property
    def changed(self) -> bool:
        """Whether it was written again since."""
        return not self.path.is_file() or facts_of(self.path) != self.facts

    @property
    def size(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        return self.shape[1:]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The pixels, mapped."""
        return np.memmap(self.path, dtype=np.uint8, mode="r", offset=HEAD, shape=self.shape)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The labels (n,)."""
        return read_labels(self.path, self.shape)


def path_of(folder: Path, split: str, number: int) -> Path:
    """Return where a shard lies."""
    return folder / f"{split}-{number:06d}.shard"


def facts_of(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file is written again: its size, time and number."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


def read_labels(path: Path, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the labels (n,) that stand behind the pixels of a shard."""
    return np.fromfile(path, dtype="<i8", offset=HEAD + int(np.prod(shape))).astype(np.int64)


def put(
    path: Path, split: str, pixels: NDArray[np.uint8], labels: NDArray[np.int64] | None, *, packed: bool = False
) -> None:
    """Write a shard; ``packed`` says that only ``pack`` can make an index of it."""
    head = {"kind": _KIND, "format": _FORMAT, "split": split, "shape": pixels.shape, "packed": packed}

    def write(file: Any) -> None:
        file.write(json.dumps(head).encode().ljust(HEAD))
        file.write(np.ascontiguousarray(pixels).data)
        if labels is not None:
            file.write(labels.astype("<i8").data)

    write_atomically(path, write)


def shards_in(folder: Path) -> list[ShardFile]:
    """Return the shards of a folder, by name.

    Raises
    ------
    DamagedFile, DataError
        If there are none, one is no shard or of another length than was written, or they differ in size.
    """
    found = [_look(path) for path in sorted(folder.glob("*.shard")) if path.is_file()]
    if not found:
        raise DataError(f"{printable(str(folder))}: holds no shards; write_shard writes them")
    _check_sizes(folder, found)
    return found


def _look(path: Path) -> ShardFile:
    shown, facts = printable(str(path)), facts_of(path)
    with path.open("rb") as file:
        content = file.read(HEAD)
    try:
        told = json.loads(content)
        shape = tuple(told["shape"])
        sound = all(type(side) is int and side > 0 for side in shape) and len(shape) == 4
        if (told["kind"], told["format"], told["split"] in SPLITS, sound) != (_KIND, _FORMAT, True, True):
            raise ValueError
        packed = told["packed"]
    except (ValueError, LookupError, TypeError):
        raise DataError(f"{shown}: is no shard that this version can read; {AGAIN} with write_shard") from None
    if packed:
        raise DataError(
            f"{shown}: unlabeled data pack wrote it, and its index too; if that is missing, delete the folder and pack again"
        )
    length = HEAD + int(np.prod(shape)) + (0 if told["split"] == "unlabeled" else 8 * shape[0])
    if path.stat().st_size != length:
        raise DamagedFile(f"{shown}: {path.stat().st_size:,} bytes, not the {length:,} that were written; {AGAIN}")
    return ShardFile(path, told["split"], shape, facts)


def _check_sizes(folder: Path, shards: Iterable[ShardFile]) -> None:
    sizes = {shard.size: shard.path.name for shard in shards}
    if len(sizes) > 1:
        (one, first), (other, second) = list(sizes.items())[:2]
        raise DataError(
            f"{printable(str(folder))}: {first} has images of (c, h, w) = {one} and {second} of {other}; all need one size"
        )
