"""Section 6: autoencoders of several layers."""

from __future__ import annotations

from dataclasses import replace

from unlabeled.records import ArmKey, ContrastResult
from unlabeled.report.language import Language, effect_text
from unlabeled.report.plots import Line, lines_figure, picture_row
from unlabeled.report.sections.baselines import levels
from unlabeled.report.sections.parts import (
    Cell,
    Context,
    Listing,
    Part,
    Photographs,
    Picture,
    Points,
    Section,
    Table,
    accuracy_cells,
    arms_figure,
    comparison_word,
    css,
    illegal_line,
    mean_cell,
    most_accurate,
    seconds_cell,
    told_effect,
    verdict_lists,
)
from unlabeled.results import read_result
from unlabeled.statistics import Effect
from unlabeled.studies.stacked import FACTORS, MEASURES, PairErrors, StackedFindings, VariantLine, of_model, untrained

_COLOURS = {
    "whole": "autoencoder", "greedy": "slow", "joined": "gradual", "switchless": "bicubic", "gaussian": "frozen", "masking": "pca",
}  # fmt: skip


def write(context: Context[StackedFindings]) -> Section:
    """Write the section."""
    findings, language = context.findings, context.language
    _ = language.gettext
    parts: list[Part] = [
        _table(context),
        Picture(_errors_figure(context), _errors_sentence(context)),
        *(Picture(_figure(context, model), _best_sentence(context, model)) for model in MEASURES),
        _pictures(context),
        _pairs(context),
        Points([_factor_sentence(context, factor) for factor in _factors(context)]),
        _worth(context),
    ]
    if findings.illegal:
        lines = [illegal_line(f"{_depth(entry.arm, language)}", entry.reason, language) for entry in findings.illegal]
        parts.append(Listing(_("Depths whose sizes do not close: {n}").format(n=len(lines)), lines))
    return Section(
        key="stacked",
        title=_("Deeper and stacked autoencoders"),
        question=_(
            "Does depth improve the reconstruction at equal code length, the frozen codes and the fine-tuned "
            "network, and how is it best trained?"
        ),
        setup=_setup(context),
        parts=parts,
        conclusion=[
            *(_depth_sentence(context) for factor in _factors(context) if factor == "depth"),
            *_worth_sentences(context),
        ],
    )


def _setup(context: Context[StackedFindings]) -> list[str]:
    findings, language = context.findings, context.language
    _ = language.gettext
    config = context.config
    training = config["autoencoder"]["training"]
    lengths = [variant.code_length for variant in findings.variants]
    return [
        _(
            "Every block halves the map, and the last one has as many filters as give codes of equal length: "
            "{lengths} numbers. "
            "All are trained on the same unlabeled images, {epochs} epochs of batches of {batch} with "
            "{optimizer}, and measured on {held_out} "
            "others."
        ).format(
            lengths="–".join(dict.fromkeys(language.number(n, 0) for n in (min(lengths), max(lengths)))),
            epochs=training["epochs"],
            batch=training["batch_size"],
            optimizer=training["optimizer"],
            held_out=language.number(findings.held_out, 0),
        ),
        _(
            "Ways: as a whole; greedy, each new layer learns to reconstruct the codes of the layer below, in half "
            "of the epochs, then all "
            "learn together; joined, each layer in its share of all epochs, put together as they are. The number "
            "of passes over the images "
            "is the same."
        ),
        _(
            "With switches a max-pool tells the decoder where each maximum stood: the “where” goes round the "
            "code. Without them a value is "
            "spread over its window. Noise is on the input alone ({level}: standard deviation, or share of grey "
            "pixels); the clean image is "
            "the target."
        ).format(level=language.short(config["autoencoder"].get("noise_level", 0.3))),
        _(
            "Frozen codes go to logistic regression; the network begins with the encoder and learns on. Both also "
            "start from random weights "
            "of the same shape."
        ),
    ]


def arm_name(arm: ArmKey, language: Language) -> str:
    """Name an autoencoder of the study: depth, and what it is."""
    _ = language.gettext
    if arm.source == "random":
        way = _("from scratch") if arm.model == "network" else _("random weights")
    else:
        way = {
            "whole": _("as a whole"),
            "greedy": _("greedy"),
            "joined": _("joined"),
            "switchless": _("without switches"),
            "gaussian": _("gaussian noise"),
            "masking": _("masked pixels"),
        }[arm.way]
    return f"{_depth(arm, language)}, {way}"


def _depth(arm: ArmKey, language: Language) -> str:
    return language.count("{n} layer", "{n} layers", arm.depth or 0)


def _colour(arm: ArmKey) -> str:
    return _COLOURS.get(arm.way, "random")


