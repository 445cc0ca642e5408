"""The runs of all studies, said in values alone: each has a key, what it needs, and a way to be run. Knows nothing of torch.

Who computes them stands in ``pretraining``, ``classical`` and ``networks``, and is imported when a task is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from unlabeled.config import EncoderConfig, NetworkConfig
from unlabeled.experiments.specs import (
    ComponentFeatures,
    FeatureSpec,
    Learned,
    PatchesLearned,
    PixelFeatures,
    Pretrained,
    RandomCodes,
    features_key,
    pretrained,
)
from unlabeled.keeping.results import Run
from unlabeled.outcomes import AutoencoderOutcome, ClassicalOutcome, NetworkOutcome, Outcome, PatchesOutcome
from unlabeled.records import ArmKey, Row

if TYPE_CHECKING:
    from pathlib import Path

    from unlabeled.experiments.lab import Lab
    from unlabeled.training import Watcher

Classical: TypeAlias = Literal["logistic", "linear-network", "trees", "boosting", "neighbours"]
Scaling: TypeAlias = Literal["common", "each"]
Way: TypeAlias = Literal["plain", "slow", "gradual", "frozen"]
_FIELDS: dict[Classical, set[str]] = {
    "logistic": {"strengths", "max_iter"},
    "linear-network": {"strengths", "max_iter"},
    "trees": {"ensemble", "trees", "min_samples_leaf"},
    "boosting": {"boosting_iterations", "boosting_rate"},
    "neighbours": {"neighbours"},
}


class Task(Protocol):
    """A run, said in values alone, so that it can travel to another process."""

    @property
    def arm(self) -> ArmKey:
        """The arm that its row belongs to."""

    @property
    def fold(self) -> int | None:
        """Its fold, if it has one."""

    @property
    def seed(self) -> int:
        """Its seed."""

    @property
    def kind(self) -> str:
        """What takes about the same time."""

    @property
    def needs(self) -> Sequence[Task]:
        """The runs whose outcomes it stands on; they are done before it, and if one diverged, it has diverged too."""

    def key(self, lab: Lab) -> Run:
        """Return its folder, named by everything that determines the outcome."""

    def run(self, lab: Lab, folder: Path, needed: Sequence[Outcome], watcher: Watcher | None) -> Outcome:
        """Do it: leave its files in the folder, and return the outcome."""


@dataclass(frozen=True)
class AutoencoderTask:
    """Train an autoencoder on unlabeled images."""

    arm: ArmKey
    learned: Learned
    fold: ClassVar[None] = None
    needs: ClassVar[Sequence[Task]] = ()
    title: ClassVar[str] = "autoencoder"

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.learned.seed

    @property
    def kind(self) -> str:
        """What takes about the same time."""
        return f"autoencoder {self.learned.images}"

    def key(self, lab: Lab) -> Run:
        """Return its folder; it knows neither labels nor folds."""
        return lab.autoencoder_run(self.learned)

    def run(self, lab: Lab, folder: Path, needed: Sequence[Outcome], watcher: Watcher | None) -> AutoencoderOutcome:
        """Train, and keep weights and pictures."""
        from unlabeled.experiments.pretraining import train_autoencoder

        return train_autoencoder(self.learned, lab, folder, watcher)


@dataclass(frozen=True)
class PatchesTask:
    """Learn filters on patches of the unlabeled images."""

    arm: ArmKey
    learned: PatchesLearned
    fold: ClassVar[None] = None
    needs: ClassVar[Sequence[Task]] = ()
    title: ClassVar[str] = "sparse autoencoder"

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.learned.seed

    @property
    def kind(self) -> str:
        """What takes about the same time."""
        return f"patches {self.learned.solver} {len(self.learned.hidden)}"

    def key(self, lab: Lab) -> Run:
        """Return its folder; it knows neither labels nor folds."""
        return lab.patches_run(self.learned)

    def run(self, lab: Lab, folder: Path, needed: Sequence[Outcome], watcher: Watcher | None) -> PatchesOutcome:
        """Train, and keep weights, filters and mean activations."""
        from unlabeled.experiments.pretraining import train_patches

        return train_patches(self.learned, lab, folder, watcher)


# Performs tasks that do not wait for one another, and returns their rows in the order given.
Perform: TypeAlias = Callable[[Sequence[Task]], list[Row]]


def pretraining(learned: Pretrained | None) -> tuple[Task, ...]:
    """Return the runs that train what others stand on: one or, where nothing is learned, none."""
    if isinstance(learned, Learned):
        return (AutoencoderTask(ArmKey("autoencoder"), learned),)
    if learned is not None and learned.kind in ("sparse", "matched"):
        return (PatchesTask(ArmKey("sparse"), replace(learned, kind="sparse")),)
    return ()


@dataclass(frozen=True)
class ClassicalTask:
    """Fit a classical model on features of a fold, choose on its validation part, score the test split once."""

    arm: ArmKey
    features: FeatureSpec
    model: Classical
    fold: int
    seed: int
    scalings: tuple[Scaling, ...] = ("common", "each")

    @property
    def kind(self) -> str:
        """What takes about the same time."""
        return f"{self.features.source} {self.features.pooling} {self.model}"

    @property
    def needs(self) -> tuple[Task, ...]:
        """What its features stand on; scikit-learn's regression chooses for the network of one layer, its twin."""
        twin = ClassicalTask(self.arm, self.features, "logistic", self.fold, self.seed, self.scalings)
        return (*pretraining(pretrained(self.features)), *((twin,) if self.model == "linear-network" else ()))

    def key(self, lab: Lab) -> Run:
        """Return its folder, the same for all seeds where nothing depends on them."""
        part, features, learned = lab.folds.folds[self.fold], self.features, pretrained(self.features)
        of_fold = getattr(features if learned is None else learned, "fold", None) is not None
        of_unlabeled = (learned is not None or isinstance(features, ComponentFeatures)) and not of_fold
        seeded = self.model in ("trees", "boosting")
        configuration: dict[str, Any] = {
            "data": lab.data_key(unlabeled=of_unlabeled),
            "features": features_key(features),
            "train": part.train.tolist(),
            "valid": part.valid.tolist(),
            "seed": self.seed if seeded else None,
            self.model: lab.config.classical.model_dump(mode="json", include=_FIELDS[self.model]),
        }
        if learned is not None:
            configuration["autoencoder"] = lab.run_of(learned).folder.name
        if isinstance(features, ComponentFeatures):
            configuration["components"] = lab.config.classical.model_dump(mode="json", include={"components"})
            if not of_fold:
                configuration["images"] = len(lab.training_images())
        if not isinstance(features, PixelFeatures | ComponentFeatures):
            configuration |= lab.arithmetic
        if self.model in ("logistic", "linear-network", "neighbours"):
            configuration["scalings"] = list(self.scalings)
        of_seed = seeded or learned is not None or isinstance(features, RandomCodes)
        name = f"fold{self.fold}-seed{self.seed}" if of_seed else f"fold{self.fold}"
        return Run(lab.folder / "runs", f"{features.source}-{self.model}/{name}", configuration)

    def run(self, lab: Lab, folder: Path, needed: Sequence[Outcome], watcher: Watcher | None) -> ClassicalOutcome:
        """Fit and score."""
        from unlabeled.experiments.classical import fit_classical

        twin = needed[-1] if self.model == "linear-network" else None
        told = {} if watcher is None else {"step": watcher.step}
        return fit_classical(self, lab, folder, reference=twin if isinstance(twin, ClassicalOutcome) else None, **told)


