"""Fill a store with what a source yields: batches of shrunken images, labels, and last what there is to say of them."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unlabeled.errors import DamagedFile, DataError
from unlabeled.images.fitting import PAD
from unlabeled.keeping.digests import digest_blocks, verify_blocks
from unlabeled.keeping.files import fingerprint, read_sealed, sync_folder, write_sealed

# Raise it when the same source would give other pixels.
VERSION = 2
SPLITS = ("labeled", "unlabeled", "test")
_KINDS = ("pixels", "sha256", "labels")
_SOME = 4096  # images that are worked on at a time
WAY_OUT = "delete its folder, and give the same command again"


@dataclass(frozen=True)
class Deep:
    """Grey images of more than 8 bits, whose scale is known only when every image was read.

    Attributes
    ----------
    rows
        Their places within a batch, (m,).
    values
        Shrunken, but as stored, float32 (m, height, width); NaN where nothing of the image is.
    greatest
        The greatest value before shrinking.
    """

    rows: NDArray[np.intp]
    values: NDArray[np.float32]
    greatest: int


@dataclass(frozen=True)
class Expected:
    """How many images will come at the most: nothing is begun if the disk can't hold them."""

    images: int


@dataclass(frozen=True)
class Batch:
    """Images of a split: shrunken pixels uint8 (n, c, h, w), digests of what they were made of uint8 (n, 32), labels (n,) if known."""

    split: str
    pixels: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    labels: NDArray[np.integer[Any]] | None = None
    deep: Deep | None = None


@dataclass(frozen=True)
class Labels:
    """The labels (n,) of images that come without, before or after them."""

    split: str
    labels: NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Description:
    """What there is to say of all images: classes, the data set's own folds (rows of the labeled images), notes for the reader, origin.

    ``origin`` holds what tells this store from others of the same images: ``fit`` at the least.
    """

    class_names: Sequence[str]
    folds: Sequence[NDArray[np.intp]] = ()
    notes: Sequence[str] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)


# What a source yields, a description last.
Piece: TypeAlias = Expected | Batch | Labels | Description


def fill(cache: Path, name: str, shape: tuple[int, int, int], pieces: Generator[Piece]) -> Path:
    """Write what a source yields into a new store, and return its folder; the source is closed whatever happens.

    Parameters
    ----------
    cache
        Folder of all stores.
    name
        First part of the store's name: the kind of source.
    shape
        (channels, height, width) of the shrunken images.
    pieces
        What the source yields.
    """
    with closing(pieces), StoreWriter(cache, name, shape) as writer:
        for piece in pieces:
            if isinstance(piece, Batch):
                writer.append(piece)
            elif isinstance(piece, Labels):
                writer.set_labels(piece)
            elif isinstance(piece, Expected):
                writer.need(piece.images)
            else:
                return writer.finish(piece)
    raise ValueError(f"source {name} ended without a description")


