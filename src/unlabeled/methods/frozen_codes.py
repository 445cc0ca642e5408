"""Frozen codes of an autoencoder that was trained on the unlabeled images."""

from unlabeled.experiments.specs import Learned, LearnedCodes
from unlabeled.methods.features import FeatureMethod
from unlabeled.methods.method import Colour, Message

FROZEN_CODES = FeatureMethod(
    name="frozen",
    source="autoencoder",
    title=Message("autoencoder"),
    colour=Colour("#0b7285", "#4cc0d4"),
    uses=frozenset({"labeled", "unlabeled"}),
    features=lambda lab, seed: LearnedCodes(Learned(lab.config.encoder, lab.config.autoencoder, seed)),
    against=("pixels", "random", "pca"),
)
