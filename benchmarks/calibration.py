"""How often do intervals of a paired difference err without an effect, and how wide are they? ``python -m benchmarks.calibration``.

Every study draws J folds x S seeds: a fold's effect, a seed's, a run's own noise, and the error of one test split that all runs
share. A cell of the table is the rate of false verdicts in percent, which should be 5 at most, and the median half-width in standard
deviations of the mean, which is 1.96 at best. Candidates other than the package's are what it was chosen from.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from unlabeled.evaluation.statistics import Squares, half_width, mean_squares

Numbers = NDArray[np.float64]
# From mean squares, folds, seeds and the test variance to half-widths.
Candidate = Callable[[Squares, int, int, float], Numbers]
DESIGNS = ((3, 3), (4, 3), (5, 3), (10, 3), (3, 5), (4, 5), (5, 5), (10, 5))
# Standard deviations of fold, seed and run; of the test split, in those of the mean without it.
MIXTURES = (
    (0.1, 1, 0.1, 0), (0.2, 1, 0.2, 0), (0.48, 1, 0.28, 0), (0, 1, 1, 0), (1, 0.2, 0.2, 0), (1, 0, 1, 0), (0.2, 0.2, 1, 0),
    (0, 0, 1, 0), (0.5, 0.5, 1, 0), (1, 1, 1, 0), (1, 1, 0, 0), (0, 1, 0, 0), (0.2, 1, 0.2, 0.5), (0.2, 0.2, 1, 0.5), (1, 1, 1, 3),
)  # fmt: skip


def quantile(degrees: Numbers | float) -> Numbers:
    """Return the two-sided 95 % quantile of t; the normal distribution's for infinite degrees."""
    return special.stdtrit(np.minimum(degrees, 1e6), 0.975)


def satterthwaite(parts: Sequence[Numbers | float], degrees: Sequence[Numbers | float]) -> Numbers:
    """Return half-widths of a sum of variances (Biometrics 2, 1946)."""
    total = np.asarray(sum(parts))
    below = sum(np.square(part) / degree for part, degree in zip(parts, degrees, strict=True))
    return quantile(total**2 / np.maximum(below, 1e-300)) * np.sqrt(total)


def earlier(rho: float | None) -> Candidate:
    """Return the package's interval up to now: variances of folds, inflated by rho or 1 / folds, and of seeds added."""

    def width(m: Squares, folds: int, seeds: int, test: float) -> Numbers:
        share = 1 / folds if rho is None else rho
        return satterthwaite(
            [m.folds * (1 + folds * share / (1 - share)), m.seeds, test], [folds - 1, seeds - 1, math.inf]
        )

    return width


def squared(square: Callable[[Squares, int, int, float, float, float], Numbers]) -> Candidate:
    """Return the interval whose square is a function of mean squares and squared quantiles, no narrower than that of all runs."""

    def width(m: Squares, folds: int, seeds: int, test: float) -> Numbers:
        f, s, every = (float(quantile(degrees)) ** 2 for degrees in (folds - 1, seeds - 1, folds * seeds - 1))
        return np.sqrt(np.maximum(square(m, folds, seeds, f, s, Z), every * m.every) + Z * test)

    return width


Z = float(quantile(math.inf)) ** 2


def truncated(m: Squares, folds: int, seeds: int, test: float) -> Numbers:
    """Return half-widths from components that are none below zero, with Satterthwaite's degrees of freedom."""
    f, s = m.folds > m.runs, m.seeds > m.runs
    parts = [m.folds * f, m.seeds * s, m.runs * (1.0 - f - s), test]
    return satterthwaite(parts, [folds - 1, seeds - 1, (folds - 1) * (seeds - 1), math.inf])


def likelihood(m: Squares, folds: int, seeds: int, test: float) -> Numbers:
    """Return half-widths as restricted likelihood has them: a component below zero is pooled with the runs' noise.

    For balanced data the degrees of freedom of Kenward and Roger (Biometrics 53, 1997) come to Satterthwaite's.
    """
    own, degrees = m.runs, np.full(m.runs.shape, float((folds - 1) * (seeds - 1)))
    kept = [m.folds > own, m.seeds > own]
    for _ in range(2):
        sums, counts = m.runs * (folds - 1) * (seeds - 1), np.full(m.runs.shape, float((folds - 1) * (seeds - 1)))
        for part, count, keep in ((m.folds, folds - 1, kept[0]), (m.seeds, seeds - 1, kept[1])):
            sums, counts = sums + np.where(keep, 0, part * count), counts + np.where(keep, 0, count)
        own, degrees = sums / counts, counts
        kept = [kept[0] & (m.folds > own), kept[1] & (m.seeds > own)]
    parts = [m.folds * kept[0], m.seeds * kept[1], own * (1.0 - kept[0] - kept[1]), test]
    return satterthwaite(parts, [folds - 1, seeds - 1, degrees, math.inf])


