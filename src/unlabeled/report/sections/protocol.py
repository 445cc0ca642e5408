"""What every number stands on, in words: images, folds, repetitions, intervals, how runs shared the processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unlabeled.records import FoldsSummary, Protocol
from unlabeled.report.language import Language
from unlabeled.report.sections.parts import Context


def protocol_line(protocol: Protocol, language: Language) -> str:
    """Say in one line what every number stands on."""
    _ = language.gettext
    channels, height, width = protocol.image
    dropped = _("leaks dropped: {n}") if protocol.leaks.policy == "drop" else _("leaks kept: {n}")
    words = [f"{protocol.data}, {width}×{height}×{channels}"]
    if protocol.folds is not None:
        words.append(_folds(protocol.folds, language))
    words.append(_("{n} unlabeled images").format(n=language.number(protocol.unlabeled, 0)))
    if protocol.folds is not None:
        words.append(_("{n} test images").format(n=language.number(protocol.test, 0)))
    words.append(dropped.format(n=language.number(protocol.leaks.total, 0)))
    words.append(language.count("{n} seed", "{n} seeds", protocol.seeds))
    words.append(_("preset {preset}").format(preset=protocol.preset))
    return _("Protocol: {words}").format(words="; ".join(words))


def _folds(folds: FoldsSummary, language: Language) -> str:
    _ = language.gettext
    return _("{folds} ({origin}), each with {train} labels to train and {valid} to choose with").format(
        folds=language.count("{n} fold", "{n} folds", folds.count),
        origin=_("the data set's own") if folds.own else _("stratified parts of the labeled images"),
        train=_range(folds.train, language),
        valid=_range(folds.valid, language),
    )


def _range(ends: Sequence[int], language: Language) -> str:
    numbers = dict.fromkeys(language.number(end, 0) for end in ends)
    return "–".join(numbers)


def interval_note(language: Language) -> str:
    """Say what the intervals are."""
    return language.gettext(
        "Intervals: 95 %, corrected resampled t of Nadeau and Bengio with the variance between seeds and of the "
        "test images added. A "
        "verdict holds after Holm's correction; an interval is for its own line alone."
    )


def spread_sentence(context: Context[Any]) -> str:
    """Say how runs shared the processor, for their times depend on it."""
    spread, language = context.spread, context.language
    text = language.gettext(
        "Speeds and seconds are for comparison with each other; runs at a time: {jobs}, processor threads of each: {threads}."
    )
    return text.format(jobs=spread.jobs, threads=spread.threads)
