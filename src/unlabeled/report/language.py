"""Words and numbers of a report in its reader's language: gettext's catalogues, and the locale's way to write numbers."""

from __future__ import annotations

import gettext
import io
import math
from functools import lru_cache
from importlib.resources import files

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

from unlabeled.errors import UserError
from unlabeled.methods.method import Message
from unlabeled.statistics import Effect

LANGUAGES = ("en", "ru")
MINUS = "\N{MINUS SIGN}"


class Language:
    """A language: its translations, and how it writes numbers.

    Sentences stand in the code in English, which is the key of the catalogue. ``gettext`` is bound to the name ``_`` where they are.
    """

    def __init__(self, code: str) -> None:
        if code not in LANGUAGES:
            raise UserError(f"language {code!r} is not known; use {' or '.join(LANGUAGES)}")
        self.code = code
        self.translations = _translations(code)

    def gettext(self, message: str) -> str:
        """Translate a sentence."""
        return self.translations.gettext(message)

    def say(self, message: Message) -> str:
        """Say a method's text: by the translation that it brings, or the catalogue's."""
        return message.translations.get(self.code) or self.gettext(message.english)

    def count(self, singular: str, plural: str, number: int) -> str:
        """Translate a number of things; ``{n}`` stands for the number."""
        return self.translations.ngettext(singular, plural, number).format(n=self.number(number, 0))

    def number(self, value: float, digits: int = 1) -> str:
        """Write a number with so many digits after the point or comma."""
        places = "." + "0" * digits if digits else ""
        text = format_decimal(value, format=f"#,##0{places}", locale=self.code)
        return text.replace("-", MINUS)

    def short(self, value: float) -> str:
        """Write a number with as many digits as it needs, for the ticks of an axis."""
        text = f"{value:g}"
        if "e" in text or not math.isfinite(value):
            return text.replace("-", MINUS)
        digits = len(text.partition(".")[2])
        return self.number(value, digits)

    def figures(self, value: float, digits: int = 3) -> str:
        """Write a number with so many significant digits."""
        if value == 0 or not math.isfinite(value):
            return self.number(value, 0)
        return self.number(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))

    def signed(self, value: float, digits: int = 1) -> str:
        """Write a number with its sign; what rounds to zero has none."""
        text = self.number(abs(value), digits)
        if round(abs(value), digits) == 0:
            return text
        return ("+" if value > 0 else MINUS) + text

    def interval(self, low: float, high: float, digits: int = 1, *, signed: bool = False) -> str:
        """Write an interval."""
        write = self.signed if signed else self.number
        return self.gettext("{low} to {high}").format(low=write(low, digits), high=write(high, digits))

    def duration(self, seconds: float) -> str:
        """Write a time as people say it."""
        if seconds < 60:
            return self.gettext("{n} s").format(n=self.number(seconds, 1) if seconds >= 1 else self.figures(seconds, 2))
        if seconds < 5400:
            return self.gettext("{n} min").format(n=self.number(seconds / 60, 1))
        return self.gettext("{n} h").format(n=self.number(seconds / 3600, 1))

    def listed(self, items: list[str]) -> str:
        """Join items with commas."""
        return ", ".join(items)


@lru_cache
def _translations(code: str) -> gettext.NullTranslations:
    """Read a language's catalogue; English needs none."""
    if code == "en":
        return gettext.NullTranslations()
    with (files("unlabeled.report") / "locale" / f"{code}.po").open("rb") as file:
        catalogue = read_po(file, locale=code)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def effect_text(effect: Effect, language: Language, digits: int = 1) -> str:
    """Write a difference with its interval."""
    interval = language.interval(effect.low, effect.high, digits, signed=True)
    return f"{language.signed(effect.mean, digits)} ({interval})"
