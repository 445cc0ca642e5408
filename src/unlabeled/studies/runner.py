"""Spread tasks over the cores; finished ones are read, not repeated."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from joblib import delayed

from unlabeled.processes import in_processes
from unlabeled.progress import RunProgress
from unlabeled.results import Run
from unlabeled.studies.lab import Lab
from unlabeled.studies.performing import Task, perform


def run_tasks(lab: Lab, tasks: Sequence[Task], progress: RunProgress) -> list[dict[str, Any]]:
    """Perform tasks that do not wait for one another, and return their rows in the order given.

    A row is the task's arm and place, its run's folder relative to the study's, and the result. Runs are spread over processes of one
    thread each where there are as many as cores: small networks gain little from a second thread, and logistic
    regression nothing. The number of threads follows from the number of tasks, finished or not, for it can change the last digits.
    """
    runs: dict[str, tuple[Task, Run]] = {}
    places = []
    for task in tasks:
        run = task.run(lab)
        # Tasks that only differ in what nothing depends on share a run.
        runs.setdefault(str(run.folder), (task, run))
        places.append(str(run.folder))
    jobs = _jobs(lab, len(runs))
    progress.plan((task.kind for task, run in runs.values() if not run.finished), workers=jobs)
    waiting = [(name, task) for name, (task, run) in runs.items() if not run.finished]
    if jobs == 1:
        for name, task in waiting:
            progress.start(name, task.kind, task.label)
            progress.done(name, _outcome(perform(lab, task, progress)))
    elif waiting:
        _spread(lab, waiting, jobs, progress)
    results = {name: run.result() for name, (_, run) in runs.items()}
    return [
        {"arm": task.arm, **task.position, "run": os.path.relpath(name, lab.folder), **results[name]}
        for task, name in zip(tasks, places, strict=True)
    ]


def _spread(lab: Lab, waiting: list[tuple[str, Task]], jobs: int, progress: RunProgress) -> None:
    threads = max(1, _cores(lab) // jobs)

    def calls() -> Iterator[Any]:
        for name, task in waiting:
            progress.start(name, task.kind, task.label)
            yield delayed(_perform_apart)(lab, name, task, threads)

    # No more is handed out than is running, so what was started is what runs.
    for name, result in in_processes(calls(), jobs=jobs, ordered=False, ahead=jobs):
        progress.done(name, _outcome(result))


def _perform_apart(lab: Lab, name: str, task: Task, threads: int) -> tuple[str, dict[str, Any]]:
    """Perform a task in another process."""
    torch.set_num_threads(threads)
    return name, perform(lab, task)


def _jobs(lab: Lab, tasks: int) -> int:
    if lab.runtime.device.type != "cpu":
        return 1
    return max(1, min(lab.config.jobs or _cores(lab), tasks))


def spread(lab: Lab) -> dict[str, int]:
    """Return how many runs of a large stage go on at a time, and the threads of each."""
    jobs = _jobs(lab, _cores(lab))
    return {"jobs": jobs, "threads": max(1, _cores(lab) // jobs)}


def _cores(lab: Lab) -> int:
    return lab.config.threads or torch.get_num_threads()


def _outcome(result: dict[str, Any]) -> str:
    if "diverged" in result:
        return result["diverged"].partition(";")[0]
    if "accuracy" in result:
        return f"test accuracy {100 * result['accuracy']:.1f} %"
    return f"held-out MSE {result['held_out_mse']:.4f}"
