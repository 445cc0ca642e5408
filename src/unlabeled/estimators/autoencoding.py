"""The convolutional autoencoder as a transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from unlabeled.config import TrainingConfig
from unlabeled.estimators.inputs import ImageInput
from unlabeled.evaluation.features import encode
from unlabeled.networks.models import ConvAutoEncoder
from unlabeled.training import fit as train
from unlabeled.training.objectives import Reconstruction
from unlabeled.training.runtime import Runtime, seeded

MOST_SEED = 2**31 - 1


class ConvAutoEncoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ImageInput):
    """Images to the codes of a convolutional autoencoder, which learns them without labels.

    Parameters
    ----------
    image_shape
        (channels, height, width) of rows of numbers; images need none.
    conv_out_channels, conv_kernel_size, conv_padding, pool_kernel_size
        Of each block, or one number for all.
    switches
        Whether where a pool's maxima were goes round the code to the decoder.
    epochs, batch_size, learning_rate, weight_decay
        How it is trained, by Adam.
    random_state
        Of first weights and orders.
    device
        Where to compute: auto, cpu, cuda, mps.

    Attributes
    ----------
    autoencoder_
        The trained model.
    input_size_
        (channels, height, width) that it takes.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] | None = None,
        *,
        conv_out_channels: int | Sequence[int] = (16, 16),
        conv_kernel_size: int | Sequence[int] = 3,
        conv_padding: int | Sequence[int] = 1,
        pool_kernel_size: int | Sequence[int] = 2,
        switches: bool = True,
        epochs: int = 10,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-5,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.image_shape = image_shape
        self.conv_out_channels = conv_out_channels
        self.conv_kernel_size = conv_kernel_size
        self.conv_padding = conv_padding
        self.pool_kernel_size = pool_kernel_size
        self.switches = switches
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.random_state = random_state
        self.device = device

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Codes are of single precision, whatever the images are.
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> ConvAutoEncoderTransformer:  # noqa: N803 - scikit-learn's name
        """Train on images; ``y`` is not looked at."""
        del y
        images = self._images(X, reset=True)
        seed = int(check_random_state(self.random_state).randint(MOST_SEED))
        with seeded(seed):
            self.autoencoder_ = ConvAutoEncoder(
                images.shape,
                conv_out_channels=self.conv_out_channels,
                conv_kernel_size=self.conv_kernel_size,
                conv_padding=self.conv_padding,
                conv_stride=1,
                pool_kernel_size=self.pool_kernel_size,
                pool_stride=self.pool_kernel_size,
                switches=self.switches,
            )
        config = TrainingConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
        )
        fitted = train(
            self.autoencoder_,
            Reconstruction(),
            images,
            valid=None,
            config=config,
            seed=seed,
            runtime=Runtime.of(self.device),
        )
        self.autoencoder_.cpu()
        self.history_ = fitted.history
        self.n_iter_ = len(fitted.history)
        self._n_features_out = self.autoencoder_.encoder.geometry.code_length
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """Return the codes (n, code length) of images."""
        check_is_fitted(self)
        images = self._images(X, reset=False)
        return encode(self.autoencoder_.encoder, images, runtime=Runtime.of("cpu"))
