"""What a model makes of images without learning from them: losses, gradients, probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlabeled.errors import DataError
from unlabeled.images import Images
from unlabeled.images.batches import batches
from unlabeled.networks.strong import StrongNet
from unlabeled.training.labelling import farness
from unlabeled.training.objectives import Objective
from unlabeled.training.runtime import Runtime, evaluating

# The maps of so few images of 32x32 stay near the processor: 1.5 times as fast as four times as many.
_EVALUATION_BATCH = 128


def gradient_norms(
    model: nn.Module, objective: Objective, images: Images, *, runtime: Runtime | None = None
) -> dict[str, float]:
    """Return, for each weight by its name, the root mean square of the loss's gradient over its numbers.

    The images are one batch; the model is neither changed nor left with gradients.
    """
    runtime = runtime or Runtime.of()
    rows = np.arange(len(images))
    batch, labels = load(images, rows, images.take(rows), runtime)
    named = [(name, weight) for name, weight in model.named_parameters() if name.endswith("weight")]
    with runtime.autocast():
        loss, _ = objective(model, batch, labels)
    gradients = torch.autograd.grad(loss, [weight for _, weight in named])
    return {
        name: float(gradient.double().square().mean().sqrt())
        for (name, _), gradient in zip(named, gradients, strict=True)
    }


def evaluate(
    model: nn.Module, objective: Objective, images: Images, *, runtime: Runtime | None = None
) -> tuple[float, float]:
    """Return the objective's mean loss and mean metric over images; the model stays in the mode it was in.

    Raises
    ------
    DataError
        If there are no images.
    """
    if len(images) == 0:
        raise DataError("there are no images to evaluate on; give one or more")
    runtime = runtime or Runtime.of()
    totals = torch.zeros(2, dtype=torch.float64)
    with evaluating(model), runtime.autocast():
        for rows in batches(len(images), _EVALUATION_BATCH):
            batch, labels = load(images, rows, images.take(rows), runtime)
            loss, metric = objective(model, batch, labels)
            totals += torch.stack([loss.float(), metric.float()]).cpu().double() * len(rows)
    loss, metric = (totals / len(images)).tolist()
    return loss, metric


def load(images: Images, rows: np.ndarray, pixels: np.ndarray, runtime: Runtime) -> tuple[Tensor, Tensor | None]:
    """Bring a batch to the device: float images in [-1, 1], and classes where there are some."""
    batch = runtime.load(pixels)
    if images.labels is None:
        return batch, None
    labels = images.labels[rows if images.rows is None else images.rows[rows]]
    return batch, torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(runtime.device)


def predict(
    model: nn.Module, images: Images, *, flip: bool = False, runtime: Runtime | None = None
) -> NDArray[np.float32]:
    """Return the probabilities (n, classes) that a classifier gives; the model stays in the mode it was in.

    With ``flip`` they are the mean of those of each image and its mirror image.
    """
    runtime = runtime or Runtime.of()
    told = _Rows(images, "predict")
    with evaluating(model), runtime.autocast():
        for rows in batches(len(images), _EVALUATION_BATCH):
            batch = runtime.load(images.take(rows))
            told.add(_chances(model, batch, model(batch), flip=flip))
    return told.whole


def _chances(model: nn.Module, batch: Tensor, logits: Tensor, *, flip: bool) -> NDArray[np.float32]:
    """Return probabilities (n, classes) of a batch whose logits are known; with ``flip`` its mirror images are asked too."""
    chances = logits.float().softmax(1)
    if flip:
        chances = (chances + model(batch.flip(3)).float().softmax(1)) / 2
    found: NDArray[np.float32] = chances.cpu().numpy()
    return found


def predict_and_compare(
    model: StrongNet,
    images: Images,
    known: NDArray[np.floating[Any]],
    *,
    flip: bool = False,
    runtime: Runtime | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return ``predict``'s probabilities (n, classes), and how far each code lies from the nearest of known ones (m, d), see ``farness``.

    One pass does both, and the codes of a large pool are never all there.
    """
    runtime = runtime or Runtime.of()
    told, far = _Rows(images, "predict"), _Rows(images, "predict")
    with evaluating(model), runtime.autocast():
        for rows in batches(len(images), _EVALUATION_BATCH):
            batch = runtime.load(images.take(rows))
            codes = model.codes(batch)
            told.add(_chances(model, batch, model.judge(codes), flip=flip))
            far.add(farness(codes.float().cpu().numpy(), known))
    return told.whole, far.whole


def codes_of(model: StrongNet, images: Images, *, runtime: Runtime | None = None) -> NDArray[np.float32]:
    """Return the codes (n, d) that a model's head sees; the model stays in the mode it was in."""
    runtime = runtime or Runtime.of()
    codes = _Rows(images, "encode")
    with evaluating(model), runtime.autocast():
        for rows in batches(len(images), _EVALUATION_BATCH):
            codes.add(model.codes(runtime.load(images.take(rows))).float().cpu().numpy())
    return codes.whole


class _Rows:
    """What is found of images, one batch after the other, in one array from the first on; at least one image has to be there.

    Small results of many batches would lie between the large buffers of these, which the C library then can't use again: at 48x48 a
    process that labeled 100,000 images grew by 300 MB.
    """

    whole: NDArray[np.float32]

    def __init__(self, images: Images, doing: str) -> None:
        if not len(images):
            raise DataError(f"there are no images to {doing}; give one or more")
        self.number, self.done = len(images), 0

    def add(self, part: NDArray[np.float32]) -> None:
        """Take the next rows (k, ...)."""
        if not self.done:
            self.whole = np.empty((self.number, *part.shape[1:]), dtype=part.dtype)
        self.whole[self.done : self.done + len(part)] = part
        self.done += len(part)
