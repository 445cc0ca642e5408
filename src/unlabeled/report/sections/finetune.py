"""Section 5: fine-tuning from the autoencoder's weights."""

from __future__ import annotations

from typing import Any

from unlabeled.report.language import Language, effect_text
from unlabeled.report.plots import Curve, curves_figure, lines_figure
from unlabeled.report.sections.baselines import levels
from unlabeled.report.sections.parts import (
    Cell,
    Context,
    Listing,
    Part,
    Picture,
    Section,
    Table,
    accuracy_cells,
    arm_line,
    comparison_word,
    effect_cells,
    interval_note,
    seconds_cell,
    verdict_name,
)

_COLOURS = {
    "scratch": "random", "plain": "autoencoder", "slow": "slow", "gradual": "gradual", "frozen": "frozen",
    "random-slow": "pixels", "random-gradual": "pixels", "random-frozen": "pixels",
}  # fmt: skip
_LEARNED = 1.5
_CURVES = ("scratch", "plain", "frozen", "random-frozen")


def write(context: Context) -> Section:
    """Write the section."""
    language = context.language
    _ = language.gettext
    parts: list[Part] = [
        _arms(context),
        Picture(_ways_figure(context), _ways_sentence(context)),
        _effects(context),
    ]
    if len(context.result["labels"]) > 1:
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
        conclusion=[
            _answer(context),
            *_chance_sentence(context),
            _ways_sentence(context),
            _labels_sentence(context),
            _unlabeled_sentence(context),
        ],
        protocol=context.protocol,
    )


def main_contrast(result: dict[str, Any]) -> dict[str, Any]:
    """Return the comparison that was named beforehand: plain fine-tuning less scratch, with all labels and images."""
    contrast: dict[str, Any] = result["labels"][-1]["contrasts"][0]
    return contrast


def way_name(way: str, language: Language) -> str:
    """Name a way to train the network."""
    _ = language.gettext
    return {
        "scratch": _("from scratch"),
        "plain": _("fine-tuned"),
        "slow": _("copied layers slower"),
        "gradual": _("gradual unfreezing"),
        "frozen": _("frozen autoencoder"),
        "random-slow": _("random weights, slower"),
        "random-gradual": _("random weights, gradual"),
        "random-frozen": _("frozen random weights"),
    }[way]


def _setup(context: Context) -> list[str]:
    result, language = context.result, context.language
    _ = language.gettext
    config = result["config"]
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
        ).format(slow=language.short(result["slow"])),
        _(
            "Fewer labels are drawn anew for each fold, a fifth of them to choose with; epochs rise up to "
            "{times}-fold so that few labels "
            "still give enough steps. Autoencoders of fewer unlabeled images take as many steps as the one of "
            "all, and choose their "
            "epoch by the same held-out unlabeled images."
        ).format(times=config["studies"]["finetune"]["most_epochs"]),
    ]


def _way(arm: str) -> str:
    return arm.partition(" ")[0]


def _labels_name(point: dict[str, Any], language: Language) -> str:
    _ = language.gettext
    return _("all labels") if point["per_class"] is None else _("{n} a class").format(n=point["per_class"])


def _arms(context: Context) -> Table:
    language = context.language
    _ = language.gettext
    rows: list[list[str | Cell]] = []
    swatches = []
    for point in context.result["labels"]:
        for arm in point["arms"]:
            rows.append(
                [
                    f"{_labels_name(point, language)}: {way_name(_way(arm['arm']), language)}",
                    language.number(point["train"], 0),
                    *accuracy_cells(arm, language),
                    seconds_cell(arm["seconds"], language),
                ]
            )
            swatches.append(_COLOURS[_way(arm["arm"])])
    heads = [_("network"), _("training images"), _("accuracy, % (95 %)"), _("log loss, nats (95 %)"), _("training, s")]
    return Table("", heads, rows, note=interval_note(language), swatches=swatches)


def _effects(context: Context) -> Table:
    language = context.language
    _ = language.gettext
    rows: list[list[str | Cell]] = [
        [
            f"{_labels_name(point, language)}: {_pair(contrast, language)}",
            *effect_cells(contrast, language, merely=not contrast["gain"]),
        ]
        for point in context.result["labels"]
        for contrast in point["contrasts"]
    ]
    for point in context.result["unlabeled"][:-1]:
        images = _("{n} unlabeled images").format(n=language.number(point["images"], 0))
        rows.append(
            [f"{images}: {_pair(point['contrasts'][0], language)}", *effect_cells(point["contrasts"][0], language)]
        )
    heads = [_("comparison"), _("accuracy, points (95 %)"), _("p"), _("verdict")]
    note = _(
        "The row in bold was named as the answer before any run. p values of the others are corrected for their "
        "number, by number of "
        "labels and by number of unlabeled images."
    )
    return Table(_("Verdict at every point"), heads, rows, note=note, chosen=_main_row(context))


