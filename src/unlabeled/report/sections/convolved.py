"""Section 8: filters of patches as a convolution."""

from __future__ import annotations

from unlabeled.records import ArmKey, ContrastResult
from unlabeled.report.drawing import filter_sheet
from unlabeled.report.language import Language
from unlabeled.report.plots import Level
from unlabeled.report.sections.parts import (
    Context,
    Part,
    Photographs,
    Picture,
    Points,
    Section,
    Table,
    accuracy_cells,
    arms_figure,
    contrasts_table,
    count_cell,
    model_name,
    pair_name,
    seconds_cell,
    told_effect,
    verdict_lists,
)
from unlabeled.report.sections.sparse import preparation_name
from unlabeled.results import read_result
from unlabeled.studies.convolved import FROM_FILTERS, MODELS, PIXELS, SCRATCH, ConvolvedFindings

_COLOURS = {
    "pixels": "pixels", "sparse": "slow", "report": "bicubic",
    "deep": "gradual", "random": "random", "centroids": "pca", "hand-made": "filters",
    "autoencoder": "autoencoder",
}  # fmt: skip


def write(context: Context[ConvolvedFindings]) -> Section:
    """Write the section."""
    language = context.language
    _ = language.gettext
    parts: list[Part] = [_arms(context)]
    parts += [Picture(_figure(context, model), _model_sentence(context, model)) for model in MODELS]
    every = contrasts_table(
        context.findings.comparison.contrasts,
        language,
        name=lambda arm: _arm_name(arm, language),
        title=_("Every comparison"),
        note=_("p values are corrected within a model's rivals, its strides and its whole maps, each apart."),
    )
    return Section(
        key="convolved",
        title=_("Filters of patches as a convolution"),
        question=_(
            "What are filters learned on patches worth when they are applied to whole images, against other "
            "filters of the same number?"
        ),
        setup=_setup(context),
        parts=[
            *parts,
            every,
            Points([_stride_sentence(context), *_pattern_sentences(context)[:-1], _network_sentence(context)]),
            *_filters(context),
        ],
        conclusion=[
            *(_verdicts(context, model) for model in MODELS),
            *(_pattern_sentences(context)[-1:] or [_network_sentence(context)]),
        ],
    )


def _setup(context: Context[ConvolvedFindings]) -> list[str]:
    findings, language = context.findings, context.language
    _ = language.gettext
    settings = context.config["studies"]["sparse"]
    return [
        _(
            "The sparse autoencoder of study 7 ({preparation}, ρ = {rho}, β = {beta}, λ = {decay}) has {filters} "
            "filters of {side}×{side}; they "
            "are applied as a convolution, with preparation and offsets folded in exactly, every {strides} "
            "pixels, and the maps are pooled to "
            "{grid}×{grid} means at the most."
        ).format(
            preparation=preparation_name(settings["preparation"], language),
            rho=language.short(settings["rho"]),
            beta=language.short(settings["beta"]),
            decay=language.short(settings["decay"]),
            filters=findings.filters,
            side=findings.side,
            strides=", ".join(map(str, findings.strides)),
            grid=findings.grid,
        ),
        _(
            "Against them, at stride {stride} and as many: the same autoencoder before training, k-means "
            "centroids with the triangle activation "
            "(Coates, Ng and Lee 2011), hand-made filters, and a convolutional autoencoder of one layer. Logistic "
            "regression and forest choose on "
            "validation data."
        ).format(stride=findings.stride),
        _(
            "Whole maps at strides {strides} have the settings of a course report of 2016: clip at three sigma, ρ = 0.06, "
            "β = 3, λ = 0.0001, one hidden layer or three ({deep})."
        ).format(strides=", ".join(map(str, findings.unpooled)), deep="-".join(map(str, findings.deep)) or "–"),
        _(
            "The network has the filters as its first layer (sigmoid, max-pool {pool}, linear layer), all trained "
            "on, against the same network "
            "from scratch."
        ).format(pool=findings.network["pool_kernel_size"]),
    ]


def _name(arm: ArmKey, language: Language) -> str:
    """Name a kind of features."""
    _ = language.gettext
    name = {
        "pixels": _("pixels"),
        "sparse": _("sparse filters"),
        "report": _("as in 2016"),
        "deep": _("as in 2016, 3 layers"),
        "random": _("random filters"),
        "centroids": _("k-means (triangle)"),
        "hand-made": _("hand-made filters"),
        "autoencoder": _("convolutional autoencoder"),
    }[arm.source]
    return name + (_(", stride {n}").format(n=arm.stride) if arm.stride else "")


def _arm_name(arm: ArmKey, language: Language) -> str:
    _ = language.gettext
    if arm in (SCRATCH, FROM_FILTERS):
        return _("network from scratch") if arm == SCRATCH else _("network from the sparse filters")
    return f"{_name(arm, language)} → {model_name(arm.model, language)}"


def _arms(context: Context[ConvolvedFindings]) -> Table:
    findings, language = context.findings, context.language
    _ = language.gettext
    keys = [kind.arm(model) for model in MODELS for kind in findings.kinds] + [SCRATCH, FROM_FILTERS]
    rows = []
    for key in keys:
        arm = findings.comparison.arm(key)
        features = count_cell(arm.medians.get("features"), language)
        cells = [*accuracy_cells(arm, language), features, seconds_cell(arm.seconds, language)]
        rows.append([_arm_name(key, language), *cells])
    heads = [_("features → model"), _("accuracy, % (95 %)"), _("log loss, nats (95 %)"), _("features"), _("fit, s")]
    return Table("", heads, rows, swatches=[_COLOURS[key.source] for key in keys])


