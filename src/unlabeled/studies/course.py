"""Run the main job, and the studies of the course, alone or all together, each with its result in a folder of its own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.config import STUDY_NAMES, Config
from unlabeled.console.plain import printable
from unlabeled.console.progress import RunProgress
from unlabeled.errors import DamagedFile, ProcessKilled, UserError
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.machine import describe_machine, peak_of_all
from unlabeled.experiments.runner import run_tasks, spread
from unlabeled.experiments.tasks import Task
from unlabeled.experiments.workplace import working_in
from unlabeled.images import Splits
from unlabeled.keeping.files import digest_of, fingerprint, write_arrays, write_json
from unlabeled.keeping.results import has_result, keep_earlier, read_result, write_result
from unlabeled.kernels import building
from unlabeled.methods import arm_name
from unlabeled.outcomes import Diverged
from unlabeled.records import Row, StudyResult, as_json, read_as
from unlabeled.studies import COURSE, GAIN, STUDIES
from unlabeled.studies.looks import pictures
from unlabeled.studies.study import Study

# What makes an answer, beside the runs that it was made of.
_FILES = ("result.json", "pictures.npz")
_PAGES = (
    "report.html", "report.ru.html", "explore.html", "explore.ru.html", "notebook.ipynb", "notebook.ru.ipynb",
)  # fmt: skip
_GAIN_FILES = ("result.json", "config.json", "test.npz", *_PAGES)


def run_gain(config: Config, splits: Splits, *, folder: Path, progress: RunProgress | None = None) -> Path:
    """Run every arm of the main job on every fold and seed, or what is still missing, and return the study's folder.

    ``result.json`` in that folder holds the rows, the arms' means, the effects and the protocol.

    Raises
    ------
    GeometryError, DataError, TrainingDiverged
        If the specification does not fit, the folds can't be made, or a loss stops being finite.
    """
    lab = Lab(config, splits, folder)
    # Whatever can be refused is, before anything is trained.
    if any(has_result(folder / name) for name in STUDY_NAMES):
        raise UserError(
            f"{folder}: holds answers of studies, whose report would be overwritten; give another folder with --out"
        )
    assert GAIN.check is not None
    GAIN.check(lab)
    question = config.question | {"images": splits.origin.get("key")} | _draws(config)
    with progress or RunProgress() as shown, working_in(folder, shown.note):
        _tell_kernels(lab, shown)
        result = _run(GAIN, lab, shown, question)
        # An earlier result in this folder stays whole until this one takes its place; one to another question is kept beside.
        if (kept := keep_earlier(folder, question, _GAIN_FILES)) is not None:
            shown.note(f"an answer to another question was in this folder; it is kept in {printable(str(kept))}")
            _remove_pages(folder)
        pairs = splits.near_pairs if splits.near_pairs is not None else np.empty((0, 2, 0, 0, 0), dtype=np.uint8)
        looks = read_as(GAIN.findings, result.findings).looks
        write_arrays(folder / "test.npz", labels=splits.test.classes, near=pairs, **pictures(looks, splits))
        write_json(folder / "config.json", config.question)
        write_result(folder, as_json(result), ("config.json", "test.npz"))
    return folder


def _tell_kernels(lab: Lab, progress: RunProgress) -> None:
    """Say that the kernels were turned off; that they can't be had is said where they are looked for."""
    if lab.runtime.uses_kernels and building.turned_off():
        progress.note("kernels are off (UNLABELED_KERNELS=off); PyTorch and NumPy do the work")


def run_studies(config: Config, splits: Splits, *, folder: Path, progress: RunProgress | None = None) -> Path:
    """Run the study that the configuration names, or all of them, and return the folder.

    Each study writes ``NAME/result.json`` there. Of several, one that can't be run says why, and the others go on.

    Raises
    ------
    UserError
        If a study that was asked for alone can't be run.
    """
    among = COURSE if config.study == "all" else STUDIES
    chosen = [study for study in among if config.study in ("all", study.name)]
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
        _tell_kernels(Lab(config, splits, folder), shown)
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
                missing = _missing(study, splits)
                failed = "" if missing else refused[study.name]
                result = StudyResult(study.name, config.preset, question, tuple(missing), failed)
            else:
                lab = Lab(mine[study.name], splits, folder)
                result = _try(study, lab, shown, question, alone=len(chosen) == 1)
            if not result.answered and _is_answered(place, question):
                continue  # what could not be done now was done before
            before = _digest_of_answer(place)
            write_result(place, as_json(result), [name for name in _FILES[1:] if (place / name).is_file()])
            if _digest_of_answer(place) != before:
                _remove_pages(folder)
    return folder


