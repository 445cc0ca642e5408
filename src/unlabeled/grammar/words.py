"""Words and numbers of a report in its reader's language: gettext's catalogues, and the locale's way to write numbers.

A sentence has placeholders that records fill, and their format says how: ``{line.mse:4}`` is a number with four digits.
"""

from __future__ import annotations

import gettext
import io
import math
import re
import string
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, TypeVar

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

from unlabeled.errors import UserError
from unlabeled.methods.method import Message
from unlabeled.records import ContrastResult, Effect

W = TypeVar("W")
LANGUAGES = ("en", "ru")
MINUS = "\N{MINUS SIGN}"
# What stays in a line: a number and its unit, a letter and its value.
_PAIRS = re.compile(r"(?<=[\d)]) (?:%|п\. п\.)|(?<=[ρβλ]) = (?=\d)|п\. п\.")


def _known(ways: Mapping[str, W], form: str, value: Any) -> W:
    if form not in ways:
        raise ValueError(f"form {form!r} writes no {type(value).__name__}; use one of {', '.join(map(repr, ways))}")
    return ways[form]


def together(text: str) -> str:
    """Keep a number and its unit in one line."""
    return _PAIRS.sub(lambda pair: pair.group().replace(" ", "\N{NO-BREAK SPACE}"), text)


def words(text: str) -> str:
    """Mark a text that is translated later, where it is written."""
    return text


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

    def say(self, text: str, /, **values: Any) -> str:
        """Translate a sentence, and fill its placeholders; their formats are those of ``write``."""
        return _Sentence(self).vformat(self.gettext(text), (), values)

    def fill(self, text: str, /, **values: Any) -> str:
        """Fill a text that is the same in every language."""
        return _Sentence(self).vformat(text, (), values)

    def title(self, message: Message) -> str:
        """Translate a method's text: by the translation that it brings, or the catalogue's."""
        return message.translations.get(self.code) or self.gettext(message.english)

    def count(self, singular: str, plural: str, number: int) -> str:
        """Translate a number of things; ``{n}`` stands for the number."""
        return self.translations.ngettext(singular, plural, number).format(n=self.number(number, 0))

    def write(self, value: Any, form: str = "") -> str:
        """Write a value; nothing (None) is a dash.

        Forms: ``0`` to ``4`` digits after the point, ``+`` with a sign, ``%`` and ``%0`` a share in percent, ``f2`` significant digits,
        ``g`` as many as it needs, ``s`` seconds, ``time`` a duration, ``m1`` a mean with its interval, ``e`` and ``e3`` an effect with
        its interval, ``p`` a p value, ``verdict`` and ``word`` of a contrast (``word`` where arms merely differ), ``effect`` and
        ``differs`` an effect with either, ``cap`` a capital letter. Several values are written one by one, with commas.
        """
        if value is None:
            return "–"
        if isinstance(value, str):
            return value[:1].upper() + value[1:] if form == "cap" else value
        if isinstance(value, ContrastResult):
            return self._contrast(value, form)
        if isinstance(value, Effect):
            return self._effect(value, form)
        if isinstance(value, Iterable):
            return ", ".join(self.write(entry, form) for entry in value)
        return self._number(value, form)

    def _number(self, value: float, form: str) -> str:
        if form.isdigit():
            return self.number(value, int(form))
        if form[:1] == "%":
            return self.number(100 * value, int(form[1:] or 1))
        if form[:1] == "f":
            return self.figures(value, int(form[1:]))
        if form == "p":
            return f"< {self.number(0.001, 3)}" if value < 0.001 else self.number(value, 3)
        if form == "s":
            return self.number(value, 1) if value >= 1 else self.figures(value, 2)
        ways: dict[str, Callable[[float], str]]
        ways = {"+": self.signed, "g": self.short, "time": self.duration, "": str}
        return _known(ways, form, value)(value)

    def _effect(self, effect: Effect, form: str) -> str:
        ways: dict[str, Callable[[Effect, int], str]]
        ways = {"m": self._mean, "e": lambda value, digits: effect_text(value, self, digits)}
        return _known(ways, form[:1], effect)(effect, int(form[1:] or 1))

    def _mean(self, effect: Effect, digits: int) -> str:
        return f"{self.number(effect.mean, digits)} ({self.interval(effect.low, effect.high, digits)})"

    def _contrast(self, contrast: ContrastResult, form: str) -> str:
        words = {"verdict": verdict_name, "effect": verdict_name, "word": comparison_word, "differs": comparison_word}
        name = _known(words, form, contrast)
        if form in ("verdict", "word") or contrast.accuracy is None:
            return name(contrast.verdict, self)
        return judged_text(contrast.accuracy, name(contrast.verdict, self), contrast.verdict, contrast.p, self)

    def number(self, value: float, digits: int = 1) -> str:
        """Write a number with so many digits after the point or comma."""
        places = "." + "0" * digits if digits else ""
        value = 0.0 if round(value, digits) == 0 else value  # no minus before a zero
        text = format_decimal(value, format=f"#,##0{places}", locale=self.code)
        return text.replace("-", MINUS)

    def short(self, value: float) -> str:
        """Write a number with as many digits as it needs, for the ticks of an axis."""
        text = f"{value or 0.0:g}"
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

    def ends(self, both: Iterable[float], digits: int = 0) -> str:
        """Write both ends of a range, or the one number that they are."""
        return "–".join(dict.fromkeys(self.number(value, digits) for value in both))

    def duration(self, seconds: float) -> str:
        """Write a time as people say it."""
        if seconds < 60:
            return self.gettext("{n} s").format(n=self.number(seconds, 1) if seconds >= 1 else self.figures(seconds, 2))
        if seconds < 5400:
            return self.gettext("{n} min").format(n=self.number(seconds / 60, 1))
        return self.gettext("{n} h").format(n=self.number(seconds / 3600, 1))


