"""Study 7: the sparse linear autoencoder on patches. What do rho, beta and lambda do to its filters and activations?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.errors import DataError
from unlabeled.experiments.tasks import PatchesTask, Perform
from unlabeled.grammar.drawing import filter_sheet
from unlabeled.grammar.parts import Part, Photographs, Picture, Points, Table
from unlabeled.grammar.plots import Curve, bars_figure, curves_figure, histogram_figure
from unlabeled.grammar.section import Context, Page
from unlabeled.grammar.tables import Column, table
from unlabeled.grammar.words import words
from unlabeled.keeping.files import write_arrays
from unlabeled.keeping.results import read_result
from unlabeled.records import ArmKey, Row, of_arm
from unlabeled.studies.penalties import (
    BASE,
    IN_BATCHES,
    UNPENALISED,
    UNTRAINED,
    Means,
    SparseLine,
    describe,
    other_preparation,
    prepared,
    variants,
)  # fmt: skip
from unlabeled.studies.study import Study

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

PREPARATIONS = {"whitening": words("whitening (ZCA)"), "clip": words("clip at ±3 σ to [0.1, 0.9]")}
_LETTERS = {"rho": "ρ", "beta": "β", "lambda": "λ"}
_NAMES = {
    UNTRAINED: words("before training"),
    BASE: words("base"),
    IN_BATCHES: words("batches"),
    UNPENALISED: words("without the penalty (β = 0)"),
}
_BY = {"rho": words("By ρ: {items}."), "beta": words("By β: {items}."), "lambda": words("By λ: {items}.")}


@dataclass(frozen=True)
class SparseFindings:
    """Findings of study 7; ``other`` is the preparation that the base has not."""

    variants: tuple[SparseLine, ...]
    other: str
    settings: dict[str, Any]
    rows: tuple[Row, ...]

    def line(self, arm: ArmKey) -> SparseLine:
        """Return a variant by its arm."""
        return next(line for line in self.variants if line.arm == arm)

    def means(self, arm: ArmKey) -> Means | None:
        """Return a variant's means, if a run of it came to an end."""
        return self.line(arm).means

    def known(self, *arms: ArmKey) -> list[tuple[SparseLine, Means]]:
        """Return those of some variants, or of all, that came to an end."""
        lines = [self.line(arm) for arm in arms] if arms else self.variants
        return [(line, line.means) for line in lines if line.means is not None]


def run(lab: Lab, do: Perform) -> SparseFindings:
    """Train every variant on patches of the unlabeled images."""
    planned = variants(lab)
    rows = do([PatchesTask(arm, learned[seed]) for seed in range(lab.config.seeds) for arm, learned in planned.items()])
    arrays: dict[str, NDArray[Any]] = {}
    for number, arm in enumerate(planned):
        first = next((row for row in of_arm(rows, arm) if not row.diverged), None)
        if first is not None:
            stored = read_result(lab.folder / first.run).arrays("filters.npz")
            arrays |= {f"{name}{number}": array for name, array in stored.items()}
    write_arrays(lab.folder / "sparse" / "pictures.npz", **arrays)
    grid = lab.config.studies.sparse
    lines = tuple(describe(arm, learned[0], of_arm(rows, arm)) for arm, learned in planned.items())
    return SparseFindings(lines, other_preparation(grid.preparation), grid.model_dump(mode="json"), tuple(rows))


def check(lab: Lab) -> None:
    """Refuse patches that do not fit these images, and batches that say too little of how often a unit is active."""
    from unlabeled.networks.sparse import check_batch

    check_size(lab)
    grid = lab.config.studies.sparse
    check_batch(min(grid.training.batch_size, grid.patches), grid.rho)


def check_size(lab: Lab) -> None:
    """Refuse patches that do not fit these images."""
    side, (_, height, width) = lab.config.studies.sparse.side, lab.splits.unlabeled.shape
    if side > min(height, width):
        raise DataError(
            f"patches of {side}x{side} do not fit images of {width}x{height}; use --studies.sparse.side {min(height, width)}"
        )


