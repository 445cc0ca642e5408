"""Study 5: an autoencoder's weights as the first layers of a network. Where do they help?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unlabeled.evaluation.comparison import decide
from unlabeled.experiments.tasks import Perform
from unlabeled.grammar.parts import Listing, Part, Picture, Table
from unlabeled.grammar.plots import Curve, curves_figure
from unlabeled.grammar.section import Context, Page
from unlabeled.grammar.tables import ArmTable, ContrastTable, arms_figure, levels, most_accurate
from unlabeled.grammar.words import words
from unlabeled.records import ArmKey, ArmSummary, ContrastResult, Effect, Row
from unlabeled.studies.features import check_encoder, chosen_autoencoder
from unlabeled.studies.lead import STARTS
from unlabeled.studies.points import (
    CURVE,
    SCALED,
    TWIN,
    Finetuning,
    ImagesPoint,
    LabelsPoint,
    from_random,
    is_gain,
    tuned,
)
from unlabeled.studies.study import Study, pixel_arms

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

_LEARNED = 1.5
_COLOURS = {
    from_random("plain"): "random", tuned("plain"): "autoencoder", tuned("slow"): "slow", tuned("gradual"): "gradual",
    tuned("frozen"): "frozen", from_random("slow"): "pixels", from_random("gradual"): "pixels", from_random("frozen"): "pixels",
    TWIN: "method-finetuned-twin", SCALED: "method-scaled",
}  # fmt: skip
_NAMES = {
    from_random("plain"): words("from scratch"),
    tuned("plain"): words("fine-tuned"),
    tuned("slow"): words("copied layers slower"),
    tuned("gradual"): words("gradual unfreezing"),
    tuned("frozen"): words("frozen autoencoder"),
    from_random("slow"): words("random weights, slower"),
    from_random("gradual"): words("random weights, gradual"),
    from_random("frozen"): words("frozen random weights"),
    TWIN: words("fine-tuned, of labeled images only"),
    SCALED: words("from scratch, weights as large as learned ones"),
}
_CURVES = (from_random("plain"), tuned("plain"), tuned("frozen"), from_random("frozen"))


@dataclass(frozen=True)
class FinetuneFindings:
    """Findings of study 5; ``missing_labels`` and ``missing_images`` are points that these images do not have."""

    encoder: dict[str, Any]
    loss: str
    slow: float
    labels: tuple[LabelsPoint, ...]
    unlabeled: tuple[ImagesPoint, ...]
    missing_labels: tuple[int, ...]
    missing_images: tuple[int, ...]
    baselines: tuple[ArmSummary, ...]
    autoencoders: tuple[Row, ...]
    rows: tuple[Row, ...]

    @property
    def all_labels(self) -> LabelsPoint:
        """The point of all labels."""
        return next(point for point in self.labels if point.labels is None)


def run(lab: Lab, do: Perform) -> FinetuneFindings:
    """Train from scratch and from the autoencoder, over ways, numbers of labels and of unlabeled images."""
    encoder, config = chosen_autoencoder(lab, do)
    study, baselines = Finetuning(lab, encoder, config), pixel_arms(lab, do)
    autoencoders, rows = do(study.autoencoders()), do(list(study.tasks()))
    # One family a curve; the comparison named beforehand is no member of either.
    points = _decided([study.at_labels(rows, labels) for labels in (*study.labels, None)], lab.config.difference)
    unlabeled = _decided([study.at_images(rows, images) for images in (*study.images, None)], lab.config.difference)
    grid = lab.config.studies.finetune
    return FinetuneFindings(
        encoder=encoder.model_dump(mode="json"),
        loss=config.loss,
        slow=grid.slow,
        labels=tuple(points),
        unlabeled=tuple(unlabeled),
        missing_labels=tuple(n for n in grid.labels if n not in study.labels),
        missing_images=tuple(n for n in grid.unlabeled if n not in study.images),
        baselines=baselines,
        autoencoders=tuple(autoencoders),
        rows=tuple(rows),
    )


def _decided(points: list[Any], difference: float) -> list[Any]:
    """Correct the p values of all points of a curve together."""
    contrasts = iter(decide([c for point in points for c in point.comparison.contrasts], difference))
    return [
        replace(
            point,
            comparison=replace(point.comparison, contrasts=tuple(next(contrasts) for _ in point.comparison.contrasts)),
        )
        for point in points
    ]


def _way(arm: ArmKey) -> ArmKey:
    """Return what an arm is at any number of labels and images."""
    return replace(arm, labels=None, images=None)


def _at(context: Context[FinetuneFindings], labels: int | None) -> str:
    return context.say("all labels") if labels is None else context.say("{n} a class", n=labels)


def _parts(context: Context[FinetuneFindings]) -> Iterator[Part]:
    findings = context.findings
    yield _arms(context)
    ways = arms_figure(
        context, "ways", findings.all_labels.comparison.arms, levels=levels(context, findings.baselines),
        label=context.say("test accuracy, %, all labels (95 % interval; ticks: runs)"),
    )  # fmt: skip
    yield Picture(ways, _ways(context))
    yield _effects(context)
    if len(findings.labels) > 1:
        yield Picture(_labels_figure(context), _labels_caption(context))
        yield Picture(_gain_figure(context), _labels_sentence(context))
    yield _unlabeled(context)
    missing = [context.say("{n} labels a class: a fold has no more, or fewer", n=n) for n in findings.missing_labels]
    missing += [
        context.say("{n:0} unlabeled images: there are no more, or fewer", n=n) for n in findings.missing_images
    ]
    if missing:
        yield Listing(context.say("Points that these images do not have"), missing)


def _arms(context: Context[FinetuneFindings]) -> Table:
    train = {point.labels: point.train for point in context.findings.labels}
    arms = [arm for point in context.findings.labels for arm in point.comparison.arms]

    def name(arm: ArmSummary) -> str:
        return f"{_at(context, arm.arm.labels)}: {context.name(arm.arm)}"

    before = {words("training images"): lambda arm: context.language.number(train[arm.arm.labels], 0)}
    return ArmTable(words("network"), {words("training, s"): "seconds:s"}).of(context, arms, name=name, before=before)


def _effects(context: Context[FinetuneFindings]) -> Table:
    findings = context.findings
    images = {point.contrast.treated.images: point.images for point in findings.unlabeled}

    def pair(contrast: ContrastResult) -> str:
        few = contrast.treated.images
        where = (
            _at(context, contrast.treated.labels)
            if few is None
            else context.say("{n:0} unlabeled images", n=images[few])
        )
        return f"{where}: {context.pair(contrast)}"

    contrasts = [contrast for point in findings.labels for contrast in point.comparison.contrasts]
    contrasts += [point.contrast for point in findings.unlabeled if point.contrast.treated.images is not None]
    note = words(
        "The row in bold, and that against the labeled images alone, were named as the answer before any run. p values of the others are "
        "corrected for their number, by number of labels and by number of unlabeled images."
    )
    return ContrastTable(words("Verdict at every point"), note, lambda c: not is_gain(c)).of(context, contrasts, pair)


def _ways(context: Context[FinetuneFindings]) -> str:
    gains = [c for c in context.findings.all_labels.comparison.contrasts if is_gain(c)]
    effects = context.effects(gains, lambda c: context.name(c.treated))
    return context.say("With all labels, vs the same way from random weights, in points: {items}.", items=effects)


def _by_way(context: Context[FinetuneFindings]) -> str:
    """Say which ways gain from the autoencoder's weights, with all labels; warn if the network has hardly learned anything."""
    contrasts, chance = context.findings.all_labels.comparison.contrasts, 100 / len(context.protocol.class_names)
    scratch = context.findings.all_labels.comparison.arm(from_random("plain"))
    if scratch.accuracy is not None and scratch.accuracy.mean <= _LEARNED * chance:
        return context.say(
            "The network from scratch is right on {accuracy:1} %, guessing on {chance:1} %: it has hardly learned, so these "
            "differences say little yet; train longer or with more labels.",
            accuracy=scratch.accuracy.mean,
            chance=chance,
        )
    named = context.verdicts((context.name(c.treated), c.verdict) for c in contrasts if is_gain(c))
    return context.say("With all labels, each way vs itself from random weights: {verdicts}.", verdicts=named)


