"""Section 3: the search for a one-layer autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unlabeled.report.drawing import filter_sheet
from unlabeled.report.language import Language
from unlabeled.report.plots import Curve, curves_figure, map_figure, picture_row
from unlabeled.report.sections.parts import (
    Context,
    Listing,
    Part,
    Photographs,
    Picture,
    Points,
    Section,
    Table,
    count_cell,
    illegal_line,
    seconds_cell,
)
from unlabeled.results import read_result
from unlabeled.studies.autoencoder import AutoencoderFindings, Line, Linear, Switches

_MOST_ROWS = 24
_EXACT = 1e-9


def write(context: Context[AutoencoderFindings]) -> Section:
    """Write the section."""
    findings, language = context.findings, context.language
    _ = language.gettext
    pictures = read_result(context.folder).arrays("pictures.npz")
    parts: list[Part] = [
        _table(context),
        Picture(
            _lengths_figure(context),
            _lengths_sentence(context) + " " + _("Dots: candidates, the chosen one in another colour."),
        ),
        Points([*_factor_sentences(context), *_confirmed(context)]),
        _reconstructions(context, pictures),
    ]
    if findings.switches is not None:
        parts.append(_switches(context, findings.switches, pictures))
    parts += [
        Photographs(
            [(_("filters"), filter_sheet(pictures["filters"]))],
            _("The filters of {name}, seed 0, each stretched to its own range: grey is zero.").format(
                name=findings.chosen.value
            ),
        ),
        Picture(
            map_figure("error-map", pictures["error_map"], language, label=_("mean squared error")),
            _map_sentence(pictures["error_map"], language),
        ),
    ]
    if findings.illegal:
        lines = [illegal_line(entry.arm.value, entry.reason, language) for entry in findings.illegal]
        parts.append(Listing(_("Candidates whose sizes do not close: {n}").format(n=len(lines)), lines))
    return Section(
        key="autoencoder",
        title=_("One-layer autoencoder"),
        question=_(
            "Which one-layer autoencoder reconstructs images that it has not seen best, and what does its code hold?"
        ),
        setup=_setup(context),
        parts=parts,
        conclusion=_conclusion(context),
    )


def _setup(context: Context[AutoencoderFindings]) -> list[str]:
    findings, language = context.findings, context.language
    _ = language.gettext
    training = context.config["studies"]["autoencoder"]["training"]
    return [
        _(
            "Every candidate is trained on the same {images} unlabeled images, {epochs} epochs of batches of "
            "{batch} with {optimizer} and "
            "learning rate {rate}; its mean squared error on pixels in [−1, 1] is measured on {held_out} other "
            "unlabeled images. "
            "No label and no test image is used."
        ).format(
            images=language.number(findings.images, 0),
            epochs=training["epochs"],
            batch=training["batch_size"],
            optimizer=training["optimizer"],
            rate=language.short(training["learning_rate"]),
            held_out=language.number(findings.held_out, 0),
        ),
        _(
            "Names: k kernel, p padding, s stride, pool and its side, f filters, loss. The other losses and the "
            "average pool are tried for the "
            "geometry with the least error. Codes of more than {longest} numbers are measured but not chosen: a "
            "longer one can copy the image."
        ).format(longest=language.number(findings.longest, 0)),
        _(
            "A max-pool's switches (which cell of each window was the largest) go round the code to the decoder; "
            "the table gives them in bits. PCA "
            "and the average pool have none."
        ),
    ]


def _ended(context: Context[AutoencoderFindings]) -> list[tuple[Line, float]]:
    """Return the candidates that came to an end with their errors, the least first."""
    lines = [(line, line.mse) for line in context.findings.candidates if line.mse is not None]
    return sorted(lines, key=lambda pair: pair[1])


def _chosen(context: Context[AutoencoderFindings]) -> Line:
    return next(line for line in context.findings.candidates if line.arm == context.findings.chosen)


def _table(context: Context[AutoencoderFindings]) -> Table:
    findings, language = context.findings, context.language
    _ = language.gettext
    lines = [line for line, _mse in _ended(context)] + [line for line in findings.candidates if line.mse is None]
    shown = lines[:_MOST_ROWS]
    rows = [
        [
            line.arm.value,
            _error(line, language),
            language.number(line.code_length, 0),
            language.number(line.compression, 2),
            _digits(line.pca, language),
            _digits(line.bicubic, language),
            language.number(line.switch_bits, 0),
            count_cell(line.images_per_second, language),
            seconds_cell(line.seconds, language),
        ]
        for line in shown
    ]
    heads = [
        _("candidate"), _("held-out MSE (seeds)"), _("code length"), _("compression"), _("PCA, as long"), _("bicubic, as long"),
        _("switches, bits"), _("training, images/s"), _("seconds"),
    ]  # fmt: skip
    note = _("Mean over seeds, and the range of single ones. Compression: numbers of an image for one of the code.")
    if len(lines) > len(rows):
        note += " " + _("The best {n} of {all} candidates; result.json holds the rest.").format(
            n=len(rows), all=len(lines)
        )
    chosen = next((number for number, line in enumerate(shown) if line.arm == findings.chosen), None)
    return Table("", heads, rows, note=note, chosen=chosen)


def _digits(error: float | None, language: Language) -> str:
    return "–" if error is None else language.number(error, 4)


def _error(line: Line, language: Language) -> str:
    if line.mse is None:
        return language.gettext("diverged ({n})").format(n=line.diverged)
    ends = language.interval(min(line.errors), max(line.errors), 4)
    return f"{language.number(line.mse, 4)} ({ends})"


def _value(line: Line, factor: str, language: Language) -> str:
    """Name a candidate's value of a property."""
    _ = language.gettext
    if factor != "pool":
        return str(getattr(line, factor))
    kinds = {"max": _("maximum"), "average": _("average"), "none": _("none")}
    return kinds[line.pool] + (f" {line.pool_size}" if line.pool != "none" else "")


