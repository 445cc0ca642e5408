"""Section 3: the search for a one-layer autoencoder."""

from __future__ import annotations

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
    Section,
    Table,
    illegal_line,
    seconds_cell,
    speed_cell,
)
from unlabeled.results import read_result

_MOST_ROWS = 24
_EXACT = 1e-9


def write(context: Context) -> Section:
    """Write the section."""
    result, language = context.result, context.language
    _ = language.gettext
    pictures = read_result(context.folder).arrays("pictures.npz")
    parts: list[Part] = [
        _table(context),
        Picture(
            _lengths_figure(context),
            _lengths_sentence(context) + " " + _("Dots: candidates, the chosen one in another colour."),
        ),
        _reconstructions(context, pictures),
    ]
    if result["switches"] is not None:
        parts.append(_switches(context, pictures))
    parts += [
        Photographs(
            [(_("filters"), filter_sheet(pictures["filters"]))],
            _("The filters of {name}, seed 0, each stretched to its own range: grey is zero.").format(
                name=result["chosen"]
            ),
        ),
        Picture(
            map_figure("error-map", pictures["error_map"], language, label=_("mean squared error")),
            _map_sentence(pictures["error_map"], language),
        ),
    ]
    if result["illegal"]:
        lines = [illegal_line(entry["arm"], entry["reason"], language) for entry in result["illegal"]]
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
        protocol=context.protocol,
    )


def _setup(context: Context) -> list[str]:
    result, language = context.result, context.language
    _ = language.gettext
    training = result["config"]["studies"]["autoencoder"]["training"]
    return [
        _(
            "Every candidate is trained on the same {images} unlabeled images, {epochs} epochs of batches of "
            "{batch} with {optimizer} and "
            "learning rate {rate}; its mean squared error on pixels in [−1, 1] is measured on {held_out} other "
            "unlabeled images. "
            "No label and no test image is used."
        ).format(
            images=language.number(result["images"], 0),
            epochs=training["epochs"],
            batch=training["batch_size"],
            optimizer=training["optimizer"],
            rate=language.short(training["learning_rate"]),
            held_out=language.number(result["held_out"], 0),
        ),
        _(
            "Names: k kernel, p padding, s stride, pool and its side, f filters, loss. The other losses and the "
            "average pool are tried for the "
            "geometry with the least error. Codes of more than {longest} numbers are measured but not chosen: a "
            "longer one can copy the image."
        ).format(longest=language.number(result["longest"], 0)),
        _(
            "A max-pool's switches (which cell of each window was the largest) go round the code to the decoder; "
            "the table gives them in bits. PCA "
            "and the average pool have none."
        ),
    ]


def _ended(context: Context) -> list[dict[str, Any]]:
    lines = [line for line in context.result["candidates"] if line["mse"] is not None]
    return sorted(lines, key=lambda line: line["mse"])


def _chosen(context: Context) -> dict[str, Any]:
    return next(line for line in context.result["candidates"] if line["arm"] == context.result["chosen"])


