"""The main job on images that a script has in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.errors import UserError
from unlabeled.finished.keeping import keep_classifier
from unlabeled.images import Images, Splits
from unlabeled.images.leaks import find_leaks, near_policy
from unlabeled.images.near import find_near
from unlabeled.images.store import digests_of, renumbered
from unlabeled.presets import resolve
from unlabeled.report.page import write_report
from unlabeled.studies.course import run_gain

PYTHON = "python"
_SOME = 4096


def run(splits: Splits, folder: str | Path, *, classifier: bool = True, **options: Any) -> Path:
    """Answer what the unlabeled images of splits made in Python are worth; write the report and the classifier, and return the folder.

    Exact and near-copies are looked for and dropped as in data from disk (``leaks="keep"``, ``near="keep"`` keep them).

    Parameters
    ----------
    splits
        ``Splits(labeled=Images(pixels, labels), unlabeled=Images(pixels), test=Images(pixels, labels), class_names=(...))``, pixels uint8
        (n, c, h, w).
    folder
        Where results go. The same splits and options there go on where they were.
    classifier
        Whether a classifier is made at the end.
    **options
        Of the configuration, as ``resolve`` takes them: preset, folds, seeds, strong, curve, ...

    Raises
    ------
    UserError
        If an option does not fit, or a split is empty.
    """
    if "data" in options:
        raise UserError(
            f"data={options['data']!r}: the images are the splits given; use ul.resolve and ul.run_gain for data from disk"
        )
    config = resolve(options, {"data": PYTHON, "out": str(folder)})
    for name in ("labeled", "unlabeled", "test"):
        if not len(getattr(splits, name)):
            raise UserError(f"splits.{name} is empty; the question needs labeled, unlabeled and test images")
    known = looked_through(splits, leaks=config.leaks, near=near_policy(config.leaks, config.near))
    run_gain(config, known, folder=config.folder)
    write_report(config.folder, config.lang)
    if classifier:
        keep_classifier(config.folder, splits=known)
    return config.folder


def looked_through(splits: Splits, *, leaks: Any = "drop", near: Any = "drop") -> Splits:
    """Return splits with a key of their content, copies looked for and handled; those from disk are as they are."""
    if "key" in splits.origin:
        return splits
    digests = {name: _digests(getattr(splits, name)) for name in ("labeled", "unlabeled", "test")}
    content = hashlib.sha256()
    for name, found in digests.items():
        content.update(f"{name} {len(found)}".encode() + found.tobytes())
    for images in (splits.labeled, splits.test):
        content.update(np.asarray(images.classes, dtype="<i8").tobytes())
    content.update(repr((splits.labeled.shape, splits.class_names, [fold.tolist() for fold in splits.folds])).encode())
    copies, labeled, unlabeled = find_leaks(digests["labeled"], digests["unlabeled"], digests["test"], policy=leaks)
    splits = _with(splits, labeled, unlabeled)
    origin = {"source": PYTHON, **splits.origin, "key": content.hexdigest()[:16]}
    pairs, *rows = find_near(splits.labeled, splits.unlabeled, splits.test, policy=near)
    return replace(_with(splits, *rows), leaks=copies, near=pairs, origin=origin)


def _with(splits: Splits, labeled: NDArray[np.intp], unlabeled: NDArray[np.intp]) -> Splits:
    """Return splits with some of the labeled and unlabeled images, folds renumbered to match."""
    folds = renumbered(splits.folds, labeled, len(splits.labeled))
    return replace(
        splits, labeled=splits.labeled.subset(labeled), unlabeled=splits.unlabeled.subset(unlabeled), folds=folds
    )


def _digests(images: Images) -> NDArray[np.uint8]:
    return np.concatenate([np.empty((0, 32), dtype=np.uint8), *_parts(images)])


def _parts(images: Images) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(images), _SOME):
        yield digests_of(images.take(np.arange(start, min(start + _SOME, len(images)))))
