"""Foreign images: what each way of using unlabeled images loses when many of them show none of the labeled classes, and what guards win."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from unlabeled.errors import UserError
from unlabeled.experiments.selftraining import TEACHER, StrongTask, Way
from unlabeled.experiments.tasks import Perform, Task
from unlabeled.experiments.within import WithinTask, lab_within
from unlabeled.grammar.parts import Picture, Points
from unlabeled.grammar.plots import Curve, Level, curves_figure
from unlabeled.grammar.section import Context, Page
from unlabeled.grammar.tables import ArmTable, ContrastTable
from unlabeled.grammar.words import words
from unlabeled.images import Images, Splits
from unlabeled.records import ArmKey, Comparison, Contrast, Row
from unlabeled.studies.study import Study, compared, repetitions

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

_SEED = 7  # of which classes are known, and which images are in the pool
_NAMES = {
    ("self-training", ""): words("self-training"),
    ("self-training", "confidence"): words("self-training, guarded by confidence"),
    ("self-training", "distance"): words("self-training, guarded by distance"),
    ("consistency", ""): words("consistency"),
}
_COLOURS = {
    ("self-training", ""): "method-self-training",
    ("self-training", "confidence"): "method-self-training-twin",
    ("self-training", "distance"): "method-consistency-twin",
    ("consistency", ""): "method-consistency",
}
_WAYS: dict[str, Way] = {"self-training": "pseudo-labels", "consistency": "consistency"}


@dataclass(frozen=True)
class OpenSetFindings:
    """Findings of the study; ``labels`` images are labeled, and the pool holds ``pool``, a share of ``shares`` of them foreign."""

    comparison: Comparison
    known: tuple[str, ...]
    foreign: tuple[str, ...]
    labels: int
    pool: int
    shares: tuple[float, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Opened:
    """The known classes alone, with a pool of which a share is foreign."""

    share: float

    def lab_of(self, lab: Lab) -> Lab:
        """Return the lab of the known classes."""
        from unlabeled.experiments.lab import Lab as OpenLab

        parts, splits, asked = _parts(lab), lab.splits, lab.config.studies.open_set
        numbers = np.zeros(lab.classes, dtype=np.int64)
        numbers[list(parts.known)] = np.arange(len(parts.known))

        def among(images: Images, rows: np.ndarray) -> Images:
            """Number the known classes from 0 on."""
            assert images.labels is not None
            return Images(images.pixels, numbers[images.labels], images.rows).subset(rows)

        strangers = round(self.share * len(parts.known_pool))
        pool = np.concatenate([parts.known_pool[: len(parts.known_pool) - strangers], parts.foreign_pool[:strangers]])
        made = Splits(
            labeled=among(splits.labeled, parts.labeled),
            unlabeled=replace(splits.labeled, labels=None).subset(np.sort(pool)),
            test=among(splits.test, parts.test),
            class_names=tuple(splits.class_names[number] for number in parts.known),
            leaks=splits.leaks,
            near=splits.near,
            origin={
                **splits.origin,
                "part": f"open set, known {asked.known:g}, labels {asked.labels:g}, shares {max(asked.shares):g}",
                "pool": f"{self.share:g} foreign",
            },
        )
        config = lab.config.model_copy(update={"own_folds": False})
        other = OpenLab(config, made, lab.folder)
        other.apart = lab.apart
        if lab.config.precision == "auto":
            other.strong_runtime = lab.strong_runtime
        return other


@dataclass(frozen=True)
class _Parts:
    """Rows of labeled and test images, and the classes by their numbers; what is foreign has no label."""

    known: tuple[int, ...]
    foreign: tuple[int, ...]
    labeled: np.ndarray
    known_pool: np.ndarray
    foreign_pool: np.ndarray
    test: np.ndarray


def _parts(lab: Lab) -> _Parts:
    """Part the labeled images: some classes are known, and of these a part is labeled; all else may come into the pool."""
    asked, splits = lab.config.studies.open_set, lab.splits
    random, classes = np.random.default_rng(_SEED), splits.labeled.classes
    order = random.permutation(lab.classes)
    count = min(max(2, round(asked.known * lab.classes)), lab.classes - 1)
    known, foreign = (tuple(sorted(part.tolist())) for part in (order[:count], order[count:]))
    labeled, rest = [], []
    for number in known:
        rows = random.permutation(np.flatnonzero(classes == number))
        size = max(2, round(asked.labels * len(rows)))
        labeled.append(rows[:size])
        rest.append(rows[size:])
    others = random.permutation(np.concatenate(rest))
    strangers = random.permutation(np.flatnonzero(np.isin(classes, foreign)))
    most = max(asked.shares)
    pool = min(len(others), int(len(strangers) / most) if most else len(others), lab.config.unlabeled or len(others))
    test = np.flatnonzero(np.isin(splits.test.classes, known))
    return _Parts(known, foreign, np.sort(np.concatenate(labeled)), others[:pool], strangers[:pool], test)


def opened(lab: Lab, share: float) -> Lab:
    """Return the lab of the known classes, with a pool of which a share is foreign; larger shares hold the smaller ones' strangers."""
    return lab_within(lab, Opened(share))


