"""The main job's sections: what the unlabeled images are worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.files import refuse_name
from unlabeled.outcomes import AutoencoderOutcome
from unlabeled.records import ArmKey, ArmSummary, Row, of_arm, outcomes_of
from unlabeled.report.drawing import filter_sheet, png, tile
from unlabeled.report.language import Language, effect_text
from unlabeled.report.plots import Line, Pair, effects_figure, pairs_figure, training_figure
from unlabeled.report.sections.limits import arm_name, caveats, colour_of
from unlabeled.report.sections.parts import (
    Code,
    Context,
    Matrix,
    Part,
    Photographs,
    Picture,
    Points,
    Section,
    Table,
    accuracy_cells,
    arms_figure,
    contrasts_table,
    most_accurate,
    seconds_cell,
)
from unlabeled.results import Result, read_result
from unlabeled.studies.gain import GainFindings

_MODELS = ("logistic", "trees")
_MOST_CLASSES_IN_TABLE = 20
_MOST_CONFUSIONS = 3


def write(context: Context[GainFindings]) -> list[Section]:
    """Write the sections."""
    _ = context.language.gettext
    run_of = read_run(context, context.findings.autoencoders[0])
    pictures = run_of.arrays("pictures.npz")
    return [
        _arms(context),
        _changes(context),
        Section(
            "curves", _("How the networks learned"), parts=[Picture(*_curves(context)), Picture(*_errors(context))]
        ),
        Section("learned", _("What the autoencoder learned"), parts=_learned(context, pictures)),
        Section("confusions", _("What is taken for what"), parts=_confusions(context)),
        Section("limits", _("What this does not show"), parts=[Points(caveats(context))]),
        Section("configuration", _("Configuration"), parts=[_configuration(context)]),
    ]


def read_run(context: Context[GainFindings], row: Row) -> Result:
    """Read the run of a row; an answer that was put aside is two folders below the runs."""
    folder, name = context.folder, refuse_name(row.run)
    aside = folder.parent.name == "earlier" and not (folder / name).is_dir()
    return read_result(folder.parent.parent / name if aside else folder / name)


def _arms(context: Context[GainFindings]) -> Section:
    findings, language = context.findings, context.language
    _ = language.gettext
    arms = sorted(findings.comparison.arms, key=lambda arm: arm.accuracy.mean if arm.accuracy else 0.0, reverse=True)
    rows = [
        [
            arm_name(arm.arm, language) + (" *" if arm.not_converged else ""),
            *accuracy_cells(arm, language),
            seconds_cell(arm.seconds, language),
        ]
        for arm in arms
    ]
    heads = [_("way"), _("accuracy, % (95 %)"), _("log loss, nats (95 %)"), _("fit, s")]
    swatches = [colour_of(arm.arm) for arm in arms]
    table = Table("", heads, rows, note=_arms_note(context), chosen=0, swatches=swatches)
    figure = arms_figure(
        "accuracy",
        arms,
        findings.rows,
        language,
        name=lambda arm: arm_name(arm, language),
        colour=colour_of,
        label=_("test accuracy, % (95 % interval; ticks: runs)"),
    )
    setup = _(
        "Every way sees the same labels, the same folds and the same test images; they differ in where the features or "
        "the first weights come from, or in what the network learns beside the classes."
    )
    return Section("arms", _("The ways compared"), setup=[setup], parts=[table, Picture(figure, _best(arms, language))])


def _best(arms: Sequence[ArmSummary], language: Language) -> str:
    best = most_accurate(arms)
    assert best is not None
    return language.gettext("The most accurate in the mean: {name}, {accuracy} %.").format(
        name=arm_name(best[0], language), accuracy=language.number(best[1])
    )


def _arms_note(context: Context[GainFindings]) -> str:
    findings, language = context.findings, context.language
    _ = language.gettext
    notes = [_("Fit: median seconds of a run, choices included, features and autoencoder apart.")]
    if any(arm.not_converged for arm in findings.comparison.arms):
        notes.append(_("* Not every logistic regression converged; see the end of the page."))
    text = (
        _("PCA has {n} components, as many as there can be; the code has {length} numbers.")
        if findings.pca_length < findings.code_length
        else _("PCA has as many components as the code has numbers, {length}.")
    )
    notes.append(
        text.format(n=language.number(findings.pca_length, 0), length=language.number(findings.code_length, 0))
    )
    return " ".join(notes)


def _changes(context: Context[GainFindings]) -> Section:
    compared, language = context.findings.comparison, context.language
    _ = language.gettext

    def name(arm: ArmKey) -> str:
        return arm_name(arm, language)

    table = contrasts_table(
        compared.contrasts,
        language,
        name=name,
        note=_("Log loss: lower is better."),
        more={
            _("folds won"): lambda c: f"{c.accuracy.folds_won}/{c.accuracy.folds}" if c.accuracy else "–",
            _("log loss, nats (95 %)"): lambda c: effect_text(c.log_loss, language, 3) if c.log_loss else "–",
        },
    )
    setup = _(
        "Each line compares two ways that differ in one thing, run by run on the same fold and seed. The line in bold was "
        "named as the answer before any run; the p values of the others are corrected for their number (Holm)."
    )
    parts: list[Part] = [table, Picture(*_effects(context)), Picture(*_folds(context))]
    return Section("changes", _("What the unlabeled images change"), setup=[setup], parts=parts)


def _effects(context: Context[GainFindings]) -> tuple[str, str]:
    compared, language = context.findings.comparison, context.language
    _ = language.gettext
    lines = []
    for contrast in compared.contrasts:
        treated, control = (arm_name(arm, language) for arm in (contrast.treated, contrast.control))
        if contrast.accuracy is not None:
            effect, dots = contrast.accuracy, [difference.accuracy for difference in contrast.differences]
            name = _("{treated} vs {control}").format(treated=treated, control=control)
            lines.append(Line(name, effect.mean, effect.low, effect.high, colour_of(contrast.treated), dots))
    label = _("difference in accuracy, points: mean, 95 % interval, and each run")
    counts = {word: sum(c.verdict == word for c in compared.contrasts) for word in ("helps", "hurts")}
    caption = _("Of {n} comparisons {helps} say that it helps, {hurts} that it hurts.").format(
        n=len(compared.contrasts), **counts
    )
    return effects_figure("effects", lines, language, label=label), caption


def _folds(context: Context[GainFindings]) -> tuple[str, str]:
    """Draw the named contrast fold by fold, from the control's accuracy to the treated one's."""
    findings, language = context.findings, context.language
    _ = language.gettext
    main = findings.comparison.named
    accuracies = {
        (row.arm, row.fold, row.seed): 100 * row.scored.accuracy for row in findings.rows if row.scored is not None
    }
    pairs = [
        Pair(d.fold, d.seed, accuracies[main.control, d.fold, d.seed], accuracies[main.treated, d.fold, d.seed])
        for d in main.differences
    ]
    names = {colour_of(arm): arm_name(arm, language) for arm in (main.control, main.treated)}
    figure = pairs_figure(
        "folds", pairs, language, names=names, x=_("fold (seeds side by side)"), y=_("test accuracy, %")
    )
    assert main.accuracy is not None
    values = [difference.accuracy for difference in main.differences]
    caption = _(
        "On {won} of {folds} folds {name} is better in the mean over seeds; single differences range from {low} to {high} points."
    ).format(
        name=arm_name(main.treated, language),
        won=main.accuracy.folds_won,
        folds=main.accuracy.folds,
        low=language.signed(min(values)),
        high=language.signed(max(values)),
    )
    return figure, caption


def _histories(context: Context[GainFindings], rows: Sequence[Row], name: str) -> list[list[float]]:
    runs = [read_run(context, row).history() for row in rows]
    # Layers that are joined as they are were measured as a whole, but not trained so.
    return [[float(epoch.get(name, np.nan)) for epoch in run] for run in runs]


def _curves(context: Context[GainFindings]) -> tuple[str, str]:
    """Draw the networks' validation loss over the epochs."""
    findings, language = context.findings, context.language
    _ = language.gettext
    series, told = [], []
    for arm in (findings.comparison.named.control, findings.comparison.named.treated):
        runs = _histories(context, of_arm(findings.rows, arm), "valid_loss")
        series.append((arm_name(arm, language), runs, colour_of(arm)))
        best = sorted(run.index(min(run)) + 1 for run in runs)
        told.append(
            _("{name} is best at epoch {epoch} in the median").format(
                name=arm_name(arm, language), epoch=best[len(best) // 2]
            )
        )
    figure = training_figure("curves", series, language, x=_("epoch"), y=_("validation log loss, nats"))
    return figure, "; ".join(told) + ". " + _("Thin: each run. Bold: their median.")


def _errors(context: Context[GainFindings]) -> tuple[str, str]:
    """Draw the autoencoders' error on held-out unlabeled images over the epochs."""
    findings, language = context.findings, context.language
    _ = language.gettext
    series = [
        (_("held out"), _histories(context, findings.autoencoders, "valid_mse"), "autoencoder"),
        (_("training"), _histories(context, findings.autoencoders, "train_mse"), "pixels"),
    ]
    y = _("mean squared error on [−1, 1]")
    figure = training_figure("autoencoder", series, language, x=_("epoch"), y=y, log=True)
    outcomes = outcomes_of(findings.autoencoders, AutoencoderOutcome)
    errors = [outcome.held_out_mse for outcome in outcomes]
    kept = [100 * (1 - o.held_out_mse / o.held_out_variance) for o in outcomes if o.held_out_mse < o.held_out_variance]
    text = _("On unlabeled images that it was not trained on its mean squared error is {error}").format(
        error="–".join(dict.fromkeys(language.number(error, 4) for error in (min(errors), max(errors))))
    )
    if kept:
        text += _(", which explains {share} % of the pixels' variance").format(share=language.number(min(kept)))
    code = _("The code holds {code} numbers for the {pixels} of an image, the switches of the pools apart.").format(
        code=language.number(outcomes[0].code_length, 0), pixels=language.number(outcomes[0].input_length, 0)
    )
    return figure, f"{text}. {code}"


def _learned(context: Context[GainFindings], pictures: dict[str, Any]) -> list[Part]:
    _ = context.language.gettext
    images = [image for name in ("originals", "reconstructions") for image in pictures[name]]
    sheet = png(tile(images, columns=len(pictures["originals"])))
    caption = _("Above: unlabeled images that it was not trained on. Below: what seed 0 makes of them.")
    filters = _("The first convolution's filters, seed 0, each stretched to its own range: grey is zero.")
    return [
        Photographs([("", sheet)], caption),
        Photographs([("", filter_sheet(pictures["filters"]))], filters),
        Code(outcomes_of(context.findings.autoencoders, AutoencoderOutcome)[0].model),
    ]


def _confusions(context: Context[GainFindings]) -> list[Part]:
    language, names = context.language, context.protocol.class_names
    _ = language.gettext
    treated = context.findings.comparison.named.treated
    table = confusion(context, treated)
    apart = np.where(np.eye(len(names), dtype=bool), 0.0, table)
    places = [np.unravel_index(place, table.shape) for place in np.argsort(-apart, axis=None, kind="stable")]
    told = [
        _("{truth} for {answer} ({share} %)").format(
            truth=isolated(names[i]), answer=isolated(names[j]), share=language.number(float(apart[i, j]), 0)
        )
        for i, j in places[:_MOST_CONFUSIONS]
        if apart[i, j] > 0
    ]
    sentence = (
        _("{name} takes {pairs} most often.").format(name=arm_name(treated, language), pairs=language.listed(told))
        if told
        else _("No test image was answered wrongly.")
    )
    note = _("Percent of each true class, {name}, all folds and seeds together.").format(
        name=arm_name(treated, language)
    )
    matrix = [Matrix(names, table.round().astype(int).tolist(), note)] if len(names) <= _MOST_CLASSES_IN_TABLE else []
    return [sentence, *matrix]


def isolated(name: str) -> str:
    """Keep the direction of a name's script to itself (Unicode's first strong isolate)."""
    return f"\u2068{name}\u2069"


def confusion(context: Context[GainFindings], arm: ArmKey) -> NDArray[np.float64]:
    """Return percent of each true class (rows) that was answered as each class, over all runs of an arm."""
    labels = read_result(context.folder).arrays("test.npz")["labels"]
    classes = len(context.protocol.class_names)
    table = np.zeros((classes, classes))
    for row in of_arm(context.findings.rows, arm):
        predicted = read_run(context, row).arrays("test.npz")["predicted"].astype(np.int64)
        table += np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    totals = table.sum(axis=1, keepdims=True)
    return 100 * np.divide(table, totals, out=np.zeros_like(table), where=totals > 0)


def _configuration(context: Context[GainFindings]) -> Code:
    text = json.dumps(context.config, indent=2, ensure_ascii=False)
    return Code(text, title=context.language.gettext("Configuration, every field"))
