"""The main job: what are the unlabeled images worth? Trains the arms, and compares them under one protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unlabeled.console.plain import printable
from unlabeled.errors import TrainingDiverged, UserError
from unlabeled.experiments.specs import Learned
from unlabeled.experiments.tasks import AutoencoderTask, Perform, Task
from unlabeled.grammar.drawing import filter_sheet, png, tile
from unlabeled.grammar.parts import Code, Part, Photographs, Picture, Points
from unlabeled.grammar.plots import Line, Pair, effects_figure, pairs_figure, training_figure
from unlabeled.grammar.section import Context, Page
from unlabeled.grammar.tables import ArmTable, ContrastTable, arms_figure, best_sentence
from unlabeled.grammar.words import words
from unlabeled.methods import METHODS, Method, all_contrasts, arm_name, is_of, method_of
from unlabeled.methods.strong import STARTED, StrongMethod
from unlabeled.outcomes import AutoencoderOutcome, ClassicalOutcome, Diverged
from unlabeled.records import ArmKey, ArmSummary, Comparison, Contrast, Row, of_arm, outcomes_of
from unlabeled.studies.copies import copies
from unlabeled.studies.costs import costs
from unlabeled.studies.curve import LabelCurve, check_curve, measure_curve
from unlabeled.studies.labels import labels_parts
from unlabeled.studies.limits import caveats
from unlabeled.studies.looks import Looks, look, turned, wrong_labels
from unlabeled.studies.mistakes import confusions, run_of
from unlabeled.studies.probabilities import probabilities
from unlabeled.studies.study import AUTOENCODER, Study, compared, train_autoencoders

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab


@dataclass(frozen=True)
class GainFindings:
    """Findings of the main job; ``code_length`` numbers make a code, ``pca_lengths`` are the least and most components chosen.

    ``curve`` is the answer in labels, if it was asked for; ``looks`` are single images.
    """

    comparison: Comparison
    code_length: int
    pca_lengths: tuple[int, int] | None
    autoencoders: tuple[Row, ...]
    rows: tuple[Row, ...]
    curve: LabelCurve | None = None
    looks: Looks | None = None


def check(lab: Lab) -> None:
    """Refuse an encoder, folds or a network that do not fit."""
    lab.geometry(lab.config.encoder)
    _ = lab.folds
    lab.check_network(lab.config.encoder, lab.config.network)
    if any(isinstance(method, StrongMethod) for method in ways(lab)):
        from unlabeled.experiments.strong import check_strong

        check_strong(lab)
    if lab.config.start is not None:
        from unlabeled.training.starting import network_from

        strong = lab.config.strong
        network_from(lab.config.start, lab.splits.labeled.shape, classes=lab.classes, side=strong.start.side, seed=0)
    check_curve(lab)
    for name in lab.config.leave_out:
        if name not in {method.name for method in METHODS}:
            raise UserError(
                f"--leave-out {printable(name)}: there is no such way to leave out; take of {', '.join(m.name for m in METHODS)}"
            )
    if not _judged(_contrasts(lab)):
        raise UserError(
            "--leave-out leaves no way to use the unlabeled images together with what it is held against; leave out fewer"
        )


def ways(lab: Lab) -> list[Method]:
    """Return the methods that are asked for; a twin goes with the last of those that are held against it."""
    config = lab.config
    out = {*config.leave_out, *(() if config.start else (STARTED.name,))}
    kept: list[Method] = [method for method in METHODS if method.name not in out and is_of(method, config.classifier)]
    twins, needed = (
        {c.control for method in methods for c in method.contrasts if c.role == "twin"} for methods in (METHODS, kept)
    )
    return [method for method in kept if not set(method.arms) <= twins - needed]


def run(lab: Lab, do: Perform) -> GainFindings:
    """Run every arm on every fold and seed.

    Raises
    ------
    TrainingDiverged
        If a run diverged: without one of its arms there is no answer.
    """
    config, contrasts = lab.config, _contrasts(lab)
    learned = [Learned(config.encoder, config.autoencoder, seed) for seed in range(config.seeds)]

    def do_all(tasks: Sequence[Task]) -> list[Row]:
        rows = do(tasks)
        for row in rows:
            if isinstance(row.outcome, Diverged):
                raise TrainingDiverged(row.outcome.diverged)
        return rows

    tasks = list(plan(lab))
    needed = {one for task in tasks for one in task.needs}
    autoencoders = train_autoencoders(do_all, [one for one in learned if AutoencoderTask(AUTOENCODER, one) in needed])
    rows = tuple(do_all(tasks))
    chosen = best_use(rows, contrasts)
    contrasts = sorted(contrasts, key=lambda contrast: contrast.treated != chosen)
    comparison = replace(compared(lab, rows, contrasts), chosen=chosen)
    lengths = [one.features for one in outcomes_of((row for row in rows if row.arm.source == "pca"), ClassicalOutcome)]
    code_length = lab.geometry(config.encoder).code_length
    ends = (min(lengths), max(lengths)) if lengths else None
    curve = measure_curve(lab, do, rows, comparison)
    return GainFindings(comparison, code_length, ends, autoencoders, rows, curve, look(lab, rows, comparison))


def _contrasts(lab: Lab) -> list[Contrast]:
    """Return the comparisons of the ways that are run."""
    arms = {arm for method in ways(lab) for arm in method.arms}
    return [contrast for contrast in all_contrasts() if {contrast.treated, contrast.control} <= arms]


def _judged(contrasts: Sequence[Contrast]) -> list[ArmKey]:
    """Return the arms that are compared both with the arm without unlabeled images and with their twin."""
    twins = {contrast.treated for contrast in contrasts if contrast.role == "twin"}
    return [c.treated for c in contrasts if c.role == "without" and c.treated in twins]


def best_use(rows: Sequence[Row], contrasts: Sequence[Contrast]) -> ArmKey:
    """Return the way with the highest accuracy on validation images in the mean over folds and seeds; test images choose nothing.

    It has been chosen among several, so its p values are corrected for their number as all others are.
    """

    def accuracy(arm: ArmKey) -> float:
        return float(np.mean([row.scored.valid_accuracy for row in of_arm(rows, arm) if row.scored is not None]))

    return max(_judged(contrasts), key=accuracy)


def plan(lab: Lab) -> Iterator[Task]:
    """Yield the runs of all methods, by seed and method, so that features are made once for all models and folds."""
    for seed in range(lab.config.seeds):
        for method in ways(lab):
            for fold in range(len(lab.folds.folds)):
                yield from method.tasks(lab, fold, seed)


def name_of(context: Context[GainFindings], arm: ArmKey) -> str:
    """Name an arm by its method."""
    return arm_name(arm, say=context.language.title, model=context.model)


def colour_of(arm: ArmKey) -> str:
    """Return the name of an arm's colour."""
    method = method_of(arm)
    return f"method-{method.name}" if method is not None else "pixels"


