"""A study's section in a notebook."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from unlabeled.grammar.parts import Section
from unlabeled.grammar.words import Language
from unlabeled.report.document import Document
from unlabeled.report.environment import environment, methods_css

_STYLE = """
.unlabeled { %s --ink: currentColor; --muted: currentColor; --line: #8886; max-width: 66rem; }
.unlabeled .pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%%, 22rem), 1fr)); gap: 1rem; }
.unlabeled figure { margin: 1rem 0; } .unlabeled figure svg { width: 100%%; max-width: 32rem; height: auto; }
.unlabeled figcaption, .unlabeled .protocol { font-size: .86em; opacity: .8; } .unlabeled .scroll { overflow-x: auto; }
.unlabeled td:first-child, .unlabeled th:first-child { text-align: left; } .unlabeled img { max-width: none; }
.unlabeled .helps { color: #14724f; } .unlabeled .hurts { color: #c2452f; }
"""


class Shown:
    """Sections that a notebook shows as a page, and a terminal as their conclusions."""

    def __init__(self, sections: list[Section], language: Language) -> None:
        self.sections, self.language = sections, language

    def __repr__(self) -> str:
        return "\n".join(
            "\n".join([section.title, *(f"  {line}" for line in section.conclusion or section.setup)])
            for section in self.sections
        )

    def _repr_html_(self) -> str:
        module = environment(self.language).get_template("section.html.j2").make_module({"language": self.language})
        css = (files("unlabeled.report") / "templates" / "style.css").read_text(encoding="utf-8")
        own = " ".join(css.partition(":root {")[2].partition("}")[0].split())
        variables = methods_css().partition(":root {")[2].partition("}")[0] + own
        # The notebook gives a study's title and question itself, and has colours of its own, light or dark.
        heading = len(self.sections) > 1
        shown = "".join(str(module.show(section, None, heading)) for section in self.sections)  # type: ignore[attr-defined]
        return f'<style>{_STYLE % variables}</style><div class="unlabeled">{shown}</div>'


def show(folder: str | Path, study: str, lang: str = "en") -> Shown:
    """Return a finished study's section: its question, tables, figures and conclusion.

    Parameters
    ----------
    folder
        Where the studies were run.
    study
        gain (the main job), or one of the course's studies: baselines, network, autoencoder and so on.
    lang
        en or ru.

    Raises
    ------
    UserError
        If that study was not run there, or the language is not known.
    """
    document = Document(Path(folder), lang)
    return Shown(document.sections(study), document.language)
