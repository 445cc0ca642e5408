"""The tables, figures and sentences that most studies have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from unlabeled.grammar.parts import Answer, Cell, Picture, Table
from unlabeled.grammar.plots import Level, Line, lines_figure
from unlabeled.grammar.section import Context
from unlabeled.grammar.words import Language, model_name, words
from unlabeled.records import ArmKey, ArmSummary, ContrastResult, Row

T = TypeVar("T")
# Of a row: a text that its item (i) fills, or what returns the cell or a value to write.
Column: TypeAlias = str | Callable[[T], Any]
_LEVELS = ("logistic", "trees", "boosting")


def table(
    context: Context[Any],
    columns: Mapping[str, Column[T]],
    items: Iterable[T],
    *,
    title: str = "",
    note: str = "",
    chosen: int | None = None,
    swatch: Callable[[T], str] | None = None,
) -> Table:
    """Make a table with a row an item; heads, title and note are translated."""
    language, rows = context.language, list(items)

    def cell(column: Column[T], item: T) -> str | Cell:
        made = language.fill(column, i=item) if isinstance(column, str) else column(item)
        return made if isinstance(made, Cell) else language.write(made)

    return Table(
        context.say(title) if title else "",
        [context.say(head) for head in columns],
        [[cell(column, item) for column in columns.values()] for item in rows],
        note=context.say(note) if note else "",
        chosen=chosen,
        swatches=[swatch(item) for item in rows] if swatch else (),
    )


@dataclass(frozen=True)
class ArmTable:
    """A table of a study's arms: accuracy, log loss, and by head ``more`` medians of their runs, each with its format."""

    head: str
    more: Mapping[str, str]
    note: str = ""
    swatches: bool = True

    def __call__(self, context: Context[Any]) -> Table:
        """Make it."""
        return self.of(context, context.findings.comparison.arms)

    def of(
        self,
        context: Context[Any],
        arms: Iterable[ArmSummary],
        *,
        name: Callable[[ArmSummary], str] | None = None,
        before: Mapping[str, Column[ArmSummary]] | None = None,
        chosen: int | None = None,
    ) -> Table:
        """Make it of some arms, with further columns ``before`` the accuracy."""

        def median(entry: str) -> Callable[[ArmSummary], str]:
            key, _, form = entry.partition(":")
            return lambda arm: context.language.write(arm.medians.get(key), form)

        columns: dict[str, Column[ArmSummary]] = {
            self.head: name or (lambda arm: context.name(arm.arm)),
            **(before or {}),
            words("accuracy, % (95 %)"): lambda arm: accuracy_cell(arm, context.language),
            words("log loss, nats (95 %)"): lambda arm: context.language.write(arm.log_loss, "m3"),
            **{head: median(entry) for head, entry in self.more.items()},
        }
        colour = (lambda arm: context.colour(arm.arm)) if self.swatches else None
        return table(context, columns, arms, note=self.note, chosen=chosen, swatch=colour)


def accuracy_cell(arm: ArmSummary, language: Language) -> str:
    """Write an arm's accuracy with its interval; of a diverged one, how many runs did."""
    if arm.accuracy is None:
        return language.say("{n} of {runs} runs diverged", n=arm.diverged, runs=arm.runs)
    return language.write(arm.accuracy, "m1")


def verdict_cell(contrast: ContrastResult, language: Language, form: str = "verdict") -> Cell:
    """Write a verdict, with its colour."""
    return Cell(language.write(contrast, form), css(contrast.verdict))


def css(verdict: str) -> str:
    """Return a verdict's class in the page."""
    return verdict.replace(" ", "-")


@dataclass(frozen=True)
class ContrastTable:
    """A table of a study's comparisons, the one that answers in bold.

    ``merely`` tells where arms are just different, ``more`` are further columns, written by the language.
    """

    title: str = ""
    note: str = ""
    merely: Callable[[ContrastResult], bool] = lambda _: False
    more: Mapping[str, Column[ContrastResult]] = field(default_factory=dict)

    def __call__(self, context: Context[Any]) -> Table:
        """Make it."""
        comparison = context.findings.comparison
        return self.of(context, comparison.contrasts, chosen=comparison.chosen)

    def of(
        self,
        context: Context[Any],
        contrasts: Sequence[ContrastResult],
        pair: Callable[[ContrastResult], str] | None = None,
        *,
        chosen: ArmKey | None = None,
    ) -> Table:
        """Make it of some comparisons."""
        language = context.language
        columns: dict[str, Column[ContrastResult]] = {
            words("comparison"): pair or context.pair,
            words("accuracy, points (95 %)"): "{i.accuracy:e}",
            words("p"): "{i.p:p}",
            words("verdict"): lambda c: verdict_cell(c, language, "word" if self.merely(c) else "verdict"),
            **self.more,
        }
        bold = [
            number
            for number, c in enumerate(contrasts)
            if c.contrast.named or (c.treated == chosen and c.contrast.role == "without")
        ]
        note = context.say(self.note) if self.note else ""
        undecided = [c.accuracy for c in contrasts if c.verdict in ("imprecise", "no difference")]
        if any(effect is not None and effect.low * effect.high > 0 for effect in undecided):
            note = f"{note} " + context.say(
                "An interval that leaves out zero is no verdict by itself: of several comparisons one does so by chance more easily than a "
                "single one, which p allows for."
            )
        return table(context, columns, contrasts, title=self.title, note=note.strip(), chosen=bold[0] if bold else None)


