"""The variants of study 2: a small network, and that network with one thing changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unlabeled.config import EncoderConfig, NetworkConfig, NetworkGrid, TrainingConfig
from unlabeled.geometry import GeometryError
from unlabeled.outcomes import NetworkOutcome
from unlabeled.records import ArmKey, Illegal, Row, of_arm, outcomes_of

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

_MOMENTA: dict[str, dict[str, Any]] = {
    "none": {},
    "0.5": {"momentum": 0.5},
    "0.9": {"momentum": 0.9},
    "0.99": {"momentum": 0.99},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "rising": {"momentum_start": 0.5, "momentum": 0.99},
    "dampening": {"momentum": 0.9, "dampening": 0.9},
}
# Whatever the base says, a kind of momentum is what its name says and nothing else.
_STILL: dict[str, Any] = {"momentum": 0.0, "momentum_start": None, "dampening": 0.0, "nesterov": False}


@dataclass(frozen=True)
class Variant:
    """The base network with one thing changed; ``rates`` are learning rates to choose from."""

    factor: str
    value: str
    encoder: EncoderConfig
    training: TrainingConfig
    rates: tuple[float, ...]

    @property
    def arm(self) -> ArmKey:
        """The arm of its runs."""
        return ArmKey("random", "network", factor=self.factor, value=self.value)

    @property
    def network(self) -> NetworkConfig:
        """How it is trained: one linear layer after the encoder, no dropout."""
        return base_network(self.training, self.rates)


def base_rates(grid: NetworkGrid) -> tuple[float, ...]:
    """Return the learning rates that the base network, and every variant with its optimiser, chooses from."""
    return _rates_of(grid, grid.training.optimizer)


def _rates_of(grid: NetworkGrid, optimizer: str) -> tuple[float, ...]:
    lists = {"sgd": grid.sgd_rates, "adagrad": grid.adagrad_rates, "rmsprop": grid.rmsprop_rates}
    return lists.get(optimizer, grid.adam_rates)


def base_network(training: TrainingConfig, rates: tuple[float, ...] = ()) -> NetworkConfig:
    """Return the smallest network's configuration: one linear layer after the encoder, and no dropout."""
    return NetworkConfig(dropout=0.0, learning_rates=rates or (training.learning_rate,), training=training)


@dataclass(frozen=True)
class Factor:
    """A property of the network: its values' arms, the one that others are compared with, and the one that validation prefers."""

    name: str
    reference: ArmKey
    best: ArmKey | None
    arms: tuple[ArmKey, ...]


@dataclass(frozen=True)
class Rates:
    """The learning rates that an arm's runs chose, of how many, how often at an end of their list, and how many trials diverged."""

    arm: ArmKey
    rates: tuple[float, ...]
    tried: int
    at_edge: int
    diverged: int


@dataclass(frozen=True)
class LayerGradients:
    """The gradient of every layer of the deepest network, median over runs: before training and after it."""

    activation: str
    first: tuple[float, ...]
    last: tuple[float, ...]


def legal_variants(lab: Lab) -> tuple[list[Variant], list[Illegal], int]:
    """Return the variants that fit the images, why others do not, and the number of blocks of the deepest that fits."""
    legal, illegal = [], []
    grid = lab.config.studies.network
    deepest = max((blocks for blocks in grid.blocks if _closes(lab, grid.encoder, blocks)), default=max(grid.blocks))
    for variant in variants(grid, deepest):
        try:
            lab.geometry(variant.encoder)
        except GeometryError as error:
            illegal.append(Illegal(variant.arm, str(error)))
        else:
            legal.append(variant)
    return legal, illegal, deepest


def _closes(lab: Lab, encoder: EncoderConfig, blocks: int) -> bool:
    try:
        lab.geometry(encoder.model_copy(update=_stack(encoder, blocks)))
    except GeometryError:
        return False
    return True


