"""What a report leads with: the answer of the main job, or of the course's studies, in a sentence and a small table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unlabeled.records import ContrastResult, StudyResult
from unlabeled.report.course import course_answer
from unlabeled.report.environment import reading
from unlabeled.report.language import Language
from unlabeled.report.sections.limits import arm_name
from unlabeled.report.sections.parts import Answer, Context, answer_table, pair_name
from unlabeled.studies.gain import GainFindings


def answer(folder: Path, results: Mapping[str, StudyResult], language: Language) -> Answer:
    """Say what the results of a folder answer."""
    with reading(folder):
        if "gain" not in results:
            return course_answer(results, language)
        context = Context.of(GainFindings, results["gain"], folder, language)
        compared = context.findings.comparison
        rows: list[tuple[str, ContrastResult | None]] = [
            (pair_name(contrast, language, lambda arm: arm_name(arm, language)), contrast)
            for contrast in compared.contrasts
            if contrast.contrast.lead
        ]
        return Answer(compared.named.verdict, _headline(context), answer_table(rows, language, chosen=0))


def _headline(context: Context[GainFindings]) -> str:
    """Say the answer in a sentence; before the colon stands the verdict."""
    language, main = context.language, context.findings.comparison.named
    _ = language.gettext
    assert main.accuracy is not None  # a run that diverged ended the job
    effect = main.accuracy
    start = {
        "helps": _("The unlabeled images help"),
        "hurts": _("Using the unlabeled images this way hurts"),
        "no evidence": _("No evidence that the unlabeled images help or hurt"),
    }[main.verdict]
    text = _("{start}: {treated} is {n} points more accurate than {control} {interval}.")
    if round(effect.mean, 1) == 0:
        text = _("{start}: {treated} is as accurate as {control} {interval}.")
    elif effect.mean < 0:
        text = _("{start}: {treated} is {n} points less accurate than {control} {interval}.")
    interval = _("(95 % interval {interval} points; better on {won} of {folds} folds)").format(
        interval=language.interval(effect.low, effect.high, signed=True), won=effect.folds_won, folds=effect.folds
    )
    told = text.format(
        start=start,
        treated=arm_name(main.treated, language),
        control=arm_name(main.control, language),
        n=language.number(abs(effect.mean)),
        interval=interval,
    )
    return told + (" " + _("With one seed, this is about one autoencoder.") if context.protocol.seeds == 1 else "")
