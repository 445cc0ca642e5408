"""The sparse autoencoder on patches, its filters as a convolution, as a transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from unlabeled.estimators.autoencoding import MOST_SEED
from unlabeled.estimators.inputs import ImageInput
from unlabeled.evaluation.convolved import PatchEncoder, map_features
from unlabeled.images.patches import Preparation, cut_patches, prepare
from unlabeled.networks.sparse import SparseAutoencoder, SparseReconstruction, fit_full_batch
from unlabeled.training.runtime import Runtime, seeded


class SparsePatchTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ImageInput):
    """Images to the pooled activations of filters that a sparse autoencoder has learned on their patches, without labels.

    Parameters
    ----------
    image_shape
        (channels, height, width) of rows of numbers; images need none.
    side, patches
        Pixels of a patch's side (less where images are smaller), and how many are cut at random places.
    hidden
        Filters.
    preparation
        "whitening" or "clip", as ``unlabeled.prepare`` has them.
    rho, beta, decay
        Mean activation that is wanted, weight of the penalty for others, L2.
    iterations
        Of L-BFGS on all patches at once, at the most.
    stride, grid
        Pixels from one patch to the next; the maps are pooled to grid x grid means.
    random_state
        Of patches and first weights.

    Attributes
    ----------
    encoder_, filters_
        The convolution, and its filters (hidden, c, side, side).
    input_size_
        (channels, height, width) that it takes.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] | None = None,
        *,
        side: int = 6,
        patches: int = 2000,
        hidden: int = 32,
        preparation: Preparation = "whitening",
        rho: float = 0.06,
        beta: float = 3.0,
        decay: float = 1e-4,
        iterations: int = 100,
        stride: int = 2,
        grid: int = 2,
        random_state: Any = None,
    ) -> None:
        self.image_shape = image_shape
        self.side = side
        self.patches = patches
        self.hidden = hidden
        self.preparation = preparation
        self.rho = rho
        self.beta = beta
        self.decay = decay
        self.iterations = iterations
        self.stride = stride
        self.grid = grid
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Features are of single precision, whatever the images are.
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> SparsePatchTransformer:  # noqa: N803 - scikit-learn's name
        """Learn filters on patches of images; ``y`` is not looked at."""
        del y
        images = self._images(X, reset=True)
        seed = int(check_random_state(self.random_state).randint(MOST_SEED))
        some = cut_patches(images, self.patches, side=min(self.side, *images.shape[1:]), seed=seed)
        with seeded(seed):
            model = SparseAutoencoder(prepare(some, self.preparation), (self.hidden,))
        pixels = some.take(np.arange(len(some))).astype(np.float32) / 127.5 - 1
        objective = SparseReconstruction(self.rho, self.beta, self.decay)
        fitted = fit_full_batch(model, objective, pixels, iterations=self.iterations)
        self.encoder_ = PatchEncoder.of(model, stride=self.stride)
        self.filters_ = self.encoder_.convolution.weight.detach().numpy().copy()
        self.n_iter_ = max(1, len(fitted.losses))
        self._n_features_out = map_features(
            self.encoder_, images.subset([0]), self.grid, runtime=Runtime.of("cpu")
        ).shape[1]
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """Return the pooled activations (n, hidden * grid * grid) of images."""
        check_is_fitted(self)
        return map_features(self.encoder_, self._images(X, reset=False), self.grid, runtime=Runtime.of("cpu"))
