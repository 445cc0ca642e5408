"""Section 1: classical models on pixels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from unlabeled.records import ArmKey, ArmSummary
from unlabeled.report.language import Language
from unlabeled.report.plots import Level
from unlabeled.report.sections.parts import (
    Context,
    Picture,
    Section,
    Table,
    accuracy_cells,
    arms_figure,
    contrasts_table,
    model_name,
    most_accurate,
    pair_name,
    seconds_cell,
    verdict_lists,
)
from unlabeled.report.sections.protocol import spread_sentence
from unlabeled.studies.baselines import BOOSTING, LOGISTIC, TREES, Agreement, BaselinesFindings


def write(context: Context[BaselinesFindings]) -> Section:
    """Write the section."""
    findings, language = context.findings, context.language
    _ = language.gettext
    compared = findings.comparison

    def name(arm: ArmKey) -> str:
        return model_name(arm.model, language)

    label = _("test accuracy, % (95 % interval; ticks: runs)")
    figure = arms_figure(
        "baselines", compared.arms, findings.rows, language, name=name, colour=lambda _: "pixels", label=label
    )
    return Section(
        key="baselines",
        title=_("Baselines"),
        question=_("How well do classical models do on the pixels themselves?"),
        setup=[
            _("Every image is a row of {n} numbers in [−1, 1].").format(
                n=language.number(int(np.prod(context.protocol.image)), 0)
            ),
            _(
                "Multinomial logistic regression with an L2 penalty (strength and scaling chosen by validation "
                "log loss), a random forest "
                "and histogram gradient boosting (number of rounds chosen in the same way)."
            ),
            _both_ways(findings.agreement, language),
            spread_sentence(context),
        ],
        parts=[
            _arms(context),
            Picture(figure, _best(context)),
            contrasts_table(compared.contrasts, language, name=name, merely=lambda _: True),
        ],
        conclusion=[
            _best(context),
            _("Compared with each other: {verdicts}.").format(
                verdicts=verdict_lists(
                    [(pair_name(c, language, name), c.verdict) for c in compared.contrasts], language
                )
            ),
            _agreement(findings.agreement, language),
        ],
    )


def levels(arms: Iterable[ArmSummary], language: Language) -> list[Level]:
    """Return the lines that later figures are drawn beside: the models of study 1 on pixels."""
    _ = language.gettext
    names = {
        LOGISTIC: _("pixels, logistic regression"),
        TREES: _("pixels, random forest"),
        BOOSTING: _("pixels, gradient boosting"),
    }
    return [
        Level(names[arm.arm], arm.accuracy.mean, "pixels")
        for arm in arms
        if arm.arm in names and arm.accuracy is not None
    ]


def _both_ways(agreement: Agreement, language: Language) -> str:
    return language.gettext(
        "Logistic regression is fitted in two ways: by scikit-learn, and as a network of one linear layer with "
        "the same penalty, trained "
        "on all images at once by L-BFGS until no entry of the gradient exceeds {gradient}. The study reports scikit-learn's; "
        "they agree if they answer alike on at least 99 % of the test images and their log losses differ by at most 0.005 nats."
    ).format(gradient=language.figures(max(agreement.gradient, 1e-5), 1))


def _agreement(agreement: Agreement, language: Language) -> str:
    _ = language.gettext
    start = (
        _("Both ways to logistic regression agree")
        if agreement.agrees
        else _("The two ways to logistic regression do not agree")
    )
    return _(
        "{start}: the same answer on at least {same} % of a fold's test images, log losses at most {loss} "
        "nats apart; the network took {seconds} s in the median."
    ).format(
        start=start,
        same=language.number(100 * agreement.same_answers, 2),
        loss=language.figures(agreement.log_loss, 2),
        seconds=seconds_cell(agreement.seconds, language),
    )


def _arms(context: Context[BaselinesFindings]) -> Table:
    language = context.language
    _ = language.gettext
    rows = [
        [
            model_name(arm.arm.model, language),
            *accuracy_cells(arm, language),
            seconds_cell(arm.seconds, language),
            seconds_cell(arm.medians.get("predict_seconds"), language),
        ]
        for arm in context.findings.comparison.arms
    ]
    heads = [_("model on pixels"), _("accuracy, % (95 %)"), _("log loss, nats (95 %)"), _("fit, s"), _("predict, s")]
    note = _("Seconds: median of a run, choices included.")
    return Table("", heads, rows, note=note)


def _best(context: Context[BaselinesFindings]) -> str:
    language = context.language
    best = most_accurate(context.findings.comparison.arms)
    assert best is not None  # nothing that is fitted on pixels can diverge
    arm, accuracy = best
    return language.gettext(
        "The most accurate on pixels is {model}, {accuracy} %; guessing would be right on {chance} %."
    ).format(
        model=model_name(arm.model, language),
        accuracy=language.number(accuracy),
        chance=language.number(100 / len(context.protocol.class_names)),
    )
