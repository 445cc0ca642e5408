"""Section 5: fine-tuning from the autoencoder's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unlabeled.records import ArmKey, ContrastResult
from unlabeled.report.language import Language, effect_text
from unlabeled.report.plots import Curve, curves_figure
from unlabeled.report.sections.baselines import levels
from unlabeled.report.sections.parts import (
    Context,
    Listing,
    Part,
    Picture,
    Section,
    Table,
    accuracy_cells,
    arms_figure,
    comparison_word,
    contrasts_table,
    most_accurate,
    seconds_cell,
    told_effect,
    verdict_lists,
)
from unlabeled.statistics import Effect
from unlabeled.studies.finetune import CURVE, FinetuneFindings, LabelsPoint, from_random, is_gain, tuned

_COLOURS = {
    from_random("plain"): "random", tuned("plain"): "autoencoder", tuned("slow"): "slow", tuned("gradual"): "gradual",
    tuned("frozen"): "frozen", from_random("slow"): "pixels", from_random("gradual"): "pixels", from_random("frozen"): "pixels",
}  # fmt: skip
_LEARNED = 1.5
_CURVES = (from_random("plain"), tuned("plain"), tuned("frozen"), from_random("frozen"))


def write(context: Context[FinetuneFindings]) -> Section:
    """Write the section."""
    language = context.language
    _ = language.gettext
    parts: list[Part] = [
        _arms(context),
        Picture(_ways_figure(context), _ways_sentence(context)),
        _effects(context),
    ]
    if len(context.findings.labels) > 1:
        parts += [
            Picture(_labels_figure(context), _labels_caption(context)),
            Picture(_gain_figure(context), _labels_sentence(context)),
        ]
    parts.append(Picture(_unlabeled_figure(context), _unlabeled_sentence(context)))
    missing = _not_available(context)
    if missing:
        parts.append(Listing(_("Points that these images do not have"), missing))
    return Section(
        key="finetune",
        title=_("Fine-tuning"),
        question=_(
            "Does a network that starts from the autoencoder's weights beat the same network from scratch, and where?"
        ),
        setup=_setup(context),
        parts=parts,
        conclusion=[_answer(context), *(_chance_sentence(context) or [_by_way(context)]), _by_labels(context)],
    )


def arm_name(arm: ArmKey, language: Language) -> str:
    """Name the way to train the network."""
    _ = language.gettext
    names = {
        from_random("plain"): _("from scratch"),
        tuned("plain"): _("fine-tuned"),
        tuned("slow"): _("copied layers slower"),
        tuned("gradual"): _("gradual unfreezing"),
        tuned("frozen"): _("frozen autoencoder"),
        from_random("slow"): _("random weights, slower"),
        from_random("gradual"): _("random weights, gradual"),
        from_random("frozen"): _("frozen random weights"),
    }
    return names[_way(arm)]


def _way(arm: ArmKey) -> ArmKey:
    """Return what an arm is at any number of labels and images."""
    return replace(arm, labels=None, images=None)


def _setup(context: Context[FinetuneFindings]) -> list[str]:
    language = context.language
    _ = language.gettext
    config = context.config
    training = config["network"]["training"]
    return [
        _(
            "The encoder of study 4 and linear layers; all networks of a point have the same labels, first "
            "weights of the head, augmentation "
            "and budget: up to {epochs} epochs of batches of {batch}, {optimizer}, learning rates {rates}, epoch "
            "and rate chosen by "
            "validation log loss."
        ).format(
            epochs=training["epochs"],
            batch=training["batch_size"],
            optimizer=training["optimizer"],
            rates=language.listed([language.short(rate) for rate in config["network"]["learning_rates"]]),
        ),
        _(
            "Ways: fine-tuned (all layers alike), copied layers slower ({slow} of the learning rate), gradual "
            "unfreezing (the head alone "
            "for the first quarter with one block), frozen (the encoder keeps its bytes). Each way is run from "
            "random weights too: only "
            "that difference is the unlabeled images' worth."
        ).format(slow=language.short(context.findings.slow)),
        _(
            "Fewer labels are drawn anew for each fold, a fifth of them to choose with; epochs rise up to "
            "{times}-fold so that few labels "
            "still give enough steps. Autoencoders of fewer unlabeled images take as many steps as the one of "
            "all, and choose their "
            "epoch by the same held-out unlabeled images."
        ).format(times=config["studies"]["finetune"]["most_epochs"]),
    ]


def _labels_name(point: LabelsPoint, language: Language) -> str:
    _ = language.gettext
    return _("all labels") if point.labels is None else _("{n} a class").format(n=point.labels)


def _arms(context: Context[FinetuneFindings]) -> Table:
    language = context.language
    _ = language.gettext
    arms = [(point, arm) for point in context.findings.labels for arm in point.comparison.arms]
    rows = [
        [
            f"{_labels_name(point, language)}: {arm_name(arm.arm, language)}",
            language.number(point.train, 0),
            *accuracy_cells(arm, language),
            seconds_cell(arm.seconds, language),
        ]
        for point, arm in arms
    ]
    heads = [_("network"), _("training images"), _("accuracy, % (95 %)"), _("log loss, nats (95 %)"), _("training, s")]
    swatches = [_COLOURS[_way(arm.arm)] for _point, arm in arms]
    return Table("", heads, rows, swatches=swatches)


def _effects(context: Context[FinetuneFindings]) -> Table:
    findings, language = context.findings, context.language
    _ = language.gettext
    points = {point.labels: point for point in findings.labels}
    images = {point.contrast.treated.images: point.images for point in findings.unlabeled}

    def name(arm: ArmKey) -> str:
        return arm_name(arm, language)

    def where(contrast: ContrastResult) -> str:
        few = contrast.treated.images
        if few is None:
            return _labels_name(points[contrast.treated.labels], language)
        return _("{n} unlabeled images").format(n=language.number(images[few], 0))

    contrasts = [contrast for point in findings.labels for contrast in point.comparison.contrasts]
    contrasts += [point.contrast for point in findings.unlabeled if point.contrast.treated.images is not None]
    note = _(
        "The row in bold was named as the answer before any run. p values of the others are corrected for their "
        "number, by number of "
        "labels and by number of unlabeled images."
    )
    table = contrasts_table(
        contrasts, language, name=name, title=_("Verdict at every point"), note=note, merely=lambda c: not is_gain(c)
    )
    rows = [[f"{where(c)}: {row[0]}", *row[1:]] for c, row in zip(contrasts, table.rows, strict=True)]
    return replace(table, rows=rows)


def _ways_figure(context: Context[FinetuneFindings]) -> str:
    findings, language = context.findings, context.language
    return arms_figure(
        "ways",
        findings.all_labels.comparison.arms,
        findings.rows,
        language,
        name=lambda arm: arm_name(arm, language),
        colour=lambda arm: _COLOURS[_way(arm)],
        label=language.gettext("test accuracy, %, all labels (95 % interval; ticks: runs)"),
        levels=levels(findings.baselines, language),
    )


def _ways_sentence(context: Context[FinetuneFindings]) -> str:
    language = context.language
    told = [
        f"{arm_name(c.treated, language)} {told_effect(c, language)}"
        for c in context.findings.all_labels.comparison.contrasts
        if is_gain(c) and c.accuracy is not None
    ]
    text = language.gettext("With all labels, vs the same way from random weights, in points: {told}.")
    return text.format(told="; ".join(told))


def _by_way(context: Context[FinetuneFindings]) -> str:
    """Say which ways gain from the autoencoder's weights, with all labels."""
    language = context.language
    contrasts = context.findings.all_labels.comparison.contrasts
    named = [(arm_name(c.treated, language), c.verdict) for c in contrasts if is_gain(c)]
    text = language.gettext("With all labels, each way vs itself from random weights: {verdicts}.")
    return text.format(verdicts=verdict_lists(named, language))


