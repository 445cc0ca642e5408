"""Study 4: the autoencoder's frozen codes for the classical models, against pixels, PCA, random and hand-made filters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unlabeled.config import AutoencoderConfig, EncoderConfig
from unlabeled.errors import DataError
from unlabeled.experiments.specs import (
    ComponentFeatures,
    FeatureSpec,
    HandMadeCodes,
    Learned,
    LearnedCodes,
    PixelFeatures,
    RandomCodes,
)
from unlabeled.experiments.tasks import Classical, ClassicalTask, NetworkTask, Perform, Scaling, Task
from unlabeled.grammar.parts import Picture, Points, Table
from unlabeled.grammar.plots import Level
from unlabeled.grammar.section import Context, Page
from unlabeled.grammar.tables import ArmTable, Column, ContrastTable, arms_figure, levels, table
from unlabeled.grammar.words import words
from unlabeled.records import ArmKey, ArmSummary, Comparison, Contrast, ContrastResult, Row
from unlabeled.studies.codes import Fit, Shape, describe, make_fits
from unlabeled.studies.search import search
from unlabeled.studies.study import Study, experiment, train_autoencoders
from unlabeled.studies.variants import base_network, base_rates

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

_SOURCES = {
    ("pixels", ""): words("pixels"),
    ("pca", ""): words("PCA"),
    ("random", ""): words("random encoder"),
    ("filters", ""): words("hand-made filters"),
    ("autoencoder", ""): words("autoencoder"),
    ("random", "quadrants"): words("random encoder, quadrants"),
    ("autoencoder", "quadrants"): words("autoencoder, quadrants"),
}
_SCALED = {"common": words("one scale"), "each": words("standardised")}
MODELS: tuple[Classical, ...] = ("logistic", "trees", "boosting", "neighbours")
SCALED: tuple[Classical, ...] = ("logistic", "neighbours")
_SCALINGS: tuple[Scaling, ...] = ("common", "each")
CONTROLS = ("pixels", "pca", "filters", "random")
NETWORK = ArmKey("random", "network")


CODES, QUADRANTS = ArmKey("autoencoder"), ArmKey("autoencoder", pooling="quadrants")
# In the order of tables.
KINDS = (*(ArmKey(source) for source in CONTROLS), CODES, ArmKey("random", pooling="quadrants"), QUADRANTS)


@dataclass(frozen=True)
class FeaturesFindings:
    """Findings of study 4."""

    comparison: Comparison
    encoder: dict[str, Any]
    loss: str
    code_length: int
    shapes: tuple[Shape, ...]
    fits: tuple[Fit, ...]
    rows: tuple[Row, ...]


def check_encoder(lab: Lab) -> None:
    """Refuse an encoder that was given and does not fit these images."""
    if lab.config.studies.encoder == "given":
        lab.geometry(lab.config.encoder)
        lab.check_network(lab.config.encoder, lab.config.network)


def check(lab: Lab) -> None:
    """Refuse an encoder that was given and is of several blocks too: hand-made filters stand in one."""
    check_encoder(lab)
    if lab.config.studies.encoder == "given" and len(lab.geometry(lab.config.encoder).blocks) != 1:
        raise DataError(
            "study features puts hand-made filters in an encoder of one block; give --encoder one layer, or leave --studies.encoder out"
        )


def run(lab: Lab, do: Perform) -> FeaturesFindings:
    """Fit every model on every kind of features, and the network of study 2 on the images."""
    encoder, config = chosen_autoencoder(lab, do)
    train_autoencoders(do, [Learned(encoder, config, seed) for seed in range(lab.config.seeds)])
    kinds = _specs(encoder, config, 0)
    comparison, rows = experiment(lab, do, _plan(lab, encoder, config), _contrasts(kinds))
    fitted = {row.arm for row in rows if row.seed == 0 and row.scored is not None}
    # What nothing could be fitted on, for its autoencoder diverged, has no features either.
    shapes = tuple(
        describe(kind, lab.features(spec).labeled)
        for kind, spec in kinds.items()
        if any(kind.on(model) in fitted for model in MODELS)
    )
    shape, length = encoder.model_dump(mode="json"), lab.geometry(encoder).code_length
    return FeaturesFindings(comparison, shape, config.loss, length, shapes, make_fits(rows), rows)


def chosen_autoencoder(lab: Lab, do: Perform) -> tuple[EncoderConfig, AutoencoderConfig]:
    """Return the encoder and the loss that study 3 chooses, or those given; trained as --autoencoder says."""
    config = lab.config.autoencoder
    if lab.config.studies.encoder == "given":
        return lab.config.encoder, config
    chosen = search(lab, do).chosen
    return chosen.encoder, config.model_copy(update={"loss": chosen.config.loss})


def _specs(encoder: EncoderConfig, trained: AutoencoderConfig, seed: int) -> dict[ArmKey, FeatureSpec]:
    """Return the kinds of features of a seed."""
    learned = Learned(encoder, trained, seed)
    kinds: dict[ArmKey, FeatureSpec] = {
        ArmKey("pixels"): PixelFeatures(),
        ArmKey("pca"): ComponentFeatures(encoder),
        ArmKey("filters"): HandMadeCodes(encoder),
        ArmKey("random"): RandomCodes(encoder, seed),
        CODES: LearnedCodes(learned),
        ArmKey("random", pooling="quadrants"): RandomCodes(encoder, seed, "quadrants"),
        QUADRANTS: LearnedCodes(learned, "quadrants"),
    }
    if len(encoder.conv_out_channels) > 1:
        # The hand-made filters are one layer.
        del kinds[ArmKey("filters")]
    return kinds


def _plan(lab: Lab, encoder: EncoderConfig, trained: AutoencoderConfig) -> Iterator[Task]:
    grid, folds = lab.config.studies.network, range(len(lab.folds.folds))
    for seed in range(lab.config.seeds):
        for kind, spec in _specs(encoder, trained, seed).items():
            for model in MODELS:
                for fold in folds:
                    yield ClassicalTask(kind.on(model), spec, model, fold, seed)
                    if kind.source != "autoencoder" or model not in SCALED:
                        continue
                    for scaling in _SCALINGS:
                        yield ClassicalTask(kind.on(model, scaling), spec, model, fold, seed, (scaling,))
        for fold in folds:
            yield NetworkTask(NETWORK, grid.encoder, base_network(grid.training, base_rates(grid)), fold, seed)


def _contrasts(kinds: Collection[ArmKey]) -> list[Contrast]:
    """Return the comparisons, in families of a model each."""
    random = ArmKey("random", pooling="quadrants")
    contrasts = []
    for model in MODELS:
        codes = CODES.on(model)
        contrasts += [Contrast(codes, k.on(model), model) for k in kinds if k.source in CONTROLS and not k.pooling]
        contrasts += [Contrast(QUADRANTS.on(model), other.on(model), model) for other in (CODES, random)]
    contrasts += [
        Contrast(kind.on(model, "each"), kind.on(model, "common"), "scaling")
        for model in SCALED
        for kind in (CODES, QUADRANTS)
    ]
    return [*contrasts, Contrast(CODES.on("logistic"), NETWORK, "network")]


def _kind_name(context: Context[FeaturesFindings], arm: ArmKey) -> str:
    return context.say(_SOURCES[arm.source, arm.pooling])


def _name(context: Context[FeaturesFindings], arm: ArmKey) -> str:
    """Name an arm: its features, its model, and how they were scaled."""
    if arm == NETWORK:
        return context.say("network of study 2")
    scaling = ", " + context.say(_SCALED[arm.scaling]) if arm.scaling else ""
    return f"{_kind_name(context, arm)} → {context.model(arm.model)}{scaling}"


def _origin(context: Context[FeaturesFindings]) -> str:
    given = context.config["studies"]["encoder"] == "given"
    return context.say(
        "{origin:cap}: filters {e[conv_out_channels]}, kernel {e[conv_kernel_size]}, stride {e[conv_stride]}, padding "
        "{e[conv_padding]}, {e[pool]} pool {e[pool_kernel_size]}, loss {f.loss}; {f.code_length:0} numbers. It is trained on all "
        "unlabeled images to train on, once a seed, and then frozen.",
        origin=context.say("the encoder given") if given else context.say("the encoder that study 3 chose"),
        e=context.findings.encoder,
    )


def _hand_made(context: Context[FeaturesFindings]) -> str:
    if any(shape.kind.source == "filters" for shape in context.findings.shapes):
        return context.say(
            "Hand-made filters (Sobel, Laplace, lines, blur) stand in an encoder of the same shape and are "
            "applied by the same convolution."
        )
    return context.say("There are no hand-made filters here: they are one layer, and this encoder has more.")


def _arms_of(context: Context[FeaturesFindings], model: str) -> list[ArmSummary]:
    """Return a model's arms, each scaled as validation chose, in the order of tables."""
    arms = {arm.arm: arm for arm in context.findings.comparison.arms}
    return [arms[kind.on(model)] for kind in KINDS if kind.on(model) in arms]


