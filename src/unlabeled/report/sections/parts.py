"""What a section of the studies' report is made of, and the words that all sections share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from unlabeled.records import (
    ArmKey,
    ArmSummary,
    ContrastResult,
    Protocol,
    Row,
    Spread,
    StudyResult,
    read_as,
)
from unlabeled.report.language import Language, effect_text
from unlabeled.report.plots import Level, Line, lines_figure
from unlabeled.statistics import Effect


@dataclass(frozen=True)
class Cell:
    """A cell of a table; ``kind`` is a class of the page: text, helps, hurts."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table: its heads, its rows, and which of them stands out."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    note: str = ""
    chosen: int | None = None
    swatches: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A drawn figure (SVG), with the sentence that says what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Photographs:
    """Rows of small pictures, each with its name: (name, address of a PNG)."""

    rows: Sequence[tuple[str, str]]
    caption: str


@dataclass(frozen=True)
class Listing:
    """Lines that the reader opens, such as what was left out and why."""

    title: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Points:
    """Sentences below one another."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Text as it is; with a title the reader opens it."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Matrix:
    """Percent of each true class (rows) that was answered as each class."""

    names: Sequence[str]
    values: Sequence[Sequence[int]]
    note: str


Part: TypeAlias = Table | Picture | Photographs | Listing | Points | Code | Matrix | str


@dataclass(frozen=True)
class Section:
    """A study's part of the report."""

    key: str
    title: str
    question: str = ""
    setup: Sequence[str] = ()
    parts: Sequence[Part] = ()
    conclusion: Sequence[str] = ()
    protocol: str = ""


@dataclass(frozen=True)
class Answer:
    """What a report leads with: the verdict, the answer in a sentence (before its colon stands the verdict), and a small table."""

    verdict: str
    headline: str
    table: Table

    @property
    def lines(self) -> list[str]:
        """The rows of the table as lines."""
        rows = [[cell if isinstance(cell, str) else cell.text for cell in row] for row in self.table.rows]
        return [f"{name}: {effect}, {verdict}" for name, effect, verdict in rows]


def answer_table(
    contrasts: Iterable[tuple[str, ContrastResult | None]], language: Language, *, chosen: int | None = None
) -> Table:
    """List the comparisons that matter most, each with its name; those that were not made are left out."""
    _ = language.gettext
    rows: list[list[str | Cell]] = []
    for name, contrast in contrasts:
        if contrast is not None and contrast.accuracy is not None:
            verdict = Cell(verdict_name(contrast.verdict, language), css(contrast.verdict))
            rows.append([name, effect_text(contrast.accuracy, language), verdict])
    heads = [_("comparison"), _("accuracy, points (95 %)"), _("verdict")]
    return Table("", heads, rows, chosen=chosen)


F = TypeVar("F")
# How a section calls its arms.
Name: TypeAlias = Callable[[ArmKey], str]


@dataclass(frozen=True)
class Context(Generic[F]):
    """What a section is written from: what its study found, how it was run, its folder, and the language."""

    findings: F
    config: dict[str, Any]
    protocol: Protocol
    spread: Spread
    folder: Path
    language: Language

    @classmethod
    def of(cls, kind: type[F], result: StudyResult, folder: Path, language: Language) -> Context[F]:
        """Read what a study found."""
        assert result.config is not None
        assert result.protocol is not None
        assert result.spread is not None
        findings = read_as(kind, result.findings)
        return cls(findings, result.config, result.protocol, result.spread, folder, language)


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


def source_name(source: str, language: Language) -> str:
    """Name a kind of features."""
    _ = language.gettext
    return {
        "pixels": _("pixels"),
        "pca": _("PCA"),
        "random": _("random encoder"),
        "filters": _("hand-made filters"),
        "autoencoder": _("autoencoder"),
        "random-quadrants": _("random encoder, quadrants"),
        "autoencoder-quadrants": _("autoencoder, quadrants"),
    }[source]


def verdict_name(verdict: str, language: Language) -> str:
    """Translate a verdict."""
    _ = language.gettext
    return {
        "helps": _("helps"),
        "hurts": _("hurts"),
        "no evidence": _("no evidence"),
        "diverged": _("diverged"),
    }[verdict]


def comparison_word(verdict: str, language: Language) -> str:
    """Say a verdict of arms that are merely different."""
    _ = language.gettext
    return {
        "helps": _("better"),
        "hurts": _("worse"),
        "no evidence": _("no evidence of a difference"),
        "diverged": _("diverged"),
    }[verdict]


def accuracy_cells(arm: ArmSummary, language: Language) -> list[str]:
    """Return accuracy with interval, and log loss with interval; of a diverged arm, how many runs did."""
    if arm.accuracy is None or arm.log_loss is None:
        failed = language.gettext("{n} of {runs} runs diverged").format(n=arm.diverged, runs=arm.runs)
        return [failed, "–"]
    return [mean_cell(arm.accuracy, language, 1), mean_cell(arm.log_loss, language, 3)]


def mean_cell(effect: Effect, language: Language, digits: int) -> str:
    """Write a mean with its interval."""
    ends = language.interval(effect.low, effect.high, digits)
    return f"{language.number(effect.mean, digits)} ({ends})"


