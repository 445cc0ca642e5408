"""Shrunken images on disk, made once and mapped ever after. Knows nothing of torch.

A store is a folder: for each split the raw pixels, the SHA-256 of every image before shrinking and the labels, and
last ``store.json``, with a digest of every block of those files: they are compared when the store is opened. Its name holds the
content of the source and the size. A second, small index leads from what is quick to look at (paths, sizes, times of change) to the
store, so that an unchanged source is not read again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.errors import DamagedFile, DataError
from unlabeled.images import Images, Splits
from unlabeled.images.fitting import PAD
from unlabeled.images.leaks import Policy, find_leaks, find_repeated
from unlabeled.keeping.caching import cache_folder as cache_folder  # noqa: PLC0414 - others take it from here
from unlabeled.keeping.digests import digest_blocks, verify_blocks
from unlabeled.keeping.files import fingerprint, read_sealed, sweep, sync_folder, write_sealed
from unlabeled.keeping.locks import locked

_log = logging.getLogger("unlabeled")

# Raise it when the same source would give other pixels.
_VERSION = 2
_SPLITS = ("labeled", "unlabeled", "test")
_KINDS = ("pixels", "sha256", "labels")
_SOME = 4096  # images that are worked on at a time
_DAY = 86400.0
_WAY_OUT = "delete its folder, and give the same command again"


@dataclass(frozen=True)
class Deep:
    """Grey images of more than 8 bits, whose scale is only known when all have been read.

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
        self.counts = dict.fromkeys(_SPLITS, 0)
        self._folder = unfinished(cache)
        self._files: dict[tuple[str, str], IO[bytes]] = {}
        self._grey = shape[0] == 3
        self._deep: dict[str, list[NDArray[np.intp]]] = {split: [] for split in _SPLITS}
        self._greatest = 0

    def __enter__(self) -> StoreWriter:
        self._folder.mkdir(parents=True)
        for split in _SPLITS:
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

    def append(
        self,
        split: str,
        pixels: NDArray[np.uint8],
        digests: NDArray[np.uint8],
        labels: NDArray[np.integer[Any]] | None = None,
        deep: Deep | None = None,
    ) -> None:
        """Add images: shrunken pixels uint8 (n, c, h, w), digests uint8 (n, 32), labels (n,) unless unlabeled; deep ones come besides."""
        if deep is not None and len(deep.rows):
            self._keep_deep(split, deep)
        if self._grey and len(pixels):
            self._grey = bool((pixels[:, :1] == pixels[:, 1:]).all())
        self._files[split, "pixels"].write(np.ascontiguousarray(pixels).data)
        self._files[split, "sha256"].write(np.ascontiguousarray(digests).data)
        if labels is not None:
            self.set_labels(split, labels)
        self.counts[split] += len(pixels)

    def set_labels(self, split: str, labels: NDArray[np.integer[Any]]) -> None:
        """Add the labels of images that were, or will be, appended without."""
        self._files[split, "labels"].write(np.asarray(labels, dtype="<i8").data)

    def finish(
        self,
        *,
        class_names: Sequence[str],
        folds: Sequence[NDArray[np.intp]] = (),
        notes: Sequence[str] = (),
        origin: dict[str, Any] | None = None,
    ) -> Path:
        """Close the store, give it the name of its content, and return its folder."""
        told = [*notes, *self._scale_deep(), *self._drop_equal_channels()]
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        content = hashlib.sha256()
        for split in _SPLITS:
            for kind in ("sha256", "labels"):
                content.update(f"{split} {kind} {self.counts[split]}".encode())
                content.update((self._folder / f"{split}.{kind}").read_bytes())
        described = {"class_names": list(class_names), "folds": [fold.tolist() for fold in folds]}
        key = fingerprint([_VERSION, content.hexdigest(), described, self.shape, dict(origin or {}), *told])
        write_sealed(
            self._folder / "store.json",
            {
                "key": key,
                "shape": self.shape,
                "counts": self.counts,
                "notes": told,
                "origin": dict(origin or {}),
                **described,
                "blocks": {name: digest_blocks(self._folder / name) for name in _names()},
            },
        )
        final = self.cache / f"{self.name}-{'x'.join(map(str, self.shape))}-{key}"
        if _is_whole(final):
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
        for split in _SPLITS:
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
                scaled = np.rint(values[start : start + _SOME] * (255 / (2**bits - 1)))
                grey = np.nan_to_num(scaled, nan=PAD).clip(0, 255).astype(np.uint8)
                pixels[rows[start : start + _SOME]] = grey[:, None]
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
        for split in _SPLITS:
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


def unfinished(cache: Path) -> Path:
    """Return a new name for a folder in the cache that is being filled; nobody else has it."""
    return cache / f"unfinished-{secrets.token_hex(8)}"


def stored(cache: Path, signature: Any, build: Callable[[], Path]) -> Path:
    """Return the store of a source, and build it only if nothing with this signature was built before.

    One process at a time builds in a cache; others wait, and then find what they wanted.

    Parameters
    ----------
    cache
        Folder of all stores.
    signature
        What is quick to look at and changes with the source and the size, in JSON's types.
    build
        Makes the store and returns its folder.
    """
    key = fingerprint([_VERSION, signature])
    link = cache / "index" / f"{key}.json"
    if (folder := _linked(link, key)) is not None:
        return folder
    link.parent.mkdir(parents=True, exist_ok=True)
    with locked(link.parent, waiting=lambda: _log.info(f"another process fills {cache}; waiting for it")) as alone:
        if (folder := _linked(link, key)) is not None:
            return folder
        _sweep(cache, alone=alone)
        _log.info("reading and shrinking the images; this is done once")
        start = time.perf_counter()
        folder = build()
        counts = read_sealed(folder / "store.json")["counts"]
        _log.info(f"{sum(counts.values()):,} images are ready after {time.perf_counter() - start:.1f} s")
        write_sealed(link, {"signature": key, "store": folder.name})
    return folder


