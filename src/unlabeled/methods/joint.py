"""Networks that reconstruct images while they learn to classify: the labeled ones alone, or unlabeled ones too."""

from unlabeled.methods.method import Colour, Message
from unlabeled.methods.networks import NetworkMethod
from unlabeled.methods.scratch import SCRATCH
from unlabeled.records import ArmKey, Contrast

_ARM = ArmKey("joint", "network")

LABELED_ONLY = NetworkMethod(
    name="labeled",
    arm=ArmKey("labeled", "network"),
    title=Message("ConvNet, reconstructs labeled images"),
    colour=Colour("#8a6d00", "#d9c04d"),
    uses=frozenset({"labeled"}),
    reconstructs="labeled",
)
JOINT = NetworkMethod(
    name="joint",
    arm=_ARM,
    title=Message("ConvNet, reconstructs unlabeled too"),
    colour=Colour("#a0357c", "#e58cc6"),
    uses=frozenset({"labeled", "unlabeled"}),
    contrasts=(Contrast(_ARM, SCRATCH.arm, role="without"), Contrast(_ARM, LABELED_ONLY.arm, role="twin")),
    reconstructs="all",
)
