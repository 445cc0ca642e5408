"""Averaged weights: a copy of a model that follows it slowly."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Average:
    """The exponential average of a model's weights and statistics over the steps of a training, in ``model``.

    After step t = 0, 1, ... each number a becomes d a + (1 - d) w, w the model's, with d = min(decay, (1 + t) / (10 + t)): early on
    the average follows quickly, and so holds little of the first weights (Tarvainen and Valpola, "Mean teachers are better role
    models", 2017). Numbers that never change stay the same to the byte. Of a model that is ``settled``, trained before, the first
    weights are worth keeping, and d is the decay from the start.
    """

    def __init__(self, model: nn.Module, decay: float, *, settled: bool = False) -> None:
        self.decay, self.settled = decay, settled
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    def follow(self, model: nn.Module, step: int) -> None:
        """Move the average towards the model, after its step number ``step``, from 0."""
        moving = self.decay if self.settled else min(self.decay, (1 + step) / (10 + step))
        own, others = _numbers(self.model), _numbers(model)
        torch._foreach_lerp_([own[name] for name in own], [others[name] for name in own], 1 - moving)


def _numbers(model: nn.Module) -> dict[str, Tensor]:
    """Return what can be averaged by its name: weights, and buffers of fractions."""
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
