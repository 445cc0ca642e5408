"""Train an autoencoder of several layers one layer after the other, or all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

from unlabeled.config import TrainingConfig
from unlabeled.images import Images
from unlabeled.networks.models import ConvAutoEncoder
from unlabeled.training import Fitted, Watcher, evaluate, fit
from unlabeled.training.objectives import LayerReconstruction, Reconstruction
from unlabeled.training.runtime import Runtime

Stacking: TypeAlias = Literal["whole", "greedy", "joined"]


def fit_stacked(
    model: ConvAutoEncoder,
    objective: Reconstruction,
    images: Images,
    *,
    valid: Images,
    config: TrainingConfig,
    stacking: Stacking = "whole",
    seed: int = 0,
    runtime: Runtime | None = None,
    folder: Path | None = None,
    watcher: Watcher | None = None,
) -> Fitted:
    """Train in one of three ways, all with the same number of passes over the images.

    "whole": all layers at once. "greedy": each layer learns to reconstruct the codes of the layers below, which stay as they are
    (Bengio et al., "Greedy Layer-Wise Training of Deep Networks", 2007), in half of the epochs; then all learn together. "joined": each
    layer the same way in all epochs, and what came of them is joined as it is.

    Returns
    -------
    Fitted
        The last part of the history is of the whole model: trained together, or only measured where layers were joined.
    """
    config = config.in_epochs(len(images))
    options: dict[str, Any] = {"valid": valid, "seed": seed, "runtime": runtime, "watcher": watcher}
    layers = len(model.geometry.blocks)
    if stacking == "whole" or layers == 1:
        return fit(model, objective, images, config=config, folder=folder, **options)
    alone = config.epochs // 2 if stacking == "greedy" else config.epochs
    history: list[dict[str, Any]] = []
    for layer, epochs in enumerate(_shares(alone, layers)):
        # The other layers have no gradient, so they keep their bytes.
        of_layer = fit(
            model, LayerReconstruction(layer), images, config=config.model_copy(update={"epochs": epochs}),
            folder=None if folder is None else folder / f"layer{layer + 1}", **options,
        )  # fmt: skip
        history += [row | {"layer": layer + 1} for row in of_layer.history]
    if stacking == "greedy":
        together = config.model_copy(update={"epochs": max(1, config.epochs - alone)})
        fitted = fit(model, objective, images, config=together, folder=folder, **options)
    else:
        loss, mse = evaluate(model, objective, valid, runtime=runtime)
        row = {"epoch": 1, "valid_loss": loss, f"valid_{objective.metric}": mse, "seconds": 0.0}
        row["images_per_second"] = history[-1]["images_per_second"]
        fitted = Fitted([row], 1, loss)
    best = len(history) + fitted.best_epoch
    return Fitted(history + fitted.history, best, fitted.best_loss)


def _shares(epochs: int, layers: int) -> list[int]:
    """Divide epochs among layers, at least one each; the first get what is left over."""
    return [max(1, epochs // layers + (layer < epochs % layers)) for layer in range(layers)]