def _digest_of_answer(place: Path) -> str | None:
    """Return the digest of a question and its findings, times apart, if there is a sound answer."""
    try:
        content = read_result(place).content
        return digest_of([content.get("question"), content.get("findings")])
    except DamagedFile:
        return None


def _remove_pages(folder: Path) -> None:
    """Remove pages and notebooks that tell of an earlier answer: only those that were asked for are written anew."""
    for name in _PAGES:
        (folder / name).unlink(missing_ok=True)


def _question(config: Config, splits: Splits) -> dict[str, Any]:
    """Return what a study's answer depends on; which other studies were asked for is nothing to it."""
    return (
        {name: value for name, value in config.question.items() if name != "study"}
        | {"images": splits.origin.get("key")}
        | _draws(config)
    )


def _draws(config: Config) -> dict[str, str]:
    """Say what has changed since answers of before: of the strong network they had the same random numbers on all folds."""
    strong = config.study == "open-set" or (config.study == "gain" and config.classifier != "small")
    return {"draws": "of each fold"} if strong else {}


def _is_answered(place: Path, question: dict[str, Any]) -> bool:
    """Tell whether a folder holds a whole answer to the same question."""
    try:
        content = read_result(place).verify().content
    except DamagedFile:
        return False
    return "findings" in content and fingerprint(content.get("question")) == fingerprint(question)


def _refusal(study: Study[Any], lab: Lab) -> str:
    """Say why a study can't be run on these images as it is asked, or nothing."""
    if missing := _missing(study, lab.splits):
        return f"study {study.name} needs {' and '.join(missing)} images, and there are none; add some, or run another study"
    try:
        if "labeled" in study.needs:
            _ = lab.folds
        if "unlabeled" in study.needs:
            _ = lab.hold_out
        if study.check is not None:
            study.check(lab)
    except UserError as error:
        return str(error)
    return ""


def _missing(study: Study[Any], splits: Splits) -> list[str]:
    return [part for part in study.needs if len(getattr(splits, part)) == 0]


def _try(study: Study[Any], lab: Lab, progress: RunProgress, question: dict[str, Any], *, alone: bool) -> StudyResult:
    """Run a study; of several, one that can't be run says why."""
    try:
        return _run(study, lab, progress, question)
    except (DamagedFile, ProcessKilled):
        raise  # nothing of the study's own: the same command can end well
    except UserError as error:
        if alone:
            raise
        progress.note(f"study {study.name} can't be run: {error}; the other studies go on")
        return StudyResult(study.name, lab.config.preset, question, failed=str(error))


def _run(study: Study[Any], lab: Lab, progress: RunProgress, question: dict[str, Any]) -> StudyResult:
    began = time.perf_counter()
    done: list[Row] = []

    def do(tasks: Sequence[Task]) -> list[Row]:
        rows = run_tasks(lab, tasks, progress, title=arm_name)
        done.extend(rows)
        return rows

    findings = study.run(lab, do)
    return StudyResult(
        study.name,
        lab.config.preset,
        question,
        config=lab.config.question,
        protocol=(study.inside(lab) if study.inside else lab).protocol(labeled="labeled" in study.needs),
        findings=as_json(findings),
        machine=describe_machine(lab.runtime, kernels=lab.kernels),
        spread=spread(lab),
        seconds=computing_seconds(done),
        this_run_seconds=time.perf_counter() - began,
        finished_seconds=time.time(),
        peak_memory_mb=peak_of_all(),
    )


def computing_seconds(rows: Iterable[Row]) -> float:
    """Add up the seconds of every run, each once, whenever it was made."""
    taken = {}
    for row in rows:
        predicting = row.scored.predict_seconds if row.scored is not None else 0.0
        taken[row.run] = 0.0 if isinstance(row.outcome, Diverged) else row.outcome.seconds + predicting
    return float(sum(taken.values()))


def _config_of(study: Study[Any], config: Config) -> Config:
    """Return the configuration of a study; study 2 can be limited to fewer labels."""
    labels = config.studies.network.labels
    if study.name != "network" or labels is None:
        return config
    return config.model_copy(update={"labels": min(labels, config.labels or labels)})
