"""How a model says what it is: a line a block, with sizes and parameters."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def block_table(model: Any, ending: str) -> str:
    """Draw the sizes and parameters of every block of a ``ConvAutoEncoder`` or ``ConvNet``."""
    rows = [("block", "in", "convolution", "out", "pool", "out", "parameters")]
    for number, block in enumerate(model.geometry.blocks):
        modules: list[Any] = [model.encoder.convolutions[number]]
        if hasattr(model, "decoder"):
            modules.append(model.decoder.convolutions[-1 - number])
        counts = " + ".join(f"{count_parameters(module):,}" for module in modules)
        rows.append(
            (
                str(number + 1),
                _size(block.in_channels, block.input_size),
                _window(block.conv_kernel, block.conv_stride, block.conv_padding),
                _size(block.out_channels, block.conv_size),
                f"{model.encoder.pool} {_window(block.pool_kernel, block.pool_stride, block.pool_padding)}" if block.pools else "-",
                _size(block.out_channels, block.pool_size),
                counts,
            )
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"{type(model).__name__}: {ending}, {count_parameters(model):,} parameters", *lines])


def count_parameters(module: nn.Module) -> int:
    """Count the numbers that training can change."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def count_operations(model: nn.Module, shape: Sequence[int]) -> float:
    """Count the multiplications with additions of one image's (channels, height, width) way through a model, forward.

    Training takes about three times as many: the gradients of the weights, and of the maps, are as many again.
    """
    # On no device: there are no numbers, and so nothing is computed, nor by a kernel that the counter does not know.
    copied = copy.deepcopy(model).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copied(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops() / 2


def _size(channels: int, size: tuple[int, int]) -> str:
    return f"{channels}x{size[0]}x{size[1]}"


def _window(kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> str:
    text = (
        f"{kernel[0]}x{kernel[1]}/{stride[0]}"
        if stride[0] == stride[1]
        else f"{kernel[0]}x{kernel[1]}/{stride[0]}x{stride[1]}"
    )
    return text + (f" pad {padding[0]}x{padding[1]}" if any(padding) else "")