def _main_row(context: Context) -> int:
    return sum(len(point["contrasts"]) for point in context.result["labels"][:-1])


def _pair(contrast: dict[str, Any], language: Language) -> str:
    return language.gettext("{treated} less {control}").format(
        treated=way_name(_way(contrast["treated"]), language), control=way_name(_way(contrast["control"]), language)
    )


def _ways_figure(context: Context) -> str:
    language, point = context.language, context.result["labels"][-1]
    lines = []
    for arm in point["arms"]:
        if arm["accuracy"] is not None:
            way = _way(arm["arm"])
            name = way_name(way, language)
            lines.append(arm_line(arm, context.result["rows"], name=name, colour=_COLOURS[way]))
    label = language.gettext("test accuracy, %, all labels (95 % interval; ticks: runs)")
    return lines_figure("ways", lines, language, label=label, levels=levels(context.result["baselines"], language))


def _ways_sentence(context: Context) -> str:
    language, point = context.language, context.result["labels"][-1]
    told = [
        f"{way_name(_way(c['treated']), language)} {effect_text(c['accuracy'], language)}, {verdict_name(c['verdict'], language)}"
        for c in point["contrasts"]
        if c["gain"] and c["accuracy"] is not None
    ]
    text = language.gettext("With all labels, less the same way from random weights, in points: {told}.")
    return text.format(told="; ".join(told))


def _labels_figure(context: Context) -> str:
    language, points = context.language, context.result["labels"]
    _ = language.gettext
    curves = []
    for way in _CURVES:
        measured = [
            (point["train"], arm["accuracy"])
            for point in points
            for arm in point["arms"]
            if _way(arm["arm"]) == way and arm["accuracy"] is not None
        ]
        curves.append(_curve(way, measured, language))
    return curves_figure(
        "labels", curves, language, x=_("training images with labels"), y=_("test accuracy, %"), log="x",
        ticks=[(point["train"], language.number(point["train"], 0)) for point in points],
        levels=levels(context.result["baselines"], language),
    )  # fmt: skip


def _curve(way: str, measured: list[tuple[int, dict[str, Any]]], language: Language) -> Curve:
    """Draw what was measured at numbers of labels; a little aside, so that one way's intervals do not hide another's."""
    aside = 1.03 ** _CURVES.index(way)
    return Curve(
        way_name(way, language),
        [train * aside for train, _effect in measured],
        [effect["mean"] for _train, effect in measured],
        _COLOURS[way],
        [effect["low"] for _train, effect in measured],
        [effect["high"] for _train, effect in measured],
    )


def _labels_caption(context: Context) -> str:
    """Say where each way is the most accurate."""
    language = context.language
    told = []
    for point in context.result["labels"]:
        known = [arm for arm in point["arms"] if arm["accuracy"] is not None and _way(arm["arm"]) in _CURVES]
        if known:
            best = max(known, key=lambda arm: arm["accuracy"]["mean"])
            told.append(f"{_labels_name(point, language)}: {way_name(_way(best['arm']), language)}")
    text = language.gettext(
        "The highest mean accuracy, by number of labels: {told}. Bars: 95 % intervals; the baselines have all labels."
    )
    return text.format(told=language.listed(told))


def _gain_figure(context: Context) -> str:
    language, points = context.language, context.result["labels"]
    _ = language.gettext
    curves = []
    for way in ("plain", "frozen"):
        measured = [
            (point["train"], contrast["accuracy"])
            for point in points
            for contrast in point["contrasts"]
            if _way(contrast["treated"]) == way and contrast["gain"] and contrast["accuracy"] is not None
        ]
        curves.append(_curve(way, measured, language))
    return curves_figure(
        "gain", curves, language, x=_("training images with labels"), y=_("points over random weights"), log="x",
        ticks=[(point["train"], language.number(point["train"], 0)) for point in points], zero=True,
    )  # fmt: skip


