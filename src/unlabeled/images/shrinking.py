"""Shrinking of images that are all of one size: whole batches, antialiased."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from unlabeled.images.fitting import PAD, Wanted


def shrink(images: NDArray[np.uint8], wanted: Wanted) -> NDArray[np.uint8]:
    """Return images uint8 (n, c, h, w) in the wanted size, by the triangle filter that widens with the scale.

    It is the filter that Pillow calls BILINEAR, and gives the same bytes.
    """
    height, width = images.shape[2:]
    if (height, width) == wanted.size:
        return images
    high, wide = wanted.kept((height, width))
    top, left = (height - high) // 2, (width - wide) // 2
    middle = images[:, :, top : top + high, left : left + wide]
    # Reading from a read-only buffer, PyTorch warns that it could be written to.
    batch = torch.from_numpy(middle if middle.flags.writeable else middle.copy())
    inner = wanted.filled((height, width))
    small = F.interpolate(batch, size=inner, mode="bilinear", align_corners=False, antialias=True).numpy()
    if inner == wanted.size:
        return small
    padded = np.full((*images.shape[:2], *wanted.size), PAD, dtype=np.uint8)
    top, left = ((size - part) // 2 for size, part in zip(wanted.size, inner, strict=True))
    padded[:, :, top : top + inner[0], left : left + inner[1]] = small
    return padded
