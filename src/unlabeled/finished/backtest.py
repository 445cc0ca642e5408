"""Whether choosing what to label is better than chance: tried on labels that are known."""

from __future__ import annotations

from dataclasses import replace

from unlabeled.console.progress import RunProgress
from unlabeled.errors import TrainingDiverged
from unlabeled.experiments.growing import GrownTask, How
from unlabeled.experiments.runner import run_tasks
from unlabeled.finished import Finished
from unlabeled.methods import all_contrasts, arm_name, method_of
from unlabeled.outcomes import Diverged
from unlabeled.records import ArmKey, Contrast, ContrastResult
from unlabeled.studies.study import compared, repetitions


def alone(finished: Finished) -> ArmKey:
    """Return the network of labels alone that goes with the network that is asked."""
    return next((c.control for c in all_contrasts() if c.treated == finished.arm and c.role == "without"), finished.arm)


def run_backtest(finished: Finished, progress: RunProgress) -> ContrastResult:
    """Hide half of every fold's labels, label some of them again, chosen or drawn, train on labels alone, and compare.

    Each fold with each seed is a round, and both choices begin from the same network. The test images score each network once, and choose
    nothing.

    Raises
    ------
    DataError
        If a fold has too few labels to hide half of them.
    TrainingDiverged
        If a training diverged.
    """
    lab, arm = finished.lab, alone(finished)
    method = method_of(arm)
    assert method is not None
    ways: tuple[How, ...] = ("suggested", "random")
    suggested, random = grown = [replace(arm, factor="grown", value=how) for how in ways]
    tasks = [
        GrownTask(own, inner, how)
        for seed, fold in repetitions(lab)
        for inner in method.tasks(lab, fold, seed)
        if inner.arm == arm
        for own, how in zip(grown, ways, strict=True)
    ]
    rows = run_tasks(lab, tasks, progress, title=arm_name)
    for row in rows:
        if isinstance(row.outcome, Diverged):
            raise TrainingDiverged(row.outcome.diverged)
    return compared(lab, rows, [Contrast(suggested, random, named=True)]).contrasts[0]
