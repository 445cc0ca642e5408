"""Study 6: autoencoders of several layers, trained at once, greedily or joined; switches and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unlabeled.errors import UserError
from unlabeled.experiments.specs import Learned
from unlabeled.experiments.tasks import AutoencoderTask, Perform
from unlabeled.grammar.parts import Cell, Listing, Part, Photographs, Picture, Points, Table
from unlabeled.grammar.plots import Line, lines_figure, picture_row
from unlabeled.grammar.section import Context, Page
from unlabeled.grammar.tables import Column, accuracy_cell, arms_figure, best_sentence, css, levels, table, verdict_cell
from unlabeled.grammar.words import comparison_word, illegal_line, judged_text, words
from unlabeled.records import ArmKey, ArmSummary, Comparison, Contrast, ContrastResult, Illegal, Row, of_arm
from unlabeled.studies.depths import (
    PairErrors,
    VariantLine,
    compare_errors,
    describe,
    make_pairs,
    make_variants,
    plan,
    untrained,
)  # fmt: skip
from unlabeled.studies.study import Study, experiment, pixel_arms

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

# What is measured of an autoencoder beside its error: the model on its frozen codes, and the network that begins with it.
MEASURES = ("logistic", "network")
_COLOURS = {
    "whole": "autoencoder", "greedy": "slow", "joined": "gradual", "switchless": "bicubic", "gaussian": "frozen", "masking": "pca",
}  # fmt: skip
_WAYS = {
    "whole": words("as a whole"),
    "greedy": words("greedy"),
    "joined": words("joined"),
    "switchless": words("without switches"),
    "gaussian": words("gaussian noise"),
    "masking": words("masked pixels"),
}
_LABELS = {
    "logistic": words("codes, logistic regression: test accuracy, %"),
    "network": words("network: test accuracy, %"),
}
_BEST = {
    "logistic": words("Codes: the most accurate in the mean is {name}, {accuracy:1} %."),
    "network": words("Network: the most accurate in the mean is {name}, {accuracy:1} %."),
}
_WORTH = {
    "logistic": words("Codes vs those of a random encoder of the same shape: {verdicts}."),
    "network": words("Networks vs the same from scratch: {verdicts}."),
}
_CHANGES = {
    "depth": words("Deeper vs one layer: {items}."),
    "way": words("Layer by layer vs as a whole: {items}."),
    "switches": words("Without switches vs with them: {items}."),
    "noise": words("With noise on the input vs without: {items}."),
}


@dataclass(frozen=True)
class StackedFindings:
    """Findings of study 6."""

    variants: tuple[VariantLine, ...]
    illegal: tuple[Illegal, ...]
    errors: tuple[PairErrors, ...]
    comparison: Comparison
    held_out: int
    shown: tuple[ArmKey, ...]
    baselines: tuple[ArmSummary, ...]
    autoencoders: tuple[Row, ...]
    rows: tuple[Row, ...]


def run(lab: Lab, do: Perform) -> StackedFindings:
    """Train every variant; measure its reconstruction, its frozen codes and the network that begins with it."""
    from unlabeled.experiments.reconstructing import image_errors, keep_reconstructions

    variants, illegal = make_variants(lab)
    if not variants:
        raise UserError(f"no depth of --studies.stacked fits these images; the first: {illegal[0].reason}")
    seeds = range(lab.config.seeds)
    trained = do([AutoencoderTask(v.arm, Learned(v.encoder, v.config, seed)) for seed in seeds for v in variants])
    baselines = pixel_arms(lab, do)
    pairs = make_pairs(variants)
    contrasts = [
        contrast
        for model in MEASURES
        for contrast in (
            *(Contrast(p.treated.on(model), p.control.on(model), model) for p in pairs),
            *(Contrast(v.arm.on(model), untrained(v.arm, model), model) for v in variants),
        )
    ]
    comparison, rows = experiment(lab, do, plan(lab, variants), contrasts)
    models = {
        v.arm: [lab.trained_autoencoder(Learned(v.encoder, v.config, seed)) for seed in seeds]
        for v in variants
        if not any(row.diverged for row in of_arm(trained, v.arm))
    }
    errors = {arm: image_errors(lab, of_seeds) for arm, of_seeds in models.items()}
    keep_reconstructions(lab, [of_seeds[0] for of_seeds in models.values()])
    return StackedFindings(
        variants=tuple(describe(lab, v, of_arm(trained, v.arm), errors) for v in variants),
        illegal=tuple(illegal),
        errors=compare_errors(pairs, errors),
        comparison=comparison,
        held_out=len(lab.held_out),
        shown=tuple(models),
        baselines=baselines,
        autoencoders=tuple(trained),
        rows=rows,
    )


def _depth(context: Context[StackedFindings], arm: ArmKey) -> str:
    return context.language.count("{n} layer", "{n} layers", arm.depth or 0)


def _name(context: Context[StackedFindings], arm: ArmKey) -> str:
    """Name an autoencoder of the study: depth, and what it is."""
    if arm.source == "random":
        way = context.say("from scratch") if arm.model == "network" else context.say("random weights")
    else:
        way = context.say(_WAYS[arm.way])
    return f"{_depth(context, arm)}, {way}"


def _equal(context: Context[StackedFindings]) -> str:
    lengths = [variant.code_length for variant in context.findings.variants]
    return context.say(
        "Every block halves the map, and the last one has as many filters as give codes of equal length: {lengths} numbers. All are "
        "trained on the same unlabeled images, {length} of batches of {t[batch_size]} with {t[optimizer]}, and measured on "
        "{f.held_out:0} others.",
        lengths=context.language.ends((min(lengths), max(lengths))),
        t=context.config["autoencoder"]["training"],
        length=context.length(context.config["autoencoder"]["training"]),
    )


def _parts(context: Context[StackedFindings]) -> Iterator[Part]:
    yield _table(context)
    yield _errors_figure(context)
    yield from (_figure(context, model) for model in MEASURES)
    yield _pictures(context)
    yield _pairs(context)
    yield Points([_change(context, factor) for factor in _factors(context)])
    yield _worth(context)
    if illegal := context.findings.illegal:
        lines = [illegal_line(_depth(context, entry.arm), entry.reason, context.language) for entry in illegal]
        yield Listing(context.say("Depths whose sizes do not close: {n}", n=len(lines)), lines)


def _table(context: Context[StackedFindings]) -> Table:
    def error(variant: VariantLine) -> str:
        if variant.mse is None or variant.held_out_variance is None:
            return context.say("{n} of {runs} runs diverged", n=variant.diverged, runs=variant.runs)
        return context.language.write(replace(variant.mse, low=max(variant.mse.low, 0.0)), "m4")

    def explained(variant: VariantLine) -> str:
        known = variant.mse is not None and variant.held_out_variance is not None
        share = 1 - variant.mse.mean / variant.held_out_variance if known else None  # type: ignore[union-attr,operator]
        return context.language.write(share, "%")

    def accuracy(model: str) -> Callable[[VariantLine], str]:
        return lambda v: accuracy_cell(context.findings.comparison.arm(v.arm.on(model)), context.language)

    columns: dict[str, Column[VariantLine]] = {
        words("autoencoder"): lambda variant: context.name(variant.arm),
        words("filters"): lambda variant: "-".join(str(n) for n in variant.filters),
        words("code length"): "{i.code_length:0}",
        words("held-out MSE (95 %)"): error,
        words("variance explained, %"): explained,
        words("codes, logistic regression, %"): accuracy("logistic"),
        words("fine-tuned network, %"): accuracy("network"),
        words("training, s"): "{i.seconds:s}",
    }
    return table(context, columns, context.findings.variants, swatch=lambda variant: context.colour(variant.arm))


def _errors_figure(context: Context[StackedFindings]) -> Picture:
    measured = sorted(((v.mse.mean, v) for v in context.findings.variants if v.mse), key=lambda pair: pair[0])
    lines = [
        Line(context.name(v.arm), v.mse.mean, max(0.0, v.mse.low), v.mse.high, context.colour(v.arm))
        for v in context.findings.variants
        if v.mse is not None
    ]
    label = context.say("held-out MSE on [−1, 1] (95 % interval)")
    figure = lines_figure("stacked-errors", lines, context.language, label=label)
    if not measured:
        return Picture(figure, context.say("Every autoencoder diverged."))
    (least, best), (most, worst) = measured[0], measured[-1]
    ends = {"best": context.name(best.arm), "least": least, "worst": context.name(worst.arm), "most": most}
    return Picture(figure, context.say("Least error: {best}, {least:4}; largest: {worst}, {most:4}.", **ends))


def _figure(context: Context[StackedFindings], model: str) -> Picture:
    """Draw the accuracies of a model, those from random weights last."""
    arms = [arm for arm in context.findings.comparison.arms if arm.arm.model == model]
    arms.sort(key=lambda arm: arm.arm.source == "random")
    key = {"logistic": "stacked-codes", "network": "stacked-network"}[model]
    beside = levels(context, context.findings.baselines)
    figure = arms_figure(context, key, arms, label=context.say(_LABELS[model]), levels=beside)
    return Picture(figure, best_sentence(context, arms, _BEST[model]))


def _pictures(context: Context[StackedFindings]) -> Photographs:
    errors = {v.arm: v.mse.mean for v in context.findings.variants if v.mse is not None}
    rows = [(context.say("originals"), picture_row(context.pictures["originals"]))]
    for arm, images in zip(context.findings.shown, context.pictures["reconstructions"], strict=True):
        rows.append((f"{context.name(arm)}: {context.language.number(errors[arm], 4)}", picture_row(images)))
    return Photographs(
        rows,
        context.say(
            "The same held-out images, and what each autoencoder makes of them (seed 0), with its mean squared error."
        ),
    )


def _contrast(context: Context[StackedFindings], line: PairErrors, model: str) -> ContrastResult | None:
    """Return what a pair's codes or networks differ by."""
    return context.findings.comparison.find(line.pair.treated.on(model), line.pair.control.on(model))