def _figure(context: Context[ConvolvedFindings], model: str) -> str:
    findings, language = context.findings, context.language
    _ = language.gettext
    marks = []
    for key, name, colour in (
        *((PIXELS.arm(other), f"{_('pixels')}, {model_name(other, language)}", "pixels") for other in MODELS),
        (SCRATCH, _("network from scratch"), "random"),
    ):
        accuracy = findings.comparison.arm(key).accuracy
        if accuracy is not None:
            marks.append(Level(name, accuracy.mean, colour))
    return arms_figure(
        f"convolved-{model}",
        [findings.comparison.arm(kind.arm(model)) for kind in findings.kinds if kind != PIXELS],
        findings.rows,
        language,
        name=lambda arm: _name(arm, language),
        colour=lambda arm: _COLOURS[arm.source],
        label=f"{model_name(model, language)}: " + _("test accuracy, %"),
        levels=marks,
    )


def _family(context: Context[ConvolvedFindings], family: str) -> tuple[ContrastResult, ...]:
    return context.findings.comparison.family(family)


def _model_sentence(context: Context[ConvolvedFindings], model: str) -> str:
    """Say what the sparse filters gain over each other kind."""
    language = context.language
    told = [
        language.gettext("over {source} {effect}").format(
            source=_name(contrast.control, language), effect=told_effect(contrast, language)
        )
        for contrast in _family(context, model)
    ]
    return language.gettext("Sparse filters at stride {stride} for {model}, in points: {told}.").format(
        stride=context.findings.stride, model=model_name(model, language), told="; ".join(told)
    )


def _verdicts(context: Context[ConvolvedFindings], model: str) -> str:
    """Say over which other filters the sparse ones help a model."""
    language = context.language
    named = [(_name(c.control, language), c.verdict) for c in _family(context, model)]
    text = language.gettext("Sparse filters vs others, {model}: {verdicts}.")
    return text.format(model=model_name(model, language), verdicts=verdict_lists(named, language))


def _filters(context: Context[ConvolvedFindings]) -> list[Photographs]:
    filters = read_result(context.folder).arrays("pictures.npz")["filters"]
    if not len(filters):
        return []
    _ = context.language.gettext
    caption = _("The {n} sparse filters of seed 0 on the pixels, as the convolution has them; grey is zero.")
    return [Photographs([(_("filters"), filter_sheet(filters))], caption.format(n=context.findings.filters))]


def _stride_sentence(context: Context[ConvolvedFindings]) -> str:
    """Say what smaller strides bring, by model."""
    language = context.language
    told = [
        f"{_arm_name(contrast.treated, language)} {told_effect(contrast, language)}"
        for model in MODELS
        for contrast in _family(context, f"stride {model}")
    ]
    if not told:
        return language.gettext("Only one stride fits these images.")
    return language.gettext("Pooled maps, each vs the next larger stride, in points: {told}.").format(
        told="; ".join(told)
    )


def _pattern_sentences(context: Context[ConvolvedFindings]) -> list[str]:
    """Say whether the pattern of the course report of 2016 appears: logistic regression gains, trees and depth do not."""
    language = context.language
    _ = language.gettext
    pattern = {model: _family(context, f"pattern {model}") for model in MODELS}
    if not pattern["logistic"]:
        return []
    sentences = []
    for model, contrasts in pattern.items():
        told = [
            f"{pair_name(c, language, lambda arm: _name(arm, language))} {told_effect(c, language)}" for c in contrasts
        ]
        sentences.append(
            _("Whole maps, {model}, in points: {told}.").format(model=model_name(model, language), told="; ".join(told))
        )
    steps = {model: [c.verdict for c in pattern[model] if c.treated.source != "deep"] for model in MODELS}
    words = {True: _("yes"), False: _("no")}
    told = [
        _("each step helps logistic regression: {found}").format(
            found=words[all(v == "helps" for v in steps["logistic"])]
        ),
        _("no step helps trees: {found}").format(found=words[all(v != "helps" for v in steps["trees"])]),
        *(
            _("three hidden layers are worse than one, {model}: {found}").format(
                model=model_name(model, language), found=words[c.verdict == "hurts"]
            )
            for model, contrasts in pattern.items()
            for c in contrasts
            if c.treated.source == "deep"
        ),
    ]
    sentences.append(
        _(
            "A course report of 2016 found on STL-10 at 96×96, without intervals: pixels 34.0 %, stride 8 47.6 %, "
            "stride 4 50.6 % for logistic "
            "regression, no gain for trees, three hidden layers worse. Here: {told}."
        ).format(told="; ".join(told))
    )
    return sentences


def _network_sentence(context: Context[ConvolvedFindings]) -> str:
    language = context.language
    _ = language.gettext
    contrast = context.findings.comparison.find(FROM_FILTERS, SCRATCH)
    if contrast is None or contrast.accuracy is None:
        return _("A network diverged, so there is no answer.")
    return _(
        "Fine-tuned whole, the network that begins with the sparse filters vs the same from scratch: {effect}."
    ).format(effect=told_effect(contrast, language))
