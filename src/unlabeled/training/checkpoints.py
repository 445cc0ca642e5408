"""Weights and training state on disk: safetensors with JSON and a digest in its header, no pickle, written beside and renamed."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from unlabeled.errors import DamagedFile, UserError
from unlabeled.keeping.files import AGAIN, read_bytes, write_atomically

# The format's own way to begin: the header's length in 8 bytes; the numbers begin at a multiple of 8.
_LENGTH = struct.Struct("<Q")


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a model's weights."""
    content = _sealed(_contiguous(model.state_dict()), {})
    write_atomically(path, lambda file: file.write(content))


def load_weights(path: Path, model: nn.Module) -> None:
    """Read weights into a model; every name and shape must have its counterpart.

    Raises
    ------
    DamagedFile
        If the file is missing, or not as it was written.
    UserError
        If names or shapes differ; they are listed.
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
        problems = [f"missing {', '.join(missing)}"] if missing else []
        problems += [f"unexpected {', '.join(unexpected)}"] if unexpected else []
        raise UserError(f"{path}: the weights are of another model: {'; '.join(problems + differing)}")
    model.load_state_dict(tensors, strict=True)


def save_checkpoint(path: Path, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
    """Write groups of named tensors and a JSON state, all in one file, so that they can't be of two epochs."""
    flat = {f"{group}/{name}": tensor for group, named in tensors.items() for name, tensor in named.items()}
    content = _sealed(_contiguous(flat), state)
    write_atomically(path, lambda file: file.write(content))


def load_checkpoint(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read what ``save_checkpoint`` wrote.

    Raises
    ------
    DamagedFile
        If it is not as it was written.
    """
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


def _sealed(tensors: dict[str, Tensor], state: dict[str, Any]) -> bytes:
    """Return a safetensors file whose header holds a state, and a digest of all the rest."""
    metadata = {"state": json.dumps(state)}
    content = save(tensors, metadata=metadata)
    header, numbers = _split(content)
    header["__metadata__"] = {**metadata, "digest": _digest(header, numbers)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return _LENGTH.pack(len(text)) + text + numbers


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    content = read_bytes(path)
    try:
        header, numbers = _split(content)
        metadata = dict(header.get("__metadata__") or {})
        stated = metadata.pop("digest", None)
        header["__metadata__"] = metadata
        whole = stated == _digest(header, numbers)
    except (ValueError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise DamagedFile(f"{path}: damaged, not a whole safetensors file ({error}); {AGAIN}") from None
    if stated is None:
        raise DamagedFile(f"{path}: holds no digest, so another program or an earlier version wrote it; {AGAIN}")
    if not whole:
        raise DamagedFile(f"{path}: damaged (its digest does not fit what it holds); {AGAIN}")
    return load(content), metadata


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header, and the numbers of all tensors one after the other."""
    (length,) = _LENGTH.unpack_from(content)
    end = _LENGTH.size + length
    if end > len(content):
        raise ValueError(f"a header of {length:,} bytes in a file of {len(content):,}")
    return json.loads(content[_LENGTH.size : end]), content[end:]


def _digest(header: dict[str, Any], numbers: bytes) -> str:
    """Return the SHA-256 of the numbers, and of what the header says of them."""
    sha = hashlib.sha256(json.dumps({"__metadata__": {}, **header}, sort_keys=True).encode())
    sha.update(numbers)
    return sha.hexdigest()


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # Copies, for safetensors refuses tensors that share memory.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
