"""What runs are made of, said in values alone: autoencoders, filters of patches, features."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unlabeled.config import AutoencoderConfig, EncoderConfig, SparseGrid, TrainingConfig
from unlabeled.patches import Preparation

Source: TypeAlias = Literal["pixels", "random", "filters", "pca", "autoencoder", "patches"]
Pooling: TypeAlias = Literal["whole", "quadrants", "grid"]
Filters: TypeAlias = Literal["sparse", "random", "centroids", "hand-made"]
Solver: TypeAlias = Literal["full batch", "batches"]


@dataclass(frozen=True)
class Learned:
    """An autoencoder: its shape, how it is trained, on how many unlabeled images (None: all), and its seed."""

    encoder: EncoderConfig
    config: AutoencoderConfig
    seed: int
    images: int | None = None
    source: ClassVar[str] = "autoencoder"


@dataclass(frozen=True)
class PatchesLearned:
    """Filters learned on patches of unlabeled images (or, of kind "random" and "hand-made", not learned): how, and the seed."""

    seed: int
    kind: Filters
    side: int
    patches: int
    hidden: tuple[int, ...]
    preparation: Preparation
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


@dataclass(frozen=True)
class FeatureSpec:
    """Where features come from.

    ``encoder`` gives the shape, ``learned`` the trained one, or the filters of patches, which take ``stride``; the others leave them
    out. ``grid`` is the side to which maps are pooled.
    """

    source: Source
    encoder: EncoderConfig | None = None
    learned: Learned | PatchesLearned | None = None
    seed: int | None = None
    pooling: Pooling = "whole"
    stride: int | None = None
    grid: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what determines the features, the trained encoder apart."""
        encoder = None if self.encoder is None else self.encoder.model_dump(mode="json")
        more = {name: value for name in ("stride", "grid") if (value := getattr(self, name)) is not None}
        return {"source": self.source, "encoder": encoder, "seed": self.seed, "pooling": self.pooling} | more


@dataclass(frozen=True)
class Features:
    """Features of the labeled and of the test images, float32 (n, d)."""

    labeled: NDArray[np.float32]
    test: NDArray[np.float32]
