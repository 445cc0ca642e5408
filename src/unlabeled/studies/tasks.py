"""The runs that train an autoencoder, and those that fit a classical model on features."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from unlabeled.checkpoints import save_weights
from unlabeled.classifiers import (
    Chosen,
    Labeled,
    Scaling,
    choose_boosting,
    choose_logistic,
    choose_neighbours,
    choose_trees,
    score,
)
from unlabeled.errors import TrainingDiverged
from unlabeled.features import pixel_features
from unlabeled.files import write_arrays, write_history
from unlabeled.images import Images
from unlabeled.layout import count_parameters
from unlabeled.linear import fit_linear_network
from unlabeled.models import ConvAutoEncoder
from unlabeled.objectives import Reconstruction
from unlabeled.results import Run
from unlabeled.runtime import Runtime, evaluating
from unlabeled.stacking import fit_stacked
from unlabeled.studies.lab import Lab
from unlabeled.studies.patches import PatchesTask
from unlabeled.studies.performing import fold_label, median_speed, perform, score_test
from unlabeled.studies.specs import FeatureSpec, Learned, PatchesLearned
from unlabeled.training import Watcher

Classical: TypeAlias = Literal["logistic", "linear-network", "trees", "boosting", "neighbours"]
_PICTURES = 10
_IMAGES_OF_MEAN = 2000
_BOTH: tuple[Scaling, ...] = ("common", "each")
_FIELDS: dict[Classical, set[str]] = {
    "logistic": {"strengths", "max_iter"},
    "linear-network": {"strengths", "max_iter"},
    "trees": {"ensemble", "trees", "min_samples_leaf"},
    "boosting": {"boosting_iterations", "boosting_rate"},
    "neighbours": {"neighbours"},
}


@dataclass(frozen=True)
class AutoencoderTask:
    """Train an autoencoder on unlabeled images."""

    arm: str
    learned: Learned

    @property
    def kind(self) -> str:
        """What takes about the same time."""
        return f"autoencoder {self.learned.images}"

    @property
    def label(self) -> str:
        """What a line of progress calls it."""
        return f"{self.arm}, seed {self.learned.seed}"

    @property
    def position(self) -> dict[str, int]:
        """Where its row stands beside others of its arm."""
        return {"seed": self.learned.seed}

    def run(self, lab: Lab) -> Run:
        """Return its folder."""
        return lab.autoencoder_run(self.learned)

    def compute(self, lab: Lab, run: Run, watcher: Watcher | None) -> dict[str, Any]:
        """Train, and keep weights and pictures."""
        learned, watched = self.learned, lab.watched(self.learned.images)
        model = lab.new_autoencoder(learned.encoder, learned.seed, config=learned.config)
        config = learned.config
        objective = Reconstruction(config.loss, config.noise, config.noise_level)
        fitted = fit_stacked(
            model, objective, watched, valid=lab.held_out, config=config.training, stacking=config.stacking,
            seed=learned.seed, runtime=lab.runtime, folder=run.folder, watcher=watcher,
        )  # fmt: skip
        write_history(run.folder / "history.jsonl", fitted.history)
        save_weights(run.folder / "weights.safetensors", model)
        write_arrays(run.folder / "pictures.npz", **_pictures(model, lab.held_out, lab.runtime))
        for path in run.folder.glob("**/checkpoint.safetensors"):
            path.unlink(missing_ok=True)
        return {
            "held_out_mse": fitted.history[fitted.best_epoch - 1]["valid_mse"],
            "held_out_variance": _error_of_mean(watched, lab.held_out),
            "images": len(watched),
            "code_size": list(model.geometry.code_size),
            "code_length": model.geometry.code_length,
            "input_length": model.geometry.input_length,
            "parameters": count_parameters(model),
            "model": repr(model),
            "best_epoch": fitted.best_epoch,
            "seconds": fitted.seconds,
            "images_per_second": median_speed(fitted),
        }


def ensure_autoencoder(lab: Lab, learned: Learned, watcher: Watcher | None = None) -> None:
    """Train an autoencoder unless that is done.

    Raises
    ------
    TrainingDiverged
        If it diverged, now or before: what stands on it can't be had.
    """
    result = perform(lab, AutoencoderTask("autoencoder", learned), watcher)
    if "diverged" in result:
        raise TrainingDiverged(f"its autoencoder: {result['diverged']}")


def ensure_start(lab: Lab, learned: Learned | PatchesLearned, watcher: Watcher | None = None) -> None:
    """Train what features or a network stand on, an autoencoder or filters of patches, unless that is done.

    Raises
    ------
    TrainingDiverged
        If it diverged, now or before.
    """
    if isinstance(learned, Learned):
        ensure_autoencoder(lab, learned, watcher)
    elif learned.kind == "sparse":
        result = perform(lab, PatchesTask("sparse autoencoder", learned), watcher)
        if "diverged" in result:
            raise TrainingDiverged(f"its sparse autoencoder: {result['diverged']}")


@dataclass(frozen=True)
class ClassicalTask:
    """Fit a classical model on features of a fold, choose on its validation part, score the test split once."""

    arm: str
    features: FeatureSpec
    model: Classical
    fold: int
    seed: int
    scalings: tuple[Scaling, ...] = _BOTH

    @property
    def kind(self) -> str:
        """What takes about the same time."""
        return f"{self.features.source} {self.features.pooling} {self.model}"

    @property
    def label(self) -> str:
        """What a line of progress calls it."""
        return fold_label(self.arm, self.fold, self.seed)

    @property
    def position(self) -> dict[str, int]:
        """Where its row stands beside others of its arm."""
        return {"fold": self.fold, "seed": self.seed}

    def run(self, lab: Lab) -> Run:
        """Return its folder, the same for all seeds where nothing depends on them."""
        part, features = lab.folds.folds[self.fold], self.features
        learned_is_used = features.source in ("pca", "autoencoder", "patches")
        seeded_model = self.model in ("trees", "boosting")
        configuration: dict[str, Any] = {
            "data": lab.data_key(unlabeled=learned_is_used),
            "features": features.as_json(),
            "train": part.train.tolist(),
            "valid": part.valid.tolist(),
            "seed": self.seed if seeded_model else None,
            self.model: lab.config.classical.model_dump(mode="json", include=_FIELDS[self.model]),
        }
        if features.learned is not None:
            configuration["autoencoder"] = lab.run_of(features.learned).folder.name
        if features.source == "pca":
            configuration["images"] = len(lab.watched())
        if features.source in ("random", "filters", "autoencoder", "patches"):
            configuration |= lab.arithmetic
        if self.model in ("logistic", "linear-network", "neighbours"):
            configuration["scalings"] = list(self.scalings)
        of_seed = seeded_model or features.seed is not None or features.learned is not None
        name = f"fold{self.fold}-seed{self.seed}" if of_seed else f"fold{self.fold}"
        return Run(lab.folder / "runs", f"{features.source}-{self.model}/{name}", configuration)

    def compute(self, lab: Lab, run: Run, watcher: Watcher | None) -> dict[str, Any]:
        """Fit and score."""
        if self.features.learned is not None:
            ensure_start(lab, self.features.learned, watcher)
        part, labels = lab.folds.folds[self.fold], lab.splits.labeled.classes
        reference = self._reference(lab, watcher)
        features = lab.features(self.features)
        train, valid = (Labeled(features.labeled[rows], labels[rows]) for rows in (part.train, part.valid))
        start = time.perf_counter()
        chosen = self._fit(lab, train, valid, reference)
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        probabilities = chosen.classifier.predict(features.test)
        predicting = time.perf_counter() - start
        accuracy, loss = score(chosen.classifier.predict(valid.features), valid.labels)
        train_accuracy, train_loss = score(chosen.classifier.predict(train.features), train.labels)
        return {
            "converged": chosen.converged,
            "choice": chosen.choice,
            "tried": chosen.tried,
            "facts": chosen.facts,
            "features": int(features.labeled.shape[1]),
            "valid_accuracy": accuracy,
            "valid_log_loss": loss,
            "train_accuracy": train_accuracy,
            "train_log_loss": train_loss,
            "seconds": seconds,
            "predict_seconds": predicting,
            **score_test(run, probabilities, lab.splits.test.classes),
        }

    def _reference(self, lab: Lab, watcher: Watcher | None) -> dict[str, Any]:
        """Return what scikit-learn's regression chose, if this is its twin."""
        if self.model != "linear-network":
            return {}
        twin = ClassicalTask(self.arm, self.features, "logistic", self.fold, self.seed, self.scalings)
        choice: dict[str, Any] = perform(lab, twin, watcher)["choice"]
        return choice

    def _fit(self, lab: Lab, train: Labeled, valid: Labeled, reference: dict[str, Any]) -> Chosen:
        config, classes = lab.config.classical, lab.classes
        if self.model == "logistic":
            return choose_logistic(train, valid, classes=classes, config=config, scalings=self.scalings)
        if self.model == "linear-network":
            return fit_linear_network(
                train, classes=classes, scaling=reference["scaling"], strength=reference["C"], max_iter=config.max_iter
            )
        if self.model == "neighbours":
            return choose_neighbours(train, valid, classes=classes, config=config, scalings=self.scalings)
        if self.model == "boosting":
            return choose_boosting(train, valid, classes=classes, config=config, seed=self.seed)
        threads = torch.get_num_threads()
        return choose_trees(train, valid, classes=classes, config=config, seed=self.seed, threads=threads)


def _pictures(model: ConvAutoEncoder, images: Images, runtime: Runtime) -> dict[str, NDArray[Any]]:
    """Return held-out originals and their reconstructions, uint8, and the first layer's filters, float32."""
    originals = images.take(np.arange(min(_PICTURES, len(images))))
    with evaluating(model), runtime.autocast():
        outputs = model(runtime.load(originals)).float().cpu()
    first = next(model.encoder.convolutions.parameters())  # its weight comes before its bias
    filters = first.detach().float().cpu().numpy()
    return {"originals": originals, "reconstructions": to_pixels(outputs), "filters": filters}


def to_pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    """Turn images in [-1, 1] into pixels, what lies outside cut off."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()


def _error_of_mean(images: Images, held_out: Images) -> float:
    """Return the mean squared error on [-1, 1] of always guessing the mean of the (first) images."""
    mean = pixel_features(images.subset(np.arange(min(len(images), _IMAGES_OF_MEAN)))).mean(axis=0, dtype=np.float64)
    return float(((pixel_features(held_out) - mean) ** 2).mean())
