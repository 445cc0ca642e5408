"""The network that starts from the autoencoder's weights: the answer's own comparison."""

from unlabeled.methods.method import Colour, Message
from unlabeled.methods.networks import NetworkMethod
from unlabeled.methods.scratch import SCRATCH
from unlabeled.records import ArmKey, Contrast

_ARM = ArmKey("autoencoder", "network")

FINETUNED = NetworkMethod(
    name="finetuned",
    arm=_ARM,
    title=Message("ConvNet from the autoencoder"),
    colour=Colour("#0b7285", "#4cc0d4"),
    uses=frozenset({"labeled", "unlabeled"}),
    contrasts=(Contrast(_ARM, SCRATCH.arm, named=True, lead=True),),
    start="autoencoder",
)
