"""The classifier that a finished run hands over: the best use trained once more on all labels, or the folds' networks together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from unlabeled.console.progress import RunProgress
from unlabeled.errors import TrainingDiverged
from unlabeled.evaluation.calibration import Calibration, calibrate
from unlabeled.evaluation.folds import Fold, Folds
from unlabeled.experiments.applying import apply
from unlabeled.experiments.machine import versions
from unlabeled.experiments.refitting import Refitter, choose_together
from unlabeled.experiments.runner import run_tasks
from unlabeled.experiments.selftraining import StrongTask
from unlabeled.experiments.specs import encoder_of
from unlabeled.experiments.tasks import ClassicalTask, NetworkTask, Task
from unlabeled.experiments.within import WithinTask
from unlabeled.experiments.workplace import working_in
from unlabeled.finished import Finished, reopen
from unlabeled.finished.architectures import (
    Architecture,
    ClassicalArchitecture,
    ConvNetArchitecture,
    StrongArchitecture,
)
from unlabeled.finished.card import write_card
from unlabeled.finished.classifier import Classifier, ClassifierConfig
from unlabeled.methods import arm_name
from unlabeled.methods.features import MODELS
from unlabeled.networks.classical import ClassicalNet
from unlabeled.networks.models import ConvNet
from unlabeled.networks.strong import StrongNet
from unlabeled.outcomes import ClassicalOutcome, Diverged
from unlabeled.studies.looks import Looks
from unlabeled.training.measuring import predict

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab
    from unlabeled.images import Images, Splits

_CHOOSING = 0.1  # share of the labels that chooses, where a training has something to choose
_GOLDEN = 10
_PACKAGES = ("unlabeled", "torch", "numpy", "pillow")


@dataclass(frozen=True)
class AllLabels:
    """All labeled images in one fold; a tenth of them is to choose with, and is left out of the training where that chooses.

    That tenth stands in the test split's place too, so that the test images are never asked.
    """

    choosing: bool

    def lab_of(self, lab: Lab) -> Lab:
        """Return the lab of the same images with that fold."""
        classes = lab.splits.labeled.classes
        random, valid = np.random.default_rng(8), []
        for label in np.unique(classes):
            members = random.permutation(np.flatnonzero(classes == label))
            valid.append(members[: max(1, round(_CHOOSING * len(members)))])
        chosen, every = np.sort(np.concatenate(valid)), np.arange(len(classes))
        other = lab.like(replace(lab.splits, test=lab.splits.labeled.subset(chosen)))
        other.folds = Folds(
            (Fold(np.setdiff1d(every, chosen) if self.choosing else every, chosen),), own=False, correlation=0.0
        )
        return other


@dataclass(frozen=True)
class Decided:
    """Whether the folds' networks answer together or one network that all labels trained does, and by which gains (points)."""

    together: bool
    by_together: float | None
    by_labels: float | None


def keep_classifier(
    run: str | Path, *, cache: Path | None = None, splits: Splits | None = None, progress: RunProgress | None = None
) -> Path:
    """Make the classifier of a finished run, and return its folder, ``classifier`` in the run's.

    It is that of the best use of the unlabeled images, which was chosen on validation images. Its temperature is that of the folds' models
    on images that they were not trained on. ``splits`` are the images of a run on some made in Python.

    Raises
    ------
    UserError
        If the run is not finished.
    TrainingDiverged
        If the training on all labels diverged.
    """
    run = Path(run)
    finished = reopen(run, cache=cache, splits=splits)
    folder = run / "classifier"
    with progress or RunProgress() as shown, working_in(run, shown.note):
        made = _fit_classical(finished) if finished.winner.model in MODELS else _train_networks(finished, shown)
        config = describe(finished.lab, made, _architecture(finished, made.members[0]), way=arm_name(finished.winner))
        card = write_card(finished, config, calibration=made.calibration)
        golden = golden_of(finished.lab.splits.labeled)
        Classifier(config, made.members, device="cpu").save(folder, card=card, golden=golden)
    return folder


@dataclass(frozen=True)
class Made:
    """The models that answer together, or the one; whether they are asked about mirror images; how sure the folds' own were."""

    members: Sequence[nn.Module]
    flip: bool
    calibration: Calibration | None


def _train_networks(finished: Finished, shown: RunProgress) -> Made:
    """Take the folds' networks, or train one on all labels."""
    calibration = None if finished.findings.looks is None else finished.findings.looks.calibration
    if decide(finished).together:
        networks = finished.networks(finished.arm)
        return Made([one.network for one in networks], networks[0].flip, calibration)
    task = final_task(finished)
    (row,) = run_tasks(finished.lab, [task], shown, title=arm_name, told=lambda _: "trained")
    if isinstance(row.outcome, Diverged):
        raise TrainingDiverged(row.outcome.diverged)
    applied = apply(finished.lab, task)
    return Made([applied.network], applied.flip, calibration)