def _by_labels(context: Context[FinetuneFindings]) -> str:
    """Say at which numbers of labels fine-tuning gains from the autoencoder's weights."""
    language = context.language
    named = [
        (_labels_name(point, language), c.verdict)
        for point in context.findings.labels
        for c in point.comparison.contrasts
        if is_gain(c) and _way(c.treated) == tuned("plain")
    ]
    text = language.gettext("Fine-tuned vs from scratch, by number of labels: {verdicts}.")
    return text.format(verdicts=verdict_lists(named, language))


def _labels_figure(context: Context[FinetuneFindings]) -> str:
    findings, language = context.findings, context.language
    _ = language.gettext
    curves = []
    for number, way in enumerate(_CURVES):
        measured = [
            (point.train, arm.accuracy)
            for point in findings.labels
            for arm in point.comparison.arms
            if _way(arm.arm) == way and arm.accuracy is not None
        ]
        curves.append(_curve(way, measured, language, 1.03**number))
    return curves_figure(
        "labels", curves, language, x=_("training images with labels"), y=_("test accuracy, %"), log="x",
        ticks=[(point.train, language.number(point.train, 0)) for point in findings.labels],
        levels=levels(findings.baselines, language),
    )  # fmt: skip


def _curve(way: ArmKey, measured: Sequence[tuple[int, Effect]], language: Language, aside: float) -> Curve:
    """Draw what was measured at numbers of labels; a little aside, so that one way's intervals do not hide another's."""
    return Curve(
        arm_name(way, language),
        [train * aside for train, _effect in measured],
        [effect.mean for _train, effect in measured],
        _COLOURS[way],
        [effect.low for _train, effect in measured],
        [effect.high for _train, effect in measured],
    )


