"""What all runs of a study share: configuration, data, folds, device, the folder of runs, and features made once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unlabeled.config import AutoencoderConfig, Config, EncoderConfig, NetworkConfig
from unlabeled.errors import DataError, UserError
from unlabeled.evaluation.convolved import PatchEncoder, TriangleEncoder, fit_centroids, map_features
from unlabeled.evaluation.features import PrincipalComponents, encode, fit_components, pixel_features, pool_quadrants
from unlabeled.evaluation.folds import Folds, describe, hold_out, limit_folds, make_folds
from unlabeled.experiments.specs import (
    ComponentFeatures,
    Features,
    FeatureSpec,
    HandMadeCodes,
    Learned,
    LearnedCodes,
    LearnedMaps,
    PatchesLearned,
    PatchMaps,
    PixelFeatures,
    Pretrained,
    RandomCodes,
)
from unlabeled.geometry import Geometry, solve
from unlabeled.images import Images, Splits
from unlabeled.images.patches import Prepared, cut_patches, prepare
from unlabeled.keeping.files import fingerprint
from unlabeled.keeping.results import Run
from unlabeled.kernels import building
from unlabeled.networks.filters import hand_made_filters
from unlabeled.networks.layout import count_parameters
from unlabeled.networks.models import ConvAutoEncoder, ConvNet, Encoder
from unlabeled.networks.sparse import SparseAutoencoder
from unlabeled.records import Augmented, Protocol
from unlabeled.training.checkpoints import load_weights
from unlabeled.training.precision import faster_precision
from unlabeled.training.runtime import Runtime, seeded

# Raise it when the same configuration would give other results.
VERSION = 3
_COPIES = 5  # of a network's weights in training


class Lab:
    """What all runs share; it travels to other processes by its arguments, and is made there once."""

    def __init__(self, config: Config, splits: Splits, folder: Path) -> None:
        self.config, self.splits, self.folder = config, splits, folder
        self.runtime = Runtime.of(config.device, "fp32" if config.precision == "auto" else config.precision)
        building.keep_in(config.cache)
        self.apart = True  # the strong network has other random numbers in every fold; runs of before had not
        # Looked for once, so that all runs compute in one way.
        self.kernels = self.runtime.uses_kernels and building.kernels() is not None
        # Of one kind at a time: on large data sets they are the largest thing in memory.
        self.features: Callable[[FeatureSpec], Features] = lru_cache(maxsize=1)(self._make_features)
        self.patches: Callable[[PatchesLearned], tuple[Images, Images]] = lru_cache(maxsize=1)(self._cut_patches)
        self.components: Callable[[int, int | None], PrincipalComponents] = lru_cache(maxsize=1)(self._fit_components)

    def __reduce__(self) -> tuple[Any, ...]:
        library = building.loaded_from() if self.runtime.device.type == "cpu" else None
        return _same_lab, (self.config, self.splits, self.folder, library, self._chosen())

    def _chosen(self) -> dict[str, Any]:
        """Return how the strong network computes and draws, as far as that was looked for or told."""
        chosen = ("strong_runtime", "strong_kernels", "apart")
        return {name: vars(self)[name] for name in chosen if name in vars(self)}

    @cached_property
    def strong_runtime(self) -> Runtime:
        """Where the strong network computes: in the faster precision, unless one is asked for. Others stay in fp32, as their kernels do."""
        if self.config.precision != "auto":
            return self.runtime
        return replace(self.runtime, precision=faster_precision(self.runtime.device, self.config.cache))

    def like(self, splits: Splits) -> Lab:
        """Return a lab of other splits that computes in the same way, in the same folder."""
        other = Lab(self.config, splits, self.folder)
        vars(other).update(self._chosen())
        return other

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.splits.class_names)

    @cached_property
    def folds(self) -> Folds:
        """The folds, all their labels in use."""
        splits = self.splits if self.config.own_folds else replace(self.splits, folds=())
        return make_folds(splits, count=self.config.folds, labels=self.config.labels)

    def folds_of(self, per_class: int | None) -> Folds:
        """The folds with so many labels a class."""
        if per_class is None:
            return self.folds
        limited = limit_folds(self.folds, self.splits.labeled.classes, per_class)
        if limited is None:
            raise DataError(f"a fold has fewer than {per_class} labeled images of some class; use fewer labels")
        return limited

    @cached_property
    def hold_out(self) -> tuple[Images, Images]:
        """The unlabeled images to train on, and those that only measure the error; fixed for all seeds."""
        return hold_out(self.splits.unlabeled, self.config.autoencoder.held_out)

    @property
    def held_out(self) -> Images:
        """Unlabeled images that no autoencoder is trained on."""
        return self.hold_out[1]

    def training_images(self, images: int | None = None) -> Images:
        """Return the unlabeled images to train on, or so many of them; fewer are a part of more."""
        watched = self.hold_out[0]
        if images is None or images >= len(watched):
            return watched
        return watched.subset(np.sort(np.random.default_rng(1).permutation(len(watched))[:images]))

    def images_of(self, learned: Learned) -> tuple[Images, Images]:
        """Return the images that an autoencoder is trained on, and those that choose its epoch; without labels."""
        if learned.fold is None:
            return self.training_images(learned.images), self.held_out
        part, labeled = self.folds.folds[learned.fold], replace(self.splits.labeled, labels=None)
        return labeled.subset(part.train), labeled.subset(part.valid)

    def twin(self, learned: Learned, fold: int) -> Learned:
        """Return the autoencoder that learns in the same way, in as many steps, from a fold's labeled images alone."""
        training = learned.config.training
        steps = training.steps_of(len(self.training_images(learned.images)))
        config = learned.config.model_copy(update={"training": training.model_copy(update={"steps": steps})})
        return replace(learned, config=config, fold=fold)

    def new_autoencoder(
        self, encoder: EncoderConfig, seed: int, *, config: AutoencoderConfig | None = None
    ) -> ConvAutoEncoder:
        """Make an autoencoder with the initial weights of a seed."""
        config = config or self.config.autoencoder
        with seeded(seed):
            return ConvAutoEncoder(
                self.splits.labeled.shape,
                output_activation=config.output_activation,
                switches=config.switches,
                **encoder.model_dump(),
            )

    def new_encoder(self, encoder: EncoderConfig, seed: int) -> Encoder:
        """Make an encoder with the initial weights of a seed, which no setting of a decoder has to do with."""
        return self.new_autoencoder(encoder, seed, config=AutoencoderConfig()).encoder

    @property
    def arithmetic(self) -> dict[str, Any]:
        """What decides the last digits of a network's numbers, and so belongs to every key of a run that computes one."""
        return {"precision": self.runtime.precision, "kernels": self.kernels}

    @cached_property
    def strong_kernels(self) -> bool:
        """Whether the kernels work for the strong network, in either precision."""
        return self.strong_runtime.device.type == "cpu" and building.kernels() is not None

    @property
    def strong_arithmetic(self) -> dict[str, Any]:
        """The same of the strong network; runs from before it had kernels say nothing of them, and are made without."""
        return {"precision": self.strong_runtime.precision} | ({"kernels": True} if self.strong_kernels else {})

    def geometry(self, encoder: EncoderConfig) -> Geometry:
        """Solve the sizes of an encoder on these images; no weights are made."""
        return solve(self.splits.labeled.shape, **encoder.model_dump(exclude={"pool", "activation"}))

    def check_network(self, encoder: EncoderConfig, network: NetworkConfig) -> None:
        """Refuse a network that does not fit this machine's memory, before anything is made.

        Raises
        ------
        UserError
            If its weights, their gradients, an optimiser's two averages and the best weights so far take more.
        """
        with torch.device("meta"):
            made = ConvNet(
                self.splits.labeled.shape, classes=max(2, self.classes), hidden=network.hidden, **encoder.model_dump()
            )
        needed, there = _COPIES * 4 * count_parameters(made), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed > there:
            raise UserError(
                f"a network of {count_parameters(made):,} parameters takes {needed / 1e9:,.0f} GB in training, and this machine has "
                f"{there / 1e9:,.0f} GB; take smaller --network.hidden or --encoder.conv-out-channels"
            )

    def data_key(self, *, unlabeled: bool = True, test: bool = True) -> dict[str, Any]:
        """Everything about the data that determines an outcome, of those parts that it has to do with."""
        config, origin = self.config, self.splits.origin
        return {
            "store": origin["key"],
            # Of a study that makes its own splits: which images are labeled, and which are in the pool.
            **{name: origin[name] for name in ("part", *(["pool"] if unlabeled else [])) if name in origin},
            "leaks": config.leaks,
            # Where nothing was left out, the images are those of the other policy.
            **({"near": config.near} if self.splits.near.dropped else {}),
            "version": VERSION,
            **({"unlabeled": config.unlabeled} if unlabeled else {}),
            **({"test": config.test} if test else {}),
        }

    def autoencoder_run(self, learned: Learned) -> Run:
        """Return the run that trains an autoencoder; but for a twin's it knows neither labels nor folds."""
        configuration: dict[str, Any] = {
            "data": self.data_key(unlabeled=learned.fold is None, test=False),
            "encoder": learned.encoder.model_dump(mode="json"),
            "autoencoder": learned.config.model_dump(mode="json"),
            **self.arithmetic,
            "seed": learned.seed,
        }
        if learned.fold is None:
            configuration["images"] = images = len(self.training_images(learned.images))
            configuration |= learned.config.training.batching(images)
            return Run(self.folder / "runs", f"autoencoder/seed{learned.seed}", configuration)
        part = self.folds.folds[learned.fold]
        configuration |= {"train": part.train.tolist(), "valid": part.valid.tolist()}
        configuration |= learned.config.training.batching(len(part.train))
        return Run(self.folder / "runs", f"labeled-autoencoder/fold{learned.fold}-seed{learned.seed}", configuration)

    def patches_run(self, learned: PatchesLearned) -> Run:
        """Return the run that learns filters on patches; it knows neither labels nor folds."""
        configuration = {
            "data": self.data_key(test=False),
            "patches": learned.as_json(),
            "images": len(self.training_images()),
        }
        return Run(self.folder / "runs", f"patches/{learned.kind}-seed{learned.seed}", configuration)

    def run_of(self, learned: Pretrained) -> Run:
        """Return the run that trains what features or networks stand on."""
        return self.autoencoder_run(learned) if isinstance(learned, Learned) else self.patches_run(learned)

    def _cut_patches(self, learned: PatchesLearned) -> tuple[Images, Images]:
        """Cut patches to learn from, and half as many, of images that no autoencoder is trained on, to measure the error."""
        return (
            cut_patches(self.training_images(), learned.patches, side=learned.side, seed=learned.seed),
            cut_patches(self.held_out, max(1, learned.patches // 2), side=learned.side, seed=learned.seed),
        )

    def new_patches(self, learned: PatchesLearned) -> SparseAutoencoder:
        """Make a sparse autoencoder with the initial weights of the seed; its preparation is learned from the patches."""
        prepared = prepare(self.patches(learned)[0], learned.preparation)
        with seeded(learned.seed):
            return SparseAutoencoder(prepared, learned.hidden)

    def trained_patches(self, learned: PatchesLearned) -> SparseAutoencoder:
        """Read a trained sparse autoencoder."""
        if learned.kind == "random":
            return self.new_patches(learned)
        if learned.kind == "matched":
            return self._matched_patches(learned)
        size = learned.side * learned.side * self.splits.labeled.shape[0]
        nothing = np.zeros(self.splits.labeled.shape[0])
        shape = (len(nothing), learned.side, learned.side)
        blank = Prepared(nothing, nothing, np.zeros((size, size)), np.zeros(size), shape)
        with seeded(0):
            model = SparseAutoencoder(blank, learned.hidden)
        load_weights(self.patches_run(learned).folder / "weights.safetensors", model)
        return model

    def _matched_patches(self, learned: PatchesLearned) -> SparseAutoencoder:
        """Give random filters the lengths and thresholds of the learned ones: what their directions are worth is left as the difference."""
        model, chance = self.trained_patches(replace(learned, kind="sparse")), self.new_patches(learned)
        with torch.no_grad():
            for layer, random in zip(model.encoding, chance.encoding, strict=True):
                lengths = layer.weight.norm(dim=1) / random.weight.norm(dim=1)
                layer.weight.copy_(random.weight * lengths[:, None])
        return model

    def patch_encoder(self, learned: PatchesLearned, stride: int) -> PatchEncoder | TriangleEncoder:
        """Make the encoder that applies filters to whole images."""
        if learned.kind == "centroids":
            return fit_centroids(self.patches(learned)[0], learned.hidden[0], stride=stride, seed=learned.seed)
        if learned.kind == "hand-made":
            kernel = (learned.side, learned.side)
            weights = torch.from_numpy(hand_made_filters(learned.hidden[0], self.splits.labeled.shape[0], kernel))
            return PatchEncoder(weights, torch.zeros(len(weights)), stride=stride)
        return PatchEncoder.of(self.trained_patches(learned), stride=stride)

    def trained_autoencoder(self, learned: Learned) -> ConvAutoEncoder:
        """Read a trained autoencoder."""
        model = self.new_autoencoder(learned.encoder, learned.seed, config=learned.config)
        load_weights(self.autoencoder_run(learned).folder / "weights.safetensors", model)
        return model

    def hand_made_encoder(self, encoder: EncoderConfig) -> Encoder:
        """Make an encoder of one block's shape whose filters are the hand-made ones, without offsets."""
        made = self.new_encoder(encoder, 0)
        if len(made.convolutions) != 1:
            raise DataError("hand-made filters stand in an encoder of one block; give --encoder one layer")
        block = made.geometry.blocks[0]
        weights = hand_made_filters(block.out_channels, block.in_channels, block.conv_kernel)
        state = {"weight": torch.from_numpy(weights), "bias": torch.zeros(block.out_channels)}
        made.convolutions[0].load_state_dict(state)
        return made

    def _fit_components(self, length: int, fold: int | None) -> PrincipalComponents:
        images = self.training_images() if fold is None else self.splits.labeled.subset(self.folds.folds[fold].train)
        return fit_components(images, length)

    def _make_features(self, spec: FeatureSpec) -> Features:
        splits = (self.splits.labeled, self.splits.test)
        if isinstance(spec, PixelFeatures):
            return Features(*map(pixel_features, splits))
        if isinstance(spec, ComponentFeatures):
            components = self.components(self.geometry(spec.encoder).code_length, spec.fold)
            return Features(*map(components.scores, splits))
        if isinstance(spec, LearnedMaps | PatchMaps):
            maps = (
                self.trained_autoencoder(spec.learned).encoder
                if isinstance(spec, LearnedMaps)
                else self.patch_encoder(spec.learned, spec.stride)
            )
            return Features(*(map_features(maps, images, spec.grid, runtime=self.runtime) for images in splits))
        encoder = self.encoder(spec)
        codes = [encode(encoder, images, runtime=self.runtime) for images in splits]
        if spec.pooling == "quadrants":
            codes = [pool_quadrants(code, encoder.geometry.code_size) for code in codes]
        return Features(*codes)

    def encoder(self, spec: HandMadeCodes | RandomCodes | LearnedCodes) -> Encoder:
        """Return the encoder whose codes are asked for; a trained one is read."""
        if isinstance(spec, HandMadeCodes):
            return self.hand_made_encoder(spec.encoder)
        if isinstance(spec, RandomCodes):
            return self.new_encoder(spec.encoder, spec.seed)
        return self.trained_autoencoder(spec.learned).encoder

    def protocol(self, *, labeled: bool = True) -> Protocol:
        """Say what was compared on what, for the report to print beside the numbers; without labels there are no folds."""
        splits, config = self.splits, self.config
        channels, height, width = splits.labeled.shape
        small = config.network.training
        both = config.study == "gain" and config.classifier == "both"
        strong = both or config.study == "open-set" or (config.study == "gain" and config.classifier == "strong")
        training = config.strong.training if strong else small
        return Protocol(
            data=config.data_name,
            preset=config.preset,
            image=(channels, height, width),
            class_names=tuple(splits.class_names),
            labeled=len(splits.labeled),
            unlabeled=len(splits.unlabeled),
            held_out=len(self.held_out) if len(splits.unlabeled) > 1 else 0,
            test=len(splits.test),
            folds=describe(self.folds) if labeled else None,
            seeds=config.seeds,
            leaks=splits.leaks,
            near=splits.near,
            notes=tuple(splits.notes),
            origin={name: value for name, value in splits.origin.items() if name != "counts"},
            ensemble=config.classical.ensemble,
            flip=training.flip,
            shift=training.shift,
            cutout=training.cutout,
            operations=training.operations,
            small_network=Augmented(small.flip, small.shift, small.cutout, small.operations) if both else None,
            precision=self.runtime.precision,
            strong_precision="" if (used := self.__dict__.get("strong_runtime")) is None else used.precision,
            kernels=self.kernels,
            strong_kernels="strong_runtime" in self.__dict__ and self.strong_kernels,
            apart=self.apart,
        )


_labs: dict[str, Lab] = {}


def _same_lab(config: Config, splits: Splits, folder: Path, library: Path | None, chosen: dict[str, Any]) -> Lab:
    """Return this process's lab of that configuration, so that what it has made is made once; its kernels are its parent's."""
    building.take(library)
    key = fingerprint([config.model_dump(mode="json"), splits.origin.get("key"), str(folder), repr(chosen)])
    if key not in _labs:
        _labs.clear()
        _labs[key] = Lab(config, splits, folder)
    vars(_labs[key]).update(chosen)
    return _labs[key]