def _table(context: Context[StackedFindings]) -> Table:
    findings, language = context.findings, context.language
    _ = language.gettext
    rows: list[list[str | Cell]] = []
    for variant in findings.variants:
        measured = [findings.comparison.arm(of_model(variant.arm, model)) for model in MEASURES]
        rows.append(
            [
                arm_name(variant.arm, language),
                "-".join(str(n) for n in variant.filters),
                language.number(variant.code_length, 0),
                *_error_cells(variant, language),
                *(accuracy_cells(arm, language)[0] for arm in measured),
                seconds_cell(variant.seconds, language),
            ]
        )
    heads = [
        _("autoencoder"), _("filters"), _("code length"), _("held-out MSE (95 %)"), _("variance explained, %"),
        _("codes, logistic regression, %"), _("fine-tuned network, %"), _("training, s"),
    ]  # fmt: skip
    return Table("", heads, rows, swatches=[_colour(v.arm) for v in findings.variants])


def _error_cells(variant: VariantLine, language: Language) -> list[str]:
    if variant.mse is None or variant.held_out_variance is None:
        return [language.gettext("{n} of {runs} runs diverged").format(n=variant.diverged, runs=variant.runs), "–"]
    explained = 100 * (1 - variant.mse.mean / variant.held_out_variance)
    return [mean_cell(_not_below_zero(variant.mse), language, 4), language.number(explained, 1)]


def _not_below_zero(mse: Effect) -> Effect:
    return replace(mse, low=max(mse.low, 0.0))


def _errors_figure(context: Context[StackedFindings]) -> str:
    language = context.language
    lines = [
        Line(arm_name(v.arm, language), v.mse.mean, max(0.0, v.mse.low), v.mse.high, _colour(v.arm))
        for v in context.findings.variants
        if v.mse is not None
    ]
    label = language.gettext("held-out MSE on [−1, 1] (95 % interval)")
    return lines_figure("stacked-errors", lines, language, label=label)


def _errors_sentence(context: Context[StackedFindings]) -> str:
    language = context.language
    known = sorted(
        ((v.mse.mean, v.arm) for v in context.findings.variants if v.mse is not None), key=lambda pair: pair[0]
    )
    if not known:
        return language.gettext("Every autoencoder diverged.")
    (least, best), (most, worst) = known[0], known[-1]
    return language.gettext("Least error: {best}, {least}; largest: {worst}, {most}.").format(
        best=arm_name(best, language),
        least=language.number(least, 4),
        worst=arm_name(worst, language),
        most=language.number(most, 4),
    )


def _figure(context: Context[StackedFindings], model: str) -> str:
    """Draw the accuracies of a model, those from random weights last."""
    findings, language = context.findings, context.language
    _ = language.gettext
    arms = [arm for arm in findings.comparison.arms if arm.arm.model == model]
    codes = model == "logistic"
    return arms_figure(
        "stacked-codes" if codes else "stacked-network",
        sorted(arms, key=lambda arm: arm.arm.source == "random"),
        findings.rows,
        language,
        name=lambda arm: arm_name(arm, language),
        colour=_colour,
        label=_("codes, logistic regression: test accuracy, %") if codes else _("network: test accuracy, %"),
        levels=levels(findings.baselines, language),
    )


def _best_sentence(context: Context[StackedFindings], model: str) -> str:
    language = context.language
    _ = language.gettext
    best = most_accurate(arm for arm in context.findings.comparison.arms if arm.arm.model == model)
    if best is None:
        return _("Every run diverged.")
    text = (
        _("Codes: the most accurate in the mean is {name}, {accuracy} %.")
        if model == "logistic"
        else _("Network: the most accurate in the mean is {name}, {accuracy} %.")
    )
    return text.format(name=arm_name(best[0], language), accuracy=language.number(best[1]))


def _pictures(context: Context[StackedFindings]) -> Photographs:
    findings, language = context.findings, context.language
    _ = language.gettext
    pictures = read_result(context.folder).arrays("pictures.npz")
    errors = {v.arm: v.mse.mean for v in findings.variants if v.mse is not None}
    rows = [(_("originals"), picture_row(pictures["originals"]))]
    for arm, images in zip(findings.shown, pictures["reconstructions"], strict=True):
        rows.append((f"{arm_name(arm, language)}: {language.number(errors[arm], 4)}", picture_row(images)))
    return Photographs(
        rows,
        _("The same held-out images, and what each autoencoder makes of them (seed 0), with its mean squared error."),
    )


def _contrasts(context: Context[StackedFindings], line: PairErrors) -> list[ContrastResult | None]:
    """Return what a pair's codes and networks differ by."""
    pair, compared = line.pair, context.findings.comparison
    return [compared.find(of_model(pair.treated, model), of_model(pair.control, model)) for model in MEASURES]


