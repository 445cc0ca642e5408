"""Section 6: autoencoders of several layers."""

from __future__ import annotations

from typing import Any

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
    Section,
    Table,
    accuracy_cells,
    arm_line,
    comparison_word,
    illegal_line,
    interval_note,
    seconds_cell,
    told_effect,
)
from unlabeled.results import read_result

_COLOURS = {
    "whole": "autoencoder", "greedy": "slow", "joined": "gradual", "switchless": "bicubic", "gaussian": "frozen", "masking": "pca",
}  # fmt: skip
_FACTORS = ("depth", "way", "switches", "noise")


def write(context: Context) -> Section:
    """Write the section."""
    result, language = context.result, context.language
    _ = language.gettext
    parts: list[Part] = [
        _table(context),
        Picture(_errors_figure(context), _errors_sentence(context)),
        Picture(_figure(context, "codes"), _best_sentence(context, "codes")),
        Picture(_figure(context, "network"), _best_sentence(context, "network")),
        _pictures(context),
        _pairs(context),
        _worth(context),
    ]
    if result["illegal"]:
        lines = [illegal_line(entry["arm"], entry["reason"], language) for entry in result["illegal"]]
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
        conclusion=[*(_factor_sentence(context, factor) for factor in _factors(context)), *_worth_sentences(context)],
        protocol=context.protocol,
    )


def _setup(context: Context) -> list[str]:
    result, language = context.result, context.language
    _ = language.gettext
    config = result["config"]
    training = config["autoencoder"]["training"]
    lengths = [variant["code_length"] for variant in result["variants"]]
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
            held_out=language.number(result["held_out"], 0),
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


def variant_name(name: str, language: Language) -> str:
    """Name an autoencoder of the study: depth, and what it is."""
    _ = language.gettext
    depth, _space, kind = name.partition(" ")
    kinds = {
        "whole": _("as a whole"),
        "greedy": _("greedy"),
        "joined": _("joined"),
        "switchless": _("without switches"),
        "gaussian": _("gaussian noise"),
        "masking": _("masked pixels"),
        "random": _("random weights"),
        "scratch": _("from scratch"),
    }
    layers = language.count("{n} layer", "{n} layers", int(depth.removeprefix("d")))
    return f"{layers}, {kinds[kind]}"


def _arm(context: Context, family: str, name: str) -> dict[str, Any] | None:
    ending = "-logistic" if family == "codes" else "-network"
    return next((arm for arm in context.result[family]["arms"] if arm["arm"] == name + ending), None)


def _table(context: Context) -> Table:
    result, language = context.result, context.language
    _ = language.gettext
    rows: list[list[str | Cell]] = []
    for variant in result["variants"]:
        accuracies = [_arm(context, family, variant["arm"]) for family in ("codes", "network")]
        rows.append(
            [
                variant_name(variant["arm"], language),
                "-".join(str(n) for n in variant["filters"]),
                language.number(variant["code_length"], 0),
                *_error_cells(variant, language),
                *(accuracy_cells(arm, language)[0] if arm else "–" for arm in accuracies),
                seconds_cell(variant["seconds"], language),
            ]
        )
    heads = [
        _("autoencoder"), _("filters"), _("code length"), _("held-out MSE (95 %)"), _("variance explained, %"),
        _("codes, logistic regression, %"), _("fine-tuned network, %"), _("training, s"),
    ]  # fmt: skip
    return Table(
        "", heads, rows, note=interval_note(language), swatches=[_COLOURS[v["kind"]] for v in result["variants"]]
    )


def _error_cells(variant: dict[str, Any], language: Language) -> list[str]:
    if variant["mse"] is None:
        return [
            language.gettext("{n} of {runs} runs diverged").format(n=variant["diverged"], runs=variant["runs"]),
            "–",
        ]
    mse = variant["mse"]
    explained = 100 * (1 - mse["mean"] / variant["held_out_variance"])
    return [
        f"{language.number(mse['mean'], 4)} ({language.interval(max(mse['low'], 0), mse['high'], 4)})",
        language.number(explained, 1),
    ]


