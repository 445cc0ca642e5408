"""Study 3: which one-layer autoencoder reconstructs best, and what its code holds. Sees the unlabeled split alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from unlabeled.batches import batches
from unlabeled.config import AutoencoderConfig, AutoencoderGrid, EncoderConfig
from unlabeled.errors import UserError
from unlabeled.features import PrincipalComponents, fit_components
from unlabeled.files import write_arrays
from unlabeled.geometry import Geometry, GeometryError
from unlabeled.images import Images
from unlabeled.models import ConvAutoEncoder, Encoding
from unlabeled.runtime import evaluating, to_images
from unlabeled.studies.lab import Lab
from unlabeled.studies.performing import Perform
from unlabeled.studies.specs import Learned
from unlabeled.studies.tasks import AutoencoderTask, to_pixels

_SHOWN = 10
_CANDIDATES_SHOWN = 4
_BATCH = 250
_CONFIRMING = 2000


@dataclass(frozen=True)
class Candidate:
    """An autoencoder of the search."""

    encoder: EncoderConfig
    config: AutoencoderConfig

    @property
    def arm(self) -> str:
        """Its name: kernel, padding, stride, pool, filters, loss."""
        e = self.encoder
        pool = "-" if e.pool_kernel_size[0] == 1 else f"{e.pool}{e.pool_kernel_size[0]}"
        return (
            f"k{e.conv_kernel_size[0]} p{e.conv_padding[0]} s{e.conv_stride[0]} {pool} f{e.conv_out_channels[0]} "
            f"{self.config.loss}"
        )

    def learned(self, seed: int, images: int | None) -> Learned:
        """Return the autoencoder of a seed, trained on so many images."""
        return Learned(self.encoder, self.config, seed, images)

    def describe(self, geometry: Geometry) -> dict[str, Any]:
        """Return its parameters, and the size of its code."""
        e, block = self.encoder, geometry.blocks[0]
        switches = geometry.code_length if block.pools and e.pool == "max" else 0
        return {
            "arm": self.arm,
            "kernel": e.conv_kernel_size[0],
            "padding": e.conv_padding[0],
            "stride": e.conv_stride[0],
            "pool": "none" if not block.pools else e.pool,
            "pool_size": e.pool_kernel_size[0],
            "filters": e.conv_out_channels[0],
            "loss": self.config.loss,
            "code_size": list(geometry.code_size),
            "code_length": geometry.code_length,
            "compression": geometry.input_length / geometry.code_length,
            "switch_bits": float(switches * np.log2(block.pool_kernel[0] * block.pool_kernel[1])),
        }


@dataclass(frozen=True)
class Search:
    """What the search found: a line for each candidate, the illegal ones, the chosen one, and all rows."""

    candidates: dict[str, Candidate]
    lines: list[dict[str, Any]]
    illegal: list[dict[str, Any]]
    chosen: Candidate
    rows: list[dict[str, Any]]


def run(lab: Lab, do: Perform) -> dict[str, Any]:
    """Search, compare with principal components and with a small picture, and look into the chosen one."""
    found = search(lab, do)
    best = next(line for line in found.lines if line["arm"] == found.chosen.arm)
    components = fit_components(lab.watched(lab.config.studies.autoencoder.images), max(_lengths(found.lines)))
    chosen = _trained(lab, found.chosen)
    shown = _shown(found)
    pictures = _pictures(lab, [_trained(lab, found.candidates[arm]) for arm in shown])
    first = lab.held_out.subset(np.arange(len(pictures["originals"])))
    rival = _Rivals(lab, components, best["code_length"])
    pictures["pca"] = to_pixels(rival.by_components(first))
    pictures["bicubic"] = to_pixels(rival.by_size(to_images(torch.from_numpy(pictures["originals"]))))
    of_switches = _best_with_switches(found)
    switches, more = _switches(lab, _trained(lab, of_switches)) if of_switches else (None, {})
    write_arrays(lab.folder / "autoencoder" / "pictures.npz", **pictures, **more, error_map=_error_map(lab, chosen))
    # Shorter ones besides, for the curves of both.
    pixels = int(np.prod(lab.splits.unlabeled.shape))
    lengths = sorted({*_lengths(found.lines), *(max(1, pixels // 2**power) for power in range(1, 7))})
    rivals = {length: _Rivals(lab, components, length) for length in lengths}
    errors = {length: rivals[length].errors(lab.held_out) for length in lengths}
    return {
        "candidates": [line | errors[line["code_length"]] for line in found.lines],
        "illegal": found.illegal,
        "chosen": found.chosen.arm,
        "longest": _longest(lab),
        "images": len(lab.watched(lab.config.studies.autoencoder.images)),
        "held_out": len(lab.held_out),
        "held_out_variance": next(row["held_out_variance"] for row in found.rows if "diverged" not in row),
        "pca": [{"length": n, "mse": errors[n]["pca"]} for n in lengths],
        "bicubic": [{"length": rivals[n].numbers, "mse": errors[n]["bicubic"]} for n in lengths],
        "confirmed": _confirm(lab, chosen, rivals[best["code_length"]]),
        "shown": shown,
        "switches": switches,
        "switches_of": of_switches.arm if of_switches else None,
        "model": repr(chosen),
        "rows": found.rows,
    }


def search(lab: Lab, do: Perform) -> Search:
    """Train every candidate, then the chosen geometry with the other losses and kinds of pool.

    Raises
    ------
    UserError
        If no candidate is legal, or none came to an end.
    """
    grid = lab.config.studies.autoencoder
    legal, illegal = _legal(lab, _geometries(lab.config.autoencoder, grid))
    if not legal:
        raise UserError(f"no candidate of --studies.autoencoder fits these images; the first: {illegal[0]['reason']}")
    lines, rows = _train(lab, do, legal)
    best = _choose(lab, legal, lines)
    others, more_illegal = _legal(lab, [c for c in _relatives(best, grid) if c.arm not in legal])
    if others:
        more_lines, more_rows = _train(lab, do, others)
        lines, rows = lines + more_lines, rows + more_rows
    every = legal | others
    return Search(every, lines, illegal + more_illegal, _choose(lab, every, lines), rows)


def _geometries(base: AutoencoderConfig, grid: AutoencoderGrid) -> list[Candidate]:
    config = base.model_copy(update={"loss": grid.losses[0], "training": grid.training})
    return [
        Candidate(
            EncoderConfig(
                conv_out_channels=(filters,), conv_kernel_size=(kernel,), conv_stride=(stride,), conv_padding=(padding,),
                pool_kernel_size=(pool,), pool_stride=(pool,),
            ),
            config,
        )
        for kernel, padding, stride, pool, filters in product(
            grid.kernels, grid.paddings, grid.strides, grid.pools, grid.filters
        )
    ]  # fmt: skip


def _relatives(best: Candidate, grid: AutoencoderGrid) -> list[Candidate]:
    """Return the best candidate with other losses, and with the mean in place of the maximum."""
    losses = [Candidate(best.encoder, best.config.model_copy(update={"loss": loss})) for loss in grid.losses[1:]]
    return [*losses, Candidate(best.encoder.model_copy(update={"pool": "average"}), best.config)]


def _legal(lab: Lab, candidates: list[Candidate]) -> tuple[dict[str, Candidate], list[dict[str, Any]]]:
    legal, illegal = {}, []
    for candidate in candidates:
        try:
            lab.geometry(candidate.encoder)
        except GeometryError as error:
            illegal.append({"arm": candidate.arm, "reason": str(error)})
        else:
            legal[candidate.arm] = candidate
    return legal, illegal


def _train(
    lab: Lab, do: Perform, candidates: dict[str, Candidate]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    images, seeds = lab.config.studies.autoencoder.images, range(lab.config.seeds)
    rows = do([AutoencoderTask(arm, c.learned(seed, images)) for seed in seeds for arm, c in candidates.items()])
    lines = []
    for arm, candidate in candidates.items():
        own = [row for row in rows if row["arm"] == arm]
        errors = [row["held_out_mse"] for row in own if "diverged" not in row]
        lines.append(
            candidate.describe(lab.geometry(candidate.encoder))
            | {
                # A candidate that diverged with one seed can't be relied on.
                "mse": float(np.mean(errors)) if len(errors) == len(own) else None,
                "errors": errors,
                "diverged": len(own) - len(errors),
                "images_per_second": _median(own, "images_per_second"),
                "seconds": _median(own, "seconds"),
            }
        )
    return lines, rows


def _median(rows: list[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if "diverged" not in row]
    return float(np.median(values)) if values else None


def _longest(lab: Lab) -> int:
    return int(lab.config.studies.autoencoder.longest * np.prod(lab.splits.unlabeled.shape))


def _choose(lab: Lab, candidates: dict[str, Candidate], lines: list[dict[str, Any]]) -> Candidate:
    """Return the candidate with the least error, of those whose code is not too long, or else the shortest."""
    ended = [line for line in lines if line["mse"] is not None]
    if not ended:
        raise UserError("every autoencoder of the search diverged; lower --studies.autoencoder.training.learning-rate")
    short = [line for line in ended if line["code_length"] <= _longest(lab)]
    if not short:
        least = min(line["code_length"] for line in ended)
        short = [line for line in ended if line["code_length"] == least]
    return candidates[min(short, key=lambda line: line["mse"])["arm"]]


def _best_with_switches(found: Search) -> Candidate | None:
    """Return the chosen candidate, or if it has no switches, the best one that has some and is no longer."""
    ended = [line for line in found.lines if line["mse"] is not None and line["switch_bits"] > 0]
    if found.chosen.arm in {line["arm"] for line in ended}:
        return found.chosen
    return found.candidates[min(ended, key=lambda line: line["mse"])["arm"]] if ended else None


def _lengths(lines: list[dict[str, Any]]) -> list[int]:
    return sorted({line["code_length"] for line in lines})


def _trained(lab: Lab, candidate: Candidate) -> ConvAutoEncoder:
    """Read a candidate's first seed."""
    return lab.trained_autoencoder(candidate.learned(0, lab.config.studies.autoencoder.images))


