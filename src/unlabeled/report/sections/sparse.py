"""Section 7: the sparse linear autoencoder on patches."""

from __future__ import annotations

from typing import Any

import numpy as np

from unlabeled.outcomes import Activations
from unlabeled.records import ArmKey
from unlabeled.report.drawing import filter_sheet
from unlabeled.report.language import Language
from unlabeled.report.plots import Curve, bars_figure, curves_figure, histogram_figure
from unlabeled.report.sections.parts import (
    Cell,
    Context,
    Part,
    Photographs,
    Picture,
    Points,
    Section,
    Table,
    seconds_cell,
)
from unlabeled.results import read_result
from unlabeled.studies.sparse import (
    BASE,
    IN_BATCHES,
    UNPENALISED,
    UNTRAINED,
    SparseFindings,
    SparseLine,
    prepared,
)

_LETTERS = {"rho": "ρ", "beta": "β", "lambda": "λ"}


def write(context: Context[SparseFindings]) -> Section:
    """Write the section."""
    language = context.language
    _ = language.gettext
    pictures = read_result(context.folder).arrays("pictures.npz")
    parts: list[Part] = [_table(context)]
    if context.findings.means(BASE):
        parts += [
            _filters(context, pictures),
            Picture(_bars(context, pictures), _bars_sentence(context)),
            Picture(_histogram(context, pictures), _histogram_sentence(context)),
            _shapes(context),
            Points(_settings_sentences(context)),
            Picture(_losses(context), _losses_sentence(context)),
        ]
    return Section(
        key="sparse",
        title=_("Sparse autoencoder on patches"),
        question=_(
            "What filters does a sparse linear autoencoder learn on patches, and what do ρ, β and λ do to its "
            "activations?"
        ),
        setup=_setup(context),
        parts=parts,
        conclusion=_conclusion(context),
    )


def _setup(context: Context[SparseFindings]) -> list[str]:
    findings, language = context.findings, context.language
    _ = language.gettext
    settings = findings.settings
    channels = context.protocol.image[0]
    batches = settings["training"]
    return [
        _(
            "{patches} patches of {channels}×{side}×{side} are cut at random places of the unlabeled images, and "
            "half as many from others to "
            "measure on. {hidden} hidden units with sigmoid, a linear output. Loss on prepared patches: mean over "
            "patches of half the squared "
            "error + λ/2 · squared weights + β · Σ KL(ρ ‖ ρ_j), ρ_j the mean activation of unit j over the batch."
        ).format(
            patches=language.number(settings["patches"], 0),
            channels=channels,
            side=settings["side"],
            hidden=settings["hidden"],
        ),
        _(
            "Base: {preparation}, ρ = {rho}, β = {beta}, λ = {decay}; the full batch with L-BFGS in double "
            "precision, at most {iterations} "
            "iterations. Against it, one thing changed at a time; “batches” lowers the same loss with {optimizer} "
            "in batches of {batch}, "
            "{epochs} epochs."
        ).format(
            preparation=preparation_name(settings["preparation"], language),
            rho=language.short(settings["rho"]),
            beta=language.short(settings["beta"]),
            decay=language.short(settings["decay"]),
            iterations=language.number(settings["iterations"], 0),
            optimizer=batches["optimizer"],
            batch=language.number(batches["batch_size"], 0),
            epochs=batches["epochs"],
        ),
    ]


def preparation_name(preparation: str, language: Language) -> str:
    """Name what is done to patches first."""
    _ = language.gettext
    return {"whitening": _("whitening (ZCA)"), "clip": _("clip at ±3 σ to [0.1, 0.9]")}[preparation]


def _name(arm: ArmKey, language: Language) -> str:
    """Name a variant."""
    _ = language.gettext
    names = {
        UNTRAINED: _("before training"),
        BASE: _("base"),
        IN_BATCHES: _("batches"),
        UNPENALISED: _("without the penalty (β = 0)"),
    }
    if arm in names:
        return names[arm]
    if arm.factor == "preparation":
        return preparation_name(arm.value, language)
    return f"{_LETTERS[arm.factor]} = {language.short(float(arm.value))}"


def _table(context: Context[SparseFindings]) -> Table:
    findings, language = context.findings, context.language
    _ = language.gettext
    rows: list[list[str | Cell]] = []
    for line in findings.variants:
        name, means = _name(line.arm, language), line.means
        if means is None:
            failed = _("{n} of {runs} runs diverged").format(n=line.diverged, runs=line.runs)
            rows.append([name, failed, *["–"] * 6])
            continue
        runs = [100 * share for share in means.explained_runs]
        rows.append(
            [
                name,
                f"{language.number(100 * means.explained)} ({language.interval(min(runs), max(runs))})",
                language.number(means.loss, 2),
                language.number(means.iterations, 0) if means.iterations else "–",
                language.number(100 * means.filters.localised, 0),
                language.number(means.filters.oriented, 2),
                language.number(100 * means.filters.coloured, 0),
                seconds_cell(means.seconds if means.iterations else None, language),
            ]
        )
    heads = [
        _("variant"), _("held-out variance explained, % (seeds)"), _("held-out loss"), _("iterations or epochs"),
        _("localised filters, %"), _("orientation"), _("coloured filters, %"), _("training, s"),
    ]  # fmt: skip
    note = _(
        "Means over seeds, and the range of single ones; losses of other preparations and penalties are not "
        "comparable. Localised: half of "
        "a filter's energy or more in a quarter of its area. Orientation: coherence of the filter's gradients, "
        "median over filters, 1 for an "
        "edge, 0 for a blob. Coloured: less than half of the energy in the mean over channels."
    )
    base = [line.arm for line in findings.variants].index(BASE)
    return Table("", heads, rows, note=note, chosen=base)


