"""What every number stands on, in words: images, folds, repetitions, intervals."""

from __future__ import annotations

from unlabeled.grammar.words import Language, words
from unlabeled.records import FoldsSummary, Protocol


def protocol_line(protocol: Protocol, language: Language) -> str:
    """Say in one line what every number stands on."""
    channels, height, width = protocol.image
    dropped = (
        words("exact copies dropped: {n:0}") if protocol.leaks.policy == "drop" else words("exact copies kept: {n:0}")
    )
    facts = [f"{protocol.data}, {width}×{height}×{channels}"]
    if protocol.folds is not None:
        facts.append(_folds(protocol.folds, language))
    facts.append(language.say("{n:0} unlabeled images", n=protocol.unlabeled))
    if protocol.folds is not None:
        facts.append(language.say("{n:0} test images", n=protocol.test))
    facts.append(language.say(dropped, n=protocol.leaks.total))
    near = protocol.near.unlabeled_in_test + protocol.near.labeled_in_test
    dropped = words("near-copies of test images dropped: {n:0}")
    if protocol.near.policy == "keep":
        dropped = words("near-copies of test images kept: {n:0}")
    facts.append(language.say(dropped, n=near))
    facts.append(language.count("{n} seed", "{n} seeds", protocol.seeds))
    facts.append(language.say("preset {preset}", preset=protocol.preset))
    return language.say("Protocol: {facts}", facts="; ".join(facts))


def _folds(folds: FoldsSummary, language: Language) -> str:
    origin = words("the data set's own") if folds.own else words("stratified parts of the labeled images")
    return language.say(
        "{folds} ({origin}), each with {train} labels to train and {valid} to choose with",
        folds=language.count("{n} fold", "{n} folds", folds.count),
        origin=language.gettext(origin),
        train=language.ends(folds.train),
        valid=language.ends(folds.valid),
    )


def interval_note(language: Language) -> str:
    """Say what the intervals are."""
    return language.gettext(
        "Intervals: 95 %, for other splits of these labels (other draws of labels where the folds are the data set's own), other seeds "
        "and other test images; each for its own line alone. “Helps” needs both differences, after Holm's correction for the number of "
        "ways."
    )
