"""The strong network of labels alone, and by each way of using unlabeled images; with each its twin of the labeled images alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlabeled.config.settings import Section
from unlabeled.experiments.selftraining import TEACHER, Pool, StrongTask, Way
from unlabeled.methods.method import Colour, Message, Part
from unlabeled.records import ArmKey, Contrast

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab


@dataclass(frozen=True)
class StrongMethod:
    """The network of ``--strong`` by one way, with one pool of images."""

    name: str
    arm: ArmKey
    title: Message
    colour: Colour
    way: Way = "labels"
    pool: Pool = "none"
    contrasts: tuple[Contrast, ...] = ()
    options: type[Section] | None = None

    @property
    def uses(self) -> frozenset[Part]:
        """The images that it learns from."""
        return frozenset({"labeled", "unlabeled"} if self.pool == "unlabeled" else {"labeled"})

    @property
    def arms(self) -> tuple[ArmKey, ...]:
        """The only one."""
        return (self.arm,)

    def tasks(self, lab: Lab, fold: int, seed: int) -> list[StrongTask]:
        """Train it."""
        strong, start = lab.config.strong, lab.config.start if self.way == "weights" else None
        rounds = strong.rounds if self.way == "pseudo-labels" else 0
        return [StrongTask(self.arm, strong, fold, seed, self.way, self.pool, rounds, start, lab.apart)]


def _twins(
    name: str, source: str, way: Way, titles: tuple[Message, Message], colours: tuple[Colour, Colour]
) -> tuple[StrongMethod, StrongMethod]:
    """Return a way of unlabeled images, held against labels alone and against the second one: the same of labeled images alone."""
    arm, twin = ArmKey(source, "network"), ArmKey(source, "network", way="labeled")
    contrasts = (Contrast(arm, TEACHER, role="without"), Contrast(arm, twin, role="twin"))
    return (
        StrongMethod(name, arm, titles[0], colours[0], way, "unlabeled", contrasts),
        StrongMethod(f"{name}-twin", twin, titles[1], colours[1], way, "labeled"),
    )


STRONG = StrongMethod("strong", TEACHER, Message("strong network"), Colour("#5f5f5f", "#b5b5b5"))
SELF_TRAINED, SELF_DISTILLED = _twins(
    "self-training",
    "self-training",
    "pseudo-labels",
    (
        Message("strong network, self-training"),
        Message("strong network, self-training on labeled images alone"),
    ),
    (Colour("#c2255c", "#f783ac"), Colour("#a8741a", "#e0b56a")),
)
CONSISTENT, CONSISTENT_TWIN = _twins(
    "consistency",
    "consistency",
    "consistency",
    (
        Message("strong network, consistency"),
        Message("strong network, consistency on labeled images alone"),
    ),
    (Colour("#6741d9", "#b197fc"), Colour("#2f7d5b", "#74c69d")),
)
REBUILT, REBUILT_TWIN = _twins(
    "pretrained",
    "rebuilding",
    "autoencoder",
    (
        Message("strong network from an autoencoder"),
        Message("strong network from an autoencoder of labeled images"),
    ),
    (Colour("#0b7285", "#4cc0d4"), Colour("#5c7f14", "#a9cc5b")),
)
ROTATED, ROTATED_TWIN = _twins(
    "rotations",
    "rotations",
    "rotations",
    (
        Message("strong network from rotations"),
        Message("strong network from rotations of labeled images"),
    ),
    (Colour("#9c3a2e", "#e8897d"), Colour("#8a6d00", "#d9c04d")),
)
_STARTED = ArmKey("weights", "network")
STARTED = StrongMethod(
    "weights", _STARTED, Message("network from your weights"), Colour("#1864ab", "#74b9ff"), "weights",
    contrasts=(Contrast(_STARTED, TEACHER),),
)  # fmt: skip
STRONG_METHODS = (
    STRONG, SELF_TRAINED, SELF_DISTILLED, CONSISTENT, CONSISTENT_TWIN, REBUILT, REBUILT_TWIN, ROTATED, ROTATED_TWIN,
    STARTED,
)  # fmt: skip
