"""Study 9: one network that reconstructs unlabeled and labeled images and classifies the labeled ones at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unlabeled.comparison import compare, read_scores
from unlabeled.methods import finetuned, joint, scratch
from unlabeled.methods.networks import joint_weights
from unlabeled.outcomes import NetworkOutcome
from unlabeled.records import ArmKey, ArmSummary, Comparison, Contrast, Row, of_arm, outcomes_of
from unlabeled.studies.baselines import baseline_arms
from unlabeled.studies.specs import Learned
from unlabeled.studies.tasks import AutoencoderTask, NetworkTask, Perform

if TYPE_CHECKING:
    from unlabeled.studies.lab import Lab

SCRATCH, FINETUNED = scratch.SCRATCH.arm, finetuned.FINETUNED.arm
LABELED_ONLY, JOINT = joint.LABELED_ONLY.arm, joint.JOINT.arm
STARTED = replace(JOINT, way="started")
# The main job's networks, and one that does both: it starts from the autoencoder, and reconstructs.
METHODS = (
    scratch.SCRATCH,
    finetuned.FINETUNED,
    joint.LABELED_ONLY,
    joint.JOINT,
    replace(joint.JOINT, arm=STARTED, start="autoencoder"),
)
CONTRASTS = (
    Contrast(JOINT, SCRATCH, named=True),
    Contrast(JOINT, LABELED_ONLY),
    Contrast(LABELED_ONLY, SCRATCH),
    Contrast(FINETUNED, SCRATCH),
    Contrast(JOINT, FINETUNED),
    Contrast(STARTED, JOINT),
    Contrast(STARTED, SCRATCH),
)


@dataclass(frozen=True)
class Weights:
    """A pair of weights, and how many of an arm's runs chose it."""

    arm: ArmKey
    reconstruction: float
    between: float
    runs: int


@dataclass(frozen=True)
class JointFindings:
    """What study 9 found; ``weights`` are the pairs (reconstruction, between) to choose from, ``chosen`` most often chosen first."""

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
    autoencoders = do([AutoencoderTask(ArmKey("autoencoder"), one) for one in learned])
    baselines = baseline_arms(lab, do)
    rows = do(list(_tasks(lab, learned)))
    scores = read_scores(lab.folder, rows, lab.splits.test.classes)
    return JointFindings(
        comparison=compare(rows, scores, CONTRASTS, correlation=lab.folds.correlation),
        weights=joint_weights(config.studies.joint),
        chosen=_chosen(rows),
        encoder=config.encoder.model_dump(mode="json"),
        baselines=baselines,
        autoencoders=tuple(autoencoders),
        rows=tuple(rows),
    )


def _tasks(lab: Lab, learned: Sequence[Learned]) -> Iterator[NetworkTask]:
    for seed in range(len(learned)):
        for fold in range(len(lab.folds.folds)):
            for method in METHODS:
                yield from method.tasks(lab, fold, seed)


def _chosen(rows: Sequence[Row]) -> tuple[Weights, ...]:
    """Return the pairs of weights that the runs of each joint arm chose."""
    found = []
    for arm in (LABELED_ONLY, JOINT, STARTED):
        outcomes = outcomes_of(of_arm(rows, arm), NetworkOutcome)
        pairs = Counter((outcome.choice["reconstruction"], outcome.choice["between"]) for outcome in outcomes)
        found += [Weights(arm, float(a or 0), float(b or 0), count) for (a, b), count in pairs.most_common()]
    return tuple(found)
