"""The templates' environment."""

from __future__ import annotations

from gettext import NullTranslations

from jinja2 import Environment, PackageLoader, StrictUndefined


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
