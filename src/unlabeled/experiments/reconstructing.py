"""Look into trained autoencoders: what they make of images, what their switches carry, and what linear ways reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from unlabeled.evaluation.features import PrincipalComponents
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.pretraining import to_pixels
from unlabeled.images import Images
from unlabeled.images.batches import batches
from unlabeled.keeping.files import write_arrays
from unlabeled.networks.models import ConvAutoEncoder, Encoding
from unlabeled.training.runtime import evaluating, to_images

_SHOWN = 10
_BATCH = 250
_CONFIRMING = 2000


def keep_pictures(
    lab: Lab, models: list[ConvAutoEncoder], chosen: ConvAutoEncoder, rival: Rivals, switched: ConvAutoEncoder | None
) -> dict[str, float] | None:
    """Write the pictures of study 3, and return what switches carry, if a model has some."""
    pictures = pictures_of(lab, models)
    originals = pictures["originals"]
    pictures["pca"] = to_pixels(rival.by_components(lab.held_out.subset(np.arange(len(originals)))))
    pictures["bicubic"] = to_pixels(rival.by_size(to_images(torch.from_numpy(originals))))
    errors, more = measure_switches(lab, switched) if switched else (None, {})
    write_arrays(lab.folder / "autoencoder" / "pictures.npz", **pictures, **more, error_map=error_map(lab, chosen))
    return errors


def pictures_of(lab: Lab, models: list[ConvAutoEncoder]) -> dict[str, NDArray[Any]]:
    """Return the same held-out images, and what each model makes of them: (models, images, c, h, w)."""
    originals = lab.held_out.take(np.arange(min(_SHOWN, len(lab.held_out))))
    outputs = [picture_of(lab, model, originals) for model in models]
    filters = models[0].encoder.state_dict()["convolutions.0.weight"].float().cpu().numpy()
    return {"originals": originals, "reconstructions": np.stack(outputs), "filters": filters}


def picture_of(lab: Lab, model: ConvAutoEncoder, originals: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what a model makes of images uint8 (n, c, h, w)."""
    with evaluating(model.to(lab.runtime.device)):
        return to_pixels(model(lab.runtime.load(originals)))


def squared_errors(
    lab: Lab, model: ConvAutoEncoder, images: Images
) -> Iterator[tuple[NDArray[np.int64], torch.Tensor]]:
    """Yield rows of images, and the squared errors of what a model makes of them: (n, c, h, w)."""
    with evaluating(model.to(lab.runtime.device)):
        for rows in batches(len(images), _BATCH):
            batch = lab.runtime.load(images.take(rows))
            yield rows, (model(batch) - batch).square()


def error_map(lab: Lab, model: ConvAutoEncoder) -> NDArray[np.float32]:
    """Return the mean squared error at each pixel (h, w), over channels and all held-out images."""
    total = torch.zeros(lab.splits.unlabeled.shape[1:], dtype=torch.float64)
    for _rows, squares in squared_errors(lab, model, lab.held_out):
        total += squares.mean(dim=1).sum(dim=0).cpu().double()
    return (total / len(lab.held_out)).numpy().astype(np.float32)


def image_errors(lab: Lab, models: Sequence[ConvAutoEncoder]) -> NDArray[np.float64]:
    """Return every held-out image's mean squared error on [-1, 1], (models, images)."""
    table = np.empty((len(models), len(lab.held_out)))
    for number, model in enumerate(models):
        for rows, squares in squared_errors(lab, model, lab.held_out):
            table[number, rows] = squares.mean(dim=(1, 2, 3)).cpu().double().numpy()
    return table


def keep_reconstructions(lab: Lab, models: Sequence[ConvAutoEncoder]) -> None:
    """Write the same held-out images for study 6, and what each model makes of them: (models, images, c, h, w)."""
    originals = lab.held_out.take(np.arange(min(_SHOWN, len(lab.held_out))))
    made = [picture_of(lab, model, originals) for model in models]
    empty = np.empty((0, *originals.shape), dtype=np.uint8)
    write_arrays(
        lab.folder / "stacked" / "pictures.npz", originals=originals, reconstructions=np.stack(made) if made else empty
    )


