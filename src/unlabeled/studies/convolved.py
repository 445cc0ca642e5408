"""Study 8: filters learned on patches, as a convolution: features for the classical models, first layer of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from unlabeled.comparison import compare, read_scores
from unlabeled.config import EncoderConfig
from unlabeled.errors import DataError
from unlabeled.files import write_arrays
from unlabeled.records import ArmKey, Comparison, Contrast, Row, of_arm
from unlabeled.results import read_result
from unlabeled.studies.sparse import check_size
from unlabeled.studies.specs import FeatureSpec, Filters, Learned, LearnedMaps, PatchesLearned, PatchMaps, PixelFeatures
from unlabeled.studies.tasks import AutoencoderTask, Classical, ClassicalTask, NetworkTask, PatchesTask, Perform, Task

if TYPE_CHECKING:
    from unlabeled.studies.lab import Lab

MODELS: tuple[Classical, ...] = ("logistic", "trees")
_KINDS: tuple[Filters, ...] = ("sparse", "random", "centroids", "hand-made")
# What a course report of 2016 trained with; whole maps are compared as it did, one layer with three.
_REPORT: dict[str, Any] = {"preparation": "clip", "rho": 0.06, "beta": 3.0, "decay": 1e-4}
SCRATCH, FROM_FILTERS = ArmKey("random", "network"), ArmKey("sparse", "network")


@dataclass(frozen=True)
class Kind:
    """A kind of features: the filters, and their stride where there are several."""

    source: str
    stride: int | None = None

    def arm(self, model: str) -> ArmKey:
        """Return the arm of a model on them."""
        return ArmKey(self.source, model, stride=self.stride)


PIXELS = Kind("pixels")


@dataclass(frozen=True)
class ConvolvedFindings:
    """What study 8 found."""

    comparison: Comparison
    kinds: tuple[Kind, ...]
    strides: tuple[int, ...]
    stride: int
    grid: int
    side: int
    filters: int
    unpooled: tuple[int, ...]
    deep: tuple[int, ...]
    network: dict[str, Any]
    learned: tuple[Row, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class _Plan:
    """The kinds of features of one seed, and what has to be learned for them."""

    features: dict[Kind, FeatureSpec]
    sparse: PatchesLearned
    report: PatchesLearned
    deep: PatchesLearned | None
    autoencoder: Learned


def check(lab: Lab) -> None:
    """Refuse patches and strides that do not fit these images."""
    check_size(lab)
    if not any(_fits(lab, stride) for stride in lab.config.studies.convolved.strides):
        raise DataError(
            "no stride of --studies.convolved.strides leaves a map on these images; use smaller patches or strides"
        )


def run(lab: Lab, do: Perform) -> ConvolvedFindings:
    """Fit logistic regression and trees on pooled maps, and train the network, for every kind of filters."""
    grid, sparse = lab.config.studies.convolved, lab.config.studies.sparse
    strides = [stride for stride in grid.strides if _fits(lab, stride)]
    plans = [_plan(lab, strides, seed) for seed in range(lab.config.seeds)]
    learned = do([task for plan in plans for task in _learning(plan)])
    rows = do(list(_tasks(lab, plans)))
    kinds = tuple(plans[0].features)
    scores = read_scores(lab.folder, rows, lab.splits.test.classes)
    first = next((row for row in of_arm(learned, ArmKey("sparse")) if not row.diverged), None)
    filters = np.empty((0, 0, 0, 0), dtype=np.float32)
    if first is not None:
        filters = read_result(lab.folder / first.run).arrays("filters.npz")["filters"]
    write_arrays(lab.folder / "convolved" / "pictures.npz", filters=filters)
    contrasts = _contrasts(kinds, _stride(lab), strides)
    return ConvolvedFindings(
        comparison=compare(rows, scores, contrasts, correlation=lab.folds.correlation),
        kinds=kinds,
        strides=tuple(strides),
        stride=_stride(lab),
        grid=grid.grid,
        side=sparse.side,
        filters=sparse.hidden,
        unpooled=tuple(stride for stride in grid.unpooled if _fits(lab, stride)),
        deep=tuple(grid.deep),
        network=_network_encoder(lab).model_dump(mode="json"),
        learned=tuple(learned),
        rows=tuple(rows),
    )


def _fits(lab: Lab, stride: int) -> bool:
    """Tell whether more than one patch a side fits, or one at all where the stride does not matter."""
    return min(lab.splits.labeled.shape[1:]) - lab.config.studies.sparse.side >= (stride if stride > 1 else 0)


def _stride(lab: Lab) -> int:
    """Return the stride of the comparison with other filters: the one given, or the largest that fits below it."""
    return max((s for s in range(1, lab.config.studies.convolved.stride + 1) if _fits(lab, s)), default=1)


def _plan(lab: Lab, strides: Sequence[int], seed: int) -> _Plan:
    grid, sparse = lab.config.studies.convolved, lab.config.studies.sparse
    by_kind = {kind: PatchesLearned.of(sparse, seed, **({} if kind == "sparse" else _unused(kind))) for kind in _KINDS}
    report = PatchesLearned.of(sparse, seed, **_REPORT)
    deep = PatchesLearned.of(sparse, seed, hidden=tuple(grid.deep), **_REPORT) if grid.deep else None
    stride, whole = _stride(lab), [every for every in grid.unpooled if _fits(lab, every)]
    autoencoder = Learned(_autoencoder_encoder(lab, stride), lab.config.autoencoder, seed)
    features: dict[Kind, FeatureSpec] = {PIXELS: PixelFeatures()}
    for every in dict.fromkeys([stride, *strides]):
        features[Kind("sparse", every)] = PatchMaps(by_kind["sparse"], every, grid.grid)
    for every in whole:
        features[Kind("report", every)] = PatchMaps(report, every)
    if deep is not None and grid.unpooled and grid.unpooled[0] in whole:
        features[Kind("deep", grid.unpooled[0])] = PatchMaps(deep, grid.unpooled[0])
    for kind in _KINDS[1:]:
        features[Kind(kind)] = PatchMaps(by_kind[kind], stride, grid.grid)
    features[Kind("autoencoder")] = LearnedMaps(autoencoder, grid.grid)
    return _Plan(features, by_kind["sparse"], report, deep, autoencoder)


def _unused(kind: Filters) -> dict[str, Any]:
    """Return what has no part in filters that are not trained as a sparse autoencoder, so that it does not tell runs apart."""
    nothing = {"kind": kind, "rho": 0.0, "beta": 0.0, "decay": 0.0, "iterations": 0}
    return nothing if kind == "random" else nothing | {"preparation": "whitening"}


def _autoencoder_encoder(lab: Lab, stride: int) -> EncoderConfig:
    """Return the convolutional autoencoder of one layer with as many filters, as large, at the same places."""
    sparse = lab.config.studies.sparse
    return EncoderConfig(
        conv_out_channels=(sparse.hidden,), conv_kernel_size=(sparse.side,), conv_stride=(stride,), conv_padding=(0,),
        pool_kernel_size=(1,), pool_stride=(1,),
    )  # fmt: skip


def _network_encoder(lab: Lab) -> EncoderConfig:
    """Return the network's one block: the filters, a sigmoid and a max-pool, if there is a map to pool."""
    stride, sparse = _stride(lab), lab.config.studies.sparse
    cells = (min(lab.splits.labeled.shape[1:]) - sparse.side) // stride + 1
    pool = min(lab.config.studies.convolved.pool, cells)
    block = _autoencoder_encoder(lab, stride).model_dump() | {"pool_kernel_size": pool, "pool_stride": pool}
    return EncoderConfig.model_validate(block | {"activation": "sigmoid"})


