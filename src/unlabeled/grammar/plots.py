"""Figures that several sections share; every number on an axis is written in the reader's language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from unlabeled.grammar.drawing import COLOURS, figure, legend, panels, png, tile
from unlabeled.grammar.drawing import colour as colour_of
from unlabeled.grammar.words import Language
from unlabeled.records import Effect

_LETTERS = 30


@dataclass(frozen=True)
class Line:
    """A mean with its interval; ``dots`` are single runs."""

    name: str
    mean: float
    low: float
    high: float
    colour: str = "autoencoder"
    dots: Sequence[float] = ()


@dataclass(frozen=True)
class Curve:
    """A curve; ``low`` and ``high`` are the ends of bars."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dashed: bool = False

    @classmethod
    def of(cls, name: str, points: Iterable[tuple[float, Effect]], colour: str, *, dashed: bool = False) -> Curve:
        """Return the curve of means (x, effect), their intervals as bars."""
        known = list(points)
        y, low, high = ([getattr(effect, end) for _, effect in known] for end in ("mean", "low", "high"))
        return cls(name, [x for x, _ in known], y, colour, low, high, dashed)


@dataclass(frozen=True)
class Pair:
    """Two values of a fold and a seed."""

    fold: int
    seed: int
    before: float
    after: float


@dataclass(frozen=True)
class Level:
    """A line across the whole figure, such as a baseline."""

    name: str
    value: float
    colour: str = "pixels"


def name_axes(axes: Axes, x: str, y: str) -> None:
    """Name both axes and, above them, what has a name; lines across lead from the y axis to what is drawn."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y")
    legend(axes)


def write_numbers(axes: Axes, language: Language, which: str = "xy") -> None:
    """Let the ticks of linear axes follow the language."""
    formatter = FuncFormatter(lambda value, _: language.short(round(value, 10)))
    for letter, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if letter in which:
            axis.set_major_formatter(formatter)


def lines_figure(
    name: str,
    lines: Sequence[Line],
    language: Language,
    *,
    label: str,
    levels: Sequence[Level] = (),
) -> str:
    """Draw means with intervals, one below the other."""
    rows = sum(name.count("\n") for name in _wrapped(lines))
    height = 0.85 + 0.25 * len(lines) + 0.12 * rows + (0.25 if levels else 0)
    with figure(name, height=height) as (axes, finished):
        _levels(axes, levels, upright=True)
        _draw_lines(axes, lines)
        # Of the whole figure: beside long names the axes have no room for it.
        axes.figure.supxlabel(label, fontsize=9, color=COLOURS["muted"])
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        write_numbers(axes, language, "x")
        legend(axes)
    return finished.svg


def factor_figure(
    name: str,
    lines: Sequence[Line],
    speeds: Sequence[float],
    language: Language,
    *,
    labels: tuple[str, str],
    levels: Sequence[Level] = (),
) -> str:
    """Draw quality and speed of a factor's values, side by side."""
    with panels(name, height=1.05 + 0.25 * len(lines), columns=2, share_y=True) as ((left, right), finished):
        _levels(left, levels, upright=True)
        _draw_lines(left, lines)
        right.barh(range(len(lines)), list(reversed(speeds)), color=colour_of("pixels"), height=0.5)
        for axes, label in zip((left, right), labels, strict=True):
            axes.set_xlabel(label)
            axes.grid(axis="x")
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=4 if axes is left else 3)
            write_numbers(axes, language, "x")
        legend(left)
    return finished.svg


def curves_figure(
    name: str,
    curves: Sequence[Curve],
    language: Language,
    *,
    x: str,
    y: str,
    log: str = "",
    ticks: Sequence[tuple[float, str]] = (),
    levels: Sequence[Level] = (),
    zero: bool = False,
    points: Sequence[tuple[float, float, str]] = (),
    height: float = 2.9,
) -> str:
    """Draw curves over a number; ``log`` names the logarithmic axes, ``points`` are single ones (x, y, colour)."""
    with figure(name, height=height) as (axes, finished):
        if zero:
            axes.axhline(0, color=COLOURS["muted"], linewidth=0.8)
        _levels(axes, levels, upright=False)
        for curve in curves:
            colour = colour_of(curve.colour)
            style = "--" if curve.dashed else "-"
            axes.plot(curve.x, curve.y, style, marker="o", markersize=4, color=colour, label=curve.name)
            if curve.low:
                axes.vlines(curve.x, curve.low, curve.high, color=colour, linewidth=1.6, alpha=0.45)
        for across, up, colour in points:
            axes.plot(across, up, "o", markersize=5, color=colour_of(colour), alpha=0.8)
        _scales(axes, language, log, ticks)
        name_axes(axes, x, y)
    return finished.svg