def _name(context: Context[SparseFindings], arm: ArmKey) -> str:
    """Name a variant."""
    if arm in _NAMES:
        return context.say(_NAMES[arm])
    if arm.factor == "preparation":
        return context.say(PREPARATIONS[arm.value])
    return f"{_LETTERS[arm.factor]} = {context.language.short(float(arm.value))}"


def prepared_by(context: Context[Any], settings: Mapping[str, Any]) -> str:
    """Name what is done to patches first."""
    name = PREPARATIONS[settings["preparation"]]
    return context.say(name)


def _parts(context: Context[SparseFindings]) -> list[Part]:
    if not context.findings.means(BASE):
        return [_table(context)]
    settings = [
        context.say(_BY[name], items="; ".join(sentences))
        for name in _BY
        if len(sentences := _varied(context, name)) > 1
    ]
    return [
        _table(context),
        _filters(context),
        *_activations(context),
        _shapes(context),
        Points(settings),
        Picture(_losses_figure(context), _losses(context)),
    ]


def _table(context: Context[SparseFindings]) -> Table:
    language, findings = context.language, context.findings

    def explained(line: SparseLine) -> str:
        if line.means is None:
            return context.say("{n} of {runs} runs diverged", n=line.diverged, runs=line.runs)
        runs = [100 * share for share in line.means.explained_runs]
        return f"{language.number(100 * line.means.explained)} ({language.interval(min(runs), max(runs))})"

    def mean(value: Callable[[Means], float | None], form: str) -> Callable[[SparseLine], str]:
        return lambda line: language.write(None if line.means is None else value(line.means), form)

    columns: dict[str, Column[SparseLine]] = {
        words("variant"): lambda line: context.name(line.arm),
        words("held-out variance explained, % (seeds)"): explained,
        words("held-out loss"): mean(lambda means: means.loss, "2"),
        words("iterations or epochs"): mean(lambda means: means.iterations or None, "0"),
        words("localised filters, %"): mean(lambda means: means.filters.localised, "%0"),
        words("orientation"): mean(lambda means: means.filters.oriented, "2"),
        words("coloured filters, %"): mean(lambda means: means.filters.coloured, "%0"),
        words("training, s"): mean(lambda means: means.seconds if means.iterations else None, "s"),
    }
    note = words(
        "Means over seeds, and the range of single ones; losses of other preparations and penalties are not comparable. Localised: "
        "half of a filter's energy or more in a quarter of its area. Orientation: coherence of the filter's gradients, median over "
        "filters, 1 for an edge, 0 for a blob. Coloured: less than half of the energy in the mean over channels."
    )
    base = [line.arm for line in findings.variants].index(BASE)
    return table(context, columns, findings.variants, note=note, chosen=base)


def _array(context: Context[SparseFindings], what: str, arm: ArmKey) -> NDArray[Any] | None:
    number = [line.arm for line in context.findings.variants].index(arm)
    return context.pictures.get(f"{what}{number}")


def _filters(context: Context[SparseFindings]) -> Photographs:
    """Show the filters of some variants."""
    shown = [
        (context.name(arm), filter_sheet(filters))
        for arm in (UNTRAINED, BASE, UNPENALISED, prepared(context.findings.other))
        if (filters := _array(context, "filters", arm)) is not None
    ]
    text = context.say("Filters of seed 0 on the pixels, grey is zero.")
    return Photographs(shown, f"{text} {_localised(context)}".strip())


def _localised(context: Context[SparseFindings]) -> str:
    """Say whether the filters are localised edges and colours, next to those before training."""
    known = context.findings.known(BASE, UNTRAINED)
    if len(known) < 2:
        return ""
    base, before = (means.filters for _line, means in known)
    if base.localised > 0.5:
        verdict = context.say("Most filters are localised")
    elif base.localised > before.localised + 0.1:
        verdict = context.say("Some filters are localised")
    else:
        verdict = context.say("The filters are not clearly more localised than before training")
    return context.say(
        "{verdict}: {base.localised:%0} % have half of their energy in a quarter of their area (before training "
        "{before.localised:%0} %), orientation {base.oriented:2} (before {before.oriented:2}), {base.coloured:%0} % are coloured.",
        verdict=verdict,
        base=base,
        before=before,
    )


