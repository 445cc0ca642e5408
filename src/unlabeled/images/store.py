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
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.errors import DamagedFile
from unlabeled.images import Images, Near, Splits
from unlabeled.images.leaks import Policy, find_leaks, find_repeated
from unlabeled.images.near import NEAR_VERSION, find_near
from unlabeled.images.writer import SPLITS, VERSION, WAY_OUT, Piece, fill, is_whole, read_description
from unlabeled.keeping.caching import cache_folder as cache_folder  # noqa: PLC0414 - others take it from here
from unlabeled.keeping.digests import verify_blocks
from unlabeled.keeping.files import (
    digest_content,
    digest_file,
    fingerprint,
    parse_arrays,
    read_bytes,
    read_sealed,
    sweep,
    write_arrays,
    write_sealed,
)
from unlabeled.keeping.locks import age_of, locked

_log = logging.getLogger("unlabeled")

_DAY = 86400.0
_MANY = 20_000  # images that are not looked through in a moment


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
    copies, labeled_rows, unlabeled_rows = find_leaks(
        digests["labeled"], digests["unlabeled"], digests["test"], policy=leaks
    )
    images = {split: Images(pixels[split], labels.get(split)) for split in SPLITS}
    repeated = find_repeated(digests["labeled"], images["labeled"].classes, described["class_names"])
    folds = [np.asarray(fold, dtype=np.intp) for fold in described["folds"]]
    return Splits(
        labeled=_keep(images["labeled"], labeled_rows),
        unlabeled=_keep(images["unlabeled"], unlabeled_rows),
        test=images["test"],
        class_names=tuple(described["class_names"]),
        folds=renumbered(folds, labeled_rows, counts["labeled"]),
        leaks=copies,
        notes=(*described["notes"], *repeated),
        origin={
            **described["origin"],
            "key": described["key"],
            "counts": counts,
            **({"bits": described["bits"]} if "bits" in described else {}),
        },
    )


def renumbered(folds: Iterable[NDArray[np.intp]], rows: NDArray[np.intp], count: int) -> tuple[NDArray[np.intp], ...]:
    """Return folds of so many images as those of the rows that stay."""
    place = np.full(count, -1, dtype=np.intp)
    place[rows] = np.arange(len(rows))
    return tuple(kept[kept >= 0] for kept in (place[fold] for fold in folds))


def without_near(splits: Splits, folder: Path, *, policy: Policy) -> Splits:
    """Look for near-copies of test images, and leave out those that are labeled or unlabeled if that is wanted.

    What was found is kept in the store, for looking takes about a minute for 60,000 images; a store that can't be written is looked
    through again.
    """
    path = folder / f"near-{splits.leaks.policy}"
    known = _known_near(path)
    if known is None:
        start, many = time.perf_counter(), len(splits.labeled) + len(splits.unlabeled) + len(splits.test) > _MANY
        if many:
            _log.info("looking for near-copies of test images; this is done once")
        near, *rows = find_near(splits.labeled, splits.unlabeled, splits.test, policy="drop")
        labeled, unlabeled = (
            np.setdiff1d(np.arange(len(images)), stay)
            for images, stay in zip((splits.labeled, splits.unlabeled), rows, strict=True)
        )
        known = _Known(near, labeled, unlabeled, _pairs(splits, near))
        if many:
            _log.info(f"{near.dropped:,} found after {time.perf_counter() - start:.1f} s")
        try:
            _keep_near(path, known)
        except OSError as error:
            _log.warning(f"{path}: can't be written ({error.strerror}); near-copies are looked for again the next time")
    found = replace(splits, near=replace(known.near, policy=policy), near_pairs=known.pairs)
    if policy == "keep":
        return found
    labeled, unlabeled = (
        np.setdiff1d(np.arange(len(images)), rows)
        for rows, images in ((known.labeled, splits.labeled), (known.unlabeled, splits.unlabeled))
    )
    return replace(
        found,
        labeled=_keep(splits.labeled, labeled),
        unlabeled=_keep(splits.unlabeled, unlabeled),
        folds=renumbered(splits.folds, labeled, len(splits.labeled)),
    )


@dataclass(frozen=True)
class _Known:
    """What a search found: rows of the labeled and of the unlabeled images that are near-copies of test images, and some pairs."""

    near: Near
    labeled: NDArray[np.intp]
    unlabeled: NDArray[np.intp]
    pairs: NDArray[np.uint8]


def _pairs(splits: Splits, near: Near) -> NDArray[np.uint8]:
    """Return some pairs with test images, best first: (pairs, 2, c, h, w)."""
    shown = sorted(
        (-score, name, first, second)
        for name in ("unlabeled", "labeled")
        for first, second, score, _turned in near.examples.get(f"{name} in test", ())
    )
    rows = [
        np.stack([getattr(splits, name).take(np.array([first]))[0], splits.test.take(np.array([second]))[0]])
        for _score, name, first, second in shown
    ]
    return np.stack(rows) if rows else np.empty((0, 2, *splits.test.shape), dtype=np.uint8)


def _keep_near(path: Path, known: _Known) -> None:
    write_arrays(path.with_suffix(".npz"), labeled=known.labeled, unlabeled=known.unlabeled, pairs=known.pairs)
    near = {"version": NEAR_VERSION, "near": asdict(known.near), "arrays": digest_file(path.with_suffix(".npz"))}
    write_sealed(path.with_suffix(".json"), near)


def _known_near(path: Path) -> _Known | None:
    """Read what an earlier search found, if it is there and whole."""
    arrays = path.with_suffix(".npz")
    try:
        told, content = read_sealed(path.with_suffix(".json")), read_bytes(arrays)
        if told.get("version") != NEAR_VERSION or told.get("arrays") != digest_content(arrays, content):
            return None
        near = Near(**told["near"])
        examples = {name: tuple((a, b, c, d) for a, b, c, d in pairs) for name, pairs in near.examples.items()}
        return _Known(replace(near, examples=examples), **parse_arrays(arrays, content))
    except (DamagedFile, LookupError, TypeError, ValueError):
        return None


def digest(image: NDArray[np.uint8], size: str = "") -> bytes:
    """Return the SHA-256 of an image's bytes, after a text that tells its size where sizes differ."""
    sha = hashlib.sha256(size.encode())
    sha.update(np.ascontiguousarray(image).data)
    return sha.digest()


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
        if alone or age_of(folder) > _DAY:
            shutil.rmtree(folder, ignore_errors=True)
    sweep(cache / "index")