def _array(context: Context[SparseFindings], pictures: dict[str, Any], what: str, arm: ArmKey) -> Any:
    number = [line.arm for line in context.findings.variants].index(arm)
    return pictures.get(f"{what}{number}")


def _filters(context: Context[SparseFindings], pictures: dict[str, Any]) -> Photographs:
    """Show the filters of some variants."""
    language = context.language
    rows = []
    for arm in (UNTRAINED, BASE, UNPENALISED, prepared(context.findings.other)):
        filters = _array(context, pictures, "filters", arm)
        if filters is not None:
            rows.append((_name(arm, language), filter_sheet(filters)))
    return Photographs(rows, _filters_sentence(context))


def _filters_sentence(context: Context[SparseFindings]) -> str:
    """Say whether the filters are localised edges and colours, next to those before training."""
    language = context.language
    _ = language.gettext
    known = context.findings.known(BASE, UNTRAINED)
    if len(known) < 2:
        return ""
    base, before = (means.filters for _line, means in known)
    verdict = (
        _("Most filters are localised")
        if base.localised > 0.5
        else _("Some filters are localised")
        if base.localised > before.localised + 0.1
        else _("The filters are not localised")
    )
    return _(
        "Filters of seed 0 on the pixels, grey is zero. {verdict}: {share} % have half of their energy in a "
        "quarter of their area (before "
        "training {before} %), orientation {oriented} (before {oriented_before}), {coloured} % are coloured."
    ).format(
        verdict=verdict,
        share=language.number(100 * base.localised, 0),
        before=language.number(100 * before.localised, 0),
        oriented=language.number(base.oriented, 2),
        oriented_before=language.number(before.oriented, 2),
        coloured=language.number(100 * base.coloured, 0),
    )


def _series(context: Context[SparseFindings], pictures: dict[str, Any]) -> list[tuple[str, Any, str]]:
    """Return mean activations before training, without the penalty and with it."""
    language = context.language
    _ = language.gettext
    chosen = [
        (_("before training"), _array(context, pictures, "before", BASE), "pixels"),
        (_name(UNPENALISED, language), _array(context, pictures, "after", UNPENALISED), "random"),
        (_("with the penalty"), _array(context, pictures, "after", BASE), "autoencoder"),
    ]
    return [(name, np.sort(values)[::-1], colour) for name, values, colour in chosen if values is not None]


def _level(context: Context[SparseFindings]) -> tuple[str, float]:
    rho = context.findings.line(BASE).rho
    return f"ρ = {context.language.short(rho)}", rho


def _bars(context: Context[SparseFindings], pictures: dict[str, Any]) -> str:
    language = context.language
    _ = language.gettext
    return bars_figure(
        "activations", _series(context, pictures), language, x=_("hidden units, by mean activation"), y=_("mean activation"),
        level=_level(context),
    )  # fmt: skip


def _histogram(context: Context[SparseFindings], pictures: dict[str, Any]) -> str:
    language = context.language
    _ = language.gettext
    return histogram_figure(
        "activation-histogram", _series(context, pictures), language, x=_("mean activation"), y=_("hidden units"),
        level=_level(context),
    )  # fmt: skip


def _bars_sentence(context: Context[SparseFindings]) -> str:
    language = context.language
    told = [
        f"{_name(line.arm, language)} {_spread(means.activations, language)}"
        for line, means in context.findings.known(UNTRAINED, UNPENALISED, BASE)
    ]
    return language.gettext("Mean activation of a unit, median and the middle four fifths: {told}.").format(
        told="; ".join(told)
    )


def _spread(shape: Activations, language: Language) -> str:
    return f"{language.number(shape.median, 3)} ({language.interval(shape.low, shape.high, 3)})"


def _histogram_sentence(context: Context[SparseFindings]) -> str:
    language = context.language
    told = [
        f"{_name(line.arm, language)} {language.number(100 * means.activations.near, 0)} %"
        for line, means in context.findings.known(UNPENALISED, BASE)
    ]
    return language.gettext("Units within a factor of two of ρ: {told}.").format(told="; ".join(told))


