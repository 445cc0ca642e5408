"""What a run ran on."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from unlabeled.records import Machine
from unlabeled.training.runtime import Runtime

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
        packages=versions(_PACKAGES),
    )


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of each package by its name; "missing" where none is installed under it.

    Code that is run from its source has none, and no hours of training shall be lost at the end for the name of a version.
    """
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _processor() -> str:
    """Return the processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


# The most that each process of the pool has held, MB, by its number, and how many there are at a time; filled by what their runs report.
_workers: dict[int, float] = {}
_at_a_time: set[int] = set()


def remember_worker(process: int, peak: float, *, among: int) -> None:
    """Take note of the most memory that another process has held, in MB; it is one of so many at a time."""
    _workers[process] = max(peak, _workers.get(process, 0.0))
    _at_a_time.add(among)


def peak_of_all() -> float:
    """Return the most memory that this process and those of the pool can have held at a time, in MB; what they share counts in each.

    A process of the pool that has come to hold much is replaced by another, so only as many count as there are at a time, the largest.
    """
    return own_peak() + sum(sorted(_workers.values())[-max(_at_a_time, default=1) :])


def own_peak() -> float:
    """Return the most memory that this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def give_memory_back() -> None:
    """Return memory that is free to the system, where the C library can (glibc): left alone it keeps most of what a training took.

    That is 300 MB at 48x48, which the next run of the same process can use only in part. It takes milliseconds.
    """
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
