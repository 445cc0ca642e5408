"""Fit a classical model on features of a fold."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from unlabeled.evaluation.classifiers import (
    Chosen,
    Labeled,
    Step,
    choose_boosting,
    choose_logistic,
    choose_neighbours,
    choose_trees,
    ignore,
    score,
)
from unlabeled.evaluation.linear import fit_linear_network
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.performing import score_test
from unlabeled.experiments.specs import ComponentFeatures, Features
from unlabeled.experiments.tasks import ClassicalTask
from unlabeled.outcomes import ClassicalOutcome


def fit_classical(
    task: ClassicalTask,
    lab: Lab,
    folder: Path,
    *,
    reference: ClassicalOutcome | None = None,
    step: Step = ignore,
) -> ClassicalOutcome:
    """Choose on the fold's validation part, score the test split once, and keep what each image got in a folder.

    ``reference`` is what scikit-learn's regression came to, for its twin.
    """
    part, labels = lab.folds.folds[task.fold], lab.splits.labeled.classes
    features = lab.features(task.features)
    train, valid = (Labeled(features.labeled[rows], labels[rows]) for rows in (part.train, part.valid))
    start = time.perf_counter()
    if isinstance(task.features, ComponentFeatures):
        chosen, number = _choose_components(task, lab, train, valid, step)
        train, valid = (Labeled(one.features[:, :number], one.labels) for one in (train, valid))
        features = Features(features.labeled[:, :number], features.test[:, :number])
    else:
        chosen = _fit(task, lab, train, valid, reference, step)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    probabilities = chosen.classifier.predict(features.test)
    predicting = time.perf_counter() - start
    accuracy, loss = score(chosen.classifier.predict(valid.features), valid.labels)
    train_accuracy, train_loss = score(chosen.classifier.predict(train.features), train.labels)
    return ClassicalOutcome(
        converged=chosen.converged,
        choice=chosen.choice,
        tried=chosen.tried,
        facts=chosen.facts,
        features=int(features.labeled.shape[1]),
        valid_accuracy=accuracy,
        valid_log_loss=loss,
        train_accuracy=train_accuracy,
        train_log_loss=train_loss,
        seconds=seconds,
        predict_seconds=predicting,
        **score_test(folder, probabilities, lab.splits.test.classes),
    )


def _choose_components(task: ClassicalTask, lab: Lab, train: Labeled, valid: Labeled, step: Step) -> tuple[Chosen, int]:
    """Fit on the leading components, and return what has the least validation loss, and their number."""
    most = train.features.shape[1]
    best: tuple[float, Chosen, int] | None = None
    tried = []
    numbers = sorted({number for number in lab.config.classical.components if number < most} | {most})
    for place, number in enumerate(numbers):
        some, others = (Labeled(one.features[:, :number], one.labels) for one in (train, valid))
        chosen = _fit(task, lab, some, others, None, partial(_step_of_one, step, place, len(numbers)))
        loss = score(chosen.classifier.predict(others.features), others.labels)[1]
        tried += [{"components": number, **trial} for trial in chosen.tried]
        if best is None or loss < best[0]:
            best = loss, chosen, number
    assert best is not None  # all of them are always there
    _loss, chosen, number = best
    return replace(chosen, choice={"components": number, **chosen.choice}, tried=tried), number


def _step_of_one(step: Step, place: int, number: int, done: int, total: int) -> None:
    """Tell of a step of one of several fits."""
    step(place * total + done, number * total)


def _fit(
    task: ClassicalTask, lab: Lab, train: Labeled, valid: Labeled, reference: ClassicalOutcome | None, step: Step
) -> Chosen:
    config, classes = lab.config.classical, lab.classes
    if task.model == "logistic":
        return choose_logistic(train, valid, classes=classes, config=config, scalings=task.scalings, step=step)
    if task.model == "neighbours":
        return choose_neighbours(train, valid, classes=classes, config=config, scalings=task.scalings)
    if task.model == "boosting":
        return choose_boosting(train, valid, classes=classes, config=config, seed=task.seed)
    if task.model == "trees":
        threads = torch.get_num_threads()
        return choose_trees(train, valid, classes=classes, config=config, seed=task.seed, threads=threads, step=step)
    if reference is None:
        raise ValueError("the network of one layer takes over what scikit-learn's regression chose; give its outcome")
    scaling = next(scaling for scaling in task.scalings if scaling == reference.choice["scaling"])
    strength = float(reference.choice["C"] or 0)
    return fit_linear_network(train, classes=classes, scaling=scaling, strength=strength, max_iter=config.max_iter)
