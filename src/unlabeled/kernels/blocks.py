"""Convolution and max-pool as one step, and unpool and transposed convolution as one step, with their gradients.

A winner is named by its "place": the number of its cell within the window, row by row, one byte (n, f, h', w'). The same
is said by a switch, which numbers the cells of the whole map. ``pooling`` and PyTorch's convolutions are the twin: they
give the same values and gradients, and run wherever these do not.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.grad
from torch import Tensor, nn
from torch.nn.modules import module as nn_module
from torch.utils import _python_dispatch as dispatching

from unlabeled.geometry import Block, Pair
from unlabeled.kernels.building import kernels, library, team
from unlabeled.kernels.pooling import pick, put, transformed

_MOST_PLACES = 16
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# What a module of each kind does when it is called; whoever exchanges it wants the exchange to be called.
_USUAL: dict[type[nn.Module], Any] = {
    kind: (kind.forward, getattr(kind, "_conv_forward", None)) for kind in (nn.Conv2d, nn.ConvTranspose2d, nn.ReLU)
}


class Described(ctypes.Structure):
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
        and all(x.device.type == "cpu" and x.dtype == torch.float32 and x.layout == torch.strided for x in tensors)
        and not any(x.is_neg() for x in tensors)
        and not torch.is_autocast_enabled("cpu")
        and not is_watched()
        and kernels() is not None
    )


def is_watched(*tensors: Tensor) -> bool:
    """Tell whether somebody compiles, transforms, counts or changes PyTorch's operations, and so has to see them."""
    return (
        torch.compiler.is_compiling()
        or transformed(*tensors)
        or dispatching._get_current_dispatch_mode() is not None
        or torch._C._len_torch_function_stack() > 0
    )


def takes(block: Block, convolution: nn.Module, x: Tensor, places: Tensor | None = None) -> bool:
    """Say whether the kernels do the work of a block, with such a convolution, and such an input or a code with its places.

    They do if they can and are quicker. They trust sizes, so these are looked at here: another module may stand before this one.
    """
    size = (block.in_channels, *block.input_size) if places is None else (block.out_channels, *block.pool_size)
    return (
        x.ndim == 4
        and tuple(x.shape[1:]) == size
        and (places is None or (places.shape == x.shape and places.device == x.device))
        and pays(block)
        and _is_the_blocks(convolution, block)
        and runs(block, x, *(one for one in (convolution.weight, convolution.bias) if isinstance(one, Tensor)))
    )


def is_plain(module: nn.Module) -> bool:
    """Say whether a convolution or relu is PyTorch's own, with nothing around it that has to be called: the kernels do not call it."""
    kind = type(module)
    return (
        _USUAL.get(kind) is not None
        and (kind.forward, getattr(kind, "_conv_forward", None)) == _USUAL[kind]
        and "_conv_forward" not in module.__dict__
        and is_unhooked(module)
    )


def is_unhooked(module: nn.Module) -> bool:
    """Say whether nothing listens to a module's calls, or to those of all modules, and it has no ``forward`` of its own."""
    return (
        "forward" not in module.__dict__
        and not any(getattr(module, name) for name in _HOOKS)
        and not nn_module._has_any_global_hook()  # type: ignore[no-untyped-call]
    )