def answer(
    language: Language,
    verdict: str,
    headline: str,
    contrasts: Iterable[tuple[str, ContrastResult | None]],
    *,
    chosen: int | None = 0,
) -> Answer:
    """Lead with a sentence, and the comparisons that matter most, each with its name; those that were not made are left out."""
    _ = language.gettext
    rows: list[list[str | Cell]] = [
        [name, language.write(contrast.accuracy, "e"), verdict_cell(contrast, language)]
        for name, contrast in contrasts
        if contrast is not None and contrast.accuracy is not None
    ]
    heads = [_("comparison"), _("accuracy, points (95 %)"), _("verdict")]
    return Answer(verdict, headline, Table("", heads, rows, chosen=chosen))


def arms_figure(
    context: Context[Any],
    key: str,
    arms: Iterable[ArmSummary],
    *,
    label: str = "",
    name: Callable[[ArmKey], str] | None = None,
    levels: Sequence[Level] = (),
) -> str:
    """Draw the accuracies of arms with their intervals and runs; those that diverged are left out."""
    write, runs = name or context.name, context.findings.rows
    lines = [
        line
        for arm in arms
        if (line := arm_line(arm, runs, name=write(arm.arm), colour=context.colour(arm.arm))) is not None
    ]
    label = label or context.say("test accuracy, % (95 % interval; ticks: runs)")
    return lines_figure(key, lines, context.language, label=label, levels=levels)


@dataclass(frozen=True)
class ArmFigure:
    """The accuracies of all arms of a study beside the models on pixels; the sentence names the most accurate."""

    key: str

    def __call__(self, context: Context[Any]) -> Picture:
        """Draw it."""
        arms = context.findings.comparison.arms
        beside = levels(context, context.findings.baselines)
        return Picture(arms_figure(context, self.key, arms, levels=beside), best_sentence(context, arms))


def arm_line(arm: ArmSummary, rows: Iterable[Row], *, name: str, colour: str) -> Line | None:
    """Return an arm's accuracy as a line of a figure, if it has one."""
    if arm.accuracy is None:
        return None
    accuracy = arm.accuracy
    runs = [100 * row.scored.accuracy for row in rows if row.arm == arm.arm and row.scored is not None]
    return Line(name, accuracy.mean, accuracy.low, accuracy.high, colour, runs)


def levels(context: Context[Any], arms: Iterable[ArmSummary]) -> list[Level]:
    """Return the lines that figures are drawn beside: the models of study 1 on pixels."""
    return [
        Level(context.say("pixels") + ", " + model_name(arm.arm.model, context.language), arm.accuracy.mean, "pixels")
        for arm in arms
        if arm.arm in {ArmKey("pixels", model) for model in _LEVELS} and arm.accuracy is not None
    ]


def frontier_names(context: Context[Any], points: Iterable[tuple[float, float, str, bool]]) -> str:
    """Name the points of a frontier by their numbers in the figure, with (time in seconds, accuracy in percent)."""
    front = sorted(point for point in points if point[3])
    return context.each("({i[0]}) {i[1][2]} ({i[1][0]:time}, {i[1][1]:1} %)", enumerate(front, 1), ", ")


def most_accurate(arms: Iterable[ArmSummary]) -> tuple[ArmKey, float] | None:
    """Return the arm with the highest mean accuracy, and that in percent; none if all diverged."""
    means = [(arm.arm, arm.accuracy.mean) for arm in arms if arm.accuracy is not None]
    return max(means, key=lambda arm: arm[1], default=None)


def best_sentence(
    context: Context[Any],
    arms: Iterable[ArmSummary],
    text: str = words("The most accurate in the mean: {name}, {accuracy:1} %."),
) -> str:
    """Name the arm with the highest mean accuracy."""
    best = most_accurate(arms)
    if best is None:
        return context.say("Every run diverged.")
    return context.say(text, name=context.name(best[0]), accuracy=best[1])
