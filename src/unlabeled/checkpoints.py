"""Weights and training state on disk: safetensors with JSON in its header, no pickle, written beside and renamed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from unlabeled.errors import UserError
from unlabeled.results import write_atomically


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a model's weights."""
    content = save(_contiguous(model.state_dict()))
    write_atomically(path, lambda file: file.write(content))


def load_weights(path: Path, model: nn.Module) -> None:
    """Read weights into a model; every name and shape must have its counterpart.

    Raises
    ------
    UserError
        If the file can't be read, or names or shapes differ; they are listed.
    """
    tensors, _ = _read(path)
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    differing = [
        f"{name} is {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
        for name in sorted(own.keys() & tensors.keys())
        if own[name].shape != tensors[name].shape
    ]
    if missing or unexpected or differing:
        found = [f"missing {', '.join(missing)}"] if missing else []
        found += [f"unexpected {', '.join(unexpected)}"] if unexpected else []
        raise UserError(f"{path}: the weights are of another model: {'; '.join(found + differing)}")
    model.load_state_dict(tensors, strict=True)


def save_checkpoint(path: Path, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
    """Write groups of named tensors and a JSON state, all in one file, so that they can't be of two epochs."""
    flat = {f"{group}/{name}": tensor for group, named in tensors.items() for name, tensor in named.items()}
    content = save(_contiguous(flat), metadata={"state": json.dumps(state)})
    write_atomically(path, lambda file: file.write(content))


def load_checkpoint(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read what ``save_checkpoint`` wrote."""
    flat, metadata = _read(path)
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in flat.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    state: dict[str, Any] = json.loads(metadata.get("state", "{}"))
    return groups, state


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimiser's state into named tensors and JSON."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for number, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            (tensors if isinstance(value, Tensor) else plain)[f"{number}.{name}"] = value
    return tensors, plain


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Put an optimiser's state back; its groups keep their own settings."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *plain.items()]:
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; train first, or give another folder") from None
    except SafetensorError as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); delete it and run again") from None


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # Copies, for safetensors refuses tensors that share memory.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
