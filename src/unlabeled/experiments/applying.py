"""The networks of finished runs, read again and applied: probabilities and codes of any images, and of labeled ones out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from unlabeled.evaluation.features import encode
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.networks import new_joint_network, new_network
from unlabeled.experiments.selftraining import StrongTask
from unlabeled.experiments.strong import new_strong, pseudo_labels
from unlabeled.experiments.tasks import Joint, NetworkTask, Task
from unlabeled.experiments.within import WithinTask, lab_within
from unlabeled.images import Images
from unlabeled.networks.models import ConvNet
from unlabeled.networks.strong import StrongNet
from unlabeled.training.checkpoints import load_weights
from unlabeled.training.measuring import codes_of, predict
from unlabeled.training.runtime import Runtime
from unlabeled.training.starting import network_from


@dataclass(frozen=True)
class Applied:
    """A trained network, whether it sees mirror images too, and where it computes."""

    network: nn.Module
    flip: bool
    runtime: Runtime

    def probabilities(self, images: Images) -> NDArray[np.float32]:
        """Return the probabilities (n, classes) of images."""
        return predict(self.network, images, flip=self.flip, runtime=self.runtime)

    def codes(self, images: Images) -> NDArray[np.float32]:
        """Return what the head sees of images, (n, d); of a network that does not tell, its probabilities."""
        if isinstance(self.network, StrongNet):
            return codes_of(self.network, images, runtime=self.runtime)
        if isinstance(self.network, ConvNet):
            return encode(self.network.encoder, images, runtime=self.runtime)
        return self.probabilities(images)


def has_network(task: Task) -> bool:
    """Tell whether a finished run of a task holds a network's weights."""
    return isinstance(task.inner if isinstance(task, WithinTask) else task, StrongTask | NetworkTask)


def apply(lab: Lab, task: Task, *, folder: Path | None = None) -> Applied:
    """Read the network of a task's finished run, which lies in ``folder`` or where its key says.

    Raises
    ------
    TypeError
        If the task trains none; see ``has_network``.
    DamagedFile
        If its weights are missing or not as they were written.
    """
    if isinstance(task, WithinTask):
        return apply(lab_within(lab, task.place), task.inner, folder=folder)
    weights = (folder or task.key(lab).folder) / "weights.safetensors"
    if isinstance(task, StrongTask):
        network: nn.Module = _new_strong(lab, task)
        runtime, flip = lab.strong_runtime, task.strong.training.flip
    elif isinstance(task, NetworkTask):
        joint = isinstance(task.learning, Joint)
        network = new_joint_network(task, lab).network if joint else new_network(task, lab)
        runtime, flip = lab.runtime, False
    else:
        raise TypeError(f"{task.arm}: a run without a network")
    load_weights(weights, network)
    network = network.to(runtime.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Applied(network, flip, runtime)


def _new_strong(lab: Lab, task: StrongTask) -> nn.Module:
    train = lab.splits.labeled.subset(lab.folds.folds[task.fold].train)
    if task.start is not None:
        return network_from(task.start, train.shape, classes=lab.classes, side=task.strong.start.side, seed=task.draws)
    # Whichever patches it whitens, what was kept takes their place.
    return new_strong(lab, task.strong, task.draws, train)


@dataclass(frozen=True)
class Unseen:
    """What a run's network says of the labeled images that it was not trained on: their rows, and probabilities (rows, classes)."""

    rows: NDArray[np.intp]
    probabilities: NDArray[np.float32]


def ask_together(networks: Sequence[Applied], images: Images) -> NDArray[np.float32]:
    """Return the mean of the probabilities (n, classes) that networks give images."""
    mean: NDArray[np.float32] = np.stack([one.probabilities(images) for one in networks]).mean(axis=0)
    return mean


def ask_unseen(lab: Lab, tasks: Sequence[Task], networks: Sequence[Applied] | None = None) -> list[Unseen]:
    """Ask the network of each run, read anew if they are not given, about the labeled images that it was not trained on."""
    labeled, folds = lab.splits.labeled, lab.folds.folds
    asked = []
    for number, task in enumerate(tasks):
        assert task.fold is not None
        rows = np.setdiff1d(np.arange(len(labeled)), folds[task.fold].train)
        if len(rows):
            network = apply(lab, task) if networks is None else networks[number]
            asked.append(Unseen(rows, network.probabilities(labeled.subset(rows))))
    return asked


def out_of_fold(asked: Sequence[Unseen], images: int, classes: int) -> NDArray[np.float32]:
    """Return the probabilities (images, classes) of labeled images, each the mean over the runs that were not trained on it.

    A row is NaN where every run was.
    """
    total, counts = np.zeros((images, classes)), np.zeros(images)
    for one in asked:
        total[one.rows] += one.probabilities
        counts[one.rows] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total / counts[:, None]).astype(np.float32)


@dataclass(frozen=True)
class PseudoLabels:
    """What a run took unlabeled images for: the likeliest class of each (n,), and whether it learned from the image as one of it."""

    classes: NDArray[np.intp]
    used: NDArray[np.bool_]


def pseudo_labels_of(lab: Lab, task: Task, *, folder: Path | None = None) -> PseudoLabels | None:
    """Return the pseudo-labels of a run of the strong network on all unlabeled images; None where it has none.

    A student's are its teacher's. By consistency they change with each step, and these are those of the end: an image counts where the
    averaged weights, which are those that are kept, are sure enough of it.
    """
    if not isinstance(task, StrongTask) or task.pool != "unlabeled":
        return None
    pool = lab.splits.unlabeled
    if task.way == "pseudo-labels":
        targets, kept, _ = pseudo_labels(task, lab, lab.splits.labeled.subset(lab.folds.folds[task.fold].train), pool)
        classes, used = np.zeros(len(pool), dtype=np.intp), np.zeros(len(pool), dtype=bool)
        classes[kept], used[kept] = targets.argmax(axis=1), True
        if not used.all():
            left = np.flatnonzero(~used)
            teacher = apply(lab, task.needs[0])
            classes[left] = teacher.probabilities(pool.subset(left)).argmax(axis=1)
        return PseudoLabels(classes, used)
    if task.way == "consistency":
        chances = apply(lab, task, folder=folder).probabilities(pool)
        return PseudoLabels(chances.argmax(axis=1), chances.max(axis=1) >= task.strong.consistency.threshold)
    return None
