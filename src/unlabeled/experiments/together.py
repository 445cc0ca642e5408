"""One run that several processes compute together under torchrun: each takes its share of every batch, one keeps what comes out."""

from __future__ import annotations

from dataclasses import replace

from unlabeled.experiments.lab import Lab
from unlabeled.experiments.performing import outcome_of
from unlabeled.experiments.tasks import Task
from unlabeled.outcomes import Outcome
from unlabeled.records import as_json
from unlabeled.training import Watcher
from unlabeled.training.runtime import Runtime


def perform_together(lab: Lab, task: Task, watcher: Watcher | None = None) -> Outcome:
    """Do a run, after those that it needs, in all processes at once; a finished one is read.

    A run that was interrupted goes on from its checkpoint, also where torchrun starts the processes again. No folder is locked, for
    processes that train together would wait for one another for ever; give one such command a folder at a time.

    Raises
    ------
    TrainingDiverged
        If a training diverged.
    """
    needed = [perform_together(lab, other, watcher) for other in task.needs]
    run, first = task.key(lab), lab.runtime.rank == 0
    done = outcome_of(run)
    # None begins before all have looked: what one finds another must not have removed.
    meet(lab.runtime)
    if done is not None:
        return done
    if first:
        run.folder.mkdir(parents=True, exist_ok=True)
        run.start()
    meet(lab.runtime)
    outcome = task.run(lab, run.folder, needed, watcher if first else None)
    meet(lab.runtime)
    if first:
        run.finish(as_json(outcome))
    meet(lab.runtime)
    return outcome


def meet(runtime: Runtime) -> None:
    """Wait until all processes are here."""
    if runtime.processes > 1:
        runtime.fabric().barrier()  # type: ignore[union-attr]


def agree_on_precision(lab: Lab) -> None:
    """Have all processes compute the strong network as the first one has measured it to be fastest."""
    if lab.runtime.processes > 1:
        own = lab.strong_runtime.precision if lab.runtime.rank == 0 else None
        chosen = lab.runtime.fabric().broadcast(own)  # type: ignore[union-attr]
        lab.strong_runtime = replace(lab.runtime, precision=chosen)
