"""The templates' environment, and the one error of results that they can't be filled with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from gettext import NullTranslations
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError

from unlabeled.errors import DamagedFile, UserError
from unlabeled.files import AGAIN

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
        told = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise DamagedFile(
            f"{folder}: its results are not what this version of unlabeled writes ({told}); {AGAIN}"
        ) from error


def make_environment(translations: NullTranslations | None = None) -> Environment:
    """Return the templates: text is escaped, an unknown name is an error, ``_`` translates."""
    environment = Environment(
        loader=PackageLoader("unlabeled.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(translations or NullTranslations(), newstyle=True)  # type: ignore[attr-defined]
    return environment