def _labels_caption(context: Context[FinetuneFindings]) -> str:
    """Say where each way is the most accurate."""
    language = context.language
    told = []
    for point in context.findings.labels:
        best = most_accurate(arm for arm in point.comparison.arms if _way(arm.arm) in _CURVES)
        if best is not None:
            told.append(f"{_labels_name(point, language)}: {arm_name(best[0], language)}")
    text = language.gettext(
        "The highest mean accuracy, by number of labels: {told}. Bars: 95 % intervals; the baselines have all labels."
    )
    return text.format(told=language.listed(told))


def _gains(context: Context[FinetuneFindings]) -> list[tuple[LabelsPoint, ContrastResult, Effect]]:
    """Return what fine-tuning and frozen codes gain at every number of labels."""
    return [
        (point, contrast, contrast.accuracy)
        for point in context.findings.labels
        for contrast in point.comparison.contrasts
        if is_gain(contrast) and contrast.treated.way in CURVE and contrast.accuracy is not None
    ]


def _gain_figure(context: Context[FinetuneFindings]) -> str:
    language, points = context.language, context.findings.labels
    _ = language.gettext
    curves = []
    for way in (tuned("plain"), tuned("frozen")):
        measured = [(point.train, effect) for point, c, effect in _gains(context) if _way(c.treated) == way]
        curves.append(_curve(way, measured, language, 1.03 ** _CURVES.index(way)))
    return curves_figure(
        "gain", curves, language, x=_("training images with labels"), y=_("points over random weights"), log="x",
        ticks=[(point.train, language.number(point.train, 0)) for point in points], zero=True,
    )  # fmt: skip


def _labels_sentence(context: Context[FinetuneFindings]) -> str:
    """Say at every number of labels what fine-tuning and frozen codes gain."""
    language = context.language
    _ = language.gettext
    told: list[str] = []
    where: dict[str, list[str]] = {"helps": [], "hurts": []}
    for point, contrast, _effect in _gains(context):
        name = f"{_labels_name(point, language)}, {arm_name(contrast.treated, language)}"
        told.append(f"{name} {told_effect(contrast, language)}")
        where.setdefault(contrast.verdict, []).append(name)
    text = _("By number of labels, vs the same way from random weights, in points: {told}.").format(
        told="; ".join(told)
    )
    helps, hurts = ("; ".join(where[verdict]) for verdict in ("helps", "hurts"))
    none = _("At none of these points is there evidence that they help.")
    sentences = [text, _("The unlabeled images help with: {where}.").format(where=helps) if helps else none]
    if hurts:
        sentences.append(_("They hurt with: {where}.").format(where=hurts))
    return " ".join(sentences)