@dataclass(frozen=True)
class Supervised:
    """Learn to classify: how the encoder's layers learn, and how many times over, with other orders and dropout, to choose from."""

    way: Way = "plain"
    trials: int = 1


@dataclass(frozen=True)
class Joint:
    """Classify and reconstruct at once: pairs of weights (reconstruction, between) to choose from; with unlabeled images or not."""

    weights: tuple[tuple[float, float], ...]
    unlabeled: bool = True


@dataclass(frozen=True)
class NetworkTask:
    """Train a network on a fold, choose learning rate and epoch on its validation part, score the test split once.

    ``start`` is what the encoder's weights are copied from (None: random ones), with ``scale_only`` no more than their size;
    ``labels`` limits the labels of a class, and ``gradients`` asks for the size of every layer's gradient before and after training.
    """

    arm: ArmKey
    encoder: EncoderConfig
    network: NetworkConfig
    fold: int
    seed: int
    start: Pretrained | None = None
    learning: Supervised | Joint = Supervised()
    labels: int | None = None
    gradients: bool = False
    scale_only: bool = False

    @property
    def kind(self) -> str:
        """What takes about the same time."""
        joint = f" joint {self.learning.unlabeled}" if isinstance(self.learning, Joint) else ""
        return f"network {len(list(self.candidates()))} {self.labels} {len(self.encoder.conv_out_channels)}{joint}"

    @property
    def needs(self) -> tuple[Task, ...]:
        """What it starts from."""
        return pretraining(self.start)

    def key(self, lab: Lab) -> Run:
        """Return its folder."""
        part, learning = lab.folds_of(self.labels).folds[self.fold], self.learning
        joint = isinstance(learning, Joint)
        from_labeled = isinstance(self.start, Learned) and self.start.fold is not None
        of_unlabeled = (self.start is not None and not from_labeled) or (
            isinstance(learning, Joint) and learning.unlabeled
        )
        configuration: dict[str, Any] = {
            "data": lab.data_key(unlabeled=of_unlabeled),
            "encoder": self.encoder.model_dump(mode="json"),
            "network": self.network.model_dump(mode="json"),
            "train": part.train.tolist(),
            "valid": part.valid.tolist(),
            "seed": self.seed,
            **self.network.training.batching(len(part.train)),
            **lab.arithmetic,
        }
        way: Way = learning.way if isinstance(learning, Supervised) else "plain"
        if self.start is not None:
            configuration["autoencoder"] = lab.run_of(self.start).folder.name
        if self.start is not None or way != "plain":
            configuration["way"] = [way, lab.config.studies.finetune.slow if way == "slow" else None]
        for name in ("gradients", "scale_only"):
            if getattr(self, name):
                configuration[name] = True
        if isinstance(learning, Supervised) and learning.trials > 1:
            configuration["trials"] = learning.trials
        if isinstance(learning, Joint):
            decoder = lab.config.autoencoder
            configuration["joint"] = asdict(learning) | {"decoder": decoder.output_activation}
            if not decoder.switches:
                configuration["joint"]["switches"] = False
            configuration["images"] = len(lab.training_images()) if learning.unlabeled else 0
        source = "joint" if joint else "random" if self.start is None else self.start.source
        return Run(lab.folder / "runs", f"{source}-network/fold{self.fold}-seed{self.seed}", configuration)

    def candidates(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield what is tried: every learning rate, with every pair of weights or so many times over, numbered within a rate."""
        for rate in self.network.learning_rates:
            if isinstance(self.learning, Joint):
                for number, (reconstruction, between) in enumerate(self.learning.weights):
                    yield number, {"learning_rate": rate, "reconstruction": reconstruction, "between": between}
            else:
                trials = self.learning.trials
                for trial in range(trials):
                    yield trial, {"learning_rate": rate} | ({"trial": trial + 1} if trials > 1 else {})

    def run(self, lab: Lab, folder: Path, needed: Sequence[Outcome], watcher: Watcher | None) -> NetworkOutcome:
        """Train every candidate, and score the one with the least validation loss."""
        from unlabeled.experiments.networks import train_network

        return train_network(self, lab, folder, watcher)