def _is_the_blocks(module: nn.Module, block: Block) -> bool:
    """Say whether a module is the plain convolution, forward or transposed, that the block describes."""
    if not is_plain(module) or not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        return False
    return (
        (module.kernel_size, module.padding, module.stride)
        == (block.conv_kernel, block.conv_padding, block.conv_stride)
        and (module.dilation, module.groups, module.padding_mode) == ((1, 1), 1, "zeros")
        and not any(getattr(module, "output_padding", ()))
        and tuple(module.weight.shape) == (block.out_channels, block.in_channels, *block.conv_kernel)
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
    return switches_of(places, block.pool_kernel, block.conv_size[1])


def switches_of(places: Tensor, kernel: Pair, width: int) -> Tensor:
    """Do the same for windows that do not overlap, on a map of that width."""
    rows, columns = kernel
    place = places.long()
    y = torch.arange(places.shape[2], device=places.device).view(-1, 1) * rows + place // columns
    x = torch.arange(places.shape[3], device=places.device) * columns + place % columns
    return y * width + x


class _ConvolvePool(torch.autograd.Function):
    """The gradient goes through the winners alone; a gradient that is to be differentiated itself is left to PyTorch's operations."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, block: Block, relu: bool
    ) -> tuple[Tensor, Tensor]:
        # Maps of their own and not views of others: who changes what a function returned in place may not change a view.
        size = (len(x), block.out_channels, *block.pool_size)
        values = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
        places = torch.empty_like(values, dtype=torch.uint8)
        described = _describe(block, len(x), weight)
        call("encode", described, _packed(x), weight, _packed(bias), int(relu), values, places)
        ctx.save_for_backward(x, weight, values if relu else None, places)
        ctx.block = block
        ctx.mark_non_differentiable(places)
        return values, places

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, gate, places = ctx.saved_tensors
        if torch.is_grad_enabled() or transformed(gradient):
            gradients = _gradients_of_convolve_pool(gradient, x, weight, gate, places, ctx.block)
            return gradients[0], gradients[1], gradients[2] if ctx.needs_input_grad[2] else None, None, None
        x, gradient = _packed(x), _packed(gradient)
        described = _describe(ctx.block, len(x), weight)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            of_weight, of_bias = weight.new_empty(weight.shape), weight.new_empty(len(weight))
            call("gather", described, x, None, gradient, gate, places, None, 0, of_weight, of_bias, None, None)
        if ctx.needs_input_grad[0]:
            of_x = torch.empty_like(x)
            call("scatter", described, gradient, gate, places, weight, None, 0, of_x)
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
        out = values.new_empty((len(values), *block.input_size, block.in_channels))
        described = _describe(block, len(values), weight)
        call("scatter", described, _packed(values), None, _packed(places), weight, _packed(bias), int(relu), out)
        opened = _channels_second(out)
        ctx.save_for_backward(values, places, weight, opened if relu else None)
        ctx.block, ctx.after_relu = block, after_relu
        return opened

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, places, weight, opened = ctx.saved_tensors
        if torch.is_grad_enabled() or transformed(gradient):
            gradients = _gradients_of_unpool_convolve(
                gradient, values, places, weight, opened, ctx.block, ctx.after_relu
            )
            return gradients[0], None, gradients[1], gradients[2] if ctx.needs_input_grad[3] else None, None, None, None
        values, places, gradient, opened = map(_packed, (values, places, gradient, opened))
        described = _describe(ctx.block, len(values), weight)
        of_values, of_weight = torch.empty_like(values), weight.new_empty(weight.shape)
        of_bias = weight.new_empty(ctx.block.in_channels)
        skip = int(ctx.after_relu)
        call(
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


def _gradients_of_convolve_pool(
    gradient: Tensor, x: Tensor, weight: Tensor, gate: Tensor | None, places: Tensor, block: Block
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of input, weight and bias by operations that PyTorch can differentiate."""
    if gate is not None:
        gradient = gradient * (gate > 0)
    windows = {"kernel": block.pool_kernel, "stride": block.pool_stride}
    of_map = put(gradient, to_switches(places, block), block.conv_size, **windows)
    how: dict[str, Any] = {"stride": block.conv_stride, "padding": block.conv_padding}
    of_x = torch.nn.grad.conv2d_input(x.shape, weight, of_map, **how)  # type: ignore[no-untyped-call]
    of_weight = torch.nn.grad.conv2d_weight(x, weight.shape, of_map, **how)  # type: ignore[no-untyped-call]
    return of_x, of_weight, of_map.sum((0, 2, 3))


def _gradients_of_unpool_convolve(
    gradient: Tensor,
    values: Tensor,
    places: Tensor,
    weight: Tensor,
    opened: Tensor | None,
    block: Block,
    after_relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Do the same for the way back."""
    if opened is not None:
        gradient = gradient * (opened > 0)
    windows = {"kernel": block.pool_kernel, "stride": block.pool_stride}
    how: dict[str, Any] = {"stride": block.conv_stride, "padding": block.conv_padding}
    switches = to_switches(places, block)
    of_values = pick(torch.nn.functional.conv2d(gradient, weight, **how), switches, **windows)
    if after_relu:
        of_values = of_values * (values > 0)
    unpooled = put(values, switches, block.conv_size, **windows)
    # A transposed convolution is the gradient of a convolution: what was its output's gradient is the input here.
    of_weight = torch.nn.grad.conv2d_weight(gradient, weight.shape, unpooled, **how)  # type: ignore[no-untyped-call]
    return of_values, of_weight, gradient.sum((0, 2, 3))


def _describe(block: Block, n: int, weight: Tensor) -> Described:
    return Described(
        n, block.in_channels, *block.input_size, block.out_channels, *block.conv_kernel, *block.conv_padding,
        *block.pool_kernel, *block.pool_size, (ctypes.c_int64 * 4)(*weight.stride()), torch.get_num_threads(), team() or None,
    )  # fmt: skip


def call(name: str, described: Described, *arguments: Tensor | int | None) -> None:
    """Have the kernels do something with tensors that they take as they lie in memory, (n, h, w, channels) without gaps."""
    given = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    if getattr(library(), name)(ctypes.byref(described), *given):
        raise MemoryError(f"not enough memory for a block's {name} on {described.n} images; use smaller batches")


def _packed(x: Tensor | None) -> Any:
    """Return a map (n, c, h, w) as (n, h, w, c) without gaps, or a vector without gaps; copied only if need be."""
    return None if x is None else (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).contiguous()


def _channels_second(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)
