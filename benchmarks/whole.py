"""whole: ``--study all --preset standard`` at STL-10's size, seconds a study. Hours long, so only run when it is named."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import Row

STUDIES = ("baselines", "network", "autoencoder", "features", "finetune")


def run_whole(*, images: int, preset: str = "standard") -> list[Row]:
    """Draw a data set of STL-10's size, run all five studies on it, and tell the seconds of each by its own result."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _call("data", "draw", str(root / "stl10"), "--unlabeled", str(images))
        start = time.perf_counter()
        _call(
            "run", "--study", "all", "--preset", preset, "--data", f"stl10:{root / 'stl10'}", "--cache", str(root / "cache"),
            "--out", str(root / "run"),
        )  # fmt: skip
        total = time.perf_counter() - start
        rows = []
        for name in STUDIES:
            result = json.loads((root / "run" / name / "result.json").read_text())
            seconds = result["this_run_seconds"]
            note = f"{seconds:,.0f} s of {total:,.0f}, all runs together {result['seconds']:,.0f} s of computing"
            rows.append(Row("whole", name, [images / seconds], [], note=note, more={"seconds": seconds}))
    return rows


def _call(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "unlabeled", *arguments], check=True, stdout=subprocess.DEVNULL)
