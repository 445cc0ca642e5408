"""How far runs in other processes are: a small file each, at which the process that shows it looks."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_EVERY = 0.5  # seconds between two notes


class Ticker:
    """Notes in a file what share of a run is done; a ``training.Watcher``."""

    def __init__(self, path: Path) -> None:
        self.path, self._last = path, 0.0

    def step(self, done: int, total: int) -> None:
        """Note it, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._last >= _EVERY:
            self._last = now
            # Nobody may be looking any more, and a full disk is no reason to stop.
            with suppress(OSError):
                self.path.write_text(f"{done / total:.4f}", encoding="ascii")

    def epoch(self, row: dict[str, Any]) -> None:
        """Leave epochs alone: what they came to stands in the results."""


def read_share(path: Path) -> float:
    """Return what share of a run is done; 0 where nothing, or half of a number, is noted."""
    try:
        return min(1.0, max(0.0, float(path.read_text(encoding="ascii"))))
    except (OSError, ValueError):
        return 0.0
