"""The networks of the studies: from scratch, or from an autoencoder's weights, which then learn in one of several ways."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from unlabeled.checkpoints import save_weights
from unlabeled.config import EncoderConfig, NetworkConfig
from unlabeled.errors import TrainingDiverged
from unlabeled.folds import Fold
from unlabeled.images import Images
from unlabeled.models import ConvNet, count_parameters
from unlabeled.objectives import Classification
from unlabeled.optimizers import Group
from unlabeled.results import Run, write_history
from unlabeled.runtime import Runtime, evaluating, seeded
from unlabeled.studies.lab import Lab, Learned
from unlabeled.studies.performing import fold_label, median_speed, score_test
from unlabeled.studies.tasks import ensure_autoencoder
from unlabeled.training import Fitted, Watcher, batches, fit, gradient_norms

Way: TypeAlias = Literal["plain", "slow", "gradual", "frozen"]
_GRADIENT_BATCH = 256


@dataclass(frozen=True)
class NetworkTask:
    """Train a network on a fold, choose learning rate and epoch on its validation part, score the test split once.

    ``start`` is the autoencoder whose encoder is copied (None: random weights); ``way`` says how the encoder learns, ``per_class``
    limits the labels, ``gradients`` asks for the size of every layer's gradient before and after training.
    """

    arm: str
    encoder: EncoderConfig
    network: NetworkConfig
    fold: int
    seed: int
    start: Learned | None = None
    way: Way = "plain"
    per_class: int | None = None
    gradients: bool = False

    @property
    def kind(self) -> str:
        """What takes about the same time."""
        return f"network {len(self.network.learning_rates)} {self.per_class} {len(self.encoder.conv_out_channels)}"

    @property
    def label(self) -> str:
        """What a line of progress calls it."""
        return fold_label(self.arm, self.fold, self.seed)

    @property
    def position(self) -> dict[str, int]:
        """Where its row stands beside others of its arm."""
        return {"fold": self.fold, "seed": self.seed}

    def part(self, lab: Lab) -> Fold:
        """Return the labels it may use."""
        return lab.folds_of(self.per_class).folds[self.fold]

    def run(self, lab: Lab) -> Run:
        """Return its folder."""
        part = self.part(lab)
        configuration: dict[str, Any] = {
            "data": lab.data_key(unlabeled=self.start is not None),
            "encoder": self.encoder.model_dump(mode="json"),
            "network": self.network.model_dump(mode="json"),
            "train": part.train.tolist(),
            "valid": part.valid.tolist(),
            "seed": self.seed,
            "precision": lab.config.precision,
        }
        if self.start is not None:
            configuration["autoencoder"] = lab.autoencoder_run(self.start).folder.name
        if self.start is not None or self.way != "plain":
            configuration["way"] = [self.way, lab.config.studies.finetune.slow if self.way == "slow" else None]
        if self.gradients:
            configuration["gradients"] = True
        source = "random" if self.start is None else "autoencoder"
        return Run(lab.folder / "runs", f"{source}-network/fold{self.fold}-seed{self.seed}", configuration)

    def new_network(self, lab: Lab) -> ConvNet:
        """Make the network with the initial weights of the seed, its encoder copied if it has a start."""
        head: dict[str, Any] = {
            "classes": lab.classes,
            "hidden": self.network.hidden,
            "dropout": self.network.dropout,
        }
        # The autoencoder began with these weights too, so both networks differ in its training and nothing else.
        with seeded(self.seed):
            if self.start is not None:
                return ConvNet.from_encoder(lab.trained_autoencoder(self.start), **head)
            return ConvNet(lab.splits.labeled.shape, **self.encoder.model_dump(), **head)

    def groups(self, lab: Lab) -> tuple[Group, ...]:
        """Say how the encoder's layers learn."""
        if self.way == "plain":
            return ()
        if self.way == "frozen":
            return (Group("encoder.", rate=0.0),)
        if self.way == "slow":
            return (Group("encoder.", rate=lab.config.studies.finetune.slow),)
        # The head learns alone at first; then one block after the other joins, the last first, within the first half.
        blocks = len(self.new_network(lab).encoder.convolutions)
        return tuple(
            Group(f"encoder.convolutions.{number}.", after=0.5 * (blocks - number) / (blocks + 1))
            for number in range(blocks)
        )

    def compute(self, lab: Lab, run: Run, watcher: Watcher | None) -> dict[str, Any]:
        """Train once for each learning rate, and score the best."""
        if self.start is not None:
            ensure_autoencoder(lab, self.start, watcher)
        part, labeled = self.part(lab), lab.splits.labeled
        train, valid = labeled.subset(part.train), labeled.subset(part.valid)
        tried: list[tuple[float, ConvNet, Fitted]] = []
        diverged: dict[float, TrainingDiverged] = {}
        for rate in self.network.learning_rates:
            network = self.new_network(lab)
            training = self.network.training.model_copy(update={"learning_rate": rate})
            try:
                fitted = fit(
                    network, Classification(), train, valid=valid, config=training, groups=self.groups(lab),
                    seed=self.seed, runtime=lab.runtime, folder=run.folder / f"rate{rate:g}", watcher=watcher,
                )  # fmt: skip
            except TrainingDiverged as error:
                diverged[rate] = error
                continue
            tried.append((rate, network, fitted))
        if not tried:
            raise next(iter(diverged.values()))
        rate, network, fitted = min(tried, key=lambda trial: trial[2].best_loss)
        save_weights(run.folder / "weights.safetensors", network)
        write_history(run.folder / "history.jsonl", fitted.history)
        for path in run.folder.glob("rate*/checkpoint.safetensors"):
            path.unlink(missing_ok=True)
        outcome = self._describe(lab, network, rate, fitted, train)
        outcome["tried"] = [
            {"learning_rate": r, "valid_log_loss": f.best_loss, "epochs": len(f.history)} for r, _, f in tried
        ] + [{"learning_rate": r, "diverged": str(error)} for r, error in diverged.items()]
        outcome["seconds"] = sum(f.seconds for _, _, f in tried)
        start = time.perf_counter()
        probabilities = predict(network, lab.splits.test, runtime=lab.runtime)
        outcome["predict_seconds"] = time.perf_counter() - start
        outcome["predictions_per_second"] = len(lab.splits.test) / outcome["predict_seconds"]
        return outcome | score_test(run, probabilities, lab.splits.test.classes)

    def _describe(self, lab: Lab, network: ConvNet, rate: float, fitted: Fitted, train: Images) -> dict[str, Any]:
        best = fitted.history[fitted.best_epoch - 1]
        described: dict[str, Any] = {
            "converged": True,
            "choice": {"learning_rate": rate, "epoch": fitted.best_epoch},
            "parameters": count_parameters(network),
            "code_length": network.geometry.code_length,
            "valid_accuracy": best["valid_accuracy"],
            "valid_log_loss": best["valid_loss"],
            "images_per_second": median_speed(fitted),
            "seconds_to_best": float(sum(row["seconds"] for row in fitted.history[: fitted.best_epoch])),
        }
        if self.gradients:
            some = train.subset(np.arange(min(_GRADIENT_BATCH, len(train))))
            described["gradients"] = {
                when: gradient_norms(model, Classification(), some, runtime=lab.runtime)
                for when, model in (("first", self.new_network(lab).to(lab.runtime.device)), ("last", network))
            }
        return described


def predict(model: ConvNet, images: Images, *, runtime: Runtime | None = None) -> NDArray[np.float64]:
    """Return a network's probabilities (n, classes)."""
    runtime = runtime or Runtime.of()
    parts = []
    with evaluating(model), runtime.autocast():
        for rows in batches(len(images), 500):
            logits = model(runtime.load(images.take(rows)))
            parts.append(F.softmax(logits.float().cpu().double(), dim=1).numpy())
    return np.concatenate(parts)