def _error(context: Context[StackedFindings], line: PairErrors) -> str:
    word = comparison_word(line.verdict, context.language)
    return word if line.effect is None else judged_text(line.effect, word, line.verdict, line.p, context.language)


def _cell(context: Context[StackedFindings], contrast: ContrastResult | None, form: str) -> Cell:
    return verdict_cell(contrast, context.language, form) if contrast else Cell("–")


def _pairs(context: Context[StackedFindings]) -> Table:
    """List what differs in one thing, by its three measures."""
    columns: dict[str, Column[PairErrors]] = {
        words("comparison"): lambda line: context.pair(line.pair),
        words("error, % of the second (95 %)"): lambda line: Cell(_error(context, line), css(line.verdict)),
        words("codes, points (95 %)"): lambda line: _cell(context, _contrast(context, line, "logistic"), "differs"),
        words("network, points (95 %)"): lambda line: _cell(context, _contrast(context, line, "network"), "differs"),
    }
    note = words("p values are corrected within each column, those of the next table included.")
    return table(context, columns, context.findings.errors, title=words("What differs in one thing"), note=note)


def _worth(context: Context[StackedFindings]) -> Table:
    """List what each autoencoder is worth over random weights of its shape."""

    def worth(model: str) -> Callable[[VariantLine], Cell]:
        find = context.findings.comparison.find
        return lambda v: _cell(context, find(v.arm.on(model), untrained(v.arm, model)), "effect")

    columns: dict[str, Column[VariantLine]] = {
        words("autoencoder"): lambda variant: context.name(variant.arm),
        words("codes vs random codes, points (95 %)"): worth("logistic"),
        words("network vs from scratch, points (95 %)"): worth("network"),
    }
    return table(context, columns, context.findings.variants, title=words("What each is worth over random weights"))


