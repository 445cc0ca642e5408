"""Study 9: one network that reconstructs unlabeled and labeled images and classifies the labeled ones at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unlabeled.experiments.specs import Learned
from unlabeled.experiments.tasks import Perform, Task
from unlabeled.grammar.parts import Points
from unlabeled.grammar.section import Context, Page
from unlabeled.grammar.tables import ArmFigure, ArmTable, ContrastTable
from unlabeled.grammar.words import words
from unlabeled.methods import finetuned, joint, scratch
from unlabeled.methods.autoencoders import of_unlabeled
from unlabeled.methods.networks import joint_weights
from unlabeled.outcomes import NetworkOutcome
from unlabeled.records import ArmKey, ArmSummary, Comparison, Contrast, Row, of_arm, outcomes_of
from unlabeled.studies.study import Study, experiment, pixel_arms, repetitions, train_autoencoders

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

SCRATCH, FINETUNED = scratch.SCRATCH.arm, finetuned.FINETUNED.arm
LABELED_ONLY, JOINT = joint.LABELED_ONLY.arm, joint.JOINT.arm
STARTED = replace(JOINT, way="started")
# The main job's networks, and one that does both: it starts from the autoencoder, and reconstructs.
METHODS = (
    scratch.SCRATCH,
    finetuned.FINETUNED,
    joint.LABELED_ONLY,
    joint.JOINT,
    replace(joint.JOINT, arm=STARTED, start=of_unlabeled),
)
CONTRASTS = (
    Contrast(JOINT, SCRATCH, named=True, role="without"),
    Contrast(JOINT, LABELED_ONLY, role="twin"),
    Contrast(LABELED_ONLY, SCRATCH),
    Contrast(FINETUNED, SCRATCH),
    Contrast(JOINT, FINETUNED),
    Contrast(STARTED, JOINT),
    Contrast(STARTED, SCRATCH),
)
_COLOURS = {SCRATCH: "random", FINETUNED: "autoencoder", LABELED_ONLY: "labeled", JOINT: "joint", STARTED: "slow"}
_NAMES = {
    SCRATCH: words("from scratch"),
    FINETUNED: words("fine-tuned"),
    LABELED_ONLY: words("joint, labeled images only"),
    JOINT: words("joint, unlabeled images too"),
    STARTED: words("joint, from the autoencoder's weights"),
}
_ANSWERS = {
    "helps": words("Joint training helps: vs the same network from scratch {effect:e} points."),
    "hurts": words("Joint training hurts: vs the same network from scratch {effect:e} points."),
    "no difference": words("Joint training makes no difference: vs the same network from scratch {effect:e} points."),
    "imprecise": words("Too imprecise to tell: joint training vs the same network from scratch {effect:e} points."),
    "unfinished": words("Not trained to the end: joint training vs the same network from scratch {effect:e} points."),
    "reading": words(
        "No verdict with fewer than 3 seeds: joint training vs the same network from scratch {effect:e} points."
    ),
    "diverged": words("A network diverged, so there is no answer."),
}
_SOURCES = {
    (JOINT, LABELED_ONLY): words("With unlabeled images vs reconstructing labeled images only: {effect:effect}."),
    (LABELED_ONLY, SCRATCH): words("Reconstructing labeled images only vs from scratch: {effect:effect}."),
    (FINETUNED, SCRATCH): words("Fine-tuned from the autoencoder vs from scratch: {effect:effect}."),
    (STARTED, JOINT): words("Joint training from the autoencoder's weights vs from random ones: {effect:effect}."),
    (STARTED, SCRATCH): words("Joint training from the autoencoder's weights vs from scratch: {effect:effect}."),
}


@dataclass(frozen=True)
class Weights:
    """A pair of weights, and how many of an arm's runs chose it."""

    arm: ArmKey
    reconstruction: float
    between: float
    runs: int


@dataclass(frozen=True)
class JointFindings:
    """Findings of study 9; ``weights`` are the pairs (reconstruction, between) to choose from, ``chosen`` most often chosen first."""

    comparison: Comparison
    weights: tuple[tuple[float, float], ...]
    chosen: tuple[Weights, ...]
    encoder: dict[str, Any]
    baselines: tuple[ArmSummary, ...]
    autoencoders: tuple[Row, ...]
    rows: tuple[Row, ...]


def check(lab: Lab) -> None:
    """Refuse a network that does not fit this machine's memory."""
    lab.check_network(lab.config.encoder, lab.config.network)


