"""What of a shard stands in other splits too: exact copies and near-copies, found a shard at a time. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.images import Images
from unlabeled.images.leaks import Policy, view_as_keys
from unlabeled.images.near import find_pairs
from unlabeled.images.shardfiles import ShardFile
from unlabeled.images.store import digests_of


@dataclass(frozen=True)
class Copies:
    """What was found in one shard.

    Attributes
    ----------
    leave
        Rows to leave out, rising.
    exact, near
        Copies and near-copies by relation ("unlabeled_in_test").
    tests
        Test images with a near-copy here.
    """

    leave: tuple[int, ...]
    exact: Mapping[str, int]
    near: Mapping[str, int]
    tests: frozenset[int]


def copies_of(
    split: str, shards: Sequence[ShardFile], *, leaks: Policy, near: Policy, jobs: int
) -> dict[ShardFile, Copies]:
    """Compare each shard of a split with the test images, and unlabeled ones with the labeled ones too, in processes."""
    from joblib import delayed

    from unlabeled.processes import in_processes

    names = {"labeled": ("test",), "unlabeled": ("test", "labeled"), "test": ()}[split]
    others = {name: [shard for shard in shards if shard.split == name] for name in names}
    keys = {name: _sorted_keys(some) for name, some in others.items()}
    mine = [shard for shard in shards if shard.split == split]
    calls = (delayed(find_copies)(shard, keys, others, leaks=leaks, near=near) for shard in mine)
    return dict(zip(mine, in_processes(calls, jobs=jobs), strict=True)) if mine else {}


def find_copies(
    shard: ShardFile,
    keys: Mapping[str, NDArray[Any]],
    others: Mapping[str, Sequence[ShardFile]],
    *,
    leaks: Policy,
    near: Policy,
) -> Copies:
    """Look for copies in one shard; ``keys`` and ``others`` are digests and shards of the splits that it is compared with."""
    pixels = shard.pixels
    leaves, exact, nearly = np.zeros(len(pixels), dtype=np.bool_), {}, {}
    tests: frozenset[int] = frozenset()
    own = _keys(pixels) if keys else np.empty(0, "S32")
    for name, known in keys.items():
        copied = np.isin(own, known)
        exact[f"{shard.split}_in_{name}"] = int(copied.sum())
        leaves |= copied & (leaks == "drop")
    if near == "drop" and others:
        rows = np.flatnonzero(~leaves)
        splits = {
            shard.split: Images(pixels, None, rows),
            **{name: _joined(some, shard) for name, some in others.items()},
        }
        for (_, name), pairs in find_pairs(splits, relations=[(shard.split, name) for name in others])[1].items():
            alike = np.unique(pairs.first)
            nearly[f"{shard.split}_in_{name}"] = len(alike)
            if name == "test":
                leaves[rows[alike]] = True
                tests = frozenset(pairs.second.tolist())
    return Copies(tuple(np.flatnonzero(leaves).tolist()), exact, nearly, tests)


def _joined(shards: Sequence[ShardFile], like: ShardFile) -> Images:
    """Return the images of some shards in memory: those that others are compared with are few."""
    none = np.zeros((0, *like.size), dtype=np.uint8)
    return Images(np.concatenate([none, *(shard.pixels for shard in shards)]))


def _keys(pixels: NDArray[np.uint8]) -> NDArray[Any]:
    return view_as_keys(digests_of(pixels))


def _sorted_keys(shards: Sequence[ShardFile]) -> NDArray[Any]:
    return np.unique(np.concatenate([np.empty(0, "S32"), *(_keys(shard.pixels) for shard in shards)]))
