"""Which arithmetic is faster here: measured once a machine, and kept."""

from __future__ import annotations

import json
import logging
import statistics
import time
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from unlabeled.keeping.caching import cache_folder
from unlabeled.keeping.files import fingerprint, write_atomically
from unlabeled.kernels.building import kernels, processor
from unlabeled.networks.strong import StrongBlock

_log = logging.getLogger("unlabeled")

Precision = Literal["fp32", "bf16"]
# Below, half precision is not worth its digits.
_LEAST_GAIN = 1.2
_TURNS = 5
# Where it is this slow it is emulated: a turn more would take a second and say nothing else.
_EMULATED = 0.2
_BATCH = 64
# Raise it when one of both gains speed: what was found before is no answer any more. 2: kernels for half precision.
_VERSION = 2


def faster_precision(device: torch.device, cache: Path | None = None) -> Precision:
    """Return the arithmetic in which the strong network is trained faster: "bf16" if it is at least 1.2 times as fast as fp32.

    On a processor it is measured, once for each kind of it and each number of threads; the cache keeps what was found, so that a
    study which goes on later, and one in several processes, computes in one way. A GPU has bf16 or has it not.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    threads = torch.get_num_threads()
    asked = fingerprint([processor(), torch.__version__, threads, kernels() is None, _VERSION])
    known = cache_folder(cache) / f"precision-{asked[:16]}.json"
    try:
        found = json.loads(known.read_text())["faster"]
        if found in ("fp32", "bf16"):
            return "bf16" if found == "bf16" else "fp32"
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not measured yet, or not by this package
    faster: Precision = "bf16" if _measure() >= _LEAST_GAIN else "fp32"
    try:
        known.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"faster": faster}).encode()
        write_atomically(known, lambda file: file.write(content))
    except OSError as error:
        _log.warning(f"{known}: can't be written ({error.strerror}); the faster precision is measured again next time")
    return faster


def _measure() -> float:
    """Return how many times as fast bf16 is, forward and backward, in the median of turns."""
    layers = nn.Sequential(StrongBlock(24, 32, 1), StrongBlock(32, 96, 1))
    layers = layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.zeros(_BATCH, 24, 31, 31).contiguous(memory_format=torch.channels_last)

    def step(*, half: bool) -> float:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            total = layers(images).float().sum()
        torch.autograd.grad(total, list(layers.parameters()))
        return time.perf_counter() - start

    for half in (False, True):
        step(half=half)  # the first of each makes what the others use
    turns: list[float] = []
    while len(turns) < _TURNS and (not turns or turns[0] > _EMULATED):
        turns.append(step(half=False) / step(half=True))
    return statistics.median(turns)
