"""Encoders made of filters that were learned on patches, applied to whole images as convolutions and pooled to a small map."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from unlabeled.errors import DataError
from unlabeled.images import Images
from unlabeled.images.batches import batches
from unlabeled.images.patches import as_numbers, whitening
from unlabeled.networks.models import Encoding
from unlabeled.networks.sparse import SparseAutoencoder
from unlabeled.training.runtime import Runtime, evaluating

# Maps at stride 1 are large: so few images keep them near the processor.
_BATCH = 50

# Coates, Ng and Lee 2011, for pixels 0..255: 10 to the variance of a patch, 0.1 to the variances before whitening.
_CONTRAST_OFFSET = 10 / 127.5**2
_WHITENING_OFFSET = 0.1


class PatchEncoder(nn.Module):
    """Filters on every patch of an image: clip, convolution, activation; then further layers as 1x1 convolutions.

    Parameters
    ----------
    weights
        float (filters, c, side, side).
    offsets
        float (filters,).
    stride
        Pixels between two patches.
    activation
        "sigmoid" or "relu".
    low, high
        Bounds (c, 1, 1) to which pixels are clipped first; left out, they are not.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self, weights: Tensor, offsets: Tensor, *, stride: int, activation: str = "relu",
        low: Tensor | None = None, high: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.convolution = _convolution(weights, offsets, stride)
        self.further = nn.ModuleList()
        self.activation = {"sigmoid": torch.sigmoid, "relu": torch.relu}[activation]
        channels = weights.shape[1]
        self.register_buffer("low", torch.full((channels, 1, 1), -torch.inf) if low is None else low)
        self.register_buffer("high", torch.full((channels, 1, 1), torch.inf) if high is None else high)

    @classmethod
    def of(cls, model: SparseAutoencoder, *, stride: int) -> PatchEncoder:
        """Apply a sparse autoencoder's code to every patch; its preparation is folded into weights and offsets.

        A first layer sees W (M x + m) + b, which is (W M) x + (W m + b): a filter on the pixels themselves.
        """
        _, *others = model.encoding
        weights, offsets = folded(model)
        made = cls(
            weights, offsets, stride=stride, activation="sigmoid", low=model.low.clone(), high=model.high.clone()
        )
        for layer in others:
            made.further.append(_convolution(layer.weight.detach()[:, :, None, None], layer.bias.detach(), 1))
        return made

    def forward(self, images: Tensor) -> Tensor:
        """Return maps (n, filters, h', w') of images (n, c, h, w) in [-1, 1]."""
        x = self.activation(self.convolution(torch.minimum(torch.maximum(images, self.low), self.high)))
        for layer in self.further:
            x = self.activation(layer(x))
        return x


def folded(model: SparseAutoencoder) -> tuple[Tensor, Tensor]:
    """Return the first layer's filters (h, c, side, side) and offsets (h,) on pixels in [-1, 1], its preparation folded in."""
    layer = model.encoding[0]
    with torch.no_grad():
        weight, matrix = layer.weight.double(), model.matrix.double()
        weights = (weight @ matrix).view(-1, *model.shape)
        offsets = weight @ model.offset.double() + layer.bias.double()
    return weights.float(), offsets.float()