def check(lab: Lab) -> None:
    """Refuse data that leave no class foreign, nothing for the pool, or images that are too small for the strong network."""
    from unlabeled.experiments.strong import check_strong

    if lab.classes < 3:
        raise UserError(
            f"study open-set needs 3 classes or more, for two are known and one is foreign; these are {lab.classes}"
        )
    check_strong(lab)
    parts = _parts(lab)
    if not len(parts.known_pool):
        raise UserError(
            "study open-set finds no labeled images to spare for its pool; lower --studies.open-set.labels, or add labeled images"
        )
    _ = opened(lab, 0.0).folds


def run(lab: Lab, do: Perform) -> OpenSetFindings:
    """Train every way with every pool, and labels alone once."""
    shares = lab.config.studies.open_set.shares
    tasks, contrasts = list(plan(lab)), list(_contrasts(shares))
    rows = tuple(do(tasks))
    inside = opened(lab, 0.0)
    parts = _parts(lab)
    comparison = compared(inside, rows, contrasts)
    names = lab.splits.class_names
    known, foreign = (tuple(names[number] for number in part) for part in (parts.known, parts.foreign))
    labels = min(len(parts.labeled), lab.config.labels or len(parts.labeled))
    return OpenSetFindings(comparison, known, foreign, labels, len(parts.known_pool), shares, rows)


def plan(lab: Lab) -> Iterator[Task]:
    """Yield the runs of every fold and seed."""
    strong, inside = lab.config.strong, opened(lab, 0.0)
    for seed, fold in repetitions(inside):
        yield WithinTask(TEACHER, StrongTask(TEACHER, strong, fold, seed, own=lab.apart), Opened(0.0))
        for share in lab.config.studies.open_set.shares:
            for source, guard in _NAMES:
                own = strong.model_copy(update={"guard": guard or "none"})
                rounds = int(source == "self-training")
                inner = StrongTask(TEACHER, own, fold, seed, _WAYS[source], "unlabeled", rounds, own=lab.apart)
                yield WithinTask(_arm(source, guard, share), inner, Opened(share))


def _arm(source: str, guard: str, share: float) -> ArmKey:
    return ArmKey(source, "network", way=guard, factor="foreign", value=f"{share:g}")


def _contrasts(shares: Sequence[float]) -> Iterator[Contrast]:
    """Yield what strangers take from each way, what each is worth with them, and what guards win back."""
    least, most = min(shares), max(shares)
    for source, guard in _NAMES:
        if guard:
            yield from (Contrast(_arm(source, guard, s), _arm(source, "", s), family="guard") for s in shares)
        else:
            yield from (
                Contrast(_arm(source, "", s), _arm(source, "", least), family="loss") for s in shares if s > least
            )
    yield from (Contrast(_arm(*way, most), TEACHER, family="worth") for way in _NAMES)


