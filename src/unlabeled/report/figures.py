"""The figures of the main job's report."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from unlabeled.comparison import ARM_NAMES
from unlabeled.report.drawing import ARM_COLOURS, COLOURS, figure, filter_sheet, legend, png, tile
from unlabeled.report.summary import Summary, contrast_name


def accuracy_figure(summary: Summary) -> str:
    """Draw every arm's accuracy with its interval."""
    arms = summary.result["arms"]
    with figure("accuracy", height=0.9 + 0.27 * len(arms)) as (axes, finish):
        for place, arm in enumerate(reversed(arms)):
            numbers, colour = arm["accuracy"], ARM_COLOURS[arm["arm"].partition("-")[0]]
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
    with figure("effects", height=0.9 + 0.54 * len(contrasts)) as (axes, finish):
        axes.axvline(0, color=COLOURS["muted"], linewidth=0.8)
        for place, contrast in enumerate(reversed(contrasts)):
            numbers, colour = contrast["accuracy"], ARM_COLOURS["autoencoder"]
            dots = [difference["accuracy"] for difference in contrast["differences"]]
            axes.plot(dots, [place - 0.18] * len(dots), "|", color=COLOURS["muted"], markersize=6)
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
    with figure("folds", height=2.6) as (axes, finish):
        for fold in folds:
            for number, seed in enumerate(seeds):
                at = fold + 1 + (number - (len(seeds) - 1) / 2) * min(0.22, 0.7 / len(seeds))
                ends = [found[main[side], fold, seed] for side in ("control", "treated")]
                axes.plot([at, at], ends, color=COLOURS["line"], linewidth=1.6, zorder=1)
                for side, end in zip(("control", "treated"), ends, strict=True):
                    first = fold == folds[0] and seed == seeds[0]
                    label = ARM_NAMES[main[side]] if first else None
                    axes.plot(
                        at, end, "o", color=ARM_COLOURS[main[side].partition("-")[0]], markersize=5.5, label=label
                    )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("fold (seeds side by side)")
        axes.set_ylabel("test accuracy, %")
        axes.grid(axis="y")
        legend(axes)
    return finish.svg


def curves_figure(summary: Summary) -> str:
    """Draw the networks' validation loss over the epochs: each run thin, their median bold."""
    with figure("curves", height=2.6) as (axes, finish):
        for arm, runs in summary.curves.items():
            colour = ARM_COLOURS[arm.partition("-")[0]]
            _draw_curves(axes, [[row["valid_loss"] for row in run] for run in runs], colour, ARM_NAMES[arm])
        axes.set_ylabel("validation log loss, nats")
        _finish_curves(axes)
    return finish.svg


def autoencoder_figure(summary: Summary) -> str:
    """Draw the autoencoders' error on held-out unlabeled images over the epochs."""
    with figure("autoencoder", height=2.6) as (axes, finish):
        curves = [[row["valid_mse"] for row in run] for run in summary.autoencoder_curves]
        _draw_curves(axes, curves, ARM_COLOURS["autoencoder"], "held out")
        # Layers that are joined as they are were measured as a whole, but not trained so.
        curves = [[row.get("train_mse", np.nan) for row in run] for run in summary.autoencoder_curves]
        _draw_curves(axes, curves, COLOURS["muted"], "training")
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
    return png(tile([image for row in rows for image in row], columns=len(rows[0])))


def filter_picture(summary: Summary) -> str:
    """Return a PNG as a data address: the first layer's filters, each stretched to its own range."""
    return filter_sheet(summary.pictures["filters"])


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
    legend(axes)
