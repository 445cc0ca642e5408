"""Frozen codes of an autoencoder that was trained on the unlabeled images, and of its twin of the labeled images alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlabeled.experiments.specs import Learned, LearnedCodes
from unlabeled.methods.features import FeatureMethod
from unlabeled.methods.method import Colour, Message

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab


def _learned(lab: Lab, seed: int) -> Learned:
    return Learned(lab.config.encoder, lab.config.autoencoder, seed)


FROZEN_CODES = FeatureMethod(
    name="frozen",
    source="autoencoder",
    title=Message("autoencoder"),
    colour=Colour("#0b7285", "#4cc0d4"),
    uses=frozenset({"labeled", "unlabeled"}),
    features=lambda lab, _fold, seed: LearnedCodes(_learned(lab, seed)),
    twin="labeled",
    against=("random",),
)
FROZEN_TWIN = FeatureMethod(
    name="frozen-twin",
    source="autoencoder",
    way="labeled",
    title=Message("autoencoder, labeled only"),
    colour=Colour("#5c7f14", "#a9cc5b"),
    uses=frozenset({"labeled"}),
    features=lambda lab, fold, seed: LearnedCodes(lab.twin(_learned(lab, seed), fold)),
)
