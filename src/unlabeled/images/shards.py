"""Write images as shards, in parallel, and open them: what is beyond one disk, or is read over a network. Knows nothing of torch."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from unlabeled.console.plain import printable
from unlabeled.errors import DamagedFile, DataError, UserError
from unlabeled.images import Images, Leaks, Near, Splits
from unlabeled.images.fitting import Fit
from unlabeled.images.leaks import Policy, near_policy
from unlabeled.images.shardcopies import Copies, copies_of
from unlabeled.images.sharded import Shard, ShardedPixels, Shelf
from unlabeled.images.shardfiles import ShardFile, path_of, put, read_labels, shards_in
from unlabeled.images.writer import SPLITS
from unlabeled.keeping.caching import expand
from unlabeled.keeping.digests import digest_whole
from unlabeled.keeping.files import fingerprint, read_sealed, write_sealed
from unlabeled.keeping.locks import locked

INDEX = "index.json"
SHARD_BYTES = 1 << 27  # pixels of a shard, about
_VERSION = 1
_WAY_OUT = "write it again with finish_shards; what unlabeled data pack wrote, pack again"
_NAME = re.compile(r"(labeled|unlabeled|test)-\d{6,}\.shard")
_DIGEST = re.compile("[0-9a-f]{64}")
_MOST_CLASSES = 1 << 31


def write_shard(
    folder: str | Path,
    split: str,
    number: int,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.integer[Any]] | None = None,
) -> Path:
    """Write some images of a split as one shard, and return its path; any number of processes and machines may do so at a time.

    The same split and number again takes the place of what was there. ``finish_shards`` makes a data set of all of them.

    Parameters
    ----------
    folder
        Where all shards lie.
    split
        ``labeled``, ``unlabeled`` or ``test``.
    number
        Which shard of the split this is, from 0 on; numbers need not follow one another.
    pixels
        uint8 (n, c, h, w), n at least 1; the same size in all shards. About 128 MiB are a good size.
    labels
        (n,) from 0 on, of labeled and test images.

    Raises
    ------
    DataError
        If the split is unknown, the arrays are no images or labels, or there are none.
    """
    if split not in SPLITS:
        raise DataError(f"split {split!r}: is none; use {', '.join(SPLITS)}")
    images = Images(pixels, None if labels is None else np.asarray(labels))
    if (labels is None) != (split == "unlabeled"):
        raise DataError(f"{split} images {'have no labels; leave them out' if split == 'unlabeled' else 'need labels'}")
    if not len(images) or type(number) is not int or number < 0:
        raise DataError(f"{len(images)} images as shard {number!r}; give at least one, and a whole number from 0 on")
    if images.labels is not None and int(images.labels.max()) >= _MOST_CLASSES:
        raise DataError(f"labels hold {images.labels.max()}; they are whole numbers from 0 on, one a class")
    path = path_of(expand(folder), split, number)
    put(path, split, pixels, images.labels)
    return path


def finish_shards(
    folder: str | Path,
    class_names: Sequence[str],
    *,
    leaks: Policy = "drop",
    near: Policy = "drop",
    fit: str = "crop",
    notes: Sequence[str] = (),
    jobs: int = -1,
) -> Path:
    """Make a data set of the shards in a folder, and return the path of its index; ``shards:FOLDER`` is then data to run on.

    Exact and near-copies of test images, and unlabeled images that are labeled too, are left out as from any other source: the index says
    which, and the shards stay as they are. That is done a shard at a time, in processes.

    Parameters
    ----------
    folder
        Where ``write_shard`` wrote.
    class_names
        Name of each class, by its number.
    leaks, near
        ``drop`` or ``keep`` exact copies and near-copies; who keeps exact copies keeps near ones too.
    fit
        How images came to their size, for the protocol: ``crop``, ``pad`` or ``stretch``.
    notes
        What a reader of results has to know.
    jobs
        Processes; -1 is one a core.

    Raises
    ------
    DamagedFile, DataError
        If there are no shards, one is damaged, they differ in size, or a label has no name.
    """
    folder = expand(folder)
    for name, policy in (("leaks", leaks), ("near", near)):
        if policy not in get_args(Policy):
            raise DataError(f"{name}={policy!r}: give {' or '.join(get_args(Policy))}")
    if fit not in get_args(Fit):
        raise DataError(f"fit={fit!r}: give {' or '.join(get_args(Fit))}")
    files = shards_in(folder)
    _check_labels(files, len(class_names))
    near = near_policy(leaks, near)
    found: dict[ShardFile, Copies] = {}
    for split in SPLITS:
        found |= copies_of(split, files, leaks=leaks, near=near, jobs=jobs)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        digests = pool.map(digest_whole, [one.path for one in files])
        told = [
            Shard(one.path.name, len(one), digest, found[one].leave) for one, digest in zip(files, digests, strict=True)
        ]
    if changed := [one.path for one in files if one.changed]:
        raise DamagedFile(
            f"{printable(str(changed[0]))}: was written while it was looked through; finish again when all are written"
        )
    shards = {split: [shard for one, shard in zip(files, told, strict=True) if one.split == split] for split in SPLITS}
    exact, nearly = Counter[str](), Counter[str]()
    for copies in found.values():
        exact.update(copies.exact)
        nearly.update(copies.near)
    tests = frozenset[int]().union(*(copies.tests for copies in found.values()))
    about = {"class_names": list(class_names), "folds": [], "notes": list(notes), "origin": {"fit": fit}}
    alike = Near(
        near,
        unlabeled_in_test=nearly["unlabeled_in_test"],
        labeled_in_test=nearly["labeled_in_test"],
        unlabeled_in_labeled=nearly["unlabeled_in_labeled"],
        test_in_others=len(tests),
    )
    return _write_index(folder, shards, files[0].size, about, Leaks(leaks, **exact), alike)


def pack(splits: Splits, folder: str | Path, *, shard_bytes: int = SHARD_BYTES) -> Path:
    """Write the images of any source as shards, as many at a time as there are cores, and return the path of the index.

    What was found of copies is kept, and nothing is looked for again.

    Parameters
    ----------
    splits
        As ``load`` returns them.
    folder
        Where to write; it holds no shards yet.
    shard_bytes
        Pixels of one shard, bytes, about.

    Raises
    ------
    UserError
        If the folder holds shards already.
    """
    folder = expand(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        return _pack(splits, folder, shard_bytes)


def _pack(splits: Splits, folder: Path, shard_bytes: int) -> Path:
    if next(folder.glob("*.shard"), None) is not None:
        raise UserError(f"{printable(str(folder))}: holds shards already; give another folder, or delete it")
    parts = {"labeled": splits.labeled, "unlabeled": splits.unlabeled, "test": splits.test}
    size = splits.labeled.shape
    each = max(1, shard_bytes // int(np.prod(size)))
    pieces = [
        (split, number, np.arange(start, min(start + each, len(images))))
        for split, images in parts.items()
        for number, start in enumerate(range(0, len(images), each))
    ]

    def write(piece: tuple[str, int, NDArray[np.intp]]) -> Shard:
        split, number, rows = piece
        labels = None if split == "unlabeled" else parts[split].classes[rows]
        path = path_of(folder, split, number)
        put(path, split, parts[split].take(rows), labels, packed=True)
        return Shard(path.name, len(rows), digest_whole(path))

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        written = list(pool.map(write, pieces))
    shards = {
        split: [shard for (name, *_), shard in zip(pieces, written, strict=True) if name == split] for split in SPLITS
    }
    about = {
        "class_names": list(splits.class_names),
        "folds": [fold.tolist() for fold in splits.folds],
        "notes": list(splits.notes),
        "origin": {name: value for name, value in splits.origin.items() if name not in ("key", "counts")},
    }
    return _write_index(folder, shards, size, about, splits.leaks, replace(splits.near, examples={}))


def open_shards(place: str, cache: Path, *, size: tuple[int, int] | None = None) -> Splits:
    """Open the shards of a folder or of an address that fsspec knows.

    For their labels the labeled and test shards are fetched and compared, unlabeled ones when their images are wanted.

    Parameters
    ----------
    place
        Folder, or address like ``s3://bucket/photos``.
    cache
        Folder of the user's cache.
    size
        (height, width) that images must have, if that matters.

    Raises
    ------
    DamagedFile, DataError, UserError
        If the index is missing or damaged, images have another size, or an address can't be read.
    """
    shelf = Shelf(place, cache)
    index = shelf.fetch_index(INDEX)
    if not index.is_file():
        raise DataError(
            f"{printable(str(index))}: no such file; finish_shards writes it, and unlabeled data pack makes shards of any source"
        )
    told = read_sealed(index, way_out=_WAY_OUT)
    try:
        opened = _opened(shelf, told)
    except (LookupError, TypeError, ValueError):
        raise DamagedFile(f"{printable(str(index))}: does not tell of shards as it should; {_WAY_OUT}") from None
    _, height, width = opened.labeled.shape
    if size is not None and size != (height, width):
        raise DataError(
            f"shards:{printable(place)}: images of {width}x{height}, not {size[1]}x{size[0]}; leave out --side, or pack them again in "
            "that size"
        )
    return opened


def _opened(shelf: Shelf, told: Mapping[str, Any]) -> Splits:
    channels, height, width = (_at_least(side, 1) for side in told["shape"])
    labeled, unlabeled, test = (
        _open(shelf, [_shard(split, *one) for one in told["shards"][split]], (channels, height, width), split)
        for split in SPLITS
    )
    folds = tuple(np.asarray(fold, dtype=np.intp) for fold in told["folds"])
    if any(len(fold) and not 0 <= fold.min() <= fold.max() < len(labeled) for fold in folds):
        raise ValueError("folds")
    return Splits(
        labeled,
        unlabeled,
        test,
        class_names=tuple(map(str, told["class_names"])),
        folds=folds,
        leaks=Leaks(**told["leaks"]),
        notes=tuple(told["notes"]),
        origin={
            **told["origin"],
            "key": told["key"],
            "counts": {"labeled": len(labeled), "unlabeled": len(unlabeled), "test": len(test)},
        },
        near=Near(**told["near"]),
    )


def _at_least(number: Any, least: int) -> int:
    if type(number) is not int or number < least:
        raise ValueError(number)
    return number


def _shard(split: str, name: str, count: int, digest: str, without: Sequence[int]) -> Shard:
    rows = [_at_least(row, 0) for row in without]
    named = _NAME.fullmatch(name)
    sound = named is not None and named[1] == split and _DIGEST.fullmatch(digest) and rows == sorted(set(rows))
    if not sound or (rows and rows[-1] >= count):
        raise ValueError(name)
    return Shard(name, _at_least(count, 1), digest, tuple(rows))


def _open(shelf: Shelf, shards: Sequence[Shard], size: tuple[int, int, int], split: str) -> Images:
    pixels = ShardedPixels(shelf, shards, size)
    if split == "unlabeled":
        return Images(pixels)
    labels = [np.delete(_labels(shelf, one, size), one.without) for one in shards]
    return Images(pixels, np.concatenate([np.empty(0, dtype=np.int64), *labels]))


def _labels(shelf: Shelf, shard: Shard, size: tuple[int, int, int]) -> NDArray[np.int64]:
    return shelf.use(shard, lambda path: read_labels(path, (shard.count, *size)))


def _write_index(
    folder: Path,
    shards: Mapping[str, Sequence[Shard]],
    size: tuple[int, int, int],
    about: Mapping[str, Any],
    leaks: Leaks,
    near: Near,
) -> Path:
    listed = {
        split: [[one.name, one.count, one.digest, list(one.without)] for one in shards[split]] for split in SPLITS
    }
    key = fingerprint([_VERSION, size, [[one[1:] for one in listed[split]] for split in SPLITS], about])
    write_sealed(
        folder / INDEX,
        {"key": key, "shape": size, "shards": listed, **about, "leaks": asdict(leaks), "near": asdict(near)},
    )
    return folder / INDEX


def _check_labels(files: Sequence[ShardFile], classes: int) -> None:
    for one in files:
        if one.split != "unlabeled" and (most := int(one.labels.max())) >= classes:
            raise DataError(
                f"{printable(str(one.path))}: holds the label {most}, and there are names for {classes} classes, numbered from 0; name "
                "every class"
            )
