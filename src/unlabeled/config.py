"""The configuration: one tree of frozen models. Every field is an option of the command line and of a TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

Side: TypeAlias = Annotated[int, Field(ge=4, le=512)]
# One number for all layers, or one a layer; written as the specification takes it, a single number as a number.
PerLayer: TypeAlias = Annotated[
    tuple[int, ...],
    Field(min_length=1),
    BeforeValidator(lambda given: (given,) if isinstance(given, int) else given),
    PlainSerializer(lambda numbers: numbers[0] if len(numbers) == 1 else list(numbers)),
]
Preset: TypeAlias = Literal["quick", "standard", "full"]
Lang: TypeAlias = Literal["en", "ru"]
Study: TypeAlias = Literal["gain", "baselines", "network", "autoencoder", "features", "finetune", "all"]


class _Model(BaseModel):
    """A frozen section: unknown names are refused, text is described by the docstrings under the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class TrainingConfig(_Model):
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
    epochs: int = Field(default=20, ge=1)
    """Passes over the training images at the most."""
    patience: int = Field(default=0, ge=0)
    """Epochs without a better validation loss after which training stops; 0 never stops early."""
    flip: bool = False
    """Mirror half of the training images left to right."""
    shift: int = Field(default=0, ge=0, le=64)
    """Move training images by up to this many pixels each way; the edge is repeated."""


class EncoderConfig(_Model):
    """The encoder that the autoencoder and the network share; a number stands for every layer."""

    layers_num: int | None = Field(default=None, ge=1)
    """Blocks; left out, the sequences tell."""
    conv_out_channels: PerLayer = (32, 32)
    """Filters of each block's convolution."""
    conv_kernel_size: PerLayer = (5, 3)
    """Side of each block's convolution kernel, pixels."""
    conv_stride: PerLayer = (1,)
    """Step of each block's convolution, pixels."""
    conv_padding: PerLayer = (2, 1)
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


class AutoencoderConfig(_Model):
    """The autoencoder, trained on unlabeled images only."""

    loss: Literal["mse", "mae", "smooth-l1"] = "mse"
    """Reconstruction error to lower, on pixels in [-1, 1]."""
    output_activation: Literal["sigmoid", "tanh", "relu", "leaky-relu", "linear"] = "tanh"
    """Activation of the reconstruction."""
    held_out: float = Field(default=0.05, gt=0, lt=1)
    """Share of the unlabeled images that only measures the error (at most 2,000 images)."""
    training: TrainingConfig = TrainingConfig(epochs=10, weight_decay=1e-5)
    """How it is trained."""


class NetworkConfig(_Model):
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


class ClassicalConfig(_Model):
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
        return self


class NetworkGrid(_Model):
    """Study 2: what kernel, filters, blocks, momentum, optimiser and the rest do to a small network."""

    labels: int | None = Field(default=None, ge=10)
    """Labeled images to use at the most, for this study has many runs; left out, all."""
    kernels: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    """Sides of the kernel, pixels; the padding is half of it, so that the map keeps its size."""
    filters: tuple[int, ...] = (5, 10, 20, 40)
    """Numbers of filters."""
    blocks: tuple[int, ...] = (1, 2, 3, 4)
    """Numbers of blocks."""
    momenta: tuple[Literal["none", "0.5", "0.9", "0.99", "nesterov", "rising", "dampening"], ...] = (
        "none", "0.5", "0.9", "0.99", "nesterov", "rising", "dampening",
    )  # fmt: skip
    """Momenta of SGD: constant, Nesterov's 0.9, rising from 0.5 to 0.99, and 0.9 with dampening 0.9."""
    optimizers: tuple[Literal["adam", "adamw", "adagrad", "rmsprop"], ...] = ("adam", "adamw", "adagrad", "rmsprop")
    """Optimisers to set against the best SGD."""
    weight_decays: tuple[float, ...] = (1e-5, 5e-4, 1e-2)
    """L2 penalties."""
    decoupled_decay: float = Field(default=0.05, gt=0)
    """Weight decay of AdamW, which shrinks the weights itself in place of adding to the gradient, so it has to be larger."""
    activations: tuple[Literal["sigmoid", "tanh", "relu", "leaky-relu"], ...] = (
        "sigmoid",
        "tanh",
        "relu",
        "leaky-relu",
    )
    """Activations, of the smallest network and of the deepest."""
    batch_sizes: tuple[int, ...] = (8, 32, 128)
    """Images a step."""
    pools: tuple[Literal["max", "average"], ...] = ("max", "average")
    """Kinds of pool."""
    sgd_rates: tuple[float, ...] = (0.03, 0.1, 0.3)
    """Learning rates to choose from for SGD without momentum; with it they are as much smaller as its steps add up."""
    adam_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    """Learning rates to choose from for Adam and AdamW, and for each batch size."""
    adagrad_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    """Learning rates to choose from for Adagrad."""
    rmsprop_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    """Learning rates to choose from for RMSprop."""
    encoder: EncoderConfig = EncoderConfig(conv_out_channels=(20,), conv_kernel_size=(5,), conv_padding=(2,))
    """The network that one thing at a time is changed of."""
    training: TrainingConfig = TrainingConfig(batch_size=32, epochs=15, flip=True, shift=2, weight_decay=5e-4)
    """How it is trained."""


