"""Max-pool with switches and its inverse; average pool and its inverse.

PyTorch's own unpool writes a cell of overlapping windows several times in no fixed order, is refused under
deterministic algorithms, and is missing on some devices. Here windows are taken in groups that do not overlap, one
group after the other: within a group no cell is written twice, so the sum has one order, on every device.

All maps are (n, c, h, w); kernel, stride, padding and size are (height, width) pairs. Switches are what
``torch.nn.functional.max_pool2d`` returns as indices: int64, ``row * w + column`` of the winner in the unpadded map.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from unlabeled.geometry import Pair


def max_pool(x: Tensor, kernel: Pair, stride: Pair, padding: Pair = (0, 0)) -> tuple[Tensor, Tensor]:
    """Return the maxima (n, c, h', w') and their switches; of equal values the first wins."""
    values, switches = _MaxPool.apply(x, kernel, stride, padding)  # type: ignore[no-untyped-call]
    return values, switches


def switches_after_relu(
    values: Tensor, switches: Tensor, *, width: int, stride: Pair, padding: Pair = (0, 0)
) -> Tensor:
    """Return the switches of ``max_pool(relu(x))``, given the values and switches of ``max_pool(x)`` and the width of x.

    A window without a positive cell is all zeros behind a relu, and of equal cells the first wins.
    """
    rows, columns = (
        (torch.arange(number, device=values.device) * step - before).clamp(min=0)
        for number, step, before in zip(values.shape[2:], stride, padding, strict=True)
    )
    return torch.where(values <= 0, rows.view(-1, 1) * width + columns, switches)


def max_unpool(values: Tensor, switches: Tensor, size: Pair, *, kernel: Pair, stride: Pair) -> Tensor:
    """Put each value back where its switch says, in a map of zeros of the given size.

    A cell that several overlapping windows chose gets the mean of their values, so that
    ``max_unpool(*max_pool(x))`` is x at every winning cell and zero elsewhere.
    """
    out: Tensor = _MaxUnpool.apply(values, switches, size, kernel, stride)  # type: ignore[no-untyped-call]
    return out


def average_pool(x: Tensor, kernel: Pair, stride: Pair, padding: Pair = (0, 0)) -> Tensor:
    """Return the mean of each window; cells of padding do not count."""
    return F.avg_pool2d(x, kernel, stride, padding, count_include_pad=False)


def average_unpool(values: Tensor, size: Pair, *, kernel: Pair, stride: Pair, padding: Pair = (0, 0)) -> Tensor:
    """Spread each value over its window; a cell of several windows gets their mean, a cell of none zero."""
    height, width = values.shape[2:]
    padded = size[0] + 2 * padding[0], size[1] + 2 * padding[1]
    # A transposed convolution with a kernel of ones adds each value to every cell of its window.
    ones = values.new_ones((values.shape[1], 1, *kernel))
    spread = F.conv_transpose2d(values, ones, stride=stride, groups=values.shape[1])
    claims = F.conv_transpose2d(values.new_ones((1, 1, height, width)), ones[:1], stride=stride)
    mean = spread / claims.clamp(min=1)
    mean = F.pad(mean, (0, padded[1] - mean.shape[3], 0, padded[0] - mean.shape[2]))
    return mean[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]


class _MaxPool(torch.autograd.Function):
    """Windowed maximum; the gradient goes to the winners."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> tuple[Tensor, Tensor]:
        values, switches = F.max_pool2d(x, kernel, stride, padding, return_indices=True)
        ctx.save_for_backward(switches)
        ctx.size, ctx.windows = (int(x.shape[2]), int(x.shape[3])), (kernel, stride)
        ctx.mark_non_differentiable(switches)
        return values, switches

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor, None, None, None]:
        (switches,) = ctx.saved_tensors
        return _scatter(gradient, switches, ctx.size, *ctx.windows), None, None, None


class _MaxUnpool(torch.autograd.Function):
    """The inverse; the gradient is gathered from the same cells."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, switches: Tensor, size: Pair, kernel: Pair, stride: Pair) -> Tensor:
        out = _scatter(values, switches, size, kernel, stride)
        claims = None
        if any(k > s for k, s in zip(kernel, stride, strict=True)):
            claims = _scatter(torch.ones_like(values), switches, size, kernel, stride).clamp_(min=1)
            out = out / claims
        ctx.save_for_backward(switches, claims)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        switches, claims = ctx.saved_tensors
        gradient = gradient if claims is None else gradient / claims
        return _gather(gradient, switches), None, None, None, None


def _scatter(values: Tensor, switches: Tensor, size: Pair, kernel: Pair, stride: Pair) -> Tensor:
    """Add each value to the cell that its switch names, in an order that never varies."""
    n, channels = values.shape[:2]
    out = values.new_zeros((n, size[0] * size[1] * channels))
    last = _channels_last(values)
    places = _places(switches, size, last)
    for group in _groups(kernel, stride):
        out.scatter_add_(1, _flat(places[group], last), _flat(values[group], last))
    if last:
        return out.view(n, *size, channels).permute(0, 3, 1, 2)
    return out.view(n, channels, *size)


def _gather(x: Tensor, switches: Tensor) -> Tensor:
    """Read the cells that the switches name."""
    last = _channels_last(switches)
    values = _flat(x, last).gather(1, _flat(_places(switches, (x.shape[2], x.shape[3]), last), last))
    n, channels, height, width = switches.shape
    if last:
        return values.view(n, height, width, channels).permute(0, 3, 1, 2)
    return values.view(n, channels, height, width)


def _groups(kernel: Pair, stride: Pair) -> Iterator[tuple[slice, slice, slice, slice]]:
    """Yield the windows in groups without overlap: every ceil(kernel / stride)-th of each side."""
    rows, columns = (-(-k // s) for k, s in zip(kernel, stride, strict=True))
    for row in range(rows):
        for column in range(columns):
            yield slice(None), slice(None), slice(row, None, rows), slice(column, None, columns)


def _places(switches: Tensor, size: Pair, last: bool) -> Tensor:
    """Turn switches into places in an image laid out flat, with the channels last or first."""
    channel = torch.arange(switches.shape[1], device=switches.device).view(1, -1, 1, 1)
    return switches * switches.shape[1] + channel if last else switches + channel * (size[0] * size[1])


def _flat(x: Tensor, last: bool) -> Tensor:
    return (x.permute(0, 2, 3, 1) if last else x).reshape(x.shape[0], -1)


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