def _arms(context: Context[GainFindings]) -> list[Part]:
    findings = context.findings
    notes = [context.say("Fit: median seconds of a run, choices included, features and autoencoder apart.")]
    if any(arm.not_converged for arm in findings.comparison.arms):
        notes.append(context.say("* Not every logistic regression converged; see the end of the page."))
    if findings.pca_lengths is not None:
        notes.append(
            context.say(
                "PCA's number of components is chosen on validation data, from {low:0} to {high:0} here; the code has {f.code_length:0} "
                "numbers.",
                low=findings.pca_lengths[0],
                high=findings.pca_lengths[1],
            )
        )

    def name(arm: ArmSummary) -> str:
        return context.name(arm.arm) + (" *" if arm.not_converged else "")

    arms = sorted(findings.comparison.arms, key=lambda arm: arm.accuracy.mean if arm.accuracy else 0.0, reverse=True)
    table = ArmTable(words("way"), {words("fit, s"): "seconds:s"}, " ".join(notes))
    figure = Picture(arms_figure(context, "accuracy", arms), best_sentence(context, arms))
    return [table.of(context, arms, name=name, chosen=0), figure, *costs(context, arms)]


def _effects(context: Context[GainFindings]) -> Picture:
    compared = context.findings.comparison
    lines = [
        Line(context.pair(c), c.accuracy.mean, c.accuracy.low, c.accuracy.high, context.colour(c.treated),
             [difference.accuracy for difference in c.differences])
        for c in compared.contrasts
        if c.accuracy is not None
    ]  # fmt: skip
    said = words(
        "Of {n} ways to use the unlabeled images {helps} help, by both differences, and {hurts} hurt, by the difference to doing "
        "without."
    )
    if len(compared.worths) == 1:
        said = words(
            "One way to use the unlabeled images is compared with doing without, and with the same from labeled ones alone."
        )
    counts = {word: sum(worth.verdict == word for worth in compared.worths) for word in ("helps", "hurts")}
    caption = context.say(said, n=len(compared.worths), **counts)
    label = context.say("difference in accuracy, points: mean, 95 % interval, and each run")
    return Picture(effects_figure("effects", lines, context.language, label=label), caption)