class AutoencoderGrid(_Model):
    """Study 3: the search for a one-layer autoencoder; every combination is a candidate."""

    images: int = Field(default=10_000, ge=10)
    """Unlabeled images that a candidate is trained on at the most."""
    kernels: tuple[int, ...] = (3, 5)
    """Sides of the kernel, pixels."""
    paddings: tuple[int, ...] = (0, 2)
    """Zeros around the image, pixels."""
    strides: tuple[int, ...] = (1, 2)
    """Steps of the convolution, pixels."""
    pools: tuple[int, ...] = (2, 4)
    """Sides of the max-pool and its steps, pixels; 1 leaves it out."""
    filters: tuple[int, ...] = (12, 32)
    """Numbers of filters."""
    losses: tuple[Literal["mse", "mae", "smooth-l1"], ...] = ("mse", "mae", "smooth-l1")
    """Errors to lower; all but the first only for the candidate that is best with the first."""
    longest: float = Field(default=1.0, gt=0)
    """Longest code that can be chosen, in lengths of an image: a longer one can copy the image and learn nothing."""
    training: TrainingConfig = TrainingConfig(epochs=8, batch_size=64, learning_rate=2e-3, weight_decay=1e-5)
    """How candidates are trained."""


class FinetuneGrid(_Model):
    """Study 5: fine-tuning from an autoencoder's weights."""

    labels: tuple[int, ...] = (10, 50, 100, 500)
    """Labels a class, those to choose with included; all come besides."""
    unlabeled: tuple[int, ...] = (1000, 10_000)
    """Unlabeled images; none and all come besides."""
    slow: float = Field(default=0.1, gt=0, lt=1)
    """Factor on the learning rate of copied layers, where they learn more slowly."""
    most_epochs: int = Field(default=4, ge=1)
    """With fewer labels an epoch has fewer steps, so there are more epochs, up to so many times as many."""


class StudiesConfig(_Model):
    """The studies of the course."""

    encoder: Literal["chosen", "given"] = "chosen"
    """The encoder of studies 4 and 5: the one that study 3 chooses, or the one given by --encoder."""
    network: NetworkGrid = NetworkGrid()
    """Study 2."""
    autoencoder: AutoencoderGrid = AutoencoderGrid()
    """Study 3."""
    finetune: FinetuneGrid = FinetuneGrid()
    """Study 5."""


class ShapesConfig(_Model):
    """The embedded data set of drawn shapes."""

    train: int = Field(default=5000, ge=100)
    """Labeled images."""
    test: int = Field(default=4000, ge=10)
    """Test images."""
    unlabeled: int = Field(default=30000, ge=10)
    """Unlabeled images."""
    seed: int = Field(default=0, ge=0)
    """Seed of the drawing."""


class Config(_Model):
    """What is run: the main job, or the studies of the course."""

    study: Study = "gain"
    """What to run: gain (what the unlabeled images are worth), one of the five studies, or all five."""
    data: str = "shapes"
    """Where the images are: shapes, digits, stl10, stl10:PATH (folder or archive) or folder:PATH."""
    preset: Preset = "quick"
    """Sizes to start from: quick (3 minutes), standard (an evening at STL-10's size) or full."""
    lang: Lang = "en"
    """Language of the report: English or Russian."""
    out: Path | None = None
    """Folder for the results; left out, runs/DATA-PRESET, or runs/DATA-PRESET-studies."""
    cache: Path | None = None
    """Folder for shrunken images; left out, the user's cache folder or UNLABELED_CACHE."""
    side: Side | None = None
    """Side of the shrunken images, pixels; left out, 32 (8 for digits)."""
    leaks: Literal["drop", "keep"] = "drop"
    """What to do with unlabeled or labeled images that stand in test, and with unlabeled ones that are labeled."""
    folds: int | None = Field(default=None, ge=2, le=100)
    """Folds: the first of the data set's own, or stratified ones; left out, all of its own, or 5."""
    seeds: int = Field(default=3, ge=1, le=100)
    """Repetitions with other initial weights and orders; each has its own autoencoder."""
    labels: int | None = Field(default=None, ge=2)
    """Labeled images to use at the most, drawn by class; left out, all."""
    unlabeled: int | None = Field(default=None, ge=10)
    """Unlabeled images to use at the most; left out, all."""
    test: int | None = Field(default=None, ge=10)
    """Test images to use at the most; left out, all."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the networks: fp32, or bf16 where the processor has it."""
    threads: int | None = Field(default=None, ge=1)
    """Processor threads; left out, all cores."""
    jobs: int | None = Field(default=None, ge=1)
    """Runs at the same time, on the processor only; left out, one a thread."""
    encoder: EncoderConfig = EncoderConfig()
    """The encoder."""
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    """The autoencoder."""
    network: NetworkConfig = NetworkConfig()
    """The networks."""
    classical: ClassicalConfig = ClassicalConfig()
    """The classical models."""
    studies: StudiesConfig = StudiesConfig()
    """What the studies vary."""
    shapes: ShapesConfig = ShapesConfig()
    """The embedded data set."""

    @property
    def folder(self) -> Path:
        """Where results go."""
        ending = "" if self.study == "gain" else "-studies"
        return self.out.expanduser() if self.out else Path("runs") / f"{self.data_name}-{self.preset}{ending}"

    @property
    def source(self) -> str:
        """The kind of data: the part of ``data`` before the colon."""
        return self.data.partition(":")[0]

    @property
    def data_name(self) -> str:
        """What people call the data: the kind, or the name of the folder of images."""
        path = self.data.partition(":")[2]
        return Path(path).expanduser().resolve().name if self.source == "folder" else self.source

    @property
    def pixels(self) -> int:
        """The side of the shrunken images."""
        return self.side or (8 if self.source == "digits" else 32)
