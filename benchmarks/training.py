"""ae1, ae3 and net: one epoch of training against the plain loop, and against the convolutions alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

from benchmarks.drawing import draw_images
from benchmarks.measuring import Contender, Outcome, Row, compare, take_turns
from benchmarks.rivals import PlainAutoEncoder, PlainNetwork, copy_weights, measure_loss, train_plainly
from unlabeled import Classification, ConvAutoEncoder, ConvNet, Reconstruction, TrainingConfig, fit
from unlabeled.images import Images
from unlabeled.training.runtime import Runtime, seeded

BLOCK = {"conv_kernel_size": 3, "conv_stride": 1, "conv_padding": 1, "pool_kernel_size": 2, "pool_stride": 2}
HELD_OUT = 2_000
MICRO = 32
Layer: TypeAlias = tuple[nn.Module, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """A model to train, as the package names it and as one would write it."""

    filters: tuple[int, ...]
    classify: bool
    goal: float

    def ours(self) -> nn.Module:
        """Make the package's model."""
        with seeded(0):
            if self.classify:
                return ConvNet((3, 32, 32), conv_out_channels=self.filters, classes=10, **BLOCK)
            return ConvAutoEncoder((3, 32, 32), conv_out_channels=self.filters, **BLOCK)

    def plain(self) -> nn.Module:
        """Make the plain model with the same first weights."""
        return copy_weights(self.ours(), PlainNetwork() if self.classify else PlainAutoEncoder(self.filters))


CASES = {
    "ae1": Case((32,), False, 3.0),
    "ae3": Case((32, 64, 128), False, 2.5),
    "net": Case((32, 64), True, 2.5),
}


def run_training(name: str, *, images: int, repeats: int) -> list[Row]:
    """Measure one case: plain, the package in fp32 and bf16, and the bound that the convolutions alone set."""
    case = CASES[name]
    data, held_out = draw_images(images), draw_images(HELD_OUT, seed=1)
    contenders: dict[str, Contender] = {
        "plain PyTorch": lambda: _train_plain(case, data, held_out),
        "unlabeled": lambda: train_ours(case, data, held_out),
        "unlabeled, bf16": lambda: train_ours(case, data, held_out, precision="bf16"),
        "convolutions alone": lambda: _convolve(case, images // 4),
        "convolutions alone, bf16": lambda: _convolve(case, images // 4, torch.bfloat16),
    }
    few = data.subset(range(min(images, 1_024)))
    few = Images(few.take(range(len(few))), few.classes)
    warmups: dict[str, Contender] = {
        "plain PyTorch": lambda: _train_plain(case, few, few),
        "unlabeled": lambda: train_ours(case, few, few),
        "unlabeled, bf16": lambda: train_ours(case, few, few, precision="bf16"),
        "convolutions alone": lambda: _convolve(case, 256),
        "convolutions alone, bf16": lambda: _convolve(case, 256, torch.bfloat16),
    }
    outcomes = take_turns(contenders, repeats, warmups=warmups)
    rows = compare(name, outcomes, rival="plain PyTorch", goal=None)
    rows[1].goal = case.goal
    rows[1].more["share_of_bound"] = rows[1].median / rows[3].median
    rows[2].more["share_of_bound"] = rows[2].median / rows[4].median
    return rows


def _train_plain(case: Case, images: Images, held_out: Images) -> Outcome:
    model = case.plain()
    outcome = train_plainly(model, images, classify=case.classify)
    outcome.loss = measure_loss(model, held_out, classify=case.classify)
    return outcome


def train_ours(case: Case, images: Images, held_out: Images, *, precision: str = "fp32") -> Outcome:
    """Train with the package for one epoch; the whole call is timed."""
    model = case.ours()
    start = time.perf_counter()
    fit_ours(case, model, images, precision=precision)
    return Outcome(len(images), time.perf_counter() - start, loss_of_ours(case, model, held_out))


def fit_ours(case: Case, model: nn.Module, images: Images, *, precision: str = "fp32") -> None:
    """Train for one epoch as the plain loop does."""
    config = TrainingConfig(
        epochs=1, batch_size=128, learning_rate=1e-3, weight_decay=0, optimizer="adam", schedule="constant"
    )
    objective = Classification() if case.classify else Reconstruction()
    fit(model, objective, images, valid=None, config=config, runtime=Runtime.of("cpu", precision))


def loss_of_ours(case: Case, model: nn.Module, held_out: Images) -> float:
    """Measure the loss through the plain model: by the same code for all."""
    return measure_loss(copy_weights(model, case.plain()), held_out, classify=case.classify)


def _convolve(case: Case, images: int, dtype: torch.dtype = torch.float32) -> Outcome:
    return convolve(_layers(case, MICRO, dtype), images)


def convolve(layers: Sequence[Layer], images: int) -> Outcome:
    """Time the convolutions of a training step forward and backward, each alone, with nothing between them.

    Of each there are the layer, its input and the gradient of its output, of ``MICRO`` images.
    """
    start = time.perf_counter()
    steps = max(images // MICRO, 1)
    for _ in range(steps):
        for layer, x, gradient in layers:
            layer(x).backward(gradient)
    return Outcome(steps * MICRO, time.perf_counter() - start)


def _layers(case: Case, n: int, dtype: torch.dtype) -> Sequence[Layer]:
    widths, side, found = (3, *case.filters), 32, []
    for number, (narrow, wide) in enumerate(zip(widths, case.filters, strict=False)):
        kinds = [nn.Conv2d(narrow, wide, 3, padding=1)]
        kinds += [] if case.classify else [nn.ConvTranspose2d(wide, narrow, 3, padding=1)]
        for kind in kinds:
            layer = kind.to(dtype).to(memory_format=torch.channels_last)
            x = random_map(n, layer.in_channels, side, dtype).requires_grad_(
                number > 0 or isinstance(layer, nn.ConvTranspose2d)
            )
            found.append((layer, x, random_map(n, layer.out_channels, side, dtype)))
        side //= 2
    return found


def random_map(n: int, channels: int, side: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(n, channels, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
