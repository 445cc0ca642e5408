"""Networks that differ in where they start and what they learn beside the classes; all choose from as many candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

from unlabeled.config import JointGrid
from unlabeled.config.settings import Section
from unlabeled.experiments.specs import Learned
from unlabeled.experiments.tasks import Joint, NetworkTask, Supervised
from unlabeled.methods.method import Colour, Message, Part
from unlabeled.records import ArmKey, Contrast

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab


@dataclass(frozen=True)
class NetworkMethod:
    """The network of ``--encoder`` and ``--network``: with random weights or an autoencoder's, supervised or reconstructing too.

    ``start`` returns the autoencoder for a lab, a fold and a seed; with ``scale_only`` no more than the size of its weights is taken.
    """

    name: str
    arm: ArmKey
    title: Message
    colour: Colour
    uses: frozenset[Part]
    contrasts: tuple[Contrast, ...] = ()
    start: Callable[[Lab, int, int], Learned] | None = None
    scale_only: bool = False
    reconstructs: Literal["nothing", "labeled", "all"] = "nothing"
    options: type[Section] | None = None

    @property
    def arms(self) -> tuple[ArmKey, ...]:
        """The only one."""
        return (self.arm,)

    def tasks(self, lab: Lab, fold: int, seed: int) -> list[NetworkTask]:
        """Train it."""
        config, weights = lab.config, joint_weights(lab.config.studies.joint)
        start = None if self.start is None else self.start(lab, fold, seed)
        # All choose from as many candidates as those that reconstruct, which have weights to choose.
        learning: Joint | Supervised = Supervised(trials=len(weights))
        if self.reconstructs != "nothing":
            learning = Joint(weights, unlabeled=self.reconstructs == "all")
        encoder, network = config.encoder, config.network
        return [NetworkTask(self.arm, encoder, network, fold, seed, start, learning, scale_only=self.scale_only)]


def joint_weights(grid: JointGrid) -> tuple[tuple[float, float], ...]:
    """Return all pairs of weights (reconstruction, between) to choose from."""
    return tuple(product(grid.reconstruction, grid.between))
