"""Images that a training sees beside its labeled ones, and what it is told of them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.errors import DataError
from unlabeled.images import Images
from unlabeled.images.augmentation import Augmentation
from unlabeled.images.batches import Turns


@dataclass(frozen=True)
class Beside:
    """Unlabeled images beside labeled ones, as many for each as ``TrainingConfig.beside_ratio`` says.

    Attributes
    ----------
    images
        The images; classes that they may have are not looked at.
    targets
        Probabilities of classes, float32 (n, classes) with rows as ``images`` has them; None if there are none. A row may add up to
        less than 1: then the image counts less.
    taught
        Whether the targets are what the averaged weights (``TrainingConfig.average``) make of the image at each step.
    augmentation
        How the images are changed; None is as the labeled ones.
    weak
        How those are changed that the averaged weights see; None is not at all.
    """

    images: Images
    targets: NDArray[np.float32] | None = None
    taught: bool = False
    augmentation: Augmentation | None = None
    weak: Augmentation | None = None

    def __post_init__(self) -> None:
        if len(self.images) == 0:
            raise DataError("there are no images beside the labeled ones; give one or more, or beside=None")
        if self.targets is None:
            return
        if self.taught:
            raise ValueError("give targets or taught=True, not both")
        if self.targets.ndim != 2 or len(self.targets) != len(self.images) or self.targets.dtype != np.float32:
            raise DataError(
                f"targets are {self.targets.dtype} {self.targets.shape}; give float32 ({len(self.images)}, classes), a row an image"
            )
        if not np.isfinite(self.targets).all() or self.targets.min() < 0:
            raise DataError("targets are probabilities; these hold numbers below 0 or none at all")

    @property
    def has_targets(self) -> bool:
        """Whether a step has targets for these images."""
        return self.targets is not None or self.taught

    @property
    def key(self) -> list[Any]:
        """What of these decides the outcome of a training."""
        digest = None if self.targets is None else hashlib.sha256(self.targets.tobytes()).hexdigest()
        told = [digest, self.taught, *(None if way is None else asdict(way) for way in (self.augmentation, self.weak))]
        return [digest_of(self.images), *(told if any(told) else [])]


class Company:
    """Draws what comes beside the batches of an epoch; ``passed`` labeled images had their company before.

    Drawn for a batch as a whole, so that all processes draw alike; each takes what belongs to its labeled images.
    """

    def __init__(self, beside: Beside, usual: Augmentation, *, ratio: int, seed: int, passed: int) -> None:
        self.beside, self.ratio = beside, ratio
        self._change = usual if beside.augmentation is None else beside.augmentation
        self._turns = Turns(len(beside.images), seed, passed * ratio, beside.images.bounds)

    def next(self, size: int, own: np.ndarray, random: np.random.Generator) -> Drawn:
        """Return what comes beside the labeled images ``own`` of a batch of ``size``."""
        rows = self._turns.next(size * self.ratio)
        mine = (own[:, None] * self.ratio + np.arange(self.ratio)).reshape(-1)
        pixels = self.beside.images.take(rows)
        changed = self._change(pixels, random)[mine]
        shown = None
        if self.beside.taught:
            shown = pixels[mine] if self.beside.weak is None else self.beside.weak(pixels, random)[mine]
        targets = None if self.beside.targets is None else self.beside.targets[rows[mine]]
        return Drawn(changed, targets, shown, self.ratio)


@dataclass(frozen=True)
class Drawn:
    """Images beside a batch, uint8 (m, c, h, w): pixels to learn from, their targets (m, classes), pixels for the averaged weights.

    They belong to the labeled ones in order, ``ratio`` to each.
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[np.float32] | None
    shown: NDArray[np.uint8] | None
    ratio: int

    def of(self, part: NDArray[np.intp]) -> Drawn:
        """Return those of a run of labeled images, their places from first to last."""
        mine = slice(part[0] * self.ratio, (part[-1] + 1) * self.ratio)
        targets = None if self.targets is None else self.targets[mine]
        shown = None if self.shown is None else self.shown[mine]
        return Drawn(self.pixels[mine], targets, shown, self.ratio)


def digest_of(images: Images) -> str:
    """Condense images: their number, classes, and the pixels of some spread over all."""
    some = np.unique(np.linspace(0, len(images) - 1, 64).astype(np.intp))
    content = hashlib.sha256(f"{len(images)} {images.shape}".encode() + images.take(some).tobytes())
    if images.labels is not None:
        content.update(np.ascontiguousarray(images.classes).tobytes())
    return content.hexdigest()
