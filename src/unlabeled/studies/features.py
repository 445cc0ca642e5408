"""Study 4: the autoencoder's frozen codes for the classical models, against pixels, PCA, random and hand-made filters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.comparison import compare, read_scores
from unlabeled.config import AutoencoderConfig, EncoderConfig
from unlabeled.errors import DataError
from unlabeled.outcomes import ClassicalOutcome
from unlabeled.records import ArmKey, Comparison, Contrast, Row, of_arm, outcomes_of
from unlabeled.studies.autoencoder import search
from unlabeled.studies.network import base_network
from unlabeled.studies.specs import (
    ComponentFeatures,
    FeatureSpec,
    HandMadeCodes,
    Learned,
    LearnedCodes,
    PixelFeatures,
    RandomCodes,
)
from unlabeled.studies.tasks import AutoencoderTask, Classical, ClassicalTask, NetworkTask, Perform, Scaling, Task

if TYPE_CHECKING:
    from unlabeled.studies.lab import Lab

MODELS: tuple[Classical, ...] = ("logistic", "trees", "boosting", "neighbours")
SCALED: tuple[Classical, ...] = ("logistic", "neighbours")
_SCALINGS: tuple[Scaling, ...] = ("common", "each")
CONTROLS = ("pixels", "pca", "filters", "random")
NETWORK = ArmKey("random", "network")
_MOST_COLUMNS = 512


@dataclass(frozen=True)
class Kind:
    """A kind of features: where they come from, and how they are pooled."""

    source: str
    pooling: str = ""

    def arm(self, model: str, scaling: str = "") -> ArmKey:
        """Return the arm of a model on them."""
        return ArmKey(self.source, model, pooling=self.pooling, scaling=scaling)


CODES, QUADRANTS = Kind("autoencoder"), Kind("autoencoder", "quadrants")
# In the order of tables.
KINDS = (*(Kind(source) for source in CONTROLS), CODES, Kind("random", "quadrants"), QUADRANTS)


@dataclass(frozen=True)
class Shape:
    """How features hang together: how many there are and vary, their mean absolute correlation, directions, share of zeros."""

    kind: Kind
    features: int
    alive: int
    correlation: float
    directions: float
    zeros: float


@dataclass(frozen=True)
class Fit:
    """The mean accuracy of an arm on its own training images, and the mean depth of its trees."""

    arm: ArmKey
    train_accuracy: float
    depth: float | None = None


@dataclass(frozen=True)
class FeaturesFindings:
    """What study 4 found."""

    comparison: Comparison
    encoder: dict[str, Any]
    loss: str
    code_length: int
    shapes: tuple[Shape, ...]
    fits: tuple[Fit, ...]
    rows: tuple[Row, ...]


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


def run(lab: Lab, do: Perform) -> FeaturesFindings:
    """Fit every model on every kind of features, and the network of study 2 on the images."""
    encoder, config = chosen_autoencoder(lab, do)
    do([AutoencoderTask(ArmKey("autoencoder"), Learned(encoder, config, seed)) for seed in range(lab.config.seeds)])
    rows = do(list(_plan(lab, encoder, config)))
    kinds = _specs(encoder, config, 0)
    scores = read_scores(lab.folder, rows, lab.splits.test.classes)
    fitted = {row.arm for row in rows if row.seed == 0 and row.scored is not None}
    return FeaturesFindings(
        comparison=compare(rows, scores, _contrasts(kinds), correlation=lab.folds.correlation),
        encoder=encoder.model_dump(mode="json"),
        loss=config.loss,
        code_length=lab.geometry(encoder).code_length,
        # What nothing could be fitted on, for its autoencoder diverged, has no features either.
        shapes=tuple(
            _describe(kind, lab.features(spec).labeled)
            for kind, spec in kinds.items()
            if any(kind.arm(model) in fitted for model in MODELS)
        ),
        fits=_fits(rows),
        rows=tuple(rows),
    )


def chosen_autoencoder(lab: Lab, do: Perform) -> tuple[EncoderConfig, AutoencoderConfig]:
    """Return the encoder and the loss that study 3 chooses, or those given; trained as --autoencoder says."""
    config = lab.config.autoencoder
    if lab.config.studies.encoder == "given":
        return lab.config.encoder, config
    chosen = search(lab, do).chosen
    return chosen.encoder, config.model_copy(update={"loss": chosen.config.loss})


def _specs(encoder: EncoderConfig, trained: AutoencoderConfig, seed: int) -> dict[Kind, FeatureSpec]:
    """Return the kinds of features of a seed."""
    learned = Learned(encoder, trained, seed)
    kinds: dict[Kind, FeatureSpec] = {
        Kind("pixels"): PixelFeatures(),
        Kind("pca"): ComponentFeatures(encoder),
        Kind("filters"): HandMadeCodes(encoder),
        Kind("random"): RandomCodes(encoder, seed),
        CODES: LearnedCodes(learned),
        Kind("random", "quadrants"): RandomCodes(encoder, seed, "quadrants"),
        QUADRANTS: LearnedCodes(learned, "quadrants"),
    }
    if len(encoder.conv_out_channels) > 1:
        # The hand-made filters are one layer.
        del kinds[Kind("filters")]
    return kinds


def _plan(lab: Lab, encoder: EncoderConfig, trained: AutoencoderConfig) -> Iterator[Task]:
    grid, folds = lab.config.studies.network, range(len(lab.folds.folds))
    for seed in range(lab.config.seeds):
        for kind, spec in _specs(encoder, trained, seed).items():
            for model in MODELS:
                for fold in folds:
                    yield ClassicalTask(kind.arm(model), spec, model, fold, seed)
                    if kind.source != "autoencoder" or model not in SCALED:
                        continue
                    for scaling in _SCALINGS:
                        yield ClassicalTask(kind.arm(model, scaling), spec, model, fold, seed, (scaling,))
        for fold in folds:
            yield NetworkTask(NETWORK, grid.encoder, base_network(grid.training), fold, seed)


def _contrasts(kinds: Collection[Kind]) -> list[Contrast]:
    """Return the comparisons, in families of a model each."""
    random = Kind("random", "quadrants")
    contrasts = []
    for model in MODELS:
        codes = CODES.arm(model)
        contrasts += [Contrast(codes, k.arm(model), model) for k in kinds if k.source in CONTROLS and not k.pooling]
        contrasts += [Contrast(QUADRANTS.arm(model), other.arm(model), model) for other in (CODES, random)]
    contrasts += [
        Contrast(kind.arm(model, "each"), kind.arm(model, "common"), "scaling")
        for model in SCALED
        for kind in (CODES, QUADRANTS)
    ]
    return [*contrasts, Contrast(CODES.arm("logistic"), NETWORK, "network")]


def _describe(kind: Kind, features: NDArray[np.float32]) -> Shape:
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
    return Shape(
        kind,
        features=features.shape[1],
        alive=len(alive),
        correlation=float(np.abs(correlation[apart]).mean()) if len(chosen) > 1 else 0.0,
        directions=ratio,
        zeros=float((features == 0).mean()),
    )


def _fits(rows: Sequence[Row]) -> tuple[Fit, ...]:
    """Return each classical arm's fit on its own training images."""
    fits = []
    for arm in dict.fromkeys(row.arm for row in rows):
        outcomes = outcomes_of(of_arm(rows, arm), ClassicalOutcome)
        if outcomes:
            depths = [outcome.facts["depth"] for outcome in outcomes if "depth" in outcome.facts]
            accuracy = float(np.mean([outcome.train_accuracy for outcome in outcomes]))
            fits.append(Fit(arm, accuracy, float(np.mean(depths)) if depths else None))
    return tuple(fits)
