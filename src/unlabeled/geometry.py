"""The arithmetic of sizes: every block's way down, and its way back.

A block is convolution -> pool on the way down and unpool -> transposed convolution on the way back. Both
convolution and pool shrink a side of n to ``floor((n + 2 * padding - kernel) / stride) + 1``; several n give the
same result, so each block keeps the sizes it came from, and the way back ends in exactly those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, TypeAlias

from unlabeled.errors import UserError

Pair: TypeAlias = tuple[int, int]
PerLayer: TypeAlias = "int | Sequence[int | Sequence[int]]"


class GeometryError(UserError, ValueError):
    """A specification whose sizes do not close; the message names the block, the numbers and a way out."""


@dataclass(frozen=True)
class Block:
    """One block: its arguments as (height, width) pairs, and the sizes between its steps."""

    in_channels: int
    out_channels: int
    conv_kernel: Pair
    conv_stride: Pair
    conv_padding: Pair
    pool_kernel: Pair
    pool_stride: Pair
    pool_padding: Pair
    input_size: Pair
    conv_size: Pair
    pool_size: Pair

    @property
    def output_padding(self) -> Pair:
        """Rows and columns that the convolution's stride left over; the transposed convolution adds them again."""
        sides = zip(self.input_size, self.conv_padding, self.conv_kernel, self.conv_stride, strict=True)
        height, width = ((n + 2 * padding - kernel) % stride for n, padding, kernel, stride in sides)
        return height, width

    @property
    def pools(self) -> bool:
        """Whether the pool does anything: a 1x1 pool of stride 1 passes the map through."""
        return (self.pool_kernel, self.pool_stride) != ((1, 1), (1, 1))


@dataclass(frozen=True)
class Geometry:
    """The blocks of an encoder, solved. ``code_size`` is (channels, height, width)."""

    input_size: tuple[int, int, int]
    blocks: tuple[Block, ...]

    @property
    def code_size(self) -> tuple[int, int, int]:
        """Channels, height and width of the code."""
        return self.blocks[-1].out_channels, *self.blocks[-1].pool_size

    @property
    def code_length(self) -> int:
        """How many numbers the code holds."""
        channels, height, width = self.code_size
        return channels * height * width

    @property
    def input_length(self) -> int:
        """How many numbers an image holds."""
        channels, height, width = self.input_size
        return channels * height * width


def solve(input_size: Sequence[int], layers_num: int | None = None, **arguments: PerLayer) -> Geometry:
    """Solve the sizes of every block.

    Parameters
    ----------
    input_size
        (channels, height, width) of an image.
    layers_num
        How many blocks; left out, the sequences among ``arguments`` tell.
    arguments
        ``conv_out_channels``, ``conv_kernel_size``, ``conv_stride``, ``conv_padding``, ``pool_kernel_size``,
        ``pool_stride``, ``pool_padding``. A number stands for every layer, a sequence holds one entry a layer, and an
        entry may be a (height, width) pair.

    Raises
    ------
    GeometryError
        If an argument has the wrong length or value, or a kernel does not fit the map it meets.
    """
    channels, *size = _input_size(input_size)
    layers = _count_layers(layers_num, arguments)
    pairs = {name: _pairs(name, value, layers) for name, value in arguments.items() if name != "conv_out_channels"}
    filters = _numbers("conv_out_channels", arguments["conv_out_channels"], layers)
    blocks: list[Block] = []
    height_width = (size[0], size[1])
    for number in range(layers):
        block = _solve_block(
            number + 1, channels, filters[number], height_width, {k: v[number] for k, v in pairs.items()}
        )
        blocks.append(block)
        channels, height_width = block.out_channels, block.pool_size
    return Geometry((int(input_size[0]), size[0], size[1]), tuple(blocks))


def _solve_block(number: int, channels: int, filters: int, size: Pair, pairs: dict[str, Pair]) -> Block:
    kernel, stride, padding = (pairs[f"conv_{name}"] for name in ("kernel_size", "stride", "padding"))
    came_from = "the image" if number == 1 else f"what block {number - 1} leaves"
    _check_fits(number, "kernel", "conv", kernel, padding, size, came_from)
    conv_size = _shrink(size, kernel, stride, padding)
    pool_kernel, pool_stride, pool_padding = (pairs[f"pool_{name}"] for name in ("kernel_size", "stride", "padding"))
    if any(2 * p > k for p, k in zip(pool_padding, pool_kernel, strict=True)):
        raise GeometryError(
            f"block {number}: a pool padding of {_text(pool_padding)} is more than half of the {_text(pool_kernel)} pool, so "
            f"whole windows would hold nothing; use pool_padding <= {min(pool_kernel) // 2} there"
        )
    _check_fits(number, "pool", "pool", pool_kernel, pool_padding, conv_size, "what its convolution leaves")
    pool_size = _shrink(conv_size, pool_kernel, pool_stride, pool_padding)
    return Block(
        channels, filters, kernel, stride, padding, pool_kernel, pool_stride, pool_padding, size, conv_size, pool_size
    )  # fmt: skip


