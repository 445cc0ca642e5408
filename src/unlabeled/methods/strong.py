"""The strong network: of labels alone, a student of its own pseudo-labels, on by consistency; and the twins of labeled images alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlabeled.config.settings import Section
from unlabeled.experiments.selftraining import TEACHER, Pool, StrongTask
from unlabeled.methods.method import Colour, Message, Part
from unlabeled.records import ArmKey, Contrast

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

_ARM = ArmKey("self-training", "network")
_TWIN = ArmKey("self-training", "network", way="labeled")
_CONSISTENT = ArmKey("consistency", "network")
_CONSISTENT_TWIN = ArmKey("consistency", "network", way="labeled")


@dataclass(frozen=True)
class StrongMethod:
    """The network of ``--strong``: the teacher, the student of the last round, or the teacher that went on by consistency."""

    name: str
    arm: ArmKey
    title: Message
    colour: Colour
    uses: frozenset[Part]
    pool: Pool = "none"
    consistent: bool = False
    contrasts: tuple[Contrast, ...] = ()
    options: type[Section] | None = None

    @property
    def arms(self) -> tuple[ArmKey, ...]:
        """The only one."""
        return (self.arm,)

    def tasks(self, lab: Lab, fold: int, seed: int) -> list[StrongTask]:
        """Train it."""
        strong = lab.config.strong
        rounds = 0 if self.pool == "none" or self.consistent else strong.rounds
        return [StrongTask(self.arm, strong, fold, seed, self.pool, rounds, self.consistent)]


STRONG = StrongMethod(
    name="strong",
    arm=TEACHER,
    title=Message("strong network"),
    colour=Colour("#5f5f5f", "#b5b5b5"),
    uses=frozenset({"labeled"}),
)
SELF_DISTILLED = StrongMethod(
    name="self-training-twin",
    arm=_TWIN,
    title=Message("strong network, self-training on labeled images alone"),
    colour=Colour("#a8741a", "#e0b56a"),
    uses=frozenset({"labeled"}),
    pool="labeled",
)
SELF_TRAINED = StrongMethod(
    name="self-training",
    arm=_ARM,
    title=Message("strong network, self-training"),
    colour=Colour("#c2255c", "#f783ac"),
    uses=frozenset({"labeled", "unlabeled"}),
    pool="unlabeled",
    contrasts=(Contrast(_ARM, TEACHER, role="without"), Contrast(_ARM, _TWIN, role="twin")),
)
CONSISTENT_TWIN = StrongMethod(
    name="consistency-twin",
    arm=_CONSISTENT_TWIN,
    title=Message("strong network, consistency on labeled images alone"),
    colour=Colour("#2f7d5b", "#74c69d"),
    uses=frozenset({"labeled"}),
    pool="labeled",
    consistent=True,
)
CONSISTENT = StrongMethod(
    name="consistency",
    arm=_CONSISTENT,
    title=Message("strong network, consistency"),
    colour=Colour("#6741d9", "#b197fc"),
    uses=frozenset({"labeled", "unlabeled"}),
    pool="unlabeled",
    consistent=True,
    contrasts=(Contrast(_CONSISTENT, TEACHER, role="without"), Contrast(_CONSISTENT, _CONSISTENT_TWIN, role="twin")),
)
