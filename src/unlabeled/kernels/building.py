"""Compile ``blocks.c`` for this very processor, once, with the system's own compiler.

Where there is no compiler, or none that can, there is no kernel, and PyTorch does the work.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from unlabeled.caching import cache_folder

_log = logging.getLogger("unlabeled")

_FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC", "-Wno-psabi", "-lpthread")
_SECONDS = 120


def kernels() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where there are none or ``UNLABELED_KERNELS=off`` says so."""
    return None if os.environ.get("UNLABELED_KERNELS") == "off" else library()


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None if they can't be built."""
    try:
        loaded = ctypes.CDLL(str(_build()))
    except (OSError, subprocess.SubprocessError) as error:
        _log.debug(f"no kernels: {error}")
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int
    loaded.encode.argtypes = [pointer] * 4 + [number] + [pointer] * 2
    loaded.scatter.argtypes = [pointer] * 6 + [number] + [pointer]
    loaded.gather.argtypes = [pointer] * 7 + [number] + [pointer] * 4
    return loaded


@functools.cache
def team() -> int:
    """Return the address of the way to start a team of PyTorch's own threads, or 0.

    A second pool would have to share the cores with PyTorch's, whose threads wait for work without sleeping.
    """
    candidates = [None, *sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))]
    for path in candidates:
        try:
            function = ctypes.CDLL(None if path is None else str(path)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    return 0


def _build() -> Path:
    """Return the library; its name holds all that it was made from, so it is only made if it is not there."""
    source = (files("unlabeled.kernels") / "blocks.c").read_bytes()
    compiler = os.environ.get("CC") or "cc"
    known = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=_SECONDS).stdout
    key = hashlib.sha256(b"\0".join([source, known, " ".join(_FLAGS).encode(), _processor().encode()])).hexdigest()
    library = cache_folder() / "kernels" / f"blocks-{key[:20]}.so"
    if library.exists():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        code, made = Path(folder, "blocks.c"), Path(folder, "blocks.so")
        code.write_bytes(source)
        command: list[Any] = [compiler, code, "-o", made, *_FLAGS]
        subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS)
        # Another process may have been as far at the same time: both files are the same.
        made.replace(library)
    return library


def _processor() -> str:
    """Return what the machine code depends on: the cache may lie on a disk that several machines share."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = [next((line for line in lines if line.startswith(name)), "") for name in ("model name", "flags", "Features")]
    return " ".join([platform.machine(), *told])
