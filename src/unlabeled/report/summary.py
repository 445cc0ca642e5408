"""Results to numbers and sentences. Reads what a run left on disk, and knows nothing of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.comparison import ARM_NAMES
from unlabeled.errors import UserError
from unlabeled.files import AGAIN, refuse_name
from unlabeled.results import Result, has_result, read_result

MODEL_NAMES = {"logistic": "logistic regression", "trees": "trees", "network": "ConvNet"}
SOURCE_NAMES = {"pixels": "pixels", "random": "random encoder", "pca": "PCA", "autoencoder": "autoencoder"}
MINUS = "\N{MINUS SIGN}"
_MOST_CLASSES_IN_TABLE = 20
_MOST_CONFUSIONS = 12


@dataclass(frozen=True)
class Summary:
    """Everything that a page or a terminal says of a finished study."""

    result: dict[str, Any]
    config: dict[str, Any]
    headline: str
    features: str
    verdict: str
    protocol: str
    caveats: list[str]
    curves: dict[str, list[list[dict[str, Any]]]]
    autoencoder_curves: list[list[dict[str, Any]]]
    confusion: NDArray[np.float64]
    pictures: dict[str, NDArray[Any]]


def summarise(folder: Path) -> Summary:
    """Read a study's folder.

    Raises
    ------
    UserError
        If the folder holds no finished study.
    """
    if not has_result(folder):
        raise UserError(f"{folder}: no result.json, so this is no finished run; run it again to go on")
    stored = read_result(folder)
    result = stored.content
    if not {"contrasts", "arms", "rows", "protocol"} <= result.keys():
        raise UserError(f"{folder / 'result.json'}: not the result of the main job; {AGAIN}")
    main = result["contrasts"][0]
    curves = {
        arm: [_run_of(folder, row).history() for row in result["rows"] if row["arm"] == arm]
        for arm in (main["control"], main["treated"])
    }
    return Summary(
        result=result,
        config=stored.json("config.json"),
        headline=_headline(main, seeds=result["protocol"]["seeds"]),
        features=_features_sentence(result["contrasts"]),
        verdict=main["verdict"],
        protocol=describe_protocol(result["protocol"]),
        caveats=_caveats(result),
        curves=curves,
        autoencoder_curves=[_run_of(folder, run).history() for run in result["autoencoders"]],
        confusion=_confusion(stored, main["treated"]),
        pictures=_run_of(folder, result["autoencoders"][0]).arrays("pictures.npz"),
    )


def _run_of(folder: Path, row: dict[str, Any]) -> Result:
    """Read the run of a row; an answer that was put aside is two folders below the runs."""
    name = refuse_name(row["run"])
    aside = folder.parent.name == "earlier" and not (folder / name).is_dir()
    return read_result(folder.parent.parent / name if aside else folder / name)


def describe_protocol(protocol: dict[str, Any]) -> str:
    """Say in one line what every number stands on."""
    folds, leaks = protocol["folds"], protocol["leaks"]
    found = leaks["unlabeled_in_test"] + leaks["unlabeled_in_labeled"] + leaks["labeled_in_test"]
    verb = "dropped" if leaks["policy"] == "drop" else "kept"
    channels, height, width = protocol["image"]
    return (
        f"{protocol['data']}, {width}×{height}×{channels}; {folds['count']} folds ({folds['origin']}), each "
        f"{_range(folds['train'])} labels to train and {_range(folds['valid'])} to choose with; {protocol['unlabeled']:,} unlabeled and "
        f"{protocol['test']:,} test images; {count(found, 'leak')} {verb}; {count(protocol['seeds'], 'seed')}"
    )


def contrast_name(contrast: dict[str, Any]) -> str:
    """Name what is compared with what."""
    source, _, model = contrast["control"].partition("-")
    if contrast["treated"] == "joint-network":
        other = "from scratch" if source == "random" else "labeled images only"
        return f"ConvNet: reconstructing unlabeled images, less {other}"
    if model == "network":
        return "ConvNet: from the autoencoder, less from scratch"
    return f"{MODEL_NAMES[model]}: autoencoder, less {SOURCE_NAMES[source]}"


def signed(value: float, digits: int = 1) -> str:
    """Write a number with its sign; what rounds to zero has none."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def interval(low: float, high: float, digits: int = 1) -> str:
    """Write an interval of differences."""
    return f"{signed(low, digits)} to {signed(high, digits)}"