CANDIDATES: dict[str, Candidate] = {
    "new": lambda m, folds, seeds, test: half_width(m, folds, seeds, test_variance=test),
    "old, rho 1/J": earlier(None),
    "old, rho 0": earlier(0.0),
    "sum": lambda m, folds, seeds, test: np.sqrt(
        quantile(folds - 1) ** 2 * m.folds + quantile(seeds - 1) ** 2 * m.seeds + Z * test
    ),
    "sum less noise": squared(
        lambda m, j, k, f, s, z: f * m.folds + s * m.seeds - float(quantile((j - 1) * (k - 1))) ** 2 * m.runs
    ),
    "greatest": squared(lambda m, j, k, f, s, z: np.maximum(f * m.folds, s * m.seeds)),
    "truncated": truncated,
    "REML, KR": likelihood,
    "MLS, Howe": squared(
        lambda m, j, k, f, s, z: z * (m.folds + m.seeds - m.runs) + np.hypot((f - z) * m.folds, (s - z) * m.seeds)
    ),
    "greatest + z": squared(
        lambda m, j, k, f, s, z: (
            np.maximum(f * m.folds, s * m.seeds) + z * np.maximum(np.minimum(m.folds, m.seeds) - m.runs, 0)
        )
    ),
}


def draw(
    random: np.random.Generator, studies: int, folds: int, seeds: int, mixture: Sequence[float], rho: float = 0.0
) -> tuple[Numbers, Numbers, float, float]:
    """Return tables of studies without an effect, the test split's errors and their variance, the standard deviation of the mean."""
    fold, seed, run, test = mixture
    shared = math.sqrt(rho) * random.normal(size=(studies, 1, 1))
    tables = fold * (shared + math.sqrt(1 - rho) * random.normal(size=(studies, folds, 1)))
    tables = tables + seed * random.normal(size=(studies, 1, seeds)) + run * random.normal(size=(studies, folds, seeds))
    variance = fold**2 * (rho + (1 - rho) / folds) + seed**2 / seeds + run**2 / (folds * seeds)
    of_test = test**2 * variance
    return tables, math.sqrt(of_test) * random.normal(size=studies), of_test, math.sqrt(variance + of_test)


def bootstrap(random: np.random.Generator, tables: Numbers, turns: int) -> tuple[Numbers, Numbers]:
    """Return bounds of percentile intervals: folds and seeds are drawn anew, each with their runs."""
    folds, seeds = tables.shape[1:]
    f, s = (random.multinomial(n, np.full(n, 1 / n), size=turns) / n for n in (folds, seeds))
    means = np.einsum("bj,njs,bs->bn", f, tables, s)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


def cells(studies: int, seed: int) -> dict[tuple[int, int], list[list[str]]]:
    """Return rows of the table by design: a mixture, then rate / width of every candidate."""
    rows: dict[tuple[int, int], list[list[str]]] = {}
    for folds, seeds in DESIGNS:
        for number, mixture in enumerate(MIXTURES):
            random = np.random.default_rng([seed, folds, seeds, number])
            tables, errors, test, deviation = draw(random, studies, folds, seeds, mixture)
            means, squares = tables.mean(axis=(1, 2)) + errors, mean_squares(tables)
            row = [" / ".join(f"{number:g}" for number in mixture)]
            for width in CANDIDATES.values():
                half = width(squares, folds, seeds, test)
                row.append(f"{100 * (np.abs(means) > half).mean():.1f} / {np.median(half) / deviation:.2f}")
            few = slice(min(studies, 2000))
            low, high = bootstrap(random, tables[few] + errors[few, None, None], 200)
            row.append(f"{100 * ((low > 0) | (high < 0)).mean():.0f} / {np.median(high - low) / 2 / deviation:.2f}")
            rows.setdefault((folds, seeds), []).append(row)
    return rows


def overlapping(studies: int, seed: int) -> list[list[str]]:
    """Return rows for folds that overlap by rho, about another draw of labels: rates without inflation and with it, and the width."""
    rows = []
    for folds, seeds in DESIGNS:
        for rho in (0.2, 0.5):
            for mixture in ((1, 0.2, 0.2, 0), (1, 1, 1, 0), (0.5, 0.5, 1, 0), (0.2, 1, 0.2, 0)):
                random = np.random.default_rng([seed, folds, seeds])
                tables, _, _, deviation = draw(random, studies, folds, seeds, mixture, rho)
                found = [
                    half_width(mean_squares(tables, share), folds, seeds, correlation=share) for share in (0.0, rho)
                ]
                rates = [f"{100 * (np.abs(tables.mean(axis=(1, 2))) > half).mean():.1f}" for half in found]
                name = " / ".join(f"{number:g}" for number in mixture[:3])
                rows.append([f"{folds} x {seeds}", f"{rho}", name, *rates, f"{np.median(found[1]) / deviation:.2f}"])
    return rows


