"""What a model is trained for: a loss to lower, and the metric that people read.

An objective is called with the model, a batch of images (n, c, h, w) in [-1, 1] and their classes (n,), or None, and
returns the mean loss and the mean metric over the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch.nn.functional as F
from torch import Tensor, nn


class Objective(Protocol):
    """A task for ``fit``."""

    @property
    def metric(self) -> str:
        """The name of the second number."""

    @property
    def needs_labels(self) -> bool:
        """Whether the images must have classes."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return (loss, metric), each the mean over the batch as a scalar tensor."""


@dataclass(frozen=True)
class Reconstruction:
    """Reconstruct the images: mean over all pixels of the squared ("mse"), absolute ("mae") or smooth error.

    "smooth-l1" is half the squared error below 1 and the absolute error less a half above (Girshick 2015). The metric
    is always the mean squared error on [-1, 1].
    """

    loss: Literal["mse", "mae", "smooth-l1"] = "mse"
    metric: ClassVar[str] = "mse"
    needs_labels: ClassVar[bool] = False

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compare ``model(images)`` with the images."""
        outputs = model(images)
        if self.loss == "mse":
            loss = F.mse_loss(outputs, images)
            return loss, loss.detach()
        measure = F.l1_loss if self.loss == "mae" else F.smooth_l1_loss
        return measure(outputs, images), F.mse_loss(outputs.detach(), images)


@dataclass(frozen=True)
class Classification:
    """Predict the class: cross-entropy of the logits in nats; the metric is the share of right answers."""

    metric: ClassVar[str] = "accuracy"
    needs_labels: ClassVar[bool] = True

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compare ``model(images)`` with the classes."""
        if labels is None:
            raise ValueError("classification needs labels; these images have none")
        logits = model(images)
        return F.cross_entropy(logits, labels), (logits.detach().argmax(1) == labels).float().mean()
