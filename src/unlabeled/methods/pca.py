"""Principal components of the unlabeled images, as many as a code has numbers: the linear way to learn from them."""

from unlabeled.experiments.specs import ComponentFeatures
from unlabeled.methods.features import FeatureMethod
from unlabeled.methods.method import Colour, Message

PCA = FeatureMethod(
    name="pca",
    source="pca",
    title=Message("PCA"),
    colour=Colour("#7c4dbe", "#b697ec"),
    uses=frozenset({"labeled", "unlabeled"}),
    features=lambda lab, _seed: ComponentFeatures(lab.config.encoder),
)
