"""Figures as SVG that follows the page's colours, and pictures as PNG; the same bytes for the same results."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from PIL import Image

from unlabeled.comparison import ARM_NAMES
from unlabeled.report.summary import Summary, contrast_name

# Matplotlib writes these colours, which nothing else uses, and the page's variables take their place.
_COLOURS = {"ink": "#010203", "muted": "#040506", "line": "#070809"}
_SOURCE_COLOURS = {"pixels": "#0a0b0c", "random": "#0d0e0f", "pca": "#101112", "autoencoder": "#131415"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.parse_math": False,
    "axes.edgecolor": _COLOURS["line"],
    "axes.labelcolor": _COLOURS["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _COLOURS["muted"],
    "ytick.color": _COLOURS["ink"],
    "text.color": _COLOURS["ink"],
    "grid.color": _COLOURS["line"],
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
}
_WIDTH = 4.7  # inches: readable on a phone, two side by side on a desktop


def accuracy_figure(summary: Summary) -> str:
    """Draw every arm's accuracy with its interval."""
    arms = summary.result["arms"]
    with _figure("accuracy", height=0.9 + 0.27 * len(arms)) as (axes, finish):
        for place, arm in enumerate(reversed(arms)):
            numbers, colour = arm["accuracy"], _SOURCE_COLOURS[arm["arm"].partition("-")[0]]
            axes.plot(
                [numbers["low"], numbers["high"]], [place, place], color=colour, linewidth=2.2, solid_capstyle="round"
            )
            axes.plot(numbers["mean"], place, "o", color=colour, markersize=6)
        axes.set_yticks(range(len(arms)), [ARM_NAMES[arm["arm"]] for arm in reversed(arms)])
        axes.set_xlabel("test accuracy, %, with 95 % interval")
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    return finish.svg


def effects_figure(summary: Summary) -> str:
    """Draw every contrast: its interval, and the difference of each fold and seed."""
    contrasts = summary.result["contrasts"]
    with _figure("effects", height=0.9 + 0.54 * len(contrasts)) as (axes, finish):
        axes.axvline(0, color=_COLOURS["muted"], linewidth=0.8)
        for place, contrast in enumerate(reversed(contrasts)):
            numbers, colour = contrast["accuracy"], _SOURCE_COLOURS["autoencoder"]
            dots = [difference["accuracy"] for difference in contrast["differences"]]
            axes.plot(dots, [place - 0.18] * len(dots), "|", color=_COLOURS["muted"], markersize=6)
            axes.plot(
                [numbers["low"], numbers["high"]], [place, place], color=colour, linewidth=2.2, solid_capstyle="round"
            )
            axes.plot(numbers["mean"], place, "o", color=colour, markersize=6)
            # Above its row: beside it there is no room on a phone.
            axes.annotate(
                contrast_name(contrast),
                (0, place),
                xycoords=("axes fraction", "data"),
                xytext=(0, 8),
                textcoords="offset points",
                fontsize=8,
            )
        axes.set_yticks([])
        axes.set_ylim(-0.5, len(contrasts) - 0.35)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("difference in accuracy, points: mean, 95 % interval, and each run")
        axes.grid(axis="x")
    return finish.svg


def folds_figure(summary: Summary) -> str:
    """Draw the main contrast fold by fold: from the control's accuracy to the treated one's."""
    main = summary.result["contrasts"][0]
    rows = summary.result["rows"]
    found = {(row["arm"], row["fold"], row["seed"]): 100 * row["accuracy"] for row in rows}
    folds, seeds = (sorted({row[name] for row in rows}) for name in ("fold", "seed"))
    with _figure("folds", height=2.6) as (axes, finish):
        for fold in folds:
            for number, seed in enumerate(seeds):
                at = fold + 1 + (number - (len(seeds) - 1) / 2) * min(0.22, 0.7 / len(seeds))
                ends = [found[main[side], fold, seed] for side in ("control", "treated")]
                axes.plot([at, at], ends, color=_COLOURS["line"], linewidth=1.6, zorder=1)
                for side, end in zip(("control", "treated"), ends, strict=True):
                    first = fold == folds[0] and seed == seeds[0]
                    label = ARM_NAMES[main[side]] if first else None
                    axes.plot(
                        at, end, "o", color=_SOURCE_COLOURS[main[side].partition("-")[0]], markersize=5.5, label=label
                    )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("fold (seeds side by side)")
        axes.set_ylabel("test accuracy, %")
        axes.grid(axis="y")
        _legend(axes)
    return finish.svg


