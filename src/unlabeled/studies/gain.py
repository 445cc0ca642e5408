"""The main job: what are the unlabeled images worth? Trains the arms, and compares them under one protocol."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unlabeled.comparison import ARMS, CONTRASTS, SOURCES, Arm, compare
from unlabeled.config import STUDY_NAMES, Config
from unlabeled.errors import TrainingDiverged, UserError
from unlabeled.files import write_arrays, write_json
from unlabeled.images import Splits
from unlabeled.kernels import building
from unlabeled.machine import describe_machine, peak_memory
from unlabeled.plain import printable
from unlabeled.progress import RunProgress
from unlabeled.results import has_result, keep_earlier, write_result
from unlabeled.studies.joint import joint_weights
from unlabeled.studies.lab import Lab
from unlabeled.studies.networks import Joint, NetworkTask
from unlabeled.studies.performing import Task, read_scores
from unlabeled.studies.runner import run_tasks
from unlabeled.studies.specs import FeatureSpec, Learned
from unlabeled.studies.tasks import AutoencoderTask, ClassicalTask
from unlabeled.studies.workplace import working_in

# What makes an answer, beside the runs that it was made of.
_FILES = ("result.json", "config.json", "test.npz", "report.html")


def run_gain(config: Config, splits: Splits, *, folder: Path, progress: RunProgress | None = None) -> Path:
    """Run every arm on every fold and seed, or what is still missing, and return the study's folder.

    ``result.json`` in that folder holds the rows, the arms' means, the effects and the protocol.

    Raises
    ------
    GeometryError, DataError, TrainingDiverged
        If the specification does not fit, the folds can't be made, or a loss stops being finite.
    """
    began = time.perf_counter()
    lab = Lab(config, splits, folder)
    # Whatever can be refused is, before anything is trained.
    if any(has_result(folder / name) for name in STUDY_NAMES):
        raise UserError(
            f"{folder}: holds answers of studies, whose report would be overwritten; give another folder with --out"
        )
    geometry, folds = lab.geometry(config.encoder), lab.folds
    lab.check_network(config.encoder, config.network)
    question = config.question | {"images": splits.origin.get("key")}
    with progress or RunProgress() as shown, working_in(folder, shown.note):
        tell_kernels(lab, shown)
        autoencoders = _whole(run_tasks(lab, [_autoencoder(config, seed) for seed in range(config.seeds)], shown))
        rows = _whole(run_tasks(lab, list(plan(lab)), shown))
        pca = [row["features"] for row in rows if row["arm"].startswith("pca")]
        result = {
            "question": question,
            "protocol": lab.protocol() | {"code_length": geometry.code_length, "pca_length": min(pca)},
            **compare(rows, read_scores(lab, rows), CONTRASTS, correlation=folds.correlation, named_first=True),
            "rows": rows,
            "autoencoders": autoencoders,
            "machine": describe_machine(lab.runtime, kernels=lab.kernels),
            "seconds": computing_seconds(rows + autoencoders),
            "this_run_seconds": time.perf_counter() - began,
            "peak_memory_mb": peak_memory(),
        }
        # An earlier result in this folder stays whole until this one takes its place; one to another question is kept beside.
        if (kept := keep_earlier(folder, question, _FILES)) is not None:
            shown.note(f"an answer to another question was in this folder; it is kept in {printable(str(kept))}")
        write_arrays(folder / "test.npz", labels=splits.test.classes)
        write_json(folder / "config.json", config.question)
        write_result(folder, result, ("config.json", "test.npz"))
    return folder


def tell_kernels(lab: Lab, progress: RunProgress) -> None:
    """Say that the kernels were turned off; that they can't be had is said where they are looked for."""
    if lab.runtime.uses_kernels and building.turned_off():
        progress.note("kernels are off (UNLABELED_KERNELS=off); PyTorch's own layers do the work")


def plan(lab: Lab) -> Iterator[Task]:
    """Yield the runs of all arms, by seed and source, so that features are made once for all models."""
    for seed in range(lab.config.seeds):
        for arm in sorted(ARMS, key=lambda arm: SOURCES.index(arm.source)):
            for fold in range(len(lab.folds.folds)):
                yield _task(lab.config, arm, fold, seed)


def _task(config: Config, arm: Arm, fold: int, seed: int) -> Task:
    learned = Learned(config.encoder, config.autoencoder, seed) if arm.source == "autoencoder" else None
    if arm.model == "network":
        # All networks choose from as many candidates as the joint ones, which have weights to choose.
        weights = joint_weights(config.studies.joint)
        if arm.source in ("labeled", "joint"):
            joint = Joint(weights, unlabeled=arm.source == "joint")
            return NetworkTask(arm.key, config.encoder, config.network, fold, seed, joint=joint)
        return NetworkTask(arm.key, config.encoder, config.network, fold, seed, start=learned, trials=len(weights))
    assert arm.source != "labeled"
    assert arm.source != "joint"
    features = FeatureSpec(
        arm.source,
        encoder=None if arm.source == "pixels" else config.encoder,
        learned=learned,
        seed=seed if arm.source == "random" else None,
    )
    return ClassicalTask(arm.key, features, arm.model, fold, seed)


def _autoencoder(config: Config, seed: int) -> AutoencoderTask:
    return AutoencoderTask("autoencoder", Learned(config.encoder, config.autoencoder, seed))


def _whole(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Refuse rows that diverged: without one of its arms there is no answer."""
    for row in rows:
        if "diverged" in row:
            raise TrainingDiverged(row["diverged"])
    return rows


def computing_seconds(rows: list[dict[str, Any]]) -> float:
    """Add up the seconds of every run, each once, whenever it was made."""
    return float(sum({row["run"]: row["seconds"] + row.get("predict_seconds", 0.0) for row in rows}.values()))
