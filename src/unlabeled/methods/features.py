"""Features for classical models: the ways that pixels, components and frozen codes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlabeled.config.settings import Section
from unlabeled.experiments.specs import FeatureSpec
from unlabeled.experiments.tasks import Classical, ClassicalTask
from unlabeled.methods.method import Colour, Message, Part
from unlabeled.records import ArmKey, Contrast

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

MODELS: tuple[Classical, ...] = ("logistic", "trees")


@dataclass(frozen=True)
class FeatureMethod:
    """Logistic regression and trees on one kind of features; ``against`` are the sources that they are compared with."""

    name: str
    source: str
    title: Message
    colour: Colour
    uses: frozenset[Part]
    features: Callable[[Lab, int], FeatureSpec]
    against: tuple[str, ...] = ()
    options: type[Section] | None = None

    @property
    def arms(self) -> tuple[ArmKey, ...]:
        """One for each model."""
        return tuple(ArmKey(self.source, model) for model in MODELS)

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """Each model with the same model on other features."""
        return tuple(
            Contrast(ArmKey(self.source, model), ArmKey(other, model), lead=other in ("pixels", "random"))
            for model in MODELS
            for other in self.against
        )

    def tasks(self, lab: Lab, fold: int, seed: int) -> list[ClassicalTask]:
        """Fit each model."""
        spec = self.features(lab, seed)
        return [ClassicalTask(ArmKey(self.source, model), spec, model, fold, seed) for model in MODELS]
