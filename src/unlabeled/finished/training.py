"""One large training on all labels, by one process or by several under torchrun, without folds and without a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias, get_args

from unlabeled.config import Config
from unlabeled.console.progress import RunProgress
from unlabeled.errors import UserError
from unlabeled.experiments.applying import apply
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.selftraining import StrongTask
from unlabeled.experiments.specs import Learned
from unlabeled.experiments.tasks import AutoencoderTask, Task
from unlabeled.experiments.together import agree_on_precision, meet, perform_together
from unlabeled.finished.architectures import StrongArchitecture
from unlabeled.finished.classifier import Classifier
from unlabeled.finished.keeping import Made, describe, golden_of, on_all_labels
from unlabeled.images import Splits
from unlabeled.keeping.files import sweep
from unlabeled.methods import METHODS
from unlabeled.networks.strong import StrongNet
from unlabeled.outcomes import Scored
from unlabeled.records import ArmKey

Model: TypeAlias = Literal["autoencoder", "network", "student", "consistency"]
_METHODS = {"network": "strong", "student": "self-training", "consistency": "consistency"}


def train_large(model: Model, config: Config, splits: Splits) -> Path:
    """Train one model, and return the file of its weights or, of a network, its classifier's folder.

    Every process of torchrun calls it alike; the first one writes.

    Parameters
    ----------
    model
        ``autoencoder`` of the unlabeled images; ``network`` of all labels; ``student`` of that network's pseudo-labels; ``consistency``,
        that network going on with both.
    config
        As of a run; folds and comparisons are not used.

    Raises
    ------
    UserError
        If the model is unknown, or the split that it learns from is empty.
    """
    if model not in get_args(Model):
        raise UserError(f"{model}: is no model to train; use {', '.join(get_args(Model))}")
    if not len(splits.labeled if model == "network" else splits.unlabeled):
        raise UserError(
            f"{config.data}: no {'labeled' if model == 'network' else 'unlabeled'} images to train {model} on"
        )
    lab, folder = Lab(config, splits, config.folder), config.folder
    if lab.runtime.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
    meet(lab.runtime)
    agree_on_precision(lab)
    task = _task(model, lab)
    with RunProgress() as shown:
        outcome = perform_together(lab, task, shown)
        if lab.runtime.rank == 0 and isinstance(outcome, Scored):
            shown.note(f"accuracy on labeled images kept for it: {100 * outcome.valid_accuracy:.1f} %")
    if model == "autoencoder":
        return task.key(lab).folder / "weights.safetensors"
    if lab.runtime.rank == 0:
        _keep(lab, task, folder / "classifier")
    meet(lab.runtime)
    return folder / "classifier"


def _task(model: Model, lab: Lab) -> Task:
    if model == "autoencoder":
        return AutoencoderTask(ArmKey("autoencoder"), Learned(lab.config.encoder, lab.config.autoencoder, 0))
    method = next(one for one in METHODS if one.name == _METHODS[model])
    inner = next(one for one in method.tasks(lab, 0, 0) if isinstance(one, StrongTask))
    return on_all_labels(inner)


def _keep(lab: Lab, task: Task, folder: Path) -> None:
    applied = apply(lab, task)
    network, labeled = applied.network, lab.splits.labeled
    assert isinstance(network, StrongNet)
    made = Made([network], applied.flip, None)
    config = describe(lab, made, StrongArchitecture(network.widths, network.layers), way=str(task.arm))
    card = (
        f"# A classifier of {len(config.classes)} classes\n\nTrained by `unlabeled train` on all {len(labeled):,} labels of "
        f"{lab.config.data_name}; it was compared with nothing, and its probabilities are not calibrated.\n"
    )
    Classifier(config, made.members, device="cpu").save(folder, card=card, golden=golden_of(labeled))
