"""What runs are made of, said in values alone: autoencoders, filters of patches, features. Knows nothing of torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unlabeled.config import AutoencoderConfig, EncoderConfig, SparseGrid, TrainingConfig

CodePooling: TypeAlias = Literal["whole", "quadrants"]
Filters: TypeAlias = Literal["sparse", "random", "matched", "centroids", "hand-made"]
Solver: TypeAlias = Literal["full batch", "batches"]


@dataclass(frozen=True)
class Learned:
    """An autoencoder: its shape, how it is trained, on how many unlabeled images (None: all), and its seed.

    With a ``fold`` it is the twin of one of unlabeled images: it learns from that fold's labeled training images, without their labels.
    """

    encoder: EncoderConfig
    config: AutoencoderConfig
    seed: int
    images: int | None = None
    fold: int | None = None
    source: ClassVar[str] = "autoencoder"


@dataclass(frozen=True)
class PatchesLearned:
    """Filters learned on patches of unlabeled images (or, of kind "random" and "hand-made", not learned): how, and the seed.

    Of kind "matched" they have the directions of random ones, but each the length and the threshold of a learned one.
    """

    seed: int
    kind: Filters
    side: int
    patches: int
    hidden: tuple[int, ...]
    preparation: Literal["whitening", "clip"]
    rho: float = 0.0
    beta: float = 0.0
    decay: float = 0.0
    solver: Solver = "full batch"
    iterations: int = 0
    training: TrainingConfig | None = None
    source: ClassVar[str] = "patches"

    @classmethod
    def of(cls, grid: SparseGrid, seed: int, **changes: Any) -> PatchesLearned:
        """Take a study's own settings, some of them changed."""
        names = ("side", "patches", "preparation", "rho", "beta", "decay", "iterations")
        own = {name: getattr(grid, name) for name in names} | {"kind": "sparse", "hidden": (grid.hidden,)} | changes
        if own.get("solver") == "batches":
            own |= {"training": grid.training, "iterations": 0}
        return cls(seed=seed, **own)

    def as_json(self) -> dict[str, Any]:
        """Return what determines the filters."""
        training = None if self.training is None else self.training.model_dump(mode="json")
        return asdict(replace(self, training=None)) | {"hidden": list(self.hidden), "training": training}


Pretrained: TypeAlias = Learned | PatchesLearned


@dataclass(frozen=True)
class PixelFeatures:
    """The pixels themselves."""

    source: ClassVar[str] = "pixels"
    pooling: ClassVar[str] = "whole"


@dataclass(frozen=True)
class ComponentFeatures:
    """Scores on the principal components of the unlabeled images, as many as the encoder's code has numbers at the most.

    With a ``fold`` they are those of that fold's labeled training images.
    """

    encoder: EncoderConfig
    fold: int | None = None
    source: ClassVar[str] = "pca"
    pooling: ClassVar[str] = "whole"


@dataclass(frozen=True)
class HandMadeCodes:
    """Codes of an encoder of this shape, of one block, whose filters are the hand-made ones."""

    encoder: EncoderConfig
    source: ClassVar[str] = "filters"
    pooling: ClassVar[str] = "whole"


@dataclass(frozen=True)
class RandomCodes:
    """Codes of an encoder of this shape with the initial weights of a seed."""

    encoder: EncoderConfig
    seed: int
    pooling: CodePooling = "whole"
    source: ClassVar[str] = "random"


@dataclass(frozen=True)
class LearnedCodes:
    """Codes of a trained autoencoder."""

    learned: Learned
    pooling: CodePooling = "whole"
    source: ClassVar[str] = "autoencoder"


@dataclass(frozen=True)
class LearnedMaps:
    """A trained autoencoder's maps, pooled to ``grid`` x ``grid`` means at the most."""

    learned: Learned
    grid: int
    source: ClassVar[str] = "autoencoder"
    pooling: ClassVar[str] = "grid"


@dataclass(frozen=True)
class PatchMaps:
    """Maps of filters of patches, every ``stride`` pixels, pooled to ``grid`` x ``grid`` means at the most, or whole (None)."""

    learned: PatchesLearned
    stride: int
    grid: int | None = None
    source: ClassVar[str] = "patches"

    @property
    def pooling(self) -> str:
        """Whether maps are pooled."""
        return "whole" if self.grid is None else "grid"


FeatureSpec: TypeAlias = (
    PixelFeatures | ComponentFeatures | HandMadeCodes | RandomCodes | LearnedCodes | LearnedMaps | PatchMaps
)


def pretrained(spec: FeatureSpec) -> Pretrained | None:
    """Return what has to be trained before there are these features."""
    return spec.learned if isinstance(spec, LearnedCodes | LearnedMaps | PatchMaps) else None


def encoder_of(spec: FeatureSpec) -> EncoderConfig | None:
    """Return the shape of the encoder that features come from, or are as long as the codes of."""
    encoder: EncoderConfig | None = getattr(spec, "encoder", None)
    return spec.learned.encoder if isinstance(spec, LearnedCodes | LearnedMaps) else encoder


def features_key(spec: FeatureSpec) -> dict[str, Any]:
    """Return what determines features, what was trained for them apart."""
    encoder = encoder_of(spec)
    key: dict[str, Any] = {
        "source": spec.source,
        "encoder": None if encoder is None else encoder.model_dump(mode="json"),
        "seed": spec.seed if isinstance(spec, RandomCodes) else None,
        "pooling": spec.pooling,
    }
    if isinstance(spec, PatchMaps):
        key["stride"] = spec.stride
    if isinstance(spec, LearnedMaps | PatchMaps) and spec.grid is not None:
        key["grid"] = spec.grid
    return key


@dataclass(frozen=True)
class Features:
    """Features of the labeled and of the test images, float32 (n, d)."""

    labeled: NDArray[np.float32]
    test: NDArray[np.float32]
