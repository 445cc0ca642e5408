"""Section 2: what each property of a small network does to its quality and speed."""

from __future__ import annotations

from unlabeled.records import ArmKey, ArmSummary
from unlabeled.report.language import Language, effect_text
from unlabeled.report.plots import Curve, curves_figure, factor_figure, frontier_figure
from unlabeled.report.sections.baselines import levels
from unlabeled.report.sections.parts import (
    Cell,
    Context,
    Listing,
    Part,
    Picture,
    Section,
    Table,
    accuracy_cells,
    arm_line,
    comparison_word,
    count_cell,
    effect_cells,
    illegal_line,
    seconds_cell,
)
from unlabeled.report.sections.protocol import spread_sentence
from unlabeled.studies.network import Factor, LayerGradients, NetworkFindings, Rates

_VANISHED = 0.01


def write(context: Context[NetworkFindings]) -> Section:
    """Write the section."""
    findings, language = context.findings, context.language
    _ = language.gettext
    parts: list[Part] = [
        Picture(_factor_figure(context, factor), _factor_sentence(context, factor)) for factor in findings.factors
    ]
    if findings.gradients:
        parts += [
            Picture(_gradient_figure(context, "first"), _gradient_sentence(context, "first")),
            Picture(_gradient_figure(context, "last"), _gradient_sentence(context, "last")),
        ]
    if _points(context):
        parts.append(Picture(_frontier(context), _frontier_sentence(context)))
    parts.append(_table(context))
    if findings.illegal:
        lines = [illegal_line(_arm_name(entry.arm, language), entry.reason, language) for entry in findings.illegal]
        parts.append(Listing(_("Not run, for their sizes do not close: {n}").format(n=len(lines)), lines))
    return Section(
        key="network",
        title=_("Convolutional network"),
        question=_(
            "What do kernel, filters, depth, momentum, optimiser and the rest do to a small network's quality and speed?"
        ),
        setup=_setup(context),
        parts=parts,
        conclusion=[
            _effects_sentence(context),
            *(_preferred(context, factor) for factor in findings.factors if factor.name == "optimizer"),
            *([_gradient_sentence(context, "first")] if findings.gradients else []),
        ],
    )


def factor_name(factor: str, language: Language) -> str:
    """Name a factor."""
    _ = language.gettext
    return {
        "kernel": _("kernel size"),
        "filters": _("filters"),
        "blocks": _("blocks"),
        "momentum": _("momentum of SGD"),
        "optimizer": _("optimiser"),
        "weight-decay": _("weight decay (L2)"),
        "activation": _("activation"),
        "deep-activation": _("activation of the deepest network"),
        "batch": _("batch size"),
        "pool": _("pool"),
    }[factor]


def _value_name(value: str, language: Language) -> str:
    _ = language.gettext
    known = {
        "none": _("none"),
        "nesterov": _("0.9, Nesterov"),
        "rising": _("rising 0.5 to 0.99"),
        "dampening": _("0.9, dampening 0.9"),
        "max": _("maximum"),
        "average": _("average"),
        "adam": "Adam",
        "adamw": "AdamW",
        "adagrad": "Adagrad",
        "rmsprop": "RMSprop",
    }
    if value in known:
        return known[value]
    try:
        return language.short(float(value))
    except ValueError:
        return value


def _arm_name(arm: ArmKey, language: Language) -> str:
    return f"{factor_name(arm.factor, language)}: {_value_name(arm.value, language)}"


def _value_of(factor: Factor, arm: ArmKey, language: Language) -> str:
    """Name an arm by its value; the best SGD stands among the optimisers."""
    value = _value_name(arm.value, language)
    return value if arm.factor == factor.name else f"SGD, {value}"


def _setup(context: Context[NetworkFindings]) -> list[str]:
    language = context.language
    _ = language.gettext
    grid = context.config["studies"]["network"]
    training, encoder = grid["training"], grid["encoder"]
    parameters = [arm.medians["parameters"] for arm in context.findings.comparison.arms if "parameters" in arm.medians]
    smallest = min(parameters, default=0)
    return [
        _(
            "The network that one thing at a time is changed of: one convolution ({filters} filters of "
            "{kernel}×{kernel}), one pool, one "
            "linear layer; {activation}, {optimizer} with learning rate {rate}, batch {batch}, {epochs} epochs, "
            "L2 penalty {decay}. "
            "The smallest here has {parameters} weights."
        ).format(
            filters=encoder["conv_out_channels"],
            kernel=encoder["conv_kernel_size"],
            activation=encoder["activation"],
            optimizer=_value_name(training["optimizer"], language),
            rate=language.short(training["learning_rate"]),
            batch=training["batch_size"],
            epochs=training["epochs"],
            decay=language.short(training["weight_decay"]),
            parameters=language.number(smallest, 0),
        ),
        _(
            "Each optimiser, momentum and batch size chooses its learning rate on validation data from a list of its own, all "
            "lists equally long: the same budget. With momentum the rates are as much smaller as its steps add "
            "up. RMSprop runs "
            "without momentum. Epoch and learning rate are chosen by validation log loss."
        ),
        _(
            "The best SGD is the kind of momentum with the least validation log loss, one of several. "
            "p values are corrected within a property."
        ),
        spread_sentence(context),
    ]


