"""What is running and when it will be done: a bar on a terminal, quiet lines elsewhere."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from statistics import mean
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text


class RunProgress:
    """Tells of runs and, on a terminal, of the steps inside them; a context.

    Parameters
    ----------
    planned
        The kind of every run to come, for the guess at the time left.
    console
        Where to write; standard error if left out, so that output can be piped.
    """

    def __init__(self, planned: Iterable[str], console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._left: list[str] = list(planned)
        self._total = len(self._left)
        self._took: dict[str, list[float]] = defaultdict(list)
        self._started, self._kind, self._label = 0.0, "", ""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}", markup=False),
        )
        self._bar = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self._task = self._bar.add_task("", total=1.0, state="", visible=False)

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start(self, kind: str, label: str) -> None:
        """Begin a run."""
        self._kind, self._label, self._started = kind, label, time.perf_counter()
        self._bar.update(self._task, description=label, completed=0, state=self._remaining(), visible=True)

    def done(self, outcome: str, *, repeated: bool = False) -> None:
        """End the run that was begun; ``repeated`` means that it was found finished."""
        took = time.perf_counter() - self._started
        if self._kind in self._left:
            self._left.remove(self._kind)
        if repeated:
            return
        self._took[self._kind].append(took)
        number = f"[{self._total - len(self._left):>{len(str(self._total))}}/{self._total}]"
        line = f"{number} {self._label}: {outcome}, {took:.1f} s{self._remaining(', ')}"
        self.console.print(Text(line), soft_wrap=True, highlight=False)

    def note(self, text: str) -> None:
        """Write a line."""
        self.console.print(Text(text), soft_wrap=True, highlight=False)

    def step(self, done: int, total: int) -> None:
        """Tell of steps of a training (see ``training.Watcher``)."""
        self._bar.update(self._task, completed=done / total)

    def epoch(self, row: dict[str, Any]) -> None:
        """Tell of an epoch of a training."""
        losses = [f"{name.replace('_', ' ')} {row[name]:.4g}" for name in ("train_loss", "valid_loss") if name in row]
        state = f"epoch {row['epoch']}, {', '.join(losses)}, {row['images_per_second']:,.0f} images/s"
        self._bar.update(self._task, state=state + self._remaining(", "))

    def _remaining(self, before: str = "") -> str:
        """Guess the time left from how long runs of each kind took; nothing until every kind was seen."""
        if not self._left or any(kind not in self._took for kind in set(self._left)):
            return ""
        seconds = sum(mean(self._took[kind]) for kind in self._left)
        return f"{before}{_duration(seconds)} left"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
