"""The main job: what are the unlabeled images worth? Trains the arms, and compares them under one protocol."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from unlabeled.checkpoints import load_weights, save_weights
from unlabeled.classifiers import Labeled, choose_logistic, choose_trees, log_losses, score
from unlabeled.comparison import ARMS, SOURCES, Arm, compare
from unlabeled.config import Config
from unlabeled.errors import UserError
from unlabeled.features import encode, fit_components, pixel_features
from unlabeled.folds import Folds, describe, make_folds
from unlabeled.images import Images, Splits
from unlabeled.machine import describe_machine, peak_memory
from unlabeled.models import ConvAutoEncoder, ConvNet, count_parameters
from unlabeled.objectives import Classification, Reconstruction
from unlabeled.progress import RunProgress
from unlabeled.results import Run, read_arrays, write_arrays, write_history, write_json
from unlabeled.runtime import Runtime, evaluating, seeded
from unlabeled.training import Fitted, batches, fit

# Raise it when the same configuration would give other results.
_VERSION = 1
_MOST_HELD_OUT = 2000
_PICTURES = 10


def run_study(config: Config, splits: Splits, *, folder: Path, progress: RunProgress | None = None) -> Path:
    """Run every arm on every fold and seed, or what is still missing, and return the study's folder.

    ``result.json`` in that folder holds the rows, the arms' means, the effects and the protocol.

    Raises
    ------
    GeometryError, DataError, TrainingDiverged
        If the specification does not fit, the folds can't be made, or a loss stops being finite.
    """
    began = time.perf_counter()
    folds = make_folds(splits, count=config.folds, labels=config.labels)
    study = _Study(config, splits, folds, folder)
    rows: list[dict[str, Any]] = []
    autoencoders: list[dict[str, Any]] = []
    with progress or RunProgress(study.plan()) as shown:
        for seed in range(config.seeds):
            autoencoders.append(study.train_autoencoder(seed, shown))
            # By source, so that its features are made once for all models.
            for arm in sorted(ARMS, key=lambda arm: SOURCES.index(arm.source)):
                rows += [study.run_arm(arm, fold, seed, shown) for fold in range(len(folds.folds))]
    result = {
        "protocol": study.protocol(),
        **compare(rows, _read_scores(folder, rows, splits.test.classes), correlation=folds.correlation),
        "rows": rows,
        "autoencoders": autoencoders,
        "machine": describe_machine(study.runtime),
        "seconds": _computing_seconds(rows, autoencoders),
        "this_run_seconds": time.perf_counter() - began,
        "peak_memory_mb": peak_memory(),
    }
    # An earlier result in this folder stays whole until this one takes its place.
    write_arrays(folder / "test.npz", labels=splits.test.classes)
    write_json(folder / "config.json", config.model_dump(mode="json"))
    write_json(folder / "result.json", result)
    return folder


@dataclass(frozen=True)
class _Features:
    """Features of the labeled and of the test images, float32 (n, d)."""

    labeled: NDArray[np.float32]
    test: NDArray[np.float32]


class _Study:
    """What all runs share: configuration, data, folds, device and the folder of runs."""

    def __init__(self, config: Config, splits: Splits, folds: Folds, folder: Path) -> None:
        self.config, self.splits, self.folds, self.folder = config, splits, folds, folder
        self.runtime = Runtime.of(config.device, config.precision)
        self.watched, self.held_out = _hold_out(splits.unlabeled, config.autoencoder.held_out)
        self.geometry = self.new_autoencoder(0).geometry
        # Of one seed and source at a time: on large data sets they are the largest thing in memory.
        self.features = lru_cache(maxsize=1)(self._make_features)
        self.components = lru_cache(maxsize=1)(lambda: fit_components(self.watched, self.geometry.code_length))

    def plan(self) -> list[str]:
        """Name the kind of every run to come."""
        runs = [f"{arm.source} {arm.model}" for arm in ARMS] * len(self.folds.folds) + ["autoencoder"]
        return runs * self.config.seeds

    def new_autoencoder(self, seed: int) -> ConvAutoEncoder:
        """Make an autoencoder with the initial weights of a seed."""
        encoder = self.config.encoder.model_dump()
        with seeded(seed):
            return ConvAutoEncoder(
                self.splits.unlabeled.shape, output_activation=self.config.autoencoder.output_activation, **encoder
            )

    def new_network(self, source: str, seed: int) -> ConvNet:
        """Make a network with the initial weights of a seed, its encoder copied if it comes from the autoencoder."""
        head: dict[str, Any] = {
            "classes": len(self.splits.class_names),
            "hidden": self.config.network.hidden,
            "dropout": self.config.network.dropout,
        }
        # The autoencoder began with these weights too, so both networks differ in its training and nothing else.
        with seeded(seed):
            if source == "autoencoder":
                return ConvNet.from_encoder(self.trained_autoencoder(seed), **head)
            return ConvNet(self.splits.labeled.shape, **self.config.encoder.model_dump(), **head)

    def data_key(self) -> dict[str, Any]:
        """Everything about the data that determines an outcome."""
        config = self.config
        return {
            "store": self.splits.origin["key"],
            "leaks": config.leaks,
            "unlabeled": config.unlabeled,
            "version": _VERSION,
        }

    def autoencoder_run(self, seed: int) -> Run:
        """Return the run that trains a seed's autoencoder; it knows neither labels nor folds."""
        configuration = {
            "data": self.data_key(),
            "encoder": self.config.encoder.model_dump(mode="json"),
            "autoencoder": self.config.autoencoder.model_dump(mode="json"),
            "precision": self.config.precision,
            "seed": seed,
        }
        return Run(self.folder / "runs", f"autoencoder/seed{seed}", configuration)

    def train_autoencoder(self, seed: int, progress: RunProgress) -> dict[str, Any]:
        """Train a seed's autoencoder on the unlabeled images, unless it is there, and return its result."""
        run = self.autoencoder_run(seed)
        progress.start("autoencoder", f"autoencoder, seed {seed}")
        repeated = run.finished
        if not repeated:
            run.start()
            model, config = self.new_autoencoder(seed), self.config.autoencoder
            fitted = fit(
                model, Reconstruction(config.loss), self.watched, valid=self.held_out, config=config.training,
                seed=seed, runtime=self.runtime, folder=run.folder, watcher=progress,
            )  # fmt: skip
            save_weights(run.folder / "weights.safetensors", model)
            write_arrays(run.folder / "pictures.npz", **_pictures(model, self.held_out, self.runtime))
            run.finish(
                {
                    "seed": seed,
                    "run": str(run.folder.relative_to(self.folder)),
                    "held_out_mse": fitted.history[fitted.best_epoch - 1]["valid_mse"],
                    "held_out_variance": _error_of_mean(self.watched, self.held_out),
                    "code_size": list(model.geometry.code_size),
                    "code_length": model.geometry.code_length,
                    "input_length": model.geometry.input_length,
                    "parameters": count_parameters(model),
                    "model": repr(model),
                    "best_epoch": fitted.best_epoch,
                    "seconds": fitted.seconds,
                    "images_per_second": float(np.median([row["images_per_second"] for row in fitted.history])),
                }
            )
            (run.folder / "checkpoint.safetensors").unlink(missing_ok=True)
        result = run.result()
        progress.done(f"held-out MSE {result['held_out_mse']:.4f}", repeated=repeated)
        return result

    def trained_autoencoder(self, seed: int) -> ConvAutoEncoder:
        """Read a seed's autoencoder."""
        model = self.new_autoencoder(seed)
        load_weights(self.autoencoder_run(seed).folder / "weights.safetensors", model)
        return model

    def run_arm(self, arm: Arm, fold: int, seed: int, progress: RunProgress) -> dict[str, Any]:
        """Fit an arm on a fold, choose on its validation part, score the test split once; unless that is done."""
        run = self._arm_run(arm, fold, seed)
        progress.start(f"{arm.source} {arm.model}", f"{arm.label}, fold {fold + 1}, seed {seed}")
        repeated = run.finished
        if not repeated:
            run.start()
            part = self.folds.folds[fold]
            if arm.model == "network":
                outcome, probabilities = self._run_network(arm, part.train, part.valid, seed, run, progress)
            else:
                outcome, probabilities = self._run_classical(arm, part.train, part.valid, seed)
            test = self.splits.test.classes
            accuracy, loss = score(probabilities, test)
            write_arrays(
                run.folder / "test.npz",
                predicted=probabilities.argmax(1).astype(np.uint16),
                log_loss=log_losses(probabilities, test).astype(np.float32),
            )
            run.finish(outcome | {"accuracy": accuracy, "log_loss": loss})
        result = run.result()
        progress.done(f"test accuracy {100 * result['accuracy']:.1f} %", repeated=repeated)
        return {"arm": arm.key, "fold": fold, "seed": seed, "run": str(run.folder.relative_to(self.folder)), **result}

    def _arm_run(self, arm: Arm, fold: int, seed: int) -> Run:
        config, part = self.config, self.folds.folds[fold]
        configuration: dict[str, Any] = {
            "data": self.data_key() | {"test": config.test},
            "arm": arm.key,
            "train": part.train.tolist(),
            "valid": part.valid.tolist(),
            "seed": seed if arm.seeded else None,
        }
        if arm.source == "autoencoder":
            configuration["autoencoder"] = self.autoencoder_run(seed).folder.name
        if arm.source == "random" or arm.model == "network":
            configuration["encoder"] = config.encoder.model_dump(mode="json")
        if arm.source in ("pixels", "random"):
            # These never see an unlabeled image.
            configuration["data"].pop("unlabeled")
        if arm.source == "pca":
            configuration |= {"length": self.geometry.code_length, "images": len(self.watched)}
        fields = {
            "network": None,
            "logistic": {"strengths", "max_iter"},
            "trees": {"ensemble", "trees", "min_samples_leaf"},
        }
        section = config.network if arm.model == "network" else config.classical
        configuration[arm.model] = section.model_dump(mode="json", include=fields[arm.model])
        if arm.source in ("random", "autoencoder"):
            configuration["precision"] = config.precision
        name = f"fold{fold}-seed{seed}" if arm.seeded else f"fold{fold}"
        return Run(self.folder / "runs", f"{arm.key}/{name}", configuration)

    def _run_classical(
        self, arm: Arm, train: NDArray[np.intp], valid: NDArray[np.intp], seed: int
    ) -> tuple[dict[str, Any], NDArray[np.float64]]:
        features = self.features(arm.source, seed if arm.source in ("random", "autoencoder") else None)
        labels, classes = self.splits.labeled.classes, len(self.splits.class_names)
        parts = [Labeled(features.labeled[rows], labels[rows]) for rows in (train, valid)]
        start = time.perf_counter()
        if arm.model == "logistic":
            chosen = choose_logistic(*parts, classes=classes, config=self.config.classical)
        else:
            chosen = choose_trees(
                *parts, classes=classes, config=self.config.classical, seed=seed, threads=self.config.threads
            )
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        probabilities = chosen.classifier.predict(features.test)
        outcome = {
            "converged": chosen.converged,
            "choice": chosen.choice,
            "tried": chosen.tried,
            "features": int(features.labeled.shape[1]),
            "seconds": seconds,
            "predict_seconds": time.perf_counter() - start,
        }
        return outcome, probabilities

    def _run_network(
        self, arm: Arm, train: NDArray[np.intp], valid: NDArray[np.intp], seed: int, run: Run, progress: RunProgress
    ) -> tuple[dict[str, Any], NDArray[np.float64]]:
        config, labeled = self.config.network, self.splits.labeled
        tried: list[tuple[float, ConvNet, Fitted]] = []
        for rate in config.learning_rates:
            network = self.new_network(arm.source, seed)
            training = config.training.model_copy(update={"learning_rate": rate})
            folder = run.folder / f"rate{rate:g}"
            fitted = fit(
                network, Classification(), labeled.subset(train), valid=labeled.subset(valid), config=training,
                seed=seed, runtime=self.runtime, folder=folder, watcher=progress,
            )  # fmt: skip
            tried.append((rate, network, fitted))
        rate, network, fitted = min(tried, key=lambda trial: trial[2].best_loss)
        save_weights(run.folder / "weights.safetensors", network)
        write_history(run.folder / "history.jsonl", fitted.history)
        for path in run.folder.glob("rate*/checkpoint.safetensors"):
            path.unlink(missing_ok=True)
        start = time.perf_counter()
        probabilities = predict(network, self.splits.test, runtime=self.runtime)
        outcome = {
            "converged": True,
            "choice": {"learning_rate": rate, "epoch": fitted.best_epoch},
            "tried": [
                {"learning_rate": r, "valid_log_loss": f.best_loss, "epochs": len(f.history)} for r, _, f in tried
            ],
            "parameters": count_parameters(network),
            "seconds": sum(f.seconds for _, _, f in tried),
            "predict_seconds": time.perf_counter() - start,
        }
        return outcome, probabilities

    def _make_features(self, source: str, seed: int | None) -> _Features:
        labeled, test = self.splits.labeled, self.splits.test
        if source == "pixels":
            return _Features(pixel_features(labeled), pixel_features(test))
        if source == "pca":
            return _Features(self.components().scores(labeled), self.components().scores(test))
        assert seed is not None
        model = self.new_autoencoder(seed) if source == "random" else self.trained_autoencoder(seed)
        return _Features(*(encode(model.encoder, images, runtime=self.runtime) for images in (labeled, test)))

    def protocol(self) -> dict[str, Any]:
        """Say what was compared on what, for the report to print beside the numbers."""
        splits, config = self.splits, self.config
        channels, height, width = splits.labeled.shape
        training = config.network.training
        pca = min(self.geometry.code_length, self.geometry.input_length, len(self.watched) - 1)
        return {
            "data": config.data_name,
            "preset": config.preset,
            "image": [channels, height, width],
            "class_names": list(splits.class_names),
            "labeled": len(splits.labeled),
            "unlabeled": len(splits.unlabeled),
            "held_out": len(self.held_out),
            "test": len(splits.test),
            "folds": describe(self.folds),
            "seeds": config.seeds,
            "leaks": asdict(splits.leaks),
            "notes": list(splits.notes),
            "origin": {name: value for name, value in splits.origin.items() if name != "counts"},
            "pca_length": pca,
            "code_length": self.geometry.code_length,
            "ensemble": config.classical.ensemble,
            "augmentation": {"flip": training.flip, "shift": training.shift},
            "precision": config.precision,
        }


