"""The answer in labels as the main job's report says it: the picture of two curves, the sentences, what more of either would bring."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from unlabeled.evaluation.saving import Saving, rounded
from unlabeled.grammar.learning import Arrow, learning_figure
from unlabeled.grammar.parts import Listing, Part, Picture, Points, Table
from unlabeled.grammar.plots import Curve, curves_figure
from unlabeled.grammar.section import Context
from unlabeled.grammar.words import words
from unlabeled.studies.curve import CurveWay, LabelCurve

_NEAR = 0.035  # a share that is called a simple one is no further from it
_SIMPLE = {
    0.1: words("about a tenth"), 0.2: words("about a fifth"), 0.25: words("about a quarter"), 1 / 3: words("about a third"),
    0.4: words("about two fifths"), 0.5: words("about half"), 0.6: words("about three fifths"), 2 / 3: words("about two thirds"),
    0.75: words("about three quarters"), 0.8: words("about four fifths"), 0.875: words("about seven eighths"),
}  # fmt: skip
_SCALES = {
    "accuracy": words("accuracy"),
    "log error": words("the logarithm of the error"),
    "logit": words("the logit of accuracy"),
}


def curve_of(context: Context[Any]) -> LabelCurve | None:
    """Return the curve of a main job that has one with more than one point."""
    curve: LabelCurve | None = context.findings.curve
    return curve if curve is not None and len(curve.labels) > 1 else None


def saves(context: Context[Any]) -> bool:
    """Tell whether labels are surely saved, against doing without and against the twin."""
    curve = curve_of(context)
    both = () if curve is None else (curve.saving, curve.over_twin)
    return bool(both) and all(one is not None and one.measurable for one in both)


def saved(context: Context[Any]) -> str:
    """Say how many labels the unlabeled images save, where they surely do."""
    curve = curve_of(context)
    assert curve is not None
    saving = curve.saving
    assert saving is not None
    if saving.equal is None:
        return context.say(
            "Your {p.unlabeled:0} unlabeled images save {share} of the labels or more: {least:0} with them do more than {all:0} do without "
            "(95 %: {interval}).",
            share=_share(context, 1 - saving.least / saving.labels), least=saving.least, all=saving.labels,
            interval=_interval(context, saving),
        )  # fmt: skip
    return context.say(
        "Your {p.unlabeled:0} unlabeled images save {share} of the labels: {n:0} with them do what {all:0} do without (95 %: {interval}).",
        share=_share(context, 1 - saving.equal / saving.labels), n=rounded(saving.equal), all=saving.labels,
        interval=_interval(context, saving),
    )  # fmt: skip


def in_labels(context: Context[Any]) -> list[str]:
    """Say what stands beside the headline: no saving that can be measured, or the twin in labels; and the extrapolation."""
    curve = curve_of(context)
    if curve is None or curve.saving is None or curve.over_twin is None:
        return []
    lines = [_against_twin(context, curve.over_twin) if saves(context) else _nothing(context, curve)]
    if curve.equivalent is not None and curve.saving.decidable and curve.equivalent.labels > curve.labels[-1]:
        lines.append(_equivalent(context, curve))
    return lines


def _share(context: Context[Any], share: float) -> str:
    near = min(_SIMPLE, key=lambda simple: abs(simple - share))
    return context.say(_SIMPLE[near]) if abs(near - share) <= _NEAR else context.say("{share:%0} %", share=share)


def _interval(context: Context[Any], saving: Saving) -> str:
    high = saving.labels if saving.high is None else saving.high
    if saving.low is None and high <= saving.least:
        return context.say("fewer than {n:0}", n=saving.least)
    if saving.low is None:
        return context.say("fewer than {low:0} to {high:0}", low=saving.least, high=rounded(high))
    return context.say("{low:0} to {high:0}", low=rounded(saving.low), high=rounded(high))


def _against_twin(context: Context[Any], twin: Saving) -> str:
    if twin.equal is None:
        return context.say(
            "In labels against the same way on labeled images alone: {least:0} with the unlabeled ones do more than its {all:0} "
            "(95 %: {interval}).",
            least=twin.least, all=twin.labels, interval=_interval(context, twin),
        )  # fmt: skip
    return context.say(
        "In labels against the same way on labeled images alone: {n:0} with the unlabeled ones do what its {all:0} do (95 %: {interval}).",
        n=rounded(twin.equal), all=twin.labels, interval=_interval(context, twin),
    )  # fmt: skip


def _nothing(context: Context[Any], curve: LabelCurve) -> str:
    saving, twin = curve.saving, curve.over_twin
    assert saving is not None
    assert twin is not None
    if not saving.decidable:
        return context.say("In labels: no interval can be told with fewer than 3 folds or seeds.")
    if saving.measurable:
        return context.say(
            "In labels: {n:0} do what {all:0} do without the unlabeled images (95 %: {interval}), but against the same way on labeled "
            "images alone no saving can be measured.",
            n=rounded(saving.equal if saving.equal is not None else saving.least), all=saving.labels, interval=_interval(context, saving),
        )  # fmt: skip
    return context.say("In labels: nothing is saved that can be measured; it may take all {n:0}.", n=saving.labels)


def _equivalent(context: Context[Any], curve: LabelCurve) -> str:
    one = curve.equivalent
    assert one is not None
    text = (
        words(
            "Extrapolated, {n:0} labels without unlabeled images would do what {all:0} do with them (95 %: {low:0} or more; no upper end "
            "can be told)."
        )
        if one.high is None
        else words(
            "Extrapolated, {n:0} labels without unlabeled images would do what {all:0} do with them (95 %: {low:0} to {high:0})."
        )
    )
    return context.say(
        text, n=rounded(one.labels), all=curve.labels[-1], low=rounded(one.low), high=rounded(one.high or one.labels)
    )


def face(context: Context[Any]) -> Picture | None:
    """Draw labels alone and the best use over the number of labels, and the arrow of equal accuracy between them."""
    curve = curve_of(context)
    if curve is None:
        return None
    saving, last = curve.saving, curve.ways[0].accuracies[-1]
    arrow = None
    if saving is not None and saves(context) and saving.equal is not None:
        text = context.say("{n:0} with them do what {all:0} do without", n=rounded(saving.equal), all=saving.labels)
        arrow = Arrow(
            saving.labels, saving.equal, last.mean, text, (saving.low or saving.least, saving.high or saving.labels)
        )
    figure = learning_figure(
        "labels",
        [_drawn(context, curve, way, place) for place, way in enumerate(curve.ways)],
        context.language,
        ticks=curve.labels,
        x=context.say("labels, to train on and to choose with"),
        y=context.say("test accuracy, %"),
        arrow=arrow,
    )
    return Picture(
        figure,
        context.say(
            "Mean and 95 % interval of each way; their difference is paired, and known better. Fewer labels have as many steps."
        ),
    )


def _drawn(context: Context[Any], curve: LabelCurve, way: CurveWay, place: int) -> Curve:
    """Draw a way; a little aside, so that one way's intervals do not hide another's."""
    points = zip((n * 1.015**place for n in curve.labels), way.accuracies, strict=True)
    return Curve.of(context.name(way.arm), points, context.colour(way.arm))


def labels_parts(context: Context[Any]) -> Iterator[Part]:
    """Make the section: numbers of the curves, what more would bring, the curve over unlabeled images, what is missing."""
    curve: LabelCurve | None = context.findings.curve
    if curve is None:
        yield context.say("The curve over labels was left out; --curve.labels takes the shares to run.")
        return
    if len(curve.labels) > 1:
        yield _table(context, curve)
        yield Points([*([saved(context)] if saves(context) else []), *in_labels(context), *_more(context, curve)])
    if len(curve.images) > 1:
        yield _over_images(context, curve)
    if curve.missing:
        yield Listing(context.say("Points that these images do not have"), list(curve.missing))


def _table(context: Context[Any], curve: LabelCurve) -> Table:
    heads = [context.say("labels"), *(context.say("{name}, %", name=context.name(way.arm)) for way in curve.ways)]
    rows = [
        [
            context.language.number(count, 0),
            *(context.language.write(way.accuracies[point], "m1") for way in curve.ways),
        ]
        for point, count in enumerate(curve.labels)
    ]
    return Table(context.say("Accuracy by number of labels"), heads, rows, _between(context, curve))


def _between(context: Context[Any], curve: LabelCurve) -> str:
    """Say how numbers of labels between those that were run are read off."""
    if len(curve.labels) < 3:
        return context.say("Numbers between are read off straight lines over the logarithm of the number of labels.")
    others = [name for name in curve.departures if name != curve.scale]
    return context.say(
        "The curves are straightest over the logarithm of the number of labels in {scale}: {off:2} points from a line, where {others} has "
        "{rest}. So numbers between are read off there.",
        scale=context.say(_SCALES[curve.scale]), off=curve.departures[curve.scale],
        others=context.say(" and ").join(context.say(_SCALES[name]) for name in others),
        rest=context.say(" and ").join(context.language.number(curve.departures[name], 2) for name in others),
    ) if curve.scale else ""  # fmt: skip


def _more(context: Context[Any], curve: LabelCurve) -> list[str]:
    """Say what more labels and more unlabeled images would bring the best use."""
    lines = []
    for more, text in (
        (
            curve.more_labels,
            words("{more.number:0} more labels would bring it {more.gain:+} points (95 %: {low} to {high})."),
        ),
        (
            curve.more_images,
            words("{more.number:0} more unlabeled images would bring it {more.gain:+} points (95 %: {low} to {high})."),
        ),
    ):
        if more is not None:
            low, high = (context.language.signed(end, 1) for end in (more.low, more.high))
            lines.append(context.say(text, more=more, low=low, high=high))
    if not lines:
        return []
    start = context.say("Extrapolated, for {name}:", name=context.name(curve.best))
    return [f"{start} {' '.join(lines)}"]


def _over_images(context: Context[Any], curve: LabelCurve) -> Picture:
    points = zip(curve.images, curve.over_images, strict=True)
    drawn = Curve.of(context.name(curve.best), points, context.colour(curve.best))
    figure = curves_figure(
        "images", [drawn], context.language, x=context.say("unlabeled images"), y=context.say("test accuracy, %"), log="x",
        ticks=[(float(n), context.language.number(n, 0)) for n in curve.images],
    )  # fmt: skip
    return Picture(
        figure,
        context.say("The best use with all labels, by number of unlabeled images; every run has the same steps."),
    )
