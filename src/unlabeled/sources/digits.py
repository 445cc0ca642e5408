"""scikit-learn's 8x8 digits (Alpaydin and Kaynak 1998): real, tiny, always at hand."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np

from unlabeled.errors import DataError
from unlabeled.images.fitting import Wanted
from unlabeled.images.shrinking import shrink
from unlabeled.images.store import digests_of, stored
from unlabeled.images.writer import Batch, Description, Piece

_MOST_SIDE = 64
_LABELED, _TEST = 300, 500  # of 1,797; the labels of the other 997 are hidden


def store_digits(cache: Path, wanted: Wanted) -> Path:
    """Put the digits into a store, grey, and return the store's folder.

    Raises
    ------
    DataError
        If they would be enlarged to more than eight times their size, which shows nothing more of them.
    """
    if max(wanted.size) > _MOST_SIDE:
        raise DataError(
            f"digits are 8x8 pixels, and --side {wanted.text} enlarges them too much; give {_MOST_SIDE} or less"
        )
    return stored(cache, ["digits", wanted.as_json()], "digits", (1, *wanted.size), lambda: read_digits(wanted))


def read_digits(wanted: Wanted) -> Generator[Piece]:
    """Yield the three splits."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.round(data.images * (255 / 16)).astype(np.uint8)[:, None]
    order = np.random.default_rng(0).permutation(len(pixels))
    parts = {
        "labeled": order[:_LABELED],
        "test": order[_LABELED : _LABELED + _TEST],
        "unlabeled": order[_LABELED + _TEST :],
    }
    for split, rows in parts.items():
        labels = None if split == "unlabeled" else data.target[rows]
        yield Batch(split, shrink(pixels[rows], wanted), digests_of(pixels[rows]), labels)
    yield Description([str(digit) for digit in range(10)], origin={"source": "digits", "fit": wanted.fit})