def _lengths_figure(context: Context[AutoencoderFindings]) -> str:
    findings, language = context.findings, context.language
    _ = language.gettext
    points = [
        (line.code_length, mse, "pca" if line.arm == findings.chosen else "autoencoder")
        for line, mse in _ended(context)
    ]

    def curve(name: str, entries: Sequence[Linear], colour: str, *, dashed: bool) -> Curve:
        # What is rebuilt exactly has no place on a logarithmic axis.
        kept = [entry for entry in entries if entry.mse > _EXACT]
        return Curve(name, [e.length for e in kept], [e.mse for e in kept], colour, dashed=dashed)

    curves = [
        curve(_("PCA"), findings.pca, "pixels", dashed=False),
        curve(_("bicubic, small and back"), findings.bicubic, "bicubic", dashed=True),
    ]
    return curves_figure(
        "code-length",
        curves,
        language,
        x=_("numbers in the code"),
        y=_("held-out MSE"),
        log="xy",
        points=points,
        height=3.2,
    )


def _lengths_sentence(context: Context[AutoencoderFindings]) -> str:
    language, chosen = context.language, _chosen(context)
    _ = language.gettext
    text = _(
        "At the chosen code's length of {length} numbers: autoencoder {mse} and {bits} bits of switches, PCA "
        "{pca}, bicubic shrinking "
        "and enlarging {small}."
    ).format(
        length=language.number(chosen.code_length, 0),
        mse=_digits(chosen.mse, language),
        bits=language.number(chosen.switch_bits, 0),
        pca=_digits(chosen.pca, language),
        small=_digits(chosen.bicubic, language),
    )
    if chosen.code_length >= int(np.prod(context.protocol.image)):
        text += " " + _(
            "This code is as long as the image, where small pictures lose nothing and PCA only what its training images lack."
        )
    return text


def _reconstructions(context: Context[AutoencoderFindings], pictures: dict[str, Any]) -> Photographs:
    findings, language = context.findings, context.language
    _ = language.gettext
    errors = {line.arm: mse for line, mse in _ended(context)}
    length = language.number(_chosen(context).code_length, 0)
    rows = [(_("originals"), picture_row(pictures["originals"]))]
    for arm, images in zip(findings.shown, pictures["reconstructions"], strict=True):
        rows.append((f"{arm.value}: {language.number(errors[arm], 4)}", picture_row(images)))
    rows.append((_("PCA, {n} numbers").format(n=length), picture_row(pictures["pca"])))
    rows.append((_("bicubic, {n} numbers").format(n=length), picture_row(pictures["bicubic"])))
    caption = _(
        "The same held-out images, and what the chosen candidate and others, from the best to the worst, make"
        " of them (seed 0), with their mean squared error."
    )
    return Photographs(rows, caption)


def _switches(context: Context[AutoencoderFindings], switches: Switches, pictures: dict[str, Any]) -> Photographs:
    findings, language = context.findings, context.language
    _ = language.gettext
    names = {
        "true": _("true code, true switches"),
        "constant_code": _("constant code, true switches"),
        "wrong_switches": _("true code, wrong switches"),
        "neither": _("constant code, wrong switches"),
    }
    rows = [(_("originals"), picture_row(pictures["originals"]))]
    for key, name in names.items():
        error = language.number(getattr(switches, key), 4)
        rows.append((f"{name}: {error}", picture_row(pictures[f"switches_{key}"])))
    caption = _(
        "What the switches alone carry, {name}: a constant code with the true switches has an error of "
        "{constant}, the true code "
        "with another image's switches {wrong}, both true {true}; always guessing the mean image {mean}."
    ).format(
        name=findings.switches_of.value if findings.switches_of else "",
        constant=language.number(switches.constant_code, 4),
        wrong=language.number(switches.wrong_switches, 4),
        true=language.number(switches.true, 4),
        mean=language.number(findings.held_out_variance, 4),
    )
    return Photographs(rows, caption)