def _by_labels(context: Context[FinetuneFindings]) -> str:
    """Say at which numbers of labels fine-tuning gains from the autoencoder's weights."""
    named = [
        (_at(context, point.labels), c.verdict)
        for point in context.findings.labels
        for c in point.comparison.contrasts
        if is_gain(c) and _way(c.treated) == tuned("plain")
    ]
    return context.say("Fine-tuned vs from scratch, by number of labels: {verdicts}.", verdicts=context.verdicts(named))


def _curve(context: Context[FinetuneFindings], way: ArmKey, measured: Sequence[tuple[float, Effect]]) -> Curve:
    """Draw what was measured at numbers of labels; a little aside, so that one way's intervals do not hide another's."""
    aside = 1.03 ** _CURVES.index(way)
    return Curve.of(context.name(way), [(train * aside, effect) for train, effect in measured], _COLOURS[way])


def _labels_figure(context: Context[FinetuneFindings]) -> str:
    findings, curves = context.findings, []
    for way in _CURVES:
        measured = [
            (point.train, arm.accuracy)
            for point in findings.labels
            for arm in point.comparison.arms
            if _way(arm.arm) == way and arm.accuracy is not None
        ]
        curves.append(_curve(context, way, measured))
    beside, y = levels(context, findings.baselines), context.say("test accuracy, %")
    return _over_labels(context, "labels", curves, y=y, levels=beside)