def _effect_cell(contrast: ContrastResult | None, language: Language, *, merely: bool) -> Cell:
    return Cell(told_effect(contrast, language, merely=merely), css(contrast.verdict) if contrast else "")


def _pairs(context: Context[StackedFindings]) -> Table:
    """List what differs in one thing, by its three measures."""
    findings, language = context.findings, context.language
    _ = language.gettext
    rows: list[list[str | Cell]] = [
        [
            _("{treated} vs {control}").format(
                treated=arm_name(line.pair.treated, language), control=arm_name(line.pair.control, language)
            ),
            Cell(_told_error(line, language), css(line.verdict)),
            *(_effect_cell(contrast, language, merely=True) for contrast in _contrasts(context, line)),
        ]
        for line in findings.errors
    ]
    heads = [
        _("comparison"),
        _("error, % of the second (95 %)"),
        _("codes, points (95 %)"),
        _("network, points (95 %)"),
    ]
    note = _("p values are corrected within each column, those of the next table included.")
    return Table(_("What differs in one thing"), heads, rows, note=note)


def _told_error(line: PairErrors, language: Language) -> str:
    word = comparison_word(line.verdict, language)
    return word if line.effect is None else f"{effect_text(line.effect, language)}, {word}"


def _worth(context: Context[StackedFindings]) -> Table:
    """List what each autoencoder is worth over random weights of its shape."""
    findings, language = context.findings, context.language
    _ = language.gettext
    rows: list[list[str | Cell]] = []
    for variant in findings.variants:
        contrasts = [
            findings.comparison.find(of_model(variant.arm, model), untrained(variant.arm, model)) for model in MEASURES
        ]
        cells = [_effect_cell(contrast, language, merely=False) for contrast in contrasts]
        rows.append([arm_name(variant.arm, language), *cells])
    heads = [_("autoencoder"), _("codes vs random codes, points (95 %)"), _("network vs from scratch, points (95 %)")]
    return Table(_("What each is worth over random weights"), heads, rows)


def _factors(context: Context[StackedFindings]) -> list[str]:
    present = {line.pair.factor for line in context.findings.errors}
    return [factor for factor in FACTORS if factor in present]


def _factor_sentence(context: Context[StackedFindings], factor: str) -> str:
    """Say what a factor does to error, codes and network."""
    language = context.language
    _ = language.gettext
    starts = {
        "depth": _("Deeper vs one layer: {told}."),
        "way": _("Layer by layer vs as a whole: {told}."),
        "switches": _("Without switches vs with them: {told}."),
        "noise": _("With noise on the input vs without: {told}."),
    }
    told = []
    for line in context.findings.errors:
        if line.pair.factor != factor:
            continue
        codes, network = (told_effect(c, language, merely=True) for c in _contrasts(context, line))
        parts = [
            _("error in %: {effect}").format(effect=_told_error(line, language)),
            _("codes {effect}").format(effect=codes),
            _("network {effect}").format(effect=network),
        ]
        told.append(f"{arm_name(line.pair.treated, language)}: {'; '.join(parts)}")
    return starts[factor].format(told=" · ".join(told))


def _depth_sentence(context: Context[StackedFindings]) -> str:
    """Say what depth is good for."""
    language = context.language
    _ = language.gettext
    measures = (_("frozen codes"), _("network"))
    named = []
    for line in context.findings.errors:
        if line.pair.factor == "depth":
            layers = _depth(line.pair.treated, language)
            named.append((f"{_('error')} ({layers})", line.verdict))
            for measure, contrast in zip(measures, _contrasts(context, line), strict=True):
                named.append((f"{measure} ({layers})", contrast.verdict if contrast else "diverged"))
    return _("Deeper vs one layer, at equal code length: {verdicts}.").format(verdicts=verdict_lists(named, language))


def _worth_sentences(context: Context[StackedFindings]) -> list[str]:
    """Count where the autoencoders are worth something over random weights."""
    _ = context.language.gettext
    texts = {
        "logistic": _(
            "Over a random encoder of the same shape the codes help in {helps} of {n} cases and hurt in {hurts}."
        ),
        "network": _(
            "Over the same network from scratch the weights help in {helps} of {n} cases and hurt in {hurts}."
        ),
    }
    sentences = []
    for model, text in texts.items():
        worth = [c for c in context.findings.comparison.family(model) if c.control.source == "random"]
        counts = {verdict: sum(c.verdict == verdict for c in worth) for verdict in ("helps", "hurts")}
        sentences.append(text.format(n=len(worth), **counts))
    return sentences
