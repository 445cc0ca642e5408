"""How a model says what it is: a line a block, with sizes and parameters."""

from __future__ import annotations

from typing import Any

from torch import nn


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


def _size(channels: int, size: tuple[int, int]) -> str:
    return f"{channels}x{size[0]}x{size[1]}"


def _window(kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> str:
    text = (
        f"{kernel[0]}x{kernel[1]}/{stride[0]}"
        if stride[0] == stride[1]
        else f"{kernel[0]}x{kernel[1]}/{stride[0]}x{stride[1]}"
    )
    return text + (f" pad {padding[0]}x{padding[1]}" if any(padding) else "")