class TriangleEncoder(nn.Module):
    """Distances of every patch to centroids: f_k = max(0, mean of all distances less the distance to centroid k).

    Coates, Ng and Lee, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", 2011, with their patches: each less its
    mean and divided by its standard deviation, then whitened.

    Parameters
    ----------
    centroids
        float64 (k, d), of whitened patches.
    matrix, centre
        float64 (d, d) and (d,): a normalised patch x is whitened as matrix @ (x - centre).
    shape
        (c, side, side) of a patch.
    stride
        Pixels between two patches.
    """

    centroids: Tensor
    of_ones: Tensor
    of_centre: Tensor

    def __init__(
        self, centroids: NDArray[np.float64], matrix: NDArray[np.float64], centre: NDArray[np.float64], *,
        shape: tuple[int, int, int], stride: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.shape = shape
        self.register_buffer("centroids", torch.from_numpy(centroids).float()[:, :, None, None])
        weights = torch.from_numpy(matrix).float().view(-1, *shape)
        # Whitened patch = (M x - mean M 1) / spread - M centre: convolutions of the image, of its patches' means and of nothing.
        self.whitening = _convolution(weights, torch.zeros(len(matrix)), stride)
        self.register_buffer("of_ones", torch.from_numpy(matrix.sum(axis=1)).float()[:, None, None])
        self.register_buffer("of_centre", torch.from_numpy(matrix @ centre).float()[:, None, None])

    def whiten(self, images: Tensor) -> Tensor:
        """Return every patch of images (n, c, h, w) in [-1, 1], normalised and whitened: (n, d, h', w')."""
        stride = self.whitening.stride
        mean = F.avg_pool2d(images.mean(dim=1, keepdim=True), self.shape[1], stride)
        square = F.avg_pool2d(images.square().mean(dim=1, keepdim=True), self.shape[1], stride)
        spread = (square - mean.square()).clamp(min=0).add(_CONTRAST_OFFSET).sqrt()
        white: Tensor = (self.whitening(images) - mean * self.of_ones) / spread - self.of_centre
        return white

    def forward(self, images: Tensor) -> Tensor:
        """Return maps (n, k, h', w') of images (n, c, h, w) in [-1, 1]."""
        white = self.whiten(images)
        lengths = self.centroids.square().sum(dim=1).view(-1, 1, 1)
        squares = white.square().sum(dim=1, keepdim=True) - 2 * F.conv2d(white, self.centroids) + lengths
        distances = squares.clamp(min=0).sqrt()
        return (distances.mean(dim=1, keepdim=True) - distances).clamp(min=0)


def fit_centroids(patches: Images, count: int, *, stride: int, seed: int) -> TriangleEncoder:
    """Learn centroids of normalised, whitened patches by k-means.

    Raises
    ------
    DataError
        If there are fewer patches than centroids.
    """
    if len(patches) < count:
        raise DataError(f"{len(patches)} patches for {count} centroids; cut more with --studies.sparse.patches")
    from sklearn.cluster import MiniBatchKMeans

    flat = as_numbers(patches)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.sqrt(flat.var(axis=1, keepdims=True) + _CONTRAST_OFFSET)
    centre, matrix = whitening(flat, offset=_WHITENING_OFFSET)
    white = (flat - centre) @ matrix.T
    with threadpool_limits(1):
        clusters = MiniBatchKMeans(count, n_init=3, batch_size=2048, max_iter=200, random_state=seed).fit(white)
    return TriangleEncoder(clusters.cluster_centers_, matrix, centre, shape=patches.shape, stride=stride)


def pool_to_grid(maps: Tensor, side: int | None) -> Tensor:
    """Return the means over a grid of at most side x side parts of maps (n, c, h, w); None leaves the maps whole.

    Parts of a side that does not divide evenly share a row or column.
    """
    if side is None:
        return maps
    height, width = (min(side, n) for n in maps.shape[2:])
    return F.adaptive_avg_pool2d(maps, (height, width))


def map_features(
    encoder: nn.Module, images: Images, grid: int | None, *, runtime: Runtime | None = None
) -> NDArray[np.float32]:
    """Return an encoder's maps of all images, pooled to a grid and laid out flat: float32 (n, filters * cells)."""
    runtime = runtime or Runtime.of()
    encoder.to(runtime.device)
    features: NDArray[np.float32] | None = None
    with evaluating(encoder):
        for rows in batches(len(images), _BATCH):
            maps = encoder(runtime.load(images.take(rows)))
            part = pool_to_grid(maps.code if isinstance(maps, Encoding) else maps, grid).flatten(1)
            if features is None:
                features = np.empty((len(images), part.shape[1]), dtype=np.float32)
            features[rows[0] : rows[-1] + 1] = part.cpu().numpy()
    return features if features is not None else np.empty((0, 0), dtype=np.float32)


def _convolution(weights: Tensor, offsets: Tensor, stride: int) -> nn.Conv2d:
    """Make a convolution of given weights, which do not learn."""
    filters, channels, height, width = weights.shape
    made = nn.Conv2d(channels, filters, (height, width), stride)
    made.load_state_dict({"weight": weights, "bias": offsets})
    return made.requires_grad_(False)
