"""What are your unlabeled images worth to your classifier?

The public names; each is imported when it is first used, so that reading results never waits for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlabeled.config import Config as Config
    from unlabeled.config import TrainingConfig as TrainingConfig
    from unlabeled.evaluation.convolved import PatchEncoder as PatchEncoder
    from unlabeled.evaluation.features import encode as encode
    from unlabeled.evaluation.statistics import paired_effect as paired_effect
    from unlabeled.finished.classifier import Classifier as Classifier
    from unlabeled.finished.classifier import load_classifier as load_classifier
    from unlabeled.finished.exploring import explore as explore
    from unlabeled.finished.keeping import keep_classifier as keep_classifier
    from unlabeled.finished.running import run as run
    from unlabeled.images import Images as Images
    from unlabeled.images import Splits as Splits
    from unlabeled.images.patches import cut_patches as cut_patches
    from unlabeled.images.patches import prepare as prepare
    from unlabeled.images.shards import finish_shards as finish_shards
    from unlabeled.images.shards import write_shard as write_shard
    from unlabeled.keeping.results import read_result as read_result
    from unlabeled.networks.joint import JointNetwork as JointNetwork
    from unlabeled.networks.models import ConvAutoEncoder as ConvAutoEncoder
    from unlabeled.networks.models import ConvNet as ConvNet
    from unlabeled.networks.sparse import SparseAutoencoder as SparseAutoencoder
    from unlabeled.networks.sparse import SparseReconstruction as SparseReconstruction
    from unlabeled.networks.sparse import fit_full_batch as fit_full_batch
    from unlabeled.presets import resolve as resolve
    from unlabeled.report.display import show as show
    from unlabeled.sources import load as load
    from unlabeled.studies.course import run_gain as run_gain
    from unlabeled.studies.course import run_studies as run_studies
    from unlabeled.training import evaluate as evaluate
    from unlabeled.training import fit as fit
    from unlabeled.training.objectives import Classification as Classification
    from unlabeled.training.objectives import JointClassification as JointClassification
    from unlabeled.training.objectives import Reconstruction as Reconstruction
    from unlabeled.training.optimizers import Group as Group
    from unlabeled.training.stacking import fit_stacked as fit_stacked

_HOMES = {
    "Classification": "training.objectives",
    "Classifier": "finished.classifier",
    "Config": "config",
    "ConvAutoEncoder": "networks.models",
    "ConvNet": "networks.models",
    "Group": "training.optimizers",
    "Images": "images",
    "JointClassification": "training.objectives",
    "JointNetwork": "networks.joint",
    "PatchEncoder": "evaluation.convolved",
    "Reconstruction": "training.objectives",
    "SparseAutoencoder": "networks.sparse",
    "SparseReconstruction": "networks.sparse",
    "Splits": "images",
    "TrainingConfig": "config",
    "cut_patches": "images.patches",
    "encode": "evaluation.features",
    "evaluate": "training",
    "explore": "finished.exploring",
    "finish_shards": "images.shards",
    "fit": "training",
    "fit_full_batch": "networks.sparse",
    "fit_stacked": "training.stacking",
    "keep_classifier": "finished.keeping",
    "load": "sources",
    "load_classifier": "finished.classifier",
    "paired_effect": "evaluation.statistics",
    "prepare": "images.patches",
    "read_result": "keeping.results",
    "resolve": "presets",
    "run": "finished.running",
    "run_gain": "studies.course",
    "run_studies": "studies.course",
    "show": "report.display",
    "write_shard": "images.shards",
}
__all__ = [  # noqa: RUF022 - by what they are for
    "load", "Images", "Splits", "write_shard", "finish_shards",
    "ConvAutoEncoder", "ConvNet", "JointNetwork",
    "Reconstruction", "Classification", "JointClassification", "TrainingConfig", "Group", "fit", "fit_stacked", "evaluate", "encode",
    "cut_patches", "prepare", "SparseAutoencoder", "SparseReconstruction", "fit_full_batch", "PatchEncoder",
    "Config", "resolve", "run", "run_gain", "run_studies", "read_result", "show", "paired_effect",
    "keep_classifier", "load_classifier", "Classifier", "explore",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unlabeled' has no attribute {name!r}")
    return getattr(import_module(f"unlabeled.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
