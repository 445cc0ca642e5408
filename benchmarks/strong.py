"""strong: an epoch of the strong network with flips, shifts and holes, against plain loops, and against the convolutions alone."""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.drawing import draw_images
from benchmarks.measuring import Contender, Outcome, Row, compare, take_turns
from benchmarks.rivals import copy_weights, measure_loss
from benchmarks.training import HELD_OUT, MICRO, Layer, convolve, random_map
from unlabeled import TrainingConfig, fit
from unlabeled.images import Images
from unlabeled.networks.strong import StrongNet
from unlabeled.training.objectives import Classification
from unlabeled.training.runtime import Runtime, seeded

WIDTHS, BATCH, RATE, DECAY, SHIFT, HOLE = (32, 96, 128), 128, 0.2, 5e-4, 4, 8


def run_strong(*, images: int, repeats: int) -> list[Row]:
    """Measure the plain loop, one with channels last, one with autocast besides, the package in both precisions, and the bounds."""
    data, held_out = draw_images(images), draw_images(min(images, HELD_OUT), seed=1)
    few = data.subset(range(min(images, 512)))
    few = Images(few.take(np.arange(len(few))), few.classes)

    def all_of(given: Images) -> dict[str, Contender]:
        return {
            "plain PyTorch": lambda: _train_plain(given, held_out),
            "PyTorch, channels last": lambda: _train_plain(given, held_out, layout=torch.channels_last),
            "PyTorch, channels last, bf16": lambda: _train_plain(
                given, held_out, layout=torch.channels_last, half=True
            ),
            "unlabeled": lambda: _train_ours(given, held_out, "fp32"),
            "unlabeled, bf16": lambda: _train_ours(given, held_out, "bf16"),
            "convolutions alone": lambda: convolve(_layers(torch.float32), len(given) // 4),
            "convolutions alone, bf16": lambda: convolve(_layers(torch.bfloat16), len(given) // 4),
        }

    outcomes = take_turns(all_of(data), repeats, warmups=all_of(few))
    rows = compare("strong", outcomes, rival="plain PyTorch", goal=None)
    rival, rival_half, ours, ours_half, bound, bound_half = rows[1:]
    ours_half.goal = 2.5
    for row, good, alone in ((ours, rival, bound), (ours_half, rival_half, bound_half)):
        row.more["share_of_bound"] = row.median / alone.median
        row.note = f"{row.median / good.median:.2f} times {good.contender} (to reach: 1.3)"
    return rows


class PlainStrong(nn.Module):
    """The same network in PyTorch's own parts."""

    def __init__(self, source: StrongNet) -> None:
        super().__init__()
        self.weight, self.bias = source.whitening.weight, source.whitening.bias
        ins = (self.weight.shape[0], *WIDTHS[:-1])
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "first": nn.Conv2d(narrow, wide, 3, padding=1, bias=False),
                    "norm": nn.BatchNorm2d(wide),
                    "second": nn.Conv2d(wide, wide, 3, padding=1, bias=False),
                    "norm2": nn.BatchNorm2d(wide),
                }
            )
            for narrow, wide in zip(ins, WIDTHS, strict=True)
        )
        self.head = nn.Linear(WIDTHS[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, 10) of images (n, 3, h, w)."""
        x = F.gelu(F.conv2d(x, self.weight, self.bias))
        for block in self.blocks:
            assert isinstance(block, nn.ModuleDict)
            x = F.relu(block["norm"](F.max_pool2d(block["first"](x), 2)))
            x = x + F.relu(block["norm2"](block["second"](x)))
        logits: Tensor = self.head(x.amax((2, 3)) * WIDTHS[-1] ** -0.5)
        return logits


def _new() -> StrongNet:
    with seeded(0):
        return StrongNet((3, 32, 32), classes=10, widths=WIDTHS)


def _augment(x: Tensor) -> Tensor:
    """Flip, shift and cut a batch at once."""
    n, _, height, width = x.shape
    x = torch.where((torch.rand(n) < 0.5)[:, None, None, None], x.flip(3), x)
    padded = F.pad(x, (SHIFT,) * 4, mode="replicate")
    by = torch.randint(0, 2 * SHIFT + 1, (2, n))
    rows = (by[0, :, None] + torch.arange(height))[:, :, None]
    columns = (by[1, :, None] + torch.arange(width))[:, None, :]
    x = padded.permute(0, 2, 3, 1)[torch.arange(n)[:, None, None], rows, columns].permute(0, 3, 1, 2)
    first = torch.stack([torch.randint(0, size, (n,)) for size in (height, width)]) - HOLE // 2
    inside = [(torch.arange(size) >= at[:, None]) & (torch.arange(size) < at[:, None] + HOLE)
              for size, at in zip((height, width), first, strict=True)]  # fmt: skip
    return x.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)


def _train_plain(
    images: Images, held_out: Images, *, layout: torch.memory_format = torch.contiguous_format, half: bool = False
) -> Outcome:
    source = _new()
    model = copy_weights(source, PlainStrong(source)).to(memory_format=layout)  # type: ignore[call-overload]
    start = time.perf_counter()
    pixels, labels = torch.from_numpy(np.asarray(images.pixels)), torch.from_numpy(images.classes)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=DECAY, nesterov=True)
    steps = -(-len(images) // BATCH)
    slope = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    model.train()
    for rows in torch.randperm(len(images)).split(BATCH):
        x = _augment(pixels[rows].float() / 127.5 - 1).contiguous(memory_format=layout)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = F.cross_entropy(model(x), labels[rows], label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        slope.step()
    seconds = time.perf_counter() - start
    return Outcome(len(images), seconds, measure_loss(model, held_out, classify=True))


def _train_ours(images: Images, held_out: Images, precision: str) -> Outcome:
    model = _new()
    config = TrainingConfig(
        epochs=1, batch_size=BATCH, learning_rate=RATE, weight_decay=DECAY, optimizer="sgd", nesterov=True, schedule="linear",
        flip=True, shift=SHIFT, cutout=HOLE, smoothing=0.1,
    )  # fmt: skip
    start = time.perf_counter()
    fit(model, Classification(0.1), images, valid=None, config=config, runtime=Runtime.of("cpu", precision))
    return Outcome(len(images), time.perf_counter() - start, measure_loss(model, held_out, classify=True))


def _layers(dtype: torch.dtype) -> list[Layer]:
    found, side, ins = [], 31, (24, *WIDTHS[:-1])
    for narrow, wide in zip(ins, WIDTHS, strict=True):
        for channels, size in ((narrow, side), (wide, side // 2)):
            layer = nn.Conv2d(channels, wide, 3, padding=1, bias=False).to(dtype)
            layer = layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            x, gradient = (random_map(MICRO, n, size, dtype) for n in (channels, wide))
            found.append((layer, x.requires_grad_(), gradient))
        side //= 2
    return found