def measure_switches(lab: Lab, model: ConvAutoEncoder) -> tuple[dict[str, float], dict[str, NDArray[Any]]]:
    """Measure what the switches alone carry: a constant code with the true ones, and the true code with wrong ones.

    The constant code is each filter's mean over held-out images and places; wrong switches are those of the next image.
    """
    code, switches = _encode_all(lab, model)
    constant = code.mean(dim=(0, 2, 3), keepdim=True).expand_as(code)
    ways = {
        "true": Encoding(code, (switches,)),
        "constant_code": Encoding(constant.contiguous(), (switches,)),
        "wrong_switches": Encoding(code, (switches.roll(1, dims=0),)),
        "neither": Encoding(constant.contiguous(), (switches.roll(1, dims=0),)),
    }
    errors, pictures = {}, {}
    for name, encoding in ways.items():
        total = 0.0
        for rows in batches(len(code), _BATCH):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            with torch.no_grad():
                output = model.decode(Encoding(encoding.code[part], (encoding.switches[0][part],)))  # type: ignore[index]
            images = lab.runtime.load(lab.held_out.take(rows))
            total += float((output - images).square().mean(dim=(1, 2, 3)).sum())
            if rows[0] == 0:
                pictures[f"switches_{name}"] = to_pixels(output[:_SHOWN])
        errors[name] = total / len(code)
    return errors, pictures


def _encode_all(lab: Lab, model: ConvAutoEncoder) -> tuple[torch.Tensor, torch.Tensor]:
    """Return codes and switches of held-out images, not all of them: both stay in memory."""
    codes, switches = [], []
    with evaluating(model.to(lab.runtime.device)):
        for rows in batches(min(len(lab.held_out), 4 * _BATCH), _BATCH):
            encoding = model.encode(lab.runtime.load(lab.held_out.take(rows)))
            codes.append(encoding.code)
            switches += [switch for switch in encoding.switches if switch is not None]
    return torch.cat(codes), torch.cat(switches)


class Rivals:
    """The linear ways to so many numbers: principal components, and a smaller picture, enlarged again."""

    def __init__(self, lab: Lab, components: PrincipalComponents, length: int) -> None:
        self.length, self.components = length, components
        channels, height, width = lab.splits.unlabeled.shape
        self.size = _small_size(height, width, length // channels)
        self.numbers = channels * self.size[0] * self.size[1]

    def errors(self, images: Images) -> dict[str, float]:
        """Return the mean squared errors on [-1, 1]; what lies outside is cut off, as tanh does for the autoencoder."""
        totals = {"pca": 0.0, "bicubic": 0.0}
        for rows in batches(len(images), _BATCH):
            part = images.subset(rows)
            originals = to_images(torch.from_numpy(part.take(np.arange(len(part)))))
            for name, rebuilt in (("pca", self.by_components(part)), ("bicubic", self.by_size(originals))):
                totals[name] += float((rebuilt - originals).square().mean(dim=(1, 2, 3)).sum())
        return {name: total / len(images) for name, total in totals.items()}

    def by_components(self, images: Images) -> torch.Tensor:
        """Rebuild images from their principal components."""
        return torch.from_numpy(self.components.rebuild(images, self.length)).clamp(-1, 1)

    def by_size(self, images: torch.Tensor) -> torch.Tensor:
        """Shrink images (n, c, h, w) by bicubic interpolation, and enlarge them again."""
        whole = [int(side) for side in images.shape[2:]]
        if self.size == whole:
            return images
        small = F.interpolate(images, size=self.size, mode="bicubic", antialias=True)
        return F.interpolate(small, size=whole, mode="bicubic", antialias=True).clamp(-1, 1)


def _small_size(height: int, width: int, pixels: int) -> list[int]:
    """Return the largest size of about the same proportions that has at most so many pixels, and at least one."""
    share = min(1.0, (pixels / (height * width)) ** 0.5)
    rows, columns = (max(1, int(side * share + 1e-9)) for side in (height, width))
    # One more row or column than the proportions give, where there is room for it.
    sizes = [(taken, min(width, columns + 1, pixels // taken)) for taken in (rows, min(height, rows + 1))]
    largest = max(sizes, key=lambda size: size[0] * size[1])
    return [largest[0], largest[1]] if largest[1] > 0 else [1, 1]


def confirm(lab: Lab, model: ConvAutoEncoder, rivals: Rivals) -> dict[str, Any] | None:
    """Measure the chosen one (seed 0) where nothing was chosen: on test images, without their labels."""
    images = lab.splits.test.subset(np.arange(min(len(lab.splits.test), _CONFIRMING)))
    if not len(images):
        return None
    squares = (errors for _rows, errors in squared_errors(lab, model, images))
    total = sum(float(errors.mean(dim=(1, 2, 3)).sum()) for errors in squares)
    return {"images": len(images), "autoencoder": total / len(images), **rivals.errors(images)}
