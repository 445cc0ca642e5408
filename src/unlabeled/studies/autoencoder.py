"""Study 3: which one-layer autoencoder reconstructs best, and what its code holds. Sees the unlabeled split alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from unlabeled.config import AutoencoderConfig, AutoencoderGrid, EncoderConfig
from unlabeled.errors import UserError
from unlabeled.files import write_arrays
from unlabeled.geometry import Geometry, GeometryError
from unlabeled.outcomes import AutoencoderOutcome
from unlabeled.records import ArmKey, Illegal, Row, of_arm, outcomes_of
from unlabeled.studies.specs import Learned
from unlabeled.studies.tasks import AutoencoderTask, Perform

if TYPE_CHECKING:
    from unlabeled.models import ConvAutoEncoder
    from unlabeled.studies.lab import Lab
    from unlabeled.studies.reconstructing import Rivals

_CANDIDATES_SHOWN = 4


@dataclass(frozen=True)
class Line:
    """A candidate in numbers: its parameters, the size of its code, its errors on held-out images, and those of linear ways.

    ``mse`` is None if it diverged with a seed: then it can't be relied on. ``bicubic`` and ``pca`` are the errors of as many numbers.
    """

    arm: ArmKey
    kernel: int
    padding: int
    stride: int
    pool: str
    pool_size: int
    filters: int
    loss: str
    code_size: tuple[int, ...]
    code_length: int
    compression: float
    switch_bits: float
    errors: tuple[float, ...]
    diverged: int
    mse: float | None
    images_per_second: float | None
    seconds: float | None
    pca: float | None = None
    bicubic: float | None = None


@dataclass(frozen=True)
class Linear:
    """The error of a linear way with so many numbers."""

    length: int
    mse: float


@dataclass(frozen=True)
class Confirmed:
    """Errors where nothing was chosen: on test images, without their labels."""

    images: int
    autoencoder: float
    pca: float
    bicubic: float


@dataclass(frozen=True)
class Switches:
    """Errors with the true code and switches, a constant code, wrong switches, and both."""

    true: float
    constant_code: float
    wrong_switches: float
    neither: float


@dataclass(frozen=True)
class AutoencoderFindings:
    """What study 3 found."""

    candidates: tuple[Line, ...]
    illegal: tuple[Illegal, ...]
    chosen: ArmKey
    longest: int
    images: int
    held_out: int
    held_out_variance: float
    pca: tuple[Linear, ...]
    bicubic: tuple[Linear, ...]
    confirmed: Confirmed | None
    shown: tuple[ArmKey, ...]
    switches: Switches | None
    switches_of: ArmKey | None
    model: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Candidate:
    """An autoencoder of the search."""

    encoder: EncoderConfig
    config: AutoencoderConfig

    @property
    def arm(self) -> ArmKey:
        """Its arm, named by kernel, padding, stride, pool, filters and loss."""
        e = self.encoder
        pool = "-" if e.pool_kernel_size[0] == 1 else f"{e.pool}{e.pool_kernel_size[0]}"
        name = f"k{e.conv_kernel_size[0]} p{e.conv_padding[0]} s{e.conv_stride[0]} {pool} f{e.conv_out_channels[0]}"
        return ArmKey("autoencoder", value=f"{name} {self.config.loss}")

    def learned(self, seed: int, images: int | None) -> Learned:
        """Return the autoencoder of a seed, trained on so many images."""
        return Learned(self.encoder, self.config, seed, images)

    def describe(self, geometry: Geometry, rows: Sequence[Row]) -> Line:
        """Put its parameters, the size of its code and what its runs came to into a line."""
        e, block, outcomes = self.encoder, geometry.blocks[0], outcomes_of(rows, AutoencoderOutcome)
        switches = geometry.code_length if block.pools and e.pool == "max" else 0
        errors = tuple(outcome.held_out_mse for outcome in outcomes)
        return Line(
            arm=self.arm,
            kernel=e.conv_kernel_size[0],
            padding=e.conv_padding[0],
            stride=e.conv_stride[0],
            pool="none" if not block.pools else e.pool,
            pool_size=e.pool_kernel_size[0],
            filters=e.conv_out_channels[0],
            loss=self.config.loss,
            code_size=tuple(geometry.code_size),
            code_length=geometry.code_length,
            compression=geometry.input_length / geometry.code_length,
            switch_bits=float(switches * np.log2(block.pool_kernel[0] * block.pool_kernel[1])),
            errors=errors,
            diverged=len(rows) - len(outcomes),
            mse=float(np.mean(errors)) if len(errors) == len(rows) else None,
            images_per_second=_median(outcome.images_per_second for outcome in outcomes),
            seconds=_median(outcome.seconds for outcome in outcomes),
        )


@dataclass(frozen=True)
class Search:
    """What the search found: a line for each candidate, the illegal ones, the chosen one, and all rows."""

    candidates: Mapping[ArmKey, Candidate]
    lines: tuple[Line, ...]
    illegal: tuple[Illegal, ...]
    chosen: Candidate
    rows: tuple[Row, ...]


def run(lab: Lab, do: Perform) -> AutoencoderFindings:
    """Search, compare with principal components and with a small picture, and look into the chosen one."""
    from unlabeled.features import fit_components
    from unlabeled.studies.reconstructing import Rivals, confirm

    found = search(lab, do)
    best = next(line for line in found.lines if line.arm == found.chosen.arm)
    watched = lab.watched(lab.config.studies.autoencoder.images)
    components = fit_components(watched, max(_lengths(found.lines)))
    rival, chosen = Rivals(lab, components, best.code_length), _trained(lab, found.chosen)
    of_switches = _best_with_switches(found)
    switches = _keep_pictures(lab, found, chosen, rival, of_switches)
    # Shorter ones besides, for the curves of both.
    pixels = int(np.prod(lab.splits.unlabeled.shape))
    lengths = sorted({*_lengths(found.lines), *(max(1, pixels // 2**power) for power in range(1, 7))})
    rivals = {length: Rivals(lab, components, length) for length in lengths}
    errors = {length: rivals[length].errors(lab.held_out) for length in lengths}
    measured = confirm(lab, chosen, rivals[best.code_length])
    return AutoencoderFindings(
        candidates=tuple(
            replace(line, pca=errors[line.code_length]["pca"], bicubic=errors[line.code_length]["bicubic"])
            for line in found.lines
        ),
        illegal=found.illegal,
        chosen=found.chosen.arm,
        longest=_longest(lab),
        images=len(watched),
        held_out=len(lab.held_out),
        held_out_variance=outcomes_of(found.rows, AutoencoderOutcome)[0].held_out_variance,
        pca=tuple(Linear(n, errors[n]["pca"]) for n in lengths),
        bicubic=tuple(Linear(rivals[n].numbers, errors[n]["bicubic"]) for n in lengths),
        confirmed=Confirmed(**measured) if measured else None,
        shown=tuple(_shown(found)),
        switches=switches,
        switches_of=of_switches.arm if of_switches else None,
        model=repr(chosen),
        rows=found.rows,
    )


def _keep_pictures(
    lab: Lab, found: Search, chosen: ConvAutoEncoder, rival: Rivals, of_switches: Candidate | None
) -> Switches | None:
    """Write the pictures of the study, and measure what switches carry, if a candidate has some."""
    import torch

    from unlabeled.runtime import to_images
    from unlabeled.studies.pretraining import to_pixels
    from unlabeled.studies.reconstructing import error_map, measure_switches, pictures_of

    pictures = pictures_of(lab, [_trained(lab, found.candidates[arm]) for arm in _shown(found)])
    first = lab.held_out.subset(np.arange(len(pictures["originals"])))
    pictures["pca"] = to_pixels(rival.by_components(first))
    pictures["bicubic"] = to_pixels(rival.by_size(to_images(torch.from_numpy(pictures["originals"]))))
    errors, more = measure_switches(lab, _trained(lab, of_switches)) if of_switches else (None, {})
    write_arrays(lab.folder / "autoencoder" / "pictures.npz", **pictures, **more, error_map=error_map(lab, chosen))
    return Switches(**errors) if errors else None


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
        raise UserError(f"no candidate of --studies.autoencoder fits these images; the first: {illegal[0].reason}")
    lines, rows = _train(lab, do, legal)
    best = _choose(lab, legal, lines)
    others, more_illegal = _legal(lab, [c for c in _relatives(best, grid) if c.arm not in legal])
    if others:
        more_lines, more_rows = _train(lab, do, others)
        lines, rows = lines + more_lines, rows + more_rows
    every = legal | others
    return Search(every, tuple(lines), tuple(illegal + more_illegal), _choose(lab, every, lines), tuple(rows))


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


def _legal(lab: Lab, candidates: Iterable[Candidate]) -> tuple[dict[ArmKey, Candidate], list[Illegal]]:
    legal, illegal = {}, []
    for candidate in candidates:
        try:
            lab.geometry(candidate.encoder)
        except GeometryError as error:
            illegal.append(Illegal(candidate.arm, str(error)))
        else:
            legal[candidate.arm] = candidate
    return legal, illegal


def _train(lab: Lab, do: Perform, candidates: Mapping[ArmKey, Candidate]) -> tuple[list[Line], list[Row]]:
    images, seeds = lab.config.studies.autoencoder.images, range(lab.config.seeds)
    rows = do([AutoencoderTask(arm, c.learned(seed, images)) for seed in seeds for arm, c in candidates.items()])
    lines = [c.describe(lab.geometry(c.encoder), of_arm(rows, arm)) for arm, c in candidates.items()]
    return lines, rows


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return float(np.median(known)) if known else None


def _longest(lab: Lab) -> int:
    return int(lab.config.studies.autoencoder.longest * np.prod(lab.splits.unlabeled.shape))


def _choose(lab: Lab, candidates: Mapping[ArmKey, Candidate], lines: Sequence[Line]) -> Candidate:
    """Return the candidate with the least error, of those whose code is not too long, or else the shortest."""
    whole = _by_error(lines)
    if not whole:
        raise UserError("every autoencoder of the search diverged; lower --studies.autoencoder.training.learning-rate")
    least = min(line.code_length for line in whole)
    short = [line for line in whole if line.code_length <= max(least, _longest(lab))]
    return candidates[short[0].arm]


def _by_error(lines: Sequence[Line]) -> list[Line]:
    """Return the lines that have an error, the least first."""
    return sorted((line for line in lines if line.mse is not None), key=lambda line: line.mse or 0.0)


def _best_with_switches(found: Search) -> Candidate | None:
    """Return the chosen candidate, or if it has no switches, the best one that has some and is no longer."""
    whole = [line for line in _by_error(found.lines) if line.switch_bits > 0]
    if found.chosen.arm in {line.arm for line in whole}:
        return found.chosen
    return found.candidates[whole[0].arm] if whole else None


def _lengths(lines: Sequence[Line]) -> list[int]:
    return sorted({line.code_length for line in lines})


def _trained(lab: Lab, candidate: Candidate) -> ConvAutoEncoder:
    """Read a candidate's first seed."""
    return lab.trained_autoencoder(candidate.learned(0, lab.config.studies.autoencoder.images))


def _shown(found: Search) -> list[ArmKey]:
    """Return the candidates to show: the chosen one first, then others spread over the errors."""
    names = [line.arm for line in _by_error(found.lines) if line.arm != found.chosen.arm]
    places = np.unique(np.linspace(0, len(names) - 1, min(_CANDIDATES_SHOWN, len(names))).round().astype(int))
    return [found.chosen.arm, *(names[place] for place in places)]
