"""The features of study 8: maps of filters of patches and of their rivals, and what is compared with what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from unlabeled.config import EncoderConfig
from unlabeled.experiments.specs import (
    FeatureSpec,
    Filters,
    Learned,
    LearnedMaps,
    PatchesLearned,
    PatchMaps,
    PixelFeatures,
)
from unlabeled.experiments.tasks import AutoencoderTask, Classical, ClassicalTask, NetworkTask, PatchesTask, Task
from unlabeled.records import ArmKey, Contrast

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

MODELS: tuple[Classical, ...] = ("logistic", "trees")
_KINDS: tuple[Filters, ...] = ("sparse", "matched", "random", "centroids", "hand-made")
# What a course report of 2016 trained with; whole maps are compared as it did, one layer with three.
_REPORT: dict[str, Any] = {"preparation": "clip", "rho": 0.06, "beta": 3.0, "decay": 1e-4}
# From random weights with the filters' own sigmoid, and with the activation that one would take.
SCRATCH, FROM_FILTERS = ArmKey("random", "network"), ArmKey("sparse", "network")
SCRATCH_RELU = ArmKey("random", "network", way="relu")


PIXELS = ArmKey("pixels")


@dataclass(frozen=True)
class Plan:
    """The kinds of features of one seed, and what has to be learned for them."""

    features: dict[ArmKey, FeatureSpec]
    sparse: PatchesLearned
    report: PatchesLearned
    deep: PatchesLearned | None
    autoencoder: Learned


def fits(lab: Lab, stride: int) -> bool:
    """Tell whether more than one patch a side fits, or one at all where the stride does not matter."""
    return min(lab.splits.labeled.shape[1:]) - lab.config.studies.sparse.side >= (stride if stride > 1 else 0)


def chosen_stride(lab: Lab) -> int:
    """Return the stride of the comparison with other filters: the one given, or the largest that fits below it."""
    return max((s for s in range(1, lab.config.studies.convolved.stride + 1) if fits(lab, s)), default=1)


def make_plan(lab: Lab, strides: Sequence[int], seed: int) -> Plan:
    """Return the kinds of features of a seed."""
    grid, sparse = lab.config.studies.convolved, lab.config.studies.sparse
    by_kind = {kind: PatchesLearned.of(sparse, seed, **_changes(kind)) for kind in _KINDS}
    report = PatchesLearned.of(sparse, seed, **_REPORT)
    deep = PatchesLearned.of(sparse, seed, hidden=tuple(grid.deep), **_REPORT) if grid.deep else None
    stride, whole = chosen_stride(lab), [every for every in grid.unpooled if fits(lab, every)]
    autoencoder = Learned(_autoencoder_encoder(lab, stride), lab.config.autoencoder, seed)
    features: dict[ArmKey, FeatureSpec] = {PIXELS: PixelFeatures()}
    for every in dict.fromkeys([stride, *strides]):
        features[ArmKey("sparse", stride=every)] = PatchMaps(by_kind["sparse"], every, grid.grid)
    for every in whole:
        features[ArmKey("report", stride=every)] = PatchMaps(report, every)
    if deep is not None and grid.unpooled and grid.unpooled[0] in whole:
        features[ArmKey("deep", stride=grid.unpooled[0])] = PatchMaps(deep, grid.unpooled[0])
    for kind in _KINDS[1:]:
        features[ArmKey(kind)] = PatchMaps(by_kind[kind], stride, grid.grid)
    features[ArmKey("autoencoder")] = LearnedMaps(autoencoder, grid.grid)
    return Plan(features, by_kind["sparse"], report, deep, autoencoder)


def _changes(kind: Filters) -> dict[str, Any]:
    """Return what has no part in filters that are not trained as a sparse autoencoder, so that it does not tell runs apart."""
    if kind in ("sparse", "matched"):
        return {"kind": kind}
    nothing = {"kind": kind, "rho": 0.0, "beta": 0.0, "decay": 0.0, "iterations": 0}
    return nothing if kind == "random" else nothing | {"preparation": "whitening"}


def _autoencoder_encoder(lab: Lab, stride: int) -> EncoderConfig:
    """Return the convolutional autoencoder of one layer with as many filters, as large, at the same places."""
    sparse = lab.config.studies.sparse
    return EncoderConfig(
        conv_out_channels=(sparse.hidden,), conv_kernel_size=(sparse.side,), conv_stride=(stride,), conv_padding=(0,),
        pool_kernel_size=(1,), pool_stride=(1,),
    )  # fmt: skip


def network_encoder(lab: Lab) -> EncoderConfig:
    """Return the network's one block: the filters, a sigmoid and a max-pool, if there is a map to pool."""
    stride, sparse = chosen_stride(lab), lab.config.studies.sparse
    cells = (min(lab.splits.labeled.shape[1:]) - sparse.side) // stride + 1
    pool = min(lab.config.studies.convolved.pool, cells)
    block = _autoencoder_encoder(lab, stride).model_dump() | {"pool_kernel_size": pool, "pool_stride": pool}
    return EncoderConfig.model_validate(block | {"activation": "sigmoid"})


