"""The networks of the studies: from scratch, or from an autoencoder's weights, which then learn in one of several ways."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from unlabeled.batches import batches
from unlabeled.checkpoints import save_weights
from unlabeled.config import EncoderConfig, NetworkConfig
from unlabeled.convolved import folded
from unlabeled.errors import TrainingDiverged
from unlabeled.files import write_history
from unlabeled.folds import Fold
from unlabeled.images import Images
from unlabeled.joint import JointNetwork
from unlabeled.layout import count_parameters
from unlabeled.models import ConvNet
from unlabeled.objectives import Classification, JointClassification
from unlabeled.optimizers import Group
from unlabeled.results import Run
from unlabeled.runtime import Runtime, evaluating, seeded
from unlabeled.studies.lab import Lab
from unlabeled.studies.performing import fold_label, median_speed, score_test
from unlabeled.studies.specs import Learned, PatchesLearned
from unlabeled.studies.tasks import ensure_start
from unlabeled.training import Fitted, Watcher, fit, gradient_norms

Way: TypeAlias = Literal["plain", "slow", "gradual", "frozen"]
_GRADIENT_BATCH = 256
_SEEDS_APART = 1000


@dataclass(frozen=True)
class Joint:
    """Joint training: pairs of weights (reconstruction, between) to choose from, and whether unlabeled images take part."""

    weights: tuple[tuple[float, float], ...]
    unlabeled: bool = True


@dataclass(frozen=True)
class NetworkTask:
    """Train a network on a fold, choose learning rate and epoch on its validation part, score the test split once.

    ``start`` is the autoencoder whose encoder is copied (None: random weights); ``way`` says how the encoder learns, ``per_class``
    limits the labels, ``gradients`` asks for the size of every layer's gradient before and after training. ``joint`` lets the network
    reconstruct images while it learns to classify; ``trials`` trains it so many times with other orders and dropout, to choose from as
    many candidates as an arm that has more to choose.
    """

    arm: str
    encoder: EncoderConfig
    network: NetworkConfig
    fold: int
    seed: int
    start: Learned | PatchesLearned | None = None
    way: Way = "plain"
    per_class: int | None = None
    gradients: bool = False
    joint: Joint | None = None
    trials: int = 1

    @property
    def kind(self) -> str:
        """What takes about the same time."""
        joint = "" if self.joint is None else f" joint {self.joint.unlabeled}"
        return f"network {len(list(self.candidates()))} {self.per_class} {len(self.encoder.conv_out_channels)}{joint}"

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
            "data": lab.data_key(unlabeled=self.start is not None or (self.joint is not None and self.joint.unlabeled)),
            "encoder": self.encoder.model_dump(mode="json"),
            "network": self.network.model_dump(mode="json"),
            "train": part.train.tolist(),
            "valid": part.valid.tolist(),
            "seed": self.seed,
            **lab.arithmetic,
        }
        if self.start is not None:
            configuration["autoencoder"] = lab.run_of(self.start).folder.name
        if self.start is not None or self.way != "plain":
            configuration["way"] = [self.way, lab.config.studies.finetune.slow if self.way == "slow" else None]
        if self.gradients:
            configuration["gradients"] = True
        if self.trials > 1:
            configuration["trials"] = self.trials
        if self.joint is not None:
            configuration["joint"] = asdict(self.joint) | {"decoder": lab.config.autoencoder.output_activation}
            configuration["images"] = len(lab.watched()) if self.joint.unlabeled else 0
        source = "joint" if self.joint else "random" if self.start is None else self.start.source
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
            if isinstance(self.start, Learned):
                return ConvNet.from_encoder(lab.trained_autoencoder(self.start), **head)
            network = ConvNet(lab.splits.labeled.shape, **self.encoder.model_dump(), **head)
        if self.start is not None:
            weights, offsets = folded(lab.trained_patches(self.start))
            network.encoder.convolutions[0].load_state_dict({"weight": weights, "bias": offsets})
        return network

    def new_joint_network(self, lab: Lab) -> JointNetwork:
        """Make the network with a decoder, all with the initial weights of the seed or of the autoencoder."""
        if isinstance(self.start, Learned):
            autoencoder = lab.trained_autoencoder(self.start)
        else:
            autoencoder = lab.new_autoencoder(self.encoder, self.seed)
        with seeded(self.seed):
            # Its head draws what the head of the network alone draws.
            return JointNetwork(
                autoencoder, classes=lab.classes, hidden=self.network.hidden, dropout=self.network.dropout
            )

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
        """Train every candidate, and score the one with the least validation loss."""
        if self.start is not None:
            ensure_start(lab, self.start, watcher)
        part, labeled = self.part(lab), lab.splits.labeled
        train, valid = labeled.subset(part.train), labeled.subset(part.valid)
        tried: list[tuple[dict[str, Any], ConvNet, Fitted]] = []
        diverged: list[tuple[dict[str, Any], TrainingDiverged]] = []
        for number, choice in self.candidates():
            try:
                network, fitted = self._train(lab, run, number, choice, train, valid, watcher)
            except TrainingDiverged as error:
                diverged.append((choice, error))
                continue
            tried.append((choice, network, fitted))
        if not tried:
            raise diverged[0][1]
        choice, network, fitted = min(tried, key=lambda trial: trial[2].best_loss)
        save_weights(run.folder / "weights.safetensors", network)
        write_history(run.folder / "history.jsonl", fitted.history)
        for path in run.folder.glob("rate*/checkpoint.safetensors"):
            path.unlink(missing_ok=True)
        outcome = self._describe(lab, network, choice, fitted, train)
        outcome["tried"] = [c | {"valid_log_loss": f.best_loss, "epochs": len(f.history)} for c, _, f in tried] + [
            c | {"diverged": str(error)} for c, error in diverged
        ]
        outcome["seconds"] = sum(f.seconds for _, _, f in tried)
        start = time.perf_counter()
        probabilities = predict(network, lab.splits.test, runtime=lab.runtime)
        outcome["predict_seconds"] = time.perf_counter() - start
        outcome["predictions_per_second"] = len(lab.splits.test) / outcome["predict_seconds"]
        return outcome | score_test(run, probabilities, lab.splits.test.classes)

    def candidates(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield what is tried: every learning rate, with every pair of weights or so many times over, numbered within a rate."""
        for rate in self.network.learning_rates:
            if self.joint is None:
                for trial in range(self.trials):
                    yield trial, {"learning_rate": rate} | ({"trial": trial + 1} if self.trials > 1 else {})
            else:
                for number, (reconstruction, between) in enumerate(self.joint.weights):
                    yield number, {"learning_rate": rate, "reconstruction": reconstruction, "between": between}

    def _train(
        self, lab: Lab, run: Run, number: int, choice: dict[str, Any], train: Images, valid: Images, watcher: Watcher | None
    ) -> tuple[ConvNet, Fitted]:  # fmt: skip
        """Train one candidate; the first of a rate and further ones have other orders, augmentation and dropout."""
        rate = choice["learning_rate"]
        options: dict[str, Any] = {
            "valid": valid, "config": self.network.training.model_copy(update={"learning_rate": rate}),
            "seed": self.seed + _SEEDS_APART * number, "runtime": lab.runtime, "watcher": watcher,
            "folder": run.folder / (f"rate{rate:g}" + (f"-{number + 1}" if number else "")),
        }  # fmt: skip
        if self.joint is None:
            network = self.new_network(lab)
            return network, fit(network, Classification(), train, groups=self.groups(lab), **options)
        model = self.new_joint_network(lab)
        objective = JointClassification(choice["reconstruction"], choice["between"])
        beside = lab.watched() if self.joint.unlabeled else None
        fitted = fit(model, objective, train, beside=beside, **options)
        return model.network, fitted

    def _describe(
        self, lab: Lab, network: ConvNet, choice: dict[str, Any], fitted: Fitted, train: Images
    ) -> dict[str, Any]:
        best = fitted.history[fitted.best_epoch - 1]
        described: dict[str, Any] = {
            "converged": True,
            "choice": choice | {"epoch": fitted.best_epoch},
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
