"""What the denoising autoencoder without switches is worth: its frozen codes, the network from its weights, and their twins."""

from unlabeled.experiments.specs import LearnedCodes
from unlabeled.methods.autoencoders import denoising, denoising_of_labeled
from unlabeled.methods.features import FeatureMethod
from unlabeled.methods.method import Colour, Message
from unlabeled.methods.networks import NetworkMethod
from unlabeled.methods.scratch import SCRATCH
from unlabeled.records import ArmKey, Contrast

_ARM = ArmKey("denoising", "network")
_COLOUR, _TWINS_COLOUR = Colour("#3b5bdb", "#8ea4ff"), Colour("#8a5a83", "#d3a5cd")

DENOISED_CODES = FeatureMethod(
    name="denoised",
    source="denoising",
    title=Message("denoising autoencoder"),
    colour=_COLOUR,
    uses=frozenset({"labeled", "unlabeled"}),
    features=lambda *where: LearnedCodes(denoising(*where)),
    twin="labeled",
)
DENOISED_CODES_TWIN = FeatureMethod(
    name="denoised-twin",
    source="denoising",
    way="labeled",
    title=Message("denoising autoencoder, labeled only"),
    colour=_TWINS_COLOUR,
    uses=frozenset({"labeled"}),
    features=lambda *where: LearnedCodes(denoising_of_labeled(*where)),
)
DENOISED_NETWORK_TWIN = NetworkMethod(
    name="denoised-network-twin",
    arm=ArmKey("denoising", "network", way="labeled"),
    title=Message("ConvNet from the denoising autoencoder, labeled only"),
    colour=_TWINS_COLOUR,
    uses=frozenset({"labeled"}),
    start=denoising_of_labeled,
)
DENOISED_NETWORK = NetworkMethod(
    name="denoised-network",
    arm=_ARM,
    title=Message("ConvNet from the denoising autoencoder"),
    colour=_COLOUR,
    uses=frozenset({"labeled", "unlabeled"}),
    contrasts=(
        Contrast(_ARM, SCRATCH.arm, role="without"),
        Contrast(_ARM, DENOISED_NETWORK_TWIN.arm, role="twin"),
    ),
    start=denoising,
)
