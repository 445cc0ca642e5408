"""Study 9: one network that reconstructs unlabeled and labeled images and classifies the labeled ones at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from unlabeled.comparison import Contrast, compare
from unlabeled.config import JointGrid
from unlabeled.studies.baselines import baseline_arms
from unlabeled.studies.lab import Lab
from unlabeled.studies.networks import Joint, NetworkTask
from unlabeled.studies.performing import Perform, read_scores
from unlabeled.studies.specs import Learned
from unlabeled.studies.tasks import AutoencoderTask

CONTRASTS = (
    Contrast("joint", "scratch"),
    Contrast("joint", "labeled-only"),
    Contrast("labeled-only", "scratch"),
    Contrast("fine-tuned", "scratch"),
    Contrast("joint", "fine-tuned"),
    Contrast("joint-started", "joint"),
    Contrast("joint-started", "scratch"),
)


def run(lab: Lab, do: Perform) -> dict[str, Any]:
    """Train from scratch, fine-tuned and jointly, each with as many candidates to choose from."""
    config = lab.config
    learned = [Learned(config.encoder, config.autoencoder, seed) for seed in range(config.seeds)]
    autoencoders = do([AutoencoderTask("autoencoder", one) for one in learned])
    baselines = baseline_arms(lab, do)
    rows = do(list(_tasks(lab, learned)))
    compared = compare(rows, read_scores(lab, rows), CONTRASTS, correlation=lab.folds.correlation, named_first=True)
    return {
        **compared,
        "weights": [list(pair) for pair in joint_weights(config.studies.joint)],
        "chosen": _chosen(rows),
        "encoder": config.encoder.model_dump(mode="json"),
        "baselines": baselines,
        "autoencoders": autoencoders,
        "rows": rows,
    }


def joint_weights(grid: JointGrid) -> tuple[tuple[float, float], ...]:
    """Return all pairs of weights (reconstruction, between) to choose from."""
    return tuple(product(grid.reconstruction, grid.between))


def _tasks(lab: Lab, learned: list[Learned]) -> Iterator[NetworkTask]:
    config = lab.config
    weights = joint_weights(config.studies.joint)
    for seed in range(config.seeds):
        for fold in range(len(lab.folds.folds)):
            for arm, options in {
                "scratch": {"trials": len(weights)},
                "fine-tuned": {"trials": len(weights), "start": learned[seed]},
                "labeled-only": {"joint": Joint(weights, unlabeled=False)},
                "joint": {"joint": Joint(weights)},
                "joint-started": {"joint": Joint(weights), "start": learned[seed]},
            }.items():
                yield NetworkTask(arm, config.encoder, config.network, fold, seed, **options)  # type: ignore[arg-type]


def _chosen(rows: list[dict[str, Any]]) -> dict[str, list[list[float]]]:
    """Return the pairs of weights that the runs of each joint arm chose, most often chosen first, each with its number of runs."""
    found: dict[str, dict[tuple[float, float], int]] = {}
    for row in rows:
        choice = row.get("choice", {})
        if "reconstruction" in choice:
            pair = (choice["reconstruction"], choice["between"])
            counts = found.setdefault(row["arm"], {})
            counts[pair] = counts.get(pair, 0) + 1
    return {
        arm: [[*pair, count] for pair, count in sorted(counts.items(), key=lambda item: -item[1])]
        for arm, counts in found.items()
    }