class StoreWriter:
    """Fills a new store; a context that removes what it wrote unless ``finish`` was reached.

    Parameters
    ----------
    cache
        Folder of all stores.
    name
        First part of the store's name: the kind of source.
    shape
        (channels, height, width) of the shrunken images.
    """

    def __init__(self, cache: Path, name: str, shape: tuple[int, int, int]) -> None:
        self.cache, self.name, self.shape = cache, name, shape
        self.counts, self._labels = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
        self._folder = unfinished(cache)
        self._files: dict[tuple[str, str], IO[bytes]] = {}
        self._grey = shape[0] == 3
        self._deep: dict[str, list[NDArray[np.intp]]] = {split: [] for split in SPLITS}
        self._greatest = 0

    def __enter__(self) -> StoreWriter:
        self._folder.mkdir(parents=True)
        for split in SPLITS:
            for kind in _KINDS:
                self._files[split, kind] = (self._folder / f"{split}.{kind}").open("w+b")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files.values():
            # A full disk has been reported already; closing would report it again.
            try:
                file.close()
            except OSError:
                if kind is None:
                    raise
        shutil.rmtree(self._folder, ignore_errors=True)

    def need(self, images: int) -> None:
        """Refuse to begin if the disk can't hold so many images."""
        needed = images * (int(np.prod(self.shape)) + 40)
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise DataError(
                f"{self.cache}: {images:,} images of {self.shape[2]}x{self.shape[1]} take {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB "
                "are free; free some space, or give another folder with --cache"
            )

    def append(self, batch: Batch) -> None:
        """Add images.

        Raises
        ------
        ValueError
            If pixels are not uint8 (n, channels, height, width) of the store's shape, or not every image has a digest.
        """
        self._check(batch)
        if batch.deep is not None and len(batch.deep.rows):
            self._keep_deep(batch.split, batch.deep)
        if self._grey and len(batch.pixels):
            self._grey = bool((batch.pixels[:, :1] == batch.pixels[:, 1:]).all())
        self._files[batch.split, "pixels"].write(np.ascontiguousarray(batch.pixels).data)
        self._files[batch.split, "sha256"].write(np.ascontiguousarray(batch.digests).data)
        if batch.labels is not None:
            self.set_labels(Labels(batch.split, batch.labels))
        self.counts[batch.split] += len(batch.pixels)

    def _check(self, batch: Batch) -> None:
        pixels, digests = batch.pixels, batch.digests
        if pixels.dtype != np.uint8 or pixels.shape[1:] != self.shape:
            raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}; this store takes uint8 (n, {self.shape})")
        if digests.dtype != np.uint8 or digests.shape != (len(pixels), 32):
            raise ValueError(
                f"digests are {digests.dtype} {digests.shape}; {len(pixels)} images need uint8 ({len(pixels)}, 32)"
            )

    def set_labels(self, labels: Labels) -> None:
        """Add labels of images that come without."""
        self._labels[labels.split] += len(labels.labels)
        self._files[labels.split, "labels"].write(np.asarray(labels.labels, dtype="<i8").data)

    def finish(self, about: Description) -> Path:
        """Close the store, give it the name of its content, and return its folder.

        Raises
        ------
        ValueError
            If labels are missing, or nothing says how images were fitted.
        """
        for split in SPLITS:
            if self._labels[split] != (0 if split == "unlabeled" else self.counts[split]):
                raise ValueError(f"{self.counts[split]} {split} images have {self._labels[split]} labels")
        if "fit" not in about.origin:
            raise ValueError("the origin lacks 'fit', which tells stores of the same images apart; give Wanted.fit")
        notes = [*about.notes, *self._scale_deep(), *self._drop_equal_channels()]
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        content = hashlib.sha256()
        for split in SPLITS:
            for kind in ("sha256", "labels"):
                content.update(f"{split} {kind} {self.counts[split]}".encode())
                content.update((self._folder / f"{split}.{kind}").read_bytes())
        described = {"class_names": list(about.class_names), "folds": [fold.tolist() for fold in about.folds]}
        key = fingerprint([VERSION, content.hexdigest(), described, self.shape, dict(about.origin), *notes])
        write_sealed(
            self._folder / "store.json",
            {
                "key": key,
                "shape": self.shape,
                "counts": self.counts,
                "notes": notes,
                "origin": dict(about.origin),
                **({"bits": max(8, self._greatest.bit_length())} if self._greatest else {}),
                **described,
                "blocks": {name: digest_blocks(self._folder / name) for name in store_files()},
            },
        )
        final = self.cache / f"{self.name}-{'x'.join(map(str, self.shape))}-{key}"
        if is_whole(final):
            return final  # an earlier source had the same content
        shutil.rmtree(final, ignore_errors=True)
        self._folder.rename(final)
        sync_folder(self.cache)
        return final

    def _keep_deep(self, split: str, deep: Deep) -> None:
        """Put the values of deep images aside, until the scale is known."""
        if (split, "deep") not in self._files:
            self._files[split, "deep"] = (self._folder / f"{split}.deep").open("w+b")
        self._files[split, "deep"].write(np.ascontiguousarray(deep.values).data)
        self._deep[split].append(deep.rows + self.counts[split])
        self._greatest = max(self._greatest, deep.greatest)

    def _scale_deep(self) -> list[str]:
        """Write deep images, all on one scale: the bits of the greatest value of all. Return what a reader has to know."""
        bits = max(8, self._greatest.bit_length())
        images = 0
        for split in SPLITS:
            file = self._files.pop((split, "deep"), None)
            if file is None:
                continue
            rows = np.concatenate(self._deep[split])
            images += len(rows)
            file.flush()
            self._files[split, "pixels"].flush()
            values = np.memmap(file.name, dtype=np.float32, mode="r", shape=(len(rows), *self.shape[1:]))
            pixels = np.memmap(
                self._files[split, "pixels"].name, dtype=np.uint8, mode="r+", shape=(self.counts[split], *self.shape)
            )
            for start in range(0, len(rows), _SOME):
                pixels[rows[start : start + _SOME]] = scale_deep(values[start : start + _SOME], bits)[:, None]
            pixels.flush()
            file.close()
            Path(file.name).unlink()
        if not images:
            return []
        return [
            f"{images:,} grey images have more than 8 bits a pixel. Their greatest value is {self._greatest:,}, so {bits} bits are the "
            "full scale, the same for all of them."
        ]

    def _drop_equal_channels(self) -> list[str]:
        """Keep one channel of images that are all grey. Return what a reader has to know."""
        if not self._grey or not any(self.counts.values()):
            return []
        channels, *size = self.shape
        self.shape = (1, *size)  # type: ignore[assignment]
        for split in SPLITS:
            if not self.counts[split]:
                continue
            file = self._files[split, "pixels"]
            file.flush()
            pixels = np.memmap(file.name, dtype=np.uint8, mode="r+", shape=(self.counts[split], channels, *size))
            flat = pixels.reshape(-1)
            image = int(np.prod(size))
            for start in range(0, self.counts[split], _SOME):
                grey = np.array(pixels[start : start + _SOME, 0])
                # What is written lies before what is still to be read.
                flat[start * image : start * image + grey.size] = grey.reshape(-1)
            pixels.flush()
            file.truncate(self.counts[split] * image)
        return ["All images are grey, so one channel is kept."]


