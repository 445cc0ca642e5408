"""What a page to explore shows: images, what is known of each, and the lists they stand in. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unlabeled.records import ArmKey

SPLITS = ("labeled", "unlabeled", "test")
UNKNOWN = -1  # of a label, and of a pseudo-label
Take = Callable[[NDArray[np.intp]], NDArray[np.uint8]]


@dataclass(frozen=True)
class Facts:
    """What is known of n images, in the page's order.

    Attributes
    ----------
    split
        Numbers of ``SPLITS``, uint8 (n,).
    label
        The class that an image is known to be of, int16 (n,), or ``UNKNOWN``.
    places
        Where the map has it, (n, 2) in [0, 1].
    chances
        Probabilities by the networks that use the unlabeled images, (n, classes); of a labeled image by those that it did not train.
    without
        The same by their baseline; None where that is no network.
    foreign
        Share of labeled images that the network has not trained on which lie nearer to their nearest labeled one, (n,) in [0, 1].
    labeled, unlabeled
        The nearest labeled and unlabeled images of the page, (n, k) each; of a labeled image by a network that it did not train.
    pseudo, used
        The class that a run took an image for, int16 (n,) or ``UNKNOWN``; whether it learned from that, bool (n,).
    names
        What images are called; files by their path below ``Explored.root``.
    """

    split: NDArray[np.uint8]
    label: NDArray[np.int16]
    places: NDArray[np.float32]
    chances: NDArray[np.float32]
    without: NDArray[np.float32] | None
    foreign: NDArray[np.float32]
    labeled: NDArray[np.intp]
    unlabeled: NDArray[np.intp]
    pseudo: NDArray[np.int16]
    used: NDArray[np.bool_]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.split)

    @property
    def guesses(self) -> NDArray[np.intp]:
        """The likeliest class of each image."""
        return self.chances.argmax(axis=1)

    @property
    def sure(self) -> NDArray[np.float32]:
        """How probable it is."""
        sure: NDArray[np.float32] = self.chances.max(axis=1)
        return sure


@dataclass(frozen=True)
class Pair:
    """Two near-copies on the page, and how well they agree, in [0, 1]."""

    first: int
    second: int
    agreement: float


@dataclass(frozen=True)
class Lists:
    """Images worth a look, by their places on the page, the clearest first.

    ``likely`` are the classes that look likelier than the labels of ``suspects``. ``kept`` and ``left_out`` are pseudo-labels that a
    run learned from and that it did not, by class; they are empty where no way of the run has any. ``counts`` says how many there are
    of a kind where not all are here.
    """

    uncertain: tuple[int, ...] = ()
    label_next: tuple[int, ...] = ()
    suspects: tuple[int, ...] = ()
    likely: tuple[int, ...] = ()
    copies: tuple[Pair, ...] = ()
    to_right: tuple[int, ...] = ()
    to_wrong: tuple[int, ...] = ()
    foreign: tuple[int, ...] = ()
    kept: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    left_out: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Explored:
    """All that a page to explore is made of.

    Attributes
    ----------
    classes
        Names, by number.
    shape
        (channels, height, width) of an image.
    take
        Copies the pixels of some images of the page, uint8 (k, c, h, w).
    facts, lists
        What is known of the images, and the lists.
    way, baseline
        What the networks have learned that are asked, and without the unlabeled images; the latter None where that is no network.
    teller
        The way whose pseudo-labels are shown; None where there are none.
    networks
        How many are asked.
    accuracy
        Share of all test images that are taken for what they are.
    totals
        Images of each split, of which the page may have a part.
    root
        The folder that files' names are relative to; None where images are no files.
    rebuild
        What the autoencoder makes of some images of the page, as ``take``; None where none was trained.
    """

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    take: Take
    facts: Facts
    lists: Lists
    way: ArmKey
    baseline: ArmKey | None
    teller: ArmKey | None
    networks: int
    accuracy: float
    totals: tuple[int, ...]
    root: str | None = None
    rebuild: Take | None = None
