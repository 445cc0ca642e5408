"""Classical models as modules of PyTorch, so that they are kept, asked and exported like networks: features, and a head on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlabeled.networks.models import Encoder

# The logit of a class that the training did not show: its probability is 0.
_NEVER = -1e4


class ClassicalNet(nn.Module):
    """A model that classifies features of images; it is made with the sizes alone, and its numbers are loaded or taken over."""

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.head = features, head

    def codes(self, images: Tensor) -> Tensor:
        """Return the features (n, d) of images (n, c, h, w) in [-1, 1]."""
        features: Tensor = self.features(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        logits: Tensor = self.head(self.codes(images))
        return logits

    def is_whole(self) -> bool:
        """Tell whether any image can be walked through its trees, if it has some; weights of strangers need not be such."""
        return not isinstance(self.head, TreesHead) or self.head.is_whole()


class Pixels(nn.Module):
    """The pixels themselves."""

    def forward(self, images: Tensor) -> Tensor:
        """Return them as (n, c * h * w)."""
        return images.flatten(1)


class Components(nn.Module):
    """Coordinates on ``length`` principal components of images with so many ``pixels``."""

    def __init__(self, pixels: int, length: int) -> None:
        super().__init__()
        self.mean, self.components = nn.Buffer(torch.zeros(pixels)), nn.Buffer(torch.zeros(length, pixels))

    def forward(self, images: Tensor) -> Tensor:
        """Return the coordinates (n, length)."""
        return (images.flatten(1) - self.mean) @ self.components.T


class Codes(nn.Module):
    """What an encoder makes of images."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """Return codes (n, code length)."""
        return self.encoder(images, places=True).code.flatten(1)


class LinearHead(nn.Module):
    """Weights on scaled features."""

    def __init__(self, length: int, classes: int) -> None:
        super().__init__()
        self.length = length
        self.mean, self.scale = nn.Buffer(torch.zeros(length)), nn.Buffer(torch.ones(length))
        self.weight, self.bias = nn.Buffer(torch.zeros(classes, length)), nn.Buffer(torch.full((classes,), _NEVER))

    def take(
        self,
        weights: NDArray[Any],
        offsets: NDArray[Any],
        seen: NDArray[np.int64],
        mean: NDArray[Any],
        scale: NDArray[Any],
    ) -> None:
        """Take over weights (seen classes, d) and offsets of scaled features."""
        self.mean.copy_(torch.as_tensor(mean))
        self.scale.copy_(torch.as_tensor(scale))
        self.weight[seen] = torch.as_tensor(weights, dtype=torch.float32)
        self.bias[seen] = torch.as_tensor(offsets, dtype=torch.float32)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        return ((features - self.mean) / self.scale) @ self.weight.T + self.bias


@dataclass(frozen=True)
class TreesShape:
    """How many trees, nodes and leaves of all of them there are, and how many steps the deepest takes."""

    trees: int
    nodes: int
    leaves: int
    depth: int


class TreesHead(nn.Module):
    """An ensemble of trees, and one more vote for the classes' shares in training, so that no probability is zero.

    All nodes stand in one list. Every image walks down all trees at once, ``depth`` steps; a leaf is its own child (the traversal of
    Nakandala et al., "A Tensor Compiler for Unified Machine Learning Prediction Serving", 2020).
    """

    def __init__(self, shape: TreesShape, length: int, classes: int) -> None:
        super().__init__()
        self.shape, self.length = shape, length
        trees, nodes, leaves = shape.trees, shape.nodes, shape.leaves
        self.roots = nn.Buffer(torch.zeros(trees, dtype=torch.int32))
        self.feature = nn.Buffer(torch.zeros(nodes, dtype=torch.int32))
        self.threshold = nn.Buffer(torch.zeros(nodes))
        self.below = nn.Buffer(torch.zeros(nodes, 2, dtype=torch.int32))
        self.leaf = nn.Buffer(torch.zeros(nodes, dtype=torch.int32))
        self.votes, self.prior = nn.Buffer(torch.zeros(leaves, classes)), nn.Buffer(torch.zeros(classes))

    @classmethod
    def of(cls, forest: Any, prior: NDArray[np.float64], length: int) -> TreesHead:
        """Take over scikit-learn's forest, fitted on so many features and on classes by their numbers, and the classes' shares."""
        trees = [one.tree_ for one in forest.estimators_]
        first = np.cumsum([0] + [tree.node_count for tree in trees])
        inner = np.concatenate([tree.children_left >= 0 for tree in trees])
        own = np.arange(first[-1])
        left, right = (
            np.where(
                inner,
                np.concatenate([getattr(tree, name) + start for tree, start in zip(trees, first[:-1], strict=True)]),
                own,
            )
            for name in ("children_left", "children_right")
        )
        votes = np.zeros((int((~inner).sum()), len(prior)), dtype=np.float32)
        counts = np.concatenate([tree.value[:, 0] for tree in trees])[~inner]
        votes[:, forest.classes_] = counts / counts.sum(axis=1, keepdims=True)
        depth = max(one.get_depth() for one in forest.estimators_)
        head = cls(TreesShape(len(trees), len(own), len(votes), depth), length, len(prior))
        held = {
            "roots": first[:-1],
            "feature": np.where(inner, np.concatenate([tree.feature for tree in trees]), 0),
            "threshold": below(np.concatenate([tree.threshold for tree in trees])),
            "below": np.stack([left, right], axis=1),
            "leaf": np.where(inner, 0, np.cumsum(~inner) - 1),
            "votes": votes,
            "prior": prior,
        }
        for name, values in held.items():
            getattr(head, name).copy_(torch.as_tensor(values))
        return head

    def forward(self, features: Tensor) -> Tensor:
        """Return the logarithms of probabilities (n, classes)."""
        at = self.roots.long()[None].expand(features.shape[0], -1)
        for _ in range(self.shape.depth):
            right = features.gather(1, self.feature[at].long()) > self.threshold[at]
            both = self.below[at]
            at = torch.where(right, both[..., 1], both[..., 0]).long()
        votes = self.votes[self.leaf[at].long()].sum(1)
        return ((votes + self.prior) / (len(self.roots) + 1)).log()

    def is_whole(self) -> bool:
        """Tell whether no node points out of the lists."""
        nodes, leaves = self.shape.nodes, self.shape.leaves
        limits = ((self.roots, nodes), (self.below, nodes), (self.leaf, leaves), (self.feature, self.length))
        return all(bool(torch.logical_and(one >= 0, one < limit).all()) for one, limit in limits)


def below(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the greatest numbers of 32 bits that are not above: features of 32 bits lie on the same side of both."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
