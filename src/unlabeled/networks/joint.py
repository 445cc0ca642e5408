"""JointNetwork: one encoder that classifies labeled images and reconstructs labeled and unlabeled ones."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from unlabeled.networks.models import ConvAutoEncoder, ConvNet


class JointOutput(NamedTuple):
    """What a ``JointNetwork`` returns.

    ``logits`` (n, classes), ``images`` (n, c, h, w), and for each map between two blocks what the decoder and what the encoder makes of
    it, both (n, c', h', w').
    """

    logits: Tensor
    images: Tensor
    maps: tuple[tuple[Tensor, Tensor], ...]


class JointNetwork(nn.Module):
    """A ``ConvNet`` and a decoder on the same encoder, made of an autoencoder whose weights they begin with.

    Parameters
    ----------
    autoencoder
        Gives encoder and decoder; it is copied, not shared.
    classes, hidden, dropout
        As in ``ConvNet``.
    """

    def __init__(
        self, autoencoder: ConvAutoEncoder, *, classes: int = 10, hidden: Sequence[int] = (), dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.network = ConvNet.from_encoder(autoencoder, classes=classes, hidden=hidden, dropout=dropout)
        self.decoder = copy.deepcopy(autoencoder.decoder)

    def forward(self, images: Tensor) -> JointOutput:
        """Classify and reconstruct images (n, c, h, w) in [-1, 1]."""
        encoder, maps, switches = self.network.encoder, [images], []
        for number in range(len(encoder.convolutions)):
            code, switch = encoder.block(number, maps[-1], places=True)
            maps.append(code)
            switches.append(switch)
        logits = self.network.head(maps[-1])
        rebuilt, between = maps[-1], []
        for number in reversed(range(len(switches))):
            rebuilt = self.decoder.block(
                number, rebuilt, switches[number], own=type(encoder.activation) is type(self.decoder.activation)
            )
            if number:
                between.append((rebuilt, maps[number]))
        return JointOutput(logits, rebuilt, tuple(between))