def run(lab: Lab, do: Perform) -> JointFindings:
    """Train from scratch, fine-tuned and jointly, each with as many candidates to choose from."""
    config = lab.config
    learned = [Learned(config.encoder, config.autoencoder, seed) for seed in range(config.seeds)]
    autoencoders, baselines = train_autoencoders(do, learned), pixel_arms(lab, do)
    comparison, rows = experiment(lab, do, plan(lab), CONTRASTS)
    weights, encoder = joint_weights(config.studies.joint), config.encoder.model_dump(mode="json")
    return JointFindings(comparison, weights, _chosen(rows), encoder, baselines, autoencoders, rows)


def plan(lab: Lab) -> Iterator[Task]:
    """Yield the networks of every fold and seed."""
    for seed, fold in repetitions(lab):
        for method in METHODS:
            yield from method.tasks(lab, fold, seed)


def _chosen(rows: Sequence[Row]) -> tuple[Weights, ...]:
    """Return the pairs of weights that the runs of each joint arm chose."""
    chosen = []
    for arm in (LABELED_ONLY, JOINT, STARTED):
        outcomes = outcomes_of(of_arm(rows, arm), NetworkOutcome)
        pairs = Counter((outcome.choice["reconstruction"], outcome.choice["between"]) for outcome in outcomes)
        chosen += [Weights(arm, float(a or 0), float(b or 0), count) for (a, b), count in pairs.most_common()]
    return tuple(chosen)


def _verdicts(context: Context[JointFindings]) -> str:
    """Say what each way gains over the same network from scratch."""
    contrasts = context.findings.comparison.contrasts
    named = [(context.name(c.treated), c.verdict) for c in contrasts if c.control == SCRATCH]
    return context.say("Each way vs from scratch: {verdicts}.", verdicts=context.verdicts(named))


def _weights(context: Context[JointFindings]) -> str | None:
    findings, count = context.findings, context.language.count
    if len(findings.weights) < 2:
        return None
    chosen: dict[ArmKey, list[str]] = {}
    for pair in findings.chosen:
        weights = context.each("({i.reconstruction:g}; {i.between:g})", [pair])
        runs = count("{n} run", "{n} runs", pair.runs)
        chosen.setdefault(pair.arm, []).append(f"{weights} {runs}")
    choices = "; ".join(f"{context.name(arm)}: {', '.join(pairs)}" for arm, pairs in chosen.items())
    return context.say("Weights that validation chose: {items}.", items=choices)


PAGE = Page[JointFindings](
    "joint",
    words("Classifying and reconstructing at once"),
    words("Are unlabeled images worth more to a network that reconstructs them while it learns to classify?"),
    setup=(
        words(
            "One encoder with a classifier and a decoder. Loss: cross-entropy of the labeled images + λ_rec · mean squared "
            "error of all images + λ_mid · those of the maps between the blocks (Zhao et al. 2015, what-where autoencoders). "
            "Every step sees a batch of {c[network][training][batch_size]} labeled images and as many unlabeled ones, "
            "augmented alike."
        ),
        lambda context: context.say(
            "Weights (λ_rec; λ_mid) to choose from by validation log loss: {weights}. The other networks are trained as many "
            "times over, with other orders and dropout, and choose too; up to {length} each, "
            "learning rates {c[network][learning_rates]:g}.",
            length=context.length(context.config["network"]["training"]),
            weights=context.each("({i[0]:g}; {i[1]:g})", context.findings.weights, ", "),
        ),
        words(
            "“Labeled images only” reconstructs too, but no unlabeled image: what it gains is the second task's merit, and "
            "not that of the unlabeled images."
        ),
    ),
    parts=(
        ArmTable(
            words("network"),
            {words("labeled images/s"): "images_per_second:0", words("training, s"): "seconds:s"},
        ),
        ArmFigure("joint"),
        ContrastTable(
            words("Every comparison"),
            words(
                "The row in bold was named as the answer before any run; p values of the others are corrected for "
                "their number."
            ),
        ),
        lambda context: Points(
            [context.say(text, effect=context.findings.comparison.find(*pair)) for pair, text in _SOURCES.items()]
        ),
    ),
    conclusion=(
        lambda context: context.say(
            _ANSWERS[context.findings.comparison.named.verdict],
            effect=context.findings.comparison.named.accuracy,
        ),
        _verdicts,
        _weights,
    ),
    names=_NAMES,
    colours=_COLOURS,
)
JOINTLY = Study("joint", ("labeled", "unlabeled", "test"), JointFindings, run, (PAGE,), check)
