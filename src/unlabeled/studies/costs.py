"""What accuracy costs: a picture of it against time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unlabeled.grammar.parts import Part, Picture
from unlabeled.grammar.plots import frontier_figure, on_frontier
from unlabeled.grammar.section import Context
from unlabeled.grammar.tables import Column, frontier_names, table
from unlabeled.grammar.words import words
from unlabeled.records import ArmSummary


def costs(context: Context[Any], arms: Sequence[ArmSummary]) -> list[Part]:
    """Draw accuracy against the time that a run takes with all that it stands on."""
    points = on_frontier(
        {
            (arm.medians["seconds_in_all"], arm.accuracy.mean): context.name(arm.arm)
            for arm in arms
            if arm.accuracy is not None and arm.medians.get("seconds_in_all")
        }
    )
    if not points:
        return []
    x, y = context.say("seconds of a run, with all that it stands on"), context.say("test accuracy, %")
    caption = context.say(
        "No other way is both faster and more accurate than: {names}.", names=frontier_names(context, points)
    )
    columns: dict[str, Column[ArmSummary]] = {
        words("way"): lambda arm: context.name(arm.arm),
        words("in all, s"): lambda arm: context.language.write(arm.medians.get("seconds_in_all"), "s"),
        words("operations, 10¹²"): lambda arm: context.language.write(arm.medians.get("teraoperations"), "f2"),
    }
    note = words(
        "Medians over runs, each with the trainings that it stands on; operations are its networks' multiplications with additions."
    )
    costly = table(
        context, columns, arms, title=words("What it costs"), note=note, swatch=lambda arm: context.colour(arm.arm)
    )
    return [costly, Picture(frontier_figure("costs", points, context.language, x=x, y=y, levels=()), caption)]
