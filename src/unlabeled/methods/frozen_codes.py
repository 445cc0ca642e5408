"""Frozen codes of an autoencoder that was trained on the unlabeled images."""

from unlabeled.methods.features import FeatureMethod
from unlabeled.methods.method import Colour, Message
from unlabeled.studies.specs import Learned, LearnedCodes

FROZEN_CODES = FeatureMethod(
    name="frozen",
    source="autoencoder",
    title=Message("autoencoder"),
    colour=Colour("#0b7285", "#4cc0d4"),
    uses=frozenset({"labeled", "unlabeled"}),
    features=lambda lab, seed: LearnedCodes(Learned(lab.config.encoder, lab.config.autoencoder, seed)),
    against=("pixels", "random", "pca"),
)
