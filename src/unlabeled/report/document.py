"""What is read of a folder of results for a report, once: results, the answer, every study's sections."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from unlabeled.errors import UserError
from unlabeled.grammar.parts import Answer, Section, Table
from unlabeled.grammar.section import Context
from unlabeled.grammar.words import Language, words
from unlabeled.keeping.results import has_result, read_result
from unlabeled.records import Protocol, StudyResult, read_as
from unlabeled.report.course import course_answer
from unlabeled.report.environment import reading
from unlabeled.report.protocol import protocol_line
from unlabeled.studies import GAIN, STUDIES
from unlabeled.studies.lead import lead

_KNOWN = {study.name: study for study in (GAIN, *STUDIES)}
_PARTS = {"labeled": words("labeled images"), "unlabeled": words("unlabeled images"), "test": words("test images")}


class Document:
    """A folder of results in one language: the main job's answer, or the studies of the course in its order.

    Raises
    ------
    UserError
        If the folder holds neither, or the language is not known.
    """

    def __init__(self, folder: Path, code: str = "en") -> None:
        self.folder, self.language = folder, Language(code)
        self.results = read_results(folder)
        self._written: dict[str, list[Section]] = {}

    @property
    def main(self) -> bool:
        """Whether it is the main job's."""
        return "gain" in self.results

    @cached_property
    def answer(self) -> Answer:
        """What the results answer; of one study that has not the course's answer, what it found."""
        if len(self.results) == 1 and not {"gain", "finetune"} & set(self.results):
            section = self.all_sections[0]
            return Answer("", (section.conclusion or section.setup)[0], Table("", [], []))
        with reading(self.folder):
            if not self.main:
                return course_answer(self.results, self.language)
            context: Context[Any] = Context.of(GAIN.findings, self.results["gain"], self.folder, self.language)
            return lead(replace(context, page=GAIN.pages[0]))

    @cached_property
    def protocols(self) -> list[Protocol]:
        """The protocols of what came to an end."""
        return [result.protocol for result in self.results.values() if result.protocol is not None]

    @cached_property
    def mixed(self) -> bool:
        """Whether the studies were run on other images or with other repetitions, so that each says its own protocol."""
        return len({(p.data, p.image, p.unlabeled, p.test, p.seeds, p.precision) for p in self.protocols}) > 1

    def sections(self, name: str) -> list[Section]:
        """Return one study's sections, written and drawn once; a study of the course has one."""
        if name not in self.results:
            raise UserError(f"{self.folder}: study {name!r} was not run here; it has {', '.join(self.results)}")
        if name not in self._written:
            result = self.results[name]
            line = protocol_line(result.protocol, self.language) if self.mixed and result.protocol else ""
            with reading(self.folder):
                written = _sections(name, result, self.folder, self.language)
            self._written[name] = [replace(section, protocol=line) for section in written]
        return self._written[name]

    @property
    def all_sections(self) -> list[Section]:
        """Return the sections of all studies."""
        return [section for name in self.results for section in self.sections(name)]


def read_results(folder: Path) -> dict[str, StudyResult]:
    """Read the main job's result, or that of every study that was run, by name and in the course's order."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the one that unlabeled run wrote its results into")
    if has_result(folder):
        result = _read(folder)
        if result.study != "gain":
            raise UserError(
                f"{folder}: the answer of study {result.study} alone; give the folder above it. To see one that was put aside, copy "
                f"its files into a folder {result.study} of a new folder, and give that"
            )
        return {"gain": result}
    results = {name: _read(folder / name) for name in _KNOWN if has_result(folder / name)}
    if not results:
        raise UserError(f"{folder}: no result.json, so nothing was finished here; run unlabeled run again to go on")
    return results


def _read(folder: Path) -> StudyResult:
    with reading(folder):
        return read_as(StudyResult, read_result(folder).verify().content)


def _sections(name: str, result: StudyResult, folder: Path, language: Language) -> list[Section]:
    study = _KNOWN[name]
    if result.answered:
        context: Context[Any] = Context.of(
            study.findings, result, folder if name == "gain" else folder / name, language
        )
        written = (page.write(context) for page in study.pages)
        # A page of which this run has nothing is no section: an autoencoder's, where none was trained.
        return [section for section in written if section.parts or section.conclusion]
    if result.failed:
        reason = language.say("This study could not be run: {reason}", reason=result.failed)
    else:
        needed = ", ".join(language.say(_PARTS[part]) for part in result.missing)
        reason = language.say("This study was not run: it needs {needed}, and there are none.", needed=needed)
    return [Section(name, language.say(study.pages[0].title), setup=[reason])]
