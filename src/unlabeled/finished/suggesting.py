"""Write which images to label next, and which labels to look at again."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from unlabeled.console.plain import printable
from unlabeled.console.progress import RunProgress
from unlabeled.errors import UserError
from unlabeled.evaluation.choosing import FEW, uncertainty
from unlabeled.experiments.applying import ask_together
from unlabeled.experiments.growing import HIDDEN, chosen_of, pick
from unlabeled.experiments.workplace import working_in
from unlabeled.finished import Finished, reopen
from unlabeled.finished.backtest import run_backtest
from unlabeled.grammar.drawing import png, tile
from unlabeled.grammar.words import Language
from unlabeled.keeping.caching import expand
from unlabeled.keeping.files import write_atomically
from unlabeled.methods import arm_name
from unlabeled.records import ContrastResult
from unlabeled.report.sheet import numbered_sheet

_DIGITS = 4


@dataclass(frozen=True)
class Suggestion:
    """An image to label next: its row among the unlabeled ones, its name, what the network takes it for, and how unsure it is."""

    row: int
    name: str
    guess: str
    probability: float
    second: str
    uncertainty: float


@dataclass(frozen=True)
class Written:
    """What was written, and what was found, in lines."""

    folder: Path
    suggestions: tuple[Suggestion, ...]
    backtest: ContrastResult | None
    lines: tuple[str, ...]


def write_suggestions(
    run: Path, *, count: int = 100, out: Path | None = None, backtest: bool = True, cache: Path | None = None,
    progress: RunProgress | None = None,
) -> Written:  # fmt: skip
    """Choose what to label next by a finished run's best network, and write lists into a folder.

    ``label-next.csv`` and ``label-next.png``; ``label-studio.json`` with ``label-studio.xml``, tasks with the network's guesses; and
    ``check-labels.csv``, labels that look wrong.

    Raises
    ------
    UserError
        If the run is not finished or has no network, there are no unlabeled images, or ``count`` is below 1.
    """
    if count < 1:
        raise UserError(f"--count {count}: give 1 or more")
    finished = reopen(run, cache=cache)
    if not len(finished.lab.splits.unlabeled):
        raise UserError(
            f"{run}: there are no unlabeled images left to choose from; add some, and run unlabeled run again"
        )
    folder = run / "suggestions" if out is None else expand(out)
    with progress or RunProgress() as shown, working_in(run, shown.note):
        suggestions, networks = _suggest(finished, count, shown)
        _write(folder, finished, suggestions)
        # Last, for it takes long: the lists are there meanwhile.
        found = run_backtest(finished, shown) if backtest else None
    return Written(folder, suggestions, found, tuple(_lines(finished, folder, suggestions, found, networks)))


def _suggest(finished: Finished, count: int, progress: RunProgress) -> tuple[tuple[Suggestion, ...], int]:
    splits, names = finished.lab.splits, finished.names.unlabeled
    networks = finished.networks(finished.arm)
    progress.note(f"asking {len(networks)} networks about {len(splits.unlabeled):,} unlabeled images")
    chances = ask_together(networks, splits.unlabeled)
    codes = networks[0].codes(splits.unlabeled), networks[0].codes(splits.labeled)
    rows = pick(chances, splits.unlabeled, splits.labeled, codes, count, classes=finished.lab.classes)
    doubts, order = uncertainty(chances[rows]), np.argsort(-chances[rows], axis=1, kind="stable")
    suggestions = []
    for row, doubt, (first, second) in zip(rows.tolist(), doubts.tolist(), order[:, :2].tolist(), strict=True):
        guess, other = splits.class_names[first], splits.class_names[second]
        suggestions.append(Suggestion(row, names[row], guess, float(chances[row, first]), other, doubt))
    return tuple(suggestions), len(networks)


def _write(folder: Path, finished: Finished, suggestions: Sequence[Suggestion]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    splits = finished.lab.splits
    images = splits.unlabeled.take(np.array([one.row for one in suggestions], dtype=np.intp))
    _write_csv(
        folder / "label-next.csv",
        ("rank", "image", "guess", "probability", "second", "uncertainty"),
        (
            (rank, one.name, one.guess, round(one.probability, _DIGITS), one.second, round(one.uncertainty, _DIGITS))
            for rank, one in enumerate(suggestions, 1)
        ),
    )
    _write_text(folder / "label-studio.json", json.dumps(_tasks(finished, suggestions, images), indent=1))
    _write_text(folder / "label-studio.xml", _labeling(splits.class_names))
    sheet = numbered_sheet(list(images))
    write_atomically(folder / "label-next.png", lambda file: file.write(sheet))
    _write_csv(folder / "check-labels.csv", ("rank", "image", "label", "likelier", "confidence"), _checks(finished))


def _checks(finished: Finished) -> Iterable[tuple[object, ...]]:
    looks, classes = finished.findings.looks, finished.lab.splits.class_names
    if looks is None or looks.suspects is None:
        return
    names, found = finished.names.labeled, looks.suspects
    for rank, (row, given, likely, confidence) in enumerate(
        zip(found.rows, found.given, found.likely, found.confidence, strict=True), 1
    ):
        yield rank, names[row], classes[given], classes[likely], confidence


def _tasks(finished: Finished, suggestions: Sequence[Suggestion], images: NDArray[np.uint8]) -> list[dict[str, object]]:
    """Return tasks in Label Studio's basic format, each with the network's guess as a prediction.

    A file is named as local storage has it (``/data/local-files/?d=``), by its path below the folder of images or of the table; what is
    no file goes along.
    """
    root = finished.names.root(finished.lab.config.data)
    tasks: list[dict[str, object]] = []
    for one, image in zip(suggestions, images, strict=True):
        where = (
            f"/data/local-files/?d={quote(os.path.relpath(one.name, root), errors='surrogateescape')}"
            if root is not None
            else png(tile([image if len(image) == 3 else np.repeat(image[:1], 3, axis=0)], columns=1))
        )
        result = {"from_name": "class", "to_name": "image", "type": "choices", "value": {"choices": [one.guess]}}
        tasks.append(
            {
                "data": {"image": where, "name": printable(one.name)},
                "predictions": [
                    {"model_version": str(finished.arm), "score": round(one.probability, _DIGITS), "result": [result]}
                ],
            }
        )
    return tasks


def _labeling(classes: Sequence[str]) -> str:
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in classes)
    return (
        f'<View>\n  <Image name="image" value="$image"/>\n  <Choices name="class" toName="image" choice="single">\n{choices}\n'
        "  </Choices>\n</View>\n"
    )


def _write_csv(path: Path, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(heads)
    writer.writerows(rows)
    _write_text(path, text.getvalue())


def _write_text(path: Path, text: str) -> None:
    # Names of files need not be UTF-8.
    content = text.encode("utf-8", errors="surrogateescape")
    write_atomically(path, lambda file: file.write(content))


def _lines(
    finished: Finished, folder: Path, suggestions: Sequence[Suggestion], found: ContrastResult | None, networks: int
) -> Iterable[str]:
    lab = finished.lab
    per_class = len(lab.splits.labeled) / lab.classes
    way = "typical images of kinds that have no label yet" if per_class < FEW else "doubtful images of each kind"
    yield (
        f"{len(suggestions):,} of {len(lab.splits.unlabeled):,} unlabeled images to label next, by {networks} networks "
        f"({arm_name(finished.arm)}): {way}, no two nearly the same"
    )
    looks = finished.findings.looks
    if looks is not None and looks.suspects is not None:
        yield f"{len(looks.suspects):,} of {looks.judged:,} labels look wrong: check-labels.csv"
    if found is not None:
        yield _verdict(finished, found)
    yield f"lists: {folder}"


def _verdict(finished: Finished, found: ContrastResult) -> str:
    """Say whether choosing so beat random choice on the user's own labels."""
    lab = finished.lab
    hidden = round(HIDDEN * len(lab.folds.folds[0].train))
    tried = f"{chosen_of(hidden, lab.classes):,} of {hidden:,} hidden labels a fold, {len(found.differences)} rounds"
    effect = Language("en").write(found.accuracy, "e")
    said = {
        "helps": f"choosing so beats random choice on your own labels: {effect} points",
        "hurts": f"choosing so does worse than random choice on your own labels: {effect} points; label a random sample instead",
    }.get(
        found.verdict, f"choosing so was not shown to be better than random choice on your own labels: {effect} points"
    )
    return f"{said} ({tried})"
