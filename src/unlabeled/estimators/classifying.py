"""The networks as classifiers: of labels alone, and with unlabeled rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from unlabeled.config import TrainingConfig
from unlabeled.estimators.autoencoding import MOST_SEED
from unlabeled.estimators.inputs import ImageInput
from unlabeled.images import Images
from unlabeled.networks.models import ConvNet
from unlabeled.networks.strong import StrongNet, most_blocks
from unlabeled.training import fit as train
from unlabeled.training.beside import Beside
from unlabeled.training.labelling import balance, prior_of
from unlabeled.training.measuring import predict
from unlabeled.training.objectives import Classification, SelfTraining
from unlabeled.training.runtime import Runtime, seeded

_UNLABELED = -1


class _NetworkClassifier(ClassifierMixin, ImageInput):
    """What both have in common: probabilities and answers of a trained network."""

    network_: nn.Module
    classes_: NDArray[Any]
    flip: bool

    def predict_proba(self, X: Any) -> NDArray[np.float32]:  # noqa: N803 - scikit-learn's name
        """Return the probabilities (n, classes) of images."""
        check_is_fitted(self)
        images = self._images(X, reset=False)
        return predict(self.network_, images, flip=self.flip, runtime=Runtime.of("cpu"))[:, : len(self.classes_)]

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return the likeliest class of each image."""
        chances = self.predict_proba(X)
        answers: NDArray[Any] = self.classes_[chances.argmax(axis=1)]
        return answers

    def _checked(self, X: Any, y: Any) -> tuple[NDArray[Any], NDArray[Any]]:  # noqa: N803
        X, y = validate_data(self, X, y, reset=True, allow_nd=True, dtype="numeric", ensure_min_samples=2)  # noqa: N806
        check_classification_targets(y)
        return X, y


