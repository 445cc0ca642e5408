"""The studies of the course, alone or all together, each with its result in a folder of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlabeled.config import Config
from unlabeled.errors import UserError
from unlabeled.images import Splits
from unlabeled.machine import describe_machine, peak_memory
from unlabeled.progress import RunProgress
from unlabeled.results import write_json
from unlabeled.studies import autoencoder, baselines, convolved, features, finetune, joint, network, sparse, stacked
from unlabeled.studies.gain import computing_seconds
from unlabeled.studies.lab import Lab
from unlabeled.studies.performing import Perform, Task
from unlabeled.studies.runner import run_tasks, spread


@dataclass(frozen=True)
class CourseStudy:
    """A study: what it needs of the data, and what runs it and returns its result."""

    name: str
    needs: tuple[str, ...]
    run: Callable[[Lab, Perform], dict[str, Any]]


STUDIES = (
    CourseStudy("baselines", ("labeled", "test"), baselines.run),
    CourseStudy("network", ("labeled", "test"), network.run),
    CourseStudy("autoencoder", ("unlabeled",), autoencoder.run),
    CourseStudy("features", ("labeled", "unlabeled", "test"), features.run),
    CourseStudy("finetune", ("labeled", "unlabeled", "test"), finetune.run),
    CourseStudy("stacked", ("labeled", "unlabeled", "test"), stacked.run),
    CourseStudy("sparse", ("unlabeled",), sparse.run),
    CourseStudy("convolved", ("labeled", "unlabeled", "test"), convolved.run),
    CourseStudy("joint", ("labeled", "unlabeled", "test"), joint.run),
)


def run_studies(config: Config, splits: Splits, *, folder: Path, progress: RunProgress | None = None) -> Path:
    """Run the study that the configuration names, or all of them, and return the folder.

    Each study writes ``NAME/result.json`` there. Of several, one that can't be run says why, and the others go on.

    Raises
    ------
    UserError
        If a study that was asked for alone can't be run.
    """
    chosen = [study for study in STUDIES if config.study in ("all", study.name)]
    with progress or RunProgress() as shown:
        for study in chosen:
            shown.study(study.name)
            result = _run(study, _config_of(study, config), splits, folder, shown, alone=len(chosen) == 1)
            write_json(folder / study.name / "result.json", result)
    return folder


def _run(
    study: CourseStudy, config: Config, splits: Splits, folder: Path, progress: RunProgress, *, alone: bool
) -> dict[str, Any]:
    began = time.perf_counter()
    lab = Lab(config, splits, folder)
    result: dict[str, Any] = {"study": study.name, "preset": config.preset}
    missing = [part for part in study.needs if len(getattr(splits, part)) == 0]
    done: list[dict[str, Any]] = []

    def do(tasks: Sequence[Task]) -> list[dict[str, Any]]:
        rows = run_tasks(lab, tasks, progress)
        done.extend(rows)
        return rows

    if missing:
        reason = f"study {study.name} needs {' and '.join(missing)} images, and there are none"
        if alone:
            raise UserError(f"{reason}; add some, or run another study")
        progress.note(f"{reason}; the other studies go on")
        return result | {"missing": missing}
    try:
        body = study.run(lab, do)
        protocol = lab.protocol(labeled="labeled" in study.needs)
    except UserError as error:
        if alone:
            raise
        progress.note(f"study {study.name} can't be run: {error}; the other studies go on")
        return result | {"failed": str(error)}
    return {
        **result,
        "config": config.model_dump(mode="json"),
        "protocol": protocol,
        **body,
        "machine": describe_machine(lab.runtime),
        "spread": spread(lab),
        "seconds": computing_seconds(done),
        "this_run_seconds": time.perf_counter() - began,
        "peak_memory_mb": peak_memory(),
    }


def _config_of(study: CourseStudy, config: Config) -> Config:
    """Return the configuration of a study; study 2 can be limited to fewer labels."""
    labels = config.studies.network.labels
    if study.name != "network" or labels is None:
        return config
    return config.model_copy(update={"labels": min(labels, config.labels or labels)})
