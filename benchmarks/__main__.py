"""``python -m benchmarks [CASE ...]``: measure, print the table, and write it as Markdown and JSON."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.encoding import run_encoding
from benchmarks.growing import run_sizes
from benchmarks.measuring import Row, describe_machine
from benchmarks.peers import run_peers
from benchmarks.reading import run_folder, run_pipeline
from benchmarks.strong import run_strong
from benchmarks.studying import run_study
from benchmarks.table import add_results, as_markdown, refresh_readme, write_results
from benchmarks.training import run_training
from benchmarks.whole import run_whole

ROOT = Path(__file__).parent
# Cases that are only run when they are named.
LONG = ("whole",)


def main() -> None:
    """Run the cases that were asked for, or all."""
    given = _parse()
    if given.readme:
        refresh_readme(ROOT.parent / "README.md", json.loads((given.out / "results.json").read_text()))
        return
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    cases = _cases(given)
    unknown = sorted(set(given.cases) - set(cases))
    if unknown:
        sys.exit(f"case {unknown[0]!r} is not known; use {', '.join(cases)}")
    if given.threads:
        torch.set_num_threads(given.threads)
        os.environ["OMP_NUM_THREADS"] = str(given.threads)
    machine, rows, notes = describe_machine(), [], {}
    kept: dict[str, Any] = json.loads((given.out / "results.json").read_text()) if given.add else {}
    for name in given.cases or [name for name in cases if name not in LONG]:
        start = time.perf_counter()
        try:
            rows += cases[name]()
        except ModuleNotFoundError as error:
            notes[name] = f"left out, {error.name} is not installed"
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        found = [row.as_json() for row in rows]
        write_results(given.out, *(add_results(kept, machine, found, notes) if kept else (machine, found, notes)))
    print(as_markdown(json.loads((given.out / "results.json").read_text())))


def _cases(given: argparse.Namespace) -> dict[str, Callable[[], list[Row]]]:
    share, repeats = given.share, given.repeats

    def some(images: int) -> int:
        return max(round(images * share), 512)

    return {
        "ae1": lambda: run_training("ae1", images=some(20_000), repeats=repeats),
        "ae3": lambda: run_training("ae3", images=some(5_000), repeats=repeats),
        "net": lambda: run_training("net", images=some(10_000), repeats=repeats),
        "strong": lambda: run_strong(images=some(5_000), repeats=repeats),
        "peers": lambda: run_peers(images=some(5_000), repeats=repeats),
        "pipeline": lambda: run_pipeline(images=some(100_000), repeats=min(repeats, given.long_repeats)),
        "folder": lambda: run_folder(
            folder=given.folder, images=some(20_000), repeats=min(repeats, given.long_repeats)
        ),
        "encode": lambda: run_encoding(images=some(100_000), repeats=repeats),
        "study": lambda: run_study(images=some(4_000), repeats=repeats),
        "size": lambda: run_sizes(sizes=(some(10_000), some(30_000), some(100_000)), repeats=min(repeats, 3)),
        "whole": lambda: run_whole(images=some(100_000)),
    }


def _parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", help="which cases; all but whole, which takes hours, if none is named")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each case")
    parser.add_argument("--long-repeats", type=int, default=5, help="turns of pipeline and folder, at most")
    parser.add_argument("--threads", type=int, help="threads of all contenders; left out, as many as there are cores")
    parser.add_argument("--share", type=float, default=1.0, help="share of the images, for a quick look")
    parser.add_argument(
        "--folder", type=Path, default=os.environ.get("UNLABELED_BENCH_FOLDER"), help="folder of JPEG files"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="where results.md and results.json go; left out, benchmarks/, and for a part of all a temporary folder",
    )
    parser.add_argument("--add", action="store_true", help="keep what results.json has of other cases, and say so")
    parser.add_argument(
        "--readme", action="store_true", help="put the last results into the README, and measure nothing"
    )
    given = parser.parse_args(words)
    given.folder = None if given.folder is None else Path(given.folder)
    # A look at some cases, or at some of the images, leaves the table that is kept as it is.
    whole = given.share == 1 and not given.cases
    given.out = given.out or (ROOT if whole or given.add or given.readme else Path(tempfile.mkdtemp()))
    return given


if __name__ == "__main__":
    main()
