"""How far all labels and all unlabeled images bring the strong network, for as long as one is willing to wait.

``python -m benchmarks.reach --data folder:photos``: labels alone, then on by consistency. Nothing is chosen here, so all labels train;
each of the two networks is scored on the test split once. It has neither folds nor twins: no answer to what the images are worth.
"""

from __future__ import annotations

import argparse
import json
import resource
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from unlabeled.config import Config
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.strong import consistency, consistent_training, new_strong
from unlabeled.presets import resolve
from unlabeled.sources import load
from unlabeled.training import fit
from unlabeled.training.measuring import predict
from unlabeled.training.objectives import Classification


@dataclass(frozen=True)
class Reached:
    """A network: accuracy on the test split in percent, seconds of training since the beginning, peak memory of the process in MB."""

    way: str
    seed: int
    labels: int
    steps: int
    accuracy: float
    seconds: float
    peak_memory_mb: float


def reach(config: Config, folder: Path, seed: int = 0) -> Iterator[Reached]:
    """Yield the network of labels alone, and the one that went on from it; ``folder`` keeps checkpoints, from which it goes on."""
    lab = Lab(config, load(config), folder)
    strong, labeled, runtime = config.strong, lab.splits.labeled, lab.strong_runtime
    network = new_strong(lab, strong, seed, labeled)
    common: dict[str, Any] = {"valid": None, "seed": seed, "runtime": runtime}
    seconds = fit(
        network, Classification(strong.training.smoothing), labeled, config=strong.training, folder=folder / f"labels{seed}", **common
    ).seconds  # fmt: skip

    def reached(way: str, steps: int) -> Reached:
        right = predict(network, lab.splits.test, flip=strong.training.flip, runtime=runtime).argmax(1)
        accuracy = 100 * float((right == lab.splits.test.classes).mean())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        return Reached(way, seed, len(labeled), steps, accuracy, seconds, peak)

    yield reached("labels alone", strong.training.steps or 0)
    more, (objective, beside) = consistent_training(strong), consistency(strong, lab.splits.unlabeled)
    seconds += fit(
        network, objective, labeled, config=more, beside=beside, settled=True, folder=folder / f"consistency{seed}", **common
    ).seconds  # fmt: skip
    yield reached("consistency", more.steps or 0)


def main() -> None:
    """Print a line of JSON a network."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reach", description=__doc__)
    parser.add_argument("--data", required=True, help="as unlabeled run has it")
    parser.add_argument("--cache", help="where stores are kept")
    parser.add_argument("--out", type=Path, default=Path("runs/reach"), help="where checkpoints are kept")
    parser.add_argument("--steps", type=int, default=4800, help="of labels alone")
    parser.add_argument("--more", type=int, default=48_000, help="steps of consistency; 0 leaves it out")
    parser.add_argument("--widths", help="channels of each block, as --strong.widths has them")
    parser.add_argument("--precision", default="auto", help="as unlabeled run has it")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    strong: dict[str, Any] = {"training": {"steps": given.steps}, "consistency": {"steps": given.more or None}}
    if given.widths:
        strong["widths"] = [int(width) for width in given.widths.replace(",", " ").split()]
    cache = {"cache": given.cache} if given.cache else {}
    config = resolve(
        {"data": given.data, "preset": "standard", "strong": strong, "precision": given.precision, **cache}
    )
    for row in reach(config, given.out, given.seed):
        print(json.dumps(asdict(row) | {"threads": torch.get_num_threads()}), flush=True)
        if not given.more:
            return


if __name__ == "__main__":
    main()
