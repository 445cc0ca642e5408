"""Codes of an encoder that nothing was learned for: what the encoder's shape alone is worth."""

from unlabeled.experiments.specs import RandomCodes
from unlabeled.methods.features import FeatureMethod
from unlabeled.methods.method import Colour, Message

RANDOM_CODES = FeatureMethod(
    name="random",
    source="random",
    title=Message("random encoder"),
    colour=Colour("#b4690e", "#e2a04f"),
    uses=frozenset({"labeled"}),
    features=lambda lab, _fold, seed: RandomCodes(lab.config.encoder, seed),
)
