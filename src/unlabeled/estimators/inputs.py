"""What scikit-learn calls X, as images: stacks of any layout, or rows of numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from unlabeled.images import Images

_LEAST_SIDE = 8
_CHANNELS = (1, 3)


class ImageInput(BaseEstimator):
    """Takes images as (n, c, h, w), (n, h, w, c), (n, h, w), or rows (n, c * h * w) with ``image_shape`` = (c, h, w).

    Bytes are taken as they are. Other numbers are brought to 8 bits: of [0, 1] where they lie there, and else of the range that ``fit``
    has seen. Rows without an ``image_shape`` are laid out in a grey square of 8x8 or more, filled up with zeros.
    """

    image_shape: tuple[int, int, int] | None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        return tags

    def _images(self, X: Any, *, reset: bool) -> Images:  # noqa: N803 - scikit-learn's name
        """Return X as images, and remember its layout where it is the one that is fitted."""
        X = validate_data(self, X, reset=reset, allow_nd=True, dtype="numeric", ensure_min_samples=2 if reset else 1)  # noqa: N806
        return self._as_images(X, reset=reset)

    def _as_images(self, X: NDArray[Any], *, reset: bool, labels: NDArray[np.int64] | None = None) -> Images:  # noqa: N803
        stack = self._stack(X)
        if reset:
            self.input_size_ = stack.shape[1:]
            self.range_ = _range(stack)
        elif stack.shape[1:] != self.input_size_:
            raise ValueError(
                f"images have shape {stack.shape[1:]}; fit has seen {self.input_size_}, (channels, height, width)"
            )
        return Images(self._bytes(stack), labels)

    def _stack(self, X: NDArray[Any]) -> NDArray[Any]:  # noqa: N803
        """Return X as (n, c, h, w)."""
        if X.ndim == 4:
            if X.shape[1] in _CHANNELS:
                return X
            if X.shape[3] in _CHANNELS:
                return np.ascontiguousarray(X.transpose(0, 3, 1, 2))
            raise ValueError(f"X has shape {X.shape}; images are (n, c, h, w) or (n, h, w, c) of 1 or 3 channels")
        if X.ndim == 3:
            return X[:, None]
        if X.ndim != 2:
            raise ValueError(f"X has {X.ndim} dimensions; give images (n, c, h, w), (n, h, w, c), (n, h, w) or rows")
        if self.image_shape is not None:
            if math.prod(self.image_shape) != X.shape[1]:
                raise ValueError(
                    f"rows have {X.shape[1]} numbers, and image_shape={tuple(self.image_shape)} has {math.prod(self.image_shape)}"
                )
            return X.reshape(len(X), *self.image_shape)
        side = max(_LEAST_SIDE, math.ceil(math.sqrt(X.shape[1])))
        square = np.zeros((len(X), side * side), dtype=X.dtype)
        square[:, : X.shape[1]] = X
        return square.reshape(len(X), 1, side, side)

    def _bytes(self, stack: NDArray[Any]) -> NDArray[np.uint8]:
        if stack.dtype == np.uint8:
            return np.ascontiguousarray(stack)
        low, high = self.range_
        scaled = (stack.astype(np.float64) - low) * (255 / (high - low))
        return np.rint(scaled.clip(0, 255)).astype(np.uint8)


def _range(stack: NDArray[Any]) -> tuple[float, float]:
    """Return the numbers that become 0 and 255."""
    low, high = float(stack.min()), float(stack.max())
    if stack.dtype.kind == "f" and low >= 0 and high <= 1:
        return 0.0, 1.0
    return (low, high) if high > low else (low, low + 1)