def _table(context: Context) -> Table:
    language = context.language
    _ = language.gettext
    lines = _ended(context) + [line for line in context.result["candidates"] if line["mse"] is None]
    rows = [
        [
            line["arm"],
            _error(line, language),
            language.number(line["code_length"], 0),
            language.number(line["compression"], 2),
            language.number(line["pca"], 4),
            language.number(line["bicubic"], 4),
            language.number(line["switch_bits"], 0),
            speed_cell(line["images_per_second"], language),
            seconds_cell(line["seconds"], language),
        ]
        for line in lines[:_MOST_ROWS]
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
    names = [line["arm"] for line in lines[:_MOST_ROWS]]
    chosen = names.index(context.result["chosen"]) if context.result["chosen"] in names else None
    return Table("", heads, rows, note=note, chosen=chosen)


def _pool_name(line: dict[str, Any], language: Language) -> str:
    _ = language.gettext
    kinds = {"max": _("maximum"), "average": _("average"), "none": _("none")}
    return kinds[line["pool"]] + (f" {line['pool_size']}" if line["pool"] != "none" else "")


def _error(line: dict[str, Any], language: Language) -> str:
    if line["mse"] is None:
        return language.gettext("diverged ({n})").format(n=line["diverged"])
    ends = language.interval(min(line["errors"]), max(line["errors"]), 4)
    return f"{language.number(line['mse'], 4)} ({ends})"


def _lengths_figure(context: Context) -> str:
    result, language = context.result, context.language
    _ = language.gettext
    points = [
        (line["code_length"], line["mse"], "pca" if line["arm"] == result["chosen"] else "autoencoder")
        for line in _ended(context)
    ]
    # What is rebuilt exactly has no place on a logarithmic axis.
    pca, other = ([entry for entry in result[kind] if entry["mse"] > _EXACT] for kind in ("pca", "bicubic"))
    curves = [
        Curve(_("PCA"), [e["length"] for e in pca], [e["mse"] for e in pca], "pixels"),
        Curve(
            _("bicubic, small and back"),
            [e["length"] for e in other],
            [e["mse"] for e in other],
            "bicubic",
            dashed=True,
        ),
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


def _lengths_sentence(context: Context) -> str:
    result, language = context.result, context.language
    _ = language.gettext
    chosen = _chosen(context)
    text = _(
        "At the chosen code's length of {length} numbers: autoencoder {mse} and {bits} bits of switches, PCA "
        "{pca}, bicubic shrinking "
        "and enlarging {small}."
    ).format(
        length=language.number(chosen["code_length"], 0),
        mse=language.number(chosen["mse"], 4),
        bits=language.number(chosen["switch_bits"], 0),
        pca=language.number(chosen["pca"], 4),
        small=language.number(chosen["bicubic"], 4),
    )
    if chosen["code_length"] >= _numbers(result):
        text += " " + _(
            "This code is as long as the image, where small pictures lose nothing and PCA only what its training images lack."
        )
    return text


def _numbers(result: dict[str, Any]) -> int:
    return int(np.prod(result["protocol"]["image"]))


def _reconstructions(context: Context, pictures: dict[str, Any]) -> Photographs:
    result, language = context.result, context.language
    _ = language.gettext
    lines = {line["arm"]: line for line in result["candidates"]}
    length = _chosen(context)["code_length"]
    rows = [(_("originals"), picture_row(pictures["originals"]))]
    for arm, images in zip(result["shown"], pictures["reconstructions"], strict=True):
        name = f"{arm}: {language.number(lines[arm]['mse'], 4)}"
        rows.append((name, picture_row(images)))
    rows.append((_("PCA, {n} numbers").format(n=language.number(length, 0)), picture_row(pictures["pca"])))
    rows.append((_("bicubic, {n} numbers").format(n=language.number(length, 0)), picture_row(pictures["bicubic"])))
    caption = _(
        "The same held-out images, and what candidates from the best to the worst make of them (seed 0), with "
        "their mean squared error."
    )
    return Photographs(rows, caption)


def _switches(context: Context, pictures: dict[str, Any]) -> Photographs:
    language, errors = context.language, context.result["switches"]
    _ = language.gettext
    names = {
        "true": _("true code, true switches"),
        "constant_code": _("constant code, true switches"),
        "wrong_switches": _("true code, wrong switches"),
        "neither": _("constant code, wrong switches"),
    }
    rows = [(_("originals"), picture_row(pictures["originals"]))]
    rows += [
        (f"{names[key]}: {language.number(errors[key], 4)}", picture_row(pictures[f"switches_{key}"])) for key in names
    ]
    return Photographs(rows, _switches_sentence(context))


def _switches_sentence(context: Context) -> str:
    language, errors = context.language, context.result["switches"]
    _ = language.gettext
    variance = context.result["held_out_variance"]
    return _(
        "What the switches alone carry, {name}: a constant code with the true switches has an error of "
        "{constant}, the true code "
        "with another image's switches {wrong}, both true {true}; always guessing the mean image {mean}."
    ).format(
        name=context.result["switches_of"],
        constant=language.number(errors["constant_code"], 4),
        wrong=language.number(errors["wrong_switches"], 4),
        true=language.number(errors["true"], 4),
        mean=language.number(variance, 4),
    )


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


def _conclusion(context: Context) -> list[str]:
    result, language = context.result, context.language
    _ = language.gettext
    chosen, ended = _chosen(context), _ended(context)
    explained = 100 * (1 - chosen["mse"] / result["held_out_variance"])
    worth = (
        _("it explains {explained} % of the pixels' variance").format(explained=language.number(explained, 1))
        if explained > 0
        else _("that is no better than always guessing the mean image")
    )
    sentences = [
        _(
            "Chosen: {name}, with a held-out error of {mse}; {worth}. The worst of {count} candidates has {worst}."
        ).format(
            name=chosen["arm"],
            mse=language.number(chosen["mse"], 4),
            worth=worth,
            count=len(result["candidates"]),
            worst=language.number(ended[-1]["mse"], 4),
        ),
        *_factor_sentences(context),
        _lengths_sentence(context),
        *_confirmed(context),
        _against_rivals(context),
    ]
    if result["switches"] is not None:
        sentences.append(_switches_conclusion(context))
    return sentences


def _confirmed(context: Context) -> list[str]:
    """Repeat the comparison where nothing was chosen by."""
    language, confirmed = context.language, context.result["confirmed"]
    if confirmed is None:
        return []
    return [
        language.gettext(
            "On {n} test images, by which nothing was chosen (seed 0): autoencoder {autoencoder}, PCA {pca}, bicubic {bicubic}."
        ).format(
            n=language.number(confirmed["images"], 0),
            **{name: language.number(confirmed[name], 4) for name in ("autoencoder", "pca", "bicubic")},
        )
    ]


def _against_rivals(context: Context) -> str:
    """Count where the autoencoder is better than the linear ways of the same length."""
    language, ended = context.language, _ended(context)
    better = {name: sum(line["mse"] < line[name] for line in ended) for name in ("pca", "bicubic")}
    return language.gettext(
        "Of {count} candidates {pca} are better than PCA of the same length and {bicubic} better than bicubic "
        "shrinking; those with a "
        "max-pool have their switches besides."
    ).format(count=len(ended), **better)


def _switches_conclusion(context: Context) -> str:
    """Weigh the switches against the code, by what is lost without each."""
    language, errors = context.language, context.result["switches"]
    _ = language.gettext
    without_code, without_switches = (errors[name] - errors["true"] for name in ("constant_code", "wrong_switches"))
    if max(without_code, without_switches) <= 0:
        return _(
            "The error rises neither without the code nor with wrong switches: this autoencoder has learned nothing yet."
        )
    more = _("the code") if without_code > without_switches else _("the switches")
    return _(
        "Without the code the error rises by {code}, without the right switches by {switches}: {more} carries "
        "more of the image."
    ).format(code=language.number(without_code, 4), switches=language.number(without_switches, 4), more=more)


def _factor_sentences(context: Context) -> list[str]:
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
        for line in _ended(context):
            value = _pool_name(line, language) if factor == "pool" else str(line[factor])
            best.setdefault(value, line["mse"])
        if len(best) > 1:
            told = language.listed([f"{value} {language.number(mse, 4)}" for value, mse in best.items()])
            sentences.append(_("Least error by {factor}: {values}.").format(factor=name, values=told))
    return sentences