def _shown(found: Search) -> list[str]:
    """Return the candidates to show: the chosen one first, then others spread over the errors."""
    ended = sorted((line for line in found.lines if line["mse"] is not None), key=lambda line: line["mse"])
    names = [line["arm"] for line in ended if line["arm"] != found.chosen.arm]
    places = np.unique(np.linspace(0, len(names) - 1, min(_CANDIDATES_SHOWN, len(names))).round().astype(int))
    return [found.chosen.arm, *(names[place] for place in places)]


def _pictures(lab: Lab, models: list[ConvAutoEncoder]) -> dict[str, NDArray[Any]]:
    """Return the same held-out images, and what each model makes of them: (models, images, c, h, w)."""
    originals = lab.held_out.take(np.arange(min(_SHOWN, len(lab.held_out))))
    outputs = [picture_of(lab, model, originals) for model in models]
    filters = models[0].encoder.state_dict()["convolutions.0.weight"].float().cpu().numpy()
    return {"originals": originals, "reconstructions": np.stack(outputs), "filters": filters}


def picture_of(lab: Lab, model: ConvAutoEncoder, originals: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what a model makes of images uint8 (n, c, h, w)."""
    with evaluating(model.to(lab.runtime.device)):
        return to_pixels(model(lab.runtime.load(originals)))


def _error_map(lab: Lab, model: ConvAutoEncoder) -> NDArray[np.float32]:
    """Return the mean squared error at each pixel (h, w), over channels and all held-out images."""
    total = torch.zeros(lab.splits.unlabeled.shape[1:], dtype=torch.float64)
    with evaluating(model):
        for rows in batches(len(lab.held_out), _BATCH):
            images = lab.runtime.load(lab.held_out.take(rows))
            total += (model(images) - images).square().mean(dim=1).sum(dim=0).cpu().double()
    return (total / len(lab.held_out)).numpy().astype(np.float32)


def _switches(lab: Lab, model: ConvAutoEncoder) -> tuple[dict[str, float], dict[str, NDArray[Any]]]:
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


class _Rivals:
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


def _confirm(lab: Lab, model: ConvAutoEncoder, rivals: _Rivals) -> dict[str, float] | None:
    """Measure the chosen one (seed 0) where nothing was chosen: on test images, without their labels."""
    images = lab.splits.test.subset(np.arange(min(len(lab.splits.test), _CONFIRMING)))
    if not len(images):
        return None
    total = 0.0
    with evaluating(model):
        for rows in batches(len(images), _BATCH):
            batch = lab.runtime.load(images.take(rows))
            total += float((model(batch) - batch).square().mean(dim=(1, 2, 3)).sum())
    return {"images": len(images), "autoencoder": total / len(images), **rivals.errors(images)}
