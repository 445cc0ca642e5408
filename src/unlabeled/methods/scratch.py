"""The network from scratch: labels alone, the comparison's other side."""

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
