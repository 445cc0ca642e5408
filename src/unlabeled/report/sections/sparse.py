"""Section 7: the sparse linear autoencoder on patches."""

from __future__ import annotations

from typing import Any

import numpy as np

from unlabeled.report.drawing import filter_sheet
from unlabeled.report.language import Language
from unlabeled.report.plots import Curve, bars_figure, curves_figure, histogram_figure
from unlabeled.report.sections.parts import Cell, Context, Part, Photographs, Picture, Section, Table, seconds_cell
from unlabeled.results import read_result


def write(context: Context) -> Section:
    """Write the section."""
    language = context.language
    _ = language.gettext
    pictures = read_result(context.folder).arrays("pictures.npz")
    parts: list[Part] = [_table(context)]
    if _known(context, "base"):
        parts += [
            _filters(context, pictures),
            Picture(_bars(context, pictures), _bars_sentence(context)),
            Picture(_histogram(context, pictures), _histogram_sentence(context)),
            _shapes(context),
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
        protocol=context.protocol,
    )


def _setup(context: Context) -> list[str]:
    result, language = context.result, context.language
    _ = language.gettext
    settings = result["settings"]
    channels = result["protocol"]["image"][0]
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


def _name(arm: str, language: Language) -> str:
    """Name a variant."""
    _ = language.gettext
    names = {
        "untrained": _("before training"),
        "base": _("base"),
        "adam": _("batches"),
        "beta 0": _("without the penalty (β = 0)"),
        "clip": preparation_name("clip", language),
        "whitening": preparation_name("whitening", language),
    }
    if arm in names:
        return names[arm]
    symbol, _space, value = arm.partition(" ")
    return f"{ {'rho': 'ρ', 'beta': 'β', 'lambda': 'λ'}[symbol] } = {language.short(float(value))}"


def _line(context: Context, arm: str) -> dict[str, Any]:
    found: dict[str, Any] = next(line for line in context.result["variants"] if line["arm"] == arm)
    return found


def _known(context: Context, arm: str) -> bool:
    return _line(context, arm)["explained"] is not None


def _all_known(context: Context) -> list[dict[str, Any]]:
    return [line for line in context.result["variants"] if line["explained"] is not None]


