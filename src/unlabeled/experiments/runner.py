"""Spread tasks over the cores; finished ones are read, not repeated."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from joblib import delayed

from unlabeled.console.progress import RunProgress
from unlabeled.console.ticks import Ticker
from unlabeled.experiments.distributing import engine_of, run_on
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.machine import own_peak, remember_worker
from unlabeled.experiments.performing import outcome_of, perform
from unlabeled.experiments.tasks import Task
from unlabeled.keeping.results import Run
from unlabeled.outcomes import Diverged, Outcome, PretrainedOutcome, Scored
from unlabeled.processes import in_processes
from unlabeled.records import ArmKey, Row, Spread

_MOST_A_CORE = 4


def run_tasks(
    lab: Lab,
    tasks: Sequence[Task],
    progress: RunProgress,
    *,
    title: Callable[[ArmKey], str] = str,
    told: Callable[[Outcome], str] | None = None,
) -> list[Row]:
    """Perform tasks after what they need, and return their rows in the order given.

    ``title`` names arms in lines of progress, and ``told`` says what came out, where that is not how well it did on the test images.

    Runs are spread over processes of one thread each where there are as many as cores: small networks gain little from a second
    thread, and logistic regression nothing. The number of threads follows from the number of tasks, finished or not, for it can
    change the last digits.
    """
    runs: dict[str, tuple[Task, Run]] = {}
    places = []
    for task in tasks:
        run = task.key(lab)
        # Tasks that only differ in what nothing depends on share a run.
        runs.setdefault(str(run.folder), (task, run))
        places.append(str(run.folder))
    outcomes = {name: outcome_of(run, tell=True) for name, (_, run) in runs.items()}
    results = {name: outcome for name, outcome in outcomes.items() if outcome is not None}
    waiting = [(name, _label(task, title), task) for name, (task, _) in runs.items() if name not in results]
    engine = engine_of(lab) if waiting else None
    # Of all tasks, so that a run that goes on spreads them as the first one did.
    graph = engine is not None and engine.graph
    if waiting and not graph and (needed := [other for task, _ in runs.values() for other in task.needs]):
        run_tasks(lab, needed, progress, title=title, told=told)
        # A run that others need can be one of those that are asked for.
        made = {str(other.key(lab).folder) for other in needed}
        results |= {name: done for name in made & runs.keys() if (done := outcome_of(runs[name][1])) is not None}
        waiting = [entry for entry in waiting if entry[0] not in results]
    say = told or _result_line
    if engine is not None:
        results |= run_on(engine, lab, waiting, progress, say)
    else:
        jobs = _jobs(lab, len(runs))
        progress.plan((task.kind for _, _, task in waiting), workers=jobs)
        for name, outcome, took in _perform_all(lab, waiting, jobs, progress):
            progress.done(name, say(outcome), took)
            results[name] = outcome
    return [
        Row(
            task.arm,
            task.seed,
            os.path.relpath(name, lab.folder),
            results[name],
            task.fold,
            getattr(task, "apart", False),
        )
        for task, name in zip(tasks, places, strict=True)
    ]


def _perform_all(
    lab: Lab, waiting: list[tuple[str, str, Task]], jobs: int, progress: RunProgress
) -> Iterator[tuple[str, Outcome, float]]:
    """Perform tasks, here or spread over processes, and yield the name, result and seconds of each as it ends."""
    if jobs > 1 and waiting:
        yield from _spread(lab, waiting, jobs, progress)
        return
    for name, label, task in waiting:
        progress.start(name, task.kind, label)
        began = time.perf_counter()
        outcome = perform(lab, task, progress)
        yield name, outcome, time.perf_counter() - began


def _spread(
    lab: Lab, waiting: list[tuple[str, str, Task]], jobs: int, progress: RunProgress
) -> Iterator[tuple[str, Outcome, float]]:
    threads = max(1, _cores(lab) // jobs)

    def calls() -> Iterator[Any]:
        for name, label, task in waiting:
            progress.start(name, task.kind, label)
            yield delayed(_perform_apart)(lab, name, task, threads, progress.ticks_of(name))

    # No more is handed out than is running, so what was started is what runs.
    for name, outcome, took, process, peak in in_processes(calls(), jobs=jobs, ordered=False, ahead=jobs):
        remember_worker(process, peak, among=jobs)
        yield name, outcome, took


def _perform_apart(
    lab: Lab, name: str, task: Task, threads: int, ticks: Path | None
) -> tuple[str, Outcome, float, int, float]:
    """Perform a task in another process; return its seconds and that process's memory too."""
    torch.set_num_threads(threads)
    began = time.perf_counter()
    outcome = perform(lab, task, None if ticks is None else Ticker(ticks))
    return name, outcome, time.perf_counter() - began, os.getpid(), own_peak()


def _jobs(lab: Lab, tasks: int) -> int:
    # A GPU is shared by as many as are asked for: each holds memory of it, and no more than one is sure to fit.
    usual = _cores(lab) if lab.runtime.device.type == "cpu" else 1
    # More processes than some a core only wait for one another, and each takes memory.
    return max(1, min(lab.config.jobs or usual, tasks, _MOST_A_CORE * (os.cpu_count() or 1)))


def spread(lab: Lab) -> Spread:
    """Return how many runs of a large stage go on at a time, and the threads of each."""
    jobs = _jobs(lab, lab.config.jobs or _cores(lab))
    return Spread(jobs, max(1, _cores(lab) // jobs))


def _cores(lab: Lab) -> int:
    return lab.config.threads or torch.get_num_threads()


def _label(task: Task, title: Callable[[ArmKey], str]) -> str:
    """Name a run for a line of progress."""
    fold = "" if task.fold is None else f", fold {task.fold + 1}"
    return f"{title(task.arm)}{fold}, seed {task.seed}"


def _result_line(outcome: Outcome) -> str:
    if isinstance(outcome, Diverged):
        return outcome.diverged.partition(";")[0]
    if isinstance(outcome, Scored):
        return f"test accuracy {100 * outcome.accuracy:.1f} %"
    if isinstance(outcome, PretrainedOutcome):
        return f"held-out loss {outcome.held_out_loss:.4f}"
    return f"held-out MSE {outcome.held_out_mse:.4f}"
