"""Hand-made filters: edges, lines and blur, in the form of a convolution's weights. Knows nothing of torch.

They are applied as networks apply theirs: F(i, j) = sum over k1, k2 of x[i + k1, j + k2] * G[k1, k2].
"""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

# Sobel and Feldman 1968 ("A 3x3 isotropic gradient operator"), across and its diagonal turn.
_SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
_DIAGONAL = np.array([[-2, -1, 0], [-1, 0, 1], [0, 1, 2]]) / 8
_LAPLACE = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]) / 8
_BLUR = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
# A line of one pixel's width, across and its diagonal turn.
_LINE = np.array([[-1, 2, -1], [-1, 2, -1], [-1, 2, -1]]) / 12
_SLASH = np.array([[-1, -1, 2], [-1, 2, -1], [2, -1, -1]]) / 12

BANK: tuple[tuple[str, NDArray[np.float64]], ...] = (
    *(("Sobel", np.rot90(_SOBEL, turn)) for turn in range(4)),
    *(("diagonal Sobel", np.rot90(_DIAGONAL, turn)) for turn in range(4)),
    ("blur", _BLUR),
    ("blur", -_BLUR),
    ("Laplace", _LAPLACE),
    ("Laplace", -_LAPLACE),
    *(("line", np.rot90(_LINE, turn)) for turn in range(2)),
    *(("diagonal line", np.rot90(_SLASH, turn)) for turn in range(2)),
)


def hand_made_filters(count: int, channels: int, kernel: tuple[int, int]) -> NDArray[np.float32]:
    """Return weights (count, channels, height, width) of the first filters of a fixed list.

    The list is the bank on the mean of the channels, then on each channel alone, and from the start again. A filter stands in the
    middle of a larger kernel; of a smaller one it fills what there is, less its mean, so that it still answers to changes only.
    """
    looks = [np.full(channels, 1 / channels)]
    looks += [np.eye(channels)[channel] for channel in range(channels)] if channels > 1 else []
    filters = ((look, image) for look in looks for _, image in BANK)
    chosen = [look[:, None, None] * _resized(image, kernel) for look, image in islice(cycle(list(filters)), count)]
    return np.stack(chosen).astype(np.float32)


def _resized(image: NDArray[np.float64], kernel: tuple[int, int]) -> NDArray[np.float64]:
    """Put a 3x3 filter into a kernel of another size."""
    height, width = min(3, kernel[0]), min(3, kernel[1])
    part = image[:height, :width]
    if part.size < image.size and abs(image.sum()) < 1e-9:
        part = part - part.mean()
    placed = np.zeros(kernel)
    top, left = (kernel[0] - height) // 2, (kernel[1] - width) // 2
    placed[top : top + height, left : left + width] = part
    return placed
