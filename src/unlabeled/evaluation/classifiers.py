"""The classical models on features, chosen on validation data: logistic regression, two tree methods, neighbours."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from unlabeled.config import ClassicalConfig

# scikit-learn is imported where a model of its is fitted: 80 MB and a second in every process that trains networks only.
if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import NearestNeighbors

Scaling: TypeAlias = Literal["common", "each"]
Step: TypeAlias = Callable[[int, int], None]
_LEAST_PROBABILITY = 1e-12
_PARTS = 10  # in which a forest grows


def ignore(done: int, total: int) -> None:
    """Take no notice of how many steps of a fit are done."""


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
    ``facts`` say more of the chosen one, such as the depth of its trees.
    """

    classifier: Classifier
    choice: dict[str, Any]
    tried: list[dict[str, Any]]
    converged: bool = True
    facts: dict[str, float] = field(default_factory=dict)


def choose_logistic(
    train: Labeled,
    valid: Labeled,
    *,
    classes: int,
    config: ClassicalConfig,
    scalings: Sequence[Scaling] = ("common", "each"),
    step: Step = ignore,
) -> Chosen:
    """Fit multinomial logistic regression with an L2 penalty; choose scaling and strength by validation log loss.

    Features are centred and divided by one common scale, or each by its own (``scalings``); strengths rise from the strongest
    penalty until the validation loss has risen twice in a row. Each fit starts where the last one ended.
    """
    candidates = []
    for number, scaling in enumerate(scalings):
        scale = Scale.of(train.features, scaling)
        risen, least = 0, math.inf
        for place, (row, classifier) in enumerate(_path(scale, train, valid, classes, config), 1):
            step(number * len(config.strengths) + place, len(scalings) * len(config.strengths))
            candidates.append((row | {"scaling": scaling}, classifier))
            loss = row["valid_log_loss"]
            risen, least = (0, loss) if loss < least else (risen + 1, least)
            if risen == 2:
                break
    return _best(candidates)


