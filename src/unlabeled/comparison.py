"""The arms of the main job, and what their runs say of each other. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unlabeled.statistics import Effect, holm, paired_effect

Source: TypeAlias = Literal["pixels", "random", "pca", "autoencoder"]
Model: TypeAlias = Literal["logistic", "trees", "network"]

SOURCES: tuple[Source, ...] = ("pixels", "random", "pca", "autoencoder")


@dataclass(frozen=True)
class Arm:
    """One way to a classifier: where the features or first weights come from, and the model on them."""

    source: Source
    model: Model

    @property
    def key(self) -> str:
        """Its name in folders and results."""
        return f"{self.source}-{self.model}"

    @property
    def label(self) -> str:
        """Its name in a line of progress."""
        if self.model == "network":
            return "network from scratch" if self.source == "random" else "network from the autoencoder"
        source = {"random": "random encoder", "pca": "PCA"}.get(self.source, self.source)
        return f"{source}, {'logistic regression' if self.model == 'logistic' else 'trees'}"

    @property
    def seeded(self) -> bool:
        """Whether its outcome depends on the seed."""
        return self.model != "logistic" or self.source in ("random", "autoencoder")


ARMS = (
    *(Arm(source, "logistic") for source in SOURCES),
    *(Arm(source, "trees") for source in SOURCES),
    Arm("random", "network"),
    Arm("autoencoder", "network"),
)


@dataclass(frozen=True)
class Contrast:
    """Two arms that differ in one thing. The first contrast gives the verdict; it was chosen before any run."""

    treated: str
    control: str


CONTRASTS = (
    Contrast("autoencoder-network", "random-network"),
    *(
        Contrast(f"autoencoder-{model}", f"{source}-{model}")
        for model in ("logistic", "trees")
        for source in ("pixels", "random", "pca")
    ),
)

# For each run: right or wrong, and the log loss, of every test image.
Scores: TypeAlias = Mapping[tuple[str, int, int], tuple[NDArray[np.bool_], NDArray[np.floating[Any]]]]


def compare(rows: Sequence[Mapping[str, Any]], scores: Scores, *, correlation: float) -> dict[str, Any]:
    """Return every arm's mean and every contrast's effect, in JSON's types.

    Parameters
    ----------
    rows
        One for each (arm, fold, seed), all combinations.
    scores
        By (arm, fold, seed).
    correlation
        Between the results of two folds, for ``paired_effect``.
    """
    folds = sorted({row["fold"] for row in rows})
    seeds = sorted({row["seed"] for row in rows})

    def table(arm: str, metric: int) -> NDArray[np.float64]:
        """Return each test image's value, (folds, seeds, images): percent right, or nats."""
        unit = 100.0 if metric == 0 else 1.0
        return unit * np.array(
            [[scores[arm, fold, seed][metric] for seed in seeds] for fold in folds], dtype=np.float64
        )

    arms = []
    for arm in (arm.key for arm in ARMS):
        own = [row for row in rows if row["arm"] == arm]
        accuracy, loss = (_effect(table(arm, metric), correlation) for metric in (0, 1))
        arms.append(
            {
                "arm": arm,
                # No accuracy is below 0 or above 100 %, whatever a symmetric interval says of few runs.
                "accuracy": asdict(replace(accuracy, low=max(accuracy.low, 0.0), high=min(accuracy.high, 100.0))),
                "log_loss": asdict(replace(loss, low=max(loss.low, 0.0))),
                "seconds": float(np.median([row["seconds"] for row in own])),
                "not_converged": sum(not row["converged"] for row in own),
                "runs": len(own),
            }
        )
    contrasts = [_contrast(contrast, table, correlation, (folds, seeds)) for contrast in CONTRASTS]
    corrected = holm([contrast["accuracy"]["p"] for contrast in contrasts[1:]])
    for contrast, p in zip(contrasts, [contrasts[0]["accuracy"]["p"], *corrected], strict=True):
        contrast["p"] = p
        mean = contrast["accuracy"]["mean"]
        contrast["verdict"] = ("helps" if mean > 0 else "hurts") if p < 0.05 else "no evidence"
    return {"arms": arms, "contrasts": contrasts}


def _contrast(contrast: Contrast, table: Any, correlation: float, runs: tuple[list[int], list[int]]) -> dict[str, Any]:
    accuracy = table(contrast.treated, 0) - table(contrast.control, 0)
    loss = table(contrast.treated, 1) - table(contrast.control, 1)
    differences = accuracy.mean(axis=2)
    return {
        "treated": contrast.treated,
        "control": contrast.control,
        "accuracy": asdict(_effect(accuracy, correlation)),
        "log_loss": asdict(_effect(loss, correlation)),
        "differences": [
            {"fold": fold, "seed": seed, "accuracy": float(differences[row, column])}
            for row, fold in enumerate(runs[0])
            for column, seed in enumerate(runs[1])
        ],
    }


def _effect(values: NDArray[np.float64], correlation: float) -> Effect:
    """Estimate the mean of values (folds, seeds, images), with the variance that the choice of test images adds."""
    of_images = values.mean(axis=(0, 1))
    test_variance = float(of_images.var(ddof=1)) / len(of_images) if len(of_images) > 1 else 0.0
    return paired_effect(values.mean(axis=2), correlation=correlation, test_variance=test_variance)
