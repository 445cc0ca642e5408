"""Section 9: classification and reconstruction at once."""

from __future__ import annotations

from typing import Any

from unlabeled.report.language import Language, effect_text
from unlabeled.report.plots import lines_figure
from unlabeled.report.sections.baselines import levels
from unlabeled.report.sections.parts import (
    Cell,
    Context,
    Part,
    Picture,
    Section,
    Table,
    accuracy_cells,
    arm_line,
    effect_cells,
    interval_note,
    seconds_cell,
    speed_cell,
    told_effect,
)

_COLOURS = {
    "scratch": "random", "fine-tuned": "autoencoder", "labeled-only": "labeled", "joint": "joint", "joint-started": "slow",
}  # fmt: skip


def write(context: Context) -> Section:
    """Write the section."""
    language = context.language
    _ = language.gettext
    parts: list[Part] = [_arms(context), Picture(_figure(context), _best_sentence(context)), _contrasts(context)]
    return Section(
        key="joint",
        title=_("Classifying and reconstructing at once"),
        question=_("Are unlabeled images worth more to a network that reconstructs them while it learns to classify?"),
        setup=_setup(context),
        parts=parts,
        conclusion=[_answer(context), *_source_sentences(context), *_weights_sentences(context)],
        protocol=context.protocol,
    )


def main_contrast(result: dict[str, Any]) -> dict[str, Any]:
    """Return the comparison that was named beforehand: joint training less scratch."""
    contrast: dict[str, Any] = result["contrasts"][0]
    return contrast


def arm_name(arm: str, language: Language) -> str:
    """Name an arm."""
    _ = language.gettext
    return {
        "scratch": _("from scratch"),
        "fine-tuned": _("fine-tuned"),
        "labeled-only": _("joint, labeled images only"),
        "joint": _("joint, unlabeled images too"),
        "joint-started": _("joint, from the autoencoder's weights"),
    }[arm]


def _setup(context: Context) -> list[str]:
    result, language = context.result, context.language
    _ = language.gettext
    config = result["config"]
    training = config["network"]["training"]
    weights = ", ".join(f"({language.short(a)}; {language.short(b)})" for a, b in result["weights"])
    return [
        _(
            "One encoder with a classifier and a decoder. Loss: cross-entropy of the labeled images + λ_rec · "
            "mean squared error of all images + "
            "λ_mid · those of the maps between the blocks (Zhao et al. 2015, what-where autoencoders). Every step "
            "sees a batch of {batch} labeled "
            "images and as many unlabeled ones, augmented alike."
        ).format(batch=training["batch_size"]),
        _(
            "Weights (λ_rec; λ_mid) to choose from by validation log loss: {weights}. The other networks are "
            "trained as many times over, with "
            "other orders and dropout, and choose too; up to {epochs} epochs each, learning rates {rates}."
        ).format(
            weights=weights,
            epochs=training["epochs"],
            rates=language.listed([language.short(rate) for rate in config["network"]["learning_rates"]]),
        ),
        _(
            "“Labeled images only” reconstructs too, but no unlabeled image: what it gains is the second task's "
            "merit, and not that of the "
            "unlabeled images."
        ),
    ]


def _arms(context: Context) -> Table:
    result, language = context.result, context.language
    _ = language.gettext
    rows: list[list[str | Cell]] = [
        [
            arm_name(arm["arm"], language),
            *accuracy_cells(arm, language),
            speed_cell(arm["images_per_second"], language),
            seconds_cell(arm["seconds"], language),
        ]
        for arm in result["arms"]
    ]
    heads = [
        _("network"), _("accuracy, % (95 %)"), _("log loss, nats (95 %)"), _("labeled images/s"), _("training, s"),
    ]  # fmt: skip
    return Table(
        "", heads, rows, note=interval_note(language), swatches=[_COLOURS[arm["arm"]] for arm in result["arms"]]
    )


def _figure(context: Context) -> str:
    result, language = context.result, context.language
    lines = [
        arm_line(arm, result["rows"], name=arm_name(arm["arm"], language), colour=_COLOURS[arm["arm"]])
        for arm in result["arms"]
        if arm["accuracy"] is not None
    ]
    label = language.gettext("test accuracy, % (95 % interval; ticks: runs)")
    return lines_figure("joint", lines, language, label=label, levels=levels(result["baselines"], language))


def _best_sentence(context: Context) -> str:
    language = context.language
    known = [arm for arm in context.result["arms"] if arm["accuracy"] is not None]
    if not known:
        return language.gettext("Every run diverged.")
    best = max(known, key=lambda arm: arm["accuracy"]["mean"])
    return language.gettext("The most accurate in the mean: {name}, {accuracy} %.").format(
        name=arm_name(best["arm"], language), accuracy=language.number(best["accuracy"]["mean"])
    )


def _contrasts(context: Context) -> Table:
    language = context.language
    _ = language.gettext
    rows = [
        [
            _("{treated} less {control}").format(
                treated=arm_name(contrast["treated"], language), control=arm_name(contrast["control"], language)
            ),
            *effect_cells(contrast, language),
        ]
        for contrast in context.result["contrasts"]
    ]
    heads = [_("comparison"), _("accuracy, points (95 %)"), _("p"), _("verdict")]
    note = _(
        "The row in bold was named as the answer before any run; p values of the others are corrected for their number."
    )
    return Table(_("Every comparison"), heads, rows, note=note, chosen=0)


def _contrast(context: Context, treated: str, control: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        c for c in context.result["contrasts"] if (c["treated"], c["control"]) == (treated, control)
    )
    return found


def _answer(context: Context) -> str:
    language, contrast = context.language, main_contrast(context.result)
    _ = language.gettext
    if contrast["accuracy"] is None:
        return _("A network diverged, so there is no answer.")
    text = {
        "helps": _("Joint training helps: less the same network from scratch it is {effect} points."),
        "hurts": _("Joint training hurts: less the same network from scratch it is {effect} points."),
        "no evidence": _(
            "No evidence that joint training helps or hurts: less the same network from scratch it is {effect} points."
        ),
    }[contrast["verdict"]]
    return text.format(effect=effect_text(contrast["accuracy"], language))


def _source_sentences(context: Context) -> list[str]:
    """Say how much of it is the unlabeled images', and how much the second task's."""
    language = context.language
    _ = language.gettext
    return [
        text.format(effect=told_effect(_contrast(context, treated, control), language))
        for treated, control, text in (
            (
                "joint",
                "labeled-only",
                _("The unlabeled images' own share, over reconstructing labeled images only: {effect}."),
            ),
            ("labeled-only", "scratch", _("The second task's share, without any unlabeled image: {effect}.")),
            ("fine-tuned", "scratch", _("Fine-tuning from the autoencoder, less scratch: {effect}.")),
            ("joint-started", "joint", _("Starting joint training from the autoencoder's weights adds: {effect}.")),
            ("joint-started", "scratch", _("Joint training from the autoencoder's weights, less scratch: {effect}.")),
        )
    ]


def _weights_sentences(context: Context) -> list[str]:
    language = context.language
    _ = language.gettext
    told = []
    for arm, pairs in context.result["chosen"].items():
        counts = language.listed(
            [
                f"({language.short(a)}; {language.short(b)}) {language.count('{n} run', '{n} runs', int(n))}"
                for a, b, n in pairs
            ]
        )
        told.append(f"{arm_name(arm, language)}: {counts}")
    if len(context.result["weights"]) < 2:
        return []
    return [_("Weights that validation chose: {told}.").format(told="; ".join(told))]