def _errors_figure(context: Context) -> str:
    language = context.language
    lines = [
        Line(
            variant_name(v["arm"], language),
            v["mse"]["mean"],
            max(0.0, v["mse"]["low"]),
            v["mse"]["high"],
            _COLOURS[v["kind"]],
        )
        for v in context.result["variants"]
        if v["mse"] is not None
    ]
    return lines_figure(
        "stacked-errors", lines, language, label=language.gettext("held-out MSE on [−1, 1] (95 % interval)")
    )


def _errors_sentence(context: Context) -> str:
    language = context.language
    known = [v for v in context.result["variants"] if v["mse"] is not None]
    if not known:
        return language.gettext("Every autoencoder diverged.")
    best, worst = (pick(known, key=lambda v: v["mse"]["mean"]) for pick in (min, max))
    return language.gettext("Least error: {best}, {least}; largest: {worst}, {most}.").format(
        best=variant_name(best["arm"], language),
        least=language.number(best["mse"]["mean"], 4),
        worst=variant_name(worst["arm"], language),
        most=language.number(worst["mse"]["mean"], 4),
    )


def _figure(context: Context, family: str) -> str:
    """Draw the accuracies of a family, those from random weights last."""
    result, language = context.result, context.language
    _ = language.gettext
    lines = []
    for arm in sorted(result[family]["arms"], key=lambda arm: _kind(arm["arm"]) in ("random", "scratch")):
        if arm["accuracy"] is not None:
            name = arm["arm"].rpartition("-")[0]
            colour = _COLOURS.get(_kind(arm["arm"]), "random")
            lines.append(arm_line(arm, result["rows"], name=variant_name(name, language), colour=colour))
    label = _("codes, logistic regression: test accuracy, %") if family == "codes" else _("network: test accuracy, %")
    return lines_figure(f"stacked-{family}", lines, language, label=label, levels=levels(result["baselines"], language))


def _kind(arm: str) -> str:
    return arm.rpartition("-")[0].partition(" ")[2]


def _best_sentence(context: Context, family: str) -> str:
    language = context.language
    _ = language.gettext
    known = [arm for arm in context.result[family]["arms"] if arm["accuracy"] is not None]
    if not known:
        return _("Every run diverged.")
    best = max(known, key=lambda arm: arm["accuracy"]["mean"])
    text = (
        _("Codes: the most accurate in the mean is {name}, {accuracy} %.")
        if family == "codes"
        else _("Network: the most accurate in the mean is {name}, {accuracy} %.")
    )
    return text.format(
        name=variant_name(best["arm"].rpartition("-")[0], language), accuracy=language.number(best["accuracy"]["mean"])
    )


def _pictures(context: Context) -> Photographs:
    language = context.language
    _ = language.gettext
    pictures = read_result(context.folder).arrays("pictures.npz")
    errors = {v["arm"]: v["mse"] for v in context.result["variants"]}
    rows = [(_("originals"), picture_row(pictures["originals"]))]
    for arm, images in zip(context.result["shown"], pictures["reconstructions"], strict=True):
        rows.append((f"{variant_name(arm, language)}: {language.number(errors[arm]['mean'], 4)}", picture_row(images)))
    return Photographs(
        rows,
        _("The same held-out images, and what each autoencoder makes of them (seed 0), with its mean squared error."),
    )


def _contrast(context: Context, family: str, treated: str, control: str) -> dict[str, Any]:
    ending = "-logistic" if family == "codes" else "-network"
    found: dict[str, Any] = next(
        c
        for c in context.result[family]["contrasts"]
        if (c["treated"], c["control"]) == (treated + ending, control + ending)
    )
    return found


