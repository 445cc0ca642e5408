"""What the course's studies answer together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from unlabeled.grammar.parts import Answer
from unlabeled.grammar.tables import answer
from unlabeled.grammar.words import Language, model_name, words
from unlabeled.records import ArmKey, ContrastResult, StudyResult, read_as
from unlabeled.studies.features import CODES, FeaturesFindings
from unlabeled.studies.finetune import FinetuneFindings
from unlabeled.studies.joint import JOINT, LABELED_ONLY, SCRATCH, JointFindings

F = TypeVar("F")
_STARTS = {
    "helps": words("Yes, the unlabeled images help"),
    "hurts": words("No, they hurt"),
    "no difference": words("No difference that matters"),
    "imprecise": words("Too imprecise to tell"),
    "unfinished": words("Not trained to the end"),
    "reading": words("No verdict with fewer than 3 seeds"),
}
_SENTENCE = words(
    "{start}: a network that starts from the autoencoder's weights vs one from scratch, {without:e} points; vs one that starts from an "
    "autoencoder of the labeled images alone, {twin:e} points."
)
_CODES = (
    ("logistic", "pixels", words("frozen codes vs pixels, {model}")),
    ("logistic", "random", words("frozen codes vs random codes, {model}")),
    ("trees", "pixels", words("frozen codes vs pixels, {model}")),
)


def course_answer(results: Mapping[str, StudyResult], language: Language) -> Answer:
    """Say whether unlabeled images improved classification."""
    tuned = _findings(results, "finetune", FinetuneFindings)
    worth = None if tuned is None else tuned.all_labels.comparison.answer
    rows = [
        (language.say("fine-tuned network vs from scratch"), None if worth is None else worth.without),
        (language.say("the same vs an autoencoder of the labeled images alone"), None if worth is None else worth.twin),
        *_further(results, language),
    ]
    if worth is None or worth.without.accuracy is None or worth.twin.accuracy is None:
        headline = (
            language.say(
                "Whether unlabeled images improve classification is told by study 5, which has no result here."
            )
            if worth is None
            else language.say("A network diverged, so there is no answer.")
        )
        return answer(language, "imprecise", headline, rows, chosen=None)
    start, without, twin = language.say(_STARTS[worth.verdict]), worth.without.accuracy, worth.twin.accuracy
    return answer(language, worth.verdict, language.say(_SENTENCE, start=start, without=without, twin=twin), rows)


def _further(results: Mapping[str, StudyResult], language: Language) -> list[tuple[str, ContrastResult | None]]:
    """Return what frozen codes and joint training are worth."""
    rows: list[tuple[str, ContrastResult | None]] = []
    if (features := _findings(results, "features", FeaturesFindings)) is not None:
        for model, source, text in _CODES:
            contrast = features.comparison.find(CODES.on(model), ArmKey(source, model))
            rows.append((language.say(text, model=model_name(model, language)), contrast))
    if (joint := _findings(results, "joint", JointFindings)) is not None:
        rows += [
            (language.say("reconstructing while classifying vs from scratch"), joint.comparison.find(JOINT, SCRATCH)),
            (
                language.say("the same vs reconstructing labeled images alone"),
                joint.comparison.find(JOINT, LABELED_ONLY),
            ),
        ]
    return rows


def _findings(results: Mapping[str, StudyResult], name: str, kind: type[F]) -> F | None:
    result = results.get(name)
    return None if result is None or not result.answered else read_as(kind, result.findings)
