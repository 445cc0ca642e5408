"""Study 5: an autoencoder's weights as the first layers of a network. Where do the unlabeled images help?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from unlabeled.comparison import Contrast, compare, decide
from unlabeled.config import AutoencoderConfig, EncoderConfig, NetworkConfig
from unlabeled.errors import DataError
from unlabeled.studies.baselines import baseline_arms
from unlabeled.studies.features import chosen_autoencoder
from unlabeled.studies.lab import Lab
from unlabeled.studies.networks import NetworkTask, Way
from unlabeled.studies.performing import Perform, read_scores
from unlabeled.studies.specs import Learned
from unlabeled.studies.tasks import AutoencoderTask

WAYS: tuple[Way, ...] = ("plain", "slow", "gradual", "frozen")
# With fewer labels, the ways that are asked for at every point.
_CURVE: tuple[Way, ...] = ("plain", "frozen")


def run(lab: Lab, do: Perform) -> dict[str, Any]:
    """Train from scratch and from the autoencoder, over ways, numbers of labels and of unlabeled images."""
    encoder, config = chosen_autoencoder(lab, do)
    study = _Finetuning(lab, encoder, config)
    baselines = baseline_arms(lab, do)
    autoencoders = do(study.autoencoders())
    rows = do(list(study.tasks()))
    points = [study.compare(rows, per_class) for per_class in (*study.labels, None)]
    unlabeled = [study.compare_unlabeled(rows, images) for images in (*study.images, None)]
    main = points[-1]["contrasts"][0]
    # One family a curve; the comparison named beforehand is no member of either.
    decide([contrast for point in points for contrast in point["contrasts"]], named=main)
    decide([contrast for point in unlabeled[:-1] for contrast in point["contrasts"]])
    decide(unlabeled[-1]["contrasts"], named=unlabeled[-1]["contrasts"][0])
    return {
        "encoder": encoder.model_dump(mode="json"),
        "loss": config.loss,
        "slow": lab.config.studies.finetune.slow,
        "labels": points,
        "unlabeled": unlabeled,
        "not_available": study.not_available,
        "baselines": baselines,
        "autoencoders": autoencoders,
        "rows": rows,
    }


def from_random(way: str) -> str:
    """Name the arm that learns in that way from random weights."""
    return "scratch" if way == "plain" else f"random-{way}"


class _Finetuning:
    """The points of the two curves that these images have, and their runs."""

    def __init__(self, lab: Lab, encoder: EncoderConfig, config: AutoencoderConfig) -> None:
        grid = lab.config.studies.finetune
        self.lab, self.encoder, self.config = lab, encoder, config
        fold = lab.folds.folds[0]
        smallest = np.bincount(lab.splits.labeled.classes[np.concatenate([fold.train, fold.valid])]).min()
        possible = [n for n in sorted(set(grid.labels)) if n < smallest and n >= 2]
        self.labels = [n for n in possible if self._has(n)]
        self.images = [n for n in sorted(set(grid.unlabeled)) if n < len(lab.watched())]
        self.not_available = {
            "labels": [n for n in grid.labels if n not in self.labels],
            "unlabeled": [n for n in grid.unlabeled if n not in self.images],
        }

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
            share = len(self.lab.watched()) / images
            training = training.model_copy(update={"epochs": max(1, round(training.epochs * share))})
        return Learned(self.encoder, self.config.model_copy(update={"training": training}), seed, images)

    def autoencoders(self) -> list[AutoencoderTask]:
        """Return the trainings on all unlabeled images and on fewer."""
        return [
            AutoencoderTask(f"autoencoder, {images or 'all'} images", self.learned(seed, images))
            for seed in range(self.lab.config.seeds)
            for images in (None, *self.images)
        ]

    def tasks(self) -> Iterator[NetworkTask]:
        """Yield the networks of all points."""
        for seed in range(self.lab.config.seeds):
            for fold in range(len(self.lab.folds.folds)):
                for per_class in (*self.labels, None):
                    ways = WAYS if per_class is None else _CURVE
                    network = self._network(per_class)
                    for way in ways:
                        # Each way from random weights too: what it does by itself is not the autoencoder's merit.
                        yield self._task(from_random(way), network, fold, seed, per_class, None, way)
                        yield self._task(way, network, fold, seed, per_class, self.learned(seed), way)
                for images in self.images:
                    start = self.learned(seed, images)
                    yield self._task(f"plain {images}", self._network(None), fold, seed, None, start)

    def _task(
        self, name: str, network: NetworkConfig, fold: int, seed: int, per_class: int | None,
        start: Learned | None = None, way: Way = "plain",
    ) -> NetworkTask:  # fmt: skip
        arm = f"{name} @{per_class or 'all'}"
        return NetworkTask(arm, self.encoder, network, fold, seed, start=start, way=way, per_class=per_class)

    def _network(self, per_class: int | None) -> NetworkConfig:
        """Return the configuration with more epochs where fewer labels make them shorter."""
        config = self.lab.config.network
        if per_class is None:
            return config
        full, few = (len(folds.folds[0].train) for folds in (self.lab.folds, self.lab.folds_of(per_class)))
        times = min(self.lab.config.studies.finetune.most_epochs, max(1, round(full / few)))
        training = config.training
        more = {"epochs": training.epochs * times, "patience": training.patience * times}
        return config.model_copy(update={"training": training.model_copy(update=more)})

    def compare(self, rows: list[dict[str, Any]], per_class: int | None) -> dict[str, Any]:
        """Compare each way with itself from random weights, and the ways with each other, at a number of labels.

        The first are marked as ``gain``: they alone tell what the unlabeled images are worth.
        """
        end = f" @{per_class or 'all'}"
        ways = WAYS if per_class is None else _CURVE
        gains = [Contrast(way + end, from_random(way) + end) for way in ways]
        others = [Contrast("frozen" + end, "scratch" + end), Contrast("plain" + end, "frozen" + end)]
        folds = self.lab.folds_of(per_class)
        names = {f"{name}{end}" for way in ways for name in (way, from_random(way))}
        own = [row for row in rows if row["arm"] in names]
        compared = compare(own, read_scores(self.lab, own), gains + others, correlation=folds.correlation)
        for number, contrast in enumerate(compared["contrasts"]):
            contrast["gain"] = number < len(gains)
        part = folds.folds[0]
        return {"per_class": per_class, "train": len(part.train), "valid": len(part.valid), **compared}

    def compare_unlabeled(self, rows: list[dict[str, Any]], images: int | None) -> dict[str, Any]:
        """Compare fine-tuning from an autoencoder of so many images with scratch, all labels in use."""
        name = "plain @all" if images is None else f"plain {images} @all"
        own = [row for row in rows if row["arm"] in (name, "scratch @all")]
        compared = compare(
            own, read_scores(self.lab, own), [Contrast(name, "scratch @all")], correlation=self.lab.folds.correlation
        )
        return {"images": len(self.lab.watched(images)), **compared}
