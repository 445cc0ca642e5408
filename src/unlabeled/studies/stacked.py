"""Study 6: autoencoders of several layers, trained at once, greedily or joined; switches and noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.batches import batches
from unlabeled.comparison import Contrast, compare
from unlabeled.config import AutoencoderConfig, EncoderConfig
from unlabeled.errors import UserError
from unlabeled.files import write_arrays
from unlabeled.geometry import GeometryError
from unlabeled.runtime import evaluating
from unlabeled.statistics import holm, paired_effect
from unlabeled.studies.autoencoder import picture_of
from unlabeled.studies.baselines import baseline_arms
from unlabeled.studies.lab import Lab
from unlabeled.studies.networks import NetworkTask
from unlabeled.studies.performing import Perform, Task, read_scores
from unlabeled.studies.specs import FeatureSpec, Learned
from unlabeled.studies.tasks import AutoencoderTask, ClassicalTask

_BATCH = 250
_SHOWN = 10


@dataclass(frozen=True)
class Variant:
    """An autoencoder of the study: its depth, and what it is beside trained as a whole, with switches, on clean images."""

    depth: int
    kind: str
    encoder: EncoderConfig
    config: AutoencoderConfig

    @property
    def name(self) -> str:
        """Its name in results."""
        return f"d{self.depth} {self.kind}"


@dataclass(frozen=True)
class Pair:
    """Two variants that differ in one thing, ``factor``: depth, way, switches or noise."""

    factor: str
    treated: str
    control: str


def run(lab: Lab, do: Perform) -> dict[str, Any]:
    """Train every variant; measure its reconstruction, its frozen codes and the network that begins with it."""
    variants, illegal = make_variants(lab)
    if not variants:
        raise UserError(f"no depth of --studies.stacked fits these images; the first: {illegal[0]['reason']}")
    seeds = range(lab.config.seeds)
    trained = do([AutoencoderTask(v.name, Learned(v.encoder, v.config, seed)) for seed in seeds for v in variants])
    baselines = baseline_arms(lab, do)
    rows = do(list(_plan(lab, variants)))
    ended = {v.name: all("diverged" not in row for row in trained if row["arm"] == v.name) for v in variants}
    errors = {v.name: _errors(lab, v) for v in variants if ended[v.name]}
    pairs = _pairs(variants)
    scores = read_scores(lab, rows)
    families = {
        "codes": [Contrast(f"{p.treated}-logistic", f"{p.control}-logistic") for p in pairs]
        + [Contrast(f"{v.name}-logistic", f"d{v.depth} random-logistic") for v in variants],
        "network": [Contrast(f"{p.treated}-network", f"{p.control}-network") for p in pairs]
        + [Contrast(f"{v.name}-network", f"d{v.depth} scratch-network") for v in variants],
    }
    compared = {
        family: compare(
            [row for row in rows if row["arm"].endswith("-logistic" if family == "codes" else "-network")],
            scores, contrasts, correlation=lab.folds.correlation,
        )
        for family, contrasts in families.items()
    }  # fmt: skip
    _write_pictures(lab, [v for v in variants if ended[v.name]])
    return {
        "variants": [_describe(lab, v, trained, errors) for v in variants],
        "illegal": illegal,
        "pairs": [asdict(pair) for pair in pairs],
        "errors": _compare_errors(pairs, errors),
        "codes": compared["codes"],
        "network": compared["network"],
        "held_out": len(lab.held_out),
        "shown": [v.name for v in variants if ended[v.name]],
        "baselines": baselines,
        "autoencoders": trained,
        "rows": rows,
    }


def make_variants(lab: Lab) -> tuple[list[Variant], list[dict[str, Any]]]:
    """Return the variants that fit the images, and why others do not."""
    grid, base = lab.config.studies.stacked, lab.config.autoencoder
    encoders: dict[int, EncoderConfig] = {}
    illegal = []
    for depth in range(1, len(grid.filters) + 1):
        try:
            encoders[depth] = _encoder(lab, depth)
        except GeometryError as error:
            illegal.append({"arm": f"depth {depth}", "reason": str(error)})
    found = []
    for depth, encoder in encoders.items():
        kinds: list[tuple[str, dict[str, Any]]] = [("whole", {})]
        kinds += [("greedy", {"stacking": "greedy"}), ("joined", {"stacking": "joined"})] if depth > 1 else []
        kinds += [("switchless", {"switches": False})] if grid.switchless else []
        kinds += [(noise, {"noise": noise}) for noise in grid.noises] if depth == max(encoders) else []
        found += [Variant(depth, kind, encoder, base.model_copy(update=changes)) for kind, changes in kinds]
    return found, illegal


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


def _plan(lab: Lab, variants: Sequence[Variant]) -> Iterator[Task]:
    """Yield the logistic regressions on codes and the networks, those from random weights too."""
    depths = {v.depth: v.encoder for v in variants}
    network = lab.config.network
    for seed in range(lab.config.seeds):
        for fold in range(len(lab.folds.folds)):
            for depth, encoder in depths.items():
                spec = FeatureSpec("random", encoder, seed=seed)
                yield ClassicalTask(f"d{depth} random-logistic", spec, "logistic", fold, seed)
                yield NetworkTask(f"d{depth} scratch-network", encoder, network, fold, seed)
        for v in variants:
            learned = Learned(v.encoder, v.config, seed)
            for fold in range(len(lab.folds.folds)):
                spec = FeatureSpec("autoencoder", v.encoder, learned)
                yield ClassicalTask(f"{v.name}-logistic", spec, "logistic", fold, seed)
                yield NetworkTask(f"{v.name}-network", v.encoder, network, fold, seed, start=learned)


def _pairs(variants: Sequence[Variant]) -> list[Pair]:
    """Return the variants that differ in one thing."""
    names = {v.name for v in variants}
    factors = {"greedy": "way", "joined": "way", "switchless": "switches", "gaussian": "noise", "masking": "noise"}
    pairs = []
    for v in variants:
        if v.kind == "whole" and v.depth > 1 and "d1 whole" in names:
            pairs.append(Pair("depth", v.name, "d1 whole"))
        elif v.kind in factors:
            pairs.append(Pair(factors[v.kind], v.name, f"d{v.depth} whole"))
    return pairs


def _errors(lab: Lab, variant: Variant) -> NDArray[np.float64]:
    """Return every held-out image's mean squared error on [-1, 1], (seeds, images)."""
    table = np.empty((lab.config.seeds, len(lab.held_out)))
    for seed in range(lab.config.seeds):
        model = lab.trained_autoencoder(Learned(variant.encoder, variant.config, seed)).to(lab.runtime.device)
        with evaluating(model):
            for rows in batches(len(lab.held_out), _BATCH):
                images = lab.runtime.load(lab.held_out.take(rows))
                table[seed, rows] = (model(images) - images).square().mean(dim=(1, 2, 3)).cpu().double().numpy()
    return table


