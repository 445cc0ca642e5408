"""The points of study 5: fine-tuning at numbers of labels and of unlabeled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from unlabeled.config import AutoencoderConfig, EncoderConfig, NetworkConfig
from unlabeled.errors import DataError
from unlabeled.experiments.specs import Learned
from unlabeled.experiments.tasks import AutoencoderTask, NetworkTask, Supervised, Way
from unlabeled.records import ArmKey, Comparison, Contrast, ContrastResult, Row
from unlabeled.studies.study import compared, repetitions

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

WAYS: tuple[Way, ...] = ("plain", "slow", "gradual", "frozen")
# With fewer labels, the ways that are asked for at every point.
CURVE: tuple[Way, ...] = ("plain", "frozen")
# With all labels, what else fine-tuning is held against: an autoencoder of the labeled images alone, and random weights as large.
TWIN = ArmKey("autoencoder", "network", way="labeled")
SCALED = ArmKey("random", "network", way="scaled")


def tuned(way: str, labels: int | None = None, images: int | None = None) -> ArmKey:
    """Return the arm that learns in a way from an autoencoder's weights."""
    return ArmKey("autoencoder", "network", way=way, labels=labels, images=images)


def from_random(way: str, labels: int | None = None) -> ArmKey:
    """Return the arm that learns in that way from random weights."""
    return ArmKey("random", "network", way=way, labels=labels)


def is_gain(contrast: ContrastResult) -> bool:
    """Tell whether two arms differ in nothing but the autoencoder's weights: that alone is what the autoencoder is worth."""
    return contrast.control == replace(contrast.treated, source="random", images=None)


@dataclass(frozen=True)
class LabelsPoint:
    """All ways at a number of labels a class (None: all of them); ``train`` and ``valid`` images of a fold."""

    labels: int | None
    train: int
    valid: int
    comparison: Comparison


@dataclass(frozen=True)
class ImagesPoint:
    """Fine-tuning less scratch, all labels in use, from an autoencoder of so many images."""

    images: int
    comparison: Comparison

    @property
    def contrast(self) -> ContrastResult:
        """The only comparison of the point."""
        return self.comparison.contrasts[0]


class Finetuning:
    """The points of the two curves that these images have, and their runs."""

    def __init__(self, lab: Lab, encoder: EncoderConfig, config: AutoencoderConfig) -> None:
        grid = lab.config.studies.finetune
        self.lab, self.encoder, self.config = lab, encoder, config
        fold = lab.folds.folds[0]
        smallest = np.bincount(lab.splits.labeled.classes[np.concatenate([fold.train, fold.valid])]).min()
        possible = [n for n in sorted(set(grid.labels)) if n < smallest and n >= 2]
        self.labels = [n for n in possible if self._has(n)]
        self.images = [n for n in sorted(set(grid.unlabeled)) if n < len(lab.training_images())]

    def _has(self, per_class: int) -> bool:
        try:
            self.lab.folds_of(per_class)
        except DataError:
            return False
        return True

    def learned(self, seed: int, images: int | None = None) -> Learned:
        """Return the autoencoder that is trained on so many images, for as many steps as on all."""
        training = self.config.training
        if images is not None:
            share = len(self.lab.training_images()) / images
            training = training.model_copy(update={"epochs": max(1, round(training.epochs * share))})
        return Learned(self.encoder, self.config.model_copy(update={"training": training}), seed, images)

    def autoencoders(self) -> list[AutoencoderTask]:
        """Return the trainings on all unlabeled images and on fewer."""
        return [
            AutoencoderTask(ArmKey("autoencoder", images=images), self.learned(seed, images))
            for seed in range(self.lab.config.seeds)
            for images in (None, *self.images)
        ]

    def tasks(self) -> Iterator[NetworkTask]:
        """Yield the networks of all points."""
        for seed, fold in repetitions(self.lab):
            for labels in (*self.labels, None):
                for way in WAYS if labels is None else CURVE:
                    # Each way from random weights too: what it does by itself is not the autoencoder's merit.
                    yield self._task(from_random(way, labels), fold, seed)
                    yield self._task(tuned(way, labels), fold, seed, self.learned(seed))
            yield self._task(TWIN, fold, seed, self.lab.twin(self.learned(seed), fold))
            yield self._task(SCALED, fold, seed, self.learned(seed))
            for images in self.images:
                yield self._task(tuned("plain", images=images), fold, seed, self.learned(seed, images))

    def _task(self, arm: ArmKey, fold: int, seed: int, start: Learned | None = None) -> NetworkTask:
        way: Way = next((way for way in WAYS if way == arm.way), "plain")
        return NetworkTask(
            arm, self.encoder, self._network(arm.labels), fold, seed, start, Supervised(way), labels=arm.labels,
            scale_only=arm == SCALED,
        )  # fmt: skip

    def _network(self, labels: int | None) -> NetworkConfig:
        """Return the configuration with more epochs where fewer labels make them shorter."""
        config = self.lab.config.network
        if labels is None:
            return config
        full, few = (len(folds.folds[0].train) for folds in (self.lab.folds, self.lab.folds_of(labels)))
        times = min(self.lab.config.studies.finetune.most_epochs, max(1, round(full / few)))
        training = config.training
        more = {"epochs": training.epochs * times, "patience": training.patience * times}
        return config.model_copy(update={"training": training.model_copy(update=more)})

    def at_labels(self, rows: Sequence[Row], labels: int | None) -> LabelsPoint:
        """Compare each way with itself from random weights, and the ways with each other, at a number of labels."""
        ways = WAYS if labels is None else CURVE
        plain, scratch, frozen = tuned("plain", labels), from_random("plain", labels), tuned("frozen", labels)
        contrasts = [Contrast(tuned(way, labels), from_random(way, labels), "labels") for way in ways]
        contrasts += [Contrast(frozen, scratch, "labels"), Contrast(plain, frozen, "labels")]
        arms = {arm for way in ways for arm in (tuned(way, labels), from_random(way, labels))}
        if labels is None:
            contrasts[0] = replace(contrasts[0], named=True, role="without")
            contrasts += [Contrast(plain, TWIN, "labels", named=True, role="twin"), Contrast(plain, SCALED, "labels")]
            arms |= {TWIN, SCALED}
        folds = self.lab.folds_of(labels)
        comparison = self._compare(rows, arms, contrasts, folds.correlation)
        part = folds.folds[0]
        return LabelsPoint(labels, len(part.train), len(part.valid), comparison)

    def at_images(self, rows: Sequence[Row], images: int | None) -> ImagesPoint:
        """Compare fine-tuning from an autoencoder of so many images with scratch, all labels in use."""
        treated, scratch = tuned("plain", images=images), from_random("plain")
        contrast = Contrast(treated, scratch, "unlabeled", named=images is None)
        comparison = self._compare(rows, {treated, scratch}, [contrast], self.lab.folds.correlation)
        return ImagesPoint(len(self.lab.training_images(images)), comparison)

    def _compare(
        self, rows: Sequence[Row], arms: set[ArmKey], contrasts: Sequence[Contrast], correlation: float
    ) -> Comparison:
        return compared(self.lab, [row for row in rows if row.arm in arms], contrasts, correlation=correlation)
