"""The course's studies in the report: who writes their sections, and what they answer together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

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
from unlabeled.report.sections.parts import Answer, Context, Section, answer_table, model_name
from unlabeled.studies.autoencoder import AutoencoderFindings
from unlabeled.studies.baselines import BaselinesFindings
from unlabeled.studies.convolved import ConvolvedFindings
from unlabeled.studies.features import CODES, FeaturesFindings, Kind
from unlabeled.studies.finetune import FinetuneFindings
from unlabeled.studies.joint import JOINT, LABELED_ONLY, SCRATCH, JointFindings
from unlabeled.studies.network import NetworkFindings
from unlabeled.studies.sparse import SparseFindings
from unlabeled.studies.stacked import StackedFindings

F = TypeVar("F")
# What a study found, and who writes its section, in the course's order.
WRITERS: dict[str, tuple[type[Any], Callable[[Context[Any]], Section]]] = {
    "baselines": (BaselinesFindings, baselines.write),
    "network": (NetworkFindings, network.write),
    "autoencoder": (AutoencoderFindings, autoencoder.write),
    "features": (FeaturesFindings, features.write),
    "finetune": (FinetuneFindings, finetune.write),
    "stacked": (StackedFindings, stacked.write),
    "sparse": (SparseFindings, sparse.write),
    "convolved": (ConvolvedFindings, convolved.write),
    "joint": (JointFindings, joint.write),
}


def course_answer(results: Mapping[str, StudyResult], language: Language) -> Answer:
    """Say whether unlabeled images improved classification."""
    _ = language.gettext
    tuned = _found(results, "finetune", FinetuneFindings)
    named = None if tuned is None else tuned.named
    rows = [(_("fine-tuned network vs from scratch"), named), *_further(results, language)]
    if named is None or named.accuracy is None:
        told = _("Whether unlabeled images improve classification is told by study 5, which has no result here.")
        return Answer("no evidence", told, answer_table(rows, language))
    sentence = {
        "helps": _(
            "Yes: a network that starts from the autoencoder's weights is better by {effect} points than one from scratch."
        ),
        "hurts": _(
            "No: a network that starts from the autoencoder's weights is worse than one from scratch, {effect} points."
        ),
        "no evidence": _(
            "No evidence either way: a network that starts from the autoencoder's weights vs one from scratch, "
            "{effect} points."
        ),
    }[named.verdict]
    headline = sentence.format(effect=effect_text(named.accuracy, language))
    return Answer(named.verdict, headline, answer_table(rows, language, chosen=0))


def _further(results: Mapping[str, StudyResult], language: Language) -> list[tuple[str, ContrastResult | None]]:
    """Return what frozen codes and joint training are worth."""
    _ = language.gettext
    rows: list[tuple[str, ContrastResult | None]] = []
    if (study := _found(results, "features", FeaturesFindings)) is not None:
        for model, source, text in (
            ("logistic", "pixels", _("frozen codes vs pixels, {model}")),
            ("logistic", "random", _("frozen codes vs random codes, {model}")),
            ("trees", "pixels", _("frozen codes vs pixels, {model}")),
        ):
            contrast = study.comparison.find(CODES.arm(model), Kind(source).arm(model))
            rows.append((text.format(model=model_name(model, language)), contrast))
    if (joined := _found(results, "joint", JointFindings)) is not None:
        rows += [
            (_("reconstructing while classifying vs from scratch"), joined.comparison.find(JOINT, SCRATCH)),
            (_("the same vs reconstructing labeled images alone"), joined.comparison.find(JOINT, LABELED_ONLY)),
        ]
    return rows


def _found(results: Mapping[str, StudyResult], name: str, kind: type[F]) -> F | None:
    result = results.get(name)
    return None if result is None or not result.answered else read_as(kind, result.findings)
