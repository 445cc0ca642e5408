"""The picture of learning curves with the arrow between them: as many labels less for the same accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import NullFormatter, NullLocator

from unlabeled.grammar.drawing import COLOURS, figure
from unlabeled.grammar.drawing import colour as colour_of
from unlabeled.grammar.plots import Curve, name_axes, write_numbers
from unlabeled.grammar.words import Language


@dataclass(frozen=True)
class Arrow:
    """From so many labels to fewer at one height; ``text`` stands above it, ``ends`` are those of the fewer's interval."""

    start: float
    end: float
    height: float
    text: str
    ends: tuple[float, float]


def learning_figure(
    name: str, curves: Sequence[Curve], language: Language, *, ticks: Sequence[int], x: str, y: str, arrow: Arrow | None
) -> str:
    """Draw curves over the logarithm of a number of labels, and the arrow of equal accuracy."""
    with figure(name, height=3.1) as (axes, finished):
        axes.set_xscale("log")
        for curve in curves:
            colour = colour_of(curve.colour)
            axes.plot(curve.x, curve.y, marker="o", markersize=4.5, linewidth=1.8, color=colour, label=curve.name)
            axes.vlines(curve.x, curve.low, curve.high, color=colour, linewidth=1.6, alpha=0.45)
        if arrow is not None:
            axes.hlines(arrow.height, *arrow.ends, color=COLOURS["ink"], linewidth=6, alpha=0.18)
            axes.annotate(
                "", (arrow.end, arrow.height), (arrow.start, arrow.height),
                arrowprops={"arrowstyle": "-|>", "color": COLOURS["ink"], "linewidth": 1.6, "shrinkA": 3, "shrinkB": 0},
            )  # fmt: skip
            # Below the curves at their right end there is room in every case: both rise.
            axes.annotate(
                arrow.text, (0.98, 0.06), xycoords="axes fraction", ha="right", fontsize=9, color=COLOURS["ink"]
            )
        write_numbers(axes, language)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks([float(n) for n in ticks], [language.number(n, 0) for n in ticks])
        name_axes(axes, x, y)
    return finished.svg
