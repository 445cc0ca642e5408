"""Train the strong network: on labels alone, as a student of another one's pseudo-labels, or on by consistency."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.config import StrongConfig, TrainingConfig
from unlabeled.errors import UserError
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.machine import give_memory_back
from unlabeled.experiments.performing import median_speed, operations_of_training, score_test
from unlabeled.experiments.selftraining import PretrainingTask, StrongTask
from unlabeled.images import Images
from unlabeled.keeping.files import write_history
from unlabeled.kernels.building import without_kernels
from unlabeled.networks.layout import count_operations, count_parameters
from unlabeled.networks.rebuilding import StrongAutoencoder
from unlabeled.networks.resnet import ResNet
from unlabeled.networks.strong import LEAST_SIDE, StrongNet, most_blocks
from unlabeled.outcomes import NetworkOutcome, PretrainedOutcome
from unlabeled.training import Fitted, Watcher, fit
from unlabeled.training.beside import Beside
from unlabeled.training.checkpoints import load_weights, save_weights
from unlabeled.training.labelling import balance, prior_of, unfamiliar
from unlabeled.training.measuring import codes_of, predict, predict_and_compare
from unlabeled.training.objectives import Classification, Objective, Reconstruction, Rotations, SelfTraining, turns_of
from unlabeled.training.optimizers import Group
from unlabeled.training.runtime import seeded
from unlabeled.training.starting import head_of, network_from


def check_strong(lab: Lab) -> None:
    """Refuse images that are too small for the strong network.

    Raises
    ------
    UserError
        If a side is below 8 pixels.
    """
    if min(lab.splits.labeled.shape[1:]) < LEAST_SIDE:
        raise UserError(
            f"the strong network takes images of at least {LEAST_SIDE} pixels a side, and these have "
            f"{min(lab.splits.labeled.shape[1:])}; give --side {LEAST_SIDE} or more, or --classifier small"
        )


def new_strong(lab: Lab, strong: StrongConfig, seed: int, whitened: Images, *, classes: int | None = None) -> StrongNet:
    """Make the strong network with the first weights of a seed, whitening patches as those of some images are."""
    shape = lab.splits.labeled.shape
    with seeded(seed):
        network = StrongNet(
            shape, classes=classes or lab.classes, widths=strong.widths[: most_blocks(shape)], layers=strong.layers
        )
    network.set_whitening(whitened)
    return network


def _arithmetic_of(lab: Lab) -> AbstractContextManager[None]:
    """Leave the kernels out where keys of runs say nothing of them, as those of before there were any."""
    return nullcontext() if lab.strong_kernels else without_kernels()


def train_strong(task: StrongTask, lab: Lab, folder: Path, watcher: Watcher | None) -> NetworkOutcome:
    """Train a network, score it, and keep its weights and history in a folder."""
    with _arithmetic_of(lab):
        return _train(task, lab, folder, watcher)


def _train(task: StrongTask, lab: Lab, folder: Path, watcher: Watcher | None) -> NetworkOutcome:
    part, labeled = lab.folds.folds[task.fold], lab.splits.labeled
    train, valid = labeled.subset(part.train), labeled.subset(part.valid)
    how = _recipe(task, lab, train)
    fitted = fit(
        how.network, how.objective, train, valid=valid, config=how.config, beside=how.beside, groups=how.groups,
        settled=task.way == "consistency", seed=task.draws + _SEEDS_APART * task.round, runtime=lab.strong_runtime,
        folder=folder, watcher=watcher,
    )  # fmt: skip
    network, config = how.network, how.config
    save_weights(folder / "weights.safetensors", network)
    write_history(folder / "history.jsonl", fitted.history)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    chances = predict(network, valid, flip=config.flip, runtime=lab.strong_runtime).astype(np.float64)
    right = chances[np.arange(len(valid)), valid.classes]
    began = time.perf_counter()
    probabilities = predict(network, lab.splits.test, flip=config.flip, runtime=lab.strong_runtime).astype(np.float64)
    predicting = time.perf_counter() - began
    return NetworkOutcome(
        converged=True,
        choice={"learning_rate": config.learning_rate, "epoch": fitted.best_epoch, "kept": config.keep},
        parameters=count_parameters(network),
        code_length=network.code_length,
        valid_accuracy=float((chances.argmax(1) == valid.classes).mean()),
        valid_log_loss=float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean()),
        images_per_second=median_speed(fitted),
        seconds_to_best=float(sum(row["seconds"] for row in fitted.history[: fitted.best_epoch])),
        tried=[],
        seconds=fitted.seconds + how.seconds,
        predict_seconds=predicting,
        predictions_per_second=len(lab.splits.test) / predicting,
        gradients=None,
        epochs=len(fitted.history),
        foreign=how.foreign,
        operations=_operations(task, how, lab, train, fitted),
        **score_test(folder, probabilities, lab.splits.test.classes),
    )


def _operations(task: StrongTask, how: _Recipe, lab: Lab, train: Images, fitted: Fitted) -> float:
    """Return the operations of a training, and those of whoever tells it what unlabeled images show."""
    beside = how.config.beside_ratio if how.beside is not None else 0
    total = operations_of_training(how.network, train, fitted, times=1 + beside)
    told = 0
    if task.way == "consistency":
        told = len(train) * beside * len(fitted.history)
    elif how.beside is not None:
        told = len(how.beside.images) * (2 if how.config.flip else 1)
    return total + count_operations(how.network, train.shape) * told


@dataclass(frozen=True)
class _Recipe:
    """What is trained, how, and on what beside the labeled images; ``seconds`` were spent to make it.

    ``foreign`` is the share of images beside that lie further from the labeled ones than all but 5 % of the validation images.
    """

    network: StrongNet | ResNet
    objective: Objective
    config: TrainingConfig
    beside: Beside | None = None
    seconds: float = 0.0
    foreign: float | None = None
    groups: tuple[Group, ...] = ()


def _recipe(task: StrongTask, lab: Lab, train: Images) -> _Recipe:
    """Make what a task trains; all draw alike, and what comes out differs, for what they see does."""
    strong = task.strong
    pool = lab.splits.unlabeled if task.pool == "unlabeled" else train
    if task.way == "consistency":
        config = consistent_training(strong)
        objective, beside = consistency(strong, pool)
        return _Recipe(_teacher(task, lab, train), objective, config, beside)
    if task.start is not None:
        started = network_from(task.start, train.shape, classes=lab.classes, side=strong.start.side, seed=task.draws)
        return _Recipe(
            started, Classification(strong.training.smoothing), started_training(strong), groups=(Group(head_of(started), rate=10),)
        )  # fmt: skip
    network = new_strong(lab, strong, task.draws, pool)
    if task.way == "pseudo-labels":
        config, began = strong.student, time.perf_counter()
        beside, foreign = _pseudo_labeled(task, lab, train, pool)
        return _Recipe(network, SelfTraining(config.smoothing), config, beside, time.perf_counter() - began, foreign)
    if task.way != "labels":
        (needed,) = task.needs
        turns = turns_of(train.shape) if task.way == "rotations" else None
        pretrained = new_strong(lab, strong, task.seed, pool, classes=turns)
        load_weights(needed.key(lab).folder / "weights.safetensors", pretrained)
        network.whitening.load_state_dict(pretrained.whitening.state_dict())
        network.blocks.load_state_dict(pretrained.blocks.state_dict())
    return _Recipe(network, Classification(strong.training.smoothing), strong.training)


def consistent_training(strong: StrongConfig) -> TrainingConfig:
    """Return how a network that was trained goes on by consistency, in batches as a student's."""
    asked = strong.consistency
    steps = {} if asked.steps is None else {"steps": asked.steps}
    changed = {"learning_rate": asked.learning_rate, "average": asked.average, **steps}
    return strong.student.model_copy(update=changed)


