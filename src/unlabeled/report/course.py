"""What the course's studies answer together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from unlabeled.grammar.parts import Answer
from unlabeled.grammar.tables import answer
from unlabeled.grammar.words import Language, model_name, words
from unlabeled.records import ContrastResult, StudyResult, read_as
from unlabeled.studies.codes import Kind
from unlabeled.studies.features import CODES, FeaturesFindings
from unlabeled.studies.finetune import FinetuneFindings
from unlabeled.studies.joint import JOINT, LABELED_ONLY, SCRATCH, JointFindings

F = TypeVar("F")
_SENTENCES = {
    "helps": words(
        "Yes: a network that starts from the autoencoder's weights is better by {effect:e} points than one from scratch."
    ),
    "hurts": words(
        "No: a network that starts from the autoencoder's weights is worse than one from scratch, {effect:e} points."
    ),
    "no difference": words(
        "No difference that matters: a network that starts from the autoencoder's weights vs one from scratch, {effect:e} points."
    ),
    "imprecise": words(
        "Too imprecise to tell: a network that starts from the autoencoder's weights vs one from scratch, {effect:e} points."
    ),
    "unfinished": words(
        "Not trained to the end: a network that starts from the autoencoder's weights vs one from scratch, {effect:e} points."
    ),
    "reading": words(
        "No verdict with fewer than 3 seeds: a network that starts from the autoencoder's weights vs one from scratch, "
        "{effect:e} points."
    ),
}
_CODES = (
    ("logistic", "pixels", words("frozen codes vs pixels, {model}")),
    ("logistic", "random", words("frozen codes vs random codes, {model}")),
    ("trees", "pixels", words("frozen codes vs pixels, {model}")),
)


def course_answer(results: Mapping[str, StudyResult], language: Language) -> Answer:
    """Say whether unlabeled images improved classification."""
    tuned = _findings(results, "finetune", FinetuneFindings)
    named = None if tuned is None else tuned.named
    rows = [(language.say("fine-tuned network vs from scratch"), named), *_further(results, language)]
    if named is None or named.accuracy is None:
        headline = language.say(
            "Whether unlabeled images improve classification is told by study 5, which has no result here."
        )
        return answer(language, "imprecise", headline, rows, chosen=None)
    return answer(language, named.verdict, language.say(_SENTENCES[named.verdict], effect=named.accuracy), rows)


def _further(results: Mapping[str, StudyResult], language: Language) -> list[tuple[str, ContrastResult | None]]:
    """Return what frozen codes and joint training are worth."""
    rows: list[tuple[str, ContrastResult | None]] = []
    if (features := _findings(results, "features", FeaturesFindings)) is not None:
        for model, source, text in _CODES:
            contrast = features.comparison.find(CODES.arm(model), Kind(source).arm(model))
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
