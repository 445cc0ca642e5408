"""How many exchanged labels are found? Some get another class, and the list of those that look wrong is held against them.

``python -m benchmarks.exchanged --data folder:photos [--share 0.05]``: labels alone on every fold, with one seed, by the preset ``quick``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from unlabeled.console.progress import RunProgress
from unlabeled.evaluation.suspects import find_suspects
from unlabeled.experiments.applying import ask_unseen, out_of_fold
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.runner import run_tasks
from unlabeled.experiments.selftraining import TEACHER, StrongTask
from unlabeled.images import Images
from unlabeled.presets import resolve
from unlabeled.sources import load


def main() -> None:
    """Print how many labels look wrong, and how many of them are, for all of the list and for its beginning."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/exchanged"))
    asked = parser.parse_args()
    config = resolve({"data": asked.data, "seeds": asked.seeds} | ({"cache": str(asked.cache)} if asked.cache else {}))
    splits = load(config)
    truth, random = splits.labeled.classes, np.random.default_rng(0)
    given, classes = truth.copy(), len(splits.class_names)
    exchanged = random.permutation(len(truth))[: round(asked.share * len(truth))]
    given[exchanged] = (truth[exchanged] + random.integers(1, classes, len(exchanged))) % classes
    pixels = splits.labeled.take(np.arange(len(truth)))
    origin = {**splits.origin, "part": f"{asked.share:g} of the labels exchanged"}
    lab = Lab(config, replace(splits, labeled=Images(pixels, given), origin=origin), asked.out)
    folds = range(len(lab.folds.folds))
    tasks = [StrongTask(TEACHER, config.strong, fold, seed) for seed in range(asked.seeds) for fold in folds]
    with RunProgress() as shown:
        run_tasks(lab, tasks, shown)
    found = find_suspects(out_of_fold(ask_unseen(lab, tasks), len(given), classes), given)
    wrong = set(exchanged.tolist())
    print(f"{len(given):,} labels, {len(wrong):,} of them exchanged; {len(found):,} look wrong")
    for some in sorted({len(wrong) // 2, len(wrong), 2 * len(wrong), len(found)}):
        right = len(wrong & set(found.rows[:some]))
        print(f"first {some:,}: precision {100 * right / max(1, some):.0f} %, recall {100 * right / len(wrong):.0f} %")


if __name__ == "__main__":
    main()
