"""What a run came to: a typed record for each kind of task. Knows nothing of torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from pydantic import ConfigDict

# What was chosen or tried: names of settings, and their values.
Settings: TypeAlias = dict[str, float | int | str | None]


@dataclass(frozen=True)
class Diverged:
    """The outcome of a training whose loss stopped being finite."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    diverged: str
    seconds: float


@dataclass(frozen=True)
class Scored:
    """What was chosen on a fold's validation part and scored on the test split: how right it is; times in seconds, losses in nats.

    ``seconds_before`` is the time of the trainings that it stands on; ``operations`` are the multiplications with additions of all its
    networks' trainings, those it stands on included, 0 where they were not counted.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    converged: bool
    choice: Settings
    tried: list[Settings]
    valid_accuracy: float
    valid_log_loss: float
    seconds: float
    predict_seconds: float
    accuracy: float
    log_loss: float
    seconds_before: float = field(default=0.0, kw_only=True)
    operations: float = field(default=0.0, kw_only=True)

    @property
    def seconds_in_all(self) -> float:
        """Seconds of its training and of those that it stands on."""
        return self.seconds_before + self.seconds

    @property
    def teraoperations(self) -> float | None:
        """Its operations in units of 10^12, if they were counted."""
        return self.operations / 1e12 or None


@dataclass(frozen=True)
class ClassicalOutcome(Scored):
    """A classical model on features of a fold."""

    facts: dict[str, float]
    features: int
    train_accuracy: float
    train_log_loss: float


@dataclass(frozen=True)
class Gradients:
    """The root mean square of the loss's gradient, by weight: before training and after it."""

    first: dict[str, float]
    last: dict[str, float]


@dataclass(frozen=True)
class NetworkOutcome(Scored):
    """A network trained on a fold; ``foreign`` is the share of unlabeled images that lie further from labeled ones than others do."""

    parameters: int
    code_length: int
    images_per_second: float
    seconds_to_best: float
    predictions_per_second: float
    gradients: Gradients | None = None
    epochs: int = 0
    foreign: float | None = None

    @property
    def best_at_last(self) -> bool:
        """Whether its best epoch was the last that it was given: the validation loss may still have been falling.

        Where the last epoch's weights are kept by design, that says nothing.
        """
        return self.epochs > 0 and self.choice.get("epoch") == self.epochs and self.choice.get("kept") != "last"


@dataclass(frozen=True)
class AutoencoderOutcome:
    """An autoencoder trained on unlabeled images; errors are mean squared ones on [-1, 1], of images that it has not seen.

    ``switches`` of the pools go round its code to the decoder.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    held_out_mse: float
    held_out_variance: float
    images: int
    code_size: list[int]
    code_length: int
    input_length: int
    parameters: int
    model: str
    best_epoch: int
    seconds: float
    images_per_second: float
    switches: int = 0
    operations: float = 0.0


@dataclass(frozen=True)
class PretrainedOutcome:
    """A strong network's blocks, trained without labels: its loss and metric on images that they were not trained on."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    pretext: str
    held_out_loss: float
    held_out_metric: float
    images: int
    parameters: int
    seconds: float
    images_per_second: float
    operations: float


@dataclass(frozen=True)
class Activations:
    """The distribution of units' mean activations: ``near`` is the share within a factor of two of rho, ``silent`` below 0.01."""

    mean: float
    deviation: float
    least: float
    most: float
    low: float
    median: float
    high: float
    near: float
    silent: float


@dataclass(frozen=True)
class FilterShapes:
    """How localised, how oriented and how coloured filters are, as ``pretraining.describe_filters`` measures it."""

    compact: float
    localised: float
    oriented: float
    colour: float
    coloured: float


@dataclass(frozen=True)
class PatchesOutcome:
    """Filters learned on patches: loss and error of held-out patches, what filters and mean activations look like."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    held_out_loss: float
    held_out_mse: float
    held_out_variance: float
    converged: bool
    iterations: int
    losses: list[float]
    activations: Activations
    filters: FilterShapes
    patches: int
    held_out: int
    seconds: float


Outcome: TypeAlias = (
    ClassicalOutcome | NetworkOutcome | AutoencoderOutcome | PatchesOutcome | PretrainedOutcome | Diverged
)
