"""Study 9: one network that reconstructs unlabeled and labeled images and classifies the labeled ones at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from unlabeled.comparison import FINETUNED, JOINT, LABELED_ONLY, SCRATCH, compare, read_scores
from unlabeled.config import JointGrid
from unlabeled.outcomes import NetworkOutcome
from unlabeled.records import ArmKey, ArmSummary, Comparison, Contrast, Row, ended, of_arm
from unlabeled.studies.baselines import baseline_arms
from unlabeled.studies.specs import Learned
from unlabeled.studies.tasks import AutoencoderTask, Joint, NetworkTask, Perform, Supervised

if TYPE_CHECKING:
    from unlabeled.studies.lab import Lab

STARTED = replace(JOINT, way="started")
ARMS = (SCRATCH, FINETUNED, LABELED_ONLY, JOINT, STARTED)
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
class JointFound:
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


def run(lab: Lab, do: Perform) -> JointFound:
    """Train from scratch, fine-tuned and jointly, each with as many candidates to choose from."""
    config = lab.config
    learned = [Learned(config.encoder, config.autoencoder, seed) for seed in range(config.seeds)]
    autoencoders = do([AutoencoderTask(ArmKey("autoencoder"), one) for one in learned])
    baselines = baseline_arms(lab, do)
    rows = do(list(_tasks(lab, learned)))
    scores = read_scores(lab.folder, rows, lab.splits.test.classes)
    return JointFound(
        comparison=compare(rows, scores, CONTRASTS, correlation=lab.folds.correlation),
        weights=joint_weights(config.studies.joint),
        chosen=_chosen(rows),
        encoder=config.encoder.model_dump(mode="json"),
        baselines=baselines,
        autoencoders=tuple(autoencoders),
        rows=tuple(rows),
    )


def joint_weights(grid: JointGrid) -> tuple[tuple[float, float], ...]:
    """Return all pairs of weights (reconstruction, between) to choose from."""
    return tuple(product(grid.reconstruction, grid.between))


def network_task(lab: Lab, arm: ArmKey, fold: int, seed: int) -> NetworkTask:
    """Return the run of an arm; all choose from as many candidates as the joint ones, which have weights to choose."""
    config, weights = lab.config, joint_weights(lab.config.studies.joint)
    learned = Learned(config.encoder, config.autoencoder, seed)
    start = learned if arm in (FINETUNED, STARTED) else None
    joint = arm.source in ("labeled", "joint")
    learning = Joint(weights, unlabeled=arm.source == "joint") if joint else Supervised(trials=len(weights))
    return NetworkTask(arm, config.encoder, config.network, fold, seed, start, learning)


def _tasks(lab: Lab, learned: Sequence[Learned]) -> Iterator[NetworkTask]:
    for seed in range(len(learned)):
        for fold in range(len(lab.folds.folds)):
            for arm in ARMS:
                yield network_task(lab, arm, fold, seed)


def _chosen(rows: Sequence[Row]) -> tuple[Weights, ...]:
    """Return the pairs of weights that the runs of each joint arm chose."""
    found = []
    for arm in (LABELED_ONLY, JOINT, STARTED):
        outcomes = ended(of_arm(rows, arm), NetworkOutcome)
        pairs = Counter((outcome.choice["reconstruction"], outcome.choice["between"]) for outcome in outcomes)
        found += [Weights(arm, float(a or 0), float(b or 0), count) for (a, b), count in pairs.most_common()]
    return tuple(found)
