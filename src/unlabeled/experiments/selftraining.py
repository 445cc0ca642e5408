"""The strong network's runs, said in values alone: of labels alone, of pseudo-labels, by consistency. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from unlabeled.config import StrongConfig
from unlabeled.keeping.results import Run
from unlabeled.outcomes import NetworkOutcome, Outcome
from unlabeled.records import ArmKey

if TYPE_CHECKING:
    from pathlib import Path

    from unlabeled.experiments.lab import Lab
    from unlabeled.training import Watcher

# The images that a network learns from without their labels: none for a teacher.
Pool: TypeAlias = Literal["none", "labeled", "unlabeled"]
TEACHER = ArmKey("strong", "network")


@dataclass(frozen=True)
class StrongTask:
    """Train the strong network on a fold, and score the test split once.

    With ``round`` 0 it learns from labels alone: it is the first teacher. With 1 and more it is a student with random first weights,
    which learns from the labels and from what the network of the round before makes of the ``pool``. One that is ``consistent`` goes
    on from the teacher's weights, and learns from what its own averaged weights make of the pool.
    """

    arm: ArmKey
    strong: StrongConfig
    fold: int
    seed: int
    pool: Pool = "none"
    round: int = 0
    consistent: bool = False
    title: ClassVar[str] = "teacher"

    @property
    def kind(self) -> str:
        """What takes about the same time."""
        return f"strong {self.pool}{' consistent' if self.consistent else ''}"

    @property
    def needs(self) -> Sequence[StrongTask]:
        """Its teacher."""
        if self.pool == "none":
            return ()
        if self.round > 1:
            return (replace(self, round=self.round - 1),)
        return (replace(self, arm=TEACHER, pool="none", round=0, consistent=False),)

    def key(self, lab: Lab) -> Run:
        """Return its folder."""
        part = lab.folds.folds[self.fold]
        # Rounds of a student are rounds of its teachers, whose folder says them.
        foreign = {"rounds"}
        foreign |= set() if self.consistent else {"consistency"}
        foreign |= set() if self.round else {"balance"}
        foreign |= set() if self.needs else {"ratio"}
        configuration: dict[str, Any] = {
            "data": lab.data_key(unlabeled=self.pool == "unlabeled"),
            "strong": self.strong.model_dump(mode="json", exclude=foreign),
            "train": part.train.tolist(),
            "valid": part.valid.tolist(),
            "seed": self.seed,
            **lab.arithmetic,
        }
        if self.needs:
            configuration |= {"pool": self.pool, "teacher": self.needs[0].key(lab).folder.name}
        if self.pool == "unlabeled":
            configuration["images"] = len(lab.splits.unlabeled)
        name = _FOLDERS[self.pool, self.consistent]
        ending = f"-round{self.round}" if self.round > 1 else ""
        return Run(lab.folder / "runs", f"{name}-network/fold{self.fold}-seed{self.seed}{ending}", configuration)

    def run(self, lab: Lab, folder: Path, needed: Sequence[Outcome], watcher: Watcher | None) -> NetworkOutcome:
        """Train, and score."""
        from unlabeled.experiments.strong import train_strong

        return train_strong(self, lab, folder, watcher)


_FOLDERS = {
    ("none", False): "strong",
    ("labeled", False): "self-distilled",
    ("unlabeled", False): "self-trained",
    ("labeled", True): "consistent-labeled",
    ("unlabeled", True): "consistent",
}
