"""The search of study 3 for a one-layer autoencoder with the least error on held-out unlabeled images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from unlabeled.config import AutoencoderConfig, AutoencoderGrid, EncoderConfig
from unlabeled.errors import UserError
from unlabeled.experiments.specs import Learned
from unlabeled.experiments.tasks import AutoencoderTask, Perform
from unlabeled.geometry import Geometry, GeometryError
from unlabeled.outcomes import AutoencoderOutcome
from unlabeled.records import ArmKey, Illegal, Row, of_arm, outcomes_of

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab
    from unlabeled.networks.models import ConvAutoEncoder

_CANDIDATES_SHOWN = 4


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

    def trained(self, lab: Lab) -> ConvAutoEncoder:
        """Read what the first seed has trained."""
        return lab.trained_autoencoder(self.learned(0, lab.config.studies.autoencoder.images))

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

    @property
    def with_switches(self) -> Candidate | None:
        """The chosen candidate, or if it has no switches, the best one that has some and is no longer."""
        whole = [line for line in by_error(self.lines) if line.switch_bits > 0]
        if self.chosen.arm in {line.arm for line in whole}:
            return self.chosen
        return self.candidates[whole[0].arm] if whole else None

    @property
    def lengths(self) -> list[int]:
        """The lengths of all codes, each once."""
        return sorted({line.code_length for line in self.lines})

    @property
    def shown(self) -> tuple[ArmKey, ...]:
        """The candidates to show: the chosen one first, then others spread over the errors."""
        names = [line.arm for line in by_error(self.lines) if line.arm != self.chosen.arm]
        places = np.unique(np.linspace(0, len(names) - 1, min(_CANDIDATES_SHOWN, len(names))).round().astype(int))
        return (self.chosen.arm, *(names[place] for place in places))


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


def longest(lab: Lab) -> int:
    """Return the most numbers that a code may have to be chosen."""
    return int(lab.config.studies.autoencoder.longest * np.prod(lab.splits.unlabeled.shape))


def _choose(lab: Lab, candidates: Mapping[ArmKey, Candidate], lines: Sequence[Line]) -> Candidate:
    """Return the candidate with the least error, of those whose code is not too long, or else the shortest."""
    whole = by_error(lines)
    if not whole:
        raise UserError("every autoencoder of the search diverged; lower --studies.autoencoder.training.learning-rate")
    least = min(line.code_length for line in whole)
    short = [line for line in whole if line.code_length <= max(least, longest(lab))]
    return candidates[short[0].arm]


def by_error(lines: Sequence[Line]) -> list[Line]:
    """Return the lines that have an error, the least first."""
    return sorted((line for line in lines if line.mse is not None), key=lambda line: line.mse or 0.0)


def comparable(measured: Sequence[tuple[Line, float]], factor: str) -> list[tuple[Line, float]]:
    """Return the candidates that were tried with every value of a property, all else alike: others would be compared unfairly."""
    fields = ("kernel", "padding", "stride", "pool", "pool_size", "filters", "loss")
    varied = ("pool", "pool_size") if factor == "pool" else (factor,)

    def rest(line: Line) -> tuple[object, ...]:
        return tuple(getattr(line, name) for name in fields if name not in varied)

    def own(line: Line) -> tuple[object, ...]:
        return tuple(getattr(line, name) for name in varied)

    values = {own(line) for line, _mse in measured}
    by_rest: dict[tuple[object, ...], set[tuple[object, ...]]] = {}
    for line, _mse in measured:
        by_rest.setdefault(rest(line), set()).add(own(line))
    return [(line, mse) for line, mse in measured if by_rest[rest(line)] == values]