def _compare_errors(pairs: Sequence[Pair], errors: dict[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """Compare held-out errors in percent of the control's; negative is better."""
    compared = []
    for pair in pairs:
        line: dict[str, Any] = {**asdict(pair), "effect": None, "p": None, "verdict": "diverged"}
        if pair.treated in errors and pair.control in errors:
            control = errors[pair.control].mean()
            effect = error_effect(100 * (errors[pair.treated] - errors[pair.control]) / control)
            line |= {"effect": effect}
        compared.append(line)
    measured = [line for line in compared if line["effect"] is not None]
    for line, p in zip(measured, holm([line["effect"]["p"] for line in measured]), strict=True):
        better = line["effect"]["mean"] < 0
        line |= {"p": p, "verdict": "no evidence" if p >= 0.05 else "helps" if better else "hurts"}
    return compared


def error_effect(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return the mean of values (seeds, images) with its interval over seeds and images; with one seed, over images alone."""
    of_images = float(values.mean(axis=0).var(ddof=1)) / values.shape[1] if values.shape[1] > 1 else 0.0
    seeds = values.mean(axis=1)
    if len(seeds) == 1:
        # Two equal numbers have no spread between them.
        seeds = np.repeat(seeds, 2)
    return asdict(paired_effect(seeds, correlation=0.0, test_variance=of_images))


def _describe(
    lab: Lab, variant: Variant, trained: list[dict[str, Any]], errors: dict[str, NDArray[np.float64]]
) -> dict[str, Any]:
    own = [row for row in trained if row["arm"] == variant.name]
    ended = [row for row in own if "diverged" not in row]
    geometry = lab.geometry(variant.encoder)
    table = errors.get(variant.name)
    return {
        "arm": variant.name,
        "depth": variant.depth,
        "kind": variant.kind,
        "filters": list(variant.encoder.conv_out_channels),
        "code_size": list(geometry.code_size),
        "code_length": geometry.code_length,
        "parameters": ended[0]["parameters"] if ended else None,
        "mse": None if table is None else error_effect(table),
        "held_out_variance": ended[0]["held_out_variance"] if ended else None,
        "seconds": float(np.median([row["seconds"] for row in ended])) if ended else None,
        "diverged": len(own) - len(ended),
        "runs": len(own),
    }


def _write_pictures(lab: Lab, variants: Sequence[Variant]) -> None:
    """Keep the same held-out images, and what each variant (seed 0) makes of them: (variants, images, c, h, w)."""
    originals = lab.held_out.take(np.arange(min(_SHOWN, len(lab.held_out))))
    made = [picture_of(lab, lab.trained_autoencoder(Learned(v.encoder, v.config, 0)), originals) for v in variants]
    empty = np.empty((0, *originals.shape), dtype=np.uint8)
    write_arrays(
        lab.folder / "stacked" / "pictures.npz", originals=originals, reconstructions=np.stack(made) if made else empty
    )