def _folds(context: Context[GainFindings]) -> Picture:
    """Draw the answer's contrast fold by fold, from the control's accuracy to the treated one's."""
    main = context.findings.comparison.named
    assert main.accuracy is not None
    accuracies = {
        (row.arm, row.fold, row.seed): 100 * row.scored.accuracy
        for row in context.findings.rows
        if row.scored is not None
    }
    pairs = [
        Pair(d.fold, d.seed, accuracies[main.control, d.fold, d.seed], accuracies[main.treated, d.fold, d.seed])
        for d in main.differences
    ]
    names = {context.colour(arm): context.name(arm) for arm in (main.control, main.treated)}
    x, y = context.say("fold (seeds side by side)"), context.say("test accuracy, %")
    caption = context.say(
        "On {e.folds_won} of {e.folds} folds {name} is better in the mean; single differences range from {low:+} to "
        "{high:+} points.",
        e=main.accuracy,
        name=context.name(main.treated),
        low=min(difference.accuracy for difference in main.differences),
        high=max(difference.accuracy for difference in main.differences),
    )
    return Picture(pairs_figure("folds", pairs, context.language, names=names, x=x, y=y), caption)


def _histories(context: Context[GainFindings], rows: Sequence[Row], name: str) -> list[list[float]]:
    return [_measured([epoch.get(name) for epoch in run_of(context, row).history()]) for row in rows]


def _measured(values: Sequence[float | None]) -> list[float]:
    """Fill in what was not measured after every epoch: on the line between those that were."""
    epochs = [epoch for epoch, value in enumerate(values) if value is not None]
    # Layers that are joined as they are were measured as a whole, but not trained so.
    known = [float(value) for value in values if value is not None]
    return [float(value) for value in np.interp(range(len(values)), epochs, known)] if known else [np.nan] * len(values)


