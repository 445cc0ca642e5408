"""Section 4: frozen codes for the classical models."""

from __future__ import annotations

from typing import Any

from unlabeled.report.language import Language, effect_text
from unlabeled.report.plots import Level, lines_figure
from unlabeled.report.sections.baselines import levels
from unlabeled.report.sections.parts import (
    Cell,
    Context,
    Part,
    Picture,
    Section,
    Table,
    accuracy_cells,
    arm_line,
    comparison_word,
    effect_cells,
    interval_note,
    model_name,
    seconds_cell,
    source_name,
    verdict_name,
)

_MODELS = ("logistic", "trees", "boosting", "neighbours")
_SOURCES = ("pixels", "pca", "filters", "random", "autoencoder", "random-quadrants", "autoencoder-quadrants")


def write(context: Context) -> Section:
    """Write the section."""
    language = context.language
    _ = language.gettext
    parts: list[Part] = [_arms(context)]
    parts += [Picture(_figure(context, model), _model_sentence(context, model)) for model in _MODELS]
    parts += [_contrasts(context), _why(context)]
    return Section(
        key="features",
        title=_("Features of the autoencoder for classical models"),
        question=_("What are the frozen codes of the autoencoder worth to logistic regression, trees and neighbours?"),
        setup=_setup(context),
        parts=parts,
        conclusion=[
            *_gains(context),
            *_why_sentences(context),
            *_scaling_sentences(context),
            _network_sentence(context),
        ],
        protocol=context.protocol,
    )


def _setup(context: Context) -> list[str]:
    result, language = context.result, context.language
    _ = language.gettext
    encoder = result["encoder"]
    given = result["config"]["studies"]["encoder"] == "given"
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
            loss=result["loss"],
            length=language.number(result["code_length"], 0),
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
        if "filters" in result["why"]
        else _("There are no hand-made filters here: they are one layer, and this encoder has more."),
        _(
            "Every model chooses its strength, scaling, rounds or neighbours on validation data; the network is "
            "that of study 2."
        ),
    ]


def _arm(context: Context, name: str) -> dict[str, Any] | None:
    return next((arm for arm in context.result["arms"] if arm["arm"] == name), None)


def _arms(context: Context) -> Table:
    language = context.language
    _ = language.gettext
    rows: list[list[str | Cell]] = []
    swatches = []
    for model in _MODELS:
        for source in _SOURCES:
            arm = _arm(context, f"{source}-{model}")
            if arm is not None:
                name = f"{source_name(source, language)} → {model_name(model, language)}"
                rows.append(
                    [
                        name,
                        *accuracy_cells(arm, language),
                        _count(arm["features"], language),
                        seconds_cell(arm["seconds"], language),
                    ]
                )
                swatches.append(source.partition("-")[0])
    network = _arm(context, "base-network")
    if network is not None:
        rows.append(
            [
                _("network of study 2"),
                *accuracy_cells(network, language),
                "–",
                seconds_cell(network["seconds"], language),
            ]
        )
        swatches.append("frozen")
    heads = [_("features → model"), _("accuracy, % (95 %)"), _("log loss, nats (95 %)"), _("features"), _("fit, s")]
    return Table("", heads, rows, note=interval_note(language), swatches=swatches)


def _count(value: float | None, language: Language) -> str:
    return "–" if value is None else language.number(value, 0)


def _figure(context: Context, model: str) -> str:
    language = context.language
    _ = language.gettext
    lines = []
    for source in _SOURCES:
        arm = _arm(context, f"{source}-{model}")
        if arm is not None and arm["accuracy"] is not None:
            colour, name = source.partition("-")[0], source_name(source, language)
            lines.append(arm_line(arm, context.result["rows"], name=name, colour=colour))
    marks = levels(context.result["arms"], language)
    network = _arm(context, "base-network")
    if network is not None and network["accuracy"] is not None:
        marks.append(Level(_("network of study 2"), network["accuracy"]["mean"], "frozen"))
    label = f"{model_name(model, language)}: " + _("test accuracy, %")
    return lines_figure(f"features-{model}", lines, language, label=label, levels=marks)


def _contrast(context: Context, treated: str, control: str) -> dict[str, Any] | None:
    return next(
        (
            contrast
            for contrast in context.result["contrasts"]
            if (contrast["treated"], contrast["control"]) == (treated, control) and contrast["accuracy"] is not None
        ),
        None,
    )


def _model_sentence(context: Context, model: str) -> str:
    """Say what the codes gain over each other kind of features."""
    language = context.language
    _ = language.gettext
    told = []
    for source in ("pixels", "random", "filters", "pca"):
        contrast = _contrast(context, f"autoencoder-{model}", f"{source}-{model}")
        if contrast is not None:
            told.append(
                _("over {source} {effect}, {verdict}").format(
                    source=source_name(source, language),
                    effect=effect_text(contrast["accuracy"], language),
                    verdict=verdict_name(contrast["verdict"], language),
                )
            )
    return _("The autoencoder's codes for {model}, in points: {told}.").format(
        model=model_name(model, language), told="; ".join(told)
    )


def _contrasts(context: Context) -> Table:
    language = context.language
    _ = language.gettext
    rows = [
        [
            _("{treated} less {control}").format(
                treated=_name(contrast["treated"], language), control=_name(contrast["control"], language)
            ),
            *effect_cells(contrast, language, merely=contrast["family"] in ("scaling", "network")),
        ]
        for contrast in context.result["contrasts"]
    ]
    heads = [_("comparison"), _("accuracy, points (95 %)"), _("p"), _("verdict")]
    note = _("p values are corrected within a model's comparisons.")
    return Table(_("Every comparison"), heads, rows, note=note)