def variants(grid: NetworkGrid, deepest: int | None = None) -> Iterator[Variant]:
    """Yield the base network and all its variants; a factor's variant that is the base stands for itself.

    ``deepest`` is the number of blocks that activations are tried at; left out, the largest of the grid.
    """
    encoder, training = grid.encoder, grid.training

    def change(factor: str, value: object, **changes: Any) -> Variant:
        rates = changes.pop("rates", base_rates(grid))
        of_encoder = {name: changes.pop(name) for name in list(changes) if name in EncoderConfig.model_fields}
        shape = EncoderConfig.model_validate(encoder.model_dump() | of_encoder)
        return Variant(factor, str(value), shape, training.model_copy(update=changes), rates)

    for kernel in grid.kernels:
        yield change("kernel", kernel, conv_kernel_size=kernel, conv_padding=kernel // 2)
    for filters in grid.filters:
        yield change("filters", filters, conv_out_channels=filters)
    for blocks in grid.blocks:
        yield change("blocks", blocks, **_stack(encoder, blocks))
    for name in grid.momenta:
        kind = _STILL | _MOMENTA[name]
        yield change("momentum", name, optimizer="sgd", rates=_rates(grid.sgd_rates, **kind), **kind)
    for optimizer in grid.optimizers:
        rates = _rates_of(grid, optimizer)
        # RMSprop is taken as it was proposed, without momentum.
        more: dict[str, dict[str, Any]] = {
            "adamw": {"weight_decay": grid.decoupled_decay},
            "rmsprop": {"momentum": 0.0, "momentum_start": None},
        }
        yield change("optimizer", optimizer, optimizer=optimizer, rates=rates, **more.get(optimizer, {}))
    for decay in grid.weight_decays:
        yield change("weight-decay", f"{decay:g}", weight_decay=decay)
    for activation in grid.activations:
        yield change("activation", activation, activation=activation)
    for activation in grid.activations:
        yield change(
            "deep-activation", activation, activation=activation, **_stack(encoder, deepest or max(grid.blocks))
        )
    for size in grid.batch_sizes:
        yield change("batch", size, batch_size=size)
    for pool in grid.pools:
        yield change("pool", pool, pool=pool)


def _rates(
    steady: tuple[float, ...], *, momentum: float, momentum_start: float | None = None, dampening: float = 0.0, **_: Any
) -> tuple[float, ...]:
    """Return learning rates that move a steady gradient as far as plain SGD does with the given ones.

    In the long run momentum m and dampening d multiply the step by (1 - d) / (1 - m); a rising m counts with its mean.
    """
    mean = momentum if momentum_start is None else (momentum_start + momentum) / 2
    return tuple(float(f"{rate * (1 - mean) / (1 - dampening):.3g}") for rate in steady)


def _stack(encoder: EncoderConfig, blocks: int) -> dict[str, Any]:
    """Return the fields of an encoder that repeats a block."""
    names = [name for name in EncoderConfig.model_fields if name.startswith(("conv_", "pool_"))]
    return {name: (getattr(encoder, name)[0],) * blocks for name in names}


def make_factors(lab: Lab, legal: Sequence[Variant], rows: Sequence[Row]) -> tuple[Factor, ...]:
    """Return the values of each factor, with the reference that they are compared with."""
    factors = []
    for name in dict.fromkeys(variant.factor for variant in legal):
        values = [variant for variant in legal if variant.factor == name]
        if name == "optimizer":
            # The best SGD, by validation, stands beside the other optimisers.
            best = _best(rows, [variant.arm for variant in legal if variant.factor == "momentum"])
            values = [variant for variant in legal if variant.arm == best] + values
        arms = tuple(variant.arm for variant in values)
        reference = _reference(lab.config.studies.network, name, values)
        factors.append(Factor(name, reference, _best(rows, arms), arms))
    return tuple(factors)


def _best(rows: Sequence[Row], arms: Sequence[ArmKey]) -> ArmKey | None:
    """Return the arm with the least mean validation log loss, of those without a diverged run."""
    means = {}
    for arm in arms:
        losses = [np.inf if (outcome := row.scored) is None else outcome.valid_log_loss for row in of_arm(rows, arm)]
        if losses and np.isfinite(mean := float(np.mean(losses))):
            means[arm] = mean
    return min(means, key=lambda arm: means[arm]) if means else None


def _reference(grid: NetworkGrid, factor: str, values: Sequence[Variant]) -> ArmKey:
    """Return the arm that the others of a factor are compared with: the base's value where it is among them."""
    wanted = {
        "kernel": str(grid.encoder.conv_kernel_size[0]),
        "filters": str(grid.encoder.conv_out_channels[0]),
        "blocks": "1",
        "momentum": "none",
        "weight-decay": f"{grid.training.weight_decay:g}",
        "activation": grid.encoder.activation,
        "deep-activation": grid.encoder.activation,
        "batch": str(grid.training.batch_size),
        "pool": grid.encoder.pool,
    }.get(factor)
    return next((variant.arm for variant in values if variant.value == wanted), values[0].arm)


def chosen_rates(rows: Sequence[Row], arm: ArmKey) -> Rates:
    """Return the learning rates that an arm's runs chose."""
    outcomes = outcomes_of(of_arm(rows, arm), NetworkOutcome)
    edge = 0
    for outcome in outcomes:
        rates = sorted(float(trial["learning_rate"] or 0) for trial in outcome.tried)
        edge += len(rates) > 2 and outcome.choice["learning_rate"] in (rates[0], rates[-1])
    return Rates(
        arm,
        rates=tuple(sorted({float(outcome.choice["learning_rate"] or 0) for outcome in outcomes})),
        tried=len(outcomes[0].tried) if outcomes else 0,
        at_edge=edge,
        diverged=sum("diverged" in trial for outcome in outcomes for trial in outcome.tried),
    )


def layer_gradients(rows: Sequence[Row]) -> tuple[LayerGradients, ...]:
    """Return the gradients of the deepest network, by activation."""
    by_activation: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {}
    for row in rows:
        gradients = row.outcome.gradients if isinstance(row.outcome, NetworkOutcome) else None
        if row.arm.factor == "deep-activation" and gradients is not None:
            by_activation.setdefault(row.arm.value, []).append((gradients.first, gradients.last))
    return tuple(
        LayerGradients(
            activation,
            *(tuple(float(np.median([run[when][name] for run in runs])) for name in runs[0][when]) for when in (0, 1)),
        )
        for activation, runs in by_activation.items()
    )
