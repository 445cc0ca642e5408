"""The sections that every run has: how models are trained, encoders, autoencoders, networks, classical models."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from unlabeled.images.augmentation import Augmentation
from unlabeled.images.batches import uneven

# One number for all layers, or one a layer; written as the specification takes it, a single number as a number.
PerLayer: TypeAlias = Annotated[
    tuple[int, ...],
    Field(min_length=1),
    BeforeValidator(lambda given: (given,) if isinstance(given, int) else given),
    PlainSerializer(lambda numbers: numbers[0] if len(numbers) == 1 else list(numbers)),
]
_MOST_COUNT = 2**31 - 1
_MOST_FLOAT = 1e38  # of single precision
Noise: TypeAlias = Literal["none", "gaussian", "masking"]


class Section(BaseModel):
    """A frozen section: unknown names are refused, text is described by the docstrings under the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def in_full(self, *, given: bool = False) -> dict[str, Any]:
        """Return all fields in JSON's types, also those that keys leave out; or only those that were given.

        What is merged or compared has to be whole: where a preset says otherwise, a field that is as the class has it tells something.
        """
        told = self.model_dump(mode="json", exclude_unset=given)
        for name in self.model_fields_set if given else type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Section):
                told[name] = value.in_full(given=given)
            elif name not in told:
                told[name] = value
        return {name: told[name] for name in type(self).model_fields if name in told}

    @model_validator(mode="after")
    def _fits(self) -> Section:
        """Refuse numbers that single precision, or a count in the libraries below, can't hold."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                limit = _MOST_COUNT if isinstance(number, int) else _MOST_FLOAT
                if isinstance(number, (int, float)) and abs(number) > limit:
                    raise ValueError(f"{name.replace('_', '-')} takes numbers of at most {limit:,}; it has {number:g}")
        return self


class TrainingConfig(Section):
    """How one network is trained."""

    optimizer: Literal["sgd", "adam", "adamw", "adagrad", "rmsprop"] = "adam"
    """Update rule."""
    learning_rate: float = Field(default=1e-3, gt=0, le=100)
    """Step size at its peak."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the last step kept (sgd, rmsprop)."""
    momentum_start: float | None = Field(default=None, ge=0, lt=1)
    """Momentum of the first step, from which it rises evenly to ``momentum`` (sgd); left out, it stays."""
    dampening: float = Field(default=0.0, ge=0, le=1)
    """Share of the gradient left out of the momentum (sgd)."""
    nesterov: bool = False
    """Nesterov's momentum (sgd; needs momentum above 0 and dampening 0)."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """L2 penalty; decoupled from the gradient for adamw."""
    schedule: Literal["constant", "cosine", "linear", "step"] = "cosine"
    """How the learning rate falls to 0 over the epochs; "step" divides it by 10 after a half and three quarters."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of all steps over which the learning rate first rises from 0."""
    batch_size: int = Field(default=128, ge=1)
    """Images a step."""
    accumulate: int = Field(default=1, ge=1, le=4096, exclude_if=lambda given: given == 1)
    """Parts of a batch that are computed one after the other, their gradients added up: for batches that memory does not hold at once.
    Normalisation sees a part at a time."""
    epochs: int = Field(default=20, ge=1)
    """Passes over the training images at the most."""
    # Left out of a run's key where it is as it was before, so that finished runs stay finished.
    steps: int | None = Field(default=None, ge=1, le=10**9, exclude_if=lambda given: given is None)
    """Steps in place of epochs: as many passes as hold so many, however many images there are; patience grows with the passes.
    Epochs that are asked for win over a preset's steps."""
    patience: int = Field(default=0, ge=0)
    """Epochs without a better validation loss after which training stops; 0 never stops early."""
    keep: Literal["best", "last"] = Field(default="best", exclude_if=lambda given: given == "best")
    """Weights to keep: of the epoch with the lowest validation loss, or of the last one, where the loss rises while accuracy does too."""
    flip: bool = False
    """Mirror half of the training images left to right."""
    shift: int = Field(default=0, ge=0, le=64)
    """Move training images by up to this many pixels each way; the edge is repeated."""
    cutout: int = Field(default=0, ge=0, le=64, exclude_if=lambda given: given == 0)
    """Side in pixels of a grey square put into each training image; 0 is none."""
    operations: int = Field(default=0, ge=0, le=8, exclude_if=lambda given: given == 0)
    """How many random operations on places, tones and colours each training image undergoes."""
    magnitude: float = Field(default=0.5, ge=0, le=1, exclude_if=lambda given: given == 0.5)
    """The most that an operation does, as a share of its range."""
    smoothing: float = Field(default=0.0, ge=0, lt=1, exclude_if=lambda given: given == 0)
    """Share of a label that is spread evenly over all classes."""
    average: float = Field(default=0.0, ge=0, lt=1, exclude_if=lambda given: given == 0)
    """Share of the averaged weights that stays at each step, and these are what is validated and kept; 0 takes the last step's."""
    beside_ratio: int = Field(default=1, ge=1, le=64, exclude_if=lambda given: given == 1)
    """Unlabeled images beside each labeled one of a batch, where a method trains on both at once."""

    @property
    def augmentation(self) -> Augmentation:
        """How training images are changed."""
        return Augmentation(
            flip=self.flip,
            shift=self.shift,
            cutout=self.cutout,
            operations=self.operations,
            magnitude=self.magnitude,
        )

    def steps_of(self, images: int) -> int:
        """Return the steps of a whole training on so many images."""
        return self.steps or self.epochs * math.ceil(images / self.batch_size)

    def batching(self, images: int) -> dict[str, str]:
        """Return what a key says of an epoch's batches: nothing, but where the last two share evenly what earlier versions did not."""
        return {"batches": "even"} if uneven(images, self.batch_size) else {}

    def in_epochs(self, images: int) -> TrainingConfig:
        """Return the same training on so many images, its length in epochs."""
        if self.steps is None:
            return self
        epochs = max(1, math.ceil(self.steps / math.ceil(images / self.batch_size)))
        patience = math.ceil(self.patience * epochs / self.epochs)
        return self.model_copy(update={"steps": None, "epochs": epochs, "patience": patience})