def on_frontier(points: Mapping[tuple[float, float], str]) -> list[tuple[float, float, str, bool]]:
    """Return (time, quality, name, whether no other point is both as quick and as good) of named points (time, quality)."""
    return [
        (x, y, name, not any((x2 <= x and y2 >= y) and (x2, y2) != (x, y) for x2, y2 in points))
        for (x, y), name in points.items()
    ]


def frontier_figure(
    name: str,
    points: Sequence[tuple[float, float, str, bool]],
    language: Language,
    *,
    x: str,
    y: str,
    levels: Sequence[Level],
) -> str:
    """Draw quality against time; points (x, y, name, on the frontier) of the frontier are joined and numbered."""
    with figure(name, height=3.6) as (axes, finished):
        _levels(axes, levels, upright=False)
        others = [(across, up) for across, up, _, front in points if not front]
        axes.plot(
            [p[0] for p in others], [p[1] for p in others], "o", color=colour_of("pixels"), markersize=4, alpha=0.8
        )
        front = sorted((across, up, label) for across, up, label, on in points if on)
        colour = colour_of("autoencoder")
        axes.plot([p[0] for p in front], [p[1] for p in front], "o-", color=colour, markersize=5, linewidth=1)
        for number, (across, up, _) in enumerate(front, 1):
            # A number, which the caption explains: names of neighbours would meet.
            axes.annotate(str(number), (across, up), xytext=(-4, 5), textcoords="offset points", fontsize=8, ha="right")
        _scales(axes, language, "x", ())
        name_axes(axes, x, y)
    return finished.svg


def effects_figure(
    name: str,
    lines: Sequence[Line],
    language: Language,
    *,
    label: str,
) -> str:
    """Draw effects with their intervals and single runs around zero; names stand above, for beside there is no room on a phone."""
    with figure(name, height=0.9 + 0.54 * len(lines)) as (axes, finished):
        for place, line in enumerate(reversed(lines)):
            # In pieces: a whole line would run through the names.
            axes.vlines(0, place - 0.3, place + 0.14, color=COLOURS["muted"], linewidth=0.8)
            colour = colour_of(line.colour)
            axes.plot(line.dots, [place - 0.18] * len(line.dots), "|", color=COLOURS["muted"], markersize=6)
            axes.plot([line.low, line.high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
            axes.plot(line.mean, place, "o", color=colour, markersize=6)
            named = axes.annotate(
                "\n".join(wrap(line.name, 2 * _LETTERS)),
                (0, place),
                xycoords=("axes fraction", "data"),
                xytext=(0, 8),
                textcoords="offset points",
                fontsize=8,
            )
            named.set_in_layout(False)
        axes.set_yticks([])
        axes.set_ylim(-0.5, len(lines) - 0.35)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(label)
        axes.grid(axis="x")
        write_numbers(axes, language, "x")
    return finished.svg


def pairs_figure(
    name: str, pairs: Sequence[Pair], language: Language, *, names: Mapping[str, str], x: str, y: str
) -> str:
    """Draw two values of every fold and seed, joined; ``names`` has the two colours and what they stand for."""
    seeds = sorted({pair.seed for pair in pairs})
    with figure(name, height=2.6) as (axes, finished):
        for number, pair in enumerate(pairs):
            beside = (seeds.index(pair.seed) - (len(seeds) - 1) / 2) * min(0.22, 0.7 / len(seeds))
            at = pair.fold + 1 + beside
            axes.plot([at, at], [pair.before, pair.after], color=COLOURS["line"], linewidth=1.6, zorder=1)
            for (colour, label), value in zip(names.items(), (pair.before, pair.after), strict=True):
                shown = label if number == 0 else None
                axes.plot(at, value, "o", color=colour_of(colour), markersize=5.5, label=shown)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        write_numbers(axes, language, "y")
        name_axes(axes, x, y)
    return finished.svg


def training_figure(
    name: str,
    series: Sequence[tuple[str, Sequence[Sequence[float]], str]],
    language: Language,
    *,
    x: str,
    y: str,
    log: bool = False,
) -> str:
    """Draw runs (name, values by epoch of each, colour) over the epochs: each thin, their median bold."""
    with figure(name, height=2.6) as (axes, finished):
        for title, runs, colour in series:
            _draw_runs(axes, runs, colour_of(colour), title)
        write_numbers(axes, language, "y")
        if log:
            _scales(axes, language, "y", ())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if all(len(run) == 1 for _title, runs, _colour in series for run in runs):
            axes.set(xlim=(0.5, 1.5), xticks=[1])
        name_axes(axes, x, y)
    return finished.svg


def _draw_runs(axes: Axes, runs: Sequence[Sequence[float]], colour: str, label: str) -> None:
    for run in runs:
        marker = "." if len(run) == 1 else None
        axes.plot(range(1, len(run) + 1), run, color=colour, linewidth=0.6, alpha=0.45, marker=marker)
    length = max(len(run) for run in runs)
    # Runs stop at different epochs; the median is drawn as far as half of them go.
    reached = [[run[epoch] for run in runs if len(run) > epoch] for epoch in range(length)]
    median = [float(np.median(values)) for values in reached if 2 * len(values) >= len(runs)]
    marker = "o" if len(median) == 1 else None
    axes.plot(range(1, len(median) + 1), median, color=colour, linewidth=2, label=label, marker=marker)


def map_figure(name: str, values: NDArray[Any], language: Language, *, label: str) -> str:
    """Draw a map (h, w) with its scale."""
    with figure(name, height=2.6) as (axes, finished):
        image = axes.imshow(values, cmap="viridis", interpolation="nearest")
        bar = axes.figure.colorbar(image, ax=axes, label=label)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: language.short(round(value, 10))))
        bar.outline.set_visible(False)
        axes.set_axis_off()
    return finished.svg


