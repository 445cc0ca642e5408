"""StrongNet: a small network that gets much out of few labeled images in little time. The architecture and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor, nn

from unlabeled.geometry import Block, solve
from unlabeled.images import Images
from unlabeled.kernels import halves
from unlabeled.kernels.blocks import convolve_pool, is_unhooked, takes
from unlabeled.kernels.pooling import transformed

LEAST_SIDE = 8
_PATCH = 2  # side of whitened patches, pixels
_MOST_PATCHES = 500_000
# Directions in which patches hardly vary are not blown up: this share of the mean variance is added to each, and what rounding to
# 256 levels contributes to pixels in [-1, 1], (2 / 255)^2 / 12.
_LEAST_SHARE = 1e-3
_ROUNDING = (2 / 255) ** 2 / 12


class StrongNet(nn.Module):
    """A convolutional classifier: whitened patches, blocks of two convolutions or more, a linear head. Returns logits (n, classes).

    After the network of Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (2024): a frozen layer whitens 2x2 patches;
    a block is convolution, max-pool, normalisation, ReLU, then convolution, normalisation, ReLU, here with a path around it.
    Each block halves the map; the last map's maxima are the code.

    Parameters
    ----------
    input_size
        (channels, height, width) of images, each side at least 8 pixels.
    classes
        How many classes.
    widths
        Channels of each block.
    layers
        Convolutions of each block after its first, one number for all or one a block.
    dropout
        Probability that a number of the code is dropped before the head, in [0, 1).

    Its parameters are ``blocks.N...`` and ``head...``; the whitening holds buffers only, ``whitening...``.
    """

    def __init__(
        self,
        input_size: Sequence[int] = (3, 32, 32),
        *,
        classes: int = 10,
        widths: Sequence[int] = (64, 128, 256),
        layers: int | Sequence[int] = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input_size = tuple(input_size)
        self.widths = tuple(widths)
        self.layers = (layers,) * len(self.widths) if isinstance(layers, int) else tuple(layers)
        self._check(classes, dropout)
        self.whitening = Whitening(self.input_size[0])
        ins = (self.whitening.channels, *self.widths[:-1])
        self.blocks = nn.ModuleList(
            StrongBlock(narrow, wide, depth) for narrow, wide, depth in zip(ins, self.widths, self.layers, strict=True)
        )
        self.drop = nn.Dropout(dropout) if dropout else nn.Identity()
        self.head = nn.Linear(self.widths[-1], classes)

    def _check(self, classes: int, dropout: float) -> None:
        if len(self.input_size) != 3 or self.input_size[0] < 1 or min(self.input_size[1:]) < LEAST_SIDE:
            raise ValueError(
                f"input_size={self.input_size}; give (channels, height, width) with sides of at least {LEAST_SIDE}"
            )
        if classes < 2:
            raise ValueError(f"classes={classes}; a classifier needs at least 2")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout}; give a probability of at least 0 and below 1")
        most = most_blocks(self.input_size)
        if not 1 <= len(self.widths) <= most or min(self.widths) < 1:
            raise ValueError(
                f"widths={self.widths}; give 1 to {most} numbers of at least 1 for images of this size: each block halves the map"
            )
        if len(self.layers) != len(self.widths) or min(self.layers) < 0:
            raise ValueError(f"layers={self.layers}; give one number of at least 0, or one a block")

    @property
    def code_length(self) -> int:
        """How many numbers a code has."""
        return self.widths[-1]

    def set_whitening(self, images: Images) -> None:
        """Take the whitening from a sample of images, the same for the same images; call it before training."""
        self.whitening.set(*whitening_of(images))

    def maps(self, images: Tensor) -> Tensor:
        """Return the last block's map, (n, d, h, w)."""
        if images.ndim != 4 or tuple(images.shape[1:]) != self.input_size:
            raise ValueError(
                f"images have shape {tuple(images.shape)}; this model takes (n, {', '.join(map(str, self.input_size))})"
            )
        x = self.whitening(images)
        for block in self.blocks:
            x = block(x)
        return x

    def codes(self, images: Tensor) -> Tensor:
        """Return what the head sees, (n, d): the maxima of the last map's channels."""
        return torch.amax(self.maps(images), (2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, classes) of float images (n, c, h, w) in [-1, 1]."""
        return self.judge(self.codes(images))

    def judge(self, codes: Tensor) -> Tensor:
        """Return logits (n, classes) of codes (n, d)."""
        # Codes of length about 1, however wide: as they are, steps that suit the convolutions are too long for the head.
        logits: Tensor = self.head(self.drop(codes * self.code_length**-0.5))
        return logits


def most_blocks(input_size: Sequence[int]) -> int:
    """Return how many blocks fit images (channels, height, width)."""
    return int(math.log2(min(input_size[1:]) - _PATCH + 1))


class Whitening(nn.Module):
    """A frozen 2x2 convolution whose outputs over natural patches are uncorrelated and of variance 1, each with both signs; GELU.

    As buffers the weights are saved with the model, and no optimiser moves them. Until ``set`` they are those of white noise.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        length = channels * _PATCH**2
        self.channels = 2 * length
        self.register_buffer("weight", torch.empty(self.channels, channels, _PATCH, _PATCH))
        self.register_buffer("bias", torch.empty(self.channels))
        self.set(np.eye(length), np.zeros(length))

    def set(self, matrix: NDArray[Any], mean: NDArray[Any]) -> None:
        """Whiten by ``matrix`` (d, d) times the patch (d,) less ``mean`` (d,); d counts channels first, then rows, then columns."""
        both = torch.from_numpy(np.concatenate([matrix, -matrix]))
        with torch.no_grad():
            self.weight.copy_(both.reshape(self.weight.shape))
            self.bias.copy_(-(both @ torch.from_numpy(mean)))

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, 8c, h - 1, w - 1)."""
        return halves.gelu(F.conv2d(images, self.weight, self.bias))


def whitening_of(images: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (matrix (d, d), mean (d,)) that whiten 2x2 patches of images in [-1, 1], d = 4 channels.

    The rows of the matrix are the covariance's eigenvectors over the square roots of its eigenvalues, to which a little is added:
    so images that are all alike, or grey ones in three channels, give finite numbers. The images are spread over all.
    """
    channels, height, width = images.shape
    most = max(1, _MOST_PATCHES // (height * width))
    rows = np.unique(np.linspace(0, len(images) - 1, most).astype(np.intp)) if len(images) else np.arange(0)
    pixels = images.take(rows) / 127.5 - 1.0
    windows = sliding_window_view(pixels, (_PATCH, _PATCH), axis=(2, 3))
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, channels * _PATCH**2)
    length = patches.shape[1]
    if not len(patches):
        return np.eye(length), np.zeros(length)
    mean = patches.mean(0)
    patches = patches - mean
    variances, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    variances = np.maximum(variances[::-1], 0)
    directions = vectors.T[::-1]
    # An eigenvector's sign is the library's choice; here its largest number is positive.
    largest = directions[np.arange(length), np.abs(directions).argmax(1)]
    directions = directions * np.where(largest < 0, -1.0, 1.0)[:, None]
    return directions / np.sqrt(variances + _LEAST_SHARE * variances.mean() + _ROUNDING)[:, None], mean


