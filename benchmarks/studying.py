"""study: a grid of eight small runs, spread over the cores or one after the other on all threads; and where whole time goes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.console import Console

from benchmarks.drawing import draw_images
from benchmarks.measuring import Contender, compare, take_turns
from benchmarks.measuring import Outcome as Measured
from benchmarks.measuring import Row as TableRow
from benchmarks.rivals import PlainAutoEncoder, copy_weights, train_plainly
from benchmarks.training import BLOCK
from unlabeled import ConvAutoEncoder, Reconstruction, TrainingConfig, fit
from unlabeled.config import Config
from unlabeled.console.progress import RunProgress
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.runner import run_tasks
from unlabeled.experiments.tasks import Task
from unlabeled.images import Images, Splits
from unlabeled.keeping.results import Run
from unlabeled.outcomes import AutoencoderOutcome, Outcome
from unlabeled.presets import resolve
from unlabeled.records import ArmKey, Row, outcomes_of
from unlabeled.training import Watcher
from unlabeled.training.runtime import seeded

FILTERS = (6, 8, 10, 12, 16, 20, 24, 32)
EPOCHS, BATCH, RATE = 2, 32, 2e-3


@dataclass(frozen=True)
class GridTask:
    """One autoencoder of the grid."""

    filters: int
    kind: ClassVar[str] = "autoencoder"
    needs: ClassVar[tuple[Task, ...]] = ()
    fold: ClassVar[None] = None
    seed: ClassVar[int] = 0

    @property
    def arm(self) -> ArmKey:
        """What its row is called."""
        return ArmKey("autoencoder", factor="filters", value=str(self.filters))

    def key(self, lab: Lab) -> Run:
        """Return its folder."""
        return Run(lab.folder / "runs", f"grid/{self.filters}", {"filters": self.filters})

    def run(self, lab: Lab, folder: Path, needed: Sequence[Outcome], watcher: Watcher | None) -> AutoencoderOutcome:
        """Train it."""
        model = _new_model(self.filters)
        config = TrainingConfig(
            epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE, weight_decay=0, schedule="constant"
        )
        images = lab.splits.unlabeled
        fitted = fit(model, Reconstruction(), images, valid=None, config=config, runtime=lab.runtime, watcher=watcher)
        return AutoencoderOutcome(
            fitted.best_loss,
            1.0,
            len(images),
            [self.filters, 16, 16],
            self.filters * 256,
            3072,
            1,
            "",
            EPOCHS,
            fitted.seconds,
            0.0,
        )


def run_study(*, images: int, repeats: int) -> list[TableRow]:
    """Measure the grid; the pool of processes is warm after the first turn, as it is in a study."""
    with tempfile.TemporaryDirectory() as cache:
        splits = _stored(Path(cache), images)
        contenders: dict[str, Contender] = {
            "one after the other, all threads": lambda: _run(splits, {"jobs": 1}),
            "unlabeled": lambda: _run(splits, {}),
            "plain PyTorch, one after the other, all threads": lambda: _run_plainly(splits.unlabeled),
        }
        outcomes = take_turns(contenders, repeats, warmups=contenders)
    rows = compare("study", outcomes, rival="one after the other, all threads", goal=None)
    rows[1].goal = 1.6
    rows[1].note = f"{rows[1].median / rows[2].median:.1f} times plain PyTorch, one after the other"
    return rows


def _stored(cache: Path, images: int) -> Splits:
    """Put drawn images where a study finds its own: in files that every process maps."""
    data = draw_images(images)
    mapped = np.memmap(cache / "pixels", dtype=np.uint8, mode="w+", shape=data.pixels.shape)
    mapped[:] = data.pixels
    mapped.flush()
    pixels = np.memmap(cache / "pixels", dtype=np.uint8, mode="r", shape=data.pixels.shape)
    labeled = Images(pixels, data.classes)
    return Splits(labeled, Images(pixels), labeled, tuple(map(str, range(10))))


def _run(splits: Splits, options: dict[str, Any]) -> Measured:
    config: Config = resolve({"data": "shapes", "preset": "quick", "device": "cpu", **options})
    with tempfile.TemporaryDirectory() as folder, RunProgress(Console(quiet=True)) as progress:
        start = time.perf_counter()
        rows = run_tasks(Lab(config, splits, Path(folder)), [GridTask(filters) for filters in FILTERS], progress)
        seconds = time.perf_counter() - start
    return Measured(_images(splits.unlabeled), seconds, _mean_error(rows))


def _mean_error(rows: Sequence[Row]) -> float:
    errors = [outcome.held_out_mse for outcome in outcomes_of(rows, AutoencoderOutcome)]
    return sum(errors) / len(errors)


def _run_plainly(images: Images) -> Measured:
    found = []
    for filters in FILTERS:
        model = copy_weights(_new_model(filters), PlainAutoEncoder((filters,)))
        found.append(train_plainly(model, images, classify=False, batch=BATCH, rate=RATE, epochs=EPOCHS))
    mean = sum(one.loss or 0.0 for one in found) / len(found)
    return Measured(_images(images), sum(one.seconds for one in found), mean)


def _new_model(filters: int) -> ConvAutoEncoder:
    with seeded(0):
        return ConvAutoEncoder((3, 32, 32), conv_out_channels=filters, **BLOCK)


def _images(images: Images) -> int:
    return len(images) * EPOCHS * len(FILTERS)
