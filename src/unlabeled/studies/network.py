"""Study 2: what each property of a small convolutional network does to its quality and to its speed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlabeled.comparison import Contrast, compare
from unlabeled.config import EncoderConfig, NetworkConfig, NetworkGrid, TrainingConfig
from unlabeled.errors import UserError
from unlabeled.geometry import GeometryError
from unlabeled.studies.baselines import baseline_arms
from unlabeled.studies.lab import Lab
from unlabeled.studies.networks import NetworkTask
from unlabeled.studies.performing import Perform, read_scores

BASE = "base"
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
    def arm(self) -> str:
        """Its name in tables."""
        return f"{self.factor} {self.value}"

    @property
    def network(self) -> NetworkConfig:
        """How it is trained: one linear layer after the encoder, no dropout."""
        return base_network(self.training, self.rates)


def base_network(training: TrainingConfig, rates: tuple[float, ...] = ()) -> NetworkConfig:
    """Return the smallest network's configuration: one linear layer after the encoder, and no dropout."""
    return NetworkConfig(dropout=0.0, learning_rates=rates or (training.learning_rate,), training=training)


def run(lab: Lab, do: Perform) -> dict[str, Any]:
    """Train every variant on every fold and seed."""
    legal, illegal = [], []
    grid = lab.config.studies.network
    deepest = max((blocks for blocks in grid.blocks if _closes(lab, grid.encoder, blocks)), default=max(grid.blocks))
    for variant in variants(grid, deepest):
        try:
            lab.geometry(variant.encoder)
        except GeometryError as error:
            illegal.append({"arm": variant.arm, "reason": str(error)})
        else:
            legal.append(variant)
    if not legal:
        raise UserError(f"no network of --studies.network fits these images; the first: {illegal[0]['reason']}")
    # One replicate after the other, so that the first of each kind tells how long the rest will take.
    tasks = [
        NetworkTask(v.arm, v.encoder, v.network, fold, seed, gradients=len(v.encoder.conv_out_channels) == deepest)
        for seed in range(lab.config.seeds)
        for fold in range(len(lab.folds.folds))
        for v in legal
    ]
    baselines = baseline_arms(lab, do)
    rows = do(tasks)
    compared, factors = _compare(lab, legal, rows)
    return {
        **compared,
        "factors": factors,
        "illegal": illegal,
        "gradients": _gradients(rows),
        "baselines": baselines,
        "rows": rows,
    }


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
        rates = changes.pop("rates", (training.learning_rate,))
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
        rates = {"adagrad": grid.adagrad_rates, "rmsprop": grid.rmsprop_rates}.get(optimizer, grid.adam_rates)
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
        yield change("batch", size, batch_size=size, rates=grid.adam_rates)
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


def _compare(lab: Lab, legal: list[Variant], rows: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Compare the values of each factor with its reference; p values are corrected within a factor."""
    scores = read_scores(lab, rows)
    arms: list[dict[str, Any]] = []
    contrasts: list[dict[str, Any]] = []
    factors = []
    for factor in dict.fromkeys(variant.factor for variant in legal):
        values = [variant for variant in legal if variant.factor == factor]
        if factor == "optimizer":
            # The best SGD, by validation, stands beside the other optimisers.
            values = [v for v in legal if v.arm == _best(rows, "momentum")] + values
        names = [variant.arm for variant in values]
        reference = _reference(lab.config.studies.network, factor, values)
        own = [row for row in rows if row["arm"] in names]
        contrasts_of = [Contrast(name, reference) for name in names if name != reference]
        compared = compare(own, scores, contrasts_of, correlation=lab.folds.correlation)
        known = {arm["arm"] for arm in arms}
        arms += [arm | _chosen_rates(rows, arm["arm"]) for arm in compared["arms"] if arm["arm"] not in known]
        contrasts += [contrast | {"factor": factor} for contrast in compared["contrasts"]]
        factors.append(
            {
                "factor": factor,
                "reference": reference,
                "best": _best(rows, factor, names),
                "values": [{"value": v.arm if v.factor != factor else v.value, "arm": v.arm} for v in values],
            }
        )
    return {"arms": arms, "contrasts": contrasts}, factors


def _best(rows: list[dict[str, Any]], factor: str, names: list[str] | None = None) -> str | None:
    """Return the arm of a factor with the least mean validation log loss, of those without a diverged run."""
    losses: dict[str, list[float]] = {}
    for row in rows:
        if row["arm"] in names if names is not None else row["arm"].startswith(f"{factor} "):
            losses.setdefault(row["arm"], []).append(row.get("valid_log_loss", np.inf))
    means = {arm: float(np.mean(values)) for arm, values in losses.items()}
    finite = {arm: mean for arm, mean in means.items() if np.isfinite(mean)}
    return min(finite, key=lambda arm: finite[arm]) if finite else None


def _reference(grid: NetworkGrid, factor: str, values: list[Variant]) -> str:
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


def _chosen_rates(rows: list[dict[str, Any]], arm: str) -> dict[str, Any]:
    """Return the learning rates that an arm's runs chose, and how often it was the least or largest of several."""
    own = [row for row in rows if row["arm"] == arm and "diverged" not in row]
    edge = 0
    for row in own:
        rates = sorted(trial["learning_rate"] for trial in row["tried"])
        edge += len(rates) > 1 and row["choice"]["learning_rate"] in (rates[0], rates[-1])
    tried = len(own[0]["tried"]) if own else 0
    failed = sum("diverged" in trial for row in own for trial in row["tried"])
    return {
        "rates": sorted({row["choice"]["learning_rate"] for row in own}),
        "tried": tried,
        "at_edge": edge,
        "diverged_rates": failed,
    }


def _gradients(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each activation of the deepest network the gradient of every layer, median over runs."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["arm"].startswith("deep-activation ") and "gradients" in row:
            found.setdefault(row["arm"].partition(" ")[2], []).append(row["gradients"])
    return [
        {
            "activation": activation,
            **{
                when: [float(np.median([run[when][name] for run in runs])) for name in runs[0][when]]
                for when in ("first", "last")
            },
        }
        for activation, runs in found.items()
    ]