class ConvNetClassifier(_NetworkClassifier):
    """A convolutional network of labels alone.

    Parameters
    ----------
    image_shape
        (channels, height, width) of rows of numbers; images need none.
    conv_out_channels, conv_kernel_size, conv_padding, pool_kernel_size
        Of each block, or one number for all.
    hidden, dropout
        Widths of hidden linear layers; the share that is dropped before each linear layer.
    epochs, batch_size, learning_rate, weight_decay, flip, shift
        How it is trained, by Adam; whether images are mirrored, and by how many pixels they are moved.
    random_state
        Of first weights, orders and augmentation.
    device
        Where to compute: auto, cpu, cuda, mps.

    Attributes
    ----------
    classes_, network_, input_size_
        The labels, the trained network, and the (channels, height, width) that it takes.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] | None = None,
        *,
        conv_out_channels: int | Sequence[int] = (16, 32),
        conv_kernel_size: int | Sequence[int] = 3,
        conv_padding: int | Sequence[int] = 1,
        pool_kernel_size: int | Sequence[int] = 2,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        epochs: int = 30,
        batch_size: int = 32,
        learning_rate: float = 5e-3,
        weight_decay: float = 1e-4,
        flip: bool = False,
        shift: int = 0,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.image_shape = image_shape
        self.conv_out_channels = conv_out_channels
        self.conv_kernel_size = conv_kernel_size
        self.conv_padding = conv_padding
        self.pool_kernel_size = pool_kernel_size
        self.hidden = hidden
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.flip = flip
        self.shift = shift
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any) -> ConvNetClassifier:  # noqa: N803
        """Train on labeled images."""
        X, y = self._checked(X, y)  # noqa: N806
        self.classes_, numbers = np.unique(y, return_inverse=True)
        images = self._as_images(X, reset=True, labels=numbers.astype(np.int64))
        seed = int(check_random_state(self.random_state).randint(MOST_SEED))
        with seeded(seed):
            self.network_ = ConvNet(
                images.shape,
                classes=max(2, len(self.classes_)),
                conv_out_channels=self.conv_out_channels,
                conv_kernel_size=self.conv_kernel_size,
                conv_padding=self.conv_padding,
                conv_stride=1,
                pool_kernel_size=self.pool_kernel_size,
                pool_stride=self.pool_kernel_size,
                hidden=tuple(self.hidden),
                dropout=self.dropout,
            )
        config = TrainingConfig(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate, weight_decay=self.weight_decay,
            flip=self.flip, shift=self.shift,
        )  # fmt: skip
        fitted = train(
            self.network_,
            Classification(),
            images,
            valid=None,
            config=config,
            seed=seed,
            runtime=Runtime.of(self.device),
        )
        self.network_.cpu()
        self.n_iter_ = len(fitted.history)
        return self


class SelfTrainedClassifier(_NetworkClassifier):
    """The strong network as its own teacher: rows with the label -1 have none, and are learned from by what a first network says of them.

    Where -1 and one other number are all labels there are, -1 is a class like any other. Without unlabeled rows the second network learns
    what the first one says of the labeled ones.

    Parameters
    ----------
    image_shape
        (channels, height, width) of rows of numbers; images need none.
    widths
        Channels of each block.
    steps, batch_size, learning_rate, weight_decay, flip, shift, cutout, operations, smoothing
        How both networks are trained, by Nesterov's momentum; see ``TrainingConfig``.
    ratio
        Images without a label beside each labeled one of a batch.
    balance
        How far pseudo-labels are scaled so that classes are as frequent as among the labels, in [0, 1].
    random_state
        Of first weights, orders and augmentation.
    device
        Where to compute: auto, cpu, cuda, mps.

    Attributes
    ----------
    classes_, network_, teacher_, input_size_
        The labels, the trained network, the first one, and the (channels, height, width) that they take.
    transduction_
        The label of each row: its own, or what the first network says.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] | None = None,
        *,
        widths: Sequence[int] = (32, 64),
        steps: int = 300,
        batch_size: int = 64,
        learning_rate: float = 0.1,
        weight_decay: float = 5e-4,
        flip: bool = False,
        shift: int = 0,
        cutout: int = 0,
        operations: int = 0,
        smoothing: float = 0.1,
        ratio: int = 3,
        balance: float = 0.5,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.image_shape = image_shape
        self.widths = widths
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.flip = flip
        self.shift = shift
        self.cutout = cutout
        self.operations = operations
        self.smoothing = smoothing
        self.ratio = ratio
        self.balance = balance
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any) -> SelfTrainedClassifier:  # noqa: N803
        """Train on images of which some have a label, and others -1."""
        X, y = self._checked(X, y)  # noqa: N806
        unlabeled = _without_label(y)
        self.classes_, numbers = np.unique(y[~unlabeled], return_inverse=True)
        every = self._as_images(X, reset=True)
        labeled = Images(every.pixels[~unlabeled], numbers.astype(np.int64))
        seed = int(check_random_state(self.random_state).randint(MOST_SEED))
        runtime = Runtime.of(self.device)
        config = self._training()
        self.teacher_ = self._new(labeled, seed, every)
        train(
            self.teacher_,
            Classification(config.smoothing),
            labeled,
            valid=None,
            config=config,
            seed=seed,
            runtime=runtime,
        )
        pool = Images(every.pixels[unlabeled]) if unlabeled.any() else Images(labeled.pixels)
        told = predict(self.teacher_.to(runtime.device), pool, flip=self.flip, runtime=runtime)
        targets = balance(told, prior_of(labeled.classes, told.shape[1]), strength=self.balance)
        small = max(1, config.batch_size // (1 + self.ratio))
        student = config.model_copy(update={"batch_size": small, "beside_ratio": self.ratio})
        self.network_ = self._new(labeled, seed + 1, every)
        train(
            self.network_, SelfTraining(config.smoothing), labeled, valid=None, config=student, beside=Beside(pool, targets), seed=seed,
            runtime=runtime,
        )  # fmt: skip
        self.teacher_.cpu()
        self.network_.cpu()
        self.transduction_ = y.copy()
        if unlabeled.any():
            self.transduction_[unlabeled] = self.classes_[told[:, : len(self.classes_)].argmax(axis=1)]
        self.n_iter_ = self.steps
        return self

    def _training(self) -> TrainingConfig:
        return TrainingConfig(
            optimizer="sgd", nesterov=True, schedule="linear", warmup=0.1, keep="last", steps=self.steps, batch_size=self.batch_size,
            learning_rate=self.learning_rate, weight_decay=self.weight_decay, flip=self.flip, shift=self.shift, cutout=self.cutout,
            operations=self.operations, smoothing=self.smoothing,
        )  # fmt: skip

    def _new(self, labeled: Images, seed: int, whitened: Images) -> StrongNet:
        with seeded(seed):
            widths = tuple(self.widths)[: most_blocks(labeled.shape)]
            network = StrongNet(labeled.shape, classes=max(2, len(self.classes_)), widths=widths)
        network.set_whitening(whitened)
        return network


def _without_label(y: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows have no label."""
    none = np.zeros(len(y), dtype=bool)
    if y.dtype.kind in "if":
        none = y == _UNLABELED
    elif y.dtype.kind == "O":
        none = np.array([isinstance(one, int | float) and one == _UNLABELED for one in y])
    return none if len(np.unique(y[~none])) > 1 else np.zeros(len(y), dtype=bool)
