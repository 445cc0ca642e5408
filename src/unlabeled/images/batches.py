"""Which images come next: in their order, or by turns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def batches(n: int, size: int) -> Iterator[np.ndarray]:
    """Yield the indices 0..n-1 in order, ``size`` at a time; the last batch may be short."""
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))


class Turns:
    """Whose turn it is among n, in one random order after the other; ``taken`` have had theirs.

    Where it stands follows from that number alone, so that a resumed training goes on with the same images.
    """

    def __init__(self, n: int, seed: int, taken: int) -> None:
        self.n, self.seed, self.taken = n, seed, taken
        self._round, self._order = -1, np.empty(0, dtype=np.intp)

    def next(self, count: int) -> np.ndarray:
        """Return the next so many."""
        parts: list[np.ndarray] = []
        while count > 0:
            number, place = divmod(self.taken, self.n)
            if number != self._round:
                self._round, self._order = number, np.random.default_rng([self.seed, number, 4]).permutation(self.n)
            parts.append(self._order[place : place + count])
            self.taken += len(parts[-1])
            count -= len(parts[-1])
        return np.concatenate(parts)
