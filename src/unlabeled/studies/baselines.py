"""Study 1: classical models on pixels. What does one get without any representation learning?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unlabeled.experiments.tasks import Perform
from unlabeled.grammar.parts import Picture
from unlabeled.grammar.section import Context, Page
from unlabeled.grammar.tables import ArmTable, ContrastTable, arms_figure, most_accurate
from unlabeled.grammar.words import words
from unlabeled.keeping.results import read_result
from unlabeled.outcomes import ClassicalOutcome
from unlabeled.records import ArmKey, Comparison, Contrast, Row, of_arm
from unlabeled.studies.study import Study, experiment, pixel_tasks

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

LOGISTIC, TREES, BOOSTING = (ArmKey("pixels", model) for model in ("logistic", "trees", "boosting"))
CONTRASTS = (Contrast(TREES, LOGISTIC), Contrast(BOOSTING, LOGISTIC), Contrast(BOOSTING, TREES))
SPEEDS = words(
    "Speeds and seconds are for comparison with each other; runs at a time: {s.jobs:0}, processor threads of each: {s.threads:0}."
)


@dataclass(frozen=True)
class Agreement:
    """How far both ways to logistic regression agree on the test split; losses in nats, the largest difference of a fold."""

    same_answers: float
    image_log_loss: float
    log_loss: float
    gradient: float
    converged: bool
    agrees: bool
    seconds: float


@dataclass(frozen=True)
class BaselinesFindings:
    """Findings of study 1."""

    comparison: Comparison
    agreement: Agreement
    rows: tuple[Row, ...]


def run(lab: Lab, do: Perform) -> BaselinesFindings:
    """Fit logistic regression both ways, a forest and gradient boosting on pixels."""
    comparison, rows = experiment(lab, do, pixel_tasks(lab), CONTRASTS)
    # The network of one layer takes over what scikit-learn's regression chose, so it comes after it.
    twins = do(list(pixel_tasks(lab, ("linear-network",))))
    return BaselinesFindings(comparison, _agreement(lab, rows, twins), (*rows, *twins))


def _agreement(lab: Lab, rows: Sequence[Row], twins: Sequence[Row]) -> Agreement:
    """Compare both ways to logistic regression, image by image on the test split."""
    by_fold = {row.fold: row for row in of_arm(rows, LOGISTIC)}
    same, apart, least, outcomes = [], [], [], []
    for twin in twins:
        other = by_fold[twin.fold]
        assert isinstance(twin.outcome, ClassicalOutcome)
        assert isinstance(other.outcome, ClassicalOutcome)
        ours, theirs = (read_result(lab.folder / row.run).arrays("test.npz") for row in (twin, other))
        same.append(float((ours["predicted"] == theirs["predicted"]).mean()))
        apart.append(float(np.abs(ours["log_loss"].astype(np.float64) - theirs["log_loss"]).mean()))
        least.append(abs(twin.outcome.log_loss - other.outcome.log_loss))
        outcomes.append(twin.outcome)
    return Agreement(
        same_answers=min(same),
        image_log_loss=max(apart),
        log_loss=max(least),
        gradient=max(outcome.facts["gradient"] for outcome in outcomes),
        converged=all(outcome.converged for outcome in outcomes),
        agrees=min(same) >= 0.99 and max(least) <= 0.005,
        seconds=float(np.median([outcome.seconds for outcome in outcomes])),
    )


def _best(context: Context[BaselinesFindings]) -> str:
    best = most_accurate(context.findings.comparison.arms)
    assert best is not None  # nothing that is fitted on pixels can diverge
    return context.say(
        "The most accurate on pixels is {model}, {accuracy:1} %; guessing would be right on {chance:1} %.",
        model=context.model(best[0].model),
        accuracy=best[1],
        chance=100 / len(context.protocol.class_names),
    )


def _compared(context: Context[BaselinesFindings]) -> str:
    named = [(context.pair(c), c.verdict) for c in context.findings.comparison.contrasts]
    return context.say("Compared with each other: {verdicts}.", verdicts=context.verdicts(named, merely=True))


def _both_ways(context: Context[BaselinesFindings]) -> str:
    start = (
        context.say("Both ways to logistic regression agree")
        if context.findings.agreement.agrees
        else context.say("The two ways to logistic regression do not agree")
    )
    return context.say(
        "{start}: the same answer on at least {f.agreement.same_answers:%2} % of a fold's test images, log losses at most "
        "{f.agreement.log_loss:f2} nats apart; the network took {f.agreement.seconds:s} s in the median.",
        start=start,
    )


PAGE = Page[BaselinesFindings](
    "baselines",
    words("Baselines"),
    words("How well do classical models do on the pixels themselves?"),
    setup=(
        lambda context: context.say(
            "Every image is a row of {n:0} numbers in [−1, 1].", n=int(np.prod(context.protocol.image))
        ),
        words(
            "Multinomial logistic regression with an L2 penalty (strength and scaling chosen by validation log loss), a "
            "random forest and histogram gradient boosting (number of rounds chosen in the same way)."
        ),
        lambda context: context.say(
            "Logistic regression is fitted in two ways: by scikit-learn, and as a network of one linear layer with the same "
            "penalty, trained on all images at once by L-BFGS until no entry of the gradient exceeds {gradient:f1}. The study "
            "reports scikit-learn's; they agree if they answer alike on at least 99 % of the test images and their log losses "
            "differ by at most 0.005 nats.",
            gradient=max(context.findings.agreement.gradient, 1e-5),
        ),
        SPEEDS,
    ),
    parts=(
        ArmTable(
            words("model on pixels"),
            {words("fit, s"): "seconds:s", words("predict, s"): "predict_seconds:s"},
            words("Seconds: median of a run, choices included."),
            swatches=False,
        ),
        lambda context: Picture(arms_figure(context, "baselines", context.findings.comparison.arms), _best(context)),
        ContrastTable(merely=lambda _: True),
    ),
    conclusion=(_best, _compared, _both_ways),
    names=lambda context, arm: context.model(arm.model),
    colours=lambda _: "pixels",
)
BASELINES = Study("baselines", ("labeled", "test"), BaselinesFindings, run, (PAGE,))
