"""Do what studies ask for, unless it was done before: one folder a run, its result written last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unlabeled.classifiers import log_losses, score
from unlabeled.comparison import ARM_NAMES
from unlabeled.errors import TrainingDiverged
from unlabeled.files import write_arrays
from unlabeled.locks import locked
from unlabeled.results import Run, read_result
from unlabeled.studies.lab import Lab
from unlabeled.training import Fitted, Watcher


class Task(Protocol):
    """A run, said in values alone, so that it can travel to another process.

    A task that stands on another one's outcome performs that one first, so each can be asked for alone.
    """

    @property
    def arm(self) -> str:
        """What its row is called in tables."""

    @property
    def kind(self) -> str:
        """What takes about the same time."""

    @property
    def label(self) -> str:
        """What a line of progress calls it."""

    @property
    def position(self) -> dict[str, int]:
        """Where its row stands beside others of its arm: fold, seed."""

    def run(self, lab: Lab) -> Run:
        """Return its folder."""

    def compute(self, lab: Lab, run: Run, watcher: Watcher | None) -> dict[str, Any]:
        """Do it, and return the result in JSON's types."""


# Performs tasks that do not wait for one another, and returns their rows in the order given.
Perform: TypeAlias = Callable[[Sequence[Task]], list[dict[str, Any]]]


def perform(lab: Lab, task: Task, watcher: Watcher | None = None) -> dict[str, Any]:
    """Do a task unless it is done and whole, and return its result; a training that diverges is a result too.

    Such a result holds ``diverged`` with the reason, and nothing else. Of two processes that want the same run one waits for the other.
    """
    run = task.run(lab)
    run.folder.mkdir(parents=True, exist_ok=True)
    with locked(run.folder):
        if (done := run.outcome()) is not None:
            return done
        run.start()
        try:
            result = task.compute(lab, run, watcher)
        except TrainingDiverged as error:
            result = {"diverged": str(error), "seconds": 0.0}
        run.finish(result)
    return read_result(run.folder).content


def read_scores(
    lab: Lab, rows: list[dict[str, Any]]
) -> dict[tuple[str, int, int], tuple[NDArray[np.bool_], NDArray[np.floating[Any]]]]:
    """Return for each scored run, by (arm, fold, seed), whether each test image was right, and its log loss."""
    labels = lab.splits.test.classes
    scores = {}
    for row in rows:
        if "accuracy" in row:
            stored = read_result(lab.folder / row["run"]).arrays("test.npz")
            scores[row["arm"], row["fold"], row["seed"]] = (stored["predicted"] == labels, stored["log_loss"])
    return scores


def score_test(run: Run, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """Score the test split, and keep what each image got."""
    accuracy, loss = score(probabilities, labels)
    write_arrays(
        run.folder / "test.npz",
        predicted=probabilities.argmax(1).astype(np.uint16),
        log_loss=log_losses(probabilities, labels).astype(np.float32),
    )
    return {"accuracy": accuracy, "log_loss": loss}


def fold_label(arm: str, fold: int, seed: int) -> str:
    """Name a run on a fold for a line of progress."""
    return f"{ARM_NAMES.get(arm, arm)}, fold {fold + 1}, seed {seed}"


def median_speed(fitted: Fitted) -> float:
    """Return the median over epochs of the images trained on a second."""
    return float(np.median([row["images_per_second"] for row in fitted.history]))
