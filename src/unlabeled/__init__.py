"""What are your unlabeled images worth to your classifier?

The public names; each is imported when it is first used, so that reading results never waits for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlabeled.config import Config as Config
    from unlabeled.config import TrainingConfig as TrainingConfig
    from unlabeled.convolved import PatchEncoder as PatchEncoder
    from unlabeled.features import encode as encode
    from unlabeled.images import Images as Images
    from unlabeled.images import Splits as Splits
    from unlabeled.joint import JointNetwork as JointNetwork
    from unlabeled.models import ConvAutoEncoder as ConvAutoEncoder
    from unlabeled.models import ConvNet as ConvNet
    from unlabeled.objectives import Classification as Classification
    from unlabeled.objectives import JointClassification as JointClassification
    from unlabeled.objectives import Reconstruction as Reconstruction
    from unlabeled.optimizers import Group as Group
    from unlabeled.patches import cut_patches as cut_patches
    from unlabeled.patches import prepare as prepare
    from unlabeled.presets import resolve as resolve
    from unlabeled.report.display import show as show
    from unlabeled.results import read_result as read_result
    from unlabeled.sources import load as load
    from unlabeled.sparse import SparseAutoencoder as SparseAutoencoder
    from unlabeled.sparse import SparseReconstruction as SparseReconstruction
    from unlabeled.sparse import fit_full_batch as fit_full_batch
    from unlabeled.stacking import fit_stacked as fit_stacked
    from unlabeled.statistics import paired_effect as paired_effect
    from unlabeled.studies.course import run_gain as run_gain
    from unlabeled.studies.course import run_studies as run_studies
    from unlabeled.training import evaluate as evaluate
    from unlabeled.training import fit as fit

_HOMES = {
    "Classification": "objectives",
    "Config": "config",
    "ConvAutoEncoder": "models",
    "ConvNet": "models",
    "Group": "optimizers",
    "Images": "images",
    "JointClassification": "objectives",
    "JointNetwork": "joint",
    "PatchEncoder": "convolved",
    "Reconstruction": "objectives",
    "SparseAutoencoder": "sparse",
    "SparseReconstruction": "sparse",
    "Splits": "images",
    "TrainingConfig": "config",
    "cut_patches": "patches",
    "encode": "features",
    "evaluate": "training",
    "fit": "training",
    "fit_full_batch": "sparse",
    "fit_stacked": "stacking",
    "load": "sources",
    "paired_effect": "statistics",
    "prepare": "patches",
    "read_result": "results",
    "resolve": "presets",
    "run_gain": "studies.course",
    "run_studies": "studies.course",
    "show": "report.display",
}
__all__ = [  # noqa: RUF022 - by what they are for
    "load", "Images", "Splits",
    "ConvAutoEncoder", "ConvNet", "JointNetwork",
    "Reconstruction", "Classification", "JointClassification", "TrainingConfig", "Group", "fit", "fit_stacked", "evaluate", "encode",
    "cut_patches", "prepare", "SparseAutoencoder", "SparseReconstruction", "fit_full_batch", "PatchEncoder",
    "Config", "resolve", "run_gain", "run_studies", "read_result", "show", "paired_effect",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unlabeled' has no attribute {name!r}")
    return getattr(import_module(f"unlabeled.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
