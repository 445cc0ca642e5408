"""The course's studies in the report: who writes their sections, and what they answer together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from unlabeled.comparison import JOINT, LABELED_ONLY, SCRATCH
from unlabeled.records import ContrastResult, StudyResult, read_as
from unlabeled.report.language import Language, effect_text
from unlabeled.report.sections import (
    autoencoder,
    baselines,
    convolved,
    features,
    finetune,
    joint,
    network,
    sparse,
    stacked,
)
from unlabeled.report.sections.parts import Answer, Context, Section, model_name, source_name, verdict_name
from unlabeled.studies.autoencoder import AutoencoderFound
from unlabeled.studies.baselines import BaselinesFound
from unlabeled.studies.convolved import ConvolvedFound
from unlabeled.studies.features import CODES, FeaturesFound, Kind
from unlabeled.studies.finetune import FinetuneFound
from unlabeled.studies.joint import JointFound
from unlabeled.studies.network import NetworkFound
from unlabeled.studies.sparse import SparseFound
from unlabeled.studies.stacked import StackedFound

F = TypeVar("F")
# What a study found, and who writes its section, in the course's order.
WRITERS: dict[str, tuple[type[Any], Callable[[Context[Any]], Section]]] = {
    "baselines": (BaselinesFound, baselines.write),
    "network": (NetworkFound, network.write),
    "autoencoder": (AutoencoderFound, autoencoder.write),
    "features": (FeaturesFound, features.write),
    "finetune": (FinetuneFound, finetune.write),
    "stacked": (StackedFound, stacked.write),
    "sparse": (SparseFound, sparse.write),
    "convolved": (ConvolvedFound, convolved.write),
    "joint": (JointFound, joint.write),
}


def course_answer(results: Mapping[str, StudyResult], language: Language) -> Answer:
    """Say whether unlabeled images improved classification."""
    _ = language.gettext
    more = []
    if (study := _found(results, "features", FeaturesFound)) is not None:
        for model, source in (("logistic", "pixels"), ("logistic", "random"), ("trees", "pixels")):
            contrast = study.comparison.find(CODES.arm(model), Kind(source).arm(model))
            if contrast is not None and contrast.accuracy is not None:
                text = _("Frozen codes, {model}, over {control}: {effect} points, {verdict}.")
                more.append(_filled(text, contrast, language, model=model, control=source))
    if (joined := _found(results, "joint", JointFound)) is not None:
        for control, text in (
            (SCRATCH, _("Reconstructing while classifying, less scratch: {effect} points, {verdict}.")),
            (LABELED_ONLY, _("Of that, the unlabeled images' own share: {effect} points, {verdict}.")),
        ):
            contrast = joined.comparison.find(JOINT, control)
            if contrast is not None and contrast.accuracy is not None:
                more.append(_filled(text, contrast, language))
    tuned = _found(results, "finetune", FinetuneFound)
    if tuned is None or tuned.named.accuracy is None:
        told = _("Whether unlabeled images improve classification is told by study 5, which has no result here.")
        return Answer("no evidence", told, more)
    sentence = {
        "helps": _(
            "Yes: a network that starts from the autoencoder's weights is better by {effect} points than one from scratch."
        ),
        "hurts": _(
            "No: a network that starts from the autoencoder's weights is worse than one from scratch, {effect} points."
        ),
        "no evidence": _(
            "No evidence either way: a network that starts from the autoencoder's weights, less one from scratch, "
            "{effect} points."
        ),
    }[tuned.named.verdict]
    return Answer(tuned.named.verdict, sentence.format(effect=effect_text(tuned.named.accuracy, language)), more)


def _filled(text: str, contrast: ContrastResult, language: Language, *, model: str = "", control: str = "") -> str:
    assert contrast.accuracy is not None
    return text.format(
        model=model_name(model, language) if model else "",
        control=source_name(control, language) if control else "",
        effect=effect_text(contrast.accuracy, language),
        verdict=verdict_name(contrast.verdict, language),
    )


def _found(results: Mapping[str, StudyResult], name: str, kind: type[F]) -> F | None:
    result = results.get(name)
    return None if result is None or not result.answered else read_as(kind, result.found)
