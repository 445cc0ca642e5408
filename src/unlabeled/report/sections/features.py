"""Section 4: frozen codes for the classical models."""

from __future__ import annotations

from dataclasses import replace

from unlabeled.records import ArmKey, ArmSummary, ContrastResult
from unlabeled.report.language import Language, effect_text
from unlabeled.report.plots import Level
from unlabeled.report.sections.baselines import levels
from unlabeled.report.sections.parts import (
    Context,
    Part,
    Picture,
    Points,
    Section,
    Table,
    accuracy_cells,
    arms_figure,
    comparison_word,
    contrasts_table,
    count_cell,
    model_name,
    seconds_cell,
    source_name,
    told_effect,
    verdict_lists,
    verdict_name,
)
from unlabeled.studies.features import CODES, KINDS, MODELS, NETWORK, FeaturesFindings, Fit, Kind


def write(context: Context[FeaturesFindings]) -> Section:
    """Write the section."""
    findings, language = context.findings, context.language
    _ = language.gettext
    parts: list[Part] = [_arms(context)]
    parts += [Picture(_figure(context, model), _model_sentence(context, model)) for model in MODELS]
    every = contrasts_table(
        findings.comparison.contrasts,
        language,
        name=lambda arm: _name(arm, language),
        title=_("Every comparison"),
        note=_("p values are corrected within a model's comparisons."),
        merely=lambda c: c.contrast.family in ("scaling", "network"),
    )
    return Section(
        key="features",
        title=_("Features of the autoencoder for classical models"),
        question=_("What are the frozen codes of the autoencoder worth to logistic regression, trees and neighbours?"),
        setup=_setup(context),
        parts=[
            *parts,
            every,
            _why(context),
            Points([*_gains(context), *_why_sentences(context), *_scaling_sentences(context)]),
        ],
        conclusion=[
            _verdicts(context, "pixels", _("Frozen codes vs pixels: {verdicts}.")),
            _verdicts(context, "random", _("Frozen codes vs those of a random encoder: {verdicts}.")),
            _network_sentence(context),
        ],
    )


def _setup(context: Context[FeaturesFindings]) -> list[str]:
    findings, language = context.findings, context.language
    _ = language.gettext
    encoder = findings.encoder
    given = context.config["studies"]["encoder"] == "given"
    origin = _("the encoder given") if given else _("the encoder that study 3 chose")
    return [
        _(
            "{origin}: filters {filters}, kernel {kernel}, stride {stride}, padding {padding}, {pool} pool "
            "{side}, loss {loss}; {length} numbers. "
            "It is trained on all unlabeled images to train on, once a seed, and then frozen."
        ).format(
            origin=origin[:1].upper() + origin[1:],
            filters=encoder["conv_out_channels"],
            kernel=encoder["conv_kernel_size"],
            stride=encoder["conv_stride"],
            padding=encoder["conv_padding"],
            pool=encoder["pool"],
            side=encoder["pool_kernel_size"],
            loss=findings.loss,
            length=language.number(findings.code_length, 0),
        ),
        _(
            "Codes are taken whole, or as each filter's mean over each quadrant (Coates, Ng and Lee 2011). "
            "Against them: pixels, PCA of "
            "the unlabeled images of the same length, and an encoder of the same shape with random weights."
        ),
        _(
            "Hand-made filters (Sobel, Laplace, lines, blur) stand in an encoder of the same shape and are "
            "applied by the same convolution."
        )
        if any(shape.kind.source == "filters" for shape in findings.shapes)
        else _("There are no hand-made filters here: they are one layer, and this encoder has more."),
        _(
            "Every model chooses its strength, scaling, rounds or neighbours on validation data; the network is "
            "that of study 2."
        ),
    ]


def _arms_of(context: Context[FeaturesFindings], model: str) -> list[ArmSummary]:
    """Return a model's arms, each scaled as validation chose, in the order of tables."""
    arms = {arm.arm: arm for arm in context.findings.comparison.arms}
    return [arms[kind.arm(model)] for kind in KINDS if kind.arm(model) in arms]


def _kind_name(kind: Kind, language: Language) -> str:
    return source_name(f"{kind.source}-{kind.pooling}" if kind.pooling else kind.source, language)


