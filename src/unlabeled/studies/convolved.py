"""Study 8: filters learned on patches, as a convolution: features for the classical models, first layer of a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unlabeled.errors import DataError
from unlabeled.experiments.tasks import Perform
from unlabeled.grammar.drawing import filter_sheet
from unlabeled.grammar.parts import Photographs, Picture, Points, Table
from unlabeled.grammar.plots import Level
from unlabeled.grammar.section import Context, Page
from unlabeled.grammar.tables import ArmTable, ContrastTable, arms_figure
from unlabeled.grammar.words import words
from unlabeled.keeping.files import write_arrays
from unlabeled.keeping.results import read_result
from unlabeled.records import ArmKey, Comparison, ContrastResult, Row, of_arm
from unlabeled.studies.maps import (
    FROM_FILTERS,
    MODELS,
    PIXELS,
    SCRATCH,
    SCRATCH_RELU,
    chosen_stride,
    fits,
    learning,
    make_contrasts,
    make_plan,
    network_encoder,
    tasks,
)  # fmt: skip
from unlabeled.studies.sparse import check_size, prepared_by
from unlabeled.studies.study import Study, experiment

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

_COLOURS = {
    "pixels": "pixels", "sparse": "slow", "report": "bicubic",
    "deep": "gradual", "random": "random", "matched": "frozen", "centroids": "pca", "hand-made": "filters",
    "autoencoder": "autoencoder",
}  # fmt: skip
_NETWORKS = {
    SCRATCH: words("network from scratch, sigmoid"),
    SCRATCH_RELU: words("network from scratch, relu"),
    FROM_FILTERS: words("network from the sparse filters"),
}
_SOURCES = {
    "pixels": words("pixels"),
    "sparse": words("sparse filters"),
    "report": words("as in 2016"),
    "deep": words("as in 2016, 3 layers"),
    "random": words("random filters"),
    "matched": words("random filters with the learned lengths"),
    "centroids": words("k-means (triangle)"),
    "hand-made": words("hand-made filters"),
    "autoencoder": words("convolutional autoencoder"),
}


@dataclass(frozen=True)
class ConvolvedFindings:
    """Findings of study 8."""

    comparison: Comparison
    kinds: tuple[ArmKey, ...]
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


def check(lab: Lab) -> None:
    """Refuse patches and strides that do not fit these images."""
    check_size(lab)
    if not any(fits(lab, stride) for stride in lab.config.studies.convolved.strides):
        raise DataError(
            "no stride of --studies.convolved.strides leaves a map on these images; use smaller patches or strides"
        )


def run(lab: Lab, do: Perform) -> ConvolvedFindings:
    """Fit logistic regression and trees on pooled maps, and train the network, for every kind of filters."""
    grid, sparse = lab.config.studies.convolved, lab.config.studies.sparse
    strides = [stride for stride in grid.strides if fits(lab, stride)]
    plans = [make_plan(lab, strides, seed) for seed in range(lab.config.seeds)]
    learned = do([task for plan in plans for task in learning(plan)])
    kinds = tuple(plans[0].features)
    contrasts = make_contrasts(kinds, chosen_stride(lab), strides)
    comparison, rows = experiment(lab, do, tasks(lab, plans), contrasts)
    first = next((row for row in of_arm(learned, ArmKey("sparse")) if not row.diverged), None)
    filters = np.empty((0, 0, 0, 0), dtype=np.float32)
    if first is not None:
        filters = read_result(lab.folder / first.run).arrays("filters.npz")["filters"]
    write_arrays(lab.folder / "convolved" / "pictures.npz", filters=filters)
    return ConvolvedFindings(
        comparison=comparison,
        kinds=kinds,
        strides=tuple(strides),
        stride=chosen_stride(lab),
        grid=grid.grid,
        side=sparse.side,
        filters=sparse.hidden,
        unpooled=tuple(stride for stride in grid.unpooled if fits(lab, stride)),
        deep=tuple(grid.deep),
        network=network_encoder(lab).model_dump(mode="json"),
        learned=tuple(learned),
        rows=rows,
    )


def _features_name(context: Context[ConvolvedFindings], arm: ArmKey) -> str:
    """Name a kind of features."""
    return context.say(_SOURCES[arm.source]) + (context.say(", stride {n}", n=arm.stride) if arm.stride else "")


def _name(context: Context[ConvolvedFindings], arm: ArmKey) -> str:
    if arm.model == "network":
        return context.say(_NETWORKS[arm])
    return f"{_features_name(context, arm)} → {context.model(arm.model)}"


def _arms(context: Context[ConvolvedFindings]) -> Table:
    keys = [kind.on(model) for model in MODELS for kind in context.findings.kinds] + [
        SCRATCH,
        SCRATCH_RELU,
        FROM_FILTERS,
    ]
    arms = [context.findings.comparison.arm(key) for key in keys]
    more = {words("features"): "features:0", words("fit, s"): "seconds:s"}
    return ArmTable(words("features → model"), more).of(context, arms)


def _figure(context: Context[ConvolvedFindings], model: str) -> Picture:
    """Draw a model's arms; the sentence says what the sparse filters gain over each other kind."""
    findings, beside = context.findings, []
    marks = [(PIXELS.on(other), context.say("pixels") + f", {context.model(other)}") for other in MODELS]
    for key, name in [*marks, (SCRATCH_RELU, context.name(SCRATCH_RELU))]:
        accuracy = findings.comparison.arm(key).accuracy
        if accuracy is not None:
            beside.append(Level(name, accuracy.mean, context.colour(key)))
    figure = arms_figure(
        context,
        f"convolved-{model}",
        [findings.comparison.arm(kind.on(model)) for kind in findings.kinds if kind != PIXELS],
        name=lambda arm: _features_name(context, arm),
        label=f"{context.model(model)}: " + context.say("test accuracy, %"),
        levels=beside,
    )
    effects = [
        context.say("over {source} {effect:effect}", source=_features_name(context, c.control), effect=c)
        for c in findings.comparison.family(model)
    ]
    text = context.say(
        "Sparse filters at stride {f.stride} for {model}, in points: {items}.",
        model=context.model(model),
        items="; ".join(effects),
    )
    return Picture(figure, text)


