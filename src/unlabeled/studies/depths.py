"""The autoencoders of study 6: depths, ways to train, switches and noise, and which of them differ in one thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unlabeled.config import AutoencoderConfig, EncoderConfig
from unlabeled.evaluation.statistics import holm, paired_effect
from unlabeled.experiments.specs import Learned, LearnedCodes, RandomCodes
from unlabeled.experiments.tasks import ClassicalTask, NetworkTask, Task
from unlabeled.geometry import GeometryError
from unlabeled.outcomes import AutoencoderOutcome
from unlabeled.records import ArmKey, Decision, Effect, Illegal, Row, outcomes_of

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab


Errors: TypeAlias = Mapping[ArmKey, NDArray[np.float64]]


@dataclass(frozen=True)
class Variant:
    """An autoencoder of the study: its depth, and what it is beside trained as a whole, with switches, on clean images."""

    depth: int
    way: str
    encoder: EncoderConfig
    config: AutoencoderConfig

    @property
    def arm(self) -> ArmKey:
        """The arm of its training."""
        return ArmKey("autoencoder", depth=self.depth, way=self.way)


@dataclass(frozen=True)
class Pair:
    """Two variants that differ in one thing, ``factor``: depth, way, switches or noise."""

    factor: str
    treated: ArmKey
    control: ArmKey


@dataclass(frozen=True)
class PairErrors:
    """What two variants' held-out errors differ by, in percent of the control's; negative is better."""

    pair: Pair
    effect: Effect | None = None
    p: float | None = None
    verdict: Decision = "diverged"


@dataclass(frozen=True)
class VariantLine:
    """A variant in numbers; errors are mean squared ones on [-1, 1]."""

    arm: ArmKey
    filters: tuple[int, ...]
    code_size: tuple[int, ...]
    code_length: int
    parameters: int | None
    mse: Effect | None
    held_out_variance: float | None
    seconds: float | None
    diverged: int
    runs: int


def make_variants(lab: Lab) -> tuple[list[Variant], list[Illegal]]:
    """Return the variants that fit the images, and why others do not."""
    grid, base = lab.config.studies.stacked, lab.config.autoencoder
    encoders: dict[int, EncoderConfig] = {}
    illegal = []
    for depth in range(1, len(grid.filters) + 1):
        try:
            encoders[depth] = _encoder(lab, depth)
        except GeometryError as error:
            illegal.append(Illegal(ArmKey("autoencoder", depth=depth), str(error)))
    variants = []
    for depth, encoder in encoders.items():
        ways: list[tuple[str, dict[str, Any]]] = [("whole", {})]
        ways += [("greedy", {"stacking": "greedy"}), ("joined", {"stacking": "joined"})] if depth > 1 else []
        ways += [("switchless", {"switches": False})] if grid.switchless else []
        ways += [(noise, {"noise": noise}) for noise in grid.noises] if depth == max(encoders) else []
        variants += [Variant(depth, way, encoder, base.model_copy(update=changes)) for way, changes in ways]
    return variants, illegal


def _encoder(lab: Lab, depth: int) -> EncoderConfig:
    """Return the encoder of a depth whose code is as long as the others', as nearly as whole filters allow."""
    grid = lab.config.studies.stacked
    shape = {"conv_kernel_size": (grid.kernel,), "conv_padding": (grid.kernel // 2,), "pool_kernel_size": (2,)}
    before = grid.filters[: depth - 1]
    _, height, width = lab.geometry(EncoderConfig(conv_out_channels=(*before, 1), **_per_layer(shape, depth))).code_size
    length = grid.share * float(np.prod(lab.splits.unlabeled.shape))
    return EncoderConfig(
        conv_out_channels=(*before, max(1, round(length / (height * width)))), **_per_layer(shape, depth)
    )


def _per_layer(shape: dict[str, Any], depth: int) -> dict[str, Any]:
    return {name: value * depth for name, value in shape.items()}


def untrained(arm: ArmKey, model: str) -> ArmKey:
    """Return the arm of random weights of the same shape."""
    return ArmKey("random", model, depth=arm.depth)


def make_pairs(variants: Sequence[Variant]) -> list[Pair]:
    """Return the variants that differ in one thing."""
    arms = {v.arm for v in variants}
    shallow = ArmKey("autoencoder", depth=1, way="whole")
    factors = {"greedy": "way", "joined": "way", "switchless": "switches", "gaussian": "noise", "masking": "noise"}
    pairs = []
    for v in variants:
        if v.way == "whole" and v.depth > 1 and shallow in arms:
            pairs.append(Pair("depth", v.arm, shallow))
        elif v.way in factors:
            pairs.append(Pair(factors[v.way], v.arm, replace(v.arm, way="whole")))
    return pairs


def plan(lab: Lab, variants: Sequence[Variant]) -> Iterator[Task]:
    """Yield the logistic regressions on codes and the networks, those from random weights too."""
    shapes = {v.depth: v for v in variants}
    network = lab.config.network
    for seed in range(lab.config.seeds):
        for fold in range(len(lab.folds.folds)):
            for v in shapes.values():
                codes = RandomCodes(v.encoder, seed)
                yield ClassicalTask(untrained(v.arm, "logistic"), codes, "logistic", fold, seed)
                yield NetworkTask(untrained(v.arm, "network"), v.encoder, network, fold, seed)
        for v in variants:
            learned = Learned(v.encoder, v.config, seed)
            for fold in range(len(lab.folds.folds)):
                yield ClassicalTask(v.arm.on("logistic"), LearnedCodes(learned), "logistic", fold, seed)
                yield NetworkTask(v.arm.on("network"), v.encoder, network, fold, seed, learned)


def compare_errors(pairs: Sequence[Pair], errors: Errors) -> tuple[PairErrors, ...]:
    """Compare held-out errors in percent of the control's; negative is better."""
    compared = []
    for pair in pairs:
        effect = None
        if pair.treated in errors and pair.control in errors:
            control = errors[pair.control].mean()
            effect = error_effect(100 * (errors[pair.treated] - errors[pair.control]) / control)
        compared.append(PairErrors(pair, effect))
    corrected = iter(holm([line.effect.p for line in compared if line.effect is not None]))
    return tuple(line if line.effect is None else _judged(line, next(corrected)) for line in compared)


def _judged(line: PairErrors, p: float) -> PairErrors:
    better = line.effect is not None and line.effect.mean < 0
    if line.effect is not None and not line.effect.decidable:
        return replace(line, p=p, verdict="reading")
    return replace(line, p=p, verdict="imprecise" if p >= 0.05 else "helps" if better else "hurts")


def error_effect(values: NDArray[np.float64]) -> Effect:
    """Return the mean of values (seeds, images) with its interval over seeds and images; with one seed, over images alone."""
    of_images = float(values.mean(axis=0).var(ddof=1)) / values.shape[1] if values.shape[1] > 1 else 0.0
    seeds = values.mean(axis=1)
    if len(seeds) == 1:
        # Two equal numbers have no spread between them.
        seeds = np.repeat(seeds, 2)
    return paired_effect(seeds, correlation=0.0, test_variance=of_images)


def describe(lab: Lab, variant: Variant, rows: Sequence[Row], errors: Errors) -> VariantLine:
    """Put a variant's shape and what its runs came to into a line."""
    outcomes, geometry = outcomes_of(rows, AutoencoderOutcome), lab.geometry(variant.encoder)
    table = errors.get(variant.arm)
    return VariantLine(
        arm=variant.arm,
        filters=tuple(variant.encoder.conv_out_channels),
        code_size=tuple(geometry.code_size),
        code_length=geometry.code_length,
        parameters=outcomes[0].parameters if outcomes else None,
        mse=None if table is None else error_effect(table),
        held_out_variance=outcomes[0].held_out_variance if outcomes else None,
        seconds=float(np.median([outcome.seconds for outcome in outcomes])) if outcomes else None,
        diverged=len(rows) - len(outcomes),
        runs=len(rows),
    )