def scale_deep(values: NDArray[np.float32], bits: int) -> NDArray[np.uint8]:
    """Return deep grey images (n, height, width) in 8 bits, so many bits being the full scale; grey where nothing of an image is."""
    scaled = np.rint(values * (255 / (2**bits - 1)))
    return np.nan_to_num(scaled, nan=PAD).clip(0, 255).astype(np.uint8)


def unfinished(cache: Path) -> Path:
    """Return a new name for a folder in the cache that is being filled; nobody else has it."""
    return cache / f"unfinished-{secrets.token_hex(8)}"


def store_files() -> Iterator[str]:
    """Yield the names of a store's files of numbers."""
    yield from (f"{split}.{kind}" for split in SPLITS for kind in _KINDS)


def is_whole(folder: Path) -> bool:
    """Tell whether a store's files are what they were when it was filled."""
    try:
        verify_blocks(folder, read_description(folder)["blocks"], way_out=WAY_OUT)
    except DamagedFile:
        return False
    return True


def read_description(folder: Path) -> dict[str, Any]:
    """Read what a store says of itself.

    Raises
    ------
    DamagedFile
        If it is missing, not as it was written, or another store's.
    """
    described = read_sealed(folder / "store.json", way_out=WAY_OUT)
    if not folder.name.endswith(f"-{described['key']}"):
        raise DamagedFile(f"{folder / 'store.json'}: is of another store ({described['key']}); {WAY_OUT}")
    return described
