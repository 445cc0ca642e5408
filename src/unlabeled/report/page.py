"""The report: one HTML file, built from a run's folder alone, the same bytes each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from unlabeled.comparison import ARM_NAMES
from unlabeled.files import write_atomically
from unlabeled.report import figures
from unlabeled.report import summary as numbers
from unlabeled.report.environment import make_environment, reading
from unlabeled.report.summary import Summary, summarise


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a finished run's folder, and return its path.

    Raises
    ------
    UserError
        If the folder holds no finished run.
    """
    with reading(folder):
        return write_page(folder, summarise(folder))


def write_page(folder: Path, summary: Summary) -> Path:
    """Write ``report.html`` from what was read of the folder already, and return its path."""
    page = render(summary)
    path = folder / "report.html"
    write_atomically(path, lambda file: file.write(page.encode("utf-8")))
    return path


def render(summary: Summary) -> str:
    """Return the page."""
    environment = make_environment()
    environment.filters |= {"signed": numbers.signed, "duration": numbers.duration}
    result = summary.result
    return environment.get_template("report.html.j2").render(
        s=summary,
        protocol=result["protocol"],
        arms=result["arms"],
        contrasts=result["contrasts"],
        autoencoders=result["autoencoders"],
        machine=result["machine"],
        arm_names=ARM_NAMES,
        contrast_name=numbers.contrast_name,
        interval=numbers.interval,
        count=numbers.count,
        best=_best(result["arms"]),
        main=result["contrasts"][0],
        curves_sentence=_curves_sentence(summary),
        autoencoder_sentence=_autoencoder_sentence(result["autoencoders"]),
        matrix=summary.confusion if numbers.fits_table(summary) else None,
        confusions=numbers.confusions(summary),
        figure={
            "accuracy": Markup(figures.accuracy_figure(summary)),
            "effects": Markup(figures.effects_figure(summary)),
            "folds": Markup(figures.folds_figure(summary)),
            "curves": Markup(figures.curves_figure(summary)),
            "autoencoder": Markup(figures.autoencoder_figure(summary)),
        },
        reconstructions=figures.reconstruction_picture(summary),
        filters=figures.filter_picture(summary),
        configuration=json.dumps(summary.config, indent=2, ensure_ascii=False),
    )


def _best(arms: list[dict[str, Any]]) -> str:
    arm = max(arms, key=lambda candidate: candidate["accuracy"]["mean"])
    numbers_of = arm["accuracy"]
    return (
        f"The highest mean accuracy is {numbers_of['mean']:.1f} % ({ARM_NAMES[arm['arm']]}; 95 % interval {numbers_of['low']:.1f} to "
        f"{numbers_of['high']:.1f})."
    )


def _curves_sentence(summary: Summary) -> str:
    parts = []
    for arm, runs in summary.curves.items():
        losses = [[row["valid_loss"] for row in run] for run in runs]
        best = sorted(run.index(min(run)) + 1 for run in losses)
        parts.append(f"{ARM_NAMES[arm]} is best at epoch {best[len(best) // 2]} in the median")
    return "; ".join(parts) + "."


def _autoencoder_sentence(runs: list[dict[str, Any]]) -> str:
    errors = [run["held_out_mse"] for run in runs]
    kept = [
        100 * (1 - run["held_out_mse"] / run["held_out_variance"])
        for run in runs
        if run["held_out_mse"] < run["held_out_variance"]
    ]
    spread = " to ".join(dict.fromkeys(f"{error:.4f}" for error in (min(errors), max(errors))))
    first = runs[0]
    explained = f", which explains {min(kept):.1f} % of the pixels' variance" if kept else ""
    return (
        f"On unlabeled images that it was not trained on its mean squared error is {spread}{explained}. The code holds "
        f"{first['code_length']:,} numbers for the {first['input_length']:,} of an image, the switches of the pools apart."
    )