def _name(arm: ArmKey, language: Language) -> str:
    """Name an arm: its features, its model, and how they were scaled."""
    _ = language.gettext
    if arm == NETWORK:
        return _("network of study 2")
    scalings = {"": "", "common": ", " + _("one scale"), "each": ", " + _("standardised")}
    name = f"{_kind_name(Kind(arm.source, arm.pooling), language)} → {model_name(arm.model, language)}"
    return name + scalings[arm.scaling]


def _arms(context: Context[FeaturesFindings]) -> Table:
    language = context.language
    _ = language.gettext
    arms = [arm for model in MODELS for arm in _arms_of(context, model)] + [context.findings.comparison.arm(NETWORK)]
    rows = [
        [
            _name(arm.arm, language),
            *accuracy_cells(arm, language),
            count_cell(arm.medians.get("features"), language),
            seconds_cell(arm.seconds, language),
        ]
        for arm in arms
    ]
    heads = [_("features → model"), _("accuracy, % (95 %)"), _("log loss, nats (95 %)"), _("features"), _("fit, s")]
    swatches = ["frozen" if arm.arm == NETWORK else arm.arm.source for arm in arms]
    return Table("", heads, rows, swatches=swatches)


def _figure(context: Context[FeaturesFindings], model: str) -> str:
    findings, language = context.findings, context.language
    _ = language.gettext
    marks = levels(findings.comparison.arms, language)
    network = findings.comparison.arm(NETWORK)
    if network.accuracy is not None:
        marks.append(Level(_("network of study 2"), network.accuracy.mean, "frozen"))
    return arms_figure(
        f"features-{model}",
        _arms_of(context, model),
        findings.rows,
        language,
        name=lambda arm: _kind_name(Kind(arm.source, arm.pooling), language),
        colour=lambda arm: arm.source,
        label=f"{model_name(model, language)}: " + _("test accuracy, %"),
        levels=marks,
    )


def _against(context: Context[FeaturesFindings], model: str, source: str) -> ContrastResult | None:
    """Return what the codes gain over another kind of features, if that could be measured."""
    found = context.findings.comparison.find(CODES.arm(model), ArmKey(source, model))
    return found if found is not None and found.accuracy is not None else None


def _model_sentence(context: Context[FeaturesFindings], model: str) -> str:
    """Say what the codes gain over each other kind of features."""
    language = context.language
    _ = language.gettext
    told = []
    for source in ("pixels", "random", "filters", "pca"):
        contrast = _against(context, model, source)
        if contrast is not None and contrast.accuracy is not None:
            told.append(
                _("over {source} {effect}, {verdict}").format(
                    source=source_name(source, language),
                    effect=effect_text(contrast.accuracy, language),
                    verdict=verdict_name(contrast.verdict, language),
                )
            )
    return _("The autoencoder's codes for {model}, in points: {told}.").format(
        model=model_name(model, language), told="; ".join(told)
    )


def _fit(context: Context[FeaturesFindings], kind: Kind, model: str) -> Fit | None:
    return next((fit for fit in context.findings.fits if fit.arm == kind.arm(model)), None)


def _why(context: Context[FeaturesFindings]) -> Table:
    shapes, language = context.findings.shapes, context.language
    _ = language.gettext
    rows = []
    for shape in shapes:
        linear, trees = (_fit(context, shape.kind, model) for model in ("logistic", "trees"))
        rows.append(
            [
                _kind_name(shape.kind, language),
                language.number(shape.alive, 0),
                language.number(100 * linear.train_accuracy, 1) if linear else "–",
                language.number(trees.depth, 1) if trees and trees.depth is not None else "–",
                language.number(shape.correlation, 2),
                language.number(shape.directions, 1),
                language.number(100 * shape.zeros, 0),
            ]
        )
    heads = [
        _("features"), _("features that vary"), _("linear fit on training, %"), _("depth of the trees"),
        _("mean correlation"), _("directions"), _("zeros, %"),
    ]  # fmt: skip
    note = _(
        "Correlation: mean absolute one between features (of 512 at the most). Directions: participation ratio "
        "of the covariance's "
        "eigenvalues, how many directions hold the variance. Seed 0, labeled images."
    )
    swatches = [shape.kind.source for shape in shapes]
    return Table(_("Why, as far as numbers show"), heads, rows, note=note, swatches=swatches)