def _verdicts(context: Context[ConvolvedFindings]) -> Iterator[str]:
    """Say over which other filters the sparse ones help each model."""
    for model in MODELS:
        contrasts = context.findings.comparison.family(model)
        named = context.verdicts((_features_name(context, c.control), c.verdict) for c in contrasts)
        text = words("Sparse filters vs others, {model}: {verdicts}.")
        yield context.say(text, model=context.model(model), verdicts=named)


def _filters(context: Context[ConvolvedFindings]) -> Photographs | None:
    filters = context.pictures["filters"]
    if not len(filters):
        return None
    caption = context.say(
        "The {f.filters} sparse filters of seed 0 on the pixels, as the convolution has them; grey is zero."
    )
    return Photographs([(context.say("filters"), filter_sheet(filters))], caption)


def _strides(context: Context[ConvolvedFindings]) -> str:
    """Say what smaller strides bring, by model."""
    contrasts = [c for model in MODELS for c in context.findings.comparison.family(f"stride {model}")]
    if not contrasts:
        return context.say("Only one stride fits these images.")
    effects = context.effects(contrasts, lambda c: context.name(c.treated))
    return context.say("Pooled maps, each vs the next larger stride, in points: {items}.", items=effects)


def _patterns(context: Context[ConvolvedFindings]) -> dict[str, tuple[ContrastResult, ...]]:
    families: dict[str, tuple[ContrastResult, ...]] = {
        model: context.findings.comparison.family(f"pattern {model}") for model in MODELS
    }
    return families if families["logistic"] else {}


def _whole_maps(context: Context[ConvolvedFindings]) -> list[str]:
    def name(contrast: ContrastResult) -> str:
        treated, control = (_features_name(context, arm) for arm in (contrast.treated, contrast.control))
        return context.say("{treated} vs {control}", treated=treated, control=control)

    return [
        context.say(
            "Whole maps, {model}, in points: {items}.",
            model=context.model(model),
            items=context.effects(contrasts, name),
        )
        for model, contrasts in _patterns(context).items()
    ]