def consistency(strong: StrongConfig, pool: Images) -> tuple[SelfTraining, Beside]:
    """Return what a network that goes on by consistency is told of a pool: by its averaged weights, of weakly changed images."""
    config, asked = consistent_training(strong), strong.consistency
    weak = replace(config.augmentation, cutout=0, operations=0)
    objective = SelfTraining(config.smoothing, threshold=asked.threshold, temperature=asked.temperature)
    return objective, Beside(pool, taught=True, weak=weak)


def started_training(strong: StrongConfig) -> TrainingConfig:
    """Return how a network goes on from weights of the user's."""
    asked = strong.start
    steps = {} if asked.steps is None else {"steps": asked.steps}
    return strong.training.model_copy(update={"learning_rate": asked.learning_rate, **steps})


def _teacher(task: StrongTask, lab: Lab, train: Images) -> StrongNet:
    """Return the network that a task needs, with its weights."""
    (needed,) = task.needs
    assert isinstance(needed, StrongTask)
    teacher = new_strong(lab, task.strong, needed.draws, lab.splits.unlabeled if needed.pool == "unlabeled" else train)
    load_weights(needed.key(lab).folder / "weights.safetensors", teacher)
    return teacher


def _pseudo_labeled(task: StrongTask, lab: Lab, train: Images, pool: Images) -> tuple[Beside, float]:
    """Return a pool with what the teacher makes of it, and which share of it looks foreign."""
    targets, kept, foreign = pseudo_labels(task, lab, train, pool)
    give_memory_back()  # batches of another size come next
    return Beside(pool.subset(kept), targets), foreign