def _unlabeled_figure(context: Context[FinetuneFindings]) -> str:
    language = context.language
    _ = language.gettext
    measured = [(p.images, p.contrast.accuracy) for p in context.findings.unlabeled if p.contrast.accuracy is not None]
    places = [0, *range(1, len(measured) + 1)]
    curve = Curve(
        arm_name(tuned("plain"), language),
        places,
        [0.0, *(effect.mean for _images, effect in measured)],
        "autoencoder",
        [0.0, *(effect.low for _images, effect in measured)],
        [0.0, *(effect.high for _images, effect in measured)],
    )
    names = ["0", *(language.number(images, 0) for images, _effect in measured)]
    return curves_figure(
        "unlabeled",
        [curve],
        language,
        x=_("unlabeled images (not to scale)"),
        y=_("points over scratch"),
        ticks=list(zip(map(float, places), names, strict=True)),
        zero=True,
    )


def _unlabeled_sentence(context: Context[FinetuneFindings]) -> str:
    language = context.language
    told = [
        f"{language.number(point.images, 0)}: {told_effect(point.contrast, language)}"
        for point in context.findings.unlabeled
        if point.contrast.accuracy is not None
    ]
    return language.gettext(
        "Fine-tuned vs from scratch with all labels, by number of unlabeled images, in points: {told}."
    ).format(told="; ".join(told))


def _not_available(context: Context[FinetuneFindings]) -> list[str]:
    findings, language = context.findings, context.language
    _ = language.gettext
    lines = [
        _("{n} labels a class: a fold has no more, or fewer").format(n=number) for number in findings.missing_labels
    ]
    return lines + [
        _("{n} unlabeled images: there are no more, or fewer").format(n=language.number(number, 0))
        for number in findings.missing_images
    ]


def _chance_sentence(context: Context[FinetuneFindings]) -> list[str]:
    """Warn if the network from scratch has hardly learned anything."""
    language = context.language
    scratch = context.findings.all_labels.comparison.arm(from_random("plain"))
    chance = 100 / len(context.protocol.class_names)
    if scratch.accuracy is None or scratch.accuracy.mean > _LEARNED * chance:
        return []
    return [
        language.gettext(
            "The network from scratch is right on {accuracy} %, guessing on {chance} %: it has hardly learned, "
            "so these differences "
            "say little yet; train longer or with more labels."
        ).format(accuracy=language.number(scratch.accuracy.mean), chance=language.number(chance))
    ]


def _answer(context: Context[FinetuneFindings]) -> str:
    findings, language = context.findings, context.language
    _ = language.gettext
    contrast = findings.named
    if contrast.accuracy is None:
        return _("A network diverged, so there is no answer.")
    start = {
        "helps": _("The unlabeled images help"),
        "hurts": _("Using the unlabeled images this way hurts"),
        "no evidence": _("No evidence that the unlabeled images help or hurt"),
    }[contrast.verdict]
    text = _("{start}: with all labels and all unlabeled images, fine-tuned vs from scratch: {effect} points").format(
        start=start, effect=effect_text(contrast.accuracy, language)
    )
    frozen = findings.all_labels.comparison.find(tuned("plain"), tuned("frozen"))
    if frozen is not None and frozen.accuracy is not None:
        text += _("; fine-tuned vs a frozen encoder: {effect}, {verdict}").format(
            effect=effect_text(frozen.accuracy, language), verdict=comparison_word(frozen.verdict, language)
        )
    return f"{text}."
