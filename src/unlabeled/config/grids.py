"""What the studies vary."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from unlabeled.config.settings import EncoderConfig, Section, TrainingConfig


class NetworkGrid(Section):
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
    """Learning rates to choose from for Adam and AdamW."""
    adagrad_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    """Learning rates to choose from for Adagrad."""
    rmsprop_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    """Learning rates to choose from for RMSprop."""
    encoder: EncoderConfig = EncoderConfig(conv_out_channels=(20,), conv_kernel_size=(5,), conv_padding=(2,))
    """The network that one thing at a time is changed of."""
    training: TrainingConfig = TrainingConfig(batch_size=32, epochs=15, flip=True, shift=2, weight_decay=5e-4)
    """How it is trained."""


class AutoencoderGrid(Section):
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


class FinetuneGrid(Section):
    """Study 5: fine-tuning from an autoencoder's weights."""

    labels: tuple[int, ...] = (10, 50, 100, 500)
    """Labels a class, those to choose with included; all come besides."""
    unlabeled: tuple[int, ...] = (1000, 10_000)
    """Unlabeled images; none and all come besides."""
    slow: float = Field(default=0.1, gt=0, lt=1)
    """Factor on the learning rate of copied layers, where they learn more slowly."""
    most_epochs: int = Field(default=4, ge=1)
    """With fewer labels an epoch has fewer steps, so there are more epochs, up to so many times as many."""


class StackedGrid(Section):
    """Study 6: deeper and stacked autoencoders."""

    share: float = Field(default=2 / 3, gt=0)
    """Length of every code, in lengths of an image; at any depth alike, as nearly as whole filters allow."""
    filters: tuple[int, ...] = (32, 64, 128)
    """Filters of the blocks before the last one, whose number follows from the length; one entry a depth."""
    kernel: int = Field(default=3, ge=1)
    """Side of every kernel, pixels; the padding is half of it."""
    switchless: bool = True
    """Whether every depth is tried without its switches too."""
    noises: tuple[Literal["gaussian", "masking"], ...] = ("gaussian", "masking")
    """Kinds of noise on the input of the deepest autoencoder."""


class SparseGrid(Section):
    """Studies 7 and 8: the sparse linear autoencoder on patches, and its filters as a convolution."""

    side: int = Field(default=8, ge=2)
    """Side of a patch, pixels."""
    patches: int = Field(default=10_000, ge=100)
    """Patches cut from the unlabeled images to train on; half as many more measure the error."""
    hidden: int = Field(default=75, ge=2)
    """Hidden units, and filters."""
    preparation: Literal["whitening", "clip"] = "whitening"
    """What is done to patches first: whitening, or a clip to three standard deviations and [0.1, 0.9]."""
    rho: float = Field(default=0.035, gt=0, lt=1)
    """Wanted mean activation of a hidden unit."""
    beta: float = Field(default=5.0, ge=0)
    """Weight of the sparsity penalty."""
    decay: float = Field(default=3e-3, ge=0)
    """Weight of the L2 penalty (lambda)."""
    iterations: int = Field(default=400, ge=1)
    """Iterations of L-BFGS on the full batch at the most."""
    rhos: tuple[float, ...] = (0.01, 0.2)
    """Other values of rho to try."""
    betas: tuple[float, ...] = (0.5, 50.0)
    """Other weights of the sparsity penalty to try; none at all is tried besides."""
    decays: tuple[float, ...] = (1e-4, 3e-2)
    """Other weights of the L2 penalty to try."""
    training: TrainingConfig = TrainingConfig(epochs=200, batch_size=1000, learning_rate=3e-2, weight_decay=0)
    """How the same loss is lowered in large batches; its L2 penalty is in the loss."""


class ConvolvedGrid(Section):
    """Study 8: filters of patches as a convolution."""

    strides: tuple[int, ...] = (1, 4, 8)
    """Pixels between two patches."""
    grid: int = Field(default=4, ge=1)
    """Maps are pooled to so many cells a side, at the most."""
    unpooled: tuple[int, ...] = (8, 4)
    """Strides at which the whole map is tried too, as in a course report of 2016."""
    deep: tuple[int, ...] = (100, 64, 100)
    """Hidden layers of a deeper sparse autoencoder, the middle one its code; empty leaves it out."""
    stride: int = Field(default=4, ge=1)
    """Stride of the comparison with other filters, and of the network."""
    pool: int = Field(default=2, ge=1)
    """Side of the network's max-pool."""


class JointGrid(Section):
    """Study 9: one network that classifies and reconstructs at once."""

    reconstruction: tuple[float, ...] = (10.0, 30.0)
    """Weights of the reconstruction of images, to choose from on validation data."""
    between: tuple[float, ...] = (10.0,)
    """Weights of the reconstruction of the maps between blocks, to choose from on validation data."""


class OpenSetGrid(Section):
    """Study open-set: unlabeled images of classes that are none of the labeled."""

    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)
    """Shares of the pool that are foreign."""
    known: float = Field(default=0.6, gt=0, lt=1)
    """Share of the classes that are known."""
    labels: float = Field(default=0.25, gt=0, lt=1)
    """Share of the known classes' labeled images whose labels are used; the others are in the pool."""

    @model_validator(mode="after")
    def _has_shares(self) -> OpenSetGrid:
        if len(set(self.shares)) < 2 or any(not 0 <= share < 1 for share in self.shares):
            raise ValueError("shares needs two numbers or more, of at least 0 and below 1")
        return self


class StudiesConfig(Section):
    """The studies of the course, and those beyond it."""

    encoder: Literal["chosen", "given"] = "chosen"
    """The encoder of studies 4 and 5: the one that study 3 chooses, or the one given by --encoder."""
    network: NetworkGrid = NetworkGrid()
    """Study 2."""
    autoencoder: AutoencoderGrid = AutoencoderGrid()
    """Study 3."""
    finetune: FinetuneGrid = FinetuneGrid()
    """Study 5."""
    stacked: StackedGrid = StackedGrid()
    """Study 6."""
    sparse: SparseGrid = SparseGrid()
    """Studies 7 and 8."""
    convolved: ConvolvedGrid = ConvolvedGrid()
    """Study 8."""
    joint: JointGrid = JointGrid()
    """Study 9, and the joint network of the main job."""
    open_set: OpenSetGrid = OpenSetGrid()
    """Study open-set."""