class _Sentence(string.Formatter):
    """Fills a sentence in a language."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def format_field(self, value: Any, format_spec: str) -> str:
        return self.language.write(value, format_spec)


@lru_cache
def _translations(code: str) -> gettext.NullTranslations:
    """Read a language's catalogue; English needs none."""
    if code == "en":
        return gettext.NullTranslations()
    with (files("unlabeled.grammar") / "locale" / f"{code}.po").open("rb") as file:
        catalogue = read_po(file, locale=code)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def effect_text(effect: Effect, language: Language, digits: int = 1) -> str:
    """Write a difference with its interval."""
    interval = language.interval(effect.low, effect.high, digits, signed=True)
    return f"{language.signed(effect.mean, digits)} ({interval})"


def verdict_name(verdict: str, language: Language) -> str:
    """Translate a verdict."""
    _ = language.gettext
    return {
        "helps": _("helps"),
        "hurts": _("hurts"),
        "no difference": _("no difference"),
        "imprecise": _("too imprecise"),
        "unfinished": _("not trained to the end"),
        "reading": _("no verdict"),
        "diverged": _("diverged"),
    }[verdict]


def comparison_word(verdict: str, language: Language) -> str:
    """Say a verdict of arms that are merely different."""
    _ = language.gettext
    return {"helps": _("better"), "hurts": _("worse")}.get(verdict) or verdict_name(verdict, language)


def judged_text(effect: Effect, word: str, verdict: str, p: float | None, language: Language) -> str:
    """Write a difference with its interval and the word for its verdict; and the corrected p where only a correction left it open.

    An interval is for its line alone, a p value for all comparisons of its kind: without it "+4.9 (+3.4 to +6.4), too imprecise" reads
    like a mistake.
    """
    text = f"{effect_text(effect, language)}, {word}"
    if verdict != "imprecise" or p is None or effect.low <= 0 <= effect.high:
        return text
    return text + language.gettext(" ({p} when corrected)").format(p=f"p\u00a0{language.write(p, 'p')}")


def verdict_lists(named: Iterable[tuple[str, str]], language: Language, *, merely: bool = False) -> str:
    """Say for which of several things (name, verdict) something helps, hurts, or neither is shown."""
    _ = language.gettext
    texts = {
        "helps": _("better: {names}") if merely else _("helps: {names}"),
        "hurts": _("worse: {names}") if merely else _("hurts: {names}"),
        "no difference": _("no difference: {names}"),
        "imprecise": _("too imprecise to tell: {names}"),
        "unfinished": _("not trained to the end: {names}"),
        "reading": _("no verdict with fewer than 3 folds or seeds: {names}"),
        "diverged": _("diverged: {names}"),
    }
    by_verdict: dict[str, list[str]] = {}
    for name, verdict in named:
        by_verdict.setdefault(verdict, []).append(name)
    # Names that have commas of their own are told apart by a dot.
    between = " · " if any("," in name for names in by_verdict.values() for name in names) else ", "
    return "; ".join(
        text.format(names=between.join(by_verdict[verdict])) for verdict, text in texts.items() if verdict in by_verdict
    )


def model_name(model: str, language: Language) -> str:
    """Name a classical model."""
    _ = language.gettext
    return {
        "logistic": _("logistic regression"),
        "linear-network": _("one-layer network"),
        "trees": _("random forest"),
        "boosting": _("gradient boosting"),
        "neighbours": _("nearest neighbours"),
    }.get(model, model)


def illegal_line(name: str, reason: str, language: Language) -> str:
    """Say why something could not be built; the program's own words are English."""
    if language.code == "en":
        return f"{name}: {reason}"
    return language.say("{name}: its sizes do not close; the program says: {reason}", name=name, reason=reason)
