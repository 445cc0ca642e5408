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
    """Logistic regression and trees on one kind of features, made of a lab, a fold and a seed.

    ``way`` tells a twin, which learns from the labeled images alone, from what it is the twin of. ``twin`` says that there is one: then
    the features are held against pixels and against it. ``against`` are further sources to compare with.
    """

    name: str
    source: str
    title: Message
    colour: Colour
    uses: frozenset[Part]
    features: Callable[[Lab, int, int], FeatureSpec]
    way: str = ""
    twin: str = ""
    against: tuple[str, ...] = ()
    options: type[Section] | None = None

    @property
    def arms(self) -> tuple[ArmKey, ...]:
        """One for each model."""
        return tuple(ArmKey(self.source, model, way=self.way) for model in MODELS)

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """Each model with the same model on other features."""
        contrasts = []
        for arm in self.arms:
            if self.twin:
                contrasts.append(Contrast(arm, ArmKey("pixels", arm.model), role="without"))
                contrasts.append(Contrast(arm, ArmKey(self.source, arm.model, way=self.twin), role="twin"))
            contrasts += [Contrast(arm, ArmKey(other, arm.model)) for other in self.against]
        return tuple(contrasts)

    def tasks(self, lab: Lab, fold: int, seed: int) -> list[ClassicalTask]:
        """Fit each model."""
        spec = self.features(lab, fold, seed)
        return [ClassicalTask(arm, spec, model, fold, seed) for arm, model in zip(self.arms, MODELS, strict=True)]
