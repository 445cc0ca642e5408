"""fit: THE loop. Tasks differ by objective; the same loop runs on one core, a GPU or under torchrun."""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from unlabeled.config import TrainingConfig
from unlabeled.errors import DamagedFile, DataError, TrainingDiverged, UserError
from unlabeled.images import Images
from unlabeled.images.augmentation import augment
from unlabeled.images.batches import Turns, batches
from unlabeled.keeping.files import fingerprint, write_history
from unlabeled.training.checkpoints import load_checkpoint, pack_optimizer, save_checkpoint, unpack_optimizer
from unlabeled.training.objectives import Objective
from unlabeled.training.optimizers import Group, frozen, learning_rate, make_optimizer, momentum
from unlabeled.training.runtime import Runtime, evaluating, seeded

_log = logging.getLogger("unlabeled")

# Looking at the loss waits for the device, so it is looked at only so often.
_BATCHES_BETWEEN_LOOKS = 32
_EVALUATION_BATCH = 512


class Watcher(Protocol):
    """Someone who wants to see how training goes."""

    def step(self, done: int, total: int) -> None:
        """Some batches are done, of so many in the whole training."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch is done; ``row`` is its line of the history."""


@dataclass
class Fitted:
    """What ``fit`` returns, the model apart: it holds its best weights."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf

    @property
    def seconds(self) -> float:
        """Time spent in all epochs, validation included."""
        return float(sum(row["seconds"] for row in self.history))


def fit(
    model: nn.Module,
    objective: Objective,
    images: Images,
    *,
    valid: Images | None,
    config: TrainingConfig,
    groups: Sequence[Group] = (),
    beside: Images | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
    folder: Path | None = None,
    watcher: Watcher | None = None,
) -> Fitted:
    """Train a model in place, and leave it with the weights of its best epoch.

    Parameters
    ----------
    model
        Takes float images (n, c, h, w) in [-1, 1].
    objective
        What to lower.
    images
        Images to train on.
    valid
        Images that tell the best epoch, by the objective's mean loss; without, it is the last one.
    config
        How to train.
    groups
        Parameters that learn otherwise, by the first prefix that fits; the rest learns as ``config`` says.
    beside
        Unlabeled images, of which every step takes as many besides as its batch has; they come last in it, with class -1, and are
        augmented alike. All of them have their turn before one comes again.
    seed
        Decides order, augmentation and dropout. Epoch e draws from (seed, e) alone, so a resumed run needs no
        more than the number of the epoch to go on with the same random numbers.
    runtime
        Where to train; left out, the best device of the machine.
    folder
        Where to keep a checkpoint an epoch and the history. If it holds a checkpoint of the same training, that
        training goes on; on the cpu it ends in the same bytes as one that was not interrupted.
    watcher
        Is told of steps and epochs.

    Raises
    ------
    TrainingDiverged
        If the loss stops being finite.
    DataError
        If there is nothing to train on, or labels are needed and missing.
    """
    _check(objective, images, valid)
    runtime, config = runtime or Runtime.of(), config.in_epochs(len(images))
    with frozen(model, groups):
        return _train(
            _Training(model, objective, images, valid, config, groups, beside, seed, runtime, watcher), folder
        )


def _train(training: _Training, folder: Path | None) -> Fitted:
    if folder is not None:
        training.resume(folder / "checkpoint.safetensors")
    while not training.over:
        training.train_epoch()
        if folder is not None and training.runtime.rank == 0:
            training.save(folder)
    if folder is not None and training.runtime.rank == 0:
        # Killed between the last checkpoint and its history, a training has nothing left to do but this.
        write_history(folder / "history.jsonl", training.fitted.history)
    training.model.load_state_dict(training.best_weights)
    return training.fitted


def gradient_norms(
    model: nn.Module, objective: Objective, images: Images, *, runtime: Runtime | None = None
) -> dict[str, float]:
    """Return, for each weight by its name, the root mean square of the loss's gradient over its numbers.

    The images are one batch; the model is neither changed nor left with gradients.
    """
    runtime = runtime or Runtime.of()
    rows = np.arange(len(images))
    batch, labels = _load(images, rows, images.take(rows), runtime)
    named = [(name, weight) for name, weight in model.named_parameters() if name.endswith("weight")]
    with runtime.autocast():
        loss, _ = objective(model, batch, labels)
    gradients = torch.autograd.grad(loss, [weight for _, weight in named])
    return {
        name: float(gradient.double().square().mean().sqrt())
        for (name, _), gradient in zip(named, gradients, strict=True)
    }


def evaluate(
    model: nn.Module, objective: Objective, images: Images, *, runtime: Runtime | None = None
) -> tuple[float, float]:
    """Return the objective's mean loss and mean metric over images; the model stays in the mode it was in.

    Raises
    ------
    DataError
        If there are no images.
    """
    if len(images) == 0:
        raise DataError("there are no images to evaluate on; give one or more")
    runtime = runtime or Runtime.of()
    totals = torch.zeros(2, dtype=torch.float64)
    with evaluating(model), runtime.autocast():
        for rows in batches(len(images), _EVALUATION_BATCH):
            batch, labels = _load(images, rows, images.take(rows), runtime)
            loss, metric = objective(model, batch, labels)
            totals += torch.stack([loss.float(), metric.float()]).cpu().double() * len(rows)
    loss, metric = (totals / len(images)).tolist()
    return loss, metric


class _Training:
    """The state of one training: where it is, and the best so far."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        images: Images,
        valid: Images | None,
        config: TrainingConfig,
        groups: Sequence[Group],
        beside: Images | None,
        seed: int,
        runtime: Runtime,
        watcher: Watcher | None,
    ) -> None:
        self.model, self.objective, self.images, self.valid = model, objective, images, valid
        self.config, self.groups, self.beside, self.seed = config, tuple(groups), beside, seed
        self.runtime, self.watcher = runtime, watcher
        self.fabric = runtime.fabric()
        model.to(runtime.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(model, config, self.groups)
        self.wrapped: Any
        self.wrapped_optimizer: Any
        self.wrapped, self.wrapped_optimizer = self.fabric.setup(model, self.optimizer)
        self.steps_an_epoch = math.ceil(len(images) / config.batch_size)
        self.fitted = Fitted()
        self.identity = self._identify()
        self.best_weights: dict[str, Tensor] = copy.deepcopy(model.state_dict())

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.fitted.history)

    @property
    def over(self) -> bool:
        """Whether all epochs are done, or the validation loss has not fallen for too long."""
        patience = self.config.patience
        stopped = patience > 0 and self.valid is not None and self.epoch - self.fitted.best_epoch >= patience
        return self.epoch >= self.config.epochs or (stopped and self.epoch > 0)

    def train_epoch(self) -> None:
        """Train one epoch, validate, and note the best."""
        start = time.perf_counter()
        # Derived, not drawn on: the same whether or not earlier epochs were run by this process.
        sequence = np.random.SeedSequence([self.seed, self.epoch])
        # Each process drops other units, for each has other images.
        with seeded(int(sequence.generate_state(1)[0]) + self.runtime.rank, self.runtime.device):
            loss, metric = self._pass_over(np.random.default_rng(sequence))
        trained = time.perf_counter() - start
        name = self.objective.metric
        row: dict[str, Any] = {"epoch": self.epoch + 1, "train_loss": loss, f"train_{name}": metric}
        measured_loss = loss
        if self.valid is not None:
            measured_loss, measured = evaluate(self.model, self.objective, self.valid, runtime=self.runtime)
            row |= {"valid_loss": measured_loss, f"valid_{name}": measured}
        self._check_finite(measured_loss)
        row["learning_rate"] = max(group["lr"] for group in self.optimizer.param_groups)
        row["images_per_second"] = len(self.images) / trained
        row["seconds"] = time.perf_counter() - start
        self.fitted.history.append(row)
        if measured_loss < self.fitted.best_loss or self.valid is None:
            self.fitted.best_epoch, self.fitted.best_loss = self.epoch, measured_loss
            self.best_weights = copy.deepcopy(self.model.state_dict())
        if self.watcher:
            self.watcher.epoch(row)

    def _pass_over(self, random: np.random.Generator) -> tuple[float, float]:
        self.wrapped.train()
        order = random.permutation(len(self.images))
        if self.beside is not None:
            self._turns = Turns(len(self.beside), self.seed, self.epoch * len(order))
        steps = self.steps_an_epoch * self.config.epochs
        totals = torch.zeros(2, device=self.runtime.device)
        for number, rows in enumerate(
            np.array_split(order, range(self.config.batch_size, len(order), self.config.batch_size))
        ):
            step = self.epoch * self.steps_an_epoch + number
            self._set_rates(step, steps)
            totals += self._step(rows, random, done=step / steps)
            if number % _BATCHES_BETWEEN_LOOKS == 0:
                self._check_finite(float(totals[0]))
                if self.watcher:
                    self.watcher.step(step + 1, steps)
        totals = self.fabric.all_reduce(totals, reduce_op="sum") / len(self.images)
        loss, metric = totals.tolist()
        self._check_finite(loss)
        return loss, metric

    def _set_rates(self, step: int, steps: int) -> None:
        rate, kept = learning_rate(self.config, step, steps), momentum(self.config, step, steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["group"].rate
            if "momentum" in group:
                group["momentum"] = kept

    def _step(self, rows: np.ndarray, random: np.random.Generator, *, done: float) -> Tensor:
        """Take one step on a batch; return the sums of loss and metric over this process's share."""
        pixels = augment(self.images.take(rows), random, flip=self.config.flip, shift=self.config.shift)
        runtime, size = self.runtime, len(rows)
        own = np.arange(runtime.rank, size, runtime.processes)
        # A batch smaller than the number of processes: the idle ones take part with weight 0.
        share, own = len(own), own if len(own) else np.arange(1)
        images, labels = _load(self.images, rows[own], pixels[own] if runtime.processes > 1 else pixels, runtime)
        if self.beside is not None and labels is not None:
            images, labels = self._with_others(images, labels, size, random)
        self.wrapped_optimizer.zero_grad()
        loss, metric = self.objective(self.wrapped, images, labels)
        # Processes' gradients are averaged, so this weight makes them add up to the mean over the whole batch.
        self.fabric.backward(loss * (share * runtime.processes / size))
        for group in self.optimizer.param_groups:
            if done < group["group"].after:
                # Optimisers pass over parameters without a gradient, and their averages do not move either.
                for parameter in group["params"]:
                    parameter.grad = None
        self.wrapped_optimizer.step()
        return torch.stack([loss.detach().float(), metric.float()]) * share

    def _with_others(
        self, images: Tensor, labels: Tensor, size: int, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Put as many unlabeled images behind this process's share of a batch as that has."""
        assert self.beside is not None
        rows = self._turns.next(size)
        # Drawn for the whole batch, so that all processes draw alike.
        pixels = augment(self.beside.take(rows), random, flip=self.config.flip, shift=self.config.shift)
        own = np.arange(self.runtime.rank, size, self.runtime.processes)[: len(images)]
        others, _ = _load(self.beside, rows[own], pixels[own], self.runtime)
        return torch.cat([images, others]), torch.cat([labels, labels.new_full((len(others),), -1)])

    def _check_finite(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        config = self.config
        raise TrainingDiverged(
            f"training diverged: the loss became {loss} in epoch {self.epoch + 1} of {config.epochs} ({config.optimizer}, learning "
            f"rate {config.learning_rate:g}); try a learning rate of {config.learning_rate / 10:g}, a warmup of 0.1, "
            "or another activation"
        )

    def _identify(self) -> str:
        """Condense what decides the outcome: the model and its first weights, the images, the task, how to train."""
        weights = hashlib.sha256()
        for name, tensor in self.model.state_dict().items():
            weights.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        structure = [repr(self.model), nn.Module.__repr__(self.model), repr(self.objective)]
        data = [_digest(self.images), None if self.valid is None else _digest(self.valid)]
        data += [] if self.beside is None else [_digest(self.beside)]
        how = [self.config.model_dump(), [asdict(group) for group in self.groups], self.seed, self.runtime.precision]
        return fingerprint([weights.hexdigest(), structure, data, how])

    def save(self, folder: Path) -> None:
        """Write the checkpoint, then the history."""
        tensors, plain = pack_optimizer(self.optimizer)
        state = {
            "identity": self.identity,
            "seed": self.seed,
            "optimizer": plain,
            "best_epoch": self.fitted.best_epoch,
            "best_loss": self.fitted.best_loss,
            "history": self.fitted.history,
        }
        groups = {"model": self.model.state_dict(), "best": self.best_weights, "optimizer": tensors}
        save_checkpoint(folder / "checkpoint.safetensors", groups, state)
        write_history(folder / "history.jsonl", self.fitted.history)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one; a damaged one is told, and the training begins anew."""
        if not path.exists():
            return
        try:
            groups, state = load_checkpoint(path)
        except DamagedFile as error:
            _log.warning(f"{str(error).rpartition(';')[0]}; this training begins anew")
            return
        if state.get("identity") != self.identity:
            raise UserError(
                f"{path}: this checkpoint is of another training (model, first weights, images, configuration or seed differ); "
                "give another folder, or delete it to start anew"
            )
        self.model.load_state_dict(groups["model"])
        self.best_weights = {name: tensor.to(self.runtime.device) for name, tensor in groups["best"].items()}
        unpack_optimizer(self.optimizer, groups.get("optimizer", {}), state["optimizer"])
        self.fitted = Fitted(state["history"], state["best_epoch"], state["best_loss"])


def _load(images: Images, rows: np.ndarray, pixels: np.ndarray, runtime: Runtime) -> tuple[Tensor, Tensor | None]:
    """Bring a batch to the device: float images in [-1, 1], and classes where there are some."""
    batch = runtime.load(pixels)
    if images.labels is None:
        return batch, None
    labels = images.labels[rows if images.rows is None else images.rows[rows]]
    return batch, torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(runtime.device)


def _digest(images: Images) -> str:
    """Condense images: their number, classes, and the pixels of some spread over all."""
    some = np.unique(np.linspace(0, len(images) - 1, 64).astype(np.intp))
    content = hashlib.sha256(f"{len(images)} {images.shape}".encode() + images.take(some).tobytes())
    if images.labels is not None:
        content.update(np.ascontiguousarray(images.classes).tobytes())
    return content.hexdigest()


def _check(objective: Objective, images: Images, valid: Images | None) -> None:
    if len(images) == 0:
        raise DataError("there are no images to train on; check the data, or the limit on its size")
    if valid is not None and len(valid) == 0:
        raise DataError("there are no validation images; give valid=None to train without")
    if objective.needs_labels and (images.labels is None or (valid is not None and valid.labels is None)):
        raise DataError("this objective needs labels, and the images have none; train it on labeled images")
