"""The kernels under the compiler's sanitizers, and for older processors, against a plain loop (``driver.c``)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from reliability.trials import Found

BUILDS = {
    "address and undefined behaviour": [
        "-O1",
        "-g",
        "-march=native",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
    ],
    "threads": ["-O2", "-g", "-march=native", "-fsanitize=thread"],
    "as it is built": ["-O3", "-march=native"],
    "AVX2": ["-O3", "-march=haswell"],
    "SSE2": ["-O3", "-march=x86-64"],
}


def run(work: Path, *, seed: int, blocks: int = 60, builds: dict[str, list[str]] = BUILDS) -> Found:
    """Build the driver in every way, and run so many random blocks."""
    import unlabeled.kernels

    found = Found()
    (source,) = unlabeled.kernels.__path__
    for name, flags in builds.items():
        made = work / name.replace(" ", "-")
        command = [
            "cc",
            "-std=gnu11",
            "-Wno-psabi",
            *flags,
            f"-I{source}",
            Path(__file__).with_name("driver.c"),
            "-o",
            made,
            "-lpthread",
            "-lm",
        ]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            found.skipped.append(f"{name} ({(built.stderr.splitlines() or ['?'])[-1][:80]})")
            continue
        env = os.environ | {"ASAN_OPTIONS": "detect_leaks=1", "TSAN_OPTIONS": "halt_on_error=1"}
        done = subprocess.run([made, str(blocks), str(seed)], capture_output=True, text=True, check=False, env=env)
        found.count(f"{name}: {done.stdout[-300:]} {done.stderr[:600]}" if done.returncode else None)
    return found
