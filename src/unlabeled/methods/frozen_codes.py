"""Frozen codes of an autoencoder that was trained on the unlabeled images, and of its twin of the labeled images alone."""

from unlabeled.experiments.specs import LearnedCodes
from unlabeled.methods.autoencoders import of_labeled, of_unlabeled
from unlabeled.methods.features import FeatureMethod
from unlabeled.methods.method import Colour, Message

FROZEN_CODES = FeatureMethod(
    name="frozen",
    source="autoencoder",
    title=Message("autoencoder"),
    colour=Colour("#0b7285", "#4cc0d4"),
    uses=frozenset({"labeled", "unlabeled"}),
    features=lambda *where: LearnedCodes(of_unlabeled(*where)),
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
    features=lambda *where: LearnedCodes(of_labeled(*where)),
)