def _name(arm: str, language: Language) -> str:
    """Name an arm: its features, its model, and how they were scaled."""
    _ = language.gettext
    if arm == "base-network":
        return _("network of study 2")
    scaling = ""
    for ending, word in (("-common", _("one scale")), ("-each", _("standardised"))):
        if arm.endswith(ending):
            arm, scaling = arm.removesuffix(ending), f", {word}"
    source, _dash, model = arm.rpartition("-")
    return f"{source_name(source, language)} → {model_name(model, language)}{scaling}"


def _why(context: Context) -> Table:
    result, language = context.result, context.language
    _ = language.gettext
    rows = []
    for source, facts in result["why"].items():
        linear, trees = (result["facts"].get(f"{source}-{model}", {}) for model in ("logistic", "trees"))
        rows.append(
            [
                source_name(source, language),
                language.number(facts["alive"], 0),
                language.number(100 * linear["train_accuracy"], 1) if linear else "–",
                language.number(trees["depth"], 1) if "depth" in trees else "–",
                language.number(facts["correlation"], 2),
                language.number(facts["directions"], 1),
                language.number(100 * facts["zeros"], 0),
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
    return Table(
        _("Why, as far as numbers show"), heads, rows, note=note, swatches=[s.partition("-")[0] for s in result["why"]]
    )


def _gains(context: Context) -> list[str]:
    """Say which model gains most over pixels, and how much of that a random encoder has too."""
    language = context.language
    _ = language.gettext
    over = {model: _contrast(context, f"autoencoder-{model}", f"pixels-{model}") for model in _MODELS}
    known = {model: contrast for model, contrast in over.items() if contrast is not None}
    if not known:
        return []
    most = max(known, key=lambda model: known[model]["accuracy"]["mean"])
    contrast = known[most]
    sentences = [
        _("In the mean {model} gains most from the codes over pixels: {effect} points, {verdict}.").format(
            model=model_name(most, language),
            effect=effect_text(contrast["accuracy"], language),
            verdict=verdict_name(contrast["verdict"], language),
        )
        if contrast["accuracy"]["mean"] > 0
        else _(
            "No model gains from the codes over pixels; the least loss is {model}'s: {effect} points, {verdict}."
        ).format(
            model=model_name(most, language),
            effect=effect_text(contrast["accuracy"], language),
            verdict=verdict_name(contrast["verdict"], language),
        )
    ]
    return sentences + [
        _over(context, source)
        for source in ("pixels", "random", "filters")
        if _contrast(context, "autoencoder-logistic", f"{source}-logistic") is not None
    ]


def _over(context: Context, source: str) -> str:
    """Say what the codes gain over another kind of features, model by model."""
    language = context.language
    _ = language.gettext
    told = []
    for model in _MODELS:
        contrast = _contrast(context, f"autoencoder-{model}", f"{source}-{model}")
        if contrast is not None:
            effect, verdict = effect_text(contrast["accuracy"], language), verdict_name(contrast["verdict"], language)
            told.append(f"{model_name(model, language)} {effect}, {verdict}")
    text = _("Over {source}, in points: {told}.")
    return text.format(source=source_name(source, language), told="; ".join(told))


def _why_sentences(context: Context) -> list[str]:
    result, language = context.result, context.language
    _ = language.gettext
    sentences = []
    ours, theirs = (result["facts"].get(f"{source}-logistic") for source in ("autoencoder", "pixels"))
    if ours and theirs:
        sentences.append(
            _(
                "Linear separability: logistic regression is right on {ours} % of its own training images with "
                "codes and on {theirs} % with "
                "pixels, at the penalties that validation chose."
            ).format(
                ours=language.number(100 * ours["train_accuracy"]),
                theirs=language.number(100 * theirs["train_accuracy"]),
            )
        )
    ours, theirs = (result["facts"].get(f"{source}-trees") for source in ("autoencoder", "pixels"))
    codes, pixels = result["why"].get("autoencoder"), result["why"].get("pixels")
    if ours and theirs and codes and pixels:
        sentences.append(
            _(
                "Trees are {ours} deep on codes and {theirs} on pixels; features correlate by {codes} in the "
                "mean for codes and by {pixels} "
                "for pixels, and {more} directions hold the codes' variance against {fewer} of the pixels'."
            ).format(
                ours=language.number(ours["depth"]),
                theirs=language.number(theirs["depth"]),
                codes=language.number(codes["correlation"], 2),
                pixels=language.number(pixels["correlation"], 2),
                more=language.number(codes["directions"]),
                fewer=language.number(pixels["directions"]),
            )
        )
    return sentences


def _scaling_sentences(context: Context) -> list[str]:
    language = context.language
    _ = language.gettext
    told = [
        f"{_name(contrast['treated'].removesuffix('-each'), language)} {effect_text(contrast['accuracy'], language)}, "
        f"{comparison_word(contrast['verdict'], language)}"
        for contrast in context.result["contrasts"]
        if contrast["family"] == "scaling" and contrast["accuracy"] is not None
    ]
    text = _("Standardising each feature in place of one common scale, in points: {told}.")
    return [text.format(told="; ".join(told))] if told else []


def _network_sentence(context: Context) -> str:
    language = context.language
    _ = language.gettext
    contrast = _contrast(context, "autoencoder-logistic", "base-network")
    if contrast is None:
        return _("The network of study 2 diverged.")
    return _(
        "Codes with logistic regression, less the network of study 2 trained from scratch: {effect} points, {verdict}."
    ).format(effect=effect_text(contrast["accuracy"], language), verdict=comparison_word(contrast["verdict"], language))
