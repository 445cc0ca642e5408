"""The strong network's runs, said in values alone: of labels, of pseudo-labels, by consistency, pretrained. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from unlabeled.config import StrongConfig
from unlabeled.keeping.caching import expand
from unlabeled.keeping.files import digest_file
from unlabeled.keeping.results import Run
from unlabeled.outcomes import NetworkOutcome, Outcome, PretrainedOutcome
from unlabeled.records import ArmKey

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab
    from unlabeled.training import Watcher

# The images that a network learns from without their labels: none for a teacher.
Pool: TypeAlias = Literal["none", "labeled", "unlabeled"]
Pretext: TypeAlias = Literal["autoencoder", "rotations"]
Way: TypeAlias = Literal["labels", "pseudo-labels", "consistency", "autoencoder", "rotations", "weights"]
TEACHER = ArmKey("strong", "network")
_FOLDS_APART = 1_000_000  # more than the seeds of all rounds


@dataclass(frozen=True)
class PretrainingTask:
    """Train the strong network's blocks without labels: of the unlabeled images once a seed, of labeled ones once a fold and seed."""

    strong: StrongConfig
    pretext: Pretext
    seed: int
    fold: int | None = None
    title: ClassVar[str] = "pretraining"
    needs: ClassVar[tuple[()]] = ()

    @property
    def arm(self) -> ArmKey:
        """What its row belongs to."""
        return ArmKey(self.pretext, way="" if self.fold is None else "labeled")

    @property
    def kind(self) -> str:
        """What takes about the same time."""
        return f"strong {self.pretext}"

    def key(self, lab: Lab) -> Run:
        """Return its folder; but for a twin's it knows neither labels nor folds."""
        configuration: dict[str, Any] = {
            "data": lab.data_key(unlabeled=self.fold is None, test=False),
            "strong": self.strong.model_dump(mode="json", include={"widths", "layers", "training", "pretraining"}),
            "pretext": self.pretext,
            "seed": self.seed,
            **lab.strong_arithmetic,
        }
        if self.fold is None:
            configuration["images"] = images = len(lab.training_images())
            configuration |= self.strong.training.batching(images)
            return Run(lab.folder / "runs", f"strong-{self.pretext}/seed{self.seed}", configuration)
        part = lab.folds.folds[self.fold]
        configuration |= {"train": part.train.tolist(), "valid": part.valid.tolist()}
        configuration |= self.strong.training.batching(len(part.train))
        return Run(lab.folder / "runs", f"labeled-strong-{self.pretext}/fold{self.fold}-seed{self.seed}", configuration)

    def run(self, lab: Lab, folder: Path, needed: Sequence[Outcome], watcher: Watcher | None) -> PretrainedOutcome:
        """Train."""
        from unlabeled.experiments.strong import pretrain

        return pretrain(self, lab, folder, watcher)


@dataclass(frozen=True)
class StrongTask:
    """Train the strong network on a fold, and score the test split once.

    Of "labels" alone it is the teacher. By "pseudo-labels" it is a student with random first weights, which learns from the labels and
    from what the network of the round before makes of the ``pool``. By "consistency" it goes on from the teacher's weights, and learns
    from what its own averaged weights make of the pool. By "autoencoder" and "rotations" its first weights have learned from the pool.
    By "weights" it is the network of the file ``start``. Its random numbers are its ``own``, of its fold and seed alone, or those of its
    seed on every fold, as once.
    """

    arm: ArmKey
    strong: StrongConfig
    fold: int
    seed: int
    way: Way = "labels"
    pool: Pool = "none"
    round: int = 0
    start: Path | None = None
    own: bool = True
    title: ClassVar[str] = "teacher"

    @property
    def draws(self) -> int:
        """What its random numbers begin from; those of all ways on a fold are the same, so that they are compared in pairs."""
        return self.seed + (_FOLDS_APART * self.fold if self.own else 0)

    @property
    def apart(self) -> bool:
        """Whether it shares nothing random with runs of other folds, so that an effect needs no more than folds.

        What was pretrained on unlabeled images once a seed is common to all folds, and its twin is judged alike.
        """
        return self.own and self.way not in ("autoencoder", "rotations")

    @property
    def kind(self) -> str:
        """What takes about the same time."""
        return f"strong {self.way} {self.pool}"

    @property
    def needs(self) -> Sequence[StrongTask | PretrainingTask]:
        """Its teacher, or what its first weights come from."""
        if self.way in ("labels", "weights"):
            return ()
        if self.way in ("autoencoder", "rotations"):
            return (PretrainingTask(self.strong, self.way, self.seed, None if self.pool == "unlabeled" else self.fold),)
        if self.round > 1:
            return (replace(self, round=self.round - 1),)
        return (replace(self, arm=TEACHER, way="labels", pool="none", round=0),)

    def key(self, lab: Lab) -> Run:
        """Return its folder."""
        part = lab.folds.folds[self.fold]
        # What others of the family read; rounds of a student are rounds of its teachers, whose folder says them.
        own = {"widths", "layers", "training", *_OWN[self.way]}
        configuration: dict[str, Any] = {
            "data": lab.data_key(unlabeled=self.pool == "unlabeled"),
            "strong": self.strong.model_dump(mode="json", include=own),
            "train": part.train.tolist(),
            "valid": part.valid.tolist(),
            "seed": self.draws,
            **lab.strong_arithmetic,
        }
        training = self.strong.student if self.way in ("pseudo-labels", "consistency") else self.strong.training
        configuration |= training.batching(len(part.train))
        if self.needs:
            configuration |= {"way": self.way, "pool": self.pool, "stands on": self.needs[0].key(lab).folder.name}
        if self.start is not None:
            configuration["start"] = _digest(*_looked_at(expand(self.start)))
        if self.pool == "unlabeled":
            configuration["images"] = len(lab.splits.unlabeled)
        name = "-".join(["strong", self.way, *(["labeled"] if self.pool == "labeled" else [])])
        ending = f"-round{self.round}" if self.round > 1 else ""
        return Run(lab.folder / "runs", f"{name}/fold{self.fold}-seed{self.seed}{ending}", configuration)

    def run(self, lab: Lab, folder: Path, needed: Sequence[Outcome], watcher: Watcher | None) -> NetworkOutcome:
        """Train, and score."""
        from unlabeled.experiments.strong import train_strong

        return train_strong(self, lab, folder, watcher)


def _looked_at(path: Path) -> tuple[Path, int, int]:
    """Return what changes with a file's content: its name, size and time."""
    facts = path.stat()
    return path, facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=4)
def _digest(path: Path, size: int, time: int) -> str:
    """Condense a file that may be large once, and not at each look at a key."""
    return digest_file(path)


_OWN: dict[Way, set[str]] = {
    "labels": set(),
    "pseudo-labels": {"ratio", "balance", "guard"},
    "consistency": {"ratio", "consistency"},
    "autoencoder": set(),
    "rotations": set(),
    "weights": {"start"},
}