def _labels_sentence(context: Context) -> str:
    """Say at every number of labels what fine-tuning and frozen codes gain."""
    language = context.language
    _ = language.gettext
    told, where, against = [], [], []
    for point in context.result["labels"]:
        for contrast in point["contrasts"]:
            if not contrast["gain"] or contrast["accuracy"] is None:
                continue
            way = _way(contrast["treated"])
            if way in ("plain", "frozen"):
                name = f"{_labels_name(point, language)}, {way_name(way, language)}"
                told.append(
                    f"{name} {effect_text(contrast['accuracy'], language)}, {verdict_name(contrast['verdict'], language)}"
                )
                where += [name] if contrast["verdict"] == "helps" else []
                against += [name] if contrast["verdict"] == "hurts" else []
    text = _("By number of labels, less the same way from random weights, in points: {told}.").format(
        told="; ".join(told)
    )
    none = _("At none of these points is there evidence that they help.")
    sentences = [text, _("The unlabeled images help with: {where}.").format(where="; ".join(where)) if where else none]
    if against:
        sentences.append(_("They hurt with: {where}.").format(where="; ".join(against)))
    return " ".join(sentences)


def _unlabeled_figure(context: Context) -> str:
    language, points = context.language, context.result["unlabeled"]
    _ = language.gettext
    measured = [
        (point["images"], point["contrasts"][0]["accuracy"]) for point in points if point["contrasts"][0]["accuracy"]
    ]
    curve = Curve(
        way_name("plain", language),
        [0, *(number for number, _effect in enumerate(measured, 1))],
        [0.0, *(effect["mean"] for _images, effect in measured)],
        "autoencoder",
        [0.0, *(effect["low"] for _images, effect in measured)],
        [0.0, *(effect["high"] for _images, effect in measured)],
    )
    ticks = [
        (0.0, "0"),
        *((float(number), language.number(images, 0)) for number, (images, _effect) in enumerate(measured, 1)),
    ]
    return curves_figure(
        "unlabeled",
        [curve],
        language,
        x=_("unlabeled images (not to scale)"),
        y=_("points over scratch"),
        ticks=ticks,
        zero=True,
    )


def _unlabeled_sentence(context: Context) -> str:
    language = context.language
    told = [
        f"{language.number(point['images'], 0)}: {effect_text(point['contrasts'][0]['accuracy'], language)}, "
        f"{verdict_name(point['contrasts'][0]['verdict'], language)}"
        for point in context.result["unlabeled"]
        if point["contrasts"][0]["accuracy"] is not None
    ]
    return language.gettext(
        "By number of unlabeled images, fine-tuned less scratch, all labels, in points: {told}."
    ).format(told="; ".join(told))


def _not_available(context: Context) -> list[str]:
    language, missing = context.language, context.result["not_available"]
    _ = language.gettext
    lines = [_("{n} labels a class: a fold has no more, or fewer").format(n=number) for number in missing["labels"]]
    return lines + [
        _("{n} unlabeled images: there are no more, or fewer").format(n=language.number(number, 0))
        for number in missing["unlabeled"]
    ]


def _chance_sentence(context: Context) -> list[str]:
    """Warn if the network from scratch has hardly learned anything."""
    language, result = context.language, context.result
    scratch = next(arm for arm in result["labels"][-1]["arms"] if _way(arm["arm"]) == "scratch")
    chance = 100 / len(result["protocol"]["class_names"])
    if scratch["accuracy"] is None or scratch["accuracy"]["mean"] > _LEARNED * chance:
        return []
    return [
        language.gettext(
            "The network from scratch is right on {accuracy} %, guessing on {chance} %: it has hardly learned, "
            "so these differences "
            "say little yet; train longer or with more labels."
        ).format(accuracy=language.number(scratch["accuracy"]["mean"]), chance=language.number(chance))
    ]


def _answer(context: Context) -> str:
    language, contrast = context.language, main_contrast(context.result)
    _ = language.gettext
    if contrast["accuracy"] is None:
        return _("A network diverged, so there is no answer.")
    start = {
        "helps": _("The unlabeled images help"),
        "hurts": _("Using the unlabeled images this way hurts"),
        "no evidence": _("No evidence that the unlabeled images help or hurt"),
    }[contrast["verdict"]]
    frozen = context.result["labels"][-1]["contrasts"][-1]
    text = _("{start}: with all labels and all unlabeled images, fine-tuning less scratch is {effect} points").format(
        start=start, effect=effect_text(contrast["accuracy"], language)
    )
    if frozen["accuracy"] is not None:
        text += _("; fine-tuning less a frozen encoder {effect}, {verdict}").format(
            effect=effect_text(frozen["accuracy"], language), verdict=comparison_word(frozen["verdict"], language)
        )
    return f"{text}."