class EncoderConfig(Section):
    """The encoder that the autoencoder and the network share; a number stands for every layer."""

    layers_num: int | None = Field(default=None, ge=1)
    """Blocks; left out, the sequences tell."""
    conv_out_channels: PerLayer = (32, 32, 32)
    """Filters of each block's convolution."""
    conv_kernel_size: PerLayer = (5, 3, 3)
    """Side of each block's convolution kernel, pixels."""
    conv_stride: PerLayer = (1,)
    """Step of each block's convolution, pixels."""
    conv_padding: PerLayer = (2, 1, 1)
    """Zeros around each block's map before the convolution, pixels."""
    pool_kernel_size: PerLayer = (2,)
    """Side of each block's pool, pixels."""
    pool_stride: PerLayer = (2,)
    """Step of each block's pool, pixels."""
    pool_padding: PerLayer = (0,)
    """Empty cells around each block's map before the pool, pixels."""
    pool: Literal["max", "average"] = "max"
    """Kind of pool."""
    activation: Literal["sigmoid", "tanh", "relu", "leaky-relu"] = "relu"
    """Activation after each block."""


class AutoencoderConfig(Section):
    """The autoencoder, trained on unlabeled images only."""

    loss: Literal["mse", "mae", "smooth-l1"] = "mse"
    """Reconstruction error to lower, on pixels in [-1, 1]."""
    output_activation: Literal["sigmoid", "tanh", "relu", "leaky-relu", "linear"] = "tanh"
    """Activation of the reconstruction."""
    held_out: float = Field(default=0.05, gt=0, lt=1)
    """Share of the unlabeled images that only measures the error (at most 2,000 images)."""
    # What was added later is left out of a run's key where it is as it was before, so that finished runs stay finished.
    switches: bool = Field(default=True, exclude_if=lambda given: given is True)
    """Whether a max-pool's switches go round the code to the decoder."""
    noise: Noise = Field(default="none", exclude_if=lambda given: given == "none")
    """Noise on the images that it is shown, to give back the clean ones: none, gaussian or masking."""
    noise_level: float = Field(default=0.3, ge=0, le=1, exclude_if=lambda given: given == 0.3)
    """Standard deviation of gaussian noise, on pixels in [-1, 1], or the share of pixels that masking makes grey."""
    stacking: Literal["whole", "greedy", "joined"] = Field(default="whole", exclude_if=lambda given: given == "whole")
    """Several layers at once (whole); one after the other, then all together (greedy); one after the other, then joined as they are."""
    training: TrainingConfig = TrainingConfig(epochs=10, weight_decay=1e-5)
    """How it is trained."""


