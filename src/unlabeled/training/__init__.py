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
from unlabeled.images.batches import mixed
from unlabeled.keeping.files import fingerprint, write_history
from unlabeled.training.averaging import Average
from unlabeled.training.beside import Beside, Company, Drawn, digest_of
from unlabeled.training.checkpoints import load_checkpoint, pack_optimizer, save_checkpoint, unpack_optimizer
from unlabeled.training.measuring import evaluate as evaluate
from unlabeled.training.measuring import gradient_norms as gradient_norms
from unlabeled.training.measuring import load
from unlabeled.training.objectives import Guided, Objective
from unlabeled.training.optimizers import Group, frozen, hold_statistics, learning_rate, make_optimizer, momentum
from unlabeled.training.runtime import Runtime, seeded

_log = logging.getLogger("unlabeled")

# Looking at the loss waits for the device, so it is looked at only so often.
_BATCHES_BETWEEN_LOOKS = 32
_MOST_LOOKS = 50  # at the validation images, where they choose nothing; up to twice as many
# Epochs of few images are shorter than it takes to write where they stand, so writing takes a twentieth of the time at most.
_TIMES_A_CHECKPOINT = 20


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
    beside: Images | Beside | None = None,
    settled: bool = False,
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
        Images that tell the best epoch, by the objective's mean loss; without, it is the last one. Where weights are averaged
        (``config.average``), the averaged ones are judged and kept.
    config
        How to train.
    groups
        Parameters that learn otherwise, by the first prefix that fits; the rest learns as ``config`` says.
    beside
        Unlabeled images, of which every step takes ``config.beside_ratio`` besides for each image of its batch; they come last in
        it, with class -1, and are augmented alike. All of them have their turn before one comes again. As ``Beside`` they can have
        targets, for an objective that is ``Guided``, and an augmentation of their own.
    settled
        Whether the model was trained before, so that averaged weights hold on to its first ones.
    seed
        Decides order, augmentation and dropout. Epoch e draws from (seed, e) alone, so a resumed run needs no
        more than the number of the epoch to go on with the same random numbers.
    runtime
        Where to train; left out, the best device of the machine.
    folder
        Where to keep the history and a checkpoint, one an epoch unless epochs are short. If it holds a checkpoint of the same
        training, that training goes on; on the cpu it ends in the same bytes as one that was not interrupted.
    watcher
        Is told of steps and epochs.

    Raises
    ------
    TrainingDiverged
        If the loss stops being finite.
    DataError
        If there is nothing to train on, or labels are needed and missing.
    """
    beside = Beside(beside) if isinstance(beside, Images) else beside
    _check(objective, images, valid)
    _check_beside(objective, beside, config)
    runtime, config = runtime or Runtime.of(), config.in_epochs(len(images))
    with frozen(model, groups):
        return _train(
            _Training(model, objective, images, valid, config, groups, beside, settled, seed, runtime, watcher), folder
        )


def _train(training: _Training, folder: Path | None) -> Fitted:
    if folder is not None:
        training.resume(folder / "checkpoint.safetensors")
    ended, took = time.perf_counter(), 0.0
    while not training.over:
        training.train_epoch()
        due = training.over or time.perf_counter() - ended >= took * _TIMES_A_CHECKPOINT
        if folder is not None and training.runtime.rank == 0 and due:
            began = time.perf_counter()
            training.save(folder)
            ended = time.perf_counter()
            took = ended - began
    if folder is not None and training.runtime.rank == 0:
        # Killed between the last checkpoint and its history, a training has nothing left to do but this.
        write_history(folder / "history.jsonl", training.fitted.history)
    training.model.load_state_dict(training.best_weights)
    return training.fitted


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
        beside: Beside | None,
        settled: bool,
        seed: int,
        runtime: Runtime,
        watcher: Watcher | None,
    ) -> None:
        self.model, self.objective, self.images, self.valid = model, objective, images, valid
        self.config, self.groups, self.beside, self.seed = config, tuple(groups), beside, seed
        self.runtime, self.watcher, self.settled = runtime, watcher, settled
        self.fabric = runtime.fabric()
        model.to(runtime.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.augmentation = config.augmentation
        self.average = Average(model, config.average, settled=settled) if config.average else None
        self.optimizer = make_optimizer(model, config, self.groups)
        self.wrapped: Any
        self.wrapped_optimizer: Any
        self.wrapped, self.wrapped_optimizer = self.fabric.setup(model, self.optimizer)
        self.steps_an_epoch = math.ceil(len(images) / config.batch_size)
        self.fitted = Fitted()
        self.identity = self._identify()
        self.best_weights: dict[str, Tensor] = copy.deepcopy(model.state_dict())

    @property
    def judged(self) -> nn.Module:
        """The model that is validated and kept."""
        return self.model if self.average is None else self.average.model

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

    @property
    def _looks(self) -> bool:
        """Whether the epoch that comes is validated: each, but where the last one is kept anyway no more than some of many short ones."""
        every = max(1, self.config.epochs // _MOST_LOOKS) if self.config.keep == "last" else 1
        return (self.epoch + 1) % every == 0 or self.epoch + 1 == self.config.epochs

    def train_epoch(self) -> None:
        """Train one epoch, validate, and note the best."""
        start, looks = time.perf_counter(), self._looks
        # Derived, not drawn on: the same whether or not earlier epochs were run by this process.
        sequence = np.random.SeedSequence([self.seed, self.epoch])
        # Each process drops other units, for each has other images.
        with seeded(int(sequence.generate_state(1)[0]) + self.runtime.rank, self.runtime.device):
            loss, metric = self._pass_over(np.random.default_rng(sequence))
        trained = time.perf_counter() - start
        name = self.objective.metric
        row: dict[str, Any] = {"epoch": self.epoch + 1, "train_loss": loss, f"train_{name}": metric}
        measured_loss = loss
        if self.valid is not None and looks:
            measured_loss, measured = evaluate(self.judged, self.objective, self.valid, runtime=self.runtime)
            row |= {"valid_loss": measured_loss, f"valid_{name}": measured}
        self._check_finite(measured_loss)
        row["learning_rate"] = max(group["lr"] for group in self.optimizer.param_groups)
        row["images_per_second"] = len(self.images) / trained
        row["seconds"] = time.perf_counter() - start
        self.fitted.history.append(row)
        if measured_loss < self.fitted.best_loss or self.valid is None or self.config.keep == "last":
            self.fitted.best_epoch, self.fitted.best_loss = self.epoch, measured_loss
            if looks:
                self.best_weights = copy.deepcopy(self.judged.state_dict())
        if self.watcher:
            self.watcher.epoch(row)

    def _pass_over(self, random: np.random.Generator) -> tuple[float, float]:
        self.wrapped.train()
        if self.beside is not None:
            passed = self.epoch * len(self.images)
            self._company = Company(
                self.beside, self.augmentation, ratio=self.config.beside_ratio, seed=self.seed, passed=passed
            )
        steps = self.steps_an_epoch * self.config.epochs
        totals = torch.zeros(2, device=self.runtime.device)
        for number, rows in enumerate(mixed(self.images, self.config.batch_size, random)):
            step = self.epoch * self.steps_an_epoch + number
            self._set_rates(step, steps)
            totals += self._step(rows, random, done=step / steps)
            if self.average is not None:
                self.average.follow(self.model, step)
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
        pixels = self.augmentation(self.images.take(rows), random)
        runtime, size = self.runtime, len(rows)
        own = np.arange(runtime.rank, size, runtime.processes)
        # A batch smaller than the number of processes: the idle ones take part with weight 0.
        share, own = len(own), own if len(own) else np.arange(1)
        labeled = self.images.labels is not None
        drawn = self._company.next(size, own, random) if self.beside is not None and labeled else None
        self.wrapped_optimizer.zero_grad()
        if any(group.after for group in self.groups):
            hold_statistics(self.model, self.groups, done)
        totals = torch.zeros(2, device=runtime.device)
        # As many for each process: they meet in every part's normalisation.
        parts = np.array_split(np.arange(len(own)), max(1, min(self.config.accumulate, size // runtime.processes)))
        for number, part in enumerate(parts):
            some = own[part]
            images, labels = load(self.images, rows[some], pixels[some] if len(some) < size else pixels, runtime)
            with self.fabric.no_backward_sync(self.wrapped, enabled=number + 1 < len(parts)):
                loss, metric = self._measure(images, labels, None if drawn is None else drawn.of(part))
                # Processes' gradients are averaged, so this weight makes them add up to the mean over the whole batch.
                weight = share * len(part) / len(own)
                self.fabric.backward(loss * (weight * runtime.processes / size))
            totals += torch.stack([loss.detach().float(), metric.float()]) * weight
        for group in self.optimizer.param_groups:
            if done < group["group"].after:
                # Optimisers pass over parameters without a gradient, and their averages do not move either.
                for parameter in group["params"]:
                    parameter.grad = None
        self.wrapped_optimizer.step()
        return totals

    def _measure(self, images: Tensor, labels: Tensor | None, drawn: Drawn | None) -> tuple[Tensor, Tensor]:
        """Return loss and metric of some labeled images, with the unlabeled ones that belong to them behind them."""
        if drawn is None or labels is None:
            return self.objective(self.wrapped, images, labels)
        others = self.runtime.load(drawn.pixels)
        both = torch.cat([images, others])
        labels = torch.cat([labels, labels.new_full((len(others),), -1)])
        if drawn.shown is not None:
            targets = self._teach(self.runtime.load(drawn.shown))
        elif drawn.targets is not None:
            targets = torch.from_numpy(drawn.targets).to(self.runtime.device)
        else:
            return self.objective(self.wrapped, both, labels)
        assert isinstance(self.objective, Guided)
        return self.objective.guided(self.wrapped, both, labels, targets)

    def _teach(self, images: Tensor) -> Tensor:
        """Return the probabilities (m, classes) that the averaged weights give."""
        assert self.average is not None
        with torch.no_grad(), self.runtime.autocast():
            return self.average.model(images).float().softmax(1)

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
        data: list[Any] = [digest_of(self.images), None if self.valid is None else digest_of(self.valid)]
        data += [] if self.beside is None else self.beside.key
        data += ["settled"] if self.settled else []
        data += list(self.config.batching(len(self.images)))
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
        if self.average is not None:
            groups["average"] = self.average.model.state_dict()
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
        if self.average is not None:
            self.average.model.load_state_dict(groups["average"])
        self.best_weights = {name: tensor.to(self.runtime.device) for name, tensor in groups["best"].items()}
        unpack_optimizer(self.optimizer, groups.get("optimizer", {}), state["optimizer"])
        self.fitted = Fitted(state["history"], state["best_epoch"], state["best_loss"])


def _check(objective: Objective, images: Images, valid: Images | None) -> None:
    if len(images) == 0:
        raise DataError("there are no images to train on; check the data, or the limit on its size")
    if valid is not None and len(valid) == 0:
        raise DataError("there are no validation images; give valid=None to train without")
    if objective.needs_labels and (images.labels is None or (valid is not None and valid.labels is None)):
        raise DataError("this objective needs labels, and the images have none; train it on labeled images")


def _check_beside(objective: Objective, beside: Beside | None, config: TrainingConfig) -> None:
    if beside is None or not beside.has_targets:
        return
    if not isinstance(objective, Guided):
        raise ValueError(f"{objective!r} takes no targets for the images beside; use SelfTraining")
    if beside.taught and not config.average:
        raise ValueError("the images beside are taught by averaged weights, and average is 0; try 0.99 to 0.999")