def _arms(context: Context[FeaturesFindings]) -> Table:
    arms = [arm for model in MODELS for arm in _arms_of(context, model)] + [context.findings.comparison.arm(NETWORK)]
    more = {words("features"): "features:0", words("fit, s"): "seconds:s"}
    return ArmTable(words("features → model"), more).of(context, arms)


def _figure(context: Context[FeaturesFindings], model: str) -> Picture:
    """Draw a model's arms; the sentence says what the codes gain over each other kind of features."""
    beside = levels(context, context.findings.comparison.arms)
    network = context.findings.comparison.arm(NETWORK)
    if network.accuracy is not None:
        beside.append(Level(context.name(NETWORK), network.accuracy.mean, "frozen"))
    label = f"{context.model(model)}: " + context.say("test accuracy, %")
    figure = arms_figure(
        context, f"features-{model}", _arms_of(context, model), name=lambda arm: _kind_name(context, arm), label=label, levels=beside
    )  # fmt: skip
    effects = [
        context.say("over {source} {effect:effect}", source=_kind_name(context, ArmKey(source)), effect=contrast)
        for source in ("pixels", "random", "filters", "pca")
        if (contrast := _against(context, model, source))
    ]
    text = context.say(
        "The autoencoder's codes for {model}, in points: {items}.", model=context.model(model), items="; ".join(effects)
    )
    return Picture(figure, text)


