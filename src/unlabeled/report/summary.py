"""What a report leads with: the answer of the main job, or of the course's studies, in a sentence and a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unlabeled.comparison import JOINT, LABELED_ONLY, SCRATCH
from unlabeled.records import ArmKey, ContrastResult, StudyResult
from unlabeled.report.course import course_answer
from unlabeled.report.environment import reading
from unlabeled.report.language import Language
from unlabeled.report.sections.parts import Answer, Context, answer_table, model_name
from unlabeled.studies.gain import GainFound

_MODELS = ("logistic", "trees")


def answer(folder: Path, results: Mapping[str, StudyResult], language: Language) -> Answer:
    """Say what the results of a folder answer."""
    with reading(folder):
        if "gain" not in results:
            return course_answer(results, language)
        context = Context.of(GainFound, results["gain"], folder, language)
        main = context.found.comparison.named
        return Answer(main.verdict, _headline(context), answer_table(_contrasts(context), language, chosen=0))


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
    size = _("{n} points more accurate than the same network from scratch")
    if round(effect.mean, 1) == 0:
        size = _("as accurate as the same network from scratch")
    elif effect.mean < 0:
        size = _("{n} points less accurate than the same network from scratch")
    text = _(
        "{start}: a network that starts from the autoencoder's weights is {size} "
        "(95 % interval {interval} points; better on {won} of {folds} folds)."
    ).format(
        start=start,
        size=size.format(n=language.number(abs(effect.mean))),
        interval=language.interval(effect.low, effect.high, signed=True),
        won=effect.folds_won,
        folds=effect.folds,
    )
    return text + (" " + _("With one seed, this is about one autoencoder.") if context.protocol.seeds == 1 else "")


def _contrasts(context: Context[GainFound]) -> list[tuple[str, ContrastResult | None]]:
    """Return the comparisons that a reader asks for first, the one named as the answer before all."""
    language, compared = context.language, context.found.comparison
    _ = language.gettext
    found: list[tuple[str, ContrastResult | None]] = [(_("fine-tuned network vs from scratch"), compared.named)]
    for model in _MODELS:
        codes, name = ArmKey("autoencoder", model), model_name(model, language)
        for source, text in (
            ("pixels", _("frozen codes vs pixels, {model}")),
            ("random", _("frozen codes vs random codes, {model}")),
        ):
            found.append((text.format(model=name), compared.find(codes, ArmKey(source, model))))
    found.append((_("reconstructing while classifying vs from scratch"), compared.find(JOINT, SCRATCH)))
    found.append((_("the same vs reconstructing labeled images alone"), compared.find(JOINT, LABELED_ONLY)))
    return found
