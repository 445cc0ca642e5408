"""The results as Markdown and JSON, and their short form in the README."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"


def write_results(folder: Path, machine: dict[str, Any], rows: list[dict[str, Any]], notes: dict[str, str]) -> None:
    """Write ``results.json`` and ``results.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "rows": rows, "notes": notes}
    (folder / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    (folder / "results.md").write_text(as_markdown(content))


def add_results(
    kept: dict[str, Any], machine: dict[str, Any], rows: list[dict[str, Any]], notes: dict[str, str]
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, str]]:
    """Put another run's rows in place of the same cases, or behind; a note says what is of another run."""
    cases = dict.fromkeys(row["case"] for row in rows)
    about = f"measured in another run (matrix product {machine['gflops_fp32']:.0f} GFLOP/s in fp32, load {machine['load'][0]} before)"
    order = list(dict.fromkeys([*(row["case"] for row in kept["rows"]), *cases]))
    merged = [row for row in kept["rows"] if row["case"] not in cases] + rows
    merged.sort(key=lambda row: order.index(row["case"]))
    return kept["machine"], merged, {**kept["notes"], **notes, **dict.fromkeys(cases, about)}


def as_markdown(content: dict[str, Any]) -> str:
    """Return the whole table."""
    machine, lines = content["machine"], ["# Speed", "", describe(content["machine"]), ""]
    lines += [
        "| case | contender | images/s, median (least to most) | times the rival (least to most) | to reach | loss "
        "| share of the bound | note |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in content["rows"]]
    lines += [
        "",
        f"Load of the machine before: {machine['load'][0]}. Contenders take turns; a ratio is the median of the ratios within a turn. "
        "The bound is the convolutions of a step, forward and backward, with nothing between them. The loss is measured by plain "
        "code on held-out images after the epoch; of encode it is the largest difference of a feature.",
        "",
        *(f"- {name}: {note}" for name, note in content["notes"].items()),
        "",
    ]
    return "\n".join(lines)


def describe(machine: dict[str, Any]) -> str:
    """Return the machine in a sentence."""
    return (
        f"{machine['processor']}, {machine['threads']} threads, PyTorch {machine['torch']}, Python {machine['python']}; "
        f"matrix product {machine['gflops_fp32']:.0f} GFLOP/s in fp32 and {machine['gflops_bf16']:.0f} in bf16, copying "
        f"{machine['copy_gb_per_second']:.1f} GB/s, measured in the same run."
    )


def refresh_readme(readme: Path, content: dict[str, Any]) -> None:
    """Put the short table between its two marks.

    Raises
    ------
    ValueError
        If the README lacks the marks.
    """
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{readme}: no {BEGIN} and {END} in it; put them where the table belongs")
    before, rest = text.split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{short_table(content)}\n{END}{rest.split(END)[1]}")


def short_table(content: dict[str, Any]) -> str:
    """Return the rows that have a goal, against their rivals."""
    lines = [
        describe(content["machine"]),
        "",
        "| case | unlabeled, images/s | times the rival | to reach | loss: ours, rival's |",
        "|---|---|---|---|---|",
    ]
    first: dict[str, dict[str, Any]] = {}
    shown: set[str] = set()
    for row in content["rows"]:
        rival = first.setdefault(row["case"], row)
        if row["goal"] is None:
            continue
        shown.add(row["case"])
        losses = f"{_loss(row)}, {_loss(rival)}" if row["losses"] else "-"
        lines.append(
            f"| {row['case']} | {row['median']:,.0f} | {row['ratio']:.1f} ({row['ratio_spread'][0]:.1f} to {row['ratio_spread'][1]:.1f}) "
            f"| {row['goal']:g} | {losses} |"
        )
    told = [f"{name}: {note}." for name, note in content["notes"].items() if name in shown]
    return "\n".join([*lines, *([""] if told else []), *told])


def _line(row: dict[str, Any]) -> str:
    ratio = (
        "-"
        if row["ratio"] is None
        else f"{row['ratio']:.2f} ({row['ratio_spread'][0]:.2f} to {row['ratio_spread'][1]:.2f})"
    )
    share = f"{100 * row['more']['share_of_bound']:.0f} %" if "share_of_bound" in row["more"] else "-"
    goal = "-" if row["goal"] is None else f"{row['goal']:g}"
    spread = f"{row['median']:,.0f} ({row['spread'][0]:,.0f} to {row['spread'][1]:,.0f})"
    return f"| {row['case']} | {row['contender']} | {spread} | {ratio} | {goal} | {_loss(row)} | {share} | {row['note'] or '-'} |"


def _loss(row: dict[str, Any]) -> str:
    return f"{statistics.median(row['losses']):.5f}" if row["losses"] else "-"
