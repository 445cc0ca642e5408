"""The studies of the course, alone or all together, each with its result in a folder of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlabeled.config import Config
from unlabeled.errors import DamagedFile, ProcessKilled, UserError
from unlabeled.files import fingerprint
from unlabeled.images import Splits
from unlabeled.machine import describe_machine, peak_memory
from unlabeled.plain import printable
from unlabeled.progress import RunProgress
from unlabeled.results import has_result, keep_earlier, read_result, write_result
from unlabeled.studies import autoencoder, baselines, convolved, features, finetune, joint, network, sparse, stacked
from unlabeled.studies.gain import computing_seconds, tell_kernels
from unlabeled.studies.lab import Lab
from unlabeled.studies.performing import Perform, Task
from unlabeled.studies.runner import run_tasks, spread
from unlabeled.studies.workplace import working_in

_FILES = ("result.json", "pictures.npz")


@dataclass(frozen=True)
class CourseStudy:
    """A study: what it needs of the data, what runs it and returns its result, and what refuses beforehand what can't be run."""

    name: str
    needs: tuple[str, ...]
    run: Callable[[Lab, Perform], dict[str, Any]]
    check: Callable[[Lab], None] | None = None


STUDIES = (
    CourseStudy("baselines", ("labeled", "test"), baselines.run),
    CourseStudy("network", ("labeled", "test"), network.run),
    CourseStudy("autoencoder", ("unlabeled",), autoencoder.run),
    CourseStudy("features", ("labeled", "unlabeled", "test"), features.run, features.check),
    CourseStudy("finetune", ("labeled", "unlabeled", "test"), finetune.run, features.check_encoder),
    CourseStudy("stacked", ("labeled", "unlabeled", "test"), stacked.run),
    CourseStudy("sparse", ("unlabeled",), sparse.run, sparse.check),
    CourseStudy("convolved", ("labeled", "unlabeled", "test"), convolved.run, convolved.check),
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
    if has_result(folder):
        raise UserError(
            f"{folder}: holds an answer of the main job, whose report would be overwritten; give another folder with --out"
        )
    mine = {study.name: _config_of(study, config) for study in chosen}
    # What can be refused is, before anything is trained; of several studies the others go on.
    refused = {
        study.name: reason for study in chosen if (reason := _refusal(study, Lab(mine[study.name], splits, folder)))
    }
    if len(chosen) == 1 and refused:
        raise UserError(refused[chosen[0].name])
    with progress or RunProgress() as shown, working_in(folder, shown.note):
        tell_kernels(Lab(config, splits, folder), shown)
        for name, reason in refused.items():
            shown.note(f"study {name} can't be run: {reason}; the other studies go on")
        for study in chosen:
            shown.study(study.name)
            place, question = folder / study.name, _question(mine[study.name], splits)
            if (kept := keep_earlier(place, question, _FILES)) is not None:
                shown.note(
                    f"an answer of {study.name} to another question is in this folder; it is kept in {printable(str(kept))}"
                )
            if study.name in refused:
                body = _unrun(study, splits, refused[study.name])
            else:
                body = _run(study, Lab(mine[study.name], splits, folder), shown, alone=len(chosen) == 1)
            if "config" not in body and _is_answered(place, question):
                continue  # what could not be done now was done before
            result = {"question": question, "study": study.name, "preset": config.preset, **body}
            write_result(place, result, [name for name in _FILES[1:] if (place / name).is_file()])
    return folder


def _question(config: Config, splits: Splits) -> dict[str, Any]:
    """Return what a study's answer depends on; which other studies were asked for is nothing to it."""
    return {name: value for name, value in config.question.items() if name != "study"} | {
        "images": splits.origin.get("key")
    }


def _is_answered(place: Path, question: dict[str, Any]) -> bool:
    """Tell whether a folder holds a whole answer to the same question."""
    try:
        content = read_result(place).verify().content
    except DamagedFile:
        return False
    return "config" in content and fingerprint(content.get("question")) == fingerprint(question)


def _refusal(study: CourseStudy, lab: Lab) -> str:
    """Say why a study can't be run on these images as it is asked, or nothing."""
    if missing := _missing(study, lab.splits):
        return f"study {study.name} needs {' and '.join(missing)} images, and there are none; add some, or run another study"
    try:
        if "labeled" in study.needs:
            _ = lab.folds
        if "unlabeled" in study.needs:
            _ = lab.hold_out
        if study.name == "joint":
            lab.check_network(lab.config.encoder, lab.config.network)
        if study.check is not None:
            study.check(lab)
    except UserError as error:
        return str(error)
    return ""


def _missing(study: CourseStudy, splits: Splits) -> list[str]:
    return [part for part in study.needs if len(getattr(splits, part)) == 0]


def _unrun(study: CourseStudy, splits: Splits, reason: str) -> dict[str, Any]:
    """Return the result of a study that was not run."""
    missing = _missing(study, splits)
    return {"missing": missing} if missing else {"failed": reason}


def _run(study: CourseStudy, lab: Lab, progress: RunProgress, *, alone: bool) -> dict[str, Any]:
    began = time.perf_counter()
    done: list[dict[str, Any]] = []

    def do(tasks: Sequence[Task]) -> list[dict[str, Any]]:
        rows = run_tasks(lab, tasks, progress)
        done.extend(rows)
        return rows

    try:
        body = study.run(lab, do)
        protocol = lab.protocol(labeled="labeled" in study.needs)
    except (DamagedFile, ProcessKilled):
        raise  # nothing of the study's own: the same command can end well
    except UserError as error:
        if alone:
            raise
        progress.note(f"study {study.name} can't be run: {error}; the other studies go on")
        return {"failed": str(error)}
    return {
        "config": lab.config.question,
        "protocol": protocol,
        **body,
        "machine": describe_machine(lab.runtime, kernels=lab.kernels),
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
