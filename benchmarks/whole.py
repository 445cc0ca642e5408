"""whole: ``--study all --preset standard`` at STL-10's size, seconds a study, with the fewest folds and seeds; run only when named."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import Row
from unlabeled.studies.course import STUDIES

FOLDS, SEEDS = 2, 1


def run_whole(*, images: int, preset: str = "standard") -> list[Row]:
    """Draw a data set of STL-10's size, run all studies on it, and tell the seconds of each by its own result.

    A run has two folds and one seed, so that it takes less than an hour; the networks' part grows with folds times seeds,
    the autoencoders' with seeds.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _call("data", "draw", str(root / "stl10"), "--unlabeled", str(images))
        start = time.perf_counter()
        _call(
            "run", "--study", "all", "--preset", preset, "--data", f"stl10:{root / 'stl10'}", "--cache", str(root / "cache"),
            "--out", str(root / "run"), "--folds", str(FOLDS), "--seeds", str(SEEDS),
        )  # fmt: skip
        total = time.perf_counter() - start
        found = {study.name: json.loads((root / "run" / study.name / "result.json").read_text()) for study in STUDIES}
    rows = [_row(name, result, images, total) for name, result in found.items()]
    told = sum(row.more["seconds"] for row in rows)
    return [*rows, _row("shrinking, start and report", {"this_run_seconds": total - told}, images, total)]


def _row(name: str, result: dict[str, Any], images: int, total: float) -> Row:
    seconds = result["this_run_seconds"]
    note = f"{seconds:,.0f} s of {total:,.0f} ({100 * seconds / total:.0f} %)"
    if "seconds" in result:
        note += f", its runs together {result['seconds']:,.0f} s of computing"
    return Row("whole", name, [images / seconds], [], note=note, more={"seconds": seconds})


def _call(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "unlabeled", *arguments], check=True, stdout=subprocess.DEVNULL)