def _verdicts(context: Context[FeaturesFindings], source: str, text: str) -> str:
    """Say which models gain from the codes over another kind of features."""
    language = context.language
    named = [
        (model_name(model, language), found.verdict)
        for model in MODELS
        if (found := context.findings.comparison.find(CODES.arm(model), ArmKey(source, model))) is not None
    ]
    return text.format(verdicts=verdict_lists(named, language))


def _gains(context: Context[FeaturesFindings]) -> list[str]:
    """Say which model gains most over pixels, and how much of that a random encoder has too."""
    language = context.language
    _ = language.gettext
    over = [c for model in MODELS if (c := _against(context, model, "pixels")) is not None]
    most = max(((c.accuracy.mean, c) for c in over if c.accuracy is not None), key=lambda pair: pair[0], default=None)
    if most is None or most[1].accuracy is None:
        return []
    mean, contrast = most
    text = (
        _("In the mean {model} gains most from the codes over pixels: {effect} points, {verdict}.")
        if mean > 0
        else _("No model gains from the codes over pixels; the least loss is {model}'s: {effect} points, {verdict}.")
    )
    first = text.format(
        model=model_name(contrast.treated.model, language),
        effect=effect_text(most[1].accuracy, language),
        verdict=verdict_name(contrast.verdict, language),
    )
    return [first] + [
        _over(context, source)
        for source in ("pixels", "random", "filters")
        if _against(context, "logistic", source) is not None
    ]


def _over(context: Context[FeaturesFindings], source: str) -> str:
    """Say what the codes gain over another kind of features, model by model."""
    language = context.language
    told = [
        f"{model_name(model, language)} {told_effect(contrast, language)}"
        for model in MODELS
        if (contrast := _against(context, model, source)) is not None
    ]
    text = language.gettext("Over {source}, in points: {told}.")
    return text.format(source=source_name(source, language), told="; ".join(told))


def _why_sentences(context: Context[FeaturesFindings]) -> list[str]:
    language = context.language
    _ = language.gettext
    sentences = []
    kinds = (CODES, Kind("pixels"))
    ours, theirs = (_fit(context, kind, "logistic") for kind in kinds)
    if ours and theirs:
        sentences.append(
            _(
                "Linear separability: logistic regression is right on {ours} % of its own training images with "
                "codes and on {theirs} % with "
                "pixels, at the penalties that validation chose."
            ).format(
                ours=language.number(100 * ours.train_accuracy), theirs=language.number(100 * theirs.train_accuracy)
            )
        )
    ours, theirs = (_fit(context, kind, "trees") for kind in kinds)
    codes, pixels = (next((s for s in context.findings.shapes if s.kind == kind), None) for kind in kinds)
    if ours and theirs and codes and pixels and ours.depth is not None and theirs.depth is not None:
        sentences.append(
            _(
                "Trees are {ours} deep on codes and {theirs} on pixels; features correlate by {codes} in the "
                "mean for codes and by {pixels} "
                "for pixels, and {more} directions hold the codes' variance against {fewer} of the pixels'."
            ).format(
                ours=language.number(ours.depth),
                theirs=language.number(theirs.depth),
                codes=language.number(codes.correlation, 2),
                pixels=language.number(pixels.correlation, 2),
                more=language.number(codes.directions),
                fewer=language.number(pixels.directions),
            )
        )
    return sentences


def _scaling_sentences(context: Context[FeaturesFindings]) -> list[str]:
    language = context.language
    told = [
        f"{_name(replace(contrast.treated, scaling=''), language)} {told_effect(contrast, language, merely=True)}"
        for contrast in context.findings.comparison.family("scaling")
        if contrast.accuracy is not None
    ]
    text = language.gettext("Standardising each feature in place of one common scale, in points: {told}.")
    return [text.format(told="; ".join(told))] if told else []


def _network_sentence(context: Context[FeaturesFindings]) -> str:
    language = context.language
    _ = language.gettext
    contrast = context.findings.comparison.find(CODES.arm("logistic"), NETWORK)
    if contrast is None or contrast.accuracy is None:
        return _("The network of study 2 diverged.")
    return _(
        "Codes with logistic regression vs the network of study 2 trained from scratch: {effect} points, {verdict}."
    ).format(effect=effect_text(contrast.accuracy, language), verdict=comparison_word(contrast.verdict, language))
