"""What a report leads with: the answer of the main job, or of the course's studies, in a sentence and a small table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unlabeled.grammar.parts import Answer
from unlabeled.grammar.section import Context
from unlabeled.grammar.words import Language
from unlabeled.records import StudyResult
from unlabeled.report.course import course_answer
from unlabeled.report.environment import reading
from unlabeled.studies.gain import GAIN
from unlabeled.studies.lead import lead


def answer_of(folder: Path, results: Mapping[str, StudyResult], language: Language) -> Answer:
    """Say what the results of a folder answer."""
    with reading(folder):
        if "gain" not in results:
            return course_answer(results, language)
        context: Context[Any] = Context.of(GAIN.findings, results["gain"], folder, language)
        return lead(replace(context, page=GAIN.pages[0]))