def picture_row(images: NDArray[np.uint8]) -> str:
    """Return images uint8 (n, c, h, w) side by side as the address of a PNG."""
    return png(tile(list(images), columns=len(images), scale=max(1, 64 // images.shape[3])))


def _wrapped(lines: Sequence[Line]) -> list[str]:
    """Return names in lines of a length that leaves the axes their room."""
    return ["\n".join(wrap(line.name, _LETTERS)) or line.name for line in lines]


def _draw_lines(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw means with intervals and single runs, the first line on top."""
    for place, line in enumerate(reversed(lines)):
        colour = colour_of(line.colour)
        axes.plot(line.dots, [place - 0.25] * len(line.dots), "|", color=COLOURS["muted"], markersize=4)
        axes.plot([line.low, line.high], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot(line.mean, place, "o", color=colour, markersize=5)
    axes.set_yticks(range(len(lines)), list(reversed(_wrapped(lines))), linespacing=0.95)
    axes.set_ylim(-0.6, len(lines) - 0.4)


def _levels(axes: Axes, levels: Sequence[Level], *, upright: bool) -> None:
    for number, level in enumerate(levels):
        draw = axes.axvline if upright else axes.axhline
        style = ("--", ":", "-.")[number % 3]
        draw(level.value, color=colour_of(level.colour), linewidth=1, linestyle=style, label=level.name)


def _scales(axes: Axes, language: Language, log: str, ticks: Sequence[tuple[float, str]]) -> None:
    """Set the scales: a logarithmic axis has ticks at 1, 2 and 5; ``ticks`` (place, text) are the x axis's own."""
    write_numbers(axes, language)
    for letter, axis, set_scale in (("x", axes.xaxis, axes.set_xscale), ("y", axes.yaxis, axes.set_yscale)):
        if letter not in log:
            continue
        set_scale("log")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: language.short(round(value, 10))))
        axis.set_minor_formatter(NullFormatter())
    if ticks:
        axes.set_xticks([place for place, _ in ticks], [text for _, text in ticks])


def bars_figure(
    name: str,
    series: Sequence[tuple[str, NDArray[Any], str]],
    language: Language,
    *,
    x: str,
    y: str,
    level: tuple[str, float],
) -> str:
    """Draw sorted values as bars, one panel a series (name, values, colour), with a level across all."""
    with panels(name, height=2.5, columns=len(series), share_y=True) as (several, finished):
        for axes, (title, values, colour) in zip(several, series, strict=True):
            axes.bar(range(len(values)), values, width=1.0, color=colour_of(colour))
            axes.axhline(level[1], color=COLOURS["ink"], linewidth=0.9, linestyle="--", label=level[0])
            axes.set_title(title, fontsize=8.5)
            axes.grid(axis="y")
            axes.set_axisbelow(True)
            axes.locator_params(axis="x", nbins=3)
            write_numbers(axes, language)
        several[0].set_ylabel(y)
        several[0].figure.supxlabel(x, fontsize=9, color=COLOURS["muted"])
        # On the bars it could not be read in every colour.
        legend(several[0])
    return finished.svg


def histogram_figure(
    name: str,
    series: Sequence[tuple[str, NDArray[Any], str]],
    language: Language,
    *,
    x: str,
    y: str,
    level: tuple[str, float],
) -> str:
    """Draw how often values occur, all series in the same bins, with a level upright."""
    with figure(name, height=2.5) as (axes, finished):
        most = max((float(values.max()) for _, values, _ in series), default=1.0)
        edges = np.linspace(0, max(most, 1.2 * level[1]) * 1.0001, 26)
        for title, values, colour in series:
            counts, _ = np.histogram(values, edges)
            axes.stairs(counts, edges, color=colour_of(colour), fill=True, alpha=0.35)
            axes.stairs(counts, edges, color=colour_of(colour), label=title, linewidth=1.4)
        axes.axvline(level[1], color=COLOURS["ink"], linewidth=0.9, linestyle="--", label=level[0])
        axes.set_axisbelow(True)
        write_numbers(axes, language)
        name_axes(axes, x, y)
    return finished.svg
