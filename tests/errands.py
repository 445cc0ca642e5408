"""Runs that tests of clusters hand to workers: what works, what ends its worker once, and what ends every one."""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from unlabeled.keeping.results import Run
from unlabeled.outcomes import AutoencoderOutcome
from unlabeled.records import ArmKey


@dataclass(frozen=True)
class Plain:
    """A run that takes nothing, after those that it needs."""

    number: int
    needs: tuple = ()
    arm = ArmKey("plain")
    kind = "plain"
    fold = None
    seed = 0

    def key(self, lab):
        return Run(lab.folder / "runs", f"plain/{self.number}", {"number": self.number})

    def run(self, lab, folder, needed, watcher):
        before = sum(one.held_out_mse for one in needed)
        return AutoencoderOutcome(
            self.number + before, 1.0, 1, [1, 1, 1], 1, 1, 1, str(os.getpid()), 1, 0.5, time.time()
        )


@dataclass(frozen=True)
class Dying(Plain):
    """A run whose worker is killed so many times, in the middle."""

    times: int = 1
    notes: str = ""

    def run(self, lab, folder, needed, watcher):
        killed = Path(self.notes) / f"{self.number}"
        count = len(killed.read_text()) if killed.exists() else 0
        if count < self.times:
            killed.write_text("x" * (count + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(lab, folder, needed, watcher)


@dataclass(frozen=True)
class Slow(Plain):
    """A run that takes seconds."""

    def run(self, lab, folder, needed, watcher):
        time.sleep(4)
        return super().run(lab, folder, needed, watcher)


@dataclass(frozen=True)
class Full(Plain):
    """A run on a machine whose disk is full."""

    def run(self, lab, folder, needed, watcher):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "weights.safetensors"))
