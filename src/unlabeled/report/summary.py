"""What a report leads with: the answer of the main job, or of the course's studies, in a sentence and a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unlabeled.comparison import JOINT, LABELED_ONLY, SCRATCH
from unlabeled.records import ArmKey, StudyResult
from unlabeled.report.course import course_answer
from unlabeled.report.environment import reading
from unlabeled.report.language import Language
from unlabeled.report.sections.parts import Answer, Context, model_name, told_effect
from unlabeled.studies.gain import GainFound

_MODELS = ("logistic", "trees")


def answer(folder: Path, results: Mapping[str, StudyResult], language: Language) -> Answer:
    """Say what the results of a folder answer."""
    with reading(folder):
        if "gain" not in results:
            return course_answer(results, language)
        context = Context.of(GainFound, results["gain"], folder, language)
        return Answer(context.found.comparison.named.verdict, _headline(context), _lead(context))


def _headline(context: Context[GainFound]) -> str:
    """Say the answer in a sentence; before the colon stands the verdict."""
    language, main = context.language, context.found.comparison.named
    _ = language.gettext
    assert main.accuracy is not None  # a run that diverged ended the job
    effect = main.accuracy
    start = {
        "helps": _("The unlabeled images help"),
        "hurts": _("Using the unlabeled images this way hurts"),
        "no evidence": _("No evidence that the unlabeled images help or hurt"),
    }[main.verdict]
    size = _("{n} points more accurate") if effect.mean >= 0 else _("{n} points less accurate")
    text = _(
        "{start}: a network that starts from the autoencoder's weights is {size} than the same network from scratch "
        "(95 % interval {interval} points; better on {won} of {folds} folds)."
    ).format(
        start=start,
        size=size.format(n=language.number(abs(effect.mean))),
        interval=language.interval(effect.low, effect.high, signed=True),
        won=effect.folds_won,
        folds=effect.folds,
    )
    return text + (" " + _("With one seed, this is about one autoencoder.") if context.protocol.seeds == 1 else "")


def _lead(context: Context[GainFound]) -> list[str]:
    """Say what else was compared, a line each."""
    language, found = context.language, context.found.comparison
    _ = language.gettext
    lines = [
        _("Frozen codes, {model}: {pixels} points vs pixels; {random} vs a random encoder.").format(
            model=model_name(model, language),
            pixels=told_effect(found.find(ArmKey("autoencoder", model), ArmKey("pixels", model)), language),
            random=told_effect(found.find(ArmKey("autoencoder", model), ArmKey("random", model)), language),
        )
        for model in _MODELS
    ]
    joint = _("Reconstructing while learning to classify: {scratch} points vs scratch; {own} vs labeled images alone.")
    scratch, own = (told_effect(found.find(JOINT, control), language) for control in (SCRATCH, LABELED_ONLY))
    return [*lines, joint.format(scratch=scratch, own=own)]
