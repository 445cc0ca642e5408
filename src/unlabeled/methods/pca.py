"""Principal components of the unlabeled images, the linear way to learn from them, and their twin of the labeled images alone."""

from unlabeled.experiments.specs import ComponentFeatures
from unlabeled.methods.features import FeatureMethod
from unlabeled.methods.method import Colour, Message

PCA = FeatureMethod(
    name="pca",
    source="pca",
    title=Message("PCA"),
    colour=Colour("#7c4dbe", "#b697ec"),
    uses=frozenset({"labeled", "unlabeled"}),
    features=lambda lab, _fold, _seed: ComponentFeatures(lab.config.encoder),
    twin="labeled",
)
PCA_TWIN = FeatureMethod(
    name="pca-twin",
    source="pca",
    way="labeled",
    title=Message("PCA, labeled only"),
    colour=Colour("#4f4fa3", "#9d9de8"),
    uses=frozenset({"labeled"}),
    features=lambda lab, fold, _seed: ComponentFeatures(lab.config.encoder, fold),
)
