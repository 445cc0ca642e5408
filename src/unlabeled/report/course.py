"""The studies' report: one HTML file in one language, built from the studies' results alone, the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from unlabeled.errors import UserError
from unlabeled.files import write_atomically
from unlabeled.report.environment import make_environment, reading
from unlabeled.report.language import Language, effect_text
from unlabeled.report.sections import (
    autoencoder,
    baselines,
    convolved,
    features,
    finetune,
    joint,
    network,
    sparse,
    stacked,
)
from unlabeled.report.sections.parts import Context, Listing, Photographs, Picture, Section, Table, verdict_name
from unlabeled.results import has_result, read_result

_WRITERS: dict[str, Callable[[Context], Section]] = {
    "baselines": baselines.write,
    "network": network.write,
    "autoencoder": autoencoder.write,
    "features": features.write,
    "finetune": finetune.write,
    "stacked": stacked.write,
    "sparse": sparse.write,
    "convolved": convolved.write,
    "joint": joint.write,
}


def write_course_report(folder: Path, code: str = "en") -> Path:
    """Write ``report.html`` (English) or ``report.ru.html`` into the studies' folder, and return its path.

    Raises
    ------
    UserError
        If the folder holds no study, or the language is not known.
    """
    with reading(folder):
        page = render(folder, Language(code))
    path = folder / ("report.html" if code == "en" else f"report.{code}.html")
    write_atomically(path, lambda file: file.write(page.encode("utf-8")))
    return path


def is_course(folder: Path) -> bool:
    """Tell whether a folder holds results of studies."""
    return any(has_result(folder / name) for name in _WRITERS)


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the result of every study that was run, by name and in the course's order."""
    results = {name: read_result(folder / name).content for name in _WRITERS if has_result(folder / name)}
    if not results:
        raise UserError(f"{folder}: no study was finished here; run unlabeled run --study all first")
    return results


def read_section(folder: Path, name: str, language: Language) -> Section:
    """Write one study's section."""
    results = read_results(folder)
    if name not in results:
        raise UserError(f"{folder}: study {name!r} was not run here; it has {', '.join(results)}")
    with reading(folder):
        return _section(name, results[name], folder, language)


def render(folder: Path, language: Language) -> str:
    """Return the page."""
    results = read_results(folder)
    sections = [_section(name, result, folder, language) for name, result in results.items()]
    verdict, headline, more = answer(results, language)
    return (
        environment(language)
        .get_template("course.html.j2")
        .render(
            language=language,
            sections=sections,
            verdict=verdict,
            headline=headline,
            more=more,
            times=[(section.title, _time(results[section.key], language)) for section in sections],
            machine=next((result["machine"] for result in results.values() if "machine" in result), None),
            mixed=_mixed(results),
            notes=list(
                dict.fromkeys(
                    note for result in results.values() for note in result.get("protocol", {}).get("notes", [])
                )
            ),
        )
    )


def environment(language: Language) -> Environment:
    """Return the templates, with the language's words."""
    made = make_environment(language.translations)
    made.filters["svg"] = Markup
    made.tests |= {
        "table": lambda part: isinstance(part, Table),
        "picture": lambda part: isinstance(part, Picture),
        "photographs": lambda part: isinstance(part, Photographs),
        "listing": lambda part: isinstance(part, Listing),
    }
    return made


def answer(results: dict[str, dict[str, Any]], language: Language) -> tuple[str, str, list[str]]:
    """Return verdict, headline and further sentences: did unlabeled data improve classification?"""
    _ = language.gettext
    more = []
    codes = results.get("features", {}).get("contrasts", [])
    for model, control in (("logistic", "pixels"), ("logistic", "random"), ("trees", "pixels")):
        contrast = next(
            (c for c in codes if (c["treated"], c["control"]) == (f"autoencoder-{model}", f"{control}-{model}")), None
        )
        if contrast is not None and contrast["accuracy"] is not None:
            more.append(
                _("Frozen codes, {model}, over {control}: {effect} points, {verdict}.").format(
                    model=_("logistic regression") if model == "logistic" else _("random forest"),
                    control=_("pixels") if control == "pixels" else _("random encoder"),
                    effect=effect_text(contrast["accuracy"], language),
                    verdict=verdict_name(contrast["verdict"], language),
                )
            )
    more += _joint_sentences(results.get("joint", {}), language)
    tuned = results.get("finetune", {})
    contrast = finetune.main_contrast(tuned) if "labels" in tuned else None
    if contrast is None or contrast["accuracy"] is None:
        return (
            "no evidence",
            _("Whether unlabeled images improve classification is told by study 5, which has no result here."),
            more,
        )
    verdict: str = contrast["verdict"]
    sentence = {
        "helps": _(
            "Yes: a network that starts from the autoencoder's weights is better by {effect} points than one from scratch."
        ),
        "hurts": _(
            "No: a network that starts from the autoencoder's weights is worse than one from scratch, {effect} points."
        ),
        "no evidence": _(
            "No evidence either way: a network that starts from the autoencoder's weights, less one from scratch, "
            "{effect} points."
        ),
    }[verdict]
    return verdict, sentence.format(effect=effect_text(contrast["accuracy"], language)), more


def _joint_sentences(result: dict[str, Any], language: Language) -> list[str]:
    """Say what a stronger use of the unlabeled images is worth, and how much of it is theirs."""
    _ = language.gettext
    found = {(c["treated"], c["control"]): c for c in result.get("contrasts", [])}
    texts = {
        ("joint", "scratch"): _("Reconstructing while classifying, less scratch: {effect} points, {verdict}."),
        ("joint", "labeled-only"): _("Of that, the unlabeled images' own share: {effect} points, {verdict}."),
    }
    return [
        text.format(
            effect=effect_text(found[pair]["accuracy"], language),
            verdict=verdict_name(found[pair]["verdict"], language),
        )
        for pair, text in texts.items()
        if pair in found and found[pair]["accuracy"] is not None
    ]


def _section(name: str, result: dict[str, Any], folder: Path, language: Language) -> Section:
    if "missing" not in result and "failed" not in result:
        return _WRITERS[name](Context(result, folder / name, language))
    _ = language.gettext
    titles = {
        "baselines": _("Baselines"),
        "network": _("Convolutional network"),
        "autoencoder": _("One-layer autoencoder"),
        "features": _("Features of the autoencoder for classical models"),
        "finetune": _("Fine-tuning"),
        "stacked": _("Deeper and stacked autoencoders"),
        "sparse": _("Sparse autoencoder on patches"),
        "convolved": _("Filters of patches as a convolution"),
        "joint": _("Classifying and reconstructing at once"),
    }
    if "failed" in result:
        reason = _("This study could not be run: {reason}").format(reason=result["failed"])
    else:
        parts = {"labeled": _("labeled images"), "unlabeled": _("unlabeled images"), "test": _("test images")}
        needed = language.listed([parts[part] for part in result["missing"]])
        reason = _("This study was not run: it needs {needed}, and there are none.").format(needed=needed)
    return Section(name, titles[name], "", [reason])


def _mixed(results: dict[str, dict[str, Any]]) -> bool:
    """Tell whether the studies of a folder were run on other images or with other repetitions."""
    alike = ("data", "image", "unlabeled", "test", "seeds", "precision")
    return (
        len({str([result["protocol"][name] for name in alike]) for result in results.values() if "protocol" in result})
        > 1
    )


def _time(result: dict[str, Any], language: Language) -> str:
    return language.duration(result["seconds"]) if "seconds" in result else "–"