def _factors(context: Context[StackedFindings]) -> list[str]:
    present = {line.pair.factor for line in context.findings.errors}
    return [factor for factor in _CHANGES if factor in present]


def _change(context: Context[StackedFindings], factor: str) -> str:
    """Say what a factor does to error, codes and network."""
    changes = []
    for line in context.findings.errors:
        if line.pair.factor == factor:
            codes, network = (_contrast(context, line, model) for model in MEASURES)
            parts = [
                context.say("error in %: {effect}", effect=_error(context, line)),
                context.say("codes {effect:differs}", effect=codes),
                context.say("network {effect:differs}", effect=network),
            ]
            changes.append(f"{context.name(line.pair.treated)}: {'; '.join(parts)}")
    return context.say(_CHANGES[factor], items=" · ".join(changes))


def _deeper(context: Context[StackedFindings]) -> str | None:
    """Say what depth is good for."""
    if "depth" not in _factors(context):
        return None
    error, measures = context.say("error"), (context.say("frozen codes"), context.say("network"))
    named = []
    for line in context.findings.errors:
        if line.pair.factor == "depth":
            layers = _depth(context, line.pair.treated)
            named.append((f"{error} ({layers})", line.verdict))
            for measure, model in zip(measures, MEASURES, strict=True):
                contrast = _contrast(context, line, model)
                named.append((f"{measure} ({layers})", contrast.verdict if contrast else "diverged"))
    verdicts = context.verdicts(named, merely=True)
    return context.say("Deeper vs one layer, at equal code length: {verdicts}.", verdicts=verdicts)


def _over_random(context: Context[StackedFindings]) -> Iterator[str]:
    """Say which autoencoders are worth something over random weights."""
    for model, text in _WORTH.items():
        own = [c for c in context.findings.comparison.family(model) if c.control.source == "random"]
        # Names have commas of their own.
        named = [(f"({context.name(c.treated)})", c.verdict) for c in own]
        yield context.say(text, verdicts=context.verdicts(named))


PAGE = Page[StackedFindings](
    "stacked",
    words("Deeper and stacked autoencoders"),
    words(
        "Does depth improve the reconstruction at equal code length, the frozen codes and the fine-tuned "
        "network, and how is it best trained?"
    ),
    setup=(
        _equal,
        words(
            "Ways: as a whole; greedy, each new layer learns to reconstruct the codes of the layer below, in half of the "
            "epochs, then all learn together; joined, each layer in its share of all epochs, put together as they are. The "
            "number of passes over the images is the same."
        ),
        lambda context: context.say(
            "With switches a max-pool tells the decoder where each maximum stood: the “where” goes round the code. Without "
            "them a value is spread over its window. Noise is on the input alone ({level:g}: standard deviation, or share of "
            "grey pixels); the clean image is the target.",
            level=context.config["autoencoder"].get("noise_level", 0.3),
        ),
        words(
            "Frozen codes go to logistic regression; the network begins with the encoder and learns on. Both also start from "
            "random weights of the same shape."
        ),
    ),
    parts=(_parts,),
    conclusion=(_deeper, _over_random),
    names=_name,
    colours=lambda arm: _COLOURS.get(arm.way, "random"),
)
STACKED = Study("stacked", ("labeled", "unlabeled", "test"), StackedFindings, run, (PAGE,))