def _map_sentence(values: Any, language: Language) -> str:
    edge = np.ones(values.shape, dtype=bool)
    edge[2:-2, 2:-2] = False
    return language.gettext(
        "Error per pixel over all held-out images: {edge} in the two rows and columns at the edge, {inside} "
        "inside; the largest is {most}."
    ).format(
        edge=language.number(float(values[edge].mean()), 4),
        inside=language.number(float(values[~edge].mean()), 4) if (~edge).any() else "–",
        most=language.number(float(values.max()), 4),
    )


def _conclusion(context: Context[AutoencoderFindings]) -> list[str]:
    findings, language = context.findings, context.language
    _ = language.gettext
    chosen, ended = _chosen(context), _ended(context)
    explained = 100 * (1 - (chosen.mse or 0.0) / findings.held_out_variance)
    worth = (
        _("it explains {explained} % of the pixels' variance").format(explained=language.number(explained, 1))
        if explained > 0
        else _("that is no better than always guessing the mean image")
    )
    sentences = [
        _(
            "Chosen: {name}, with a held-out error of {mse}; {worth}. The worst of {count} candidates has {worst}."
        ).format(
            name=chosen.arm.value,
            mse=_digits(chosen.mse, language),
            worth=worth,
            count=len(findings.candidates),
            worst=language.number(ended[-1][1], 4),
        ),
        _against_rivals(context),
    ]
    if findings.switches is not None:
        sentences.append(_switches_conclusion(findings.switches, language))
    return sentences


def _confirmed(context: Context[AutoencoderFindings]) -> list[str]:
    """Repeat the comparison where nothing was chosen by."""
    language, confirmed = context.language, context.findings.confirmed
    if confirmed is None:
        return []
    return [
        language.gettext(
            "On {n} test images, by which nothing was chosen (seed 0): autoencoder {autoencoder}, PCA {pca}, bicubic {bicubic}."
        ).format(
            n=language.number(confirmed.images, 0),
            autoencoder=language.number(confirmed.autoencoder, 4),
            pca=language.number(confirmed.pca, 4),
            bicubic=language.number(confirmed.bicubic, 4),
        )
    ]


def _against_rivals(context: Context[AutoencoderFindings]) -> str:
    """Count where the autoencoder is better than the linear ways of the same length."""
    ended = _ended(context)
    return context.language.gettext(
        "Of {count} candidates {pca} are better than PCA of the same length and {bicubic} better than bicubic "
        "shrinking; those with a "
        "max-pool have their switches besides."
    ).format(
        count=len(ended),
        pca=sum(line.pca is not None and mse < line.pca for line, mse in ended),
        bicubic=sum(line.bicubic is not None and mse < line.bicubic for line, mse in ended),
    )


def _switches_conclusion(switches: Switches, language: Language) -> str:
    """Weigh the switches against the code, by what is lost without each."""
    _ = language.gettext
    without_code, without_switches = switches.constant_code - switches.true, switches.wrong_switches - switches.true
    if max(without_code, without_switches) <= 0:
        return _(
            "The error rises neither without the code nor with wrong switches: this autoencoder has learned nothing yet."
        )
    more = _("the code") if without_code > without_switches else _("the switches")
    return _(
        "Without the code the error rises by {code}, without the right switches by {switches}: more of the "
        "image is in {more}."
    ).format(code=language.number(without_code, 4), switches=language.number(without_switches, 4), more=more)


def _factor_sentences(context: Context[AutoencoderFindings]) -> list[str]:
    """Say for each property what the best candidate with each of its values reaches."""
    language = context.language
    _ = language.gettext
    names = {
        "kernel": _("kernel"), "padding": _("padding"), "stride": _("stride"), "pool": _("pool"), "filters": _("filters"),
        "loss": _("loss"),
    }  # fmt: skip
    sentences = []
    for factor, name in names.items():
        best: dict[str, float] = {}
        for line, mse in _ended(context):
            best.setdefault(_value(line, factor, language), mse)
        if len(best) > 1:
            told = language.listed([f"{value} {language.number(mse, 4)}" for value, mse in best.items()])
            sentences.append(_("Least error by {factor}: {values}.").format(factor=name, values=told))
    return sentences