def _against(context: Context[FeaturesFindings], model: str, source: str) -> ContrastResult | None:
    """Return what the codes gain over another kind of features, if they were compared."""
    return context.findings.comparison.find(CODES.on(model), ArmKey(source, model))


def _fit(context: Context[FeaturesFindings], kind: ArmKey, model: str) -> Fit | None:
    return next((fit for fit in context.findings.fits if fit.arm == kind.on(model)), None)


def _why(context: Context[FeaturesFindings]) -> Table:
    def fit(shape: Shape, model: str, name: str) -> Any:
        return getattr(_fit(context, shape.kind, model), name, None)

    columns: dict[str, Column[Shape]] = {
        words("features"): lambda shape: _kind_name(context, shape.kind),
        words("features that vary"): "{i.alive:0}",
        words("linear fit on training, %"): lambda s: context.language.write(fit(s, "logistic", "train_accuracy"), "%"),
        words("depth of the trees"): lambda s: context.language.write(fit(s, "trees", "depth"), "1"),
        words("mean correlation"): "{i.correlation:2}",
        words("directions"): "{i.directions:1}",
        words("zeros, %"): "{i.zeros:%0}",
    }
    note = words(
        "Correlation: mean absolute one between features (of 512 at the most). Directions: participation ratio of the covariance's "
        "eigenvalues, how many directions hold the variance. Seed 0, labeled images."
    )
    title, shapes = words("Why, as far as numbers show"), context.findings.shapes
    return table(context, columns, shapes, title=title, note=note, swatch=lambda shape: shape.kind.source)


def _verdicts(source: str, text: str) -> Callable[[Context[FeaturesFindings]], str]:
    """Say which models gain from the codes over another kind of features."""

    def say(context: Context[FeaturesFindings]) -> str:
        named = [(context.model(model), c.verdict) for model in MODELS if (c := _against(context, model, source))]
        return context.say(text, verdicts=context.verdicts(named))

    return say


