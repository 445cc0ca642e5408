"""The classical models on features: multinomial logistic regression and tree ensembles, chosen on validation data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from unlabeled.config import ClassicalConfig

_LEAST_PROBABILITY = 1e-12


@dataclass(frozen=True)
class Labeled:
    """Features float32 (n, d) and their classes (n,)."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]


class Classifier(Protocol):
    """Something that gives probabilities."""

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return probabilities (n, classes)."""


@dataclass(frozen=True)
class Chosen:
    """The classifier with the least validation loss, what was chosen, and how that went.

    ``tried`` has a line for each candidate. ``converged`` tells whether the chosen one's optimiser came to an end.
    """

    classifier: Classifier
    choice: dict[str, Any]
    tried: list[dict[str, Any]]
    converged: bool = True


def choose_logistic(train: Labeled, valid: Labeled, *, classes: int, config: ClassicalConfig) -> Chosen:
    """Fit multinomial logistic regression with an L2 penalty; choose scaling and strength by validation log loss.

    Features are centred and divided by one common scale, or each by its own; strengths rise from the strongest
    penalty until the validation loss has risen twice in a row. Each fit starts where the last one ended.
    """
    candidates = []
    for scaling in ("common", "each"):
        scale = _Scale.of(train.features, scaling)
        risen, least = 0, math.inf
        for row, classifier in _path(scale, train, valid, classes, config):
            candidates.append((row | {"scaling": scaling}, classifier))
            loss = row["valid_log_loss"]
            risen, least = (0, loss) if loss < least else (risen + 1, least)
            if risen == 2:
                break
    return _best(candidates)


def choose_trees(
    train: Labeled, valid: Labeled, *, classes: int, config: ClassicalConfig, seed: int, threads: int | None = None
) -> Chosen:
    """Fit a tree ensemble, on all cores or so many; choose the least size of a leaf by validation log loss."""
    kind = RandomForestClassifier if config.ensemble == "forest" else ExtraTreesClassifier
    candidates = []
    for leaf in config.min_samples_leaf:
        model = kind(config.trees, min_samples_leaf=leaf, n_jobs=threads or -1, random_state=seed)
        model.fit(train.features, train.labels)
        classifier = _Trees(model, np.bincount(train.labels, minlength=classes) / len(train.labels))
        _, loss = score(classifier.predict(valid.features), valid.labels)
        candidates.append(({"min_samples_leaf": leaf, "valid_log_loss": loss, "converged": True}, classifier))
    return _best(candidates)


def score(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Return accuracy and log loss (nats) of probabilities (n, classes)."""
    return float((probabilities.argmax(1) == labels).mean()), float(log_losses(probabilities, labels).mean())


def log_losses(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each image's log loss in nats, (n,)."""
    of_truth = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.clip(of_truth, _LEAST_PROBABILITY, 1.0))


def _best(candidates: list[tuple[dict[str, Any], Any]]) -> Chosen:
    row, classifier = min(candidates, key=lambda candidate: candidate[0]["valid_log_loss"])
    choice = {name: value for name, value in row.items() if name not in ("valid_log_loss", "converged")}
    return Chosen(classifier, choice, [row for row, _ in candidates], row["converged"])


def _path(
    scale: _Scale, train: Labeled, valid: Labeled, classes: int, config: ClassicalConfig
) -> Iterator[tuple[dict[str, Any], _Logistic]]:
    """Fit one strength after the other, each from the last one's weights."""
    features = scale.apply(train.features)
    # With an L2 penalty the weights lie in the span of the images, so with fewer images than features the same
    # problem is solved in as many coordinates as there are images: exact, and several times faster.
    basis = np.linalg.qr(features.T)[0] if features.shape[1] > features.shape[0] else None
    if basis is not None:
        features = features @ basis
    model = LogisticRegression(max_iter=config.max_iter, tol=1e-5, warm_start=True)
    for strength in sorted(config.strengths):
        model.set_params(C=strength)
        # Its products are so small that a second thread costs more than it gives: 9 s against 0.7 s for a path of 480
        # images on two cores. One thread also gives the same digits on every machine.
        with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(features, train.labels)
        converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        classifier = _Logistic.of(model, scale, basis, classes)
        _, loss = score(classifier.predict(valid.features), valid.labels)
        yield (
            {"C": strength, "valid_log_loss": loss, "converged": converged, "iterations": int(model.n_iter_[0])},
            classifier,
        )


@dataclass(frozen=True)
class _Scale:
    """Centres features, and divides by one common scale or by each feature's own."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float32], kind: str) -> _Scale:
        mean = features.mean(axis=0, dtype=np.float64)
        deviation = features.std(axis=0, dtype=np.float64)
        if kind == "common":
            deviation = np.full_like(deviation, math.sqrt(float((deviation**2).mean())))
        # A feature that never changes, but for noise of the arithmetic, says nothing and stays near 0.
        deviation[deviation <= 1e-6 * deviation.max(initial=0)] = 1
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return (features - self.mean) / self.scale


@dataclass(frozen=True)
class _Logistic:
    """Weights in the features' own coordinates: (classes seen, d), and which classes were seen."""

    scale: _Scale
    weights: NDArray[np.floating[Any]]
    offsets: NDArray[np.floating[Any]]
    seen: NDArray[np.int64]
    classes: int

    @classmethod
    def of(cls, model: LogisticRegression, scale: _Scale, basis: NDArray[np.float32] | None, classes: int) -> _Logistic:
        weights = model.coef_ if basis is None else model.coef_ @ basis.T
        offsets = model.intercept_.copy()
        if len(weights) == 1:
            # Of two classes scikit-learn keeps the second one's weights; the first one's logit is 0.
            weights, offsets = np.vstack([np.zeros_like(weights), weights]), np.append(0.0, offsets)
        return cls(scale, weights.copy(), offsets, model.classes_, classes)

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        logits = (self.scale.apply(features) @ self.weights.T + self.offsets).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        probabilities = np.zeros((len(features), self.classes))
        probabilities[:, self.seen] = odds / odds.sum(axis=1, keepdims=True)
        return probabilities


@dataclass(frozen=True)
class _Trees:
    """An ensemble and one more vote, for the classes' shares, so that no probability is zero."""

    model: Any
    prior: NDArray[np.float64] = field(repr=False)

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        votes = np.zeros((len(features), len(self.prior)))
        votes[:, self.model.classes_] = self.model.predict_proba(features)
        return (votes * self.model.n_estimators + self.prior) / (self.model.n_estimators + 1)