def curves_figure(summary: Summary) -> str:
    """Draw the networks' validation loss over the epochs: each run thin, their median bold."""
    with _figure("curves", height=2.6) as (axes, finish):
        for arm, runs in summary.curves.items():
            colour = _SOURCE_COLOURS[arm.partition("-")[0]]
            _draw_curves(axes, [[row["valid_loss"] for row in run] for run in runs], colour, ARM_NAMES[arm])
        axes.set_ylabel("validation log loss, nats")
        _finish_curves(axes)
    return finish.svg


def autoencoder_figure(summary: Summary) -> str:
    """Draw the autoencoders' error on held-out unlabeled images over the epochs."""
    with _figure("autoencoder", height=2.6) as (axes, finish):
        curves = [[row["valid_mse"] for row in run] for run in summary.autoencoder_curves]
        _draw_curves(axes, curves, _SOURCE_COLOURS["autoencoder"], "held out")
        curves = [[row["train_mse"] for row in run] for run in summary.autoencoder_curves]
        _draw_curves(axes, curves, _COLOURS["muted"], "training")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel("mean squared error on [−1, 1]")
        _finish_curves(axes)
    return finish.svg


def reconstruction_picture(summary: Summary) -> str:
    """Return a PNG as a data address: originals above their reconstructions."""
    rows = [summary.pictures["originals"], summary.pictures["reconstructions"]]
    return _png(_tile([image for row in rows for image in row], columns=len(rows[0])))


def filter_picture(summary: Summary) -> str:
    """Return a PNG as a data address: the first layer's filters, each stretched to its own range."""
    filters = summary.pictures["filters"]
    if filters.shape[1] not in (1, 3):
        filters = filters.mean(axis=1, keepdims=True)
    most = np.maximum(abs(filters).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    images = np.round((filters / most + 1) * 127.5).astype(np.uint8)
    return _png(_tile(list(images), columns=min(16, len(images)), scale=max(1, 36 // images.shape[3])))


class _Finished:
    """Where a figure's SVG goes when its block ends."""

    svg = ""


@contextmanager
def _figure(name: str, *, height: float) -> Iterator[tuple[Axes, _Finished]]:
    finished = _Finished()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield figure.add_subplot(), finished
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    finished.svg = _for_page(file.getvalue(), name)


def _for_page(svg: str, name: str) -> str:
    """Cut the SVG out of its file, give its colours and names over to the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\1{name}-", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font: ([^;\"]*?)'[^;\"]*", r"font: \1sans-serif", svg)
    for variable, colour in (_COLOURS | _SOURCE_COLOURS).items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg.strip()


def _draw_curves(axes: Axes, runs: list[list[float]], colour: str, label: str) -> None:
    for run in runs:
        axes.plot(
            range(1, len(run) + 1), run, color=colour, linewidth=0.6, alpha=0.45, marker="." if len(run) == 1 else None
        )
    length = max(len(run) for run in runs)
    # Runs stop at different epochs; the median is drawn as far as half of them go.
    reached = [[run[epoch] for run in runs if len(run) > epoch] for epoch in range(length)]
    median = [float(np.median(values)) for values in reached if 2 * len(values) >= len(runs)]
    axes.plot(
        range(1, len(median) + 1),
        median,
        color=colour,
        linewidth=2,
        label=label,
        marker="o" if len(median) == 1 else None,
    )


def _finish_curves(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.grid(axis="y")
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Put the legend above the axes, where it hides nothing."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8, borderaxespad=0.2, handlelength=1.4
    )


def _tile(images: list[NDArray[Any]], *, columns: int, gap: int = 1, scale: int = 3) -> NDArray[np.uint8]:
    """Lay images uint8 (c, h, w) out in rows, enlarged, with transparent gaps: (H, W, 4)."""
    _, height, width = images[0].shape
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4), dtype=np.uint8)
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        sheet[top : top + height, left : left + width, :3] = image.transpose(1, 2, 0)
        sheet[top : top + height, left : left + width, 3] = 255
    return sheet.repeat(scale, axis=0).repeat(scale, axis=1)


def _png(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
