"""What one does with a finished run of the main job: which images to label next, which labels to look at again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from unlabeled.config import Config
from unlabeled.errors import UserError
from unlabeled.keeping.results import has_result, read_result
from unlabeled.methods import method_of
from unlabeled.methods.features import MODELS
from unlabeled.records import ArmKey, Row, StudyResult, of_arm, read_as
from unlabeled.sources import load
from unlabeled.sources.names import Names, name_images
from unlabeled.studies.gain import GainFindings
from unlabeled.studies.looks import best_network

if TYPE_CHECKING:
    from unlabeled.experiments.applying import Applied
    from unlabeled.experiments.lab import Lab
    from unlabeled.experiments.tasks import Task
    from unlabeled.images import Splits


@dataclass(frozen=True)
class Finished:
    """A finished run with its images at hand.

    Attributes
    ----------
    lab
        What its runs share.
    findings
        What it found.
    """

    lab: Lab
    findings: GainFindings

    @cached_property
    def names(self) -> Names:
        """What its images are called."""
        return name_images(self.lab.config, self.lab.splits)

    @cached_property
    def arm(self) -> ArmKey:
        """The network to ask: the best use of the unlabeled images, or the best network on validation images where that is none.

        Raises
        ------
        UserError
            If no network was run.
        """
        found = best_network(self.findings.rows, self.findings.comparison.answer.arm)
        if found is None:
            raise UserError(
                f"{self.lab.folder}: no network was run here, and only networks are kept to say how probable each class is; run without "
                "--leave-out, or with --classifier both"
            )
        return found

    @property
    def winner(self) -> ArmKey:
        """The arm whose classifier is kept: the best use of the unlabeled images, be it a classical model; else ``arm``."""
        best = self.findings.comparison.answer.arm
        return best if best.model in MODELS else self.arm

    def tasks(self, arm: ArmKey) -> list[tuple[Task, Row]]:
        """Return an arm's runs with what they found, by seed and fold."""
        method = method_of(arm)
        if method is None:
            raise UserError(f"{self.lab.folder}: {arm} is of a method that is not installed here; install its package")
        rows = {(row.fold, row.seed): row for row in of_arm(self.findings.rows, arm)}
        return [
            (task, rows[fold, seed])
            for seed in range(self.lab.config.seeds)
            for fold in range(len(self.lab.folds.folds))
            for task in method.tasks(self.lab, fold, seed)
            if task.arm == arm
        ]

    def networks(self, arm: ArmKey) -> Sequence[Applied]:
        """Return the trained networks of an arm."""
        from unlabeled.experiments.applying import apply

        return [apply(self.lab, task, folder=self.lab.folder / row.run) for task, row in self.tasks(arm)]


def reopen(folder: Path, *, cache: Path | None = None, splits: Splits | None = None) -> Finished:
    """Read a finished run of the main job, and its images: ``splits``, where it was run on some made in Python.

    Raises
    ------
    UserError
        If the folder holds none, or its images are not those that it was run on.
    """
    from unlabeled.experiments.lab import Lab

    if not folder.is_dir() or not has_result(folder):
        raise UserError(
            f"{folder}: no finished run of the main job; give the folder that unlabeled run wrote its report into"
        )
    result = read_as(StudyResult, read_result(folder).verify().content)
    if result.study != "gain" or result.config is None or result.findings is None:
        raise UserError(f"{folder}: the answer of study {result.study}; give a run of the main job")
    try:
        config = Config.model_validate(result.config)
    except ValidationError:
        raise UserError(
            f"{folder}: was run by a version with other options; run the same command again, and it is made anew"
        ) from None
    # What is done with a finished run is done here, wherever its runs were computed.
    config = config.model_copy(update={"cache": cache, "out": folder, "cluster": "local"})
    if splits is None and config.data == "python":
        raise UserError(
            f"{folder}: was run on splits made in Python, so its images are nowhere to be read; do it in Python too, with them"
        )
    splits = load(config) if splits is None else splits
    if splits.origin.get("key") != result.question.get("images"):
        raise UserError(f"{config.data}: the images are not those of {folder} any more; run unlabeled run again")
    lab = Lab(config, splits, folder)
    lab.apart = result.protocol is not None and result.protocol.apart
    if result.protocol is not None and result.protocol.strong_precision:
        lab.strong_runtime = replace(lab.runtime, precision=result.protocol.strong_precision)
        lab.strong_kernels = result.protocol.strong_kernels
    return Finished(lab, read_as(GainFindings, result.findings))
