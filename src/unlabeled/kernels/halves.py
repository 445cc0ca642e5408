"""Steps of a network in half precision (bfloat16, channels last) that PyTorch does slowly where a processor multiplies fast.

Where bf16 has instructions of its own (AVX-512, AMX), convolutions are half of a training step, so what is between them counts:

- max-pool by two: PyTorch keeps eight bytes of index a window, and fills a map with zeros on the way back before it adds to it;
- GELU of the whitened patches, on whose way back nothing is wanted: looked up;
- normalisation, ReLU and the path around: one pass each way after the sums, rounded once;
- the gradient of the filters of small maps: oneDNN's is slow for rows of a few cells, so images are laid side by side first.

All of it works on what PyTorch would work on; it does the work itself wherever these can't.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
import torch.nn.grad
from torch import Tensor, nn

from unlabeled.kernels.blocks import Described, call, is_plain, is_watched, switches_of
from unlabeled.kernels.building import kernels, team
from unlabeled.kernels.pooling import put, transformed

# Rows of so many cells at the most are laid side by side, so many of them: measured with AMX, where wider ones gain nothing.
_SHORT, _BESIDE = 8, 16


def takes(x: Tensor, *vectors: Tensor) -> bool:
    """Say whether maps are in half precision, in memory, channels last, and nobody looks at or transforms what is done with them.

    Vectors (c,), a number a channel each, are of full precision.
    """
    return (
        # First what has no memory to be asked about.
        type(x) is Tensor
        and all(type(one) in (Tensor, nn.Parameter) for one in vectors)
        and not is_watched(x, *vectors)
        and x.dtype == torch.bfloat16
        and x.device.type == "cpu"
        and x.layout == torch.strided
        and x.ndim == 4
        and x.numel() > 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and not x.is_neg()
        and all(one.dtype == torch.float32 and one.device == x.device and not one.is_neg() for one in vectors)
        and all(one.shape == x.shape[1:2] for one in vectors)
        and kernels() is not None
    )


def convolve(convolution: nn.Module, x: Tensor) -> Tensor:
    """Return what a convolution makes of maps (n, c, h, w); of short rows the filters' gradient is found another way."""
    if isinstance(convolution, nn.Conv2d) and x.ndim == 4 and x.shape[3] <= _SHORT and _lays_beside(convolution, x):
        out: Tensor = _Convolution.apply(x, convolution.weight.to(x.dtype))  # type: ignore[no-untyped-call]
        return out
    found: Tensor = convolution(x)
    return found


def gelu(x: Tensor) -> Tensor:
    """Return ``F.gelu(x)``; by a table of all numbers where these are of half precision and no gradient is wanted.

    The table is what PyTorch itself makes of a map.
    """
    if (x.requires_grad and torch.is_grad_enabled()) or not takes(x):
        return F.gelu(x)
    found = torch.empty_like(x)
    call("look_up", _describe(x), _table(), x, found)
    return found


@cache
def _table() -> Tensor:
    """Return PyTorch's GELU of each number of half precision, by its bits."""
    numbers = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    # As a map, channels last: PyTorch has another GELU for vectors, a little off far from nought.
    return F.gelu(numbers.view(64, 8, 8, 16).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).reshape(-1)


def max_pool_by_two(x: Tensor) -> Tensor:
    """Return the maxima (n, c, h // 2, w // 2) of the 2x2 windows of maps (n, c, h, w), as ``F.max_pool2d(x, 2)`` does."""
    if min(x.shape[2:]) < 2 or not takes(x):
        return F.max_pool2d(x, 2)
    values: Tensor = _MaxPool.apply(x)  # type: ignore[no-untyped-call]
    return values


def normalise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    learns: bool,
    momentum: float,
    eps: float,
    beside: Tensor | None = None,
) -> Tensor:
    """Return ``relu(batch_norm(x))``, and ``beside`` added to it, of maps (n, c, h, w) that ``takes`` takes.

    ``mean`` and ``variance`` (c,) are the running ones: used as they are, or moved by the batch's where the normalisation ``learns``.
    """
    if beside is not None and not (beside.shape == x.shape and takes(beside)):
        return beside + normalise(x, weight, bias, mean, variance, learns=learns, momentum=momentum, eps=eps)
    out: Tensor = _Normalise.apply(x, weight, bias, beside, mean, variance, learns, momentum, eps)  # type: ignore[no-untyped-call]
    return out


def _lays_beside(module: nn.Conv2d, x: Tensor) -> bool:
    """Say whether a convolution keeps the size of maps that it computes in half precision, and is PyTorch's own."""
    casts = torch.is_autocast_enabled("cpu")
    half = torch.float32 if casts else torch.bfloat16
    return (
        module.weight.dtype == half
        and not (casts and torch.get_autocast_dtype("cpu") != torch.bfloat16)
        and type(module.weight) in (Tensor, nn.Parameter)
        and module.weight.requires_grad
        and torch.is_grad_enabled()
        and is_plain(module)
        and (module.kernel_size, module.padding, module.stride) == ((3, 3), (1, 1), (1, 1))
        and (module.dilation, module.groups, module.padding_mode, module.bias) == ((1, 1), 1, "zeros", None)
        and x.shape[1] == module.weight.shape[1]
        and takes(x)
    )


def _describe(x: Tensor) -> Described:
    """Describe maps (n, c, h, w) and windows of 2x2 cells on them."""
    n, channels, height, width = x.shape
    return Described(
        n, channels, height, width, channels, 1, 1, 0, 0, 2, 2, height // 2, width // 2, (ctypes.c_int64 * 4)(),
        torch.get_num_threads(), team() or None,
    )  # fmt: skip


