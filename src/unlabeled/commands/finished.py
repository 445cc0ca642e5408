"""Commands that go on with a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unlabeled.commands import say
from unlabeled.commands.data import CacheOption


def suggest(
    run: Annotated[Path, Parameter(help="Folder of a finished run of the main job.")], /, *,
    count: Annotated[int, Parameter(help="How many images to suggest.")] = 100,
    out: Annotated[Path | None, Parameter(help="Folder for the lists; left out, RUN/suggestions.")] = None,
    backtest: Annotated[
        bool, Parameter(help="Whether choosing so is tried on your own labels against random choice: two trainings a fold and seed.")
    ] = True,
    cache: CacheOption = None,
) -> None:  # fmt: skip
    """Say which unlabeled images to label next, and which labels look wrong: lists, a contact sheet, tasks for Label Studio."""
    from unlabeled.finished.suggesting import write_suggestions

    written = write_suggestions(run, count=count, out=out, backtest=backtest, cache=cache)
    for line in written.lines:
        say(line)
