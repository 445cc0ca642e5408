"""What a section of the studies' report is made of, and the words that all sections share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from unlabeled.report.language import Language, effect_text
from unlabeled.report.plots import Line


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


Part: TypeAlias = Table | Picture | Photographs | Listing | str


@dataclass(frozen=True)
class Section:
    """A study's part of the report."""

    key: str
    title: str
    question: str
    setup: Sequence[str]
    parts: Sequence[Part] = ()
    conclusion: Sequence[str] = ()
    protocol: str = ""


@dataclass(frozen=True)
class Context:
    """What a section is written from: its study's result and folder, and the language."""

    result: dict[str, Any]
    folder: Path
    language: Language

    @property
    def protocol(self) -> str:
        """The protocol's line."""
        return protocol_line(self.result["protocol"], self.language)


def protocol_line(protocol: dict[str, Any], language: Language) -> str:
    """Say in one line what every number stands on."""
    _ = language.gettext
    channels, height, width = protocol["image"]
    leaks = protocol["leaks"]
    found = leaks["unlabeled_in_test"] + leaks["unlabeled_in_labeled"] + leaks["labeled_in_test"]
    dropped = _("leaks dropped: {n}") if leaks["policy"] == "drop" else _("leaks kept: {n}")
    words = [f"{protocol['data']}, {width}×{height}×{channels}"]
    if protocol["folds"] is not None:
        words.append(_folds(protocol["folds"], language))
    words.append(_("{n} unlabeled images").format(n=language.number(protocol["unlabeled"], 0)))
    if protocol["folds"] is not None:
        words.append(_("{n} test images").format(n=language.number(protocol["test"], 0)))
    words.append(dropped.format(n=language.number(found, 0)))
    words.append(language.count("{n} seed", "{n} seeds", protocol["seeds"]))
    words.append(_("preset {preset}").format(preset=protocol["preset"]))
    return _("Protocol: {words}").format(words="; ".join(words))


def _folds(folds: dict[str, Any], language: Language) -> str:
    _ = language.gettext
    own = folds["origin"].startswith("the data set")
    return _("{folds} ({origin}), each with {train} labels to train and {valid} to choose with").format(
        folds=language.count("{n} fold", "{n} folds", folds["count"]),
        origin=_("the data set's own") if own else _("stratified parts of the labeled images"),
        train=_range(folds["train"], language),
        valid=_range(folds["valid"], language),
    )


def _range(ends: list[int], language: Language) -> str:
    numbers = dict.fromkeys(language.number(end, 0) for end in ends)
    return "–".join(numbers)


def model_name(model: str, language: Language) -> str:
    """Name a classical model."""
    _ = language.gettext
    return {
        "logistic": _("logistic regression"),
        "linear-network": _("one-layer network"),
        "trees": _("random forest"),
        "boosting": _("gradient boosting"),
        "neighbours": _("nearest neighbours"),
    }[model]


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


def accuracy_cells(arm: dict[str, Any], language: Language) -> list[str]:
    """Return accuracy with interval, and log loss with interval; of a diverged arm, how many runs did."""
    if arm["accuracy"] is None:
        failed = language.gettext("{n} of {runs} runs diverged").format(n=arm["diverged"], runs=arm["runs"])
        return [failed, "–"]
    accuracy, loss = arm["accuracy"], arm["log_loss"]
    return [
        f"{language.number(accuracy['mean'])} ({language.interval(accuracy['low'], accuracy['high'])})",
        f"{language.number(loss['mean'], 3)} ({language.interval(loss['low'], loss['high'], 3)})",
    ]


def effect_cells(contrast: dict[str, Any], language: Language, *, merely: bool = False) -> list[str | Cell]:
    """Return the effect on accuracy, its p, and the verdict."""
    word = comparison_word if merely else verdict_name
    verdict = Cell(word(contrast["verdict"], language), contrast["verdict"].replace(" ", "-"))
    if contrast["accuracy"] is None:
        return ["–", "–", verdict]
    p = f"< {language.number(0.001, 3)}" if contrast["p"] < 0.001 else language.number(contrast["p"], 3)
    return [effect_text(contrast["accuracy"], language), p, verdict]


def runs_of(rows: Sequence[dict[str, Any]], arm: str) -> list[float]:
    """Return the accuracies of an arm's single runs, in percent."""
    return [100 * row["accuracy"] for row in rows if row["arm"] == arm and "accuracy" in row]


def arm_line(arm: dict[str, Any], rows: Sequence[dict[str, Any]], *, name: str, colour: str) -> Line:
    """Return an arm's accuracy as a line of a figure; it must have one."""
    accuracy = arm["accuracy"]
    return Line(name, accuracy["mean"], accuracy["low"], accuracy["high"], colour, runs_of(rows, arm["arm"]))


def told_effect(contrast: dict[str, Any], language: Language, *, merely: bool = False) -> str:
    """Say an effect on accuracy and its verdict; of what diverged, that it did."""
    word = (comparison_word if merely else verdict_name)(contrast["verdict"], language)
    return word if contrast["accuracy"] is None else f"{effect_text(contrast['accuracy'], language)}, {word}"


def seconds_cell(value: float | None, language: Language) -> str:
    """Write seconds, or a dash."""
    if value is None:
        return "–"
    return language.number(value, 1) if value >= 1 else language.figures(value, 2)


def speed_cell(value: float | None, language: Language) -> str:
    """Write images a second, or a dash."""
    return "–" if value is None else language.number(value, 0)


def spread_sentence(context: Context) -> str:
    """Say how runs shared the processor, for their times depend on it."""
    spread, language = context.result["spread"], context.language
    text = language.gettext(
        "Speeds and seconds are for comparison with each other; runs at a time: {jobs}, processor threads of each: {threads}."
    )
    return text.format(jobs=spread["jobs"], threads=spread["threads"])


def illegal_line(name: str, reason: str, language: Language) -> str:
    """Say why something could not be built; the program's own words are English."""
    if language.code == "en":
        return f"{name}: {reason}"
    return language.gettext("{name}: its sizes do not close; the program says: {reason}").format(
        name=name, reason=reason
    )


def interval_note(language: Language) -> str:
    """Say what the intervals are."""
    return language.gettext(
        "Intervals: 95 %, corrected resampled t of Nadeau and Bengio with the variance between seeds and of the "
        "test images added. A "
        "verdict holds after Holm's correction; an interval is for its own line alone."
    )
