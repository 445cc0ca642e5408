"""Section 8: filters of patches as a convolution."""

from __future__ import annotations

from typing import Any

from unlabeled.report.drawing import filter_sheet
from unlabeled.report.language import Language
from unlabeled.report.plots import Level, lines_figure
from unlabeled.report.sections.parts import (
    Cell,
    Context,
    Part,
    Photographs,
    Picture,
    Section,
    Table,
    accuracy_cells,
    arm_line,
    effect_cells,
    interval_note,
    model_name,
    seconds_cell,
    told_effect,
)
from unlabeled.report.sections.sparse import preparation_name
from unlabeled.results import read_result

_MODELS = ("logistic", "trees")
_COLOURS = {
    "pixels": "pixels", "sparse": "slow", "report": "bicubic",
    "deep": "gradual", "random": "random", "centroids": "pca", "hand-made": "filters",
    "autoencoder": "autoencoder",
}  # fmt: skip


def write(context: Context) -> Section:
    """Write the section."""
    language = context.language
    _ = language.gettext
    parts: list[Part] = [_arms(context)]
    parts += [Picture(_figure(context, model), _model_sentence(context, model)) for model in _MODELS]
    parts += [_contrasts(context), *_filters(context)]
    return Section(
        key="convolved",
        title=_("Filters of patches as a convolution"),
        question=_(
            "What are filters learned on patches worth when they are applied to whole images, against other "
            "filters of the same number?"
        ),
        setup=_setup(context),
        parts=parts,
        conclusion=[
            *(_model_sentence(context, model) for model in _MODELS),
            _stride_sentence(context),
            *_pattern_sentences(context),
            _network_sentence(context),
        ],
        protocol=context.protocol,
    )


def _setup(context: Context) -> list[str]:
    result, language = context.result, context.language
    _ = language.gettext
    settings = result["config"]["studies"]["sparse"]
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
            filters=result["filters"],
            side=result["side"],
            strides=", ".join(map(str, result["strides"])),
            grid=result["grid"],
        ),
        _(
            "Against them, at stride {stride} and as many: the same autoencoder before training, k-means "
            "centroids with the triangle activation "
            "(Coates, Ng and Lee 2011), hand-made filters, and a convolutional autoencoder of one layer. Logistic "
            "regression and forest choose on "
            "validation data."
        ).format(stride=result["stride"]),
        _(
            "Whole maps at strides {strides} have the settings of a course report of 2016: clip at three sigma, ρ = 0.06, "
            "β = 3, λ = 0.0001, one hidden layer or three ({deep})."
        ).format(strides=", ".join(map(str, result["unpooled"])), deep="-".join(map(str, result["deep"])) or "–"),
        _(
            "The network has the filters as its first layer (sigmoid, max-pool {pool}, linear layer), all trained "
            "on, against the same network "
            "from scratch."
        ).format(pool=result["network"]["pool_kernel_size"]),
    ]


def _name(feature: str, language: Language) -> str:
    """Name a kind of features."""
    _ = language.gettext
    kind, _space, rest = feature.partition(" ")
    stride = rest.partition(" ")[0]
    name = {
        "pixels": _("pixels"),
        "sparse": _("sparse filters"),
        "report": _("as in 2016"),
        "deep": _("as in 2016, 3 layers"),
        "random": _("random filters"),
        "centroids": _("k-means, triangle"),
        "hand-made": _("hand-made filters"),
        "autoencoder": _("convolutional autoencoder"),
        "scratch": _("network from scratch"),
    }[kind]
    return name + (_(", stride {n}").format(n=stride) if stride else "")


def _features(context: Context) -> list[str]:
    """Return the kinds of features, in the order of the runs."""
    names = (arm["arm"].rpartition("-")[0] for arm in context.result["arms"] if arm["arm"].endswith("-logistic"))
    return list(dict.fromkeys(names))


