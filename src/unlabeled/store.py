"""Shrunken images on disk, made once and mapped ever after. Knows nothing of torch.

A store is a folder: for each split the raw pixels, the SHA-256 of every image before shrinking and the labels, and
last ``store.json``. Its name holds the content of the source and the side. A second, small index leads from what is
quick to look at (paths, sizes, times of change) to the store, so that an unchanged source is not read again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.caching import cache_folder as cache_folder  # noqa: PLC0414 - others take it from here
from unlabeled.errors import DataError
from unlabeled.images import Images, Splits
from unlabeled.leaks import Policy, find_leaks
from unlabeled.results import fingerprint, read_json, write_json

_log = logging.getLogger("unlabeled")

# Raise it when the same source would give other pixels.
_VERSION = 1
_SPLITS = ("labeled", "unlabeled", "test")
_DAY = 86400.0


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
        self._folder = cache / f"unfinished-{os.getpid()}-{time.monotonic_ns()}"
        self._files: dict[tuple[str, str], IO[bytes]] = {}

    def __enter__(self) -> StoreWriter:
        _remove_abandoned(self.cache)
        self._folder.mkdir(parents=True)
        for split in _SPLITS:
            for kind in ("pixels", "sha256", "labels"):
                self._files[split, kind] = (self._folder / f"{split}.{kind}").open("wb")
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
                f"{self.cache}: {images:,} images of side {self.shape[1]} take {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are "
                "free; free some space, or give another folder with --cache"
            )

    def append(
        self,
        split: str,
        pixels: NDArray[np.uint8],
        digests: NDArray[np.uint8],
        labels: NDArray[np.integer[Any]] | None = None,
    ) -> None:
        """Add images: shrunken pixels uint8 (n, c, h, w), digests uint8 (n, 32), labels (n,) unless unlabeled."""
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
        for file in self._files.values():
            file.close()
        content = hashlib.sha256()
        for split in _SPLITS:
            for kind in ("sha256", "labels"):
                content.update(f"{split} {kind} {self.counts[split]}".encode())
                content.update((self._folder / f"{split}.{kind}").read_bytes())
        described = {"class_names": list(class_names), "folds": [fold.tolist() for fold in folds]}
        key = fingerprint([_VERSION, content.hexdigest(), described, self.shape, dict(origin or {}), *notes])
        write_json(
            self._folder / "store.json",
            {
                "key": key,
                "shape": self.shape,
                "counts": self.counts,
                "notes": list(notes),
                "origin": dict(origin or {}),
                **described,
            },
        )
        final = self.cache / f"{self.name}-{'x'.join(map(str, self.shape))}-{key}"
        try:
            self._folder.rename(final)
        except OSError:
            # Another process, or an earlier source with the same content, was first.
            if not (final / "store.json").exists():
                raise
        return final


def stored(cache: Path, signature: Any, build: Callable[[], Path]) -> Path:
    """Return the store of a source, and build it only if nothing with this signature was built before.

    Parameters
    ----------
    cache
        Folder of all stores.
    signature
        What is quick to look at and changes with the source and the side, in JSON's types.
    build
        Makes the store and returns its folder.
    """
    link = cache / "index" / f"{fingerprint([_VERSION, signature])}.json"
    if link.exists():
        folder = cache / str(read_json(link)["store"])
        if (folder / "store.json").exists():
            return folder
    _log.info("reading and shrinking the images; this is done once")
    start = time.perf_counter()
    folder = build()
    counts = read_json(folder / "store.json")["counts"]
    _log.info(f"{sum(counts.values()):,} images are ready after {time.perf_counter() - start:.1f} s")
    write_json(link, {"store": folder.name})
    return folder


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
    """Map a store's images, and leave out the leaks if that is wanted; folds are renumbered to match."""
    described = read_json(folder / "store.json")
    shape, counts = tuple(described["shape"]), described["counts"]
    digests = {split: _map(folder / f"{split}.sha256", np.uint8, (counts[split], 32)) for split in _SPLITS}
    found, labeled_rows, unlabeled_rows = find_leaks(
        digests["labeled"], digests["unlabeled"], digests["test"], policy=leaks
    )
    images = {}
    for split in _SPLITS:
        pixels = _map(folder / f"{split}.pixels", np.uint8, (counts[split], *shape))
        labels = None if split == "unlabeled" else np.fromfile(folder / f"{split}.labels", dtype="<i8").astype(np.int64)
        images[split] = Images(pixels, labels)
    copies = len(digests["labeled"]) - len(np.unique(digests["labeled"], axis=0))
    repeated = (
        [f"{copies:,} labeled images repeat another labeled image; one may train and the other validate."]
        if copies
        else []
    )
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


def _remove_abandoned(cache: Path) -> None:
    """Remove what a killed process left more than a day ago."""
    for folder in cache.glob("unfinished-*"):
        if time.time() - folder.stat().st_mtime > _DAY:
            shutil.rmtree(folder, ignore_errors=True)
