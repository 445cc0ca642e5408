"""Single images of the main job: labels that look wrong, test images that turn right or wrong, and what each class gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.evaluation.calibration import Calibration, calibrate
from unlabeled.evaluation.comparison import Scores, all_apart, effect_of, read_scores
from unlabeled.evaluation.suspects import Suspects, find_suspects
from unlabeled.grammar.drawing import png, tile
from unlabeled.grammar.parts import Part, Photographs, Table
from unlabeled.grammar.section import Context
from unlabeled.grammar.words import words
from unlabeled.keeping.results import read_result
from unlabeled.methods import method_of
from unlabeled.records import ArmKey, Comparison, Effect, Row, of_arm
from unlabeled.studies.mistakes import isolated
from unlabeled.studies.study import repetitions

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab
    from unlabeled.images import Splits

UNASKED = words("This run was made before networks were asked this; the same command again asks them.")
_SHOWN = 24
_MOST = 12  # of a kind of turned images
_TURNED = 0.5  # share of the runs, as a difference, from which an image counts as turned
_MOST_CLASSES = 20
_ROW = 6  # pictures beside one another, for a phone


@dataclass(frozen=True)
class Looks:
    """What is worth a look.

    Attributes
    ----------
    arm
        The network that judged the labels: the best use, or the best network on validation images.
    suspects
        Labels that look wrong to it; None where no network was run.
    judged
        How many labeled images some run of it was not trained on.
    to_right, to_wrong
        Test images that the best use gets right and the same without unlabeled images does not, in half of the runs more, and the reverse.
    gains
        The difference of both on each class, points.
    calibration
        Of the networks that judged the labels, each by itself, on images that it was not trained on.
    together
        Accuracy (a share) on such images: of each network by itself in the mean, and of the mean of those that did not train on an image.
    """

    arm: ArmKey | None
    suspects: Suspects | None
    judged: int
    to_right: tuple[int, ...]
    to_wrong: tuple[int, ...]
    gains: tuple[Effect, ...]
    calibration: Calibration | None = None
    together: tuple[float, float] | None = None


def look(lab: Lab, rows: Sequence[Row], comparison: Comparison) -> Looks:
    """Apply the networks to the labeled images that they were not trained on, and compare test image by test image."""
    main = comparison.answer.without
    pair = (main.treated, main.control)
    scores = read_scores(lab.folder, [row for row in rows if row.arm in pair], lab.splits.test.classes)
    change = _right(lab, scores, main.treated) - _right(lab, scores, main.control)
    rho, nested = lab.folds.correlation, all_apart(rows, pair)
    mean, classes = change.mean(axis=(0, 1)), lab.splits.test.classes
    right, wrong = (np.argsort(-sign * mean, kind="stable")[: int((sign * mean >= _TURNED).sum())] for sign in (1, -1))
    gains = tuple(effect_of(100 * change[:, :, classes == one], rho, nested=nested) for one in range(lab.classes)) if (
        np.bincount(classes, minlength=lab.classes).min() > 0
    ) else ()  # fmt: skip
    found = Looks(None, None, 0, tuple(right.tolist()), tuple(wrong.tolist()), gains)
    return _judge(found, lab, rows, main.treated)


def _right(lab: Lab, scores: Scores, arm: ArmKey) -> NDArray[np.float64]:
    folds, seeds = range(len(lab.folds.folds)), range(lab.config.seeds)
    return np.array([[scores[arm, fold, seed][0] for seed in seeds] for fold in folds], dtype=np.float64)


def _judge(found: Looks, lab: Lab, rows: Sequence[Row], best: ArmKey) -> Looks:
    """Judge the labels by the best use, if it is a network, or by the best network, and its probabilities by the labels."""
    arm = best_network(rows, best)
    method = None if arm is None else method_of(arm)
    if arm is None or method is None:
        return found
    from unlabeled.experiments.applying import ask_unseen, has_network, out_of_fold

    tasks = [task for seed, fold in repetitions(lab) for task in method.tasks(lab, fold, seed) if task.arm == arm]
    if not all(has_network(task) for task in tasks):
        return found
    labels, asked = lab.splits.labeled.classes, ask_unseen(lab, tasks)
    if not asked:
        return found
    chances = out_of_fold(asked, len(labels), lab.classes)
    known = np.isfinite(chances[:, 0])
    each = np.concatenate([one.probabilities for one in asked])
    truth = np.concatenate([labels[one.rows] for one in asked])
    together = (chances[known].argmax(axis=1) == labels[known]).mean()
    return replace(
        found,
        arm=arm,
        suspects=find_suspects(chances, labels),
        judged=int(known.sum()),
        calibration=calibrate(each, truth),
        together=(float((each.argmax(axis=1) == truth).mean()), float(together)),
    )


def best_network(rows: Sequence[Row], best: ArmKey) -> ArmKey | None:
    """Return the best use of the unlabeled images, or the best network on validation images where that is none; None without networks."""
    networks = sorted({row.arm for row in rows if row.arm.model == "network"}, key=str)
    if best in networks or not networks:
        return best if networks else None

    def accuracy(arm: ArmKey) -> float:
        return float(np.mean([row.scored.valid_accuracy for row in of_arm(rows, arm) if row.scored is not None]))

    return max(networks, key=accuracy)


def pictures(looks: Looks | None, splits: Splits) -> Mapping[str, NDArray[np.uint8]]:
    """Return the pixels of the images that the page shows."""
    if looks is None:
        return {}
    suspects = () if looks.suspects is None else looks.suspects.rows[:_SHOWN]
    return {
        "suspects": splits.labeled.take(np.array(suspects, dtype=np.intp)),
        "to_right": splits.test.take(np.array(looks.to_right[:_MOST], dtype=np.intp)),
        "to_wrong": splits.test.take(np.array(looks.to_wrong[:_MOST], dtype=np.intp)),
    }


def wrong_labels(context: Context[Any]) -> list[Part]:
    """Say how many labels look wrong, and show the clearest."""
    looks: Looks | None = context.findings.looks
    if looks is None:
        return [context.say(UNASKED)]
    if looks.suspects is None or looks.arm is None:
        return [context.say("No network was run whose probabilities would tell.")]
    suspects, names = looks.suspects, context.protocol.class_names
    shown: list[Part] = [
        context.say(
            "{n:0} of {judged:0} labels look wrong to networks ({name}) that were not trained on these images; some will be images that "
            "are hard. unlabeled suggest lists them by file.",
            n=len(suspects), judged=looks.judged, name=context.name(looks.arm),
        )
    ]  # fmt: skip
    if not len(suspects):
        return shown
    images = read_result(context.folder).arrays("test.npz")["suspects"]
    groups: dict[tuple[int, int], list[NDArray[np.uint8]]] = {}
    for image, given, likely in zip(images, suspects.given, suspects.likely, strict=False):
        groups.setdefault((given, likely), []).append(image)
    rows = [
        (
            context.say("{given}, likelier {likely}", given=isolated(names[given]), likely=isolated(names[likely])),
            png(tile(same, columns=min(_ROW, len(same)), scale=2)),
        )
        for (given, likely), same in groups.items()
    ]
    return [*shown, Photographs(rows, context.say("The clearest ones: the label, and the class that looks likelier."))]


def turned(context: Context[Any]) -> list[Part]:
    """Show which test images turn right or wrong by the unlabeled images, and what each class gains."""
    looks: Looks | None = context.findings.looks
    if looks is None:
        return []
    main = context.findings.comparison.answer.without
    parts: list[Part] = [
        context.say(
            "{right:0} of {p.test:0} test images turn from wrong to right and {wrong:0} from right to wrong, in half of the runs more than "
            "the other way: {pair}.",
            right=len(looks.to_right), wrong=len(looks.to_wrong), pair=context.pair(main),
        )
    ]  # fmt: skip
    stored = read_result(context.folder).arrays("test.npz")
    rows = [
        (context.say(text), png(tile(list(stored[name]), columns=min(_ROW, len(stored[name])), scale=2)))
        for name, text in (("to_right", words("from wrong to right")), ("to_wrong", words("from right to wrong")))
        if len(stored[name])
    ]
    if rows:
        parts.append(Photographs(rows, context.say("The clearest ones, at most {n} of a kind.", n=_MOST)))
    if looks.gains and len(looks.gains) <= _MOST_CLASSES:
        parts.append(_gains(context, looks))
    return parts


def _gains(context: Context[Any], looks: Looks) -> Table:
    names, language = context.protocol.class_names, context.language
    order = sorted(range(len(looks.gains)), key=lambda one: -looks.gains[one].mean)
    return Table(
        context.say("What each class gains"),
        [context.say("class"), context.say("points (95 %)")],
        [[isolated(names[one]), language.write(looks.gains[one], "e")] for one in order],
        context.say("Each interval is for its own class alone, and none is corrected for their number."),
    )