def count(number: int, thing: str) -> str:
    """Write a number of things."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def confusions(summary: Summary) -> list[tuple[str, str, float]]:
    """Return the most frequent confusions (true class, answer, percent of the class)."""
    names, table = summary.result["protocol"]["class_names"], summary.confusion.copy()
    np.fill_diagonal(table, 0)
    order = np.argsort(-table, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    pairs = (np.unravel_index(place, table.shape) for place in order)
    return [(names[i], names[j], float(table[i, j])) for i, j in pairs if table[i, j] > 0]


def fits_table(summary: Summary) -> bool:
    """Tell whether the classes are few enough for a confusion matrix that can be read."""
    return len(summary.result["protocol"]["class_names"]) <= _MOST_CLASSES_IN_TABLE


def _headline(main: dict[str, Any], *, seeds: int) -> str:
    effect = main["accuracy"]
    size = f"{abs(effect['mean']):.1f} points {'more' if effect['mean'] >= 0 else 'less'} accurate"
    start = {
        "helps": "The unlabeled images help",
        "hurts": "Using the unlabeled images this way hurts",
        "no evidence": "No evidence that the unlabeled images help or hurt",
    }[main["verdict"]]
    return (
        f"{start}: a network that starts from the autoencoder's weights is {size} than the same network from scratch "
        f"(95 % interval {interval(effect['low'], effect['high'])} points; better on {effect['folds_won']} of {effect['folds']} folds)."
        + (" With one seed, this is about one autoencoder." if seeds == 1 else "")
    )


def _features_sentence(contrasts: list[dict[str, Any]]) -> str:
    """Say what frozen features gain over pixels, and how much of it a random encoder has too."""
    parts = []
    for model in ("logistic", "trees"):
        over = {c["control"].partition("-")[0]: c for c in contrasts if c["treated"] == f"autoencoder-{model}"}
        pixels, random = (
            f"{signed(over[source]['accuracy']['mean'])} ({over[source]['verdict']})" for source in ("pixels", "random")
        )
        parts.append(f"{MODEL_NAMES[model]} {pixels} over pixels and {random} over a random encoder")
    told = f"Its frozen features, in points: {'; '.join(parts)}."
    joint = {c["control"].partition("-")[0]: c for c in contrasts if c["treated"] == "joint-network"}
    if joint:
        scratch, own = (
            f"{signed(joint[s]['accuracy']['mean'])} ({joint[s]['verdict']})" for s in ("random", "labeled")
        )
        told += (
            f" A network that reconstructs images while it learns to classify: {scratch} over scratch, of which the unlabeled images' own "
            f"share is {own}."
        )
    return told


def _caveats(result: dict[str, Any]) -> list[str]:
    protocol = result["protocol"]
    leaks = protocol["leaks"]
    caveats = [
        "It is about this encoder, trained this way. Another autoencoder, or a method that learns from unlabeled images by "
        "other means, can be worth more or less.",
        f"It is about {_range(protocol['folds']['train'])} training labels. With fewer labels the same unlabeled images are often worth "
        "more, and with many labels little.",
        "The intervals cover the split of these labels into training and validation, the random seeds and the choice of test "
        "images. They do not cover another draw of labeled images, or images taken elsewhere."
        if protocol["folds"]["origin"].startswith("stratified")
        else "The intervals cover the draw of the folds' labels, the random seeds and the choice of test images. They do not "
        "cover images taken elsewhere.",
    ]
    if protocol["seeds"] == 1:
        caveats.append(
            "With one seed there is one autoencoder, and how much autoencoders differ can't be known; use --seeds 3."
        )
    elif protocol["seeds"] == 2:
        caveats.append(
            "Two seeds tell little about how much autoencoders differ; --seeds 3 or more makes the interval steadier."
        )
    best = max(arm["accuracy"]["mean"] for arm in result["arms"] if arm["arm"].endswith("network"))
    if best < 1.2 * 100 / len(protocol["class_names"]):
        caveats.append(
            "Neither network is clearly better than guessing, so their difference says nothing yet: train them longer "
            "(--network.training.epochs), or with another learning rate."
        )
    caveats += _leak_caveats(leaks)
    if protocol["data"] == "shapes":
        caveats.append(
            "Drawn shapes are not photographs: this data set shows how the comparison works, not what your images are worth."
        )
    caveats += [
        f"{ARM_NAMES[arm['arm']]}: {arm['not_converged']} of {arm['runs']} runs had not converged; raise --classical.max-iter."
        for arm in result["arms"]
        if arm["not_converged"]
    ]
    return caveats


def _leak_caveats(leaks: dict[str, Any]) -> list[str]:
    caveats = []
    if leaks["policy"] == "keep" and leaks["unlabeled_in_test"]:
        caveats.append(
            f"{count(leaks['unlabeled_in_test'], 'unlabeled image')} stand in the test split too and were kept: the autoencoder has "
            "seen test images, so its numbers are transductive."
        )
    if leaks["policy"] == "keep" and leaks["labeled_in_test"]:
        caveats.append(
            f"{count(leaks['labeled_in_test'], 'labeled image')} stand in the test split too and were kept: every accuracy is too high."
        )
    return caveats


def _confusion(stored: Result, arm: str) -> NDArray[np.float64]:
    """Return percent of each true class (rows) that was answered as each class, over all runs of an arm."""
    labels, result = stored.arrays("test.npz")["labels"], stored.content
    classes = len(result["protocol"]["class_names"])
    table = np.zeros((classes, classes))
    for row in result["rows"]:
        if row["arm"] == arm:
            predicted = _run_of(stored.folder, row).arrays("test.npz")["predicted"].astype(np.int64)
            table += np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    totals = table.sum(axis=1, keepdims=True)
    return 100 * np.divide(table, totals, out=np.zeros_like(table), where=totals > 0)


def _range(ends: list[int]) -> str:
    return f"{ends[0]:,}" if ends[0] == ends[1] else f"{ends[0]:,} to {ends[1]:,}"


def duration(seconds: float) -> str:
    """Write a time as people say it."""
    if not math.isfinite(seconds) or seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