def _activations(context: Context[SparseFindings]) -> list[Picture]:
    """Draw mean activations before training, without the penalty and with it."""
    chosen = (
        (context.say("before training"), _array(context, "before", BASE), "pixels"),
        (context.name(UNPENALISED), _array(context, "after", UNPENALISED), "random"),
        (context.say("with the penalty"), _array(context, "after", BASE), "autoencoder"),
    )
    series = [(name, np.sort(values)[::-1], colour) for name, values, colour in chosen if values is not None]
    known, rho = context.findings.known(UNTRAINED, UNPENALISED, BASE), context.findings.line(BASE).rho
    level = (f"ρ = {context.language.short(rho)}", rho)
    x, y = context.say("hidden units, by mean activation"), context.say("mean activation")
    spreads = "; ".join(f"{context.name(line.arm)} {_spread(context, means)}" for line, means in known)
    near = [(context.name(line.arm), means.activations.near) for line, means in known if line.arm != UNTRAINED]
    return [
        Picture(
            bars_figure("activations", series, context.language, x=x, y=y, level=level),
            context.say("Mean activation of a unit, median and the middle four fifths: {items}.", items=spreads),
        ),
        Picture(
            histogram_figure(
                "activation-histogram", series, context.language, x=y, y=context.say("hidden units"), level=level
            ),
            context.say("Units within a factor of two of ρ: {items}.", items=context.each("{i[0]} {i[1]:%0} %", near)),
        ),
    ]


def _spread(context: Context[SparseFindings], means: Means) -> str:
    shape = means.activations
    return f"{context.language.number(shape.median, 3)} ({context.language.interval(shape.low, shape.high, 3)})"


def _shapes(context: Context[SparseFindings]) -> Table:
    """List what rho, beta and lambda do to the shape of the activations."""
    language = context.language
    columns: dict[str, Column[tuple[SparseLine, Means]]] = {
        words("variant"): lambda i: context.name(i[0].arm),
        "ρ": lambda i: language.write(i[0].rho if i[0].beta else None, "g"),
        words("mean"): "{i[1].activations.mean:3}",
        words("deviation"): "{i[1].activations.deviation:3}",
        words("median (10 % to 90 %)"): lambda i: _spread(context, i[1]),
        words("least to most"): lambda i: language.interval(i[1].activations.least, i[1].activations.most, 3),
        words("near ρ, %"): lambda i: language.write(i[1].activations.near if i[0].beta else None, "%0"),
        words("silent (below 0.01), %"): "{i[1].activations.silent:%0}",
    }
    note = words(
        "Of the units' mean activations over held-out patches, means over seeds. Near: within a factor of two of ρ."
    )
    return table(
        context, columns, context.findings.known(), title=words("The shape of the mean activations"), note=note
    )


def _losses_figure(context: Context[SparseFindings]) -> str:
    names = {BASE: (context.say("full batch, L-BFGS"), "autoencoder"), IN_BATCHES: (context.say("batches"), "slow")}
    curves = []
    for line, means in context.findings.known(*names):
        name, colour = names[line.arm]
        curves.append(
            Curve(name, list(np.linspace(1, max(1.0, means.iterations), len(means.losses))), means.losses, colour)
        )
    x, y = context.say("iterations or epochs"), context.say("training loss")
    return curves_figure("sparse-losses", curves, context.language, x=x, y=y, log="xy")


