"""Study 1: classical models on pixels. What does one get without any representation learning?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from unlabeled.comparison import Contrast, compare
from unlabeled.results import read_result
from unlabeled.studies.lab import Lab
from unlabeled.studies.performing import Perform, read_scores
from unlabeled.studies.specs import FeatureSpec
from unlabeled.studies.tasks import Classical, ClassicalTask

PIXELS = FeatureSpec("pixels")
_CONTRASTS = (
    Contrast("pixels-trees", "pixels-logistic"),
    Contrast("pixels-boosting", "pixels-logistic"),
    Contrast("pixels-boosting", "pixels-trees"),
)


def run(lab: Lab, do: Perform) -> dict[str, Any]:
    """Fit logistic regression both ways, a forest and gradient boosting on pixels."""
    rows = do(list(baseline_tasks(lab)))
    # The network of one layer takes over what scikit-learn's regression chose, so it comes after it.
    twins = do(list(baseline_tasks(lab, ("linear-network",))))
    return {
        **compare(rows, read_scores(lab, rows), _CONTRASTS, correlation=lab.folds.correlation),
        "agreement": _agreement(lab, rows, twins),
        "rows": rows + twins,
    }


def baseline_tasks(
    lab: Lab, models: Sequence[Classical] = ("logistic", "trees", "boosting")
) -> Iterator[ClassicalTask]:
    """Yield the runs on pixels that every later study is drawn beside."""
    for seed, model, fold in product(range(lab.config.seeds), models, range(len(lab.folds.folds))):
        yield ClassicalTask(f"pixels-{model}", PIXELS, model, fold, seed)


def baseline_arms(lab: Lab, do: Perform) -> list[dict[str, Any]]:
    """Run the models on pixels, or read them, and return their means."""
    rows = do(list(baseline_tasks(lab)))
    arms: list[dict[str, Any]] = compare(rows, read_scores(lab, rows), (), correlation=lab.folds.correlation)["arms"]
    return arms


def _agreement(lab: Lab, rows: list[dict[str, Any]], twins: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare both ways to logistic regression, image by image on the test split."""
    by_fold = {row["fold"]: row for row in rows if row["arm"] == "pixels-logistic"}
    same, apart, least = [], [], []
    for twin in twins:
        ours, theirs = (
            read_result(lab.folder / row["run"]).arrays("test.npz") for row in (twin, by_fold[twin["fold"]])
        )
        same.append(float((ours["predicted"] == theirs["predicted"]).mean()))
        apart.append(float(np.abs(ours["log_loss"].astype(np.float64) - theirs["log_loss"]).mean()))
        least.append(abs(twin["log_loss"] - by_fold[twin["fold"]]["log_loss"]))
    return {
        "same_answers": min(same),
        "image_log_loss": max(apart),
        "log_loss": max(least),
        "gradient": max(twin["facts"]["gradient"] for twin in twins),
        "converged": all(twin["converged"] for twin in twins),
        "agrees": min(same) >= 0.99 and max(least) <= 0.005,
        "seconds": float(np.median([twin["seconds"] for twin in twins])),
    }
