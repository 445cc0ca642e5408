"""The report: one HTML file in one language, built from results alone, the same bytes each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from unlabeled.errors import UserError
from unlabeled.files import write_atomically
from unlabeled.records import Protocol, StudyResult, read_as
from unlabeled.report.course import WRITERS
from unlabeled.report.environment import make_environment, reading
from unlabeled.report.language import Language
from unlabeled.report.sections import gain
from unlabeled.report.sections.parts import (
    Code,
    Context,
    Listing,
    Matrix,
    Photographs,
    Picture,
    Points,
    Section,
    Table,
    interval_note,
    protocol_line,
)
from unlabeled.report.summary import answer
from unlabeled.results import has_result, read_result
from unlabeled.studies.gain import GainFound


def write_report(folder: Path, code: str = "en") -> Path:
    """Write ``report.html`` (English) or ``report.ru.html`` into a folder of results, and return its path.

    Raises
    ------
    UserError
        If the folder holds neither an answer of the main job nor a study, or the language is not known.
    """
    with reading(folder):
        page = render(folder, Language(code))
    path = folder / ("report.html" if code == "en" else f"report.{code}.html")
    write_atomically(path, lambda file: file.write(page.encode("utf-8")))
    return path


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
    results = {name: _read(folder / name) for name in WRITERS if has_result(folder / name)}
    if not results:
        raise UserError(f"{folder}: no result.json, so nothing was finished here; run unlabeled run again to go on")
    return results


def _read(folder: Path) -> StudyResult:
    with reading(folder):
        return read_as(StudyResult, read_result(folder).verify().content)


def read_sections(folder: Path, name: str, language: Language) -> list[Section]:
    """Write one study's sections; a study of the course has one."""
    results = read_results(folder)
    if name not in results:
        raise UserError(f"{folder}: study {name!r} was not run here; it has {', '.join(results)}")
    with reading(folder):
        return _sections(name, results[name], folder, language)


def render(folder: Path, language: Language) -> str:
    """Return the page."""
    _ = language.gettext
    results = read_results(folder)
    protocols = [result.protocol for result in results.values() if result.protocol is not None]
    mixed, main = _mixed(protocols), "gain" in results
    sections = []
    for name, result in results.items():
        told = protocol_line(result.protocol, language) if mixed and result.protocol else ""
        sections += [replace(section, protocol=told) for section in _sections(name, result, folder, language)]
    # A study of unlabeled images alone has no folds to speak of.
    fullest = max(protocols, key=lambda protocol: protocol.folds is not None, default=None)
    titles = {section.key: section.title for section in sections} | {"gain": _("Computing time of all runs")}
    return (
        environment(language)
        .get_template("page.html.j2")
        .render(
            language=language,
            main=main,
            kind=_("What are the unlabeled images worth?")
            if main
            else _("Learning from unlabeled images: the studies"),
            answer=answer(folder, results, language),
            sections=sections,
            protocol=protocol_line(fullest, language) if fullest and not mixed else "",
            intervals=interval_note(language),
            mixed=mixed,
            notes=list(dict.fromkeys(note for protocol in protocols for note in protocol.notes)),
            times=[
                (titles[name], "–" if result.seconds is None else language.duration(result.seconds))
                for name, result in results.items()
            ],
            result=next((result for result in results.values() if result.machine is not None), None),
        )
    )


def environment(language: Language) -> Environment:
    """Return the templates, with the language's words."""
    made = make_environment(language.translations)
    made.filters["svg"] = Markup
    kinds = (Table, Picture, Photographs, Listing, Points, Code, Matrix)
    made.tests |= {kind.__name__.lower(): lambda part, kind=kind: isinstance(part, kind) for kind in kinds}
    return made


def _sections(name: str, result: StudyResult, folder: Path, language: Language) -> list[Section]:
    if name == "gain":
        return gain.write(Context.of(GainFound, result, folder, language))
    kind, write = WRITERS[name]
    if result.answered:
        return [write(Context.of(kind, result, folder / name, language))]
    _ = language.gettext
    titles = {
        "baselines": _("Baselines"),
        "network": _("Convolutional network"),
        "autoencoder": _("One-layer autoencoder"),
        "features": _("Features of the autoencoder for classical models"),
        "finetune": _("Fine-tuning"),
        "stacked": _("Deeper and stacked autoencoders"),
        "sparse": _("Sparse autoencoder on patches"),
        "convolved": _("Filters of patches as a convolution"),
        "joint": _("Classifying and reconstructing at once"),
    }
    if result.failed:
        reason = _("This study could not be run: {reason}").format(reason=result.failed)
    else:
        parts = {"labeled": _("labeled images"), "unlabeled": _("unlabeled images"), "test": _("test images")}
        needed = language.listed([parts[part] for part in result.missing])
        reason = _("This study was not run: it needs {needed}, and there are none.").format(needed=needed)
    return [Section(name, titles[name], setup=[reason])]


def _mixed(protocols: list[Protocol]) -> bool:
    """Tell whether the studies of a folder were run on other images or with other repetitions."""
    return len({(p.data, p.image, p.unlabeled, p.test, p.seeds, p.precision) for p in protocols}) > 1
