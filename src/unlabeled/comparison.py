"""The arms of the main job, and what their runs say of each other. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unlabeled.statistics import Effect, holm, paired_effect

Source: TypeAlias = Literal["pixels", "random", "pca", "autoencoder", "labeled", "joint"]
Model: TypeAlias = Literal["logistic", "trees", "network"]

# What is told of an arm beside its scores: the median over its runs.
_MEDIANS = (
    "seconds", "predict_seconds", "images_per_second", "predictions_per_second", "seconds_to_best", "valid_log_loss",
    "train_accuracy", "features", "parameters",
)  # fmt: skip
SOURCES: tuple[Source, ...] = ("pixels", "random", "pca", "autoencoder", "labeled", "joint")
_FEATURES: tuple[Source, ...] = ("pixels", "random", "pca", "autoencoder")


@dataclass(frozen=True)
class Arm:
    """One way to a classifier: where the features or first weights come from, and the model on them."""

    source: Source
    model: Model

    @property
    def key(self) -> str:
        """Its name in folders and results."""
        return f"{self.source}-{self.model}"


ARMS = (
    *(Arm(source, "logistic") for source in _FEATURES),
    *(Arm(source, "trees") for source in _FEATURES),
    Arm("random", "network"),
    Arm("autoencoder", "network"),
    # They reconstruct while they learn to classify: labeled images alone, or unlabeled ones too.
    Arm("labeled", "network"),
    Arm("joint", "network"),
)

# What people call them.
ARM_NAMES = {
    "pixels-logistic": "pixels → logistic regression",
    "random-logistic": "random encoder → logistic regression",
    "pca-logistic": "PCA → logistic regression",
    "autoencoder-logistic": "autoencoder → logistic regression",
    "pixels-trees": "pixels → trees",
    "random-trees": "random encoder → trees",
    "pca-trees": "PCA → trees",
    "autoencoder-trees": "autoencoder → trees",
    "random-network": "ConvNet from scratch",
    "autoencoder-network": "ConvNet from the autoencoder",
    "labeled-network": "ConvNet, reconstructs labeled images",
    "joint-network": "ConvNet, reconstructs unlabeled too",
}


@dataclass(frozen=True)
class Contrast:
    """Two arms that differ in one thing. The first contrast gives the verdict; it was chosen before any run."""

    treated: str
    control: str


CONTRASTS = (
    Contrast("autoencoder-network", "random-network"),
    Contrast("joint-network", "random-network"),
    Contrast("joint-network", "labeled-network"),
    *(
        Contrast(f"autoencoder-{model}", f"{source}-{model}")
        for model in ("logistic", "trees")
        for source in ("pixels", "random", "pca")
    ),
)

# For each run: right or wrong, and the log loss, of every test image.
Scores: TypeAlias = Mapping[tuple[str, int, int], tuple[NDArray[np.bool_], NDArray[np.floating[Any]]]]


def compare(
    rows: Sequence[Mapping[str, Any]],
    scores: Scores,
    contrasts: Sequence[Contrast],
    *,
    correlation: float,
    named_first: bool = False,
) -> dict[str, Any]:
    """Return every arm's mean and every contrast's effect, in JSON's types.

    An arm with a run that diverged has no mean (None), and its contrasts no effect.

    Parameters
    ----------
    rows
        One for each (arm, fold, seed), all combinations.
    scores
        By (arm, fold, seed); what diverged has none.
    contrasts
        Which arms to compare. Their p values are corrected for their number by Holm's method.
    correlation
        Between the results of two folds, for ``paired_effect``.
    named_first
        Whether the first contrast was named as the answer beforehand, and so is left out of the correction.
    """
    compared = _Compared(rows, scores, correlation)
    arms = [compared.describe(arm) for arm in dict.fromkeys(row["arm"] for row in rows)]
    described = [compared.contrast(contrast) for contrast in contrasts]
    decide(described, named=described[0] if named_first else None)
    return {"arms": arms, "contrasts": described}


def decide(contrasts: Sequence[dict[str, Any]], *, named: dict[str, Any] | None = None) -> None:
    """Give contrasts p values, corrected for their number by Holm's method, and verdicts; those that diverged have none.

    ``named`` is one of them that was named as the answer before any run, and so is not one of many.
    """
    measured = [contrast for contrast in contrasts if contrast["accuracy"] is not None and contrast is not named]
    corrected = holm([contrast["accuracy"]["p"] for contrast in measured])
    if named is not None and named["accuracy"] is not None:
        measured, corrected = [named, *measured], [named["accuracy"]["p"], *corrected]
    for contrast, p in zip(measured, corrected, strict=True):
        contrast["p"] = p
        mean = contrast["accuracy"]["mean"]
        contrast["verdict"] = ("helps" if mean > 0 else "hurts") if p < 0.05 else "no evidence"


class _Compared:
    """The rows and scores of a comparison."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], scores: Scores, correlation: float) -> None:
        self.rows, self.scores, self.correlation = rows, scores, correlation
        self.folds = sorted({row["fold"] for row in rows})
        self.seeds = sorted({row["seed"] for row in rows})

    def table(self, arm: str, metric: int) -> NDArray[np.float64]:
        """Return each test image's value, (folds, seeds, images): percent right, or nats."""
        unit = 100.0 if metric == 0 else 1.0
        return unit * np.array(
            [[self.scores[arm, fold, seed][metric] for seed in self.seeds] for fold in self.folds], dtype=np.float64
        )

    def whole(self, arm: str) -> bool:
        """Tell whether each of an arm's runs came to an end."""
        return all((arm, fold, seed) in self.scores for fold in self.folds for seed in self.seeds)

    def describe(self, arm: str) -> dict[str, Any]:
        """Return an arm's means with intervals, medians of times and speeds, and what went wrong."""
        own = [row for row in self.rows if row["arm"] == arm]
        described: dict[str, Any] = {"arm": arm, "accuracy": None, "log_loss": None}
        if self.whole(arm):
            accuracy, loss = (_effect(self.table(arm, metric), self.correlation) for metric in (0, 1))
            # No accuracy is below 0 or above 100 %, whatever a symmetric interval says of few runs.
            described["accuracy"] = asdict(
                replace(accuracy, low=max(accuracy.low, 0.0), high=min(accuracy.high, 100.0))
            )
            described["log_loss"] = asdict(replace(loss, low=max(loss.low, 0.0)))
        ended = [row for row in own if "diverged" not in row]
        for name in _MEDIANS:
            values = [row[name] for row in ended if name in row]
            described[name] = float(np.median(values)) if values else None
        return described | {
            "not_converged": sum(not row["converged"] for row in ended),
            "diverged": len(own) - len(ended),
            "runs": len(own),
        }

    def contrast(self, contrast: Contrast) -> dict[str, Any]:
        """Return the effect of what two arms differ in."""
        treated, control = contrast.treated, contrast.control
        described: dict[str, Any] = {"treated": treated, "control": control, "accuracy": None, "log_loss": None}
        if not (self.whole(treated) and self.whole(control)):
            return described | {"p": None, "verdict": "diverged", "differences": []}
        accuracy, loss = (self.table(treated, metric) - self.table(control, metric) for metric in (0, 1))
        differences = accuracy.mean(axis=2)
        effect = _effect(accuracy, self.correlation)
        return described | {
            # No two accuracies are further apart than 100 points, whatever a symmetric interval says of few runs.
            "accuracy": asdict(replace(effect, low=max(effect.low, -100.0), high=min(effect.high, 100.0))),
            "log_loss": asdict(_effect(loss, self.correlation)),
            "differences": [
                {"fold": fold, "seed": seed, "accuracy": float(differences[row, column])}
                for row, fold in enumerate(self.folds)
                for column, seed in enumerate(self.seeds)
            ],
        }


def _effect(values: NDArray[np.float64], correlation: float) -> Effect:
    """Estimate the mean of values (folds, seeds, images), with the variance that the choice of test images adds."""
    of_images = values.mean(axis=(0, 1))
    test_variance = float(of_images.var(ddof=1)) / len(of_images) if len(of_images) > 1 else 0.0
    return paired_effect(values.mean(axis=2), correlation=correlation, test_variance=test_variance)