def _arm(context: Context, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(arm for arm in context.result["arms"] if arm["arm"] == name)
    return found


def _arms(context: Context) -> Table:
    language = context.language
    _ = language.gettext
    rows: list[list[str | Cell]] = []
    swatches = []
    for model in _MODELS:
        for feature in _features(context):
            arm = _arm(context, f"{feature}-{model}")
            count = "–" if arm["features"] is None else language.number(arm["features"], 0)
            name = f"{_name(feature, language)} → {model_name(model, language)}"
            rows.append([name, *accuracy_cells(arm, language), count, seconds_cell(arm["seconds"], language)])
            swatches.append(_COLOURS[feature.partition(" ")[0]])
    for name, text, colour in (
        ("scratch-network", _("network from scratch"), "random"),
        ("sparse-network", _("network from the sparse filters"), "slow"),
    ):
        arm = _arm(context, name)
        rows.append([text, *accuracy_cells(arm, language), "–", seconds_cell(arm["seconds"], language)])
        swatches.append(colour)
    heads = [_("features → model"), _("accuracy, % (95 %)"), _("log loss, nats (95 %)"), _("features"), _("fit, s")]
    return Table("", heads, rows, note=interval_note(language), swatches=swatches)


def _figure(context: Context, model: str) -> str:
    language = context.language
    _ = language.gettext
    lines = []
    for feature in _features(context):
        arm = _arm(context, f"{feature}-{model}")
        if feature != "pixels" and arm["accuracy"] is not None:
            colour = _COLOURS[feature.partition(" ")[0]]
            lines.append(arm_line(arm, context.result["rows"], name=_name(feature, language), colour=colour))
    marks = [
        Level(f"{_('pixels')}, {model_name(other, language)}", _arm(context, f"pixels-{other}")["accuracy"]["mean"])
        for other in _MODELS
        if _arm(context, f"pixels-{other}")["accuracy"] is not None
    ]
    network = _arm(context, "scratch-network")["accuracy"]
    if network is not None:
        marks.append(Level(_("network from scratch"), network["mean"], "random"))
    label = f"{model_name(model, language)}: " + _("test accuracy, %")
    return lines_figure(f"convolved-{model}", lines, language, label=label, levels=marks)


def _family(context: Context, family: str) -> list[dict[str, Any]]:
    return [contrast for contrast in context.result["contrasts"] if contrast["family"] == family]


def _model_sentence(context: Context, model: str) -> str:
    """Say what the sparse filters gain over each other kind."""
    language = context.language
    told = [
        language.gettext("over {source} {effect}").format(
            source=_name(contrast["control"].rpartition("-")[0], language), effect=told_effect(contrast, language)
        )
        for contrast in _family(context, model)
    ]
    return language.gettext("Sparse filters at stride {stride} for {model}, in points: {told}.").format(
        stride=context.result["stride"], model=model_name(model, language), told="; ".join(told)
    )


def _contrasts(context: Context) -> Table:
    language = context.language
    _ = language.gettext
    rows = []
    for contrast in context.result["contrasts"]:
        name = _("{treated} less {control}").format(
            treated=_arm_name(contrast["treated"], language), control=_arm_name(contrast["control"], language)
        )
        rows.append([name, *effect_cells(contrast, language)])
    heads = [_("comparison"), _("accuracy, points (95 %)"), _("p"), _("verdict")]
    note = _("p values are corrected within a model's rivals, its strides and its whole maps, each apart.")
    return Table(_("Every comparison"), heads, rows, note=note)


def _arm_name(arm: str, language: Language) -> str:
    feature, _dash, model = arm.rpartition("-")
    if model == "network":
        _ = language.gettext
        return _("network from scratch") if feature == "scratch" else _("network from the sparse filters")
    return f"{_name(feature, language)} → {model_name(model, language)}"


def _filters(context: Context) -> list[Photographs]:
    filters = read_result(context.folder).arrays("pictures.npz")["filters"]
    if not len(filters):
        return []
    language = context.language
    _ = language.gettext
    sheet = filter_sheet(filters)
    caption = _("The {n} sparse filters of seed 0 on the pixels, as the convolution has them; grey is zero.")
    return [Photographs([(_("filters"), sheet)], caption.format(n=context.result["filters"]))]


def _stride_sentence(context: Context) -> str:
    """Say what smaller strides bring, by model."""
    language = context.language
    told = [
        f"{_arm_name(contrast['treated'], language)} {told_effect(contrast, language)}"
        for model in _MODELS
        for contrast in _family(context, f"stride {model}")
    ]
    if not told:
        return language.gettext("Only one stride fits these images.")
    return language.gettext("Pooled maps, each less the next larger stride, in points: {told}.").format(
        told="; ".join(told)
    )


def _pattern_sentences(context: Context) -> list[str]:
    """Say whether the pattern of the course report of 2016 appears: logistic regression gains, trees and depth do not."""
    language = context.language
    _ = language.gettext
    if not _family(context, "pattern logistic"):
        return []
    sentences = []
    for model in _MODELS:
        told = [f"{_pair(c, language)} {told_effect(c, language)}" for c in _family(context, f"pattern {model}")]
        sentences.append(
            _("Whole maps, {model}, in points: {told}.").format(model=model_name(model, language), told="; ".join(told))
        )
    signs = {
        model: [c["verdict"] for c in _family(context, f"pattern {model}") if not c["treated"].startswith("deep")]
        for model in _MODELS
    }
    deep = [
        c["verdict"]
        for model in _MODELS
        for c in _family(context, f"pattern {model}")
        if c["treated"].startswith("deep")
    ]
    checks = [
        (_("each step helps logistic regression"), all(v == "helps" for v in signs["logistic"])),
        (_("no step helps trees"), all(v != "helps" for v in signs["trees"])),
    ]
    if deep:
        checks.append((_("three hidden layers are worse than one"), all(v == "hurts" for v in deep)))
    words = {True: _("yes"), False: _("no")}
    told = [f"{text}: {words[found]}" for text, found in checks]
    sentences.append(
        _(
            "A course report of 2016 found on STL-10 at 96×96, without intervals: pixels 34.0 %, stride 8 47.6 %, "
            "stride 4 50.6 % for logistic "
            "regression, no gain for trees, three hidden layers worse. Here: {told}."
        ).format(told="; ".join(told))
    )
    return sentences


def _pair(contrast: dict[str, Any], language: Language) -> str:
    """Name two kinds of features that are compared."""
    treated, control = (_name(contrast[side].rpartition("-")[0], language) for side in ("treated", "control"))
    return language.gettext("{treated} less {control}").format(treated=treated, control=control)


def _network_sentence(context: Context) -> str:
    language = context.language
    _ = language.gettext
    contrast = _family(context, "network")[0]
    if contrast["accuracy"] is None:
        return _("A network diverged, so there is no answer.")
    return _(
        "Fine-tuned whole, the network that begins with the sparse filters, less the same from scratch: {effect}."
    ).format(effect=told_effect(contrast, language))
