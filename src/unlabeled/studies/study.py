"""What a study is: what it needs, its runs and comparisons, and the pages of the report that they fill. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Generic, TypeVar

from unlabeled.evaluation.comparison import compare, read_scores
from unlabeled.experiments.specs import PixelFeatures
from unlabeled.experiments.tasks import AutoencoderTask, Classical, ClassicalTask, Perform, Task
from unlabeled.grammar.section import Page
from unlabeled.records import ArmKey, ArmSummary, Comparison, Contrast, Row

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab
    from unlabeled.experiments.specs import Learned

F = TypeVar("F")
AUTOENCODER = ArmKey("autoencoder")


@dataclass(frozen=True)
class Study(Generic[F]):
    """A study: what it needs of the data, what runs it and returns its findings, its pages, and a check before anything is trained.

    One that makes splits of its own says of the lab with which they are ``inside``.
    """

    name: str
    needs: tuple[str, ...]
    findings: type[F]
    run: Callable[[Lab, Perform], F]
    pages: tuple[Page[F], ...]
    check: Callable[[Lab], None] | None = None
    inside: Callable[[Lab], Lab] | None = None


def repetitions(lab: Lab) -> Iterator[tuple[int, int]]:
    """Yield every seed with every fold."""
    return product(range(lab.config.seeds), range(len(lab.folds.folds)))


def experiment(
    lab: Lab, do: Perform, tasks: Iterable[Task], contrasts: Iterable[Contrast] = ()
) -> tuple[Comparison, tuple[Row, ...]]:
    """Perform tasks, and compare their arms."""
    rows = tuple(do(list(tasks)))
    return compared(lab, rows, contrasts), rows


def compared(
    lab: Lab, rows: Iterable[Row], contrasts: Iterable[Contrast], *, correlation: float | None = None
) -> Comparison:
    """Compare the arms of rows, over all folds and seeds."""
    runs = list(rows)
    scores = read_scores(lab.folder, runs, lab.splits.test.classes)
    return compare(
        runs,
        scores,
        contrasts,
        correlation=lab.folds.correlation if correlation is None else correlation,
        difference=lab.config.difference,
        level=ArmKey("pixels", "logistic"),
    )


def pixel_tasks(lab: Lab, models: Iterable[Classical] = ("logistic", "trees", "boosting")) -> Iterator[ClassicalTask]:
    """Yield the runs on pixels, which the figures of later studies show as lines."""
    for seed, model, fold in product(range(lab.config.seeds), models, range(len(lab.folds.folds))):
        yield ClassicalTask(ArmKey("pixels", model), PixelFeatures(), model, fold, seed)


def pixel_arms(lab: Lab, do: Perform) -> tuple[ArmSummary, ...]:
    """Run the models on pixels, or read them, and return their means."""
    return experiment(lab, do, pixel_tasks(lab))[0].arms


def train_autoencoders(do: Perform, learned: Iterable[Learned]) -> tuple[Row, ...]:
    """Train autoencoders."""
    return tuple(do([AutoencoderTask(AUTOENCODER, one) for one in learned]))
