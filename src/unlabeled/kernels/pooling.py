"""Max-pool with switches and its inverse; average pool and its inverse.

PyTorch's own unpool writes a cell of overlapping windows several times in no fixed order, is refused under
deterministic algorithms, and is missing on some devices. Here windows are taken in groups that do not overlap, one
group after the other: within a group no cell is written twice, so the sum has one order, on every device.

All maps are (n, c, h, w); kernel, stride, padding and size are (height, width) pairs. Switches are what
``torch.nn.functional.max_pool2d`` returns as indices: int64, ``row * w + column`` of the winner in the unpadded map.

To put values where switches say, and to read them there, are each other's gradients, so both can be differentiated any number of
times. Under the transforms of ``torch.func``, and in forward mode, PyTorch's own operations do the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from unlabeled.geometry import Pair


def transformed(*tensors: Tensor) -> bool:
    """Tell whether a transform of ``torch.func``, many gradients at once, forward mode or ``torch.jit.trace`` is at work.

    They follow PyTorch's operations alone.
    """
    functorch: bool = torch._C._are_functorch_transforms_active()
    batched = any(torch._C._functorch.is_legacy_batchedtensor(one) for one in tensors)
    return functorch or batched or forward_ad._current_level >= 0 or torch._C._get_tracing_state() is not None


def max_pool(x: Tensor, kernel: Pair, stride: Pair, padding: Pair = (0, 0)) -> tuple[Tensor, Tensor]:
    """Return the maxima (n, c, h', w') and their switches; of equal values the first wins."""
    if transformed():
        values, switches = F.max_pool2d(x, kernel, stride, padding, return_indices=True)
    else:
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
    out = put(values, switches, size, kernel=kernel, stride=stride)
    if all(k <= s for k, s in zip(kernel, stride, strict=True)):
        return out
    with torch.no_grad():
        claims = _scatter(torch.ones_like(values), switches, size, kernel, stride).clamp(min=1)
    return out / claims


def put(values: Tensor, switches: Tensor, size: Pair, *, kernel: Pair, stride: Pair) -> Tensor:
    """Add each value to the cell that its switch names, in a map of zeros."""
    if transformed(values):
        return _scatter(values, switches, size, kernel, stride)
    out: Tensor = _Put.apply(values, switches, size, kernel, stride)  # type: ignore[no-untyped-call]
    return out


def pick(x: Tensor, switches: Tensor, *, kernel: Pair, stride: Pair) -> Tensor:
    """Return the values of a map in the cells that the switches name."""
    if transformed(x):
        return _gather(x, switches)
    values: Tensor = _Pick.apply(x, switches, kernel, stride)  # type: ignore[no-untyped-call]
    return values


def check_switches(switches: Tensor, shape: tuple[int, ...], kernel: Pair, size: Pair, where: str) -> None:
    """Refuse switches of another shape or kind, or outside of a map of a size; or as places, outside of their window.

    Raises
    ------
    ValueError
        The text says what is wrong with the switches of ``where``.
    """
    if tuple(switches.shape) != shape:
        raise ValueError(
            f"the switches of {where} have shape {tuple(switches.shape)} instead of {shape}; give those that encode returned"
        )
    if switches.dtype not in (torch.int64, torch.uint8):
        raise ValueError(
            f"the switches of {where} are {switches.dtype}; encode returns int64, and uint8 for places in a window"
        )
    if torch.compiler.is_compiling() or transformed() or switches.device.type == "meta" or not switches.numel():
        return  # no values to look at; PyTorch's own operations check them
    least, most = (int(value) for value in torch.aminmax(switches))
    size = kernel if switches.dtype == torch.uint8 else size
    if least < 0 or most >= size[0] * size[1]:
        wrong = least if least < 0 else most
        raise ValueError(
            f"the switches of {where} hold {wrong}, outside of 0..{size[0] * size[1] - 1}; give those that encode returned"
        )


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
    def backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor, None, None, None]:
        (switches,) = ctx.saved_tensors
        kernel, stride = ctx.windows
        return put(gradient, switches, ctx.size, kernel=kernel, stride=stride), None, None, None


class _Put(torch.autograd.Function):
    """Values to cells; the gradient is picked from the same cells."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, switches: Tensor, size: Pair, kernel: Pair, stride: Pair) -> Tensor:
        ctx.save_for_backward(switches)
        ctx.windows = kernel, stride
        return _scatter(values, switches, size, kernel, stride)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (switches,) = ctx.saved_tensors
        kernel, stride = ctx.windows
        return pick(gradient, switches, kernel=kernel, stride=stride), None, None, None, None


class _Pick(torch.autograd.Function):
    """Cells to values; the gradient is put into the same cells."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, switches: Tensor, kernel: Pair, stride: Pair) -> Tensor:
        ctx.save_for_backward(switches)
        ctx.size, ctx.windows = (int(x.shape[2]), int(x.shape[3])), (kernel, stride)
        return _gather(x, switches)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (switches,) = ctx.saved_tensors
        kernel, stride = ctx.windows
        return put(gradient, switches, ctx.size, kernel=kernel, stride=stride), None, None, None


def _scatter(values: Tensor, switches: Tensor, size: Pair, kernel: Pair, stride: Pair) -> Tensor:
    """Add each value to the cell that its switch names, in an order that never varies."""
    n, channels = values.shape[:2]
    out = values.new_zeros((n, size[0] * size[1] * channels))
    last = _channels_last(values)
    places = _places(switches, size, last)
    in_place = not transformed(values)  # a transform can't follow that
    alone = all(k <= s for k, s in zip(kernel, stride, strict=True))
    for group in _groups(kernel, stride):
        places_, values_ = (_flat(x if alone else x[group], last) for x in (places, values))
        out = out.scatter_add_(1, places_, values_) if in_place else out.scatter_add(1, places_, values_)
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
    n, a, b, c = x.shape  # said in full: an empty batch leaves nothing to reckon a size from
    return (x.permute(0, 2, 3, 1) if last else x).reshape(n, a * b * c)


def _channels_last(x: Tensor) -> bool:
    # Under a transform the question can't be asked, and the order does not matter.
    return not transformed(x) and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
