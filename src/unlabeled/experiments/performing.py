"""Do what studies ask for, unless it was done before: one folder a run, its result written last."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from unlabeled.console.plain import printable
from unlabeled.errors import TrainingDiverged
from unlabeled.evaluation.classifiers import log_losses, score
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.machine import give_memory_back
from unlabeled.experiments.tasks import Task
from unlabeled.images import Images
from unlabeled.keeping.files import write_arrays
from unlabeled.keeping.locks import locked
from unlabeled.keeping.results import Run, read_result
from unlabeled.networks.layout import count_operations
from unlabeled.outcomes import Diverged, Outcome, Scored
from unlabeled.records import as_json, read_as
from unlabeled.training import Fitted, Watcher

_log = logging.getLogger("unlabeled")


def perform(lab: Lab, task: Task, watcher: Watcher | None = None) -> Outcome:
    """Do a task, and what it needs first, unless it is done and whole; return the outcome.

    A training that diverges is an outcome too, also for what stands on it. Of two processes that want the same run one waits for the
    other.
    """
    run = task.key(lab)
    run.folder.mkdir(parents=True, exist_ok=True)
    with locked(run.folder):
        if (done := outcome_of(run)) is not None:
            return done
        run.start()
        try:
            outcome = _attempt(lab, task, run, watcher)
        except TrainingDiverged as error:
            outcome = Diverged(str(error), 0.0)
        give_memory_back()
        run.finish(as_json(outcome))
    return read_as(Outcome, read_result(run.folder).content)  # type: ignore[arg-type]


def outcome_of(run: Run, *, tell: bool = False) -> Outcome | None:
    """Return a run's outcome if it is finished, whole and of the shape that this version writes; otherwise it can be told why not."""
    content = run.outcome(tell=tell)
    if content is None:
        return None
    try:
        return read_as(Outcome, content)  # type: ignore[arg-type]
    except ValueError:
        if tell:
            _log.warning(
                f"{printable(str(run.folder))}: the result is not as this version writes it; this run is made anew"
            )
        return None


def _attempt(lab: Lab, task: Task, run: Run, watcher: Watcher | None) -> Outcome:
    needed = []
    for other in task.needs:
        outcome = perform(lab, other, watcher)
        if isinstance(outcome, Diverged):
            raise TrainingDiverged(f"its {getattr(other, 'title', other.arm)}: {outcome.diverged}")
        needed.append(outcome)
    outcome = task.run(lab, run.folder, needed, watcher)
    if isinstance(outcome, Scored):
        before = sum(one.seconds_in_all if isinstance(one, Scored) else one.seconds for one in needed)
        operations = outcome.operations + sum(getattr(one, "operations", 0.0) for one in needed)
        outcome = replace(outcome, seconds_before=before, operations=operations)
    return outcome


def operations_of_training(model: nn.Module, images: Images, fitted: Fitted, *, times: float = 1.0) -> float:
    """Return the multiplications with additions of a training that sees ``times`` as many images an epoch."""
    return 3 * count_operations(model, images.shape) * len(images) * times * len(fitted.history)


def score_test(folder: Path, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """Score the test split, and keep what each image got."""
    accuracy, loss = score(probabilities, labels)
    write_arrays(
        folder / "test.npz",
        predicted=probabilities.argmax(1).astype(np.uint16),
        log_loss=log_losses(probabilities, labels).astype(np.float32),
    )
    return {"accuracy": accuracy, "log_loss": loss}


def median_speed(fitted: Fitted) -> float:
    """Return the median over epochs of the images trained on a second."""
    return float(np.median([row["images_per_second"] for row in fitted.history]))
