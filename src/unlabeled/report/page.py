"""The report: one HTML file in one language, built from results alone, the same bytes each time."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from unlabeled.grammar.words import LANGUAGES, together
from unlabeled.keeping.files import write_atomically
from unlabeled.presets import command_of
from unlabeled.report.document import Document
from unlabeled.report.environment import environment, reading
from unlabeled.report.protocol import interval_note, protocol_line


def write_report(folder: Path, code: str = "en") -> Path:
    """Write ``report.html`` (English) or ``report.ru.html`` into a folder of results, and return its path.

    Raises
    ------
    UserError
        If the folder holds neither an answer of the main job nor a study, or the language is not known.
    """
    return write_page(Document(folder, code))


def write_page(document: Document) -> Path:
    """Write a document as its page, and return the path."""
    with reading(document.folder):
        page = together(render(document))
    code = document.language.code
    path = document.folder / page_name("report", code)
    write_atomically(path, lambda file: file.write(page.encode("utf-8")))
    return path


def render(document: Document) -> str:
    """Return the page."""
    language, results, sections = document.language, document.results, document.all_sections
    _ = language.gettext
    # A study of unlabeled images alone has no folds to speak of.
    fullest = max(document.protocols, key=lambda protocol: protocol.folds is not None, default=None)
    known = [result for result in results.values() if result.config is not None]
    titles = {section.key: section.title for section in sections} | {"gain": _("Computing time of all runs")}
    dates = [result.finished_seconds for result in known if result.finished_seconds is not None]
    template = environment(language).get_template("page.html.j2")
    return template.render(
        language=language,
        main=document.main,
        kind=_("What are the unlabeled images worth?")
        if document.main
        else _("Learning from unlabeled images: the studies"),
        answer=document.answer,
        sections=sections,
        protocol=protocol_line(fullest, language) if fullest and not document.mixed else "",
        intervals=interval_note(language),
        mixed=document.mixed,
        notes=list(dict.fromkeys(note for protocol in document.protocols for note in protocol.notes)),
        times=[
            (titles[name], "–" if result.seconds is None else language.duration(result.seconds))
            for name, result in results.items()
        ],
        result=next(iter(known), None),
        commands=list(dict.fromkeys(command for result in known if (command := command_of(result.config or {})))),
        explorer=explorer_of(document.folder, language.code),
        date=datetime.fromtimestamp(max(dates), timezone.utc).strftime("%Y-%m-%d %H:%M UTC") if dates else "",
    )


def page_name(name: str, code: str) -> str:
    """Return what a page is called in a language: English ones have no code in it."""
    return f"{name}.html" if code == "en" else f"{name}.{code}.html"


def explorer_of(folder: Path, code: str) -> str:
    """Return the name of the page to explore beside a report, in its language if there is one; empty where there is none."""
    names = (page_name("explore", one) for one in (code, *LANGUAGES))
    return next((name for name in names if (folder / name).is_file()), "")