def _fit_classical(finished: Finished) -> Made:
    """Fit a classical model on all labels, with the settings that all runs chose together; and on each fold's, for the temperature."""
    lab, tasks = finished.lab, finished.tasks(finished.winner)
    task, outcomes = tasks[0][0], [row.outcome for _, row in tasks]
    assert isinstance(task, ClassicalTask)
    choice = choose_together([one for one in outcomes if isinstance(one, ClassicalOutcome)])
    refitter, labels = Refitter(lab, task, choice), lab.splits.labeled.classes
    every = np.arange(len(labels))
    chances, truth = [], []
    for fold in lab.folds.folds:
        rest = np.setdiff1d(every, fold.train)
        if len(rest):
            chances.append(predict(refitter.on(fold.train), lab.splits.labeled.subset(rest)))
            truth.append(labels[rest])
    calibration = calibrate(np.concatenate(chances), np.concatenate(truth)) if truth else None
    return Made([refitter.on(every)], False, calibration)


def decide(finished: Finished) -> Decided:
    """Choose by validation images: do networks gain more by answering together, or by the labels that each of them did without?

    What labels bring is the slope of accuracy on validation images over the logarithm of the number of labels, from the curve's last two
    points; without a curve all labels are taken.
    """
    looks: Looks | None = finished.findings.looks
    together = None if looks is None or looks.together is None else 100 * (looks.together[1] - looks.together[0])
    labels = _gain_of_labels(finished)
    return Decided(together is not None and labels is not None and together > labels, together, labels)


def _gain_of_labels(finished: Finished) -> float | None:
    findings, curve = finished.findings, finished.findings.curve
    if curve is None or len(curve.labels) < 2 or curve.best != finished.arm:
        return None
    before = [
        row for row in curve.rows if row.arm.factor == "labels" and replace(row.arm, factor="", value="") == curve.best
    ]
    values = sorted({float(row.arm.value) for row in before})
    half, full = (
        [row.scored.valid_accuracy for row in rows if row.scored is not None]
        for rows in (
            [row for row in before if float(row.arm.value) == values[-1]],
            [row for row in findings.rows if row.arm == curve.best],
        )
    )
    slope = (np.mean(full) - np.mean(half)) / -math.log(values[-1])
    trained = np.mean([len(fold.train) for fold in finished.lab.folds.folds])
    return float(100 * slope * math.log(len(finished.lab.splits.labeled) / trained))


def final_task(finished: Finished) -> Task:
    """Return the training on all labels, with the first seed."""
    return on_all_labels(next(task for task, _ in finished.tasks(finished.arm) if task.fold == 0))


def on_all_labels(task: Task) -> WithinTask:
    """Return the same training on all labels; where it chooses nothing, on those too that tell how good it is."""
    choosing = not isinstance(task, StrongTask) or task.strong.training.keep == "best"
    return WithinTask(replace(task.arm, factor="final", value="all labels"), task, AllLabels(choosing))


def describe(lab: Lab, made: Made, architecture: Architecture, *, way: str) -> ClassifierConfig:
    """Say what a classifier is that was made of a lab's images."""
    return ClassifierConfig(
        classes=tuple(lab.splits.class_names),
        input_size=lab.splits.labeled.shape,
        fit=lab.config.fit,
        architecture=architecture,
        members=len(made.members),
        temperature=1.0 if made.calibration is None else made.calibration.temperature,
        flip=made.flip,
        bits=lab.splits.origin.get("bits"),
        way=way,
        versions=versions(_PACKAGES),
    )


def _architecture(finished: Finished, network: nn.Module) -> Architecture:
    if isinstance(network, StrongNet):
        return StrongArchitecture(network.widths, network.layers)
    task, _ = finished.tasks(finished.winner)[0]
    if isinstance(network, ClassicalNet):
        assert isinstance(task, ClassicalTask)
        return ClassicalArchitecture.of(network, encoder_of(task.features) or finished.lab.config.encoder)
    if isinstance(network, ConvNet):
        assert isinstance(task, NetworkTask)
        return ConvNetArchitecture(task.encoder.model_dump(mode="json"), task.network.hidden, task.network.dropout)
    raise TypeError(f"no classifier is kept of a {type(network).__name__}")


def golden_of(labeled: Images) -> np.ndarray:
    """Return ten labeled images, spread over all."""
    return labeled.take(np.unique(np.linspace(0, len(labeled) - 1, min(_GOLDEN, len(labeled))).astype(np.intp)))