def _over_labels(context: Context[FinetuneFindings], key: str, curves: Sequence[Curve], **options: Any) -> str:
    ticks = [(point.train, context.language.number(point.train, 0)) for point in context.findings.labels]
    x = context.say("training images with labels")
    return curves_figure(key, curves, context.language, x=x, log="x", ticks=ticks, **options)


def _labels_caption(context: Context[FinetuneFindings]) -> str:
    """Say where each way is the most accurate."""
    effects = []
    for point in context.findings.labels:
        best = most_accurate(arm for arm in point.comparison.arms if _way(arm.arm) in _CURVES)
        if best is not None:
            effects.append(f"{_at(context, point.labels)}: {context.name(best[0])}")
    if not effects:
        return context.say("Every run diverged.")
    return context.say(
        "The highest mean accuracy, by number of labels: {items}. Bars: 95 % intervals; the baselines have all labels.",
        items=effects,
    )


def _gains(context: Context[FinetuneFindings]) -> list[tuple[int, ContrastResult]]:
    """Return what fine-tuning and frozen codes gain at every number of labels."""
    return [
        (point.train, contrast)
        for point in context.findings.labels
        for contrast in point.comparison.contrasts
        if is_gain(contrast) and contrast.treated.way in CURVE
    ]


def _gain_figure(context: Context[FinetuneFindings]) -> str:
    curves = [
        _curve(
            context, way, [(train, c.accuracy) for train, c in _gains(context) if _way(c.treated) == way and c.accuracy]
        )
        for way in (tuned("plain"), tuned("frozen"))
    ]
    return _over_labels(context, "gain", curves, y=context.say("points over random weights"), zero=True)


def _labels_sentence(context: Context[FinetuneFindings]) -> str:
    """Say at every number of labels what fine-tuning and frozen codes gain."""

    def name(contrast: ContrastResult) -> str:
        return f"{_at(context, contrast.treated.labels)}, {context.name(contrast.treated)}"

    contrasts = [contrast for _train, contrast in _gains(context)]
    effects = context.effects(contrasts, name)
    sentences = [
        context.say("By number of labels, vs the same way from random weights, in points: {items}.", items=effects)
    ]
    helps, hurts = ("; ".join(name(c) for c in contrasts if c.verdict == word) for word in ("helps", "hurts"))
    if helps:
        sentences.append(context.say("The autoencoder helps with: {where}.", where=helps))
    else:
        sentences.append(context.say("At none of these points is there evidence that the autoencoder helps."))
    if hurts:
        sentences.append(context.say("It hurts with: {where}.", where=hurts))
    return " ".join(sentences)


