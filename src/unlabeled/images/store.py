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
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.errors import DamagedFile
from unlabeled.images import Images, Splits
from unlabeled.images.leaks import Policy, find_leaks, find_repeated
from unlabeled.images.writer import SPLITS, VERSION, WAY_OUT, Piece, fill, is_whole, read_description
from unlabeled.keeping.caching import cache_folder as cache_folder  # noqa: PLC0414 - others take it from here
from unlabeled.keeping.digests import verify_blocks
from unlabeled.keeping.files import fingerprint, read_sealed, sweep, write_sealed
from unlabeled.keeping.locks import locked

_log = logging.getLogger("unlabeled")

_DAY = 86400.0


def stored(
    cache: Path, signature: Any, name: str, shape: tuple[int, int, int], read: Callable[[], Generator[Piece]]
) -> Path:
    """Return the store of a source, and read the source only if nothing with this signature was read before.

    One process at a time fills a cache; others wait, and then find what they wanted.

    Parameters
    ----------
    cache
        Folder of all stores.
    signature
        What is quick to look at and changes with the source and the size, in JSON's types.
    name
        The kind of source.
    shape
        (channels, height, width) of the shrunken images.
    read
        Yields what the source holds.
    """
    key = fingerprint([VERSION, signature])
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
        folder = fill(cache, name, shape, read())
        counts = read_sealed(folder / "store.json")["counts"]
        _log.info(f"{sum(counts.values()):,} images are ready after {time.perf_counter() - start:.1f} s")
        write_sealed(link, {"signature": key, "store": folder.name})
    return folder


def discard(folder: Path) -> None:
    """Remove a damaged store, so that it is made anew; another process may have done so already."""
    index = folder.parent / "index"
    with locked(index if index.is_dir() else folder.parent):
        if folder.exists() and not is_whole(folder):
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
    described = read_description(folder)
    verify_blocks(folder, described["blocks"], way_out=WAY_OUT)
    shape, counts = tuple(described["shape"]), described["counts"]
    try:
        digests = {split: _map(folder / f"{split}.sha256", np.uint8, (counts[split], 32)) for split in SPLITS}
        pixels = {split: _map(folder / f"{split}.pixels", np.uint8, (counts[split], *shape)) for split in SPLITS}
        labels = {
            split: np.fromfile(folder / f"{split}.labels", dtype="<i8").astype(np.int64)
            for split in ("labeled", "test")
        }
    except FileNotFoundError as error:
        raise DamagedFile(f"{error.filename}: no such file; {WAY_OUT}") from None
    digest_of, labeled_rows, unlabeled_rows = find_leaks(
        digests["labeled"], digests["unlabeled"], digests["test"], policy=leaks
    )
    images = {split: Images(pixels[split], labels.get(split)) for split in SPLITS}
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
        leaks=digest_of,
        notes=(*described["notes"], *repeated),
        origin={**described["origin"], "key": described["key"], "counts": counts},
    )


def digest(image: NDArray[np.uint8], size: str = "") -> bytes:
    """Return the SHA-256 of an image's bytes, after a text that tells its size where sizes differ."""
    digest_of = hashlib.sha256(size.encode())
    digest_of.update(np.ascontiguousarray(image).data)
    return digest_of.digest()


def digests_of(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the SHA-256 of each image's bytes, uint8 (n, 32)."""
    return np.frombuffer(b"".join(digest(image) for image in images), dtype=np.uint8).reshape(-1, 32)


def _keep(images: Images, rows: NDArray[np.intp]) -> Images:
    """Return the images of some rows; of all rows the images as they are, which need no list of rows."""
    return images.subset(rows) if len(rows) < len(images) else images


def _map(path: Path, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    # An empty file can't be mapped.
    return np.memmap(path, dtype=dtype, mode="r", shape=shape) if shape[0] else np.zeros(shape, dtype=dtype)


def _linked(link: Path, key: str) -> Path | None:
    """Return the store that an index leads to, if it is there; an index that can't be read leads nowhere."""
    try:
        entry = read_sealed(link)
    except (DamagedFile, PermissionError):
        return None
    folder = link.parent.parent / str(entry["store"])
    return folder if entry["signature"] == key and (folder / "store.json").is_file() else None


def _sweep(cache: Path, *, alone: bool) -> None:
    """Remove what killed processes left; without locks on this disk only what is a day old."""
    for folder in cache.glob("unfinished-*"):
        if alone or time.time() - folder.stat().st_mtime > _DAY:
            shutil.rmtree(folder, ignore_errors=True)
    sweep(cache / "index")
