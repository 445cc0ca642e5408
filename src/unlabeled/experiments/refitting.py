"""A classical model fitted once more: with what all runs of an arm chose together, on any labeled images, as a module that can be kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from unlabeled.config import ClassicalConfig
from unlabeled.evaluation.classifiers import Labeled, LinearClassifier, TreesClassifier, choose_logistic, choose_trees
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.specs import ComponentFeatures, LearnedCodes, PixelFeatures, RandomCodes
from unlabeled.experiments.tasks import ClassicalTask
from unlabeled.networks.classical import ClassicalNet, Codes, Components, LinearHead, Pixels, TreesHead
from unlabeled.outcomes import ClassicalOutcome

_MEASURED = ("valid_log_loss", "converged", "iterations")

Choice = dict[str, Any]


def choose_together(outcomes: Sequence[ClassicalOutcome]) -> Choice:
    """Return the settings with the least mean validation log loss over runs, of those that every run has tried."""
    losses: dict[tuple[tuple[str, Any], ...], list[float]] = defaultdict(list)
    for outcome in outcomes:
        for trial in outcome.tried:
            settings = tuple(sorted((name, value) for name, value in trial.items() if name not in _MEASURED))
            losses[settings].append(float(trial["valid_log_loss"] or 0.0))
    everywhere = [(float(np.mean(one)), settings) for settings, one in losses.items() if len(one) == len(outcomes)]
    # Paths of strengths end where the loss has risen, so there may be none that all have tried.
    return dict(min(everywhere, key=itemgetter(0))[1]) if everywhere else dict(outcomes[0].choice)


@dataclass(frozen=True)
class Refitter:
    """Fits the model of a task with settings that are chosen already."""

    lab: Lab
    task: ClassicalTask
    choice: Choice

    def on(self, rows: NDArray[np.intp]) -> ClassicalNet:
        """Fit on some labeled images."""
        features = self.lab.features(self.task.features).labeled[rows, : self.choice.get("components")]
        labels, classes = self.lab.splits.labeled.classes[rows], self.lab.classes
        train, config = Labeled(features, labels), self._config()
        if self.task.model == "logistic":
            chosen = choose_logistic(train, train, classes=classes, config=config, scalings=(self.choice["scaling"],))
            return self._net(linear_head(chosen.classifier, features.shape[1]), features.shape[1])
        threads = torch.get_num_threads()
        chosen = choose_trees(train, train, classes=classes, config=config, seed=self.task.seed, threads=threads)
        assert isinstance(chosen.classifier, TreesClassifier)
        model, prior = chosen.classifier.model, chosen.classifier.prior
        return self._net(TreesHead.of(model, prior, features.shape[1]), features.shape[1])

    def _config(self) -> ClassicalConfig:
        changes = {"strengths": (self.choice["C"],)} if "C" in self.choice else {}
        changes |= {"min_samples_leaf": (self.choice["min_samples_leaf"],)} if "min_samples_leaf" in self.choice else {}
        return self.lab.config.classical.model_copy(update=changes)

    def _net(self, head: nn.Module, length: int) -> ClassicalNet:
        return ClassicalNet(self._features(length), head).eval()

    def _features(self, length: int) -> nn.Module:
        spec, lab = self.task.features, self.lab
        if isinstance(spec, PixelFeatures):
            return Pixels()
        if isinstance(spec, ComponentFeatures):
            found = lab.components(lab.geometry(spec.encoder).code_length, spec.fold)
            made = Components(len(found.mean), length)
            made.mean.copy_(torch.as_tensor(found.mean))
            made.components.copy_(torch.as_tensor(found.components[:length]))
            return made
        assert isinstance(spec, LearnedCodes | RandomCodes) and spec.pooling == "whole", (
            "what the main job's methods stand on"
        )
        return Codes(lab.encoder(spec))


def linear_head(classifier: Any, length: int) -> LinearHead:
    """Return a fitted logistic regression on so many features as a module."""
    assert isinstance(classifier, LinearClassifier)
    head = LinearHead(length, classifier.classes)
    scale = classifier.scale
    head.take(classifier.weights, classifier.offsets, classifier.seen, scale.mean, scale.scale)
    return head
