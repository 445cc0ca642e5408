"""Study 4: the autoencoder's frozen codes for the classical models, against pixels, PCA, random and hand-made filters."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.classifiers import Scaling
from unlabeled.comparison import Contrast, compare
from unlabeled.config import AutoencoderConfig, Config, EncoderConfig
from unlabeled.errors import DataError
from unlabeled.studies.autoencoder import search
from unlabeled.studies.lab import Lab
from unlabeled.studies.network import base_network
from unlabeled.studies.networks import NetworkTask
from unlabeled.studies.performing import Perform, Task, read_scores
from unlabeled.studies.specs import FeatureSpec, Learned
from unlabeled.studies.tasks import AutoencoderTask, Classical, ClassicalTask

MODELS: tuple[Classical, ...] = ("logistic", "trees", "boosting", "neighbours")
SCALED: tuple[Classical, ...] = ("logistic", "neighbours")
_SCALINGS: tuple[Scaling, ...] = ("common", "each")
_CONTROLS = ("pixels", "pca", "filters", "random")
_MOST_COLUMNS = 512


def check_encoder(lab: Lab) -> None:
    """Refuse an encoder that was given and does not fit these images."""
    if lab.config.studies.encoder == "given":
        lab.geometry(lab.config.encoder)
        lab.check_network(lab.config.encoder, lab.config.network)


def check(lab: Lab) -> None:
    """Refuse an encoder that was given and is of several blocks too: hand-made filters stand in one."""
    check_encoder(lab)
    if lab.config.studies.encoder == "given" and len(lab.geometry(lab.config.encoder).blocks) != 1:
        raise DataError(
            "study features puts hand-made filters in an encoder of one block; give --encoder one layer, or leave --studies.encoder out"
        )


def run(lab: Lab, do: Perform) -> dict[str, Any]:
    """Fit every model on every kind of features, and the network of study 2 on the images."""
    encoder, config = chosen_autoencoder(lab, do)
    do([AutoencoderTask("autoencoder", Learned(encoder, config, seed)) for seed in range(lab.config.seeds)])
    rows = do(list(_plan(lab, encoder, config)))
    scores = read_scores(lab, rows)
    kinds = _specs(lab.config, encoder, config, 0)
    families = {
        family: compare(rows, scores, contrasts, correlation=lab.folds.correlation)
        for family, contrasts in _contrasts(kinds).items()
    }
    return {
        "arms": families["network"]["arms"],
        "contrasts": [c | {"family": family} for family, compared in families.items() for c in compared["contrasts"]],
        "encoder": encoder.model_dump(mode="json"),
        "loss": config.loss,
        "code_length": lab.geometry(encoder).code_length,
        # What nothing could be fitted on, for its autoencoder diverged, has no features either.
        "why": {
            name: _describe(lab.features(spec).labeled)
            for name, spec in kinds.items()
            if any(row["arm"].startswith(f"{name}-") and "accuracy" in row and row["seed"] == 0 for row in rows)
        },
        "facts": _facts(rows),
        "rows": rows,
    }


def chosen_autoencoder(lab: Lab, do: Perform) -> tuple[EncoderConfig, AutoencoderConfig]:
    """Return the encoder and the loss that study 3 chooses, or those given; trained as --autoencoder says."""
    config = lab.config.autoencoder
    if lab.config.studies.encoder == "given":
        return lab.config.encoder, config
    chosen = search(lab, do).chosen
    return chosen.encoder, config.model_copy(update={"loss": chosen.config.loss})


def _specs(config: Config, encoder: EncoderConfig, trained: AutoencoderConfig, seed: int) -> dict[str, FeatureSpec]:
    """Return the kinds of features of a seed, by name."""
    learned = FeatureSpec("autoencoder", encoder, Learned(encoder, trained, seed))
    random = FeatureSpec("random", encoder, seed=seed)
    kinds = {
        "pixels": FeatureSpec("pixels"),
        "pca": FeatureSpec("pca", encoder),
        "filters": FeatureSpec("filters", encoder),
        "random": random,
        "autoencoder": learned,
        "random-quadrants": replace(random, pooling="quadrants"),
        "autoencoder-quadrants": replace(learned, pooling="quadrants"),
    }
    if len(encoder.conv_out_channels) > 1:
        # The hand-made filters are one layer.
        del kinds["filters"]
    return kinds


def _plan(lab: Lab, encoder: EncoderConfig, trained: AutoencoderConfig) -> Iterator[Task]:
    grid = lab.config.studies.network
    for seed in range(lab.config.seeds):
        for name, spec in _specs(lab.config, encoder, trained, seed).items():
            for model in MODELS:
                for fold in range(len(lab.folds.folds)):
                    yield ClassicalTask(f"{name}-{model}", spec, model, fold, seed)
                    if not name.startswith("autoencoder") or model not in SCALED:
                        continue
                    for scaling in _SCALINGS:
                        yield ClassicalTask(f"{name}-{model}-{scaling}", spec, model, fold, seed, (scaling,))
        for fold in range(len(lab.folds.folds)):
            yield NetworkTask("base-network", grid.encoder, base_network(grid.training), fold, seed)


def _contrasts(sources: Collection[str]) -> dict[str, list[Contrast]]:
    """Return families of comparisons; p values are corrected within a family."""
    families: dict[str, list[Contrast]] = {
        model: [
            *(Contrast(f"autoencoder-{model}", f"{source}-{model}") for source in sources if source in _CONTROLS),
            Contrast(f"autoencoder-quadrants-{model}", f"autoencoder-{model}"),
            Contrast(f"autoencoder-quadrants-{model}", f"random-quadrants-{model}"),
        ]
        for model in MODELS
    }
    families["scaling"] = [
        Contrast(f"{name}-{model}-each", f"{name}-{model}-common")
        for model in SCALED
        for name in ("autoencoder", "autoencoder-quadrants")
    ]
    families["network"] = [Contrast("autoencoder-logistic", "base-network")]
    return families


def _describe(features: NDArray[np.float32]) -> dict[str, float]:
    """Return how features hang together: mean absolute correlation, and how many directions hold the variance.

    The second is the participation ratio (sum of the covariance's eigenvalues)^2 / sum of their squares; it needs no
    eigenvalues, being trace(C)^2 / |C|^2.
    """
    centred = features - features.mean(axis=0)
    covariance = (centred.T @ centred).astype(np.float64) / len(features)
    ratio = float(np.trace(covariance) ** 2 / max(float((covariance**2).sum()), 1e-300))
    deviations = np.sqrt(np.diag(covariance))
    alive = np.flatnonzero(deviations > 1e-6 * deviations.max(initial=1e-300))
    chosen = alive[np.unique(np.linspace(0, len(alive) - 1, min(_MOST_COLUMNS, len(alive))).astype(int))]
    correlation = covariance[np.ix_(chosen, chosen)] / np.outer(deviations[chosen], deviations[chosen])
    apart = ~np.eye(len(chosen), dtype=bool)
    return {
        "features": features.shape[1],
        "alive": len(alive),
        "correlation": float(np.abs(correlation[apart]).mean()) if len(chosen) > 1 else 0.0,
        "directions": ratio,
        "zeros": float((features == 0).mean()),
    }


def _facts(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return, by arm, the mean training accuracy, and the trees' mean depth where there are trees."""
    facts: dict[str, dict[str, float]] = {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm and "train_accuracy" in row]
        if own:
            facts[arm] = {"train_accuracy": float(np.mean([row["train_accuracy"] for row in own]))}
            depths = [row["facts"]["depth"] for row in own if "depth" in row["facts"]]
            facts[arm] |= {"depth": float(np.mean(depths))} if depths else {}
    return facts
