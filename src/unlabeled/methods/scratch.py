"""The network from scratch: labels alone, the comparison's other side; and the same with first weights of the autoencoder's size."""

from unlabeled.methods.autoencoders import of_unlabeled
from unlabeled.methods.method import Colour, Message
from unlabeled.methods.networks import NetworkMethod
from unlabeled.records import ArmKey

SCRATCH = NetworkMethod(
    name="scratch",
    arm=ArmKey("random", "network"),
    title=Message("ConvNet from scratch"),
    colour=Colour("#b4690e", "#e2a04f"),
    uses=frozenset({"labeled"}),
)
SCALED = NetworkMethod(
    name="scaled",
    arm=ArmKey("random", "network", way="scaled"),
    title=Message("ConvNet from scratch, first weights as large as the autoencoder's"),
    colour=Colour("#9c3a2e", "#e8897d"),
    # Of the unlabeled images it has one number a layer.
    uses=frozenset({"labeled"}),
    start=of_unlabeled,
    scale_only=True,
)
