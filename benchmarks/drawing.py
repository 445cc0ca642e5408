"""Images to measure with: smooth random fields, of which a class's own field is a part. Drawn in a second, always the same."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from unlabeled.images import Images

CLASSES = 10


def draw_images(number: int, side: int = 32, seed: int = 0) -> Images:
    """Return images (number, 3, side, side) with classes; a part of each is its class's field."""
    generator = torch.Generator().manual_seed(seed)
    fields = _smooth(torch.randn(CLASSES, 3, 5, 5, generator=torch.Generator().manual_seed(12345)), side)
    labels = torch.randint(0, CLASSES, (number,), generator=generator)
    pixels = np.empty((number, 3, side, side), dtype=np.uint8)
    for start in range(0, number, 2000):
        part = labels[start : start + 2000]
        own = _smooth(torch.randn(len(part), 3, 7, 7, generator=generator), side)
        noise = torch.randn(len(part), 3, side, side, generator=generator)
        image = 128 + 22 * fields[part] + 45 * own + 9 * noise
        pixels[start : start + len(part)] = image.clamp_(0, 255).to(torch.uint8).numpy()
    return Images(pixels, labels.numpy())


def _smooth(grid: torch.Tensor, side: int) -> torch.Tensor:
    return F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