def pseudo_labels(
    task: StrongTask, lab: Lab, train: Images, pool: Images
) -> tuple[NDArray[np.float32], NDArray[np.intp], float]:
    """Return what the teacher makes of those images of a pool that its student learns from, (rows, classes); their rows; the foreign share.

    Each class is as frequent as its share of the labels asks for; what the guard takes for foreign is left out.
    """
    runtime, flip = lab.strong_runtime, task.strong.training.flip
    valid = lab.splits.labeled.subset(lab.folds.folds[task.fold].valid)
    teacher = _teacher(task, lab, train).to(runtime.device)
    labeled = codes_of(teacher, train, runtime=runtime)
    (told, far), (known, usual) = (
        predict_and_compare(teacher, images, labeled, flip=flip, runtime=runtime) for images in (pool, valid)
    )
    # Labeled images are at no distance from themselves.
    foreign = unfamiliar(far, usual) if task.pool == "unlabeled" else np.zeros(len(pool), dtype=bool)
    left_out = {
        "none": np.zeros_like(foreign),
        "distance": foreign,
        "confidence": unfamiliar(-told.max(1), -known.max(1)),
    }
    kept = np.flatnonzero(~left_out[task.strong.guard])
    if not len(kept):
        kept = np.arange(len(pool))  # with nothing to learn from there is no student
    targets = balance(told[kept], prior_of(train.classes, lab.classes), strength=task.strong.balance)
    return targets, kept, float(foreign.mean())


def pretrain(task: PretrainingTask, lab: Lab, folder: Path, watcher: Watcher | None) -> PretrainedOutcome:
    """Train the strong network's blocks without labels, and keep their weights and the history in a folder."""
    with _arithmetic_of(lab):
        return _pretrain(task, lab, folder, watcher)


def _pretrain(task: PretrainingTask, lab: Lab, folder: Path, watcher: Watcher | None) -> PretrainedOutcome:
    strong, asked = task.strong, task.strong.pretraining
    if task.fold is None:
        images, valid = lab.training_images(), lab.held_out
    else:
        part, labeled = lab.folds.folds[task.fold], replace(lab.splits.labeled, labels=None)
        images, valid = labeled.subset(part.train), labeled.subset(part.valid)
    rebuilds = task.pretext == "autoencoder"
    network = new_strong(lab, strong, task.seed, images, classes=None if rebuilds else turns_of(images.shape))
    with seeded(task.seed):  # the decoder has first weights too
        model = StrongAutoencoder(network) if rebuilds else network
    objective = Reconstruction(noise="gaussian", level=asked.noise_level) if rebuilds else Rotations()
    config = pretraining(strong, rebuilds=rebuilds)
    fitted = fit(
        model, objective, images, valid=valid, config=config, seed=task.seed, runtime=lab.strong_runtime, folder=folder, watcher=watcher
    )  # fmt: skip
    save_weights(folder / "weights.safetensors", network)
    write_history(folder / "history.jsonl", fitted.history)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    last = fitted.history[fitted.best_epoch - 1]
    return PretrainedOutcome(
        pretext=task.pretext,
        held_out_loss=last["valid_loss"],
        held_out_metric=last[f"valid_{objective.metric}"],
        images=len(images),
        parameters=count_parameters(model),
        seconds=fitted.seconds,
        images_per_second=median_speed(fitted),
        operations=operations_of_training(model, images, fitted),
    )


def pretraining(strong: StrongConfig, *, rebuilds: bool) -> TrainingConfig:
    """Return how the blocks are pretrained: in batches as with labels, by Adam; what is rebuilt is flipped and moved, no more."""
    asked = strong.pretraining
    plain: dict[str, Any] = {"cutout": 0, "operations": 0} if rebuilds else {}
    steps = {} if asked.steps is None else {"steps": asked.steps}
    return strong.training.model_copy(
        update={
            "optimizer": "adam", "nesterov": False, "weight_decay": 0.0, "learning_rate": asked.learning_rate, "smoothing": 0.0, **plain,
            **steps,
        }
    )  # fmt: skip


# Of the draws of one round from those of the next.
_SEEDS_APART = 1000