def _factor_figure(context: Context[NetworkFindings], factor: Factor) -> str:
    findings, language = context.findings, context.language
    _ = language.gettext
    lines, speeds = [], []
    for key in factor.arms:
        arm = findings.comparison.arm(key)
        colour = "autoencoder" if key == factor.best else "random"
        line = arm_line(arm, findings.rows, name=_value_of(factor, key, language), colour=colour)
        if line is not None:
            lines.append(line)
            speeds.append(arm.medians["images_per_second"])
    return factor_figure(
        f"network-{factor.name}",
        lines,
        speeds,
        language,
        labels=(_("test accuracy, %"), _("training, images/s")),
        levels=levels(findings.baselines, language),
    )


def _factor_sentence(context: Context[NetworkFindings], factor: Factor) -> str:
    """Say what validation prefers, what that is worth on the test split, and what it costs."""
    compared, language = context.findings.comparison, context.language
    _ = language.gettext
    name = factor_name(factor.name, language)
    if factor.best is None:
        return _("{factor}: every value diverged.").format(factor=_capital(name))
    best, reference = (_value_of(factor, arm, language) for arm in (factor.best, factor.reference))
    text = _("{factor}: validation prefers {best} (test accuracy {accuracy} %)").format(
        factor=_capital(name), best=best, accuracy=_accuracy(compared.arm(factor.best), language)
    )
    contrast = compared.find(factor.best, factor.reference)
    if contrast is not None and contrast.accuracy is not None:
        text += _("; against {reference} {effect} points, {verdict}").format(
            reference=reference,
            effect=effect_text(contrast.accuracy, language),
            verdict=comparison_word(contrast.verdict, language),
        )
    return f"{text}{_speed_range(context, factor)}{_differences(context, factor)}."


def _preferred(context: Context[NetworkFindings], factor: Factor) -> str:
    """Say which optimiser validation prefers."""
    language = context.language
    if factor.best is None:
        return language.gettext("{factor}: every value diverged.").format(
            factor=_capital(factor_name(factor.name, language))
        )
    return language.gettext(
        "Of the optimisers validation prefers {best}: {accuracy} % of the test images are right."
    ).format(
        best=_value_of(factor, factor.best, language),
        accuracy=_accuracy(context.findings.comparison.arm(factor.best), language),
    )


def _speed_range(context: Context[NetworkFindings], factor: Factor) -> str:
    language = context.language
    medians = {arm: context.findings.comparison.arm(arm).medians for arm in factor.arms}
    speeds = {arm: known["images_per_second"] for arm, known in medians.items() if "images_per_second" in known}
    if len(speeds) < 2:
        return ""
    fast, slow = max(speeds, key=lambda arm: speeds[arm]), min(speeds, key=lambda arm: speeds[arm])
    return language.gettext("; training speed from {low} ({slow}) to {high} images/s ({fast})").format(
        low=language.number(speeds[slow], 0),
        slow=_value_of(factor, slow, language),
        high=language.number(speeds[fast], 0),
        fast=_value_of(factor, fast, language),
    )


def _effects_sentence(context: Context[NetworkFindings]) -> str:
    """Name every difference to a reference that survives the correction, or say that none does."""
    findings, language = context.findings, context.language
    _ = language.gettext
    factors = {factor.name: factor for factor in findings.factors}
    decided = [c for c in findings.comparison.contrasts if c.verdict in ("helps", "hurts")]
    told = [
        f"{factor_name(c.contrast.family, language)} {_value_of(factors[c.contrast.family], c.treated, language)} "
        f"{effect_text(c.accuracy, language)}"
        for c in decided
        if c.accuracy is not None
    ]
    if not told:
        return _("No evidence that any value differs from the reference of its row.")
    silent = [factor_name(name, language) for name in factors if name not in {c.contrast.family for c in decided}]
    text = _("Different from the reference of their row, in points: {found}.").format(found="; ".join(told))
    return text + (
        " " + _("No evidence of a difference: {silent}.").format(silent=language.listed(silent)) if silent else ""
    )


def _differences(context: Context[NetworkFindings], factor: Factor) -> str:
    """Name the values that differ from the reference after the correction, or say that none does."""
    language = context.language
    names = [
        f"{_value_of(factor, c.treated, language)} ({comparison_word(c.verdict, language)}, "
        f"{language.signed(c.accuracy.mean)})"
        for c in context.findings.comparison.family(factor.name)
        if c.verdict in ("helps", "hurts") and c.treated != factor.best and c.accuracy is not None
    ]
    if not names:
        return ""
    return language.gettext("; different from {reference} too: {names}").format(
        reference=_value_of(factor, factor.reference, language), names=language.listed(names)
    )


def _accuracy(arm: ArmSummary, language: Language) -> str:
    return language.number(arm.accuracy.mean) if arm.accuracy else "–"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sizes(entry: LayerGradients, when: str) -> tuple[float, ...]:
    return entry.first if when == "first" else entry.last