def discard(folder: Path) -> None:
    """Remove a damaged store, so that it is made anew; another process may have done so already."""
    index = folder.parent / "index"
    with locked(index if index.is_dir() else folder.parent):
        if folder.exists() and not _is_whole(folder):
            shutil.rmtree(folder)


def look_at(paths: Sequence[str | Path], root: Path) -> str:
    """Condense where files are under a folder, and what the system says of each: a changed or exchanged file shows."""
    digest = hashlib.sha256(str(root.resolve()).encode(errors="surrogateescape"))
    above = f"{root}{os.sep}"
    for path in map(str, paths):
        try:
            facts = os.stat(path)  # noqa: PTH116 - a Path of each of many files costs more than to ask
        except OSError:
            # A link that leads nowhere is the reader's to report.
            facts = os.lstat(path)
        digest.update(
            f"{path.removeprefix(above)}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ctime_ns}\0{facts.st_ino}\n".encode(
                errors="surrogateescape"
            )
        )
    return digest.hexdigest()


def open_store(folder: Path, *, leaks: Policy = "drop") -> Splits:
    """Map a store's images, and leave out the leaks if that is wanted; folds are renumbered to match.

    Raises
    ------
    DamagedFile
        If a file of the store is missing, or not as it was written.
    """
    described = _described(folder)
    verify_blocks(folder, described["blocks"], way_out=_WAY_OUT)
    shape, counts = tuple(described["shape"]), described["counts"]
    try:
        digests = {split: _map(folder / f"{split}.sha256", np.uint8, (counts[split], 32)) for split in _SPLITS}
        pixels = {split: _map(folder / f"{split}.pixels", np.uint8, (counts[split], *shape)) for split in _SPLITS}
        labels = {
            split: np.fromfile(folder / f"{split}.labels", dtype="<i8").astype(np.int64)
            for split in ("labeled", "test")
        }
    except FileNotFoundError as error:
        raise DamagedFile(f"{error.filename}: no such file; {_WAY_OUT}") from None
    found, labeled_rows, unlabeled_rows = find_leaks(
        digests["labeled"], digests["unlabeled"], digests["test"], policy=leaks
    )
    images = {split: Images(pixels[split], labels.get(split)) for split in _SPLITS}
    repeated = find_repeated(digests["labeled"], images["labeled"].classes, described["class_names"])
    place = np.full(counts["labeled"], -1, dtype=np.intp)
    place[labeled_rows] = np.arange(len(labeled_rows))
    folds = tuple(place[np.asarray(fold, dtype=np.intp)] for fold in described["folds"])
    return Splits(
        labeled=_keep(images["labeled"], labeled_rows),
        unlabeled=_keep(images["unlabeled"], unlabeled_rows),
        test=images["test"],
        class_names=tuple(described["class_names"]),
        folds=tuple(fold[fold >= 0] for fold in folds),
        leaks=found,
        notes=(*described["notes"], *repeated),
        origin={**described["origin"], "key": described["key"], "counts": counts},
    )


def digest(image: NDArray[np.uint8], size: str = "") -> bytes:
    """Return the SHA-256 of an image's bytes, after a text that tells its size where sizes differ."""
    found = hashlib.sha256(size.encode())
    found.update(np.ascontiguousarray(image).data)
    return found.digest()


def digests_of(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the SHA-256 of each image's bytes, uint8 (n, 32)."""
    return np.frombuffer(b"".join(digest(image) for image in images), dtype=np.uint8).reshape(-1, 32)


def _keep(images: Images, rows: NDArray[np.intp]) -> Images:
    """Return the images of some rows; of all rows the images as they are, which need no list of rows."""
    return images.subset(rows) if len(rows) < len(images) else images


def _map(path: Path, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    # An empty file can't be mapped.
    return np.memmap(path, dtype=dtype, mode="r", shape=shape) if shape[0] else np.zeros(shape, dtype=dtype)


def _names() -> Iterator[str]:
    """Yield the names of a store's files of numbers."""
    yield from (f"{split}.{kind}" for split in _SPLITS for kind in _KINDS)


def _described(folder: Path) -> dict[str, Any]:
    described = read_sealed(folder / "store.json", way_out=_WAY_OUT)
    if not folder.name.endswith(f"-{described['key']}"):
        raise DamagedFile(f"{folder / 'store.json'}: is of another store ({described['key']}); {_WAY_OUT}")
    return described


def _is_whole(folder: Path) -> bool:
    try:
        verify_blocks(folder, _described(folder)["blocks"], way_out=_WAY_OUT)
    except DamagedFile:
        return False
    return True


def _linked(link: Path, key: str) -> Path | None:
    """Return the store that an index leads to, if it is there; an index that can't be read leads nowhere."""
    try:
        told = read_sealed(link)
    except (DamagedFile, PermissionError):
        return None
    folder = link.parent.parent / str(told["store"])
    return folder if told["signature"] == key and (folder / "store.json").is_file() else None


def _sweep(cache: Path, *, alone: bool) -> None:
    """Remove what killed processes left; without locks on this disk only what is a day old."""
    for folder in cache.glob("unfinished-*"):
        if alone or time.time() - folder.stat().st_mtime > _DAY:
            shutil.rmtree(folder, ignore_errors=True)
    sweep(cache / "index")
