"""Which images come next: in their order, mixed, or by turns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from unlabeled.images import Images

# Images of so many shards are mixed with one another: about a GiB of shards as pack writes them, which a machine's memory holds.
MIXED_SHARDS = 8


def batches(n: int, size: int) -> Iterator[np.ndarray]:
    """Yield the indices 0..n-1 in order, ``size`` at a time; the last batch may be short."""
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))


def sizes(n: int, size: int) -> Iterator[int]:
    """Yield the sizes of an epoch's batches: ``size`` each; where the last would have less than a quarter of it, the last two share evenly.

    A step on one image counts as much as one on a whole batch, and a network that normalises over a batch learns from none: with 129 images
    and batches of 128 the strong network stays at chance.
    """
    whole, rest = divmod(n, size)
    shared = uneven(n, size)
    for _ in range(whole - shared):
        yield size
    if shared:
        yield (size + rest + 1) // 2
        yield (size + rest) // 2
    elif rest:
        yield rest


def uneven(n: int, size: int) -> bool:
    """Return whether an epoch's last two batches have to share, see ``sizes``."""
    return n > size and 0 < 4 * (n % size) < size


def mixed(images: Images, size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the indices of all images in a random order, in batches of the ``sizes`` of an epoch."""
    left = np.empty(0, dtype=np.intp)
    coming = sizes(len(images), size)
    wanted = next(coming, 1)
    for part in shuffled(len(images), random, images.bounds):
        left = np.concatenate([left, part])
        while len(left) >= wanted:
            yield left[:wanted]
            left = left[wanted:]
            wanted = next(coming, 1)


def shuffled(n: int, random: np.random.Generator, bounds: NDArray[np.intp] | None = None) -> Iterator[np.ndarray]:
    """Yield the indices 0..n-1 in a random order, in parts.

    Images in more than a few shards are read a few shards at a time: the shards come in a random order, eight of them are a part, and the
    part is mixed. So each shard is read once, and no more memory is taken however many there are. All others are one part.

    Parameters
    ----------
    n
        How many images.
    random
        Decides the order; as much is drawn of it however many shards there are.
    bounds
        Where the images of each shard begin, and n; None if they lie in no shards.
    """
    if bounds is None or len(bounds) - 1 <= MIXED_SHARDS:
        yield random.permutation(n)
        return
    # Parts are drawn when they are wanted, between other draws: so they have numbers of their own.
    own = np.random.default_rng(random.integers(1 << 62, size=2))
    order = own.permutation(len(bounds) - 1)
    for start in range(0, len(order), MIXED_SHARDS):
        some = order[start : start + MIXED_SHARDS]
        yield own.permutation(np.concatenate([np.arange(bounds[shard], bounds[shard + 1]) for shard in some]))


class Turns:
    """Whose turn it is among n, in one random order after the other; ``taken`` have had theirs.

    Where it stands follows from that number alone, so that a resumed training goes on with the same images. ``bounds`` as of ``shuffled``.
    """

    def __init__(self, n: int, seed: int, taken: int, bounds: NDArray[np.intp] | None = None) -> None:
        self.n, self.seed, self.taken, self.bounds = n, seed, taken, bounds
        self._round, self._ends = -1, 0
        self._parts: Iterator[np.ndarray] = iter(())
        self._part = np.empty(0, dtype=np.intp)

    def next(self, count: int) -> np.ndarray:
        """Return the next so many."""
        found: list[np.ndarray] = []
        while count > 0:
            number, place = divmod(self.taken, self.n)
            if number != self._round:
                self._round, self._ends = number, 0
                self._parts = shuffled(self.n, np.random.default_rng([self.seed, number, 4]), self.bounds)
            while place >= self._ends:
                self._part = next(self._parts)
                self._ends += len(self._part)
            begins = self._ends - len(self._part)
            found.append(self._part[place - begins : place - begins + count])
            self.taken += len(found[-1])
            count -= len(found[-1])
        return np.concatenate(found)