def predict(model: ConvNet, images: Images, *, runtime: Runtime | None = None) -> NDArray[np.float64]:
    """Return a network's probabilities (n, classes)."""
    runtime = runtime or Runtime.of()
    parts = []
    with evaluating(model), runtime.autocast():
        for rows in batches(len(images), 500):
            logits = model(runtime.load(images.take(rows)))
            parts.append(F.softmax(logits.float().cpu().double(), dim=1).numpy())
    return np.concatenate(parts)


def _hold_out(unlabeled: Images, share: float) -> tuple[Images, Images]:
    """Split the unlabeled images into those to train on and those that only measure the error; fixed for all seeds."""
    count = min(max(1, round(share * len(unlabeled))), _MOST_HELD_OUT, len(unlabeled) - 1)
    if len(unlabeled) < 2:
        raise UserError(
            f"{len(unlabeled)} unlabeled image; an autoencoder needs 2 or more, one of them to measure its error"
        )
    order = np.random.default_rng(0).permutation(len(unlabeled))
    return unlabeled.subset(np.sort(order[count:])), unlabeled.subset(np.sort(order[:count]))


def _pictures(model: ConvAutoEncoder, images: Images, runtime: Runtime) -> dict[str, NDArray[Any]]:
    """Return held-out originals and their reconstructions, uint8, and the first layer's filters, float32."""
    originals = images.take(np.arange(min(_PICTURES, len(images))))
    with evaluating(model), runtime.autocast():
        outputs = model(runtime.load(originals)).float().cpu()
    reconstructions = ((outputs.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
    first = next(model.encoder.convolutions.parameters())  # its weight comes before its bias
    filters = first.detach().float().cpu().numpy()
    return {"originals": originals, "reconstructions": reconstructions, "filters": filters}


def _error_of_mean(images: Images, held_out: Images) -> float:
    """Return the mean squared error on [-1, 1] of always guessing the mean of the (first) images."""
    mean = pixel_features(images.subset(np.arange(min(len(images), _MOST_HELD_OUT)))).mean(axis=0, dtype=np.float64)
    return float(((pixel_features(held_out) - mean) ** 2).mean())


def _read_scores(
    folder: Path, rows: list[dict[str, Any]], labels: NDArray[np.int64]
) -> dict[tuple[str, int, int], Any]:
    scores = {}
    for row in rows:
        stored = read_arrays(folder / row["run"] / "test.npz")
        scores[row["arm"], row["fold"], row["seed"]] = (stored["predicted"] == labels, stored["log_loss"])
    return scores


def _computing_seconds(rows: list[dict[str, Any]], autoencoders: list[dict[str, Any]]) -> float:
    """Add up the seconds of every run, each once, whenever it was made."""
    runs = {row["run"]: row["seconds"] + row["predict_seconds"] for row in rows}
    return float(sum(runs.values()) + sum(autoencoder["seconds"] for autoencoder in autoencoders))