def _gains(context: Context[FeaturesFindings]) -> Iterator[str]:
    """Say which model gains most over pixels, and how much of that a random encoder has too."""
    over = [(c.accuracy.mean, c) for model in MODELS if (c := _against(context, model, "pixels")) and c.accuracy]
    if not over:
        return
    mean, most = max(over, key=lambda pair: pair[0])
    text = (
        words("In the mean {model} gains most from the codes over pixels: {c.accuracy:e} points, {c:verdict}.")
        if mean > 0
        else words(
            "No model gains from the codes over pixels; the least loss is {model}'s: {c.accuracy:e} points, {c:verdict}."
        )
    )
    yield context.say(text, model=context.model(most.treated.model), c=most)
    for source in ("pixels", "random", "filters"):
        contrasts = [c for model in MODELS if (c := _against(context, model, source)) and c.accuracy]
        if contrasts and contrasts[0].treated.model == "logistic":
            effects = context.effects(contrasts, lambda c: context.model(c.treated.model))
            name = _kind_name(context, ArmKey(source))
            yield context.say("Over {source}, in points: {items}.", source=name, items=effects)


def _reasons(context: Context[FeaturesFindings]) -> Iterator[str]:
    kinds = (CODES, ArmKey("pixels"))
    ours, theirs = (_fit(context, kind, "logistic") for kind in kinds)
    if ours and theirs:
        yield context.say(
            "Linear separability: logistic regression is right on {ours.train_accuracy:%} % of its own training images with codes "
            "and on {theirs.train_accuracy:%} % with pixels, at the penalties that validation chose.",
            ours=ours,
            theirs=theirs,
        )
    ours, theirs = (_fit(context, kind, "trees") for kind in kinds)
    codes, pixels = (next((s for s in context.findings.shapes if s.kind == kind), None) for kind in kinds)
    if ours and theirs and codes and pixels and ours.depth is not None and theirs.depth is not None:
        yield context.say(
            "Trees are {ours.depth:1} deep on codes and {theirs.depth:1} on pixels; features correlate by {codes.correlation:2} "
            "in the mean for codes and by {pixels.correlation:2} for pixels, and {codes.directions:1} directions hold the codes' "
            "variance against {pixels.directions:1} of the pixels'.",
            ours=ours,
            theirs=theirs,
            codes=codes,
            pixels=pixels,
        )


def _scalings(context: Context[FeaturesFindings]) -> list[str]:
    contrasts = context.findings.comparison.family("scaling")
    effects = context.effects(contrasts, lambda c: context.name(replace(c.treated, scaling="")), "differs")
    text = words("Standardising each feature in place of one common scale, in points: {items}.")
    return [context.say(text, items=effects)] if effects else []


def _network(context: Context[FeaturesFindings]) -> str:
    contrast = context.findings.comparison.find(CODES.on("logistic"), NETWORK)
    if context.findings.comparison.arm(NETWORK).accuracy is None:
        return context.say("The network of study 2 diverged.")
    if contrast is None or contrast.accuracy is None:
        return context.say("The autoencoder diverged, so there are no codes to compare with the network of study 2.")
    return context.say(
        "Codes with logistic regression vs the network of study 2 trained from scratch: {c.accuracy:e} points, {c:word}.",
        c=contrast,
    )


PAGE = Page[FeaturesFindings](
    "features",
    words("Features of the autoencoder for classical models"),
    words("What are the frozen codes of the autoencoder worth to logistic regression, trees and neighbours?"),
    setup=(
        _origin,
        words(
            "Codes are taken whole, or as each filter's mean over each quadrant (Coates, Ng and Lee 2011). Against them: "
            "pixels, PCA of the unlabeled images of the same length, and an encoder of the same shape with random weights."
        ),
        _hand_made,
        words(
            "Every model chooses its strength, scaling, rounds or neighbours on validation data; the network is "
            "that of study 2."
        ),
    ),
    parts=(
        _arms,
        lambda context: [_figure(context, model) for model in MODELS],
        ContrastTable(
            words("Every comparison"),
            words("p values are corrected within a model's comparisons."),
            lambda c: c.contrast.family in ("scaling", "network"),
        ),
        _why,
        lambda context: Points([*_gains(context), *_reasons(context), *_scalings(context)]),
    ),
    conclusion=(
        _verdicts("pixels", words("Frozen codes vs pixels: {verdicts}.")),
        _verdicts("random", words("Frozen codes vs those of a random encoder: {verdicts}.")),
        _network,
    ),
    names=_name,
    colours=lambda arm: "frozen" if arm == NETWORK else arm.source,
)
FEATURES = Study("features", ("labeled", "unlabeled", "test"), FeaturesFindings, run, (PAGE,), check)
