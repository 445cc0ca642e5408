"""Study 2: what each property of a small convolutional network does to its quality and to its speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from unlabeled.errors import UserError
from unlabeled.experiments.tasks import NetworkTask, Perform
from unlabeled.grammar.parts import Cell, Listing, Part, Picture, Table
from unlabeled.grammar.plots import Curve, curves_figure, factor_figure, frontier_figure, on_frontier
from unlabeled.grammar.section import Context, Page
from unlabeled.grammar.tables import Column, accuracy_cell, arm_line, frontier_names, levels, table, verdict_cell
from unlabeled.grammar.words import illegal_line, words
from unlabeled.records import ArmKey, ArmSummary, Comparison, Contrast, ContrastResult, Illegal, Row
from unlabeled.studies.baselines import SPEEDS
from unlabeled.studies.study import Study, compared, pixel_arms, repetitions
from unlabeled.studies.variants import (
    Factor,
    LayerGradients,
    Rates,
    chosen_rates,
    layer_gradients,
    legal_variants,
    make_factors,
)  # fmt: skip

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

_VANISHED = 0.01
_FACTORS = {
    "kernel": words("kernel size"),
    "filters": words("filters"),
    "blocks": words("blocks"),
    "momentum": words("momentum of SGD"),
    "optimizer": words("optimiser"),
    "weight-decay": words("weight decay (L2)"),
    "activation": words("activation"),
    "deep-activation": words("activation of the deepest network"),
    "batch": words("batch size"),
    "pool": words("pool"),
}
_VALUES = {
    "none": words("no momentum"),
    "nesterov": words("0.9, Nesterov"),
    "rising": words("rising 0.5 to 0.99"),
    "dampening": words("0.9, dampening 0.9"),
    "max": words("maximum"),
    "average": words("average"),
    "adam": "Adam",
    "adamw": "AdamW",
    "adagrad": "Adagrad",
    "rmsprop": "RMSprop",
}


@dataclass(frozen=True)
class NetworkFindings:
    """Findings of study 2."""

    comparison: Comparison
    factors: tuple[Factor, ...]
    rates: tuple[Rates, ...]
    illegal: tuple[Illegal, ...]
    gradients: tuple[LayerGradients, ...]
    baselines: tuple[ArmSummary, ...]
    rows: tuple[Row, ...]


def run(lab: Lab, do: Perform) -> NetworkFindings:
    """Train every variant on every fold and seed."""
    legal, illegal, deepest = legal_variants(lab)
    if not legal:
        raise UserError(f"no network of --studies.network fits these images; the first: {illegal[0].reason}")
    # One replicate after the other, so that the first of each kind tells how long the rest will take.
    tasks = [
        NetworkTask(v.arm, v.encoder, v.network, fold, seed, gradients=len(v.encoder.conv_out_channels) == deepest)
        for seed, fold in repetitions(lab)
        for v in legal
    ]
    baselines = pixel_arms(lab, do)
    rows = tuple(do(tasks))
    factors = make_factors(lab, legal, rows)
    contrasts = [
        Contrast(arm, factor.reference, factor.name)
        for factor in factors
        for arm in factor.arms
        if arm != factor.reference
    ]
    rates = tuple(chosen_rates(rows, variant.arm) for variant in legal)
    comparison = compared(lab, rows, contrasts)
    return NetworkFindings(comparison, factors, rates, tuple(illegal), layer_gradients(rows), baselines, rows)


def factor_name(context: Context[NetworkFindings], factor: str) -> str:
    """Name a factor."""
    return context.say(_FACTORS[factor])


def _value_name(context: Context[NetworkFindings], value: str) -> str:
    if value in _VALUES:
        return context.say(_VALUES[value])
    try:
        return context.language.short(float(value))
    except ValueError:
        return value


def _arm_name(context: Context[NetworkFindings], arm: ArmKey) -> str:
    return f"{factor_name(context, arm.factor)}: {_value_name(context, arm.value)}"


def _value_of(context: Context[NetworkFindings], factor: Factor, arm: ArmKey) -> str:
    """Name an arm by its value; the best SGD stands among the optimisers."""
    value = _value_name(context, arm.value)
    return value if arm.factor == factor.name else f"SGD, {value}"


def _base(context: Context[NetworkFindings]) -> str:
    parameters = [arm.medians["parameters"] for arm in context.findings.comparison.arms if "parameters" in arm.medians]
    grid = context.config["studies"]["network"]
    return context.say(
        "The network that one thing at a time is changed of: one convolution ({e[conv_out_channels]} filters of "
        "{e[conv_kernel_size]}×{e[conv_kernel_size]}), one pool, one linear layer; {e[activation]}, {optimizer}, batch "
        "{t[batch_size]}, {length}, L2 penalty {t[weight_decay]:g}. The smallest here has "
        "{parameters:0} weights.",
        e=grid["encoder"],
        t=grid["training"],
        optimizer=_value_name(context, grid["training"]["optimizer"]),
        length=context.length(grid["training"]),
        parameters=min(parameters, default=0),
    )


def _parts(context: Context[NetworkFindings]) -> Iterator[Part]:
    findings = context.findings
    for factor in findings.factors:
        yield Picture(_factor_figure(context, factor), _factor_sentence(context, factor))
    for when in ("first", "last") if findings.gradients else ():
        yield Picture(_gradient_figure(context, when), _gradients_at(context, when))
    if points := _points(context):
        yield _frontier(context, points)
    yield _table(context)
    if findings.illegal:
        lines = [illegal_line(context.name(entry.arm), entry.reason, context.language) for entry in findings.illegal]
        yield Listing(context.say("Not run, for their sizes do not close: {n}", n=len(lines)), lines)


def _factor_figure(context: Context[NetworkFindings], factor: Factor) -> str:
    lines, speeds = [], []
    for key in factor.arms:
        arm = context.findings.comparison.arm(key)
        colour = "autoencoder" if key == factor.best else "random"
        line = arm_line(arm, context.findings.rows, name=_value_of(context, factor, key), colour=colour)
        if line is not None:
            lines.append(line)
            speeds.append(arm.medians["images_per_second"])
    labels = (context.say("test accuracy, %"), context.say("training, images/s"))
    beside = levels(context, context.findings.baselines)
    return factor_figure(f"network-{factor.name}", lines, speeds, context.language, labels=labels, levels=beside)


def _factor_sentence(context: Context[NetworkFindings], factor: Factor) -> str:
    """Say what validation prefers, what that is worth on the test split, what it costs, and what else differs."""
    compared, name = context.findings.comparison, factor_name(context, factor.name)
    if factor.best is None:
        return context.say("{factor:cap}: every value diverged.", factor=name)
    best, reference = (_value_of(context, factor, arm) for arm in (factor.best, factor.reference))
    text = context.say(
        "{factor:cap}: validation prefers {best} (test accuracy {arm.accuracy.mean:1} %)",
        factor=name,
        best=best,
        arm=compared.arm(factor.best),
    )
    contrast = compared.find(factor.best, factor.reference)
    if contrast is not None and contrast.accuracy is not None:
        text += context.say(
            "; against {reference} {effect:e} points, {effect_word:word}",
            reference=reference,
            effect=contrast.accuracy,
            effect_word=contrast,
        )
    speeds = [
        (speed, arm) for arm in factor.arms if (speed := compared.arm(arm).medians.get("images_per_second")) is not None
    ]
    if len(speeds) > 1:
        (fast, fastest), (slow, slowest) = max(speeds, key=itemgetter(0)), min(speeds, key=itemgetter(0))
        text += context.say(
            "; training speed from {low:0} ({slow}) to {high:0} images/s ({fast})",
            low=slow,
            slow=_value_of(context, factor, slowest),
            high=fast,
            fast=_value_of(context, factor, fastest),
        )
    names = [
        context.language.fill("{name} ({c:word}, {c.accuracy.mean:+})", name=_value_of(context, factor, c.treated), c=c)
        for c in compared.family(factor.name)
        if c.verdict in ("helps", "hurts") and c.treated != factor.best
    ]
    more = (
        context.say("; of the others, different from {reference}: {names}", reference=reference, names=names)
        if names
        else ""
    )
    return f"{text}{more}."  # fmt: skip


def _preferred(context: Context[NetworkFindings]) -> str | None:
    """Say which optimiser validation prefers."""
    factor = next((factor for factor in context.findings.factors if factor.name == "optimizer"), None)
    if factor is None:
        return None
    if factor.best is None:
        return context.say("{factor:cap}: every value diverged.", factor=factor_name(context, factor.name))
    return context.say(
        "Of the optimisers validation prefers {best}: {arm.accuracy.mean:1} % of the test images are right.",
        best=_value_of(context, factor, factor.best),
        arm=context.findings.comparison.arm(factor.best),
    )


def _effects(context: Context[NetworkFindings]) -> str:
    """Name every difference to a reference that survives the correction, or say that none does; and what is said of the others."""
    factors = {factor.name: factor for factor in context.findings.factors}
    contrasts = context.findings.comparison.contrasts
    decided = [c for c in contrasts if c.verdict in ("helps", "hurts")]

    def name(c: ContrastResult) -> str:
        factor = c.contrast.family
        return f"{factor_name(context, factor)} {_value_of(context, factors[factor], c.treated)}"

    effects = [context.language.fill("{name} {c.accuracy:e}", name=name(c), c=c) for c in decided]
    others: list[tuple[str, str]] = []
    for factor in factors:
        own = [c for c in contrasts if c.contrast.family == factor]
        if len({c.verdict for c in own}) > 1:
            others += [(name(c), c.verdict) for c in own if c not in decided]
        elif own and own[0] not in decided:
            # Of all its values alike: the property's name says it.
            others.append((factor_name(context, factor), own[0].verdict))
    verdicts = context.verdicts(others)
    if not contrasts:
        return context.say("Every property has one value here, so nothing is compared.")
    if not decided:
        return context.say("No value is shown to differ from the reference of its row: {verdicts}.", verdicts=verdicts)
    text = context.say("Different from the reference of their row, in points: {effects}.", effects="; ".join(effects))
    return text + (" " + context.say("The others: {verdicts}.", verdicts=verdicts) if others else "")


def _gradient_figure(context: Context[NetworkFindings], when: str) -> str:
    gradients = context.findings.gradients
    colours = ("pixels", "random", "autoencoder", "pca")
    layers = len(gradients[0].first)
    curves = [
        Curve(entry.activation, list(range(1, layers + 1)), getattr(entry, when), colours[number % 4])
        for number, entry in enumerate(gradients)
    ]
    ticks = [(layer, str(layer)) for layer in range(1, layers)] + [(layers, context.say("linear"))]
    y = context.say("gradient before training") if when == "first" else context.say("gradient after training")
    x = context.say("layer; the image is on the left")
    return curves_figure(f"gradients-{when}", curves, context.language, x=x, y=y, log="y", ticks=ticks)


def _gradients_at(context: Context[NetworkFindings], when: str = "first") -> str:
    """Say how much smaller the gradient is in the first layer than in the last."""
    sizes = {entry.activation: getattr(entry, when) for entry in context.findings.gradients}
    ratios = {name: size[0] / max(size[-1], 1e-300) for name, size in sizes.items()}
    text = context.say(
        "Root mean square of the loss's gradient in the first convolution, as a share of that in the linear layer, {moment}: {named}.",
        moment=context.say("before training") if when == "first" else context.say("after training"),
        named=context.each("{i[0]} {i[1]:f2}", ratios.items(), ", "),
    )
    vanished = [name for name, ratio in ratios.items() if ratio < _VANISHED]
    if vanished:
        return f"{text} " + context.say("It all but vanishes (below 0.01) with {names}.", names=vanished)
    return f"{text} " + context.say("With none does it fall below 0.01: it does not vanish at this depth.")


def _points(context: Context[NetworkFindings]) -> list[tuple[float, float, str, bool]]:
    """Return (seconds to the best epoch, accuracy, name, whether no other is both faster and better)."""
    # The same run can stand for several factors: the first one names it.
    points = {
        (arm.medians["seconds_to_best"], arm.accuracy.mean): context.name(arm.arm)
        for arm in reversed(context.findings.comparison.arms)
        if arm.accuracy is not None and "seconds_to_best" in arm.medians
    }
    return on_frontier(points)


def _frontier(context: Context[NetworkFindings], points: list[tuple[float, float, str, bool]]) -> Picture:
    x, y = context.say("seconds of training to the best epoch"), context.say("test accuracy, %")
    beside = levels(context, context.findings.baselines)
    figure = frontier_figure("frontier", points, context.language, x=x, y=y, levels=beside)
    text = context.say(
        "No other network is both faster to its best epoch and more accurate than: {names}.",
        names=frontier_names(context, points),
    )
    return Picture(figure, text)


def _table(context: Context[NetworkFindings]) -> Table:
    findings, language = context.findings, context.language
    rates = {entry.arm: entry for entry in findings.rates}
    rows = [(factor, findings.comparison.arm(key)) for factor in findings.factors for key in factor.arms]

    def against(row: tuple[Factor, ArmSummary]) -> ContrastResult | None:
        return findings.comparison.find(row[1].arm, row[0].reference)

    def median(name: str, form: str) -> Callable[[tuple[Factor, ArmSummary]], str]:
        return lambda row: language.write(row[1].medians.get(name), form)

    def chosen(row: tuple[Factor, ArmSummary]) -> Cell:
        entry = rates[row[1].arm]
        diverged = language.count("({n} trial diverged)", "({n} trials diverged)", entry.diverged)
        marks = (" ↕" if entry.at_edge else "") + (f" {diverged}" if entry.diverged else "")
        return Cell(language.write(entry.rates, "g") + marks, "wrap")

    columns: dict[str, Column[tuple[Factor, ArmSummary]]] = {
        words("changed"): lambda r: f"{factor_name(context, r[0].name)}: {_value_of(context, r[0], r[1].arm)}",
        words("accuracy, % (95 %)"): lambda r: accuracy_cell(r[1], language),
        words("log loss, nats (95 %)"): "{i[1].log_loss:m3}",
        words("vs the reference, points"): lambda r: (
            language.write(c.accuracy, "e") if (c := against(r)) else context.say("reference")
        ),
        words("verdict"): lambda r: verdict_cell(c, language, "word") if (c := against(r)) else "",
        words("training, images/s"): median("images_per_second", "0"),
        words("s to best epoch"): median("seconds_to_best", "s"),
        words("predicting, images/s"): median("predictions_per_second", "0"),
        words("learning rates chosen"): chosen,
    }
    note = words(
        "Medians of speeds and seconds over runs. ↕ marks rates that lie at an end of their list in some runs."
    )
    return table(context, columns, rows, note=note)  # fmt: skip


PAGE = Page[NetworkFindings](
    "network",
    words("Convolutional network"),
    words(
        "What do kernel, filters, depth, momentum, optimiser and the rest do to a small network's quality and speed?"
    ),
    setup=(
        _base,
        words(
            "Every variant chooses its learning rate on validation data from the list of its optimiser and momentum, all lists "
            "equally long: the same budget. With momentum the rates are as much smaller as its steps add up. RMSprop "
            "runs without momentum. Epoch and learning rate are chosen by validation log loss."
        ),
        words(
            "The best SGD is the kind of momentum with the least validation log loss, one of several. "
            "p values are corrected within a property."
        ),
        SPEEDS,
    ),
    parts=(_parts,),
    conclusion=(
        _effects,
        _preferred,
        lambda context: _gradients_at(context) if context.findings.gradients else None,
    ),
    names=_arm_name,
)
NETWORK = Study("network", ("labeled", "test"), NetworkFindings, run, (PAGE,))