def _name(context: Context[OpenSetFindings], arm: ArmKey) -> str:
    if arm == TEACHER:
        return context.say("labels alone")
    return context.say(
        "{way}, {share:%0} % foreign", way=context.say(_NAMES[arm.source, arm.way]), share=float(arm.value)
    )


def _colour(arm: ArmKey) -> str:
    return "method-strong" if arm == TEACHER else _COLOURS[arm.source, arm.way]


def _figure(context: Context[OpenSetFindings]) -> Picture:
    findings, curves = context.findings, []
    for (source, guard), name in _NAMES.items():
        arms = [findings.comparison.arm(_arm(source, guard, share)) for share in findings.shares]
        points = [(100 * share, arm.accuracy) for share, arm in zip(findings.shares, arms, strict=True) if arm.accuracy]
        curves.append(Curve.of(context.say(name), points, _COLOURS[source, guard], dashed=bool(guard)))
    alone = findings.comparison.arm(TEACHER).accuracy
    levels = [Level(context.say("labels alone"), alone.mean, "method-strong")] if alone else []
    x, y = context.say("foreign images in the pool, %"), context.say("test accuracy, %")
    figure = curves_figure("open-set", curves, context.language, x=x, y=y, levels=levels)
    return Picture(figure, context.say("Mean and 95 % interval; the line is the network of labels alone."))


def _losses(context: Context[OpenSetFindings]) -> Points:
    """Say what most strangers cost each way, and what it is still worth."""
    findings, most = context.findings, max(context.findings.shares)
    lines = []
    for (source, guard), words_of in _NAMES.items():
        arm, name = _arm(source, guard, most), context.say(words_of)
        worth = findings.comparison.find(arm, TEACHER)
        first = context.say(
            "{name:cap} with {share:%0} % foreign images vs labels alone: {effect:differs}.",
            name=name, share=most, effect=worth,
        )  # fmt: skip
        other = _arm(source, "", most if guard else min(findings.shares))
        change = findings.comparison.find(arm, other)
        if change is not None:
            text = (
                words("Against the same without a guard: {effect:differs}.")
                if guard
                else words("Against the same with {share:%0} % foreign images: {effect:differs}.")
            )
            first += " " + context.say(text, share=min(findings.shares), effect=change)
        lines.append(first)
    return Points(lines)


def _conclusion(context: Context[OpenSetFindings]) -> str:
    """Say which ways still gain with most strangers."""
    worth = context.findings.comparison.family("worth")
    gained = [context.say(_NAMES[c.treated.source, c.treated.way]) for c in worth if c.verdict == "helps"]
    share = max(context.findings.shares)
    if not gained:
        return context.say(
            "With {share:%0} % foreign images no way is shown to be better than labels alone.", share=share
        )
    return context.say(
        "With {share:%0} % foreign images these are better than labels alone: {names}.", share=share, names=gained
    )


PAGE = Page[OpenSetFindings](
    "open-set",
    words("Foreign images among the unlabeled"),
    words("What do unlabeled images of other classes take from each way of using them, and does a guard win it back?"),
    setup=(
        lambda context: context.say(
            "Known classes: {known}. Foreign: {foreign}. {f.labels:0} images of the known classes are labeled; the pool holds "
            "{f.pool:0} other images of the labeled split, their labels unused. Test images are those of the known classes.",
            known=", ".join(context.findings.known),
            foreign=", ".join(context.findings.foreign),
        ),
        words(
            "The guard by confidence leaves out images on which the teacher is less sure than on all but 5 % of the validation "
            "images; that by distance those whose codes lie further from all labeled ones."
        ),
    ),
    parts=(
        _figure,
        _losses,
        ArmTable(words("way"), {words("training, s"): "seconds:s"}),
        ContrastTable(words("Every comparison"), words("p values are corrected for the comparisons of a kind (Holm).")),
    ),
    conclusion=(_conclusion,),
    names=_name,
    colours=_colour,
)
OPEN_SET = Study("open-set", ("labeled", "test"), OpenSetFindings, run, (PAGE,), check, lambda lab: opened(lab, 0.0))
