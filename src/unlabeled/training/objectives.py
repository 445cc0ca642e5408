"""What a model is trained for: a loss to lower, and the metric that people read.

An objective is called with the model, a batch of images (n, c, h, w) in [-1, 1] and their classes (n,), or None, and
returns the mean loss and the mean metric over the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlabeled.errors import DataError


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


@runtime_checkable
class Guided(Objective, Protocol):
    """An objective that can be told what the unlabeled images of a batch show."""

    def guided(self, model: nn.Module, images: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return (loss, metric) of images of which the last len(targets) have probabilities (m, classes) in place of labels."""


@dataclass(frozen=True)
class Reconstruction:
    """Reconstruct the images: mean over all pixels of the squared ("mse"), absolute ("mae") or smooth error.

    "smooth-l1" is half the squared error below 1 and the absolute error less a half above (Girshick 2015). The metric
    is always the mean squared error on [-1, 1].

    While the model trains, it can be shown disturbed images and asked for the clean ones (Vincent et al., "Stacked Denoising
    Autoencoders", 2010): "gaussian" adds noise of standard deviation ``level``, "masking" makes the share ``level`` of pixels grey.
    """

    loss: Literal["mse", "mae", "smooth-l1"] = "mse"
    noise: Literal["none", "gaussian", "masking"] = "none"
    level: float = 0.0
    metric: ClassVar[str] = "mse"
    needs_labels: ClassVar[bool] = False

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compare ``model(images)`` with the images."""
        outputs = model(self._disturb(images) if model.training else images)
        if self.loss == "mse":
            loss = F.mse_loss(outputs, images)
            return loss, loss.detach()
        measure = F.l1_loss if self.loss == "mae" else F.smooth_l1_loss
        return measure(outputs, images), F.mse_loss(outputs.detach(), images)

    def _disturb(self, images: Tensor) -> Tensor:
        if self.noise == "gaussian":
            return images + self.level * torch.randn_like(images)
        if self.noise == "masking":
            # All channels of a pixel together: a single one could be told from the others.
            return images * (torch.rand_like(images[:, :1]) >= self.level)
        return images


@dataclass(frozen=True)
class Rotations:
    """Tell by how many quarters an image was turned, which needs no labels.

    After Gidaris et al., "Unsupervised Representation Learning by Predicting Image Rotations" (2018). Each training image is turned by
    a number of quarters drawn for it; else the first by none, the second by one, and so on. Images that are not square are turned by
    halves, and the model tells two classes apart in place of four. Cross-entropy in nats.
    """

    metric: ClassVar[str] = "accuracy"
    needs_labels: ClassVar[bool] = False

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Turn images, and compare ``model(images)`` with how they were turned."""
        ways, n = turns_of(images.shape[1:]), len(images)
        drawn = torch.randint(ways, (n,)) if model.training else torch.arange(n) % ways
        turned = images.clone()
        for turn in range(1, ways):
            rows = torch.nonzero(drawn == turn).squeeze(1).to(images.device)
            turned[rows] = torch.rot90(images[rows], turn * (4 // ways), (2, 3))
        logits, turns = model(turned), drawn.to(images.device)
        return _cross_entropy(logits, turns), (logits.detach().argmax(1) == turns).float().mean()


def turns_of(shape: Sequence[int]) -> int:
    """Return in how many ways images (channels, height, width) can be turned: 4, or 2 if they are not square."""
    return 4 if shape[1] == shape[2] else 2


@dataclass(frozen=True)
class LayerReconstruction:
    """Reconstruct what one block of a ``ConvAutoEncoder`` takes: of the first the images, of others the code of the block below.

    The blocks below are passed without gradients. Loss and metric are the mean squared error of that map.
    """

    layer: int
    metric: ClassVar[str] = "mse"
    needs_labels: ClassVar[bool] = False

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Take images up to the block, through it and back."""
        encoder: Any = model.encoder
        decoder: Any = model.decoder
        taken = images
        with torch.no_grad():
            for below in range(self.layer):
                taken, _ = encoder.block(below, taken, places=True)
        loss = F.mse_loss(decoder.block(self.layer, *encoder.block(self.layer, taken, places=True)), taken)
        return loss, loss.detach()


@dataclass(frozen=True)
class Classification:
    """Predict the class: cross-entropy of the logits in nats; the metric is the share of right answers.

    While the model trains, the share ``smoothing`` of each label is spread evenly over all classes (Szegedy et al., "Rethinking
    the Inception Architecture", 2016).
    """

    smoothing: float = 0.0
    metric: ClassVar[str] = "accuracy"
    needs_labels: ClassVar[bool] = True

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compare ``model(images)`` with the classes."""
        if labels is None:
            raise ValueError("classification needs labels; these images have none")
        logits = model(images)
        loss = _cross_entropy(logits, labels, self.smoothing if model.training else 0.0)
        return loss, (logits.detach().argmax(1) == labels).float().mean()


@dataclass(frozen=True)
class SelfTraining:
    """Learn from labels, and from probabilities that stand for the labels of unlabeled images.

    Loss: the mean over all images of cross-entropies, those of the unlabeled images counted ``weight`` times in sum and number
    (pseudo-labels: Lee 2013; soft ones with a disturbed student: Xie et al., "Self-training with Noisy Student", 2020). Evaluated,
    it is the cross-entropy of labels.

    Parameters
    ----------
    smoothing
        Share of each label that is spread evenly over all classes.
    weight
        What an unlabeled image counts, where a labeled one counts 1.
    threshold
        Largest probability of a target below which it counts 0, in sum and not in number (Sohn et al., "FixMatch", 2020).
    temperature
        Targets are raised to the power of one over it and scaled to the sum that they had: below 1 they are sharpened.
    mixing
        Unlabeled images and their targets are mixed in pairs, by a share drawn for each from a beta distribution of this parameter
        (Verma et al., "Interpolation Consistency Training", 2019); 0 mixes nothing.
    """

    smoothing: float = 0.0
    weight: float = 1.0
    threshold: float = 0.0
    temperature: float = 1.0
    mixing: float = 0.0
    metric: ClassVar[str] = "accuracy"
    needs_labels: ClassVar[bool] = True

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compare ``model(images)`` with the classes alone."""
        return Classification(self.smoothing)(model, images, labels)

    def guided(self, model: nn.Module, images: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Compare logits with classes, and those of the last images with their targets."""
        known = len(images) - len(targets)
        sure = targets.amax(1, keepdim=True) >= self.threshold
        targets = self._sharpened(targets) * sure
        if self.mixing:
            images, targets = self._mixed(images, targets, known)
        logits = model(images)
        labels = labels[:known]
        of_labels = _cross_entropy(logits[:known], labels, self.smoothing)
        of_targets = F.cross_entropy(logits[known:].float(), targets)
        total = known + self.weight * len(targets)
        loss = (known * of_labels + self.weight * len(targets) * of_targets) / total
        return loss, (logits[:known].detach().argmax(1) == labels).float().mean()

    def _sharpened(self, targets: Tensor) -> Tensor:
        if self.temperature == 1:
            return targets
        sharp = targets ** (1 / self.temperature)
        return sharp * (targets.sum(1, keepdim=True) / sharp.sum(1, keepdim=True).clamp(min=1e-12))

    def _mixed(self, images: Tensor, targets: Tensor, known: int) -> tuple[Tensor, Tensor]:
        n = len(targets)
        shares = torch.distributions.Beta(self.mixing, self.mixing).sample((n, 1)).to(targets)
        partners = torch.randperm(n, device=targets.device)
        others, of = images[known:], shares[:, :, None, None]
        return torch.cat([images[:known], of * others + (1 - of) * others[partners]]), (
            shares * targets + (1 - shares) * targets[partners]
        )


@dataclass(frozen=True)
class JointClassification:
    """Classify labeled images, and reconstruct them and unlabeled ones, at once; for a ``JointNetwork``.

    Loss: cross-entropy of the labeled images + ``reconstruction`` * mean squared error of all images + ``between`` * the mean
    squared errors of the maps between the blocks, added up: the objective of what-where autoencoders (Zhao et al., "Stacked
    What-Where Auto-encoders", 2015). Images of class -1 are unlabeled. Evaluated, it is the cross-entropy alone.
    """

    reconstruction: float = 1.0
    between: float = 0.0
    metric: ClassVar[str] = "accuracy"
    needs_labels: ClassVar[bool] = True

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compare logits with classes, and reconstructions with images and maps."""
        if labels is None:
            raise ValueError("classification needs labels; these images have none")
        if not model.training:
            network: Any = model.network
            return Classification()(network, images, labels)
        outputs = model(images)
        known = labels >= 0
        logits, classes = outputs.logits[known], labels[known]
        loss = _cross_entropy(logits, classes)
        loss = loss + self.reconstruction * F.mse_loss(outputs.images, images)
        for rebuilt, seen in outputs.maps if self.between else ():
            loss = loss + self.between * F.mse_loss(rebuilt, seen)
        return loss, (logits.detach().argmax(1) == classes).float().mean()


def _cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    try:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    except IndexError:
        raise DataError(
            f"the images have a class {int(labels.max())}, and the model tells {logits.shape[1]} apart, 0 to {logits.shape[1] - 1}; "
            f"make it with classes={int(labels.max()) + 1} or more"
        ) from None