def nested(studies: int, seed: int) -> list[list[str]]:
    """Return rows for folds that each have seeds of their own: rates and widths, and the width of the two-way layout on the same runs."""
    rows = []
    for folds, seeds in ((3, 1), (5, 1), (8, 1), *DESIGNS):
        for rho in (0.0, 0.2):
            for mixture in ((1, 0, 0.3, 0), (1, 0, 1, 0), (0.3, 0, 1, 0), (0, 0, 1, 0)):
                random = np.random.default_rng([seed, folds, seeds, 1])
                tables, _, _, deviation = draw(random, studies, folds, seeds, mixture, rho)
                own, common = (
                    half_width(mean_squares(tables, rho, nested=n), folds, seeds, correlation=rho, nested=n)
                    for n in (True, False)
                )
                wrong = (np.abs(tables.mean(axis=(1, 2))) > own).mean()
                widths = [
                    f"{np.median(own) / deviation:.2f}",
                    f"{np.median(common) / deviation:.2f}" if seeds > 1 else "–",
                ]
                rows.append(
                    [f"{folds} x {seeds}", f"{rho}", f"{mixture[0]:g} / {mixture[2]:g}", f"{100 * wrong:.1f}", *widths]
                )
    return rows


def digits(studies: int, folds: int, seeds: int, seed: int) -> tuple[Numbers, Numbers]:
    """Return tables and test variances of studies on 300 labeled digits, of two random encoders a seed, so no effect is there.

    An encoder is 40 random sums of some pixels with relu; a classifier is linear discriminant analysis. The labels stay the same,
    folds are drawn anew, and the test split is 400 of the other digits, drawn with replacement.
    """
    images, classes = load_digits(return_X_y=True)
    order = np.random.default_rng(99).permutation(len(classes))
    labels, others, random = order[:300], order[300:], np.random.default_rng(seed)
    tables, variances = np.empty((studies, folds, seeds)), np.empty(studies)
    for study in range(studies):
        test = random.choice(others, 400)
        # Sorted by class, and dealt out: parts are stratified.
        dealt = random.permutation(labels)
        dealt = dealt[np.argsort(classes[dealt], kind="stable")]
        right = np.empty((2, folds, seeds, len(test)))
        for column in range(seeds):
            for arm in range(2):
                weights = random.normal(size=(64, 40)) * (random.random((64, 40)) < 0.15)
                features = np.maximum(images / 16 @ weights + random.normal(size=40) / 2, 0)
                for fold in range(folds):
                    train = dealt[np.arange(len(dealt)) % folds != fold]
                    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.05).fit(
                        features[train], classes[train]
                    )
                    right[arm, fold, column] = model.predict(features[test]) == classes[test]
        difference = 100 * (right[0] - right[1])
        tables[study] = difference.mean(axis=2)
        variances[study] = difference.mean(axis=(0, 1)).var(ddof=1) / len(test)
    return tables, variances


def as_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("--studies", type=int, default=20_000, help="studies of each cell")
    parser.add_argument("--digits", type=int, default=0, help="studies with real classifiers, minutes for a thousand")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers")
    given = parser.parse_args()
    for (folds, seeds), rows in cells(given.studies, given.seed).items():
        print(f"\n## {folds} folds x {seeds} seeds: rate % / half-width\n")
        print(as_table(["fold / seed / run / test", *CANDIDATES, "bootstrap"], rows), flush=True)
    print("\n## Folds that overlap by rho, about another draw of labels\n")
    head = ["design", "rho", "fold / seed / run", "rate %, not inflated", "rate %", "half-width"]
    print(as_table(head, overlapping(given.studies, given.seed)), flush=True)
    print("\n## Folds that each have seeds of their own\n")
    head = ["design", "rho", "fold / run", "rate %", "half-width", "half-width if seeds were common"]
    print(as_table(head, nested(given.studies, given.seed)), flush=True)
    for folds, seeds in ((3, 3), (5, 3), (10, 3)) if given.digits else ():
        tables, variances = digits(given.digits, folds, seeds, given.seed)
        print(f"\n## Digits, {folds} folds x {seeds} seeds: rates % in {given.digits} studies\n")
        names = ("new", "old, rho 1/J", "old, rho 0")
        squares, means = mean_squares(tables), np.abs(tables.mean(axis=(1, 2)))
        found = [(means > CANDIDATES[name](squares, folds, seeds, variances)).mean() for name in names]  # type: ignore[arg-type]
        print(as_table(names, [[f"{100 * rate:.1f}" for rate in found]]), flush=True)


if __name__ == "__main__":
    main()
