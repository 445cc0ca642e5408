"""What a run ran on."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from unlabeled.records import Machine
from unlabeled.runtime import Runtime

_PACKAGES = ("unlabeled", "torch", "numpy", "scipy", "scikit-learn", "pillow", "lightning-fabric")


def describe_machine(runtime: Runtime, *, kernels: bool) -> Machine:
    """Return what times and results depend on: device, kernels used or not, threads, processor, versions."""
    return Machine(
        device=str(runtime.device),
        kernels=kernels,
        threads=torch.get_num_threads(),
        cores=os.cpu_count() or 1,
        processor=_processor(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES},
    )


def _processor() -> str:
    """Return the processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def peak_memory() -> float:
    """Return the most memory that this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