def _pairs(context: Context) -> Table:
    """List what differs in one thing, by its three measures."""
    result, language = context.result, context.language
    _ = language.gettext
    rows: list[list[str | Cell]] = []
    for pair in result["errors"]:
        names = (pair["treated"], pair["control"])
        row: list[str | Cell] = [
            _("{treated} less {control}").format(
                treated=variant_name(names[0], language), control=variant_name(names[1], language)
            ),
            Cell(_told_error(pair, language), pair["verdict"].replace(" ", "-")),
        ]
        for family in ("codes", "network"):
            contrast = _contrast(context, family, *names)
            row.append(Cell(told_effect(contrast, language, merely=True), contrast["verdict"].replace(" ", "-")))
        rows.append(row)
    heads = [
        _("comparison"),
        _("error, % of the second (95 %)"),
        _("codes, points (95 %)"),
        _("network, points (95 %)"),
    ]
    note = _("p values are corrected within each column, those of the next table included.")
    return Table(_("What differs in one thing"), heads, rows, note=note)


def _told_error(pair: dict[str, Any], language: Language) -> str:
    word = comparison_word(pair["verdict"], language)
    return word if pair["effect"] is None else f"{effect_text(pair['effect'], language)}, {word}"


def _worth(context: Context) -> Table:
    """List what each autoencoder is worth over random weights of its shape."""
    language = context.language
    _ = language.gettext
    rows: list[list[str | Cell]] = []
    for variant in context.result["variants"]:
        row: list[str | Cell] = [variant_name(variant["arm"], language)]
        for family, control in (("codes", "random"), ("network", "scratch")):
            contrast = _contrast(context, family, variant["arm"], f"d{variant['depth']} {control}")
            row.append(Cell(told_effect(contrast, language), contrast["verdict"].replace(" ", "-")))
        rows.append(row)
    heads = [_("autoencoder"), _("codes less random codes, points (95 %)"), _("network less scratch, points (95 %)")]
    return Table(_("What each is worth over random weights"), heads, rows)


def _factors(context: Context) -> list[str]:
    present = {pair["factor"] for pair in context.result["pairs"]}
    return [factor for factor in _FACTORS if factor in present]


def _factor_sentence(context: Context, factor: str) -> str:
    """Say what a factor does to error, codes and network."""
    language = context.language
    _ = language.gettext
    starts = {
        "depth": _("Depth, less one layer: {told}."),
        "way": _("Layer by layer, less as a whole: {told}."),
        "switches": _("Without switches, less with them: {told}."),
        "noise": _("With noise on the input, less without: {told}."),
    }
    told = []
    for pair in context.result["errors"]:
        if pair["factor"] != factor:
            continue
        parts = [_("error in %: {effect}").format(effect=_told_error(pair, language))]
        for family, text in (("codes", _("codes {effect}")), ("network", _("network {effect}"))):
            contrast = _contrast(context, family, pair["treated"], pair["control"])
            parts.append(text.format(effect=told_effect(contrast, language, merely=True)))
        told.append(f"{variant_name(pair['treated'], language)}: {'; '.join(parts)}")
    return starts[factor].format(told=" · ".join(told))


def _worth_sentences(context: Context) -> list[str]:
    """Count where the autoencoders are worth something over random weights."""
    language = context.language
    _ = language.gettext
    sentences = []
    for family, text in (
        (
            "codes",
            _("Over a random encoder of the same shape the codes help in {helps} of {n} cases and hurt in {hurts}."),
        ),
        (
            "network",
            _("Over the same network from scratch the weights help in {helps} of {n} cases and hurt in {hurts}."),
        ),
    ):
        worth = [c for c in context.result[family]["contrasts"] if _kind(c["control"]) in ("random", "scratch")]
        counts = {verdict: sum(c["verdict"] == verdict for c in worth) for verdict in ("helps", "hurts")}
        sentences.append(text.format(n=len(worth), **counts))
    return sentences