def _gradient_figure(context: Context[NetworkFindings], when: str) -> str:
    gradients, language = context.findings.gradients, context.language
    _ = language.gettext
    colours = ("pixels", "random", "autoencoder", "pca")
    layers = len(gradients[0].first)
    curves = [
        Curve(entry.activation, list(range(1, layers + 1)), _sizes(entry, when), colours[number % 4])
        for number, entry in enumerate(gradients)
    ]
    ticks = [(layer, str(layer)) for layer in range(1, layers)] + [(layers, _("linear"))]
    y = _("gradient before training") if when == "first" else _("gradient after training")
    x = _("layer; the image is on the left")
    return curves_figure(f"gradients-{when}", curves, language, x=x, y=y, log="y", ticks=ticks)


def _gradient_sentence(context: Context[NetworkFindings], when: str) -> str:
    """Say how much smaller the gradient is in the first layer than in the last."""
    language = context.language
    _ = language.gettext
    sizes = {entry.activation: _sizes(entry, when) for entry in context.findings.gradients}
    ratios = {name: size[0] / max(size[-1], 1e-300) for name, size in sizes.items()}
    named = language.listed([f"{name} {language.figures(ratio, 2)}" for name, ratio in ratios.items()])
    moment = _("before training") if when == "first" else _("after training")
    text = _(
        "Root mean square of the loss's gradient in the first convolution, as a share of that in the linear "
        "layer, {moment}: {named}."
    ).format(moment=moment, named=named)
    vanished = [name for name, ratio in ratios.items() if ratio < _VANISHED]
    if vanished:
        return f"{text} " + _("It all but vanishes (below 0.01) with {names}.").format(names=language.listed(vanished))
    return f"{text} " + _("With none does it fall below 0.01: it does not vanish at this depth.")


def _points(context: Context[NetworkFindings]) -> list[tuple[float, float, str, bool]]:
    """Return (seconds to the best epoch, accuracy, name, whether no other is both faster and better)."""
    points = [
        (arm.medians["seconds_to_best"], arm.accuracy.mean, _arm_name(arm.arm, context.language))
        for arm in context.findings.comparison.arms
        if arm.accuracy is not None and "seconds_to_best" in arm.medians
    ]
    # The same run can stand for several factors.
    points = list(
        {(seconds, accuracy): (seconds, accuracy, name) for seconds, accuracy, name in reversed(points)}.values()
    )
    return [
        (s, a, name, not any((s2 <= s and a2 >= a) and (s2, a2) != (s, a) for s2, a2, _name in points))
        for s, a, name in points
    ]


def _frontier(context: Context[NetworkFindings]) -> str:
    language = context.language
    _ = language.gettext
    return frontier_figure(
        "frontier",
        _points(context),
        language,
        x=_("seconds of training to the best epoch"),
        y=_("test accuracy, %"),
        levels=levels(context.findings.baselines, language),
    )


def _frontier_sentence(context: Context[NetworkFindings]) -> str:
    language = context.language
    front = sorted(point for point in _points(context) if point[3])
    named = language.listed([f"{name} ({language.duration(s)}, {language.number(a)} %)" for s, a, name, _on in front])
    return language.gettext(
        "No other network is both faster to its best epoch and more accurate than: {names}."
    ).format(names=named)


def _table(context: Context[NetworkFindings]) -> Table:
    findings, language = context.findings, context.language
    _ = language.gettext
    rates = {entry.arm: entry for entry in findings.rates}
    rows: list[list[str | Cell]] = []
    for factor in findings.factors:
        for key in factor.arms:
            arm = findings.comparison.arm(key)
            contrast = findings.comparison.find(key, factor.reference)
            effect = effect_cells(contrast, language, merely=True) if contrast else [_("reference"), "", ""]
            rows.append(
                [
                    f"{factor_name(factor.name, language)}: {_value_of(factor, key, language)}",
                    *accuracy_cells(arm, language),
                    effect[0],
                    effect[2],
                    count_cell(arm.medians.get("images_per_second"), language),
                    seconds_cell(arm.medians.get("seconds_to_best"), language),
                    count_cell(arm.medians.get("predictions_per_second"), language),
                    _rates(rates[key], language),
                ]
            )
    heads = [
        _("changed"), _("accuracy, % (95 %)"), _("log loss, nats (95 %)"), _("vs the reference, points"), _("verdict"),
        _("training, images/s"), _("s to best epoch"), _("predicting, images/s"), _("learning rates chosen"),
    ]  # fmt: skip
    note = _("Medians of speeds and seconds over runs. ↕ marks rates that lie at an end of their list in some runs.")
    return Table("", heads, rows, note=note)


def _rates(rates: Rates, language: Language) -> str:
    text = language.listed([language.short(rate) for rate in rates.rates])
    if rates.at_edge:
        text += " ↕"
    if rates.diverged:
        text += " " + language.gettext("({n} trials diverged)").format(n=rates.diverged)
    return text