def _losses(context: Context[SparseFindings]) -> str:
    names = {BASE: context.say("the full batch"), IN_BATCHES: context.say("batches")}
    sentences = [
        context.say("{name}: {m.loss:3} on held-out patches after {m.seconds:s} s", name=names[line.arm], m=means)
        for line, means in context.findings.known(*names)
    ]
    failed = [(name, "diverged") for arm, name in names.items() if context.findings.means(arm) is None]
    if failed:
        sentences.append(context.verdicts(failed))
    return context.say("The same loss both ways: {items}.", items="; ".join(sentences))


def _conclusion(context: Context[SparseFindings]) -> list[str]:
    if not (context.findings.means(BASE) and context.findings.means(UNTRAINED)):
        return [context.say("The base diverged, so there is nothing to conclude.")]
    return [_localised(context), _penalty(context), _losses(context)]


def _penalty(context: Context[SparseFindings]) -> str:
    """Say what the penalty does to the shape, by its numbers."""
    with_it, without = context.findings.means(BASE), context.findings.means(UNPENALISED)
    if with_it is None or without is None:
        return context.say("Without the penalty the training diverged.")
    text = (
        words(
            "The penalty makes the distribution of mean activations narrower: standard deviation {a.deviation:3} against "
            "{b.deviation:3}, mean {a.mean:3} against {b.mean:3} at ρ = {rho:g}; with it {ours:%} % of the variance are explained, "
            "without it {theirs:%} %."
        )
        if with_it.activations.deviation < without.activations.deviation
        else words(
            "The penalty does not make the distribution of mean activations narrower: standard deviation {a.deviation:3} against "
            "{b.deviation:3}, mean {a.mean:3} against {b.mean:3} at ρ = {rho:g}; with it {ours:%} % of the variance are explained, "
            "without it {theirs:%} %."
        )
    )
    return context.say(
        text,
        a=with_it.activations,
        b=without.activations,
        rho=context.findings.line(BASE).rho,
        ours=with_it.explained,
        theirs=without.explained,
    )


def _varied(context: Context[SparseFindings], setting: str) -> list[str]:
    """Say, by value of one setting, the mean and the deviation of the activations, and the variance explained."""
    known = [
        ({"rho": line.rho, "beta": line.beta, "lambda": line.decay}[setting], means)
        for line, means in context.findings.known()
        if line.arm == BASE or line.arm.factor == setting
    ]
    return [
        context.say(
            "{name}: mean {m.activations.mean:3}, deviation {m.activations.deviation:3}, {m.explained:%} % explained",
            name=f"{_LETTERS[setting]} = {context.language.short(value)}",
            m=means,
        )
        for value, means in sorted(known, key=lambda pair: pair[0])
    ]


PAGE = Page[SparseFindings](
    "sparse",
    words("Sparse autoencoder on patches"),
    words(
        "What filters does a sparse linear autoencoder learn on patches, and what do ρ, β and λ do to its activations?"
    ),
    setup=(
        words(
            "{f.settings[patches]:0} patches of {p.image[0]}×{f.settings[side]}×{f.settings[side]} are cut at random places "
            "of the unlabeled images, and half as many from others to measure on. {f.settings[hidden]} hidden units with "
            "sigmoid, a linear output. Loss on prepared patches: mean over patches of half the squared error + λ/2 · squared "
            "weights + β · Σ KL(ρ ‖ ρ_j), ρ_j the mean activation of unit j over the batch."
        ),
        lambda context: context.say(
            "Base: {preparation}, ρ = {f.settings[rho]:g}, β = {f.settings[beta]:g}, λ = {f.settings[decay]:g}; the full "
            "batch with L-BFGS in double precision, at most {f.settings[iterations]:0} iterations. Against it, one thing "
            "changed at a time; “batches” lowers the same loss with {f.settings[training][optimizer]} in batches of "
            "{f.settings[training][batch_size]:0}, {length}.",
            preparation=prepared_by(context, context.findings.settings),
            length=context.length(context.findings.settings["training"]),
        ),
    ),
    parts=(_parts,),
    conclusion=(_conclusion,),
    names=_name,
)
SPARSE = Study("sparse", ("unlabeled",), SparseFindings, run, (PAGE,), check)
