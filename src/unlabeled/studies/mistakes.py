"""What the answer's classifier takes for what."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.grammar.parts import Matrix, Part
from unlabeled.grammar.section import Context
from unlabeled.keeping.files import refuse_name
from unlabeled.keeping.results import Result, read_result
from unlabeled.records import ArmKey, Row, of_arm

_MOST_CLASSES_IN_TABLE = 20
_MOST_CONFUSIONS = 3


def run_of(context: Context[Any], row: Row) -> Result:
    """Read the run of a row; an answer that was put aside is two folders below the runs."""
    folder, name = context.folder, refuse_name(row.run)
    aside = folder.parent.name == "earlier" and not (folder / name).is_dir()
    return read_result(folder.parent.parent / name if aside else folder / name)


def confusions(context: Context[Any]) -> list[Part]:
    """Say what is taken for what most often, and show percent of each class."""
    names, treated = context.protocol.class_names, context.findings.comparison.named.treated
    table = confusion(context, treated)
    apart = np.where(np.eye(len(names), dtype=bool), 0.0, table)
    places = [np.unravel_index(place, table.shape) for place in np.argsort(-apart, axis=None, kind="stable")]
    pairs = [
        context.say(
            "{truth} for {answer} ({share:0} %)",
            truth=isolated(names[i]), answer=isolated(names[j]), share=float(apart[i, j]),
        )
        for i, j in places[:_MOST_CONFUSIONS]
        if apart[i, j] > 0
    ]  # fmt: skip
    name = context.name(treated)
    sentence = (
        context.say("{name:cap} takes {pairs} most often.", name=name, pairs=pairs)
        if pairs
        else context.say("No test image was answered wrongly.")
    )
    if len(names) > _MOST_CLASSES_IN_TABLE:
        return [sentence]
    note = context.say("Percent of each true class, {name}, all folds and seeds together.", name=name)
    return [sentence, Matrix(names, table.round().astype(int).tolist(), note)]


def isolated(name: str) -> str:
    """Keep the direction of a name's script to itself (Unicode's first strong isolate)."""
    return f"\u2068{name}\u2069"


def confusion(context: Context[Any], arm: ArmKey) -> NDArray[np.float64]:
    """Return percent of each true class (rows) that was answered as each class, over all runs of an arm."""
    labels = read_result(context.folder).arrays("test.npz")["labels"]
    classes = len(context.protocol.class_names)
    table = np.zeros((classes, classes))
    for row in of_arm(context.findings.rows, arm):
        predicted = run_of(context, row).arrays("test.npz")["predicted"].astype(np.int64)
        table += np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    totals = table.sum(axis=1, keepdims=True)
    return 100 * np.divide(table, totals, out=np.zeros_like(table), where=totals > 0)