def _learning(plan: _Plan) -> Iterator[Task]:
    yield PatchesTask(ArmKey("sparse"), plan.sparse)
    yield PatchesTask(ArmKey("report"), plan.report)
    if plan.deep is not None:
        yield PatchesTask(ArmKey("deep"), plan.deep)
    yield AutoencoderTask(ArmKey("autoencoder"), plan.autoencoder)


def _tasks(lab: Lab, plans: Sequence[_Plan]) -> Iterator[Task]:
    encoder = _network_encoder(lab)
    for seed, plan in enumerate(plans):
        for kind, spec in plan.features.items():
            for model in MODELS:
                for fold in range(len(lab.folds.folds)):
                    yield ClassicalTask(kind.arm(model), spec, model, fold, seed)
        for fold in range(len(lab.folds.folds)):
            yield NetworkTask(SCRATCH, encoder, lab.config.network, fold, seed)
            yield NetworkTask(FROM_FILTERS, encoder, lab.config.network, fold, seed, plan.sparse)


def _contrasts(kinds: Sequence[Kind], stride: int, strides: Sequence[int]) -> list[Contrast]:
    """Return the comparisons: a model's rivals, its strides and its whole maps are a family each."""
    whole = [kind for kind in kinds if kind.source == "report"]
    deep = [kind for kind in kinds if kind.source == "deep"]
    pairs: list[tuple[Kind, Kind, str]] = []
    rivals = ("pixels", "random", "centroids", "hand-made", "autoencoder")
    pairs += [(Kind("sparse", stride), Kind(rival), "") for rival in rivals]
    by_stride = sorted(strides, reverse=True)
    pairs += [(Kind("sparse", fine), Kind("sparse", coarse), "stride ") for coarse, fine in pairwise(by_stride)]
    pairs += [(after, before, "pattern ") for before, after in pairwise([PIXELS, *whole])]
    pairs += [(kind, whole[0], "pattern ") for kind in deep if whole]
    contrasts = [
        Contrast(treated.arm(model), control.arm(model), family + model)
        for model in MODELS
        for treated, control, family in pairs
    ]
    return [*contrasts, Contrast(FROM_FILTERS, SCRATCH, "network")]
