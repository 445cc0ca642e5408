"""Weights from elsewhere, read without running any code of theirs, as the start of a network."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unlabeled.errors import UserError
from unlabeled.keeping.caching import expand
from unlabeled.networks.resnet import ResNet
from unlabeled.networks.strong import StrongNet
from unlabeled.training.runtime import seeded

# Where checkpoints keep the weights, and what their names begin with.
_NESTS = ("state_dict", "model", "model_state_dict", "student", "teacher")
_FIRST = ("conv1.weight", "whitening.weight")

# What PyTorch's restricted unpickler says of bytes that are no weights, and of damaged ones, beside what safetensors and files say.
_UNREADABLE = (
    SafetensorError, RuntimeError, ValueError, EOFError, OSError, pickle.UnpicklingError, LookupError, TypeError, AttributeError,
    AssertionError, struct.error, OverflowError, ImportError, MemoryError,
)  # fmt: skip


def network_from(path: Path, shape: Sequence[int], *, classes: int, side: int, seed: int) -> StrongNet | ResNet:
    """Return a network with the weights of a file and a new head with the first weights of a seed.

    The file holds a ResNet by torchvision's and timm's names, alone or in a checkpoint of a training, or this package's strong
    network; ``shape`` is that of the images (channels, height, width), ``side`` what ``ResNet`` takes.

    Raises
    ------
    UserError
        If the file is missing or damaged, or holds another network.
    """
    tensors = read_tensors(path)
    try:
        with seeded(seed):
            if "whitening.weight" in tensors:
                return _strong(tensors, shape, classes)
            return ResNet(tensors, classes=classes, side=side)
    except (ValueError, RuntimeError, KeyError) as error:
        raise UserError(
            f"--start {path}: {str(error).splitlines()[0]}; give weights of a ResNet by torchvision's or timm's names, or of this "
            "package's strong network for images of this size"
        ) from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a .safetensors, .pt or .pth file, prefixes that all share left out.

    Raises
    ------
    UserError
        If it is missing, or holds no named tensors.
    """
    path = expand(path)
    if not path.is_file():
        raise UserError(f"--start {path}: no such file; give a .safetensors, .pt or .pth file of weights")
    try:
        found: Any = _load(path)
    except _UNREADABLE as error:
        speaks = isinstance(error, SafetensorError | RuntimeError | OSError | pickle.UnpicklingError) and str(error)
        reason = str(error).splitlines()[0] if speaks else "neither safetensors nor what torch.save writes, or damaged"
        raise UserError(
            f"--start {path}: can't be read as weights ({reason}); save the network's state_dict with torch.save or safetensors"
        ) from None
    for nest in _NESTS:
        if isinstance(found, Mapping) and isinstance(found.get(nest), Mapping):
            found = found[nest]
    tensors = (
        {str(name): one for name, one in found.items() if isinstance(one, Tensor)} if isinstance(found, Mapping) else {}
    )
    if not tensors:
        raise UserError(f"--start {path}: holds no named tensors; save the network's state_dict")
    prefix = next(
        (name.removesuffix(first) for first in _FIRST for name in tensors if name.endswith(f".{first}") and "layer" not in name), ""
    )  # fmt: skip
    # Beside a backbone stand a projection and a momentum copy, which are none of the network.
    inside = {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}
    return {name: one for name, one in inside.items() if not name.startswith(("head.", "projector.", "classifier."))}


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it doubts about a file, it refuses or reads
        return torch.load(path, map_location="cpu", weights_only=True)


def _strong(tensors: Mapping[str, Tensor], shape: Sequence[int], classes: int) -> StrongNet:
    """Make the strong network that the weights are of."""
    numbers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")})
    widths = [tensors[f"blocks.{number}.first.weight"].shape[0] for number in numbers]
    layers = [
        len({name.split(".")[3] for name in tensors if name.startswith(f"blocks.{number}.layers.")})
        for number in numbers
    ]
    network = StrongNet(shape, classes=classes, widths=widths, layers=layers)
    own: dict[str, Tensor] = network.state_dict()
    network.load_state_dict({**tensors, **{name: one for name, one in own.items() if name.startswith("head.")}})
    return network


def head_of(network: nn.Module) -> str:
    """Return what the names of the head's weights begin with."""
    return "fc" if isinstance(network, ResNet) else "head"