def _packed(x: Tensor) -> Tensor:
    """Return a map (n, c, h, w) without gaps, channels last."""
    return x.contiguous(memory_format=torch.channels_last)


class _Convolution(torch.autograd.Function):
    """A 3x3 convolution that keeps the size; the filters' gradient from images that are laid side by side."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled() or transformed(gradient):
            of_x = torch.nn.grad.conv2d_input(x.shape, weight, gradient, padding=1)  # type: ignore[no-untyped-call]
            return of_x, torch.nn.grad.conv2d_weight(x, weight.shape, gradient, padding=1)  # type: ignore[no-untyped-call]
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = _of_convolution(gradient, x, weight, (True, False, False))[0]
        return of_x, _of_convolution(_side_by_side(gradient), _side_by_side(x), weight, (False, True, False))[1]


def _of_convolution(gradient: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]) -> Any:
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1, wanted
    )


def _side_by_side(x: Tensor) -> Tensor:
    """Lay some images (n, c, h, w) side by side with a column of zeros behind each: (n', c, h, some (w + 1)).

    The zeros are what padding would be to the images at their left and at their right; in a gradient they add nothing.
    """
    n, channels, height, width = x.shape
    some = min(_BESIDE, n)
    whole = -(-n // some)
    laid = x.new_zeros(whole * some, height, width + 1, channels)
    laid[:n, :, :width] = x.permute(0, 2, 3, 1)
    rows = laid.view(whole, some, height, width + 1, channels).transpose(1, 2)
    return rows.reshape(whole, height, some * (width + 1), channels).permute(0, 3, 1, 2)


class _MaxPool(torch.autograd.Function):
    """The gradient goes to each window's winner; one that is to be differentiated itself is left to PyTorch's operations."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        size = (n, channels, height // 2, width // 2)
        values = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
        places = torch.empty_like(values, dtype=torch.uint8)
        call("halve", _describe(x), x, values, places)
        ctx.save_for_backward(places)
        ctx.shape = x.shape
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (places,) = ctx.saved_tensors
        if torch.is_grad_enabled() or transformed(gradient):
            return put(gradient, switches_of(places, (2, 2), ctx.shape[3]), ctx.shape[2:], kernel=(2, 2), stride=(2, 2))
        of_x = torch.empty(ctx.shape, dtype=gradient.dtype, memory_format=torch.channels_last)
        call("spread", _describe(of_x), _packed(gradient), places, of_x)
        return of_x


class _Normalise(torch.autograd.Function):
    """Batch normalisation (Ioffe and Szegedy 2015) and ReLU; a gradient that is to be differentiated is left to PyTorch's operations."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, beside: Tensor | None, running: Tensor, spread: Tensor,
        learns: bool, momentum: float, eps: float,
    ) -> Tensor:  # fmt: skip
        described = _describe(x)
        if learns:
            mean, variance = torch.empty_like(running), torch.empty_like(spread)
            call("moments", described, x, mean, variance)
            count = x.numel() // len(running)
            running.lerp_(mean, momentum)
            spread.lerp_(variance * (count / (count - 1)), momentum)
        else:
            mean, variance = running.clone(), spread.clone()  # they may move before the gradient comes
        inverse = torch.rsqrt(variance + eps)
        scale = weight * inverse
        shift = bias - mean * scale
        out = torch.empty_like(x)
        call("normalise", described, x, beside, scale, shift, out)
        ctx.save_for_backward(x, weight, mean, variance, inverse, scale, shift)
        ctx.learns, ctx.eps = learns, eps
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, inverse, scale, shift = ctx.saved_tensors
        beside = gradient if ctx.needs_input_grad[3] else None
        if torch.is_grad_enabled() or transformed(gradient):
            bias = shift + mean * scale
            return *_gradients_of_normalise(ctx, x, weight, bias, (mean, variance), gradient), beside, *(None,) * 5
        gradient, described = _packed(gradient), _describe(x)
        sums, products = torch.empty_like(mean), torch.empty_like(mean)
        call("collect", described, x, gradient, scale, shift, mean, sums, products)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = torch.empty_like(x)
            count = x.numel() // len(mean)
            learns = 1 / count if ctx.learns else 0.0
            share = scale * products * (inverse * inverse * learns)
            call("hand_back", described, x, gradient, scale, shift, mean, scale * sums * learns, share, of_x)
        return of_x, products * inverse, sums, beside, *(None,) * 5


def _gradients_of_normalise(
    ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, statistics: tuple[Tensor, Tensor], gradient: Tensor
) -> list[Tensor | None]:
    """Return the gradients of map, weight and bias by operations that PyTorch can differentiate, those that are wanted."""
    mean, variance = (None, None) if ctx.learns else statistics
    with torch.enable_grad():
        # Views of what was given: what x was made of may be the same weight, and its share is not this step's.
        x, weight, bias = x.view_as(x), weight.view_as(weight), bias.detach().requires_grad_()
        out = F.relu(F.batch_norm(x, mean, variance, weight, bias, ctx.learns, 0.0, ctx.eps))
    needed = ctx.needs_input_grad[:3]
    wanted = [one for one, is_needed in zip((x, weight, bias), needed, strict=True) if is_needed]
    found = iter(torch.autograd.grad(out, wanted, gradient, create_graph=True))
    return [next(found) if is_needed else None for is_needed in needed]