class StrongBlock(nn.Module):
    """Convolution, max-pool, normalisation, ReLU; then ``layers`` times convolution, normalisation, ReLU, added to what came in.

    Takes maps (n, ins, h, w) to (n, outs, h // 2, w // 2).
    """

    def __init__(self, ins: int, outs: int, layers: int) -> None:
        super().__init__()
        self.outs = outs
        self.first = nn.Conv2d(ins, outs, 3, padding=1, bias=False)
        self.norm = Norm(outs)
        self.layers = nn.ModuleList(_Layer(outs) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Return the map, half as high and wide."""
        x = _activate(self.norm, self._shrink(x))
        for layer in self.layers:
            x = layer(x)
        return x

    def _shrink(self, x: Tensor) -> Tensor:
        """Convolve and max-pool; by the kernels where these can, which on their way back touch a quarter of the map alone."""
        plain = (
            x.ndim == 4
            and isinstance(self.first, nn.Conv2d)
            and not torch.compiler.is_compiling()
            and not transformed()
        )
        if plain and min(x.shape[2:]) > 1:
            block = _halving(*x.shape[1:], self.outs)
            if takes(block, self.first, x):
                return convolve_pool(x, self.first.weight, self.first.bias, block, relu=False)[0]
        return halves.max_pool_by_two(halves.convolve(self.first, x))


@cache
def _halving(ins: int, height: int, width: int, outs: int) -> Block:
    """Return the sizes of a block's first convolution and its pool."""
    how = {"conv_kernel_size": 3, "conv_stride": 1, "conv_padding": 1}
    return solve(
        (ins, height, width), 1, conv_out_channels=outs, **how, pool_kernel_size=2, pool_stride=2, pool_padding=0
    ).blocks[0]


class _Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = Norm(width)

    def forward(self, x: Tensor) -> Tensor:
        return _activate(self.norm, halves.convolve(self.convolution, x), x)


def _activate(norm: nn.Module, x: Tensor, beside: Tensor | None = None) -> Tensor:
    """Normalise and take what is positive, and add it to what stands beside; in half precision by the kernels where these can."""
    if isinstance(norm, Norm) and _is_usual(norm) and norm.is_alone and halves.takes(x, *norm.numbers):
        return norm.activated(x, beside)
    out = F.relu(norm(x))
    return out if beside is None else beside + out


class Norm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015), of a batch that several processes share as of one.

    Its statistics stand still with its weights: where these are frozen or ``held``, and in evaluation, the running ones are used and
    kept.

    Parameters
    ----------
    width
        Channels.
    momentum
        Share of a batch's statistics in the running ones.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.held = False
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return x (n, c, h, w), each channel with the mean ``bias`` and the standard deviation ``weight``."""
        if not self.is_alone:
            return self._shared(x)
        learns = self._learns and self._spreads(x)
        return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, learns, self.momentum, self.eps)

    def activated(self, x: Tensor, beside: Tensor | None) -> Tensor:
        """Return ``relu(self(x))``, added to ``beside`` if that is given, of maps that ``halves.takes`` takes; it ``is_alone``."""
        return halves.normalise(
            x, *self.numbers,
            learns=self._learns and self._spreads(x), momentum=self.momentum, eps=self.eps, beside=beside,
        )  # fmt: skip

    @property
    def numbers(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weight, bias, and the running mean and variance, each (c,)."""
        return self.weight, self.bias, self.mean, self.variance

    @property
    def is_alone(self) -> bool:
        """Whether no other process has images of the batch that it learns from."""
        return not (self._learns and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)

    @property
    def _learns(self) -> bool:
        return self.training and self.weight.requires_grad and not self.held

    def _spreads(self, x: Tensor) -> bool:
        """Tell whether there is a spread to learn from: one number a channel, as a batch of one image can leave, has none."""
        return x.numel() > len(self.weight)

    def _shared(self, x: Tensor) -> Tensor:
        """Do the same with the sums over all processes' images."""
        wide = x.float()
        count = wide.new_tensor([wide.numel() / wide.shape[1]])
        total: Tensor = _Sum.apply(torch.cat([wide.sum((0, 2, 3)), count]))  # type: ignore[no-untyped-call]
        everything = total[-1].detach()
        mean = total[:-1] / everything
        centred = wide - mean[:, None, None]
        # A second sum, of what is centred: the difference of two large numbers would lose digits.
        squares: Tensor = _Sum.apply(centred.square().sum((0, 2, 3)))  # type: ignore[no-untyped-call]
        variance = squares / everything
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance * everything / (everything - 1).clamp(min=1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


_NORMALISE = Norm.forward


def _is_usual(norm: Norm) -> bool:
    """Tell whether a normalisation does what it does here: whoever exchanges or hears its ``forward`` wants that to be called."""
    return type(norm) is Norm and Norm.forward is _NORMALISE and is_unhooked(norm)


class _Sum(torch.autograd.Function):
    """Add up over processes; since each one's loss depends on the sum, its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total
