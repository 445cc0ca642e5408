"""Train the networks of the studies: from scratch, or from an autoencoder's weights, which then learn in one of several ways."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from unlabeled.errors import TrainingDiverged
from unlabeled.evaluation.convolved import folded
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.performing import median_speed, operations_of_training, score_test
from unlabeled.experiments.specs import Learned
from unlabeled.experiments.tasks import Joint, NetworkTask
from unlabeled.images import Images
from unlabeled.images.batches import batches
from unlabeled.keeping.files import write_history
from unlabeled.networks.joint import JointNetwork
from unlabeled.networks.layout import count_parameters
from unlabeled.networks.models import ConvNet, Encoder
from unlabeled.outcomes import Gradients, NetworkOutcome, Settings
from unlabeled.training import Fitted, Watcher, fit, gradient_norms
from unlabeled.training.checkpoints import save_weights
from unlabeled.training.objectives import Classification, JointClassification
from unlabeled.training.optimizers import Group
from unlabeled.training.runtime import Runtime, evaluating, seeded

_GRADIENT_BATCH = 256
_SEEDS_APART = 1000


def train_network(task: NetworkTask, lab: Lab, folder: Path, watcher: Watcher | None) -> NetworkOutcome:
    """Train every candidate, score the one with the least validation loss, and keep its weights and history in a folder."""
    part, labeled = lab.folds_of(task.labels).folds[task.fold], lab.splits.labeled
    train, valid = labeled.subset(part.train), labeled.subset(part.valid)
    trained: list[tuple[Settings, ConvNet, Fitted]] = []
    diverged: list[tuple[Settings, TrainingDiverged]] = []
    for number, choice in task.candidates():
        try:
            network, fitted = _train(task, lab, folder, number, choice, train, valid, watcher)
        except TrainingDiverged as error:
            diverged.append((choice, error))
            continue
        trained.append((choice, network, fitted))
    if not trained:
        raise diverged[0][1]
    choice, network, fitted = min(trained, key=lambda trial: trial[2].best_loss)
    save_weights(folder / "weights.safetensors", network)
    write_history(folder / "history.jsonl", fitted.history)
    for path in folder.glob("rate*/checkpoint.safetensors"):
        path.unlink(missing_ok=True)
    tried: list[Settings] = [c | {"valid_log_loss": f.best_loss, "epochs": len(f.history)} for c, _, f in trained]
    tried += [c | {"diverged": str(error)} for c, error in diverged]
    best = fitted.history[fitted.best_epoch - 1]
    start = time.perf_counter()
    probabilities = predict(network, lab.splits.test, runtime=lab.runtime)
    predicting = time.perf_counter() - start
    return NetworkOutcome(
        converged=True,
        choice=choice | {"epoch": fitted.best_epoch},
        parameters=count_parameters(network),
        code_length=network.geometry.code_length,
        valid_accuracy=best["valid_accuracy"],
        valid_log_loss=best["valid_loss"],
        images_per_second=median_speed(fitted),
        seconds_to_best=float(sum(row["seconds"] for row in fitted.history[: fitted.best_epoch])),
        tried=tried,
        seconds=sum(f.seconds for _, _, f in trained),
        predict_seconds=predicting,
        predictions_per_second=len(lab.splits.test) / predicting,
        gradients=_gradients(task, lab, network, train) if task.gradients else None,
        epochs=len(fitted.history),
        operations=_operations(task, network, train, [fitted for _, _, fitted in trained]),
        **score_test(folder, probabilities, lab.splits.test.classes),
    )


def _operations(task: NetworkTask, network: ConvNet, train: Images, trained: Sequence[Fitted]) -> float:
    """Return the operations of all candidates; where a network reconstructs too, they are not counted."""
    if isinstance(task.learning, Joint):
        return 0.0
    return sum(operations_of_training(network, train, fitted) for fitted in trained)


def _train(
    task: NetworkTask, lab: Lab, folder: Path, number: int, choice: dict[str, Any], train: Images, valid: Images,
    watcher: Watcher | None,
) -> tuple[ConvNet, Fitted]:  # fmt: skip
    """Train one candidate; the first of a rate and further ones have other orders, augmentation and dropout."""
    rate = choice["learning_rate"]
    options: dict[str, Any] = {
        "valid": valid, "config": task.network.training.model_copy(update={"learning_rate": rate}),
        "seed": task.seed + _SEEDS_APART * number, "runtime": lab.runtime, "watcher": watcher,
        "folder": folder / (f"rate{rate:g}" + (f"-{number + 1}" if number else "")),
    }  # fmt: skip
    if not isinstance(task.learning, Joint):
        network = new_network(task, lab)
        return network, fit(network, Classification(), train, groups=groups(task, lab), **options)
    model = new_joint_network(task, lab)
    objective = JointClassification(choice["reconstruction"], choice["between"])
    beside = lab.training_images() if task.learning.unlabeled else None
    return model.network, fit(model, objective, train, beside=beside, **options)


def new_network(task: NetworkTask, lab: Lab) -> ConvNet:
    """Make the network with the initial weights of the seed, its encoder copied if it has a start."""
    head = _head(task, lab)
    # The autoencoder began with these weights too, so both networks differ in its training and nothing else.
    with seeded(task.seed):
        if isinstance(task.start, Learned) and not task.scale_only:
            return ConvNet.from_encoder(lab.trained_autoencoder(task.start), **head)
        network = ConvNet(lab.splits.labeled.shape, **task.encoder.model_dump(), **head)
    if isinstance(task.start, Learned):
        match_scale(network.encoder, lab.trained_autoencoder(task.start).encoder)
    elif task.start is not None:
        weights, offsets = folded(lab.trained_patches(task.start))
        network.encoder.convolutions[0].load_state_dict({"weight": weights, "bias": offsets})
    return network


def match_scale(encoder: Encoder, like: Encoder) -> None:
    """Give each layer's weights and offsets the root mean square of another encoder's; their directions stay."""
    with torch.no_grad():
        for own, other in zip(encoder.parameters(), like.parameters(), strict=True):
            own.mul_(other.square().mean().sqrt() / own.square().mean().sqrt().clamp_min(1e-12))


def new_joint_network(task: NetworkTask, lab: Lab) -> JointNetwork:
    """Make the network with a decoder, all with the initial weights of the seed or of the autoencoder."""
    start = task.start
    trained = lab.trained_autoencoder(start) if isinstance(start, Learned) else None
    autoencoder = trained or lab.new_autoencoder(task.encoder, task.seed)
    with seeded(task.seed):
        # Its head draws what the head of the network alone draws.
        return JointNetwork(autoencoder, **_head(task, lab))


def _head(task: NetworkTask, lab: Lab) -> dict[str, Any]:
    return {"classes": lab.classes, "hidden": task.network.hidden, "dropout": task.network.dropout}


def groups(task: NetworkTask, lab: Lab) -> tuple[Group, ...]:
    """Say how the encoder's layers learn."""
    way = "plain" if isinstance(task.learning, Joint) else task.learning.way
    if way == "plain":
        return ()
    if way == "frozen":
        return (Group("encoder.", rate=0.0),)
    if way == "slow":
        return (Group("encoder.", rate=lab.config.studies.finetune.slow),)
    # The head learns alone at first; then one block after the other joins, the last first, within the first half.
    blocks = len(new_network(task, lab).encoder.convolutions)
    return tuple(
        Group(f"encoder.convolutions.{number}.", after=0.5 * (blocks - number) / (blocks + 1))
        for number in range(blocks)
    )


def _gradients(task: NetworkTask, lab: Lab, network: ConvNet, train: Images) -> Gradients:
    some = train.subset(np.arange(min(_GRADIENT_BATCH, len(train))))
    first, last = (
        gradient_norms(model, Classification(), some, runtime=lab.runtime)
        for model in (new_network(task, lab).to(lab.runtime.device), network)
    )
    return Gradients(first, last)


def predict(model: ConvNet, images: Images, *, runtime: Runtime | None = None) -> NDArray[np.float64]:
    """Return a network's probabilities (n, classes)."""
    runtime = runtime or Runtime.of()
    parts = []
    with evaluating(model), runtime.autocast():
        for rows in batches(len(images), 500):
            logits = model(runtime.load(images.take(rows)))
            parts.append(F.softmax(logits.float().cpu().double(), dim=1).numpy())
    return np.concatenate(parts)
