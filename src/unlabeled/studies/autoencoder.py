"""Study 3: which one-layer autoencoder reconstructs best, and what its code holds. Sees the unlabeled split alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from unlabeled.experiments.tasks import Perform
from unlabeled.grammar.drawing import filter_sheet
from unlabeled.grammar.parts import Listing, Part, Photographs, Picture, Points, Table
from unlabeled.grammar.plots import Curve, curves_figure, map_figure, picture_row
from unlabeled.grammar.section import Context, Page
from unlabeled.grammar.tables import Column, table
from unlabeled.grammar.words import illegal_line, words
from unlabeled.outcomes import AutoencoderOutcome
from unlabeled.records import ArmKey, Illegal, Row, outcomes_of
from unlabeled.studies.search import Confirmed, Line, Linear, Switches, comparable, longest, search
from unlabeled.studies.study import Study

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

_MOST_ROWS = 24
_EXACT = 1e-9
_SWITCHES = {
    "true": words("true code, true switches"),
    "constant_code": words("constant code, true switches"),
    "wrong_switches": words("true code, wrong switches"),
    "neither": words("constant code, wrong switches"),
}
_POOLS = {"max": words("maximum"), "average": words("average"), "none": words("none")}
_FACTORS = {
    "kernel": words("kernel"),
    "padding": words("padding"),
    "stride": words("stride"),
    "pool": words("pool"),
    "filters": words("filters"),
    "loss": words("loss"),
}


@dataclass(frozen=True)
class AutoencoderFindings:
    """Findings of study 3."""

    candidates: tuple[Line, ...]
    illegal: tuple[Illegal, ...]
    chosen: ArmKey
    longest: int
    images: int
    held_out: int
    held_out_variance: float
    pca: tuple[Linear, ...]
    bicubic: tuple[Linear, ...]
    confirmed: Confirmed | None
    shown: tuple[ArmKey, ...]
    switches: Switches | None
    switches_of: ArmKey | None
    model: str
    rows: tuple[Row, ...]

    @property
    def best(self) -> Line:
        """The chosen candidate in numbers."""
        return next(line for line in self.candidates if line.arm == self.chosen)

    @property
    def measured(self) -> list[tuple[Line, float]]:
        """The candidates that came to an end with their errors, the least first."""
        return sorted(((line, line.mse) for line in self.candidates if line.mse is not None), key=lambda pair: pair[1])


def run(lab: Lab, do: Perform) -> AutoencoderFindings:
    """Search, compare with principal components and with a small picture, and look into the chosen one."""
    from unlabeled.evaluation.features import fit_components
    from unlabeled.experiments.reconstructing import Rivals, confirm, keep_pictures

    result = search(lab, do)
    best = next(line for line in result.lines if line.arm == result.chosen.arm)
    images = lab.training_images(lab.config.studies.autoencoder.images)
    components = fit_components(images, max(result.lengths))
    chosen, switched = result.chosen.trained(lab), result.with_switches
    models = [result.candidates[arm].trained(lab) for arm in result.shown]
    rival = Rivals(lab, components, best.code_length)
    switches = keep_pictures(lab, models, chosen, rival, switched.trained(lab) if switched else None)
    # Shorter ones besides, for the curves of both.
    pixels = int(np.prod(lab.splits.unlabeled.shape))
    lengths = sorted({*result.lengths, *(max(1, pixels // 2**power) for power in range(1, 7))})
    rivals = {length: Rivals(lab, components, length) for length in lengths}
    errors = {length: rivals[length].errors(lab.held_out) for length in lengths}
    measured = confirm(lab, chosen, rivals[best.code_length])
    return AutoencoderFindings(
        candidates=tuple(
            replace(line, pca=errors[line.code_length]["pca"], bicubic=errors[line.code_length]["bicubic"])
            for line in result.lines
        ),
        illegal=result.illegal,
        chosen=result.chosen.arm,
        longest=longest(lab),
        images=len(images),
        held_out=len(lab.held_out),
        held_out_variance=outcomes_of(result.rows, AutoencoderOutcome)[0].held_out_variance,
        pca=tuple(Linear(n, errors[n]["pca"]) for n in lengths),
        bicubic=tuple(Linear(rivals[n].numbers, errors[n]["bicubic"]) for n in lengths),
        confirmed=Confirmed(**measured) if measured else None,
        shown=result.shown,
        switches=Switches(**switches) if switches else None,
        switches_of=switched.arm if switched else None,
        model=repr(chosen),
        rows=result.rows,
    )


def _parts(context: Context[AutoencoderFindings]) -> Iterator[Part]:
    findings = context.findings
    yield _table(context)
    dots = context.say("Dots: candidates, the chosen one in another colour.")
    yield Picture(_lengths_figure(context), f"{_lengths(context)} {dots}")
    yield Points([*_by_factor(context), *_on_test(context)])
    yield _reconstructions(context)
    if findings.switches is not None:
        yield _switches(context, findings.switches)
    filters = context.say(
        "The filters of {name}, seed 0, each stretched to its own range: grey is zero.", name=findings.chosen.value
    )
    yield Photographs([(context.say("filters"), filter_sheet(context.pictures["filters"]))], filters)
    yield _error_map(context)
    if findings.illegal:
        lines = [illegal_line(entry.arm.value, entry.reason, context.language) for entry in findings.illegal]
        yield Listing(context.say("Candidates whose sizes do not close: {n}", n=len(lines)), lines)


def _table(context: Context[AutoencoderFindings]) -> Table:
    findings = context.findings
    lines = [line for line, _mse in findings.measured] + [line for line in findings.candidates if line.mse is None]

    def error(line: Line) -> str:
        if line.mse is None:
            return context.say("diverged ({n})", n=line.diverged)
        ends = context.language.interval(min(line.errors), max(line.errors), 4)
        return f"{context.language.number(line.mse, 4)} ({ends})"

    columns: dict[str, Column[Line]] = {
        words("candidate"): "{i.arm.value}",
        words("held-out MSE (seeds)"): error,
        words("code length"): "{i.code_length:0}",
        words("compression"): "{i.compression:2}",
        words("PCA, as long"): "{i.pca:4}",
        words("bicubic, as long"): "{i.bicubic:4}",
        words("switches, bits"): "{i.switch_bits:0}",
        words("training, images/s"): "{i.images_per_second:0}",
        words("seconds"): "{i.seconds:s}",
    }
    shown = lines[:_MOST_ROWS]
    note = context.say(
        "Mean over seeds, and the range of single ones. Compression: numbers of an image for one of the code."
    )
    if len(lines) > len(shown):
        note += " " + context.say(
            "The best {n} of {all} candidates; result.json holds the rest.", n=len(shown), all=len(lines)
        )
    chosen = next((number for number, line in enumerate(shown) if line.arm == findings.chosen), None)
    return table(context, columns, shown, note=note, chosen=chosen)


def _lengths_figure(context: Context[AutoencoderFindings]) -> str:
    findings = context.findings

    def curve(name: str, entries: Sequence[Linear], colour: str, *, dashed: bool) -> Curve:
        # What is rebuilt exactly has no place on a logarithmic axis.
        kept = [entry for entry in entries if entry.mse > _EXACT]
        return Curve(name, [e.length for e in kept], [e.mse for e in kept], colour, dashed=dashed)

    curves = [
        curve(context.say("PCA"), findings.pca, "pixels", dashed=False),
        curve(context.say("bicubic, small and back"), findings.bicubic, "bicubic", dashed=True),
    ]
    points = [
        (line.code_length, mse, "pca" if line.arm == findings.chosen else "autoencoder")
        # The chosen one last, or others of its length would hide it.
        for line, mse in sorted(findings.measured, key=lambda one: one[0].arm == findings.chosen)
    ]
    x, y = context.say("numbers in the code"), context.say("held-out MSE")
    return curves_figure("code-length", curves, context.language, x=x, y=y, log="xy", points=points, height=3.2)


def _lengths(context: Context[AutoencoderFindings]) -> str:
    text = context.say(
        "At the chosen code's length of {f.best.code_length:0} numbers: autoencoder {f.best.mse:4} and {f.best.switch_bits:0} bits of "
        "switches, PCA {f.best.pca:4}, bicubic shrinking and enlarging {f.best.bicubic:4}."
    )
    if context.findings.best.code_length >= int(np.prod(context.protocol.image)):
        text += " " + context.say(
            "This code is as long as the image, where small pictures lose nothing and PCA only what its training images lack."
        )
    return text


def _reconstructions(context: Context[AutoencoderFindings]) -> Photographs:
    findings, pictures = context.findings, context.pictures
    errors = {line.arm: mse for line, mse in findings.measured}
    rows = [(context.say("originals"), picture_row(pictures["originals"]))]
    for arm, images in zip(findings.shown, pictures["reconstructions"], strict=True):
        rows.append((f"{arm.value}: {context.language.number(errors[arm], 4)}", picture_row(images)))
    rows.append((context.say("PCA, {f.best.code_length:0} numbers"), picture_row(pictures["pca"])))
    rows.append((context.say("bicubic, {f.best.code_length:0} numbers"), picture_row(pictures["bicubic"])))
    caption = context.say(
        "The same held-out images, and what the chosen candidate and others, from the best to the worst, make"
        " of them (seed 0), with their mean squared error."
    )
    return Photographs(rows, caption)


def _switches(context: Context[AutoencoderFindings], switches: Switches) -> Photographs:
    rows = [(context.say("originals"), picture_row(context.pictures["originals"]))]
    for key, name in _SWITCHES.items():
        error = context.language.number(getattr(switches, key), 4)
        rows.append((f"{context.say(name)}: {error}", picture_row(context.pictures[f"switches_{key}"])))
    caption = context.say(
        "What the switches alone carry, {name}: a constant code with the true switches has an error of {f.switches.constant_code:4}, "
        "the true code with another image's switches {f.switches.wrong_switches:4}, both true {f.switches.true:4}; always guessing "
        "the mean image {f.held_out_variance:4}.",
        name=context.findings.switches_of.value if context.findings.switches_of else "",
    )
    return Photographs(rows, caption)


def _error_map(context: Context[AutoencoderFindings]) -> Picture:
    values = context.pictures["error_map"]
    edge = np.ones(values.shape, dtype=bool)
    edge[2:-2, 2:-2] = False
    text = context.say(
        "Error per pixel over all held-out images: {edge:4} in the two rows and columns at the edge, {inside:4} "
        "inside; the largest is {most:4}.",
        edge=float(values[edge].mean()),
        inside=float(values[~edge].mean()) if (~edge).any() else None,
        most=float(values.max()),
    )
    return Picture(map_figure("error-map", values, context.language, label=context.say("mean squared error")), text)


def _choice(context: Context[AutoencoderFindings]) -> str:
    findings = context.findings
    explained = 1 - (findings.best.mse or 0.0) / findings.held_out_variance
    worth = (
        context.say("it explains {explained:%} % of the pixels' variance", explained=explained)
        if explained > 0
        else context.say("that is no better than always guessing the mean image")
    )
    return context.say(
        "Chosen: {f.chosen.value}, with a held-out error of {f.best.mse:4}; {worth}. The worst of {count} candidates has {worst:4}.",
        worth=worth,
        # Those that diverged have no error.
        count=len(findings.measured),
        worst=findings.measured[-1][1],
    )


def _on_test(context: Context[AutoencoderFindings]) -> Iterator[str]:
    """Repeat the comparison where nothing was chosen by."""
    if context.findings.confirmed is not None:
        yield context.say(
            "On {c.images:0} test images, by which nothing was chosen (seed 0): autoencoder {c.autoencoder:4}, PCA {c.pca:4}, "
            "bicubic {c.bicubic:4}.",
            c=context.findings.confirmed,
        )


def _against_rivals(context: Context[AutoencoderFindings]) -> str:
    """Count where the autoencoder is better than the linear ways of the same length."""
    measured = context.findings.measured
    return context.say(
        "Of {count} candidates {pca} are better than PCA of the same length and {bicubic} better than bicubic shrinking; those with a "
        "max-pool have their switches besides.",
        count=len(measured),
        pca=sum(line.pca is not None and mse < line.pca for line, mse in measured),
        bicubic=sum(line.bicubic is not None and mse < line.bicubic for line, mse in measured),
    )


def _weigh_switches(context: Context[AutoencoderFindings]) -> str | None:
    """Weigh the switches against the code, by what is lost without each."""
    switches = context.findings.switches
    if switches is None:
        return None
    without_code, without_switches = switches.constant_code - switches.true, switches.wrong_switches - switches.true
    if max(without_code, without_switches) <= 0:
        return context.say(
            "The error rises neither without the code nor with wrong switches: this autoencoder has learned nothing yet."
        )
    text = (
        words(
            "{name}: without the code the error rises by {code:4}, without the right switches by {switches:4}: as much of the image is in "
            "the one as in the other."
        )
        if context.language.number(without_code, 4) == context.language.number(without_switches, 4)
        else words(
            "{name}: without the code the error rises by {code:4}, without the right switches by {switches:4}: more of the image is in "
            "{more}."
        )
    )
    more = context.say("the code") if without_code > without_switches else context.say("the switches")
    name = context.findings.switches_of.value if context.findings.switches_of else ""
    return context.say(text, name=name, code=without_code, switches=without_switches, more=more)


def _by_factor(context: Context[AutoencoderFindings]) -> Iterator[str]:
    """Say for each property what the best candidate with each of its values reaches."""

    def value(line: Line, factor: str) -> str:
        if factor != "pool":
            return str(getattr(line, factor))
        return context.say(_POOLS[line.pool]) + (f" {line.pool_size}" if line.pool != "none" else "")

    for factor, name in _FACTORS.items():
        best: dict[str, float] = {}
        for line, mse in comparable(context.findings.measured, factor):
            best.setdefault(value(line, factor), mse)
        if len(best) > 1:
            yield context.say(
                "Least error by {factor}, all else being tried alike: {values}.",
                factor=context.say(name),
                values=context.each("{i[0]}: {i[1]:4}", best.items()),
            )


PAGE = Page[AutoencoderFindings](
    "autoencoder",
    words("One-layer autoencoder"),
    words("Which one-layer autoencoder reconstructs images that it has not seen best, and what does its code hold?"),
    setup=(
        lambda context: context.say(
            "Every candidate is trained on the same {f.images:0} unlabeled images, {length} of batches of "
            "{t[batch_size]} with {t[optimizer]} and learning rate {t[learning_rate]:g}; its mean squared error on pixels in "
            "[−1, 1] is measured on {f.held_out:0} other unlabeled images. No label and no test image is used.",
            t=context.config["studies"]["autoencoder"]["training"],
            length=context.length(context.config["studies"]["autoencoder"]["training"]),
        ),
        words(
            "Names: k kernel, p padding, s stride, pool and its side, f filters, loss. The other losses and the average pool "
            "are tried for the geometry with the least error. Codes of more than {f.longest:0} numbers are measured but not "
            "chosen: a longer one can copy the image."
        ),
        words(
            "A max-pool's switches (which cell of each window was the largest) go round the code to the decoder; the table "
            "gives them in bits. PCA and the average pool have none."
        ),
    ),
    parts=(_parts,),
    conclusion=(_choice, _against_rivals, _weigh_switches),
)
AUTOENCODER = Study("autoencoder", ("unlabeled",), AutoencoderFindings, run, (PAGE,))
