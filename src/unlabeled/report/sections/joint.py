"""Section 9: classification and reconstruction at once."""

from __future__ import annotations

from unlabeled.records import ArmKey
from unlabeled.report.language import Language, effect_text
from unlabeled.report.sections.baselines import levels
from unlabeled.report.sections.parts import (
    Context,
    Picture,
    Points,
    Section,
    Table,
    accuracy_cells,
    arms_figure,
    contrasts_table,
    count_cell,
    most_accurate,
    seconds_cell,
    told_effect,
    verdict_lists,
)
from unlabeled.studies.joint import FINETUNED, JOINT, LABELED_ONLY, SCRATCH, STARTED, JointFindings

_COLOURS = {SCRATCH: "random", FINETUNED: "autoencoder", LABELED_ONLY: "labeled", JOINT: "joint", STARTED: "slow"}


def write(context: Context[JointFindings]) -> Section:
    """Write the section."""
    findings, language = context.findings, context.language
    _ = language.gettext

    def name(arm: ArmKey) -> str:
        return arm_name(arm, language)

    figure = arms_figure(
        "joint",
        findings.comparison.arms,
        findings.rows,
        language,
        name=name,
        colour=lambda arm: _COLOURS[arm],
        label=_("test accuracy, % (95 % interval; ticks: runs)"),
        levels=levels(findings.baselines, language),
    )
    note = _(
        "The row in bold was named as the answer before any run; p values of the others are corrected for their number."
    )
    every = contrasts_table(findings.comparison.contrasts, language, name=name, title=_("Every comparison"), note=note)
    return Section(
        key="joint",
        title=_("Classifying and reconstructing at once"),
        question=_("Are unlabeled images worth more to a network that reconstructs them while it learns to classify?"),
        setup=_setup(context),
        parts=[_arms(context), Picture(figure, best_sentence(context)), every, Points(_source_sentences(context))],
        conclusion=[_answer(context), _verdicts(context), *_weights_sentences(context)],
    )


def arm_name(arm: ArmKey, language: Language) -> str:
    """Name an arm."""
    _ = language.gettext
    return {
        SCRATCH: _("from scratch"),
        FINETUNED: _("fine-tuned"),
        LABELED_ONLY: _("joint, labeled images only"),
        JOINT: _("joint, unlabeled images too"),
        STARTED: _("joint, from the autoencoder's weights"),
    }[arm]


def _setup(context: Context[JointFindings]) -> list[str]:
    language = context.language
    _ = language.gettext
    config = context.config
    training = config["network"]["training"]
    weights = ", ".join(f"({language.short(a)}; {language.short(b)})" for a, b in context.findings.weights)
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


def _arms(context: Context[JointFindings]) -> Table:
    arms, language = context.findings.comparison.arms, context.language
    _ = language.gettext
    rows = [
        [
            arm_name(arm.arm, language),
            *accuracy_cells(arm, language),
            count_cell(arm.medians.get("images_per_second"), language),
            seconds_cell(arm.seconds, language),
        ]
        for arm in arms
    ]
    heads = [
        _("network"), _("accuracy, % (95 %)"), _("log loss, nats (95 %)"), _("labeled images/s"), _("training, s"),
    ]  # fmt: skip
    return Table("", heads, rows, swatches=[_COLOURS[arm.arm] for arm in arms])


def best_sentence(context: Context[JointFindings]) -> str:
    """Name the arm with the highest mean accuracy."""
    language, best = context.language, most_accurate(context.findings.comparison.arms)
    if best is None:
        return language.gettext("Every run diverged.")
    return language.gettext("The most accurate in the mean: {name}, {accuracy} %.").format(
        name=arm_name(best[0], language), accuracy=language.number(best[1])
    )


def _answer(context: Context[JointFindings]) -> str:
    language, contrast = context.language, context.findings.comparison.named
    _ = language.gettext
    if contrast.accuracy is None:
        return _("A network diverged, so there is no answer.")
    text = {
        "helps": _("Joint training helps: vs the same network from scratch {effect} points."),
        "hurts": _("Joint training hurts: vs the same network from scratch {effect} points."),
        "no evidence": _(
            "No evidence that joint training helps or hurts: vs the same network from scratch {effect} points."
        ),
    }[contrast.verdict]
    return text.format(effect=effect_text(contrast.accuracy, language))


def _verdicts(context: Context[JointFindings]) -> str:
    """Say what each way gains over the same network from scratch."""
    language = context.language
    contrasts = context.findings.comparison.contrasts
    named = [(arm_name(c.treated, language), c.verdict) for c in contrasts if c.control == SCRATCH]
    return language.gettext("Each way vs from scratch: {verdicts}.").format(verdicts=verdict_lists(named, language))


def _source_sentences(context: Context[JointFindings]) -> list[str]:
    """Say how much of it is the unlabeled images', and how much the second task's."""
    language = context.language
    _ = language.gettext
    return [
        text.format(effect=told_effect(context.findings.comparison.find(treated, control), language))
        for treated, control, text in (
            (
                JOINT,
                LABELED_ONLY,
                _("With unlabeled images vs reconstructing labeled images only: {effect}."),
            ),
            (LABELED_ONLY, SCRATCH, _("Reconstructing labeled images only vs from scratch: {effect}.")),
            (FINETUNED, SCRATCH, _("Fine-tuned from the autoencoder vs from scratch: {effect}.")),
            (STARTED, JOINT, _("Starting joint training from the autoencoder's weights adds: {effect}.")),
            (STARTED, SCRATCH, _("Joint training from the autoencoder's weights vs from scratch: {effect}.")),
        )
    ]


def _weights_sentences(context: Context[JointFindings]) -> list[str]:
    findings, language = context.findings, context.language
    _ = language.gettext
    if len(findings.weights) < 2:
        return []
    told = []
    for arm in dict.fromkeys(pair.arm for pair in findings.chosen):
        counts = [
            f"({language.short(pair.reconstruction)}; {language.short(pair.between)}) "
            f"{language.count('{n} run', '{n} runs', pair.runs)}"
            for pair in findings.chosen
            if pair.arm == arm
        ]
        told.append(f"{arm_name(arm, language)}: {language.listed(counts)}")
    return [_("Weights that validation chose: {told}.").format(told="; ".join(told))]