class NetworkConfig(Section):
    """The convolutional networks: from scratch, and from the autoencoder's weights."""

    hidden: tuple[int, ...] = ()
    """Widths of hidden linear layers."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Probability that a number is dropped before each linear layer."""
    learning_rates: tuple[float, ...] = (1e-3, 3e-3)
    """Learning rates to choose from on validation data, for both networks alike; each is a whole training."""
    training: TrainingConfig = TrainingConfig(
        batch_size=32, epochs=40, patience=10, flip=True, shift=2, weight_decay=5e-4
    )
    """How they are trained; the learning rate is taken from learning_rates."""

    @model_validator(mode="after")
    def _has_rates(self) -> NetworkConfig:
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise ValueError("learning_rates needs at least one number above 0")
        if any(width < 1 for width in self.hidden):
            raise ValueError("hidden widths are at least 1")
        return self


class ConsistencyConfig(Section):
    """Consistency: the strong network goes on from labels alone; it must say of a changed image what its averaged weights say of it."""

    steps: int | None = Field(default=None, ge=1, le=10**9)
    """Steps; left out, as many as the network had before."""
    learning_rate: float = Field(default=0.06, gt=0, le=100)
    """Step size at its peak."""
    average: float = Field(default=0.998, gt=0, lt=1)
    """Share of the averaged weights that stays at each step."""
    threshold: float = Field(default=0.65, ge=0, le=1)
    """Probability of the likeliest class below which an image does not count."""
    temperature: float = Field(default=0.5, gt=0, le=10)
    """What the averaged weights say is raised to the power of one over it: below 1 it is sharpened."""


class PretrainingConfig(Section):
    """How the strong network learns from images without labels before it learns from labels: as an autoencoder, or from rotations."""

    steps: int | None = Field(default=None, ge=1, le=10**9)
    """Steps; left out, as many as it then learns from labels."""
    learning_rate: float = Field(default=2e-3, gt=0, le=100)
    """Step size of Adam at its peak."""
    noise_level: float = Field(default=0.3, ge=0, le=10)
    """Standard deviation of the noise on the images that the autoencoder sees, pixels in [-1, 1]."""


class StartConfig(Section):
    """How a network goes on from weights of your own (--start)."""

    steps: int | None = Field(default=None, ge=1, le=10**9)
    """Steps; left out, as many as the strong network has."""
    learning_rate: float = Field(default=0.02, gt=0, le=100)
    """Step size at its peak; the new head's is ten times as large."""
    side: int = Field(default=64, ge=8, le=512)
    """Images are enlarged to so many pixels a side at the least for a ResNet."""


