"""The templates' environment, and the one error of results that they can't be filled with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError
from markupsafe import Markup

from unlabeled.errors import DamagedFile, UserError
from unlabeled.grammar.parts import Code, Listing, Matrix, Photographs, Picture, Points, Table
from unlabeled.grammar.words import Language
from unlabeled.keeping.files import AGAIN
from unlabeled.methods import METHODS

_ODD = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    TemplateError,
)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn what a result lacks, or has of another kind, into one error, whoever reads it: a sound digest may be a stranger's."""
    try:
        yield
    except UserError:
        raise
    except _ODD as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise DamagedFile(
            f"{folder}: its results are not what this version of unlabeled writes ({text}); {AGAIN}"
        ) from error


def environment(language: Language) -> Environment:
    """Return the templates with a language's words: text is escaped, an unknown name is an error, ``_`` translates."""
    made = Environment(
        loader=PackageLoader("unlabeled.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.globals["methods_css"] = methods_css
    made.install_gettext_translations(language.translations, newstyle=True)  # type: ignore[attr-defined]
    made.filters["svg"] = Markup
    kinds = (Table, Picture, Photographs, Listing, Points, Code, Matrix)
    made.tests |= {kind.__name__.lower(): lambda part, kind=kind: isinstance(part, kind) for kind in kinds}
    return made


def methods_css() -> str:
    """Return every method's colour, on light and on dark paper, as variables and as classes of swatches."""
    light = " ".join(f"--method-{method.name}: {method.colour.light};" for method in METHODS)
    dark = " ".join(f"--method-{method.name}: {method.colour.dark};" for method in METHODS)
    swatches = " ".join(f".method-{m.name} {{ background: var(--method-{m.name}); }}" for m in METHODS)
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{swatches}"
