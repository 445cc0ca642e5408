"""Section 1: classical models on pixels."""

from __future__ import annotations

from typing import Any

from unlabeled.report.language import Language, effect_text
from unlabeled.report.plots import Level, lines_figure
from unlabeled.report.sections.parts import (
    Context,
    Picture,
    Section,
    Table,
    accuracy_cells,
    arm_line,
    comparison_word,
    effect_cells,
    interval_note,
    model_name,
    seconds_cell,
    spread_sentence,
)


def write(context: Context) -> Section:
    """Write the section."""
    result, language = context.result, context.language
    _ = language.gettext
    return Section(
        key="baselines",
        title=_("Baselines"),
        question=_("How well do classical models do on the pixels themselves?"),
        setup=[
            _("Every image is a row of {n} numbers in [−1, 1].").format(n=language.number(_pixels(result), 0)),
            _(
                "Multinomial logistic regression with an L2 penalty (strength and scaling chosen by validation "
                "log loss), a random forest "
                "and histogram gradient boosting (number of rounds chosen in the same way)."
            ),
            _both_ways(result["agreement"], language),
            spread_sentence(context),
        ],
        parts=[_arms(context), Picture(_figure(context), _best(result, language)), _pairs(context)],
        conclusion=[
            _best(result, language),
            *_pair_sentences(result, language),
            _agreement(result["agreement"], language),
        ],
        protocol=context.protocol,
    )


def levels(arms: list[dict[str, Any]], language: Language) -> list[Level]:
    """Return the lines that later figures are drawn beside: the models of study 1 on pixels."""
    _ = language.gettext
    names = {
        "pixels-logistic": _("pixels, logistic regression"),
        "pixels-trees": _("pixels, random forest"),
        "pixels-boosting": _("pixels, gradient boosting"),
    }
    return [
        Level(names[arm["arm"]], arm["accuracy"]["mean"], "pixels")
        for arm in arms
        if arm["arm"] in names and arm["accuracy"] is not None
    ]


def _pixels(result: dict[str, Any]) -> int:
    channels, height, width = result["protocol"]["image"]
    return int(channels * height * width)


def _model(arm: str) -> str:
    return arm.partition("-")[2]


def _both_ways(agreement: dict[str, Any], language: Language) -> str:
    return language.gettext(
        "Logistic regression is fitted in two ways: by scikit-learn, and as a network of one linear layer with "
        "the same penalty, trained "
        "on all images at once by L-BFGS until no entry of the gradient exceeds {gradient}. The study reports scikit-learn's; "
        "they agree if they answer alike on at least 99 % of the test images and their log losses differ by at most 0.005 nats."
    ).format(gradient=language.figures(max(agreement["gradient"], 1e-5), 1))


def _agreement(agreement: dict[str, Any], language: Language) -> str:
    _ = language.gettext
    start = (
        _("Both ways to logistic regression agree")
        if agreement["agrees"]
        else _("The two ways to logistic regression do not agree")
    )
    return _(
        "{start}: the same answer on {same} % of the test images or more, log loss apart by {loss} nats at the "
        "most; the network took "
        "{seconds} s in the median."
    ).format(
        start=start,
        same=language.number(100 * agreement["same_answers"], 2),
        loss=language.figures(agreement["log_loss"], 2),
        seconds=seconds_cell(agreement["seconds"], language),
    )


def _arms(context: Context) -> Table:
    language = context.language
    _ = language.gettext
    rows = [
        [
            model_name(_model(arm["arm"]), language),
            *accuracy_cells(arm, language),
            seconds_cell(arm["seconds"], language),
            seconds_cell(arm["predict_seconds"], language),
        ]
        for arm in context.result["arms"]
    ]
    heads = [_("model on pixels"), _("accuracy, % (95 %)"), _("log loss, nats (95 %)"), _("fit, s"), _("predict, s")]
    return Table(
        "",
        heads,
        rows,
        note=_("Seconds: median of a run, choices included.") + " " + interval_note(language),
    )


def _figure(context: Context) -> str:
    language = context.language
    lines = [
        arm_line(arm, context.result["rows"], name=model_name(_model(arm["arm"]), language), colour="pixels")
        for arm in context.result["arms"]
        if arm["accuracy"] is not None
    ]
    label = language.gettext("test accuracy, % (95 % interval; ticks: runs)")
    return lines_figure("baselines", lines, language, label=label)


def _best(result: dict[str, Any], language: Language) -> str:
    best = max((arm for arm in result["arms"] if arm["accuracy"]), key=lambda arm: arm["accuracy"]["mean"])
    return language.gettext(
        "The most accurate on pixels is {model}, {accuracy} %; guessing would be right on {chance} %."
    ).format(
        model=model_name(_model(best["arm"]), language),
        accuracy=language.number(best["accuracy"]["mean"]),
        chance=language.number(100 / len(result["protocol"]["class_names"])),
    )


def _pairs(context: Context) -> Table:
    language = context.language
    _ = language.gettext
    rows = [
        [_pair_name(contrast, language), *effect_cells(contrast, language, merely=True)]
        for contrast in context.result["contrasts"]
    ]
    return Table("", [_("comparison"), _("accuracy, points (95 %)"), _("p"), _("verdict")], rows)


def _pair_name(contrast: dict[str, Any], language: Language) -> str:
    return language.gettext("{treated} less {control}").format(
        treated=model_name(_model(contrast["treated"]), language),
        control=model_name(_model(contrast["control"]), language),
    )


def _pair_sentences(result: dict[str, Any], language: Language) -> list[str]:
    return [
        f"{_pair_name(contrast, language)}: {effect_text(contrast['accuracy'], language)}, "
        f"{comparison_word(contrast['verdict'], language)}."
        for contrast in result["contrasts"]
        if contrast["accuracy"] is not None
    ]
