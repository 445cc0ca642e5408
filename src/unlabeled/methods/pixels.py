"""The pixels themselves: what one gets without any representation learning."""

from unlabeled.experiments.specs import PixelFeatures
from unlabeled.methods.features import FeatureMethod
from unlabeled.methods.method import Colour, Message

PIXELS = FeatureMethod(
    name="pixels",
    source="pixels",
    title=Message("pixels"),
    colour=Colour("#6b7280", "#a5abb5"),
    uses=frozenset({"labeled"}),
    features=lambda _lab, _fold, _seed: PixelFeatures(),
)