def _curves(context: Context[GainFindings]) -> list[Part]:
    """Draw the validation loss over the epochs of the answer's networks, or of the first ones if it has none."""
    compared, series, best_epochs = context.findings.comparison, [], []
    pairs = [worth.without for worth in (compared.answer, *compared.worths) if worth.arm.model == "network"]
    for arm in (pairs[0].control, pairs[0].treated) if pairs else ():
        runs = _histories(context, of_arm(context.findings.rows, arm), "valid_loss")
        series.append((context.name(arm), runs, context.colour(arm)))
        best = sorted(run.index(min(run)) + 1 for run in runs)[len(runs) // 2]
        longest = max(len(run) for run in runs)
        best_epochs.append(
            context.say(
                "{name:cap}: best at epoch {epoch} of {longest} in the median.",
                name=context.name(arm),
                epoch=best,
                longest=longest,
            )
        )
    if not series:
        return []
    x, y = context.say("epoch"), context.say("validation log loss, nats")
    figure = training_figure("curves", series, context.language, x=x, y=y)
    return [Picture(figure, " ".join([*best_epochs, context.say("Thin: each run. Bold: their median.")]))]


def _errors(context: Context[GainFindings]) -> list[Part]:
    """Draw the autoencoders' error on held-out unlabeled images over the epochs."""
    if not context.findings.autoencoders:
        return []
    language, autoencoders = context.language, context.findings.autoencoders
    series = [
        (context.say("held out"), _histories(context, autoencoders, "valid_mse"), "autoencoder"),
        (context.say("training"), _histories(context, autoencoders, "train_mse"), "pixels"),
    ]
    x, y = context.say("epoch"), context.say("mean squared error on [−1, 1]")
    outcomes = outcomes_of(autoencoders, AutoencoderOutcome)
    errors = [outcome.held_out_mse for outcome in outcomes]
    kept = [1 - o.held_out_mse / o.held_out_variance for o in outcomes if o.held_out_mse < o.held_out_variance]
    text = context.say(
        "On unlabeled images that it was not trained on its mean squared error is {error}",
        error=language.ends((min(errors), max(errors)), 4),
    )
    # The worst seed speaks for all.
    if len(kept) == len(outcomes):
        text += context.say(", which explains {share:%} % of the pixels' variance at the least", share=min(kept))
    else:
        text += context.say(", which is, for one seed at the least, no better than always guessing the mean image")
    code = context.say(
        words(
            "The code holds {o.code_length:0} numbers for the {o.input_length:0} of an image, and {o.switches:0} switches of the pools "
            "go round it."
        )
        if outcomes[0].switches
        else words(
            "The code holds {o.code_length:0} numbers for the {o.input_length:0} of an image, and no switches go round it."
        ),
        o=outcomes[0],
    )
    if max(len(run) for _, runs, _ in series for run in runs) == 1:
        return [f"{text}. {code}"]  # one epoch is no curve
    return [Picture(training_figure("autoencoder", series, language, x=x, y=y, log=True), f"{text}. {code}")]


def _learned(context: Context[GainFindings]) -> list[Part]:
    if not context.findings.autoencoders:
        return []
    pictures = run_of(context, context.findings.autoencoders[0]).arrays("pictures.npz")
    images = [image for name in ("originals", "reconstructions") for image in pictures[name]]
    sheet = png(tile(images, columns=len(pictures["originals"])))
    caption = context.say("Above: unlabeled images that it was not trained on. Below: what seed 0 makes of them.")
    filters = context.say("The first convolution's filters, seed 0, each stretched to its own range: grey is zero.")
    return [
        Photographs([("", sheet)], caption),
        Photographs([("", filter_sheet(pictures["filters"]))], filters),
        Code(outcomes_of(context.findings.autoencoders, AutoencoderOutcome)[0].model),
    ]


def _page(key: str, title: str, *parts: Any, setup: str = "") -> Page[GainFindings]:
    return Page(key, title, setup=(setup,) if setup else (), parts=parts, names=name_of, colours=colour_of)


GAIN = Study(
    "gain",
    ("labeled", "unlabeled", "test"),
    GainFindings,
    run,
    (
        _page(
            "arms",
            words("The ways compared"),
            _arms,
            setup=words(
                "Every way sees the same labels, the same folds and the same test images; they differ in where the features or "
                "the first weights come from, or in what the network learns beside the classes."
            ),
        ),
        _page(
            "changes",
            words("What the unlabeled images change"),
            ContrastTable(
                note=words("Log loss: lower is better."),
                more={
                    words("folds won"): lambda c: f"{c.accuracy.folds_won}/{c.accuracy.folds}" if c.accuracy else "–",
                    words("log loss, nats (95 %)"): "{i.log_loss:e3}",
                },
            ),
            _effects,
            _folds,
            setup=words(
                "Each line compares two ways, run by run on the same fold and seed. In bold is the way that is best on validation images, "
                "which chose it as the answer; all p values are corrected for the number of such comparisons (Holm)."
            ),
        ),
        _page("in-labels", words("In labels"), labels_parts),
        _page("curves", words("How the networks learned"), _curves, _errors),
        _page("learned", words("What the autoencoder learned"), _learned),
        _page("confusions", words("What is taken for what"), confusions, turned),
        _page("wrong-labels", words("Labels that look wrong"), wrong_labels),
        _page("probabilities", words("Can its probabilities be taken at their word?"), probabilities),
        _page("copies", words("Near-copies of test images"), copies),
        _page("limits", words("What this does not show"), lambda context: Points(list(caveats(context)))),
        _page(
            "configuration",
            words("Configuration"),
            lambda context: Code(
                json.dumps(context.config, indent=2, ensure_ascii=False),
                title=context.say("Configuration, every field"),
            ),
        ),
    ),
    check,
)