def _as_in_2016(context: Context[ConvolvedFindings]) -> str:
    """Say whether the pattern of the course report of 2016 appears: logistic regression gains, trees and depth do not."""
    pattern = _patterns(context)
    if not pattern:
        return _network(context)
    steps = {model: [c.verdict for c in pattern[model] if c.treated.source != "deep"] for model in MODELS}
    words_of = {True: context.say("shown"), False: context.say("not shown")}
    steps_told = [
        context.say(
            "each step helps logistic regression: {answer}",
            answer=words_of[all(v == "helps" for v in steps["logistic"])],
        ),
        context.say("some step helps trees: {answer}", answer=words_of[any(v == "helps" for v in steps["trees"])]),
        *(
            context.say("three hidden layers vs one, {model}: {effect:differs}", model=context.model(model), effect=c)
            for model, contrasts in pattern.items()
            for c in contrasts
            if c.treated.source == "deep"
        ),
    ]
    return context.say(
        "A course report of 2016 found on STL-10 at 96×96, without intervals: pixels 34.0 %, stride 8 47.6 %, stride 4 50.6 % for "
        "logistic regression, no gain for trees, three hidden layers worse. Here: {items}.",
        items="; ".join(steps_told),
    )


def _network(context: Context[ConvolvedFindings]) -> str:
    fair, alike = (context.findings.comparison.find(FROM_FILTERS, scratch) for scratch in (SCRATCH_RELU, SCRATCH))
    if fair is None or fair.accuracy is None:
        return context.say("A network diverged, so there is no answer.")
    return context.say(
        "Fine-tuned whole, the network that begins with the sparse filters vs one from scratch, in points: with relu from scratch "
        "{fair:effect}; with the sigmoid that the filters were learned with {alike:effect}.",
        fair=fair,
        alike=alike,
    )


PAGE = Page[ConvolvedFindings](
    "convolved",
    words("Filters of patches as a convolution"),
    words(
        "What are filters learned on patches worth when they are applied to whole images, against other "
        "filters of the same number?"
    ),
    setup=(
        lambda context: context.say(
            "The sparse autoencoder of study 7 ({preparation}, ρ = {s[rho]:g}, β = {s[beta]:g}, λ = {s[decay]:g}) has "
            "{f.filters} filters of {f.side}×{f.side}; they are applied as a convolution, with preparation and offsets folded "
            "in exactly, every {strides} pixels, and the maps are pooled to {f.grid}×{f.grid} means at the most.",
            preparation=prepared_by(context, context.config["studies"]["sparse"]),
            strides=context.say(" or ").join(map(str, context.findings.strides)),
            s=context.config["studies"]["sparse"],
        ),
        words(
            "Against them, at stride {f.stride} and as many: the same autoencoder before training, random filters with the "
            "learned ones' lengths and thresholds, k-means centroids with the triangle activation (Coates, Ng and Lee 2011), "
            "hand-made filters, and a convolutional autoencoder of one layer. Logistic regression and forest choose on "
            "validation data."
        ),
        lambda context: context.say(
            "Whole maps at strides {f.unpooled} have the settings of a course report of 2016: clip at three sigma, ρ = 0.06, "
            "β = 3, λ = 0.0001, one hidden layer or three ({deep}).",
            deep="-".join(map(str, context.findings.deep)) or "–",
        ),
        words(
            "The network has the filters as its first layer (sigmoid, max-pool {f.network[pool_kernel_size]}, linear layer), "
            "all trained on, against the same network from scratch."
        ),
    ),
    parts=(
        _arms,
        lambda context: [_figure(context, model) for model in MODELS],
        ContrastTable(
            words("Every comparison"),
            words("p values are corrected within a model's rivals, its strides and its whole maps, each apart."),
        ),
        lambda context: Points([_strides(context), *_whole_maps(context), _network(context)]),
        _filters,
    ),
    conclusion=(_verdicts, _as_in_2016),
    names=_name,
    colours=lambda arm: _COLOURS[arm.source],
)
CONVOLVED = Study("convolved", ("labeled", "unlabeled", "test"), ConvolvedFindings, run, (PAGE,), check)