class StrongConfig(Section):
    """The strong network: from labels alone, by self-training, by consistency, and pretrained."""

    widths: tuple[int, ...] = (32, 96, 128)
    """Channels of each block; each block halves the map, so of a small image only the first ones are used."""
    layers: int = Field(default=1, ge=0, le=8)
    """Convolutions of each block after its first."""
    rounds: int = Field(default=1, ge=1, le=10)
    """Students in a row: each learns from the one before, the first from the network that labels alone trained."""
    ratio: int = Field(default=3, ge=1, le=64)
    """Unlabeled images beside each labeled one of a student's batch, which is as large as the teacher's."""
    balance: float = Field(default=0.5, ge=0, le=1)
    """How far pseudo-labels are scaled so that classes are as frequent as among the labels: 0 not at all, 1 wholly."""
    guard: Literal["none", "confidence", "distance"] = "none"
    """Pseudo-labels to leave out, as those of foreign images: where the teacher is less sure than on all but 5 % of the validation
    images (confidence), or where its code lies further from all labeled ones (distance)."""
    training: TrainingConfig = TrainingConfig(
        optimizer="sgd", nesterov=True, learning_rate=0.2, weight_decay=5e-4, schedule="linear", warmup=0.1, batch_size=128,
        steps=4800, keep="last", flip=True, shift=4, cutout=8, operations=2, magnitude=1.0, smoothing=0.1,
    )  # fmt: skip
    """How teacher and students are trained, in as many steps each."""
    consistency: ConsistencyConfig = ConsistencyConfig()
    """How it goes on by consistency."""
    pretraining: PretrainingConfig = PretrainingConfig()
    """How it is pretrained."""
    start: StartConfig = StartConfig()
    """How your own weights go on."""

    @property
    def student(self) -> TrainingConfig:
        """How a student is trained: in batches as large as its teacher's, of which one image in so many has a label."""
        labeled = max(1, self.training.batch_size // (1 + self.ratio))
        return self.training.model_copy(update={"batch_size": labeled, "beside_ratio": self.ratio})

    @model_validator(mode="after")
    def _has_blocks(self) -> StrongConfig:
        if not self.widths or min(self.widths) < 1:
            raise ValueError("widths needs at least one number of at least 1")
        return self


def _read_none(given: Any) -> Any:
    return () if given in ("none", ["none"], ("none",)) else given


# Names, or "none" for none of them.
Names: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_read_none)]
_Shares: TypeAlias = Annotated[tuple[float, ...], BeforeValidator(_read_none)]


class CurveConfig(Section):
    """The answer in labels: labels alone and the best use of the unlabeled images, with fewer labels and with fewer unlabeled images."""

    labels: _Shares = (0.125, 0.25, 0.5)
    """Shares of each fold's labels, beside all of them; none draws no curve, and says nothing of labels saved."""
    unlabeled: _Shares = (0.25, 0.5)
    """Shares of the unlabeled images, beside all of them, for the best use with all labels; none leaves it out."""
    ways: Names = ()
    """Further ways of the main job to draw over labels, by the names that --leave-out takes."""

    @model_validator(mode="after")
    def _are_shares(self) -> CurveConfig:
        for name, shares in (("labels", self.labels), ("unlabeled", self.unlabeled)):
            if any(not 0 < share < 1 for share in shares) or list(shares) != sorted(set(shares)):
                raise ValueError(f"{name} takes shares between 0 and 1, rising; all of them is a point anyway")
        return self


class ClassicalConfig(Section):
    """The classical models on pixels, PCA scores and codes; the same for every source of features."""

    strengths: tuple[float, ...] = (
        1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 30.0,
    )  # fmt: skip
    """Inverse L2 strengths C of logistic regression, tried in rising order until the validation loss has risen twice."""
    max_iter: int = Field(default=2000, ge=1)
    """Iterations of logistic regression at the most; a fit that needs more is reported as not converged."""
    boosting_iterations: int = Field(default=100, ge=1)
    """Rounds of gradient boosting at the most, one tree a class each; how many are kept is chosen on validation data."""
    boosting_rate: float = Field(default=0.1, gt=0, le=1)
    """Learning rate of gradient boosting."""
    neighbours: tuple[int, ...] = (1, 5, 10, 20, 50)
    """Numbers of nearest neighbours to choose from on validation data."""
    components: tuple[int, ...] = (25, 50, 100, 200, 400, 800)
    """Numbers of principal components to choose from on validation data, beside as many as a code has numbers."""
    ensemble: Literal["forest", "extra-trees"] = "forest"
    """Tree ensemble: random forest or extremely randomised trees."""
    trees: int = Field(default=300, ge=1)
    """Trees of the ensemble."""
    min_samples_leaf: tuple[int, ...] = (1, 4)
    """Least images in a leaf, to choose from on validation data."""

    @model_validator(mode="after")
    def _has_choices(self) -> ClassicalConfig:
        if not self.strengths or min(self.strengths) <= 0:
            raise ValueError("strengths needs at least one number above 0")
        if not self.min_samples_leaf or min(self.min_samples_leaf) < 1:
            raise ValueError("min_samples_leaf needs at least one number of at least 1")
        if not self.neighbours or min(self.neighbours) < 1:
            raise ValueError("neighbours needs at least one number of at least 1")
        if any(number < 1 for number in self.components):
            raise ValueError("components are at least 1")
        return self
