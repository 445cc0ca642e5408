"""The strong network as the encoder of an autoencoder."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlabeled.networks.strong import Norm, StrongNet


class StrongAutoencoder(nn.Module):
    """Reconstruct images from the last map of a ``StrongNet``; no switch or path goes round it.

    The decoder has a block for each of the encoder's: the map is enlarged by repeating its numbers, then convolution, normalisation,
    ReLU; a last convolution and tanh give pixels in [-1, 1]. The encoder's parameters are ``encoder...``, its head unused.
    """

    def __init__(self, encoder: StrongNet) -> None:
        super().__init__()
        self.encoder = encoder
        widths = (*encoder.widths[::-1], encoder.widths[0])
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(wide, narrow, 3, padding=1, bias=False), Norm(narrow), nn.ReLU())
            for wide, narrow in pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], encoder.input_size[0], 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return reconstructions (n, c, h, w) of images (n, c, h, w) in [-1, 1]."""
        x = self.encoder.maps(images)
        height, width = self.encoder.input_size[1:]
        for number, block in enumerate(self.blocks, start=1):
            halvings = len(self.blocks) - number
            x = block(F.interpolate(x, size=(-(-height >> halvings), -(-width >> halvings)), mode="nearest"))
        return torch.tanh(self.last(x))
