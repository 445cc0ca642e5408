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

_MOST_A_CORE = 4


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
    outcomes = {name: run.outcome(tell=True) for name, (_, run) in runs.items()}
    results = {name: outcome for name, outcome in outcomes.items() if outcome is not None}
    waiting = [(name, task) for name, (task, _) in runs.items() if name not in results]
    progress.plan((task.kind for _, task in waiting), workers=jobs)
    for name, result in _perform_all(lab, waiting, jobs, progress):
        progress.done(name, _outcome(result))
        results[name] = result
    return [
        {"arm": task.arm, **task.position, "run": os.path.relpath(name, lab.folder), **results[name]}
        for task, name in zip(tasks, places, strict=True)
    ]


def _perform_all(
    lab: Lab, waiting: list[tuple[str, Task]], jobs: int, progress: RunProgress
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Perform tasks, here or spread over processes, and yield the name and result of each as it ends."""
    if jobs > 1 and waiting:
        yield from _spread(lab, waiting, jobs, progress)
        return
    for name, task in waiting:
        progress.start(name, task.kind, task.label)
        yield name, perform(lab, task, progress)


def _spread(
    lab: Lab, waiting: list[tuple[str, Task]], jobs: int, progress: RunProgress
) -> Iterator[tuple[str, dict[str, Any]]]:
    threads = max(1, _cores(lab) // jobs)

    def calls() -> Iterator[Any]:
        for name, task in waiting:
            progress.start(name, task.kind, task.label)
            yield delayed(_perform_apart)(lab, name, task, threads)

    # No more is handed out than is running, so what was started is what runs.
    yield from in_processes(calls(), jobs=jobs, ordered=False, ahead=jobs)


def _perform_apart(lab: Lab, name: str, task: Task, threads: int) -> tuple[str, dict[str, Any]]:
    """Perform a task in another process."""
    torch.set_num_threads(threads)
    return name, perform(lab, task)


def _jobs(lab: Lab, tasks: int) -> int:
    if lab.runtime.device.type != "cpu":
        return 1
    # More processes than that only wait for one another, and each takes memory.
    return max(1, min(lab.config.jobs or _cores(lab), tasks, _MOST_A_CORE * (os.cpu_count() or 1)))


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
