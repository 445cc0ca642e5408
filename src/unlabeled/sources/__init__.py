"""Where images come from. Every source fills a store; ``load`` opens it."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path

import numpy as np

from unlabeled.config import Config
from unlabeled.errors import DamagedFile, DataError
from unlabeled.images import Images, Splits
from unlabeled.images.fitting import Wanted
from unlabeled.images.leaks import near_policy
from unlabeled.images.store import cache_folder, discard, open_store, without_near
from unlabeled.keeping.caching import expand

_log = logging.getLogger("unlabeled")


def load(config: Config, *, partly: bool = False) -> Splits:
    """Return the splits of ``config.data``, shrunken, leaks handled, and cut to the wanted sizes.

    With ``partly`` a split may be empty, for those who can do without.

    Raises
    ------
    DataError
        If the source is unknown, missing or damaged.
    """
    splits = _sharded(config, partly=partly) if config.source == "shards" else _from_store(config, partly=partly)
    for name, images in (("labeled", splits.labeled), ("unlabeled", splits.unlabeled), ("test", splits.test)):
        if len(images) == 0 and not partly:
            raise DataError(
                f"{config.data}: no {name} images, or none is left after exact and near copies were dropped; add some, or try --leaks keep"
            )
    unlabeled, test = _at_most(splits.unlabeled, config.unlabeled), _at_most(splits.test, config.test)
    return Splits(
        splits.labeled,
        unlabeled,
        test,
        splits.class_names,
        splits.folds,
        splits.leaks,
        splits.notes,
        splits.origin,
        splits.near,
        splits.near_pairs,
    )


def _from_store(config: Config, *, partly: bool) -> Splits:
    folder = prepare(config, partly=partly)
    try:
        splits = open_store(folder, leaks=config.leaks)
    except DamagedFile as error:
        _log.warning(f"{str(error).rpartition(';')[0]}; the images are read again from where they came")
        discard(folder)
        folder = prepare(config, partly=partly)
        splits = open_store(folder, leaks=config.leaks)
    return without_near(splits, folder, policy=near_policy(config.leaks, config.near))


def _sharded(config: Config, *, partly: bool) -> Splits:
    """Open shards, whose copies were looked for when they were written."""
    from unlabeled.images.shards import open_shards

    place = config.data.partition(":")[2]
    if not place:
        raise DataError("data 'shards' needs a path; write shards:FOLDER or shards:ADDRESS")
    splits = open_shards(place, cache_folder(config.cache), size=config.pixels if config.side else None)
    near = near_policy(config.leaks, config.near)
    for option, wanted, done in (("leaks", config.leaks, splits.leaks.policy), ("near", near, splits.near.policy)):
        if wanted != done and not partly:
            raise DataError(
                f"{config.data}: its index was written with copies {'dropped' if done == 'drop' else 'kept'}; give --{option} {done}, or "
                f"write it again with {wanted}"
            )
    return splits


def prepare(config: Config, *, partly: bool = False) -> Path:
    """Return the folder of the store, and fill it first if need be."""
    kind, _, path = config.data.partition(":")
    cache, wanted = cache_folder(config.cache), Wanted(config.pixels, config.fit)
    if kind == "shapes" and not path:
        from unlabeled.sources.shapes import store_shapes

        return store_shapes(config.shapes, cache, wanted)
    if kind == "digits" and not path:
        from unlabeled.sources.digits import store_digits

        return store_digits(cache, wanted)
    if kind == "stl10":
        from unlabeled.sources.download import find_stl10
        from unlabeled.sources.stl10 import store_stl10

        return store_stl10(find_stl10(Path(path) if path else None, cache), cache, wanted, partly=partly)
    if kind in _AT_A_PATH and path:
        module, name = _AT_A_PATH[kind]
        store = getattr(import_module(f"unlabeled.sources.{module}"), name)
        found: Path = store(expand(path), cache, wanted, partly=partly)
        return found
    if kind in _AT_A_PATH:
        raise DataError(f"data {kind!r} needs a path; write {kind}:PATH")
    raise DataError(_unknown(config.data))


# Kinds of data behind which a path stands: their modules, and what fills a store with them.
_AT_A_PATH = {
    "folder": ("folder", "store_folder"),
    "table": ("table", "store_table"),
    "coco": ("table", "store_table"),
    "hf": ("saved", "store_saved"),
    "arrays": ("arrays", "store_arrays"),
    "idx": ("arrays", "store_idx"),
    "cifar": ("arrays", "store_cifar"),
}
_KINDS = (
    "shapes, digits, stl10, stl10:PATH, folder:PATH, table:FILE.csv, coco:FILE.json, arrays:FILE.npz, hf:FOLDER (a data set that Hugging "
    "Face's datasets saved), idx:FOLDER (the MNIST family), cifar:FOLDER (its binary version) or shards:FOLDER (or an address; unlabeled "
    "data pack writes them); for example unlabeled run --data folder:photos"
)


def _unknown(data: str) -> str:
    path = expand(data) if "\0" not in data else None
    if path is not None and path.is_dir():
        return f"data {data!r} is not known; to use that folder, write folder:{data}"
    kind = {".csv": "table", ".tsv": "table", ".parquet": "table", ".json": "coco", ".npz": "arrays"}.get(
        "" if path is None else path.suffix.lower()
    )
    if path is not None and kind is not None and path.is_file():
        return f"data {data!r} is not known; to use that file, write {kind}:{data}"
    return f"data {data!r} is not known; use {_KINDS}"


def _at_most(images: Images, limit: int | None) -> Images:
    """Return a fixed random sample, in the images' own order."""
    if limit is None or limit >= len(images):
        return images
    chosen = np.random.default_rng(0).permutation(len(images))[:limit]
    return images.subset(np.sort(chosen))