def _shapes(context: Context[SparseFindings]) -> Table:
    """List what rho, beta and lambda do to the shape of the activations."""
    language = context.language
    _ = language.gettext
    rows = []
    for line, means in context.findings.known():
        shape = means.activations
        rows.append(
            [
                _name(line.arm, language),
                language.short(line.rho) if line.beta else "–",
                language.number(shape.mean, 3),
                language.number(shape.deviation, 3),
                _spread(shape, language),
                language.interval(shape.least, shape.most, 3),
                language.number(100 * shape.near, 0) if line.beta else "–",
                language.number(100 * shape.silent, 0),
            ]
        )
    heads = [
        _("variant"), "ρ", _("mean"), _("deviation"), _("median (10 % to 90 %)"), _("least to most"), _("near ρ, %"),
        _("silent (below 0.01), %"),
    ]  # fmt: skip
    note = _(
        "Of the units' mean activations over held-out patches, means over seeds. Near: within a factor of two of ρ."
    )
    return Table(_("The shape of the mean activations"), heads, rows, note=note)


def _losses(context: Context[SparseFindings]) -> str:
    language = context.language
    _ = language.gettext
    curves = []
    names = {BASE: (_("full batch, L-BFGS"), "autoencoder"), IN_BATCHES: (_("batches"), "slow")}
    for line, means in context.findings.known(*names):
        name, colour = names[line.arm]
        steps = np.linspace(1, max(1.0, means.iterations), len(means.losses))
        curves.append(Curve(name, list(steps), means.losses, colour))
    return curves_figure("sparse-losses", curves, language, x=_("iterations or epochs"), y=_("training loss"), log="xy")


def _losses_sentence(context: Context[SparseFindings]) -> str:
    language = context.language
    _ = language.gettext
    names = {BASE: _("the full batch"), IN_BATCHES: _("batches")}
    told = [
        _("{name}: {loss} on held-out patches after {seconds} s").format(
            name=names[line.arm],
            loss=language.number(means.loss, 3),
            seconds=seconds_cell(means.seconds, language),
        )
        for line, means in context.findings.known(*names)
    ]
    return _("The same loss both ways: {told}.").format(told="; ".join(told))


def _conclusion(context: Context[SparseFindings]) -> list[str]:
    _ = context.language.gettext
    if not (context.findings.means(BASE) and context.findings.means(UNTRAINED)):
        return [_("The base diverged, so there is nothing to conclude.")]
    return [_filters_sentence(context), _penalty_sentence(context), _losses_sentence(context)]


def _settings_sentences(context: Context[SparseFindings]) -> list[str]:
    """Say what each setting does to the activations."""
    _ = context.language.gettext
    texts = {"rho": _("By ρ: {told}."), "beta": _("By β: {told}."), "lambda": _("By λ: {told}.")}
    told = {setting: _varied(context, setting) for setting in texts}
    return [texts[setting].format(told="; ".join(values)) for setting, values in told.items() if len(values) > 1]


def _penalty_sentence(context: Context[SparseFindings]) -> str:
    """Say what the penalty does to the shape, by its numbers."""
    language = context.language
    _ = language.gettext
    with_it, without = context.findings.means(BASE), context.findings.means(UNPENALISED)
    if with_it is None or without is None:
        return _("Without the penalty the training diverged.")
    narrower = with_it.activations.deviation < without.activations.deviation
    text = (
        _(
            "The penalty makes the distribution of mean activations narrower: standard deviation {with_it} "
            "against {without}, mean {mean} against "
            "{mean_without} at ρ = {rho}; it costs {cost} points of explained variance."
        )
        if narrower
        else _(
            "The penalty does not make the distribution of mean activations narrower: standard deviation "
            "{with_it} against {without}, mean {mean} "
            "against {mean_without} at ρ = {rho}; it costs {cost} points of explained variance."
        )
    )
    return text.format(
        with_it=language.number(with_it.activations.deviation, 3),
        without=language.number(without.activations.deviation, 3),
        mean=language.number(with_it.activations.mean, 3),
        mean_without=language.number(without.activations.mean, 3),
        rho=language.short(context.findings.line(BASE).rho),
        cost=language.number(100 * (without.explained - with_it.explained), 1),
    )


def _varied(context: Context[SparseFindings], setting: str) -> list[str]:
    """Say, by value of one setting, the mean and the deviation of the activations, and the variance explained."""
    language = context.language
    own = [
        (_value(line, setting), means)
        for line, means in context.findings.known()
        if line.arm == BASE or line.arm.factor == setting
    ]
    return [
        language.gettext("{name}: mean {mean}, deviation {deviation}, {explained} % explained").format(
            name=f"{_LETTERS[setting]} = {language.short(value)}",
            mean=language.number(means.activations.mean, 3),
            deviation=language.number(means.activations.deviation, 3),
            explained=language.number(100 * means.explained),
        )
        for value, means in sorted(own, key=lambda pair: pair[0])
    ]


def _value(line: SparseLine, setting: str) -> float:
    return {"rho": line.rho, "beta": line.beta, "lambda": line.decay}[setting]
