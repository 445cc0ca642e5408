"""What is running and when it will be done: a bar on a terminal, quiet lines elsewhere."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha1
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from unlabeled.console.plain import printable
from unlabeled.console.ticks import read_share

_LOOK = 1.0  # seconds between two looks at runs in other processes


class RunProgress:
    """Tells of runs and, on a terminal, of the steps inside them; a context.

    Parameters
    ----------
    console
        Where to write; standard error if left out, so that output can be piped.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, emoji=False)
        self._title = ""
        self._left: Counter[str] = Counter()
        self._number = self._total = 0
        self._workers = 1
        # Runs begin in a thread of the pool and end in ours.
        self._lock = Lock()
        self._took: dict[str, list[float]] = defaultdict(list)
        self._running: dict[str, tuple[str, str]] = {}
        self._apart = False
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}", markup=False),
        )
        self._bar = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self._task = self._bar.add_task("", total=1.0, state="", visible=False)
        self._ticks: TemporaryDirectory[str] | None = None
        self._over = Event()

    def __enter__(self) -> RunProgress:
        self._bar.start()
        if not self._bar.disable:
            self._ticks = TemporaryDirectory(prefix="unlabeled-", ignore_cleanup_errors=True)
            Thread(target=self._look, name="progress", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._bar.stop()
        if self._ticks is not None:
            self._ticks.cleanup()
            self._ticks = None

    def ticks_of(self, name: str) -> Path | None:
        """Return the file in which a run in another process notes how far it is; None where nobody looks."""
        return None if self._ticks is None else Path(self._ticks.name) / sha1(name.encode()).hexdigest()

    def _look(self) -> None:
        while not self._over.wait(_LOOK):
            with self._lock:
                if self._apart:
                    self._show()

    def study(self, title: str) -> None:
        """Say which study the runs to come belong to."""
        self._title = f"{title} "

    def plan(self, kinds: Iterable[str], *, workers: int = 1) -> None:
        """Take note of the kinds of the runs to come, and how many run at a time, for the guess at the time left."""
        self._left = Counter(kinds)
        self._workers, self._apart = workers, workers > 1
        self._number, self._total = 0, self._left.total()

    def start(self, name: str, kind: str, label: str) -> None:
        """Begin a run; several can be under way."""
        with self._lock:
            self._running[name] = (kind, label)
            self._show()

    def done(self, name: str, outcome: str, took: float) -> None:
        """End a run that was begun, and that took so many seconds; that it waited for its turn does not count."""
        with self._lock:
            kind, label = self._running.pop(name)
            self._left[kind] -= 1
            self._number += 1
            self._took[kind].append(took)
            self._show()
        number = f"[{self._title}{self._number:>{len(str(self._total))}}/{self._total}]"
        line = f"{number} {label}: {outcome}, {took:.1f} s{self._remaining(', ')}"
        self._print(line)

    def note(self, text: str) -> None:
        """Write a line."""
        self._print(text)

    def _print(self, text: str) -> None:
        # A log on a disk that is full is no reason to stop.
        with suppress(OSError):
            self.console.print(Text(printable(text)), soft_wrap=True, highlight=False)

    def step(self, done: int, total: int) -> None:
        """Tell of steps of a training (see ``training.Watcher``)."""
        self._bar.update(self._task, completed=done / total)

    def epoch(self, row: dict[str, Any]) -> None:
        """Tell of an epoch of a training."""
        losses = [f"{name.replace('_', ' ')} {row[name]:.4g}" for name in ("train_loss", "valid_loss") if name in row]
        state = f"epoch {row['epoch']}, {', '.join(losses)}, {row['images_per_second']:,.0f} images/s"
        self._bar.update(self._task, state=state + self._remaining(", "))

    def _show(self) -> None:
        """Draw the bar: what runs, and how far all runs are."""
        shares = {name: self._share(name) for name in self._running}
        labels = [
            label + (f" {100 * shares[name]:.0f} %" if shares[name] else "")
            for name, (_, label) in self._running.items()
        ]
        completed = (self._number + sum(shares.values())) / self._total if self._apart and self._total else 0
        description = self._title + " | ".join(labels)
        state = self._remaining()
        self._bar.update(self._task, description=description, completed=completed, state=state, visible=bool(labels))

    def _share(self, name: str) -> float:
        path = self.ticks_of(name) if self._apart else None
        return 0.0 if path is None else read_share(path)

    def _remaining(self, before: str = "") -> str:
        """Guess the time left from how long runs of each kind took; nothing before a first one of half the kinds."""
        left = {kind: count for kind, count in self._left.items() if count > 0}
        known = [kind for kind in left if self._took[kind]]
        if not left or 2 * len(known) < len(left):
            return ""
        usual = mean(mean(self._took[kind]) for kind in known)
        seconds = sum(count * (mean(self._took[kind]) if self._took[kind] else usual) for kind, count in left.items())
        # What runs at the same time is done at the same time.
        seconds /= max(1, min(self._workers, sum(left.values())))
        return f"{before}about {_duration(seconds)} left"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
