"""study: a grid of eight small runs, spread over the cores or one after the other on all threads; and where whole time goes."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.drawing import draw_images
from benchmarks.measuring import Contender, Outcome, Row, compare, take_turns
from benchmarks.training import BLOCK
from unlabeled import ConvAutoEncoder, Reconstruction, TrainingConfig, fit
from unlabeled.config import Config
from unlabeled.images import Images, Splits
from unlabeled.presets import resolve
from unlabeled.progress import RunProgress
from unlabeled.results import Run
from unlabeled.runtime import seeded
from unlabeled.studies.lab import Lab
from unlabeled.studies.runner import run_tasks
from unlabeled.training import Watcher

FILTERS = (6, 8, 10, 12, 16, 20, 24, 32)


@dataclass(frozen=True)
class GridTask:
    """One autoencoder of the grid."""

    filters: int

    @property
    def arm(self) -> str:
        """What its row is called."""
        return f"{self.filters} filters"

    kind = "autoencoder"

    @property
    def label(self) -> str:
        """What a line of progress calls it."""
        return self.arm

    @property
    def position(self) -> dict[str, int]:
        """There is one run an arm."""
        return {"fold": 0, "seed": 0}

    def run(self, lab: Lab) -> Run:
        """Return its folder."""
        return Run(lab.folder / "runs", f"grid/{self.filters}", {"filters": self.filters})

    def compute(self, lab: Lab, run: Run, watcher: Watcher | None) -> dict[str, Any]:
        """Train it."""
        with seeded(0):
            model = ConvAutoEncoder((3, 32, 32), conv_out_channels=self.filters, **BLOCK)
        config = TrainingConfig(epochs=2, batch_size=32, learning_rate=2e-3, weight_decay=0)
        fitted = fit(
            model,
            Reconstruction(),
            lab.splits.unlabeled,
            valid=None,
            config=config,
            runtime=lab.runtime,
            watcher=watcher,
        )
        return {"held_out_mse": fitted.best_loss, "seconds": fitted.seconds}


def run_study(*, images: int, repeats: int) -> list[Row]:
    """Measure the grid; the pool of processes is warm after the first turn, as it is in a study."""
    data = draw_images(images)
    splits = Splits(data, Images(data.pixels), data, tuple(map(str, range(10))))
    contenders: dict[str, Contender] = {
        "one after the other, all threads": lambda: _run(splits, {"jobs": 1}),
        "unlabeled": lambda: _run(splits, {}),
    }
    outcomes = take_turns(contenders, repeats, warmups=contenders)
    return compare("study", outcomes, rival="one after the other, all threads", goal=1.6)


def _run(splits: Splits, options: dict[str, Any]) -> Outcome:
    config: Config = resolve({"data": "shapes", "preset": "quick", "device": "cpu", **options})
    with tempfile.TemporaryDirectory() as folder, RunProgress(Console(quiet=True)) as progress:
        start = time.perf_counter()
        rows = run_tasks(Lab(config, splits, Path(folder)), [GridTask(filters) for filters in FILTERS], progress)
        seconds = time.perf_counter() - start
    images = len(splits.unlabeled) * 2 * len(FILTERS)
    return Outcome(images, seconds, sum(row["held_out_mse"] for row in rows) / len(rows))