def effect_cells(contrast: ContrastResult, language: Language, *, merely: bool = False) -> list[str | Cell]:
    """Return the effect on accuracy, its p, and the verdict."""
    word = comparison_word if merely else verdict_name
    verdict = Cell(word(contrast.verdict, language), css(contrast.verdict))
    if contrast.accuracy is None or contrast.p is None:
        return ["–", "–", verdict]
    p = f"< {language.number(0.001, 3)}" if contrast.p < 0.001 else language.number(contrast.p, 3)
    return [effect_text(contrast.accuracy, language), p, verdict]


def css(verdict: str) -> str:
    """Return a verdict's class in the page."""
    return verdict.replace(" ", "-")


def runs_of(rows: Iterable[Row], arm: ArmKey) -> list[float]:
    """Return the accuracies of an arm's single runs, in percent."""
    return [100 * row.scored.accuracy for row in rows if row.arm == arm and row.scored is not None]


def arms_figure(
    key: str,
    arms: Iterable[ArmSummary],
    rows: Iterable[Row],
    language: Language,
    *,
    name: Name,
    colour: Name,
    label: str,
    levels: Sequence[Level] = (),
) -> str:
    """Draw the accuracies of arms with their intervals and runs; those that diverged are left out."""
    runs = list(rows)
    lines = [
        line for arm in arms if (line := arm_line(arm, runs, name=name(arm.arm), colour=colour(arm.arm))) is not None
    ]
    return lines_figure(key, lines, language, label=label, levels=levels)


def arm_line(arm: ArmSummary, rows: Iterable[Row], *, name: str, colour: str) -> Line | None:
    """Return an arm's accuracy as a line of a figure, if it has one."""
    if arm.accuracy is None:
        return None
    accuracy = arm.accuracy
    return Line(name, accuracy.mean, accuracy.low, accuracy.high, colour, runs_of(rows, arm.arm))


def most_accurate(arms: Iterable[ArmSummary]) -> tuple[ArmKey, float] | None:
    """Return the arm with the highest mean accuracy, and that in percent; none if all diverged."""
    means = [(arm.arm, arm.accuracy.mean) for arm in arms if arm.accuracy is not None]
    return max(means, key=lambda arm: arm[1], default=None)


def contrasts_table(
    contrasts: Sequence[ContrastResult],
    language: Language,
    *,
    name: Name,
    title: str = "",
    note: str = "",
    merely: Callable[[ContrastResult], bool] = lambda _: False,
    more: Mapping[str, Callable[[ContrastResult], str]] | None = None,
) -> Table:
    """List comparisons, the one that was named beforehand in bold.

    ``merely`` tells where arms are just different, ``more`` are further columns.
    """
    _ = language.gettext
    columns = more or {}
    rows = [
        [
            pair_name(c, language, name),
            *effect_cells(c, language, merely=merely(c)),
            *(write(c) for write in columns.values()),
        ]
        for c in contrasts
    ]
    named = [number for number, contrast in enumerate(contrasts) if contrast.contrast.named]
    heads = [_("comparison"), _("accuracy, points (95 %)"), _("p"), _("verdict"), *columns]
    return Table(title, heads, rows, note=note, chosen=named[0] if named else None)


def pair_name(contrast: ContrastResult, language: Language, name: Name) -> str:
    """Name what is compared with what."""
    return language.gettext("{treated} vs {control}").format(
        treated=name(contrast.treated), control=name(contrast.control)
    )


def verdict_lists(named: Iterable[tuple[str, str]], language: Language) -> str:
    """Say for which of several things (name, verdict) something helps, hurts, or neither is shown."""
    _ = language.gettext
    texts = {
        "helps": _("helps: {names}"),
        "hurts": _("hurts: {names}"),
        "no evidence": _("no evidence: {names}"),
        "diverged": _("diverged: {names}"),
    }
    by_verdict: dict[str, list[str]] = {}
    for name, verdict in named:
        by_verdict.setdefault(verdict, []).append(name)
    return "; ".join(
        text.format(names=language.listed(by_verdict[verdict]))
        for verdict, text in texts.items()
        if verdict in by_verdict
    )


def told_effect(contrast: ContrastResult | None, language: Language, *, merely: bool = False) -> str:
    """Say an effect on accuracy and its verdict; of what diverged or was not compared, that."""
    if contrast is None:
        return "–"
    word = (comparison_word if merely else verdict_name)(contrast.verdict, language)
    return word if contrast.accuracy is None else f"{effect_text(contrast.accuracy, language)}, {word}"


def seconds_cell(value: float | None, language: Language) -> str:
    """Write seconds, or a dash."""
    if value is None:
        return "–"
    return language.number(value, 1) if value >= 1 else language.figures(value, 2)


def count_cell(value: float | None, language: Language) -> str:
    """Write a number of things, or a dash."""
    return "–" if value is None else language.number(value, 0)


def illegal_line(name: str, reason: str, language: Language) -> str:
    """Say why something could not be built; the program's own words are English."""
    if language.code == "en":
        return f"{name}: {reason}"
    return language.gettext("{name}: its sizes do not close; the program says: {reason}").format(
        name=name, reason=reason
    )