def _table(context: Context) -> Table:
    result, language = context.result, context.language
    _ = language.gettext
    rows: list[list[str | Cell]] = []
    for line in result["variants"]:
        name = _name(line["arm"], language)
        if line["explained"] is None:
            failed = _("{n} of {runs} runs diverged").format(n=line["diverged"], runs=line["runs"])
            rows.append([name, failed, *["–"] * 6])
            continue
        runs = [100 * share for share in line["explained_runs"]]
        filters = line["filters"]
        rows.append(
            [
                name,
                f"{language.number(100 * line['explained'])} ({language.interval(min(runs), max(runs))})",
                language.number(line["loss"], 2),
                language.number(line["iterations"], 0) if line["iterations"] else "–",
                language.number(100 * filters["localised"], 0),
                language.number(filters["oriented"], 2),
                language.number(100 * filters["coloured"], 0),
                seconds_cell(line["seconds"] if line["iterations"] else None, language),
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
    base = [line["arm"] for line in result["variants"]].index("base")
    return Table("", heads, rows, note=note, chosen=base)


def _array(context: Context, pictures: dict[str, Any], what: str, arm: str) -> Any:
    number = [line["arm"] for line in context.result["variants"]].index(arm)
    return pictures.get(f"{what}{number}")


def _filters(context: Context, pictures: dict[str, Any]) -> Photographs:
    """Show the filters of some variants."""
    language = context.language
    rows = []
    for arm in ("untrained", "base", "beta 0", context.result["other"]):
        filters = _array(context, pictures, "filters", arm)
        if filters is not None:
            rows.append((_name(arm, language), filter_sheet(filters)))
    return Photographs(rows, _filters_sentence(context))


def _filters_sentence(context: Context) -> str:
    """Say whether the filters are localised edges and colours, next to those before training."""
    language = context.language
    _ = language.gettext
    base, before = (_line(context, arm)["filters"] for arm in ("base", "untrained"))
    verdict = (
        _("Most filters are localised")
        if base["localised"] > 0.5
        else _("Some filters are localised")
        if base["localised"] > before["localised"] + 0.1
        else _("The filters are not localised")
    )
    return _(
        "Filters of seed 0 on the pixels, grey is zero. {verdict}: {share} % have half of their energy in a "
        "quarter of their area (before "
        "training {before} %), orientation {oriented} (before {oriented_before}), {coloured} % are coloured."
    ).format(
        verdict=verdict,
        share=language.number(100 * base["localised"], 0),
        before=language.number(100 * before["localised"], 0),
        oriented=language.number(base["oriented"], 2),
        oriented_before=language.number(before["oriented"], 2),
        coloured=language.number(100 * base["coloured"], 0),
    )


def _series(context: Context, pictures: dict[str, Any]) -> list[tuple[str, Any, str]]:
    """Return mean activations before training, without the penalty and with it."""
    language = context.language
    _ = language.gettext
    chosen = [
        (_("before training"), _array(context, pictures, "before", "base"), "pixels"),
        (_name("beta 0", language), _array(context, pictures, "after", "beta 0"), "random"),
        (_("with the penalty"), _array(context, pictures, "after", "base"), "autoencoder"),
    ]
    return [(name, np.sort(values)[::-1], colour) for name, values, colour in chosen if values is not None]


def _bars(context: Context, pictures: dict[str, Any]) -> str:
    language = context.language
    _ = language.gettext
    return bars_figure(
        "activations", _series(context, pictures), language, x=_("hidden units, by mean activation"), y=_("mean activation"),
        level=(f"ρ = {language.short(context.result['settings']['rho'])}", context.result["settings"]["rho"]),
    )  # fmt: skip


def _histogram(context: Context, pictures: dict[str, Any]) -> str:
    language = context.language
    _ = language.gettext
    return histogram_figure(
        "activation-histogram", _series(context, pictures), language, x=_("mean activation"), y=_("hidden units"),
        level=(f"ρ = {language.short(context.result['settings']['rho'])}", context.result["settings"]["rho"]),
    )  # fmt: skip


def _bars_sentence(context: Context) -> str:
    language = context.language
    told = [
        f"{_name(arm, language)} {_spread(_line(context, arm)['activations'], language)}"
        for arm in ("untrained", "beta 0", "base")
        if _known(context, arm)
    ]
    return language.gettext("Mean activation of a unit, median and the middle four fifths: {told}.").format(
        told="; ".join(told)
    )


def _spread(shape: dict[str, float], language: Language) -> str:
    return f"{language.number(shape['median'], 3)} ({language.interval(shape['low'], shape['high'], 3)})"


def _histogram_sentence(context: Context) -> str:
    language = context.language
    rho = context.result["settings"]["rho"]
    told = [
        f"{_name(arm, language)} {language.number(100 * _near(context, arm, rho), 0)} %"
        for arm in ("beta 0", "base")
        if _known(context, arm)
    ]
    return language.gettext("Units within a factor of two of ρ: {told}.").format(told="; ".join(told))


def _near(context: Context, arm: str, rho: float) -> float:
    line = _line(context, arm)
    near: float = line["activations"]["near"]
    assert line["rho"] == rho
    return near


def _shapes(context: Context) -> Table:
    """List what rho, beta and lambda do to the shape of the activations."""
    language = context.language
    _ = language.gettext
    rows = []
    for line in _all_known(context):
        shape = line["activations"]
        rows.append(
            [
                _name(line["arm"], language),
                language.short(line["rho"]) if line["beta"] else "–",
                language.number(shape["mean"], 3),
                language.number(shape["deviation"], 3),
                _spread(shape, language),
                language.interval(shape["least"], shape["most"], 3),
                language.number(100 * shape["near"], 0) if line["beta"] else "–",
                language.number(100 * shape["silent"], 0),
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


def _losses(context: Context) -> str:
    language = context.language
    _ = language.gettext
    curves = []
    for arm, colour, name in (("base", "autoencoder", _("full batch, L-BFGS")), ("adam", "slow", _("batches"))):
        if _known(context, arm):
            line = _line(context, arm)
            steps = np.linspace(1, max(1.0, line["iterations"]), len(line["losses"]))
            curves.append(Curve(name, list(steps), line["losses"], colour))
    return curves_figure("sparse-losses", curves, language, x=_("iterations or epochs"), y=_("training loss"), log="xy")


def _losses_sentence(context: Context) -> str:
    language = context.language
    _ = language.gettext
    told = [
        _("{name} ends at {loss} on held-out patches after {seconds} s").format(
            name=name,
            loss=language.number(_line(context, arm)["loss"], 3),
            seconds=seconds_cell(_line(context, arm)["seconds"], language),
        )
        for arm, name in (("base", _("the full batch")), ("adam", _("batches")))
        if _known(context, arm)
    ]
    return _("The same loss both ways: {told}.").format(told="; ".join(told))


def _conclusion(context: Context) -> list[str]:
    language = context.language
    _ = language.gettext
    if not (_known(context, "base") and _known(context, "untrained")):
        return [_("The base diverged, so there is nothing to conclude.")]
    sentences = [_filters_sentence(context), _bars_sentence(context), _penalty_sentence(context)]
    for symbol, text in (
        ("rho", _("By ρ: {told}.")),
        ("beta", _("By β: {told}.")),
        ("lambda", _("By λ: {told}.")),
    ):
        told = _varied(context, symbol)
        if len(told) > 1:
            sentences.append(text.format(told="; ".join(told)))
    return [*sentences, _losses_sentence(context)]


def _penalty_sentence(context: Context) -> str:
    """Say what the penalty does to the shape, by its numbers."""
    language = context.language
    _ = language.gettext
    if not _known(context, "beta 0"):
        return _("Without the penalty the training diverged.")
    with_it, without = (_line(context, arm) for arm in ("base", "beta 0"))
    narrower = with_it["activations"]["deviation"] < without["activations"]["deviation"]
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
        with_it=language.number(with_it["activations"]["deviation"], 3),
        without=language.number(without["activations"]["deviation"], 3),
        mean=language.number(with_it["activations"]["mean"], 3),
        mean_without=language.number(without["activations"]["mean"], 3),
        rho=language.short(with_it["rho"]),
        cost=language.number(100 * (without["explained"] - with_it["explained"]), 1),
    )


def _varied(context: Context, symbol: str) -> list[str]:
    """Say, by value of one setting, the mean and the deviation of the activations, and the variance explained."""
    language = context.language
    field = {"rho": "rho", "beta": "beta", "lambda": "decay"}[symbol]
    lines = [line for line in _all_known(context) if line["arm"] == "base" or line["arm"].startswith(f"{symbol} ")]
    letter = {"rho": "ρ", "beta": "β", "lambda": "λ"}[symbol]
    return [
        language.gettext("{name}: mean {mean}, deviation {deviation}, {explained} % explained").format(
            name=f"{letter} = {language.short(line[field])}",
            mean=language.number(line["activations"]["mean"], 3),
            deviation=language.number(line["activations"]["deviation"], 3),
            explained=language.number(100 * line["explained"]),
        )
        for line in sorted(lines, key=lambda line: float(line[field]))
    ]
