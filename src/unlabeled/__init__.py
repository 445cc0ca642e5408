"""What are your unlabeled images worth to your classifier?

The public names; each is imported when it is first used, so that reading results never waits for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlabeled.config import Config as Config
    from unlabeled.config import TrainingConfig as TrainingConfig
    from unlabeled.features import encode as encode
    from unlabeled.images import Images as Images
    from unlabeled.images import Splits as Splits
    from unlabeled.models import ConvAutoEncoder as ConvAutoEncoder
    from unlabeled.models import ConvNet as ConvNet
    from unlabeled.objectives import Classification as Classification
    from unlabeled.objectives import Reconstruction as Reconstruction
    from unlabeled.sources import load as load
    from unlabeled.statistics import paired_effect as paired_effect
    from unlabeled.training import evaluate as evaluate
    from unlabeled.training import fit as fit

_HOMES = {
    "Classification": "objectives",
    "Config": "config",
    "ConvAutoEncoder": "models",
    "ConvNet": "models",
    "Images": "images",
    "Reconstruction": "objectives",
    "Splits": "images",
    "TrainingConfig": "config",
    "encode": "features",
    "evaluate": "training",
    "fit": "training",
    "load": "sources",
    "paired_effect": "statistics",
}
__all__ = [  # noqa: RUF022 - by what they are for
    "load", "Images", "Splits",
    "ConvAutoEncoder", "ConvNet",
    "Reconstruction", "Classification", "TrainingConfig", "fit", "evaluate", "encode",
    "Config", "paired_effect",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unlabeled' has no attribute {name!r}")
    return getattr(import_module(f"unlabeled.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