def choose_trees(
    train: Labeled,
    valid: Labeled,
    *,
    classes: int,
    config: ClassicalConfig,
    seed: int,
    threads: int | None = None,
    step: Step = ignore,
) -> Chosen:
    """Fit a tree ensemble, on all cores or so many; choose the least size of a leaf by validation log loss."""
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

    kind = RandomForestClassifier if config.ensemble == "forest" else ExtraTreesClassifier
    candidates = []
    for number, leaf in enumerate(config.min_samples_leaf):
        model = kind(0, min_samples_leaf=leaf, n_jobs=threads or -1, random_state=seed, warm_start=True)
        # In parts, so that one can see how far it is; they are the trees that one call would make.
        for trees in sorted({-(-config.trees * part // _PARTS) for part in range(1, _PARTS + 1)}):
            model.set_params(n_estimators=trees).fit(train.features, train.labels)
            step(number * config.trees + trees, len(config.min_samples_leaf) * config.trees)
        classifier = TreesClassifier(model, np.bincount(train.labels, minlength=classes) / len(train.labels))
        _, loss = score(classifier.predict(valid.features), valid.labels)
        candidates.append(({"min_samples_leaf": leaf, "valid_log_loss": loss, "converged": True}, classifier))
    chosen = _best(candidates)
    assert isinstance(chosen.classifier, TreesClassifier)
    depths = [tree.get_depth() for tree in chosen.classifier.model.estimators_]
    return replace(chosen, facts={"depth": float(np.mean(depths))})


def choose_boosting(train: Labeled, valid: Labeled, *, classes: int, config: ClassicalConfig, seed: int) -> Chosen:
    """Fit histogram gradient boosting; choose how many rounds are kept by validation log loss."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=config.boosting_iterations, learning_rate=config.boosting_rate, max_leaf_nodes=15, max_bins=63,
        early_stopping=False, random_state=seed,
    )  # fmt: skip
    # A second thread gains nothing at this size (7.0 s against 7.7 s), and runs are spread over the cores.
    with threadpool_limits(1):
        model.fit(train.features, train.labels)
        known = np.zeros((len(valid.labels), classes))
        losses = []
        for probabilities in model.staged_predict_proba(valid.features):
            known[:, model.classes_] = probabilities
            losses.append(score(known, valid.labels)[1])
    rounds = int(np.argmin(losses)) + 1
    tried = [{"rounds": number + 1, "valid_log_loss": loss} for number, loss in enumerate(losses)]
    return Chosen(_Boosted(model, rounds, classes), {"rounds": rounds}, tried)


def choose_neighbours(
    train: Labeled, valid: Labeled, *, classes: int, config: ClassicalConfig, scalings: Sequence[Scaling] = ("common",)
) -> Chosen:
    """Let the nearest training images vote; choose their number, and the scaling, by validation log loss."""
    from sklearn.neighbors import NearestNeighbors

    candidates = []
    counts = sorted({min(count, len(train.labels)) for count in config.neighbours})
    for scaling in scalings:
        scale = Scale.of(train.features, scaling)
        index = NearestNeighbors(algorithm="brute").fit(scale.apply(train.features))
        # Distances are the work; they are the same for every number of neighbours.
        nearest = _nearest(scale, index, valid.features, counts[-1])
        for count in counts:
            _, loss = score(_vote(train.labels[nearest[:, :count]], classes), valid.labels)
            row = {"neighbours": count, "scaling": scaling, "valid_log_loss": loss, "converged": True}
            candidates.append((row, _Neighbours(scale, index, train.labels, count, classes)))
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
    scale: Scale, train: Labeled, valid: Labeled, classes: int, config: ClassicalConfig
) -> Iterator[tuple[dict[str, Any], LinearClassifier]]:
    """Fit one strength after the other, each from the last one's weights."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

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
        classifier = LinearClassifier.of(model, scale, basis, classes)
        _, loss = score(classifier.predict(valid.features), valid.labels)
        yield (
            {"C": strength, "valid_log_loss": loss, "converged": converged, "iterations": int(model.n_iter_[0])},
            classifier,
        )


@dataclass(frozen=True)
class Scale:
    """Centres features, and divides by one common scale or by each feature's own."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float32], kind: str) -> Scale:
        """Measure features (n, d); ``kind`` is "common" or "each"."""
        mean = features.mean(axis=0, dtype=np.float64)
        deviation = features.std(axis=0, dtype=np.float64)
        if kind == "common":
            deviation = np.full_like(deviation, math.sqrt(float((deviation**2).mean())))
        # A feature that never changes, but for noise of the arithmetic, says nothing and stays near 0.
        deviation[deviation <= 1e-6 * deviation.max(initial=0)] = 1
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features (n, d), scaled."""
        return (features - self.mean) / self.scale


@dataclass(frozen=True)
class LinearClassifier:
    """Weights in the features' own coordinates: (classes seen, d), and which classes were seen."""

    scale: Scale
    weights: NDArray[np.floating[Any]]
    offsets: NDArray[np.floating[Any]]
    seen: NDArray[np.int64]
    classes: int

    @classmethod
    def of(
        cls, model: LogisticRegression, scale: Scale, basis: NDArray[np.float32] | None, classes: int
    ) -> LinearClassifier:
        """Take over scikit-learn's weights; ``basis`` (d, k) holds the coordinates that it was fitted in."""
        weights = model.coef_ if basis is None else model.coef_ @ basis.T
        offsets = model.intercept_.copy()
        if len(weights) == 1:
            # Of two classes scikit-learn keeps the second one's weights; the first one's logit is 0.
            weights, offsets = np.vstack([np.zeros_like(weights), weights]), np.append(0.0, offsets)
        return cls(scale, weights.copy(), offsets, model.classes_, classes)

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return probabilities (n, classes)."""
        logits = (self.scale.apply(features) @ self.weights.T + self.offsets).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        probabilities = np.zeros((len(features), self.classes))
        probabilities[:, self.seen] = odds / odds.sum(axis=1, keepdims=True)
        return probabilities


@dataclass(frozen=True)
class TreesClassifier:
    """An ensemble and one more vote, for the classes' shares, so that no probability is zero."""

    model: Any
    prior: NDArray[np.float64] = field(repr=False)

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return probabilities (n, classes)."""
        votes = np.zeros((len(features), len(self.prior)))
        votes[:, self.model.classes_] = self.model.predict_proba(features)
        return (votes * self.model.n_estimators + self.prior) / (self.model.n_estimators + 1)


@dataclass(frozen=True)
class _Boosted:
    """Gradient boosting, of which the first rounds are kept."""

    model: Any
    rounds: int
    classes: int

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        probabilities = np.zeros((len(features), self.classes))
        with threadpool_limits(1):
            staged = self.model.staged_predict_proba(features)
            probabilities[:, self.model.classes_] = next(islice(staged, self.rounds - 1, None))
        return probabilities


@dataclass(frozen=True)
class _Neighbours:
    """The shares of the classes among the nearest training images, and one more vote spread over all classes."""

    scale: Scale
    index: NearestNeighbors
    labels: NDArray[np.int64]
    count: int
    classes: int

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return _vote(self.labels[_nearest(self.scale, self.index, features, self.count)], self.classes)


def _nearest(scale: Scale, index: NearestNeighbors, features: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Return the nearest training images, (n, count), the nearest first."""
    with threadpool_limits(1):
        nearest: NDArray[np.intp] = index.kneighbors(scale.apply(features), count, return_distance=False)
    return nearest


def _vote(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return the classes' shares of labels (n, count), with one more vote spread over all classes."""
    votes = np.zeros((len(labels), classes))
    np.add.at(votes, (np.arange(len(labels))[:, None], labels), 1.0)
    return (votes + 1 / classes) / (labels.shape[1] + 1)
