"""Study 8: filters learned on patches, as a convolution: features for the classical models, first layer of a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from unlabeled.comparison import Contrast, compare
from unlabeled.config import EncoderConfig
from unlabeled.errors import DataError
from unlabeled.files import write_arrays
from unlabeled.results import read_result
from unlabeled.studies.baselines import PIXELS
from unlabeled.studies.lab import Lab
from unlabeled.studies.networks import NetworkTask
from unlabeled.studies.patches import PatchesTask
from unlabeled.studies.performing import Perform, Task, read_scores
from unlabeled.studies.sparse import check_size
from unlabeled.studies.specs import FeatureSpec, Filters, Learned, PatchesLearned
from unlabeled.studies.tasks import AutoencoderTask, Classical, ClassicalTask

MODELS: tuple[Classical, ...] = ("logistic", "trees")
_KINDS: tuple[Filters, ...] = ("sparse", "random", "centroids", "hand-made")
# What a course report of 2016 trained with; whole maps are compared as it did, one layer with three.
_REPORT: dict[str, Any] = {"preparation": "clip", "rho": 0.06, "beta": 3.0, "decay": 1e-4}


@dataclass(frozen=True)
class _Plan:
    """The kinds of features of one seed, by name, and what has to be learned for them."""

    features: dict[str, FeatureSpec]
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


def run(lab: Lab, do: Perform) -> dict[str, Any]:
    """Fit logistic regression and trees on pooled maps, and train the network, for every kind of filters."""
    grid, sparse = lab.config.studies.convolved, lab.config.studies.sparse
    strides = [stride for stride in grid.strides if _fits(lab, stride)]
    plans = [_plan(lab, strides, seed) for seed in range(lab.config.seeds)]
    learned = do([task for plan in plans for task in _learning(plan)])
    rows = do(list(_tasks(lab, plans)))
    scores = read_scores(lab, rows)
    families = _contrasts(list(plans[0].features), strides)
    compared = {
        family: compare([row for row in rows if row["arm"] in _arms_of(contrasts)], scores, contrasts, correlation=lab.folds.correlation)
        for family, contrasts in families.items()
    }  # fmt: skip
    arms = compare(rows, scores, (), correlation=lab.folds.correlation)["arms"]
    first = next((row for row in learned if row["arm"] == "sparse" and "diverged" not in row), None)
    filters = np.empty((0, 0, 0, 0), dtype=np.float32)
    if first is not None:
        filters = read_result(lab.folder / first["run"]).arrays("filters.npz")["filters"]
    write_arrays(lab.folder / "convolved" / "pictures.npz", filters=filters)
    return {
        "arms": arms,
        "contrasts": [c | {"family": family} for family, found in compared.items() for c in found["contrasts"]],
        "strides": strides,
        "stride": _stride(lab),
        "grid": grid.grid,
        "side": sparse.side,
        "filters": sparse.hidden,
        "unpooled": [stride for stride in grid.unpooled if _fits(lab, stride)],
        "deep": list(grid.deep),
        "network": _network_encoder(lab).model_dump(mode="json"),
        "learned": learned,
        "rows": rows,
    }


def _fits(lab: Lab, stride: int) -> bool:
    """Tell whether more than one patch a side fits, or one at all where the stride does not matter."""
    return min(lab.splits.labeled.shape[1:]) - lab.config.studies.sparse.side >= (stride if stride > 1 else 0)


def _stride(lab: Lab) -> int:
    """Return the stride of the comparison with other filters: the one given, or the largest that fits below it."""
    return max((s for s in range(1, lab.config.studies.convolved.stride + 1) if _fits(lab, s)), default=1)


def _plan(lab: Lab, strides: list[int], seed: int) -> _Plan:
    grid, sparse = lab.config.studies.convolved, lab.config.studies.sparse
    by_kind = {kind: PatchesLearned.of(sparse, seed, **({} if kind == "sparse" else _unused(kind))) for kind in _KINDS}
    report = PatchesLearned.of(sparse, seed, **_REPORT)
    deep = PatchesLearned.of(sparse, seed, hidden=tuple(grid.deep), **_REPORT) if grid.deep else None
    stride = _stride(lab)
    autoencoder = Learned(_autoencoder_encoder(lab, stride), lab.config.autoencoder, seed)
    features = {"pixels": PIXELS}
    for every in dict.fromkeys([stride, *strides]):
        features[f"sparse {every}"] = _spec(by_kind["sparse"], every, grid.grid)
    for every in grid.unpooled:
        if _fits(lab, every):
            features[f"report {every} whole"] = _spec(report, every, None)
    if deep is not None and grid.unpooled and _fits(lab, grid.unpooled[0]):
        features[f"deep {grid.unpooled[0]} whole"] = _spec(deep, grid.unpooled[0], None)
    for kind in _KINDS[1:]:
        features[kind] = _spec(by_kind[kind], stride, grid.grid)
    features["autoencoder"] = FeatureSpec(
        "autoencoder", autoencoder.encoder, autoencoder, pooling="grid", grid=grid.grid
    )
    return _Plan(features, by_kind["sparse"], report, deep, autoencoder)


def _unused(kind: Filters) -> dict[str, Any]:
    """Return what has no part in filters that are not trained as a sparse autoencoder, so that it does not tell runs apart."""
    nothing = {"kind": kind, "rho": 0.0, "beta": 0.0, "decay": 0.0, "iterations": 0}
    return nothing if kind == "random" else nothing | {"preparation": "whitening"}


def _spec(learned: PatchesLearned, stride: int, grid: int | None) -> FeatureSpec:
    return FeatureSpec(
        "patches", learned=learned, pooling="whole" if grid is None else "grid", stride=stride, grid=grid
    )


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
    yield PatchesTask("sparse", plan.sparse)
    yield PatchesTask("report", plan.report)
    if plan.deep is not None:
        yield PatchesTask("deep", plan.deep)
    yield AutoencoderTask("autoencoder", plan.autoencoder)


def _tasks(lab: Lab, plans: list[_Plan]) -> Iterator[Task]:
    encoder = _network_encoder(lab)
    for seed, plan in enumerate(plans):
        for name, spec in plan.features.items():
            for model in MODELS:
                for fold in range(len(lab.folds.folds)):
                    yield ClassicalTask(f"{name}-{model}", spec, model, fold, seed)
        for fold in range(len(lab.folds.folds)):
            yield NetworkTask("scratch-network", encoder, lab.config.network, fold, seed)
            yield NetworkTask("sparse-network", encoder, lab.config.network, fold, seed, start=plan.sparse)


def _contrasts(names: list[str], strides: list[int]) -> dict[str, list[Contrast]]:
    """Return families of comparisons; p values are corrected within a family."""
    stride = next(int(name.split()[1]) for name in names if name.startswith("sparse "))
    whole = [name for name in names if name.startswith("report")]
    deep = [name for name in names if name.startswith("deep")]
    families: dict[str, list[Contrast]] = {}
    for model in MODELS:
        rivals = ("pixels", "random", "centroids", "hand-made", "autoencoder")
        families[model] = [Contrast(f"sparse {stride}-{model}", f"{rival}-{model}") for rival in rivals]
        by_stride = sorted(strides, reverse=True)
        families[f"stride {model}"] = [
            Contrast(f"sparse {fine}-{model}", f"sparse {coarse}-{model}") for coarse, fine in pairwise(by_stride)
        ]
        chain = ["pixels", *whole]
        families[f"pattern {model}"] = [
            Contrast(f"{after}-{model}", f"{before}-{model}") for before, after in pairwise(chain)
        ] + [Contrast(f"{name}-{model}", f"{whole[0]}-{model}") for name in deep if whole]
    families["network"] = [Contrast("sparse-network", "scratch-network")]
    return {family: contrasts for family, contrasts in families.items() if contrasts}


def _arms_of(contrasts: list[Contrast]) -> set[str]:
    return {arm for contrast in contrasts for arm in (contrast.treated, contrast.control)}
