"""Images to features for the classical models: pixels, codes of an encoder, scores on principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
import torch
from numpy.typing import NDArray

from unlabeled.errors import DataError
from unlabeled.images import Images
from unlabeled.images.batches import batches
from unlabeled.networks.models import Encoder
from unlabeled.training.runtime import Runtime, evaluating

_BATCH = 500
# The maps of so few images stay in the processor's cache.
_ENCODED = 128
# A covariance matrix of more pixels than this takes gigabytes; then the components of a sample are found instead.
_MOST_PIXELS = 8192
_SAMPLE = 4000


def pixel_features(images: Images) -> NDArray[np.float32]:
    """Return pixels in [-1, 1] as float32 (n, c * h * w)."""
    features = np.empty((len(images), int(np.prod(images.shape))), dtype=np.float32)
    for rows in batches(len(images), _BATCH):
        features[rows[0] : rows[-1] + 1] = _flat(images, rows)
    return features


def encode(encoder: Encoder, images: Images, *, runtime: Runtime | None = None) -> NDArray[np.float32]:
    """Return codes as float32 (n, code length); the encoder is neither trained nor changed."""
    runtime = runtime or Runtime.of()
    encoder.to(runtime.device)
    features = np.empty((len(images), encoder.geometry.code_length), dtype=np.float32)
    # The same memory as maps: a code is copied once, into its place, and comes into its order on the way.
    maps = torch.from_numpy(features).view(-1, *encoder.geometry.code_size)
    with evaluating(encoder), runtime.autocast():
        for rows in batches(len(images), _ENCODED):
            code = encoder(runtime.load(images.take(rows)), places=True).code
            maps[rows[0] : rows[-1] + 1].copy_(code)
    return features


def pool_quadrants(codes: NDArray[np.float32], size: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return the mean of each channel over each quadrant of its map, (n, 4 * channels).

    The pooling of Coates, Ng and Lee ("An Analysis of Single-Layer Networks in Unsupervised Feature Learning", 2011), with means
    in place of sums. An odd map's middle row or column belongs to both sides; a side of 1 is not divided.

    Parameters
    ----------
    codes
        (n, channels * height * width), as ``encode`` returns them.
    size
        (channels, height, width) of a code.
    """
    maps = codes.reshape(len(codes), *size)
    halves = [(slice(0, -(-n // 2)), slice(n // 2, n)) if n > 1 else (slice(0, 1),) for n in size[1:]]
    pooled = [maps[:, :, rows, columns].mean(axis=(2, 3)) for rows in halves[0] for columns in halves[1]]
    return np.concatenate(pooled, axis=1, dtype=np.float32)


@dataclass(frozen=True)
class PrincipalComponents:
    """Mean (d,), components (k, d) by falling variance, and the share of the variance that they hold."""

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    explained: float

    def rebuild(self, images: Images, length: int) -> NDArray[np.float32]:
        """Return images rebuilt from their first components, float32 (n, c, h, w)."""
        components = self.components[:length]
        centred = _flat(images, np.arange(len(images))) - self.mean
        rebuilt: NDArray[np.float32] = (centred @ components.T @ components + self.mean).astype(np.float32)
        return rebuilt.reshape(len(images), *images.shape)

    def scores(self, images: Images) -> NDArray[np.float32]:
        """Return the images' coordinates on the components, float32 (n, k)."""
        features = np.empty((len(images), len(self.components)), dtype=np.float32)
        for rows in batches(len(images), _BATCH):
            features[rows[0] : rows[-1] + 1] = (_flat(images, rows) - self.mean) @ self.components.T
        return features


def fit_components(images: Images, length: int) -> PrincipalComponents:
    """Find the principal components of the images' pixels in [-1, 1], without holding the images in memory.

    Parameters
    ----------
    images
        At least two.
    length
        How many components; the number of pixels, and of images less one, is the most there can be.
    """
    if len(images) < 2:
        raise DataError(f"principal components need 2 images or more, not {len(images)}")
    pixels = int(np.prod(images.shape))
    length = min(length, pixels, len(images) - 1)
    if pixels > _MOST_PIXELS:
        return _components_of_sample(images, length)
    # Deviations from the mean of a few images: close to the mean of all, so that the squares keep their digits.
    shift = _flat(images, np.arange(min(len(images), _BATCH))).mean(axis=0)
    total, squares = np.zeros(pixels), np.zeros((pixels, pixels))
    for rows in batches(len(images), 4 * _BATCH):
        centred = _flat(images, rows) - shift
        total += centred.sum(axis=0, dtype=np.float64)
        squares += centred.T @ centred
    mean = total / len(images)
    covariance = squares / len(images) - np.outer(mean, mean)
    # All of them by divide and conquer take less than half the time of the leading ones alone.
    variances, vectors = scipy.linalg.eigh(covariance, driver="evd", overwrite_a=True)
    length, explained = _keep(variances, length)
    components = np.ascontiguousarray(vectors[:, ::-1].T[:length].astype(np.float32))
    return PrincipalComponents((mean + shift).astype(np.float32), components, explained)


def _components_of_sample(images: Images, length: int) -> PrincipalComponents:
    """Find the components of a fixed random sample, through the products of its images with each other."""
    rows = np.sort(np.random.default_rng(0).permutation(len(images))[:_SAMPLE])
    sample = _flat(images, rows)
    mean = sample.mean(axis=0)
    sample -= mean
    variances, vectors = scipy.linalg.eigh((sample @ sample.T).astype(np.float64), driver="evd")
    length, explained = _keep(variances, min(length, len(rows) - 1))
    leading = vectors[:, ::-1][:, :length] / np.sqrt(np.maximum(variances[::-1][:length], 1e-12))
    return PrincipalComponents(mean, leading.astype(np.float32).T @ sample, explained)


def _keep(variances: NDArray[np.float64], length: int) -> tuple[int, float]:
    """Return how many of the components, by rising variance, are kept, and the share of the variance they hold."""
    # What lies below the precision of the pixels is noise of the arithmetic, not a component of the images.
    length = max(1, min(length, int((variances > 1e-7 * variances[-1]).sum())))
    return length, float(variances[-length:].sum() / variances.sum()) if variances.sum() > 0 else 1.0


def _flat(images: Images, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    return images.take(rows).reshape(len(rows), -1).astype(np.float32) / np.float32(127.5) - np.float32(1)
