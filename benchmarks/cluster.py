"""What does an engine cost? Runs that do nothing, handed to worker processes of Dask; and real ones, beside ``--jobs``.

``python -m benchmarks.cluster [--empty 10000] [--workers 2] [--data folder:photos] [--with run.toml] [--kill-every 60] [--beside RUN]``.
With ``--kill-every`` a worker is killed every so many seconds while the study runs over the cluster, and its result is held against that
of ``--jobs``, or with ``--beside`` against that of a finished run of the same configuration.
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
from unlabeled.experiments.distributing import engine_of, run_on
from unlabeled.experiments.lab import Lab
from unlabeled.keeping.results import Run
from unlabeled.outcomes import AutoencoderOutcome
from unlabeled.presets import merge, read_file, resolve
from unlabeled.records import ArmKey
from unlabeled.sources import load
from unlabeled.studies.course import run_gain
from unlabeled.studies.gain import plan


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


def _config(asked: argparse.Namespace, **changes: Any) -> Config:
    told = {} if asked.told is None else read_file(asked.told)
    base = {"data": asked.data, "preset": "quick", "precision": "fp32", "curve": {"labels": "none"}}
    return resolve(merge(merge(base, told), changes))


@contextmanager
def _killing(client: Any, every: float) -> Iterator[list[int]]:
    """Kill a worker every so many seconds, by turns; the list has their numbers."""
    killed: list[int] = []
    over = Event()

    def kill() -> None:
        while every and not over.wait(every):
            processes = list(client.run(os.getpid).values())
            if not processes:  # the last one's place is not taken yet
                continue
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


def _finished(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def _seconds_of_runs(lab: Lab, folder: Path) -> float:
    """Return what the runs of a finished study took, one after the other."""
    keys = {task.key(lab).folder.relative_to(lab.folder) for one in plan(lab) for task in (one, *one.needs)}
    return sum(float(_finished(folder / key).get("seconds", 0.0)) for key in keys)


def _empty(asked: argparse.Namespace, lab: Lab, engine: DaskEngine) -> None:
    """Print how many runs that do nothing an engine hands out a second."""
    waiting = [(str(task.key(lab).folder), "empty", task) for task in map(Empty, range(asked.empty))]
    start = time.perf_counter()
    run_on(engine, lab, waiting, _Silent(), lambda outcome: "")
    seconds = time.perf_counter() - start
    print(
        f"{asked.empty:,} empty runs over {asked.workers} workers: {seconds:.1f} s, {asked.empty / seconds:,.0f} a second"
    )


def main() -> None:
    """Print runs a second, and how much longer or shorter a study takes."""
    from distributed import LocalCluster

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--empty", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--with", dest="told", type=Path, help="more of the configuration, as TOML")
    parser.add_argument("--kill-every", type=float, default=0.0)
    parser.add_argument("--beside", type=Path, help="a finished run to hold it against, in place of one with --jobs")
    asked = parser.parse_args()
    splits = load(_config(asked))
    with (
        tempfile.TemporaryDirectory() as place,
        LocalCluster(n_workers=asked.workers, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
    ):
        address = f"dask:{cluster.scheduler_address}"
        lab = Lab(_config(asked, cluster=address), splits, Path(place) / "empty")
        engine = engine_of(lab)  # the study's own: of two, one would look for workers that are gone
        assert isinstance(engine, DaskEngine)
        _empty(asked, lab, engine)
        serial = asked.beside
        if serial is None:
            serial = Path(place) / "jobs"
            start = time.perf_counter()
            run_gain(_config(asked, jobs=asked.workers), splits, folder=serial)
            beside = time.perf_counter() - start
            taken = f"{beside:.0f} s with --jobs {asked.workers}"
        else:
            trained = _seconds_of_runs(lab, serial)
            beside = trained / asked.workers
            taken = f"{trained:.0f} s of trainings in {serial.name}, were they spread without loss {beside:.0f} s"
        with _killing(engine.client, asked.kill_every) as killed:
            start = time.perf_counter()
            run_gain(_config(asked, cluster=address), splits, folder=Path(place) / "cluster")
            seconds = time.perf_counter() - start
        same = _finished(Path(place) / "cluster")["digest"] == _finished(serial)["digest"]
        print(
            f"the main job on {asked.data}: {seconds:.0f} s over the cluster, {len(killed)} workers killed; {taken}: "
            f"{beside / seconds:.2f} of that speed, {'the same result' if same else 'ANOTHER RESULT'}"
        )
        engine.close()


if __name__ == "__main__":
    main()
