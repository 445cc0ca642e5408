"""Convolution and max-pool as one step, and unpool and transposed convolution as one step, with their gradients.

A winner is named by its "place": the number of its cell within the window, row by row, one byte (n, f, h', w'). The same
is said by a switch, which numbers the cells of the whole map. ``pooling`` and PyTorch's convolutions are the twin: they
give the same values and gradients, and run wherever these do not.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from unlabeled.geometry import Block
from unlabeled.kernels.building import kernels, library, team

_MOST_PLACES = 16


class _Block(ctypes.Structure):
    """What C calls ``block``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ["n", "c", "h", "w", "f", "kh", "kw", "ph", "pw", "sh", "sw", "oh", "ow"]),
        ("filter_strides", ctypes.c_int64 * 4),
        ("threads", ctypes.c_int64),
        ("team", ctypes.c_void_p),
    )


def runs(block: Block, *tensors: Tensor) -> bool:
    """Say whether the kernels can do a block with a max-pool, for such an input or code, and such weights."""
    return (
        block.conv_stride == (1, 1)
        and block.pool_stride == block.pool_kernel
        and block.pool_padding == (0, 0)
        and 1 < block.pool_kernel[0] * block.pool_kernel[1] <= _MOST_PLACES
        # Subclasses are tensors without memory, as when a model is exported.
        and all(type(x) in (Tensor, nn.Parameter) and x.numel() > 0 for x in tensors)
        and all(x.device.type == "cpu" and x.dtype == torch.float32 for x in tensors)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and kernels() is not None
    )


def pays(block: Block) -> bool:
    """Say whether a block is quicker by the kernels: not with few channels and windows of more than four cells, as measured."""
    return block.in_channels >= 16 or block.pool_kernel[0] * block.pool_kernel[1] <= 4


def convolve_pool(x: Tensor, weight: Tensor, bias: Tensor | None, block: Block, *, relu: bool) -> tuple[Tensor, Tensor]:
    """Return the maxima (n, f, h', w') of x (n, c, h, w) convolved, activated if wanted, and the winners' places."""
    values, places = _ConvolvePool.apply(x, weight, bias, block, relu)  # type: ignore[no-untyped-call]
    return values, places


def unpool_convolve(
    values: Tensor, places: Tensor, weight: Tensor, bias: Tensor | None, block: Block, *, after_relu: bool, relu: bool
) -> Tensor:
    """Return what the transposed convolution makes of values (n, f, h', w') put back in their places: (n, c, h, w).

    ``after_relu`` says that the values come from a relu, which ends the gradient where they are zero; ``relu`` that one follows.
    """
    out: Tensor = _UnpoolConvolve.apply(values, places, weight, bias, block, after_relu, relu)  # type: ignore[no-untyped-call]
    return out


def to_switches(places: Tensor, block: Block) -> Tensor:
    """Turn places into switches: int64, ``row * w + column`` of the winner in the map."""
    rows, columns = block.pool_kernel
    place = places.long()
    y = torch.arange(places.shape[2], device=places.device).view(-1, 1) * rows + place // columns
    x = torch.arange(places.shape[3], device=places.device) * columns + place % columns
    return y * block.conv_size[1] + x


class _ConvolvePool(torch.autograd.Function):
    """The gradient goes through the winners alone."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, block: Block, relu: bool
    ) -> tuple[Tensor, Tensor]:
        x = _packed(x)
        values = x.new_empty((len(x), *block.pool_size, block.out_channels))
        places = torch.empty_like(values, dtype=torch.uint8)
        described = _describe(block, len(x), weight)
        _call("encode", described, x, weight, _packed(bias), int(relu), values, places)
        ctx.save_for_backward(x, weight, values if relu else None, places)
        ctx.block = block
        out, where = _channels_second(values), _channels_second(places)
        ctx.mark_non_differentiable(where)
        return out, where

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, gate, places = ctx.saved_tensors
        gradient = _packed(gradient)
        described = _describe(ctx.block, len(x), weight)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            of_weight, of_bias = weight.new_empty(weight.shape), weight.new_empty(len(weight))
            _call("gather", described, x, None, gradient, gate, places, None, 0, of_weight, of_bias, None, None)
        if ctx.needs_input_grad[0]:
            of_x = torch.empty_like(x)
            _call("scatter", described, gradient, gate, places, weight, None, 0, of_x)
            of_x = _channels_second(of_x)
        return of_x, of_weight, of_bias if ctx.needs_input_grad[2] else None, None, None


class _UnpoolConvolve(torch.autograd.Function):
    """The way back; the unpooled map is never written."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        places: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        block: Block,
        after_relu: bool,
        relu: bool,
    ) -> Tensor:
        values, places = _packed(values), _packed(places)
        out = values.new_empty((len(values), *block.input_size, block.in_channels))
        described = _describe(block, len(values), weight)
        _call("scatter", described, values, None, places, weight, _packed(bias), int(relu), out)
        opened = _channels_second(out)
        ctx.save_for_backward(values, places, weight, opened if relu else None)
        ctx.block, ctx.after_relu = block, after_relu
        return opened

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, places, weight, opened = ctx.saved_tensors
        gradient, opened = _packed(gradient), _packed(opened)
        described = _describe(ctx.block, len(values), weight)
        of_values, of_weight = torch.empty_like(values), weight.new_empty(weight.shape)
        of_bias = weight.new_empty(ctx.block.in_channels)
        skip = int(ctx.after_relu)
        _call(
            "gather",
            described,
            gradient,
            opened,
            values,
            None,
            places,
            weight,
            skip,
            of_weight,
            None,
            of_values,
            of_bias,
        )
        wanted = ctx.needs_input_grad
        return (
            _channels_second(of_values) if wanted[0] else None,
            None,
            of_weight if wanted[2] else None,
            of_bias if wanted[3] else None,
            None,
            None,
            None,
        )


def _describe(block: Block, n: int, weight: Tensor) -> _Block:
    return _Block(
        n, block.in_channels, *block.input_size, block.out_channels, *block.conv_kernel, *block.conv_padding,
        *block.pool_kernel, *block.pool_size, (ctypes.c_int64 * 4)(*weight.stride()), torch.get_num_threads(), team() or None,
    )  # fmt: skip


def _call(name: str, described: _Block, *arguments: Tensor | int | None) -> None:
    given = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    if getattr(library(), name)(ctypes.byref(described), *given):
        raise MemoryError(f"not enough memory for a block's {name} on {described.n} images; use smaller batches")


def _packed(x: Tensor | None) -> Any:
    """Return a map (n, c, h, w) as (n, h, w, c) without gaps, or a vector without gaps; copied only if need be."""
    return None if x is None else (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).contiguous()


def _channels_second(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)
