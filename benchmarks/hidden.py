"""Does the extrapolation of label equivalents hold? The upper half of known curves is hidden, and told from the rest.

``python -m benchmarks.hidden [--data digits] [--cases 20]``: classical models on many draws of labels and test images. Of each curve at an
eighth, a quarter and half of the labels, with the accuracy of all labels as the goal, the interval should hold the number of all of them.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from unlabeled.evaluation.features import pixel_features
from unlabeled.evaluation.saving import Measured, label_equivalent
from unlabeled.presets import resolve
from unlabeled.sources import load

SHARES = (0.125, 0.25, 0.5, 1.0)
FOLDS, SEEDS = 3, 3
COMPONENTS = 40


def make(model: str, seed: int):
    """Return a classifier; the seed of what has none draws nine tenths of the labels, as a network's order differs."""
    if model == "forest":
        return RandomForestClassifier(100, random_state=seed)
    if model == "neighbours":
        return KNeighborsClassifier(3)
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))


def curve(features, labels, model: str, labeled: int, random) -> tuple[list[int], np.ndarray]:
    """Draw labels and test images, and return numbers of labels and what is right, (points, folds, seeds, images)."""
    order = random.permutation(len(labels))
    train, test = order[:labeled], order[labeled : labeled + 2000]
    parts = np.array_split(random.permutation(train), FOLDS)
    numbers = [round(share * (labeled - len(parts[0]))) for share in SHARES]
    right = np.empty((len(SHARES), FOLDS, SEEDS, len(test)), dtype=bool)
    for fold in range(FOLDS):
        rest = random.permutation(np.concatenate([part for number, part in enumerate(parts) if number != fold]))
        for point, number in enumerate(numbers):
            for seed in range(SEEDS):
                chosen = rest[:number]
                if model != "forest":
                    chosen = np.random.default_rng(seed).permutation(chosen)[: max(10, round(0.9 * number))]
                fitted = make(model, seed).fit(features[chosen], labels[chosen])
                right[point, fold, seed] = fitted.predict(features[test]) == labels[test]
    return numbers, right


def trials(data: str, model: str, cases: int, labeled: int) -> Iterator[tuple[int, object, float]]:
    """Yield the number of all labels, the equivalent that is told, and the accuracy of all labels, %."""
    splits = load(resolve({"data": data, "preset": "standard", "near": "keep"}))
    pixels = np.concatenate([pixel_features(splits.labeled), pixel_features(splits.test)])
    labels = np.concatenate([splits.labeled.classes, splits.test.classes])
    features = PCA(COMPONENTS, random_state=0).fit_transform(pixels)
    for case in range(cases):
        numbers, right = curve(features, labels, model, labeled, np.random.default_rng(case))
        yield numbers[-1], label_equivalent(numbers[:-1], Measured(right)), 100 * right[-1].mean()


def main() -> None:
    """Print a line for each data set and model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", nargs="+", default=["digits", "shapes"])
    parser.add_argument("--cases", type=int, default=20)
    asked = parser.parse_args()
    print("| data | model | labels | accuracy, % | told | held | with an upper end | median high / low |")
    print("|---|---|---|---|---|---|---|---|")
    for data in asked.data:
        for model in ("logistic", "forest", "neighbours"):
            labeled = 480 if data == "digits" else 4500
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of regressions that have not quite converged
                found = list(trials(data, model, asked.cases, labeled))
            told = [(truth, one) for truth, one, _ in found if one is not None]
            held = sum(one.low <= truth <= (one.high or np.inf) for truth, one in told)
            closed = [one.high / one.low for _, one in told if one.high is not None]
            accuracy, wide = (
                np.mean([accuracy for *_, accuracy in found]),
                f"{np.median(closed):.1f}" if closed else "-",
            )
            cells = (
                data,
                model,
                f"{found[0][0]:,}",
                f"{accuracy:.1f}",
                f"{len(told)} of {len(found)}",
                held,
                len(closed),
                wide,
            )
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