def _unlabeled(context: Context[FinetuneFindings]) -> Picture:
    points = [(p, p.contrast.accuracy) for p in context.findings.unlabeled if p.contrast.accuracy is not None]
    effects, places = [effect for _point, effect in points], [0, *range(1, len(points) + 1)]
    curve = Curve(
        context.name(tuned("plain")), places, [0.0, *(effect.mean for effect in effects)], "autoencoder",
        [0.0, *(effect.low for effect in effects)], [0.0, *(effect.high for effect in effects)],
    )  # fmt: skip
    names = ["0", *(context.language.number(point.images, 0) for point, _effect in points)]
    figure = curves_figure(
        "unlabeled", [curve], context.language, x=context.say("unlabeled images (not to scale)"),
        y=context.say("points over scratch"), ticks=list(zip(map(float, places), names, strict=True)), zero=True,
    )  # fmt: skip
    caption = context.say(
        "Fine-tuned vs from scratch with all labels, by number of unlabeled images, in points: {items}.",
        items=context.each("{i.images:0}: {i.contrast:effect}", context.findings.unlabeled),
    )
    return Picture(figure, caption)


def _answer(context: Context[FinetuneFindings]) -> str:
    findings, worth = context.findings, context.findings.all_labels.comparison.answer
    if worth.without.accuracy is None or worth.twin.accuracy is None:
        return context.say("A network diverged, so there is no answer.")
    text = context.say(
        "{start}: with all labels and all unlabeled images, fine-tuned vs from scratch: {without:e} points; vs fine-tuned from an "
        "autoencoder of the labeled images alone: {twin:e} points",
        start=context.say(STARTS[worth.verdict]),
        without=worth.without.accuracy,
        twin=worth.twin.accuracy,
    )
    frozen = findings.all_labels.comparison.find(tuned("plain"), tuned("frozen"))
    if frozen is not None and frozen.accuracy is not None:
        text += context.say("; fine-tuned vs a frozen encoder: {effect:differs}", effect=frozen)
    return f"{text}."


PAGE = Page[FinetuneFindings](
    "finetune",
    words("Fine-tuning"),
    words("Does a network that starts from the autoencoder's weights beat the same network from scratch, and where?"),
    setup=(
        lambda context: context.say(
            "The encoder of study 4 and linear layers; all networks of a point have the same labels, first weights of the "
            "head, augmentation and budget: up to {length} of batches of {t[batch_size]}, {t[optimizer]}, learning "
            "rates {c[network][learning_rates]:g}, epoch and rate chosen by validation log loss.",
            t=context.config["network"]["training"],
            length=context.length(context.config["network"]["training"]),
        ),
        words(
            "Ways: fine-tuned (all layers alike), copied layers slower ({f.slow:g} of the learning rate), gradual unfreezing "
            "(the head alone for the first quarter with one block), frozen (the encoder keeps its bytes). Each way is run "
            "from random weights too. With all labels fine-tuning is held against two more: the same from an autoencoder that "
            "learned from the labeled images alone in as many steps, and random weights that are as large as the learned ones."
        ),
        words(
            "Fewer labels are drawn anew for each fold, a fifth of them to choose with; networks take the same number of steps at "
            "every number of labels (or, if epochs are asked for in place of steps, up to "
            "{c[studies][finetune][most_epochs]}-fold as many epochs). Autoencoders of fewer unlabeled images take as many steps "
            "as the one of all, and choose their epoch by the same held-out unlabeled images."
        ),
    ),
    parts=(_parts,),
    conclusion=(_answer, _by_way, _by_labels),
    names=lambda context, arm: context.say(_NAMES[_way(arm)]),
    colours=lambda arm: _COLOURS[_way(arm)],
)
FINETUNE = Study("finetune", ("labeled", "unlabeled", "test"), FinetuneFindings, run, (PAGE,), check_encoder)
