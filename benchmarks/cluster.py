"""What does an engine cost? Runs that do nothing, handed to worker processes of Dask; and real ones, beside ``--jobs``.

``python -m benchmarks.cluster [--empty 10000] [--workers 2] [--data folder:photos] [--kill-every 60]``: with the last one a worker is
killed every so many seconds while the study runs over the cluster, and its result is held against the other's.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

from unlabeled.config import Config
from unlabeled.console.progress import RunProgress
from unlabeled.experiments.clusters import DaskEngine
from unlabeled.experiments.distributing import run_on
from unlabeled.experiments.lab import Lab
from unlabeled.keeping.results import Run
from unlabeled.outcomes import AutoencoderOutcome
from unlabeled.presets import resolve
from unlabeled.records import ArmKey
from unlabeled.sources import load
from unlabeled.studies.course import run_gain


@dataclass(frozen=True)
class Empty:
    """A run that does nothing, and leaves a result as all do."""

    number: int
    arm = ArmKey("empty")
    kind = "empty"
    needs = ()
    fold = None
    seed = 0

    def key(self, lab: Lab) -> Run:
        """Return its folder."""
        return Run(lab.folder / "runs", f"empty/{self.number}", {"number": self.number})

    def run(self, lab: Lab, folder: Path, needed: Any, watcher: Any) -> AutoencoderOutcome:
        """Do nothing."""
        return AutoencoderOutcome(0.0, 1.0, 1, [1, 1, 1], 1, 1, 1, "empty", 1, 0.0, 0.0)


class _Silent(RunProgress):
    def done(self, name: str, outcome: str, took: float) -> None:
        """Say nothing of each of ten thousand runs."""


def _config(data: str, **changes: Any) -> Config:
    return resolve({"data": data, "preset": "quick", "precision": "fp32", "curve": {"labels": "none"}, **changes})


@contextmanager
def _killing(client: Any, every: float) -> Iterator[list[int]]:
    """Kill a worker every so many seconds, by turns; the list has their numbers."""
    killed: list[int] = []
    over = Event()

    def kill() -> None:
        while every and not over.wait(every):
            processes = list(client.run(os.getpid).values())
            victim = processes[len(killed) % len(processes)]
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    thread = Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def _digest(folder: Path) -> str:
    found: str = json.loads((folder / "result.json").read_text(encoding="utf-8"))["digest"]
    return found


def main() -> None:
    """Print runs a second, and how much longer or shorter a study takes."""
    from distributed import LocalCluster

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--empty", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--kill-every", type=float, default=0.0)
    asked = parser.parse_args()
    splits = load(_config(asked.data))
    with (
        tempfile.TemporaryDirectory() as place,
        LocalCluster(n_workers=asked.workers, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
    ):
        lab, engine = Lab(_config(asked.data), splits, Path(place) / "empty"), DaskEngine(cluster.scheduler_address)
        tasks = [Empty(number) for number in range(asked.empty)]
        waiting = [(str(task.key(lab).folder), "empty", task) for task in tasks]
        start = time.perf_counter()
        run_on(engine, lab, waiting, _Silent(), lambda outcome: "")
        seconds = time.perf_counter() - start
        print(
            f"{asked.empty:,} empty runs over {asked.workers} workers: {seconds:.1f} s, {asked.empty / seconds:,.0f} a second"
        )
        taken = {}
        for name, changes in (
            ("jobs", {"jobs": asked.workers}),
            ("cluster", {"cluster": f"dask:{cluster.scheduler_address}"}),
        ):
            with _killing(engine.client, asked.kill_every if name == "cluster" else 0.0) as killed:
                start = time.perf_counter()
                run_gain(_config(asked.data, **changes), splits, folder=Path(place) / name)
                taken[name] = time.perf_counter() - start
        same = (
            "the same result" if _digest(Path(place) / "jobs") == _digest(Path(place) / "cluster") else "ANOTHER RESULT"
        )
        print(
            f"the main job on {asked.data}: {taken['cluster']:.0f} s over the cluster, {len(killed)} workers killed, {taken['jobs']:.0f} s "
            f"with --jobs {asked.workers}: {taken['jobs'] / taken['cluster']:.2f} of its speed, {same}"
        )
        engine.close()


if __name__ == "__main__":
    main()
