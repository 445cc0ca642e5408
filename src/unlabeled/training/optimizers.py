"""Optimisers, how their rates change over a training, and which parameters learn in their own way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unlabeled.config import TrainingConfig
from unlabeled.networks.strong import Norm


@dataclass(frozen=True)
class Group:
    """Parameters that learn in their own way: those whose names begin with ``prefix``.

    ``rate`` multiplies the learning rate; 0 freezes them, so that they keep their bytes. ``after`` is the share of all steps, in
    [0, 1), before which they stay as they are (gradual unfreezing; Howard and Ruder 2018).
    """

    prefix: str
    rate: float = 1.0
    after: float = 0.0


_REST = Group("")


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """Return the learning rate at a step 0..steps-1: a linear warm-up, then the schedule over what is left."""
    warm = round(config.warmup * steps)
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    done = (step - warm) / max(steps - warm, 1)
    factor = {
        "constant": 1.0,
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),  # Loshchilov and Hutter 2017, without restarts
        "linear": 1 - done,
        "step": 1.0 if done < 0.5 else (0.1 if done < 0.75 else 0.01),
    }[config.schedule]
    return config.learning_rate * factor


def momentum(config: TrainingConfig, step: int, steps: int) -> float:
    """Return the momentum at a step 0..steps-1: constant, or rising evenly to its last value."""
    if config.momentum_start is None or steps == 1:
        return config.momentum
    return config.momentum_start + (config.momentum - config.momentum_start) * step / (steps - 1)


def make_optimizer(model: nn.Module, config: TrainingConfig, groups: Sequence[Group] = ()) -> torch.optim.Optimizer:
    """Return the optimiser over the model's trainable parameters; each of its groups knows its ``Group``.

    Raises
    ------
    ValueError
        If a group's prefix fits no parameter.
    """
    sorted_out: dict[Group, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        sorted_out.setdefault(_group_of(name, groups), []).append(parameter)
    if unused := [group.prefix for group in groups if group not in sorted_out]:
        raise ValueError(
            f"no parameter's name begins with {unused[0]!r}; the model has {', '.join(n for n, _ in model.named_parameters())}"
        )
    parameters: list[dict[str, Any]] = [
        {"params": [parameter for parameter in own if parameter.requires_grad], "group": group}
        for group, own in sorted_out.items()
        if group.rate > 0
    ]
    shared: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, momentum=config.momentum, dampening=config.dampening, nesterov=config.nesterov, **shared
        )
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, momentum=config.momentum, **shared)
    kinds: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adagrad": torch.optim.Adagrad}
    optimizer: torch.optim.Optimizer = kinds[config.optimizer](parameters, **shared)
    return optimizer


@contextmanager
def frozen(model: nn.Module, groups: Sequence[Group]) -> Iterator[None]:
    """Take the parameters of groups with rate 0 out of the training, and put them back as they were."""
    taken: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if _group_of(name, groups).rate == 0 and parameter.requires_grad:
            parameter.requires_grad_(False)
            taken.append(parameter)
    try:
        yield
    finally:
        for parameter in taken:
            parameter.requires_grad_(True)


def hold_statistics(model: nn.Module, groups: Sequence[Group], done: float) -> None:
    """Keep the statistics of normalisations whose group learns only later than at the share ``done`` of the steps."""
    for name, module in model.named_modules():
        if isinstance(module, Norm):
            module.held = done < _group_of(f"{name}.", groups).after


def _group_of(name: str, groups: Sequence[Group]) -> Group:
    return next((group for group in groups if name.startswith(group.prefix)), _REST)