def learning(plan: Plan) -> Iterator[Task]:
    """Yield what has to be learned for a seed."""
    yield PatchesTask(ArmKey("sparse"), plan.sparse)
    yield PatchesTask(ArmKey("report"), plan.report)
    if plan.deep is not None:
        yield PatchesTask(ArmKey("deep"), plan.deep)
    yield AutoencoderTask(ArmKey("autoencoder"), plan.autoencoder)


def tasks(lab: Lab, plans: Sequence[Plan]) -> Iterator[Task]:
    """Yield the models on features, and the networks."""
    encoder = network_encoder(lab)
    relu = encoder.model_copy(update={"activation": "relu"})
    for seed, plan in enumerate(plans):
        for kind, spec in plan.features.items():
            for model in MODELS:
                for fold in range(len(lab.folds.folds)):
                    yield ClassicalTask(kind.on(model), spec, model, fold, seed)
        for fold in range(len(lab.folds.folds)):
            yield NetworkTask(SCRATCH, encoder, lab.config.network, fold, seed)
            yield NetworkTask(SCRATCH_RELU, relu, lab.config.network, fold, seed)
            yield NetworkTask(FROM_FILTERS, encoder, lab.config.network, fold, seed, plan.sparse)


def make_contrasts(kinds: Sequence[ArmKey], stride: int, strides: Sequence[int]) -> list[Contrast]:
    """Return the comparisons: a model's rivals, its strides and its whole maps are a family each."""
    whole = [kind for kind in kinds if kind.source == "report"]
    deep = [kind for kind in kinds if kind.source == "deep"]
    pairs: list[tuple[ArmKey, ArmKey, str]] = []
    # Random filters without the learned ones' lengths and thresholds are no rival that someone would name.
    rivals = ("pixels", "matched", "centroids", "hand-made", "autoencoder")
    pairs += [(ArmKey("sparse", stride=stride), ArmKey(rival), "") for rival in rivals]
    by_stride = sorted(strides, reverse=True)
    pairs += [
        (ArmKey("sparse", stride=fine), ArmKey("sparse", stride=coarse), "stride ")
        for coarse, fine in pairwise(by_stride)
    ]
    pairs += [(after, before, "pattern ") for before, after in pairwise([PIXELS, *whole])]
    pairs += [(kind, whole[0], "pattern ") for kind in deep if whole]
    contrasts = [
        Contrast(treated.on(model), control.on(model), family + model)
        for model in MODELS
        for treated, control, family in pairs
    ]
    return [*contrasts, *(Contrast(FROM_FILTERS, scratch, "network") for scratch in (SCRATCH_RELU, SCRATCH))]
