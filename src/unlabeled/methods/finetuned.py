"""The network that starts from the autoencoder's weights, and its twin of the labeled images alone."""

from unlabeled.methods.autoencoders import of_labeled, of_unlabeled
from unlabeled.methods.method import Colour, Message
from unlabeled.methods.networks import NetworkMethod
from unlabeled.methods.scratch import SCALED, SCRATCH
from unlabeled.records import ArmKey, Contrast

_ARM = ArmKey("autoencoder", "network")

TWIN = NetworkMethod(
    name="finetuned-twin",
    arm=ArmKey("autoencoder", "network", way="labeled"),
    title=Message("ConvNet from the autoencoder, labeled only"),
    colour=Colour("#5c7f14", "#a9cc5b"),
    uses=frozenset({"labeled"}),
    start=of_labeled,
)
FINETUNED = NetworkMethod(
    name="finetuned",
    arm=_ARM,
    title=Message("ConvNet from the autoencoder"),
    colour=Colour("#0b7285", "#4cc0d4"),
    uses=frozenset({"labeled", "unlabeled"}),
    contrasts=(
        Contrast(_ARM, SCRATCH.arm, role="without"),
        Contrast(_ARM, TWIN.arm, role="twin"),
        Contrast(_ARM, SCALED.arm),
    ),
    start=of_unlabeled,
)