def _check_fits(number: int, thing: str, prefix: str, kernel: Pair, padding: Pair, size: Pair, came_from: str) -> None:
    if prefix == "conv" and any(p >= k for p, k in zip(padding, kernel, strict=True)):
        raise GeometryError(
            f"block {number}: a conv padding of {_text(padding)} lets a {_text(kernel)} kernel see nothing but padding; "
            f"use conv_padding <= {min(kernel) - 1} there"
        )
    if all(n + 2 * p >= k for n, p, k in zip(size, padding, kernel, strict=True)):
        return
    fits = min(n + 2 * p for n, p in zip(size, padding, strict=True))
    needed = max(-(-(k - n) // 2) for n, k in zip(size, kernel, strict=True))
    # More padding only helps while a padded window still sees some of the map.
    limit = min(kernel) - 1 if prefix == "conv" else min(kernel) // 2
    alternative = f" or {prefix}_padding >= {needed}" if needed <= limit else ""
    raise GeometryError(
        f"block {number}: a {_text(kernel)} {thing} does not fit a {_text(size)} map ({came_from}"
        + (f", padded by {_text(padding)}" if any(padding) else "")
        + f"); use {prefix}_kernel_size <= {fits} there{alternative}"
    )


def _shrink(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    height, width = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True))
    return height, width


def _input_size(value: Sequence[int]) -> list[int]:
    numbers = [_whole("input_size", n, 1) for n in value]
    if len(numbers) != 3:
        raise GeometryError(f"input_size={tuple(value)} has {len(numbers)} numbers; give (channels, height, width)")
    return numbers


def _count_layers(layers_num: int | None, arguments: dict[str, PerLayer]) -> int:
    lengths = {name: len(value) for name, value in arguments.items() if isinstance(value, Sequence)}
    if layers_num is not None:
        layers = _whole("layers_num", layers_num, 1)
        wrong = {name: length for name, length in lengths.items() if length != layers}
        layers_text = f"layers_num is {layers}"
    else:
        layers = next(iter(lengths.values()), 1)
        wrong = {name: length for name, length in lengths.items() if length != layers}
        layers_text = f"{next(iter(lengths), '')} has {layers}"
    if wrong or layers < 1:
        name, length = next(iter(wrong.items()), (next(iter(lengths), ""), 0))
        raise GeometryError(
            f"{name}={arguments[name]!r} has {length} values where {layers_text}; give one value a layer, or one number for all layers; "
            "what is left out has its default"
        )
    return layers


def _pairs(name: str, value: PerLayer, layers: int) -> list[Pair]:
    least = 0 if name.endswith("padding") else 1
    entries = value if isinstance(value, Sequence) else [value] * layers
    return [_pair(name, entry, least) for entry in entries]


def _pair(name: str, entry: int | Sequence[int], least: int) -> Pair:
    if not isinstance(entry, Sequence):
        number = _whole(name, entry, least)
        return number, number
    if len(entry) != 2:
        raise GeometryError(
            f"{name}: {entry!r} has {len(entry)} numbers; a layer's entry is a number or (height, width)"
        )
    return _whole(name, entry[0], least), _whole(name, entry[1], least)


def _numbers(name: str, value: PerLayer, layers: int) -> list[int]:
    return [_whole(name, entry, 1) for entry in (value if isinstance(value, Sequence) else [value] * layers)]


def _whole(name: str, value: Any, least: int) -> int:
    try:
        number = index(value)
    except TypeError:
        raise GeometryError(f"{name}={value!r} is not a whole number; give one of at least {least}") from None
    if number < least or isinstance(value, bool):
        raise GeometryError(f"{name}={value!r} is out of range; give a whole number of at least {least}")
    return number


def _text(pair: Pair) -> str:
    return f"{pair[0]}x{pair[1]}"
