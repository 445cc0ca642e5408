"""What the main job's report leads with: the verdict in a sentence, and what the unlabeled images are worth to each way."""

from __future__ import annotations

from typing import Any

from unlabeled.evaluation.sizing import needed, smallest_effect
from unlabeled.grammar.parts import Answer, Cell, Table
from unlabeled.grammar.section import Context
from unlabeled.grammar.tables import css
from unlabeled.grammar.words import verdict_name, words
from unlabeled.records import Worth
from unlabeled.studies.labels import face, in_labels, saved, saves

STARTS = {
    "helps": words("The unlabeled images help"),
    "hurts": words("Using the unlabeled images this way hurts"),
    "no difference": words("The unlabeled images make no difference that matters"),
    "imprecise": words("Too imprecise to tell what the unlabeled images are worth"),
    "unfinished": words("Not trained to the end, so there is no verdict"),
    "reading": words("A reading without a verdict, for there are fewer than 3 folds or seeds"),
}
_POINTS = words(
    "{treated} vs {control} {without:e} points; vs the same from labeled images alone {twin:e} points (95 % intervals, for these labels)."
)
_OTHER_LABELS = words(
    "{treated} vs {control} {without:e} points; vs the same from labeled images alone {twin:e} points (95 % intervals, for other labels "
    "drawn alike too)."
)


def lead(context: Context[Any]) -> Answer:
    """Say what the results answer: in labels where that is known, in points, by a picture and a small table.

    Before the first colon stands what the verdict's colour marks.
    """
    compared, main = context.findings.comparison, context.findings.comparison.answer
    headline, labels = _headline(context, main)
    heads = [
        context.say("way"),
        context.say("vs without, points"),
        context.say("vs labeled only, points"),
        context.say("verdict"),
    ]
    notes = [_precision(context, main)] if main.verdict == "imprecise" else []
    if compared.chosen is not None and len(compared.worths) > 1:
        notes.append(
            context.say(
                "In bold and in the headline: of these ways the best on validation images. Its p values are corrected for their number."
            )
        )
    table = Table("", heads, _rows(context, main), chosen=0)
    return Answer(main.verdict, headline, table, " ".join(notes), face(context), labels)


def _headline(context: Context[Any], main: Worth) -> tuple[str, str]:
    """Return the answer in a sentence, in labels where some are surely saved, and what else is to be said of labels."""
    folds = context.protocol.folds
    points = context.say(
        _OTHER_LABELS if folds is not None and folds.own else _POINTS,
        treated=context.name(main.arm),
        control=context.name(main.without.control),
        without=main.without.accuracy,
        twin=main.twin.accuracy,
    )
    sentences = in_labels(context)
    if main.verdict == "helps" and saves(context):
        return saved(context), " ".join([context.language.write(points, "cap"), *sentences])
    return f"{context.say(STARTS[main.verdict])}: {points}", " ".join(sentences)


def _rows(context: Context[Any], main: Worth) -> list[list[str | Cell]]:
    """Return what the unlabeled images are worth to each way, the answer's first."""
    compared, write = context.findings.comparison, context.language.write
    rows: list[list[str | Cell]] = [
        [
            context.name(w.arm),
            write(w.without.accuracy, "e"),
            write(w.twin.accuracy, "e"),
            _worth_cell(context, w.verdict),
        ]
        for w in sorted(compared.worths, key=lambda worth: worth is not main)
    ]
    return rows + [
        [context.pair(c), write(c.accuracy, "e"), "–", _worth_cell(context, c.verdict)]
        for c in compared.contrasts
        if c.contrast.lead
    ]


def _worth_cell(context: Context[Any], verdict: str) -> Cell:
    return Cell(verdict_name(verdict, context.language), css(verdict))


def _precision(context: Context[Any], main: Worth) -> str:
    """Say what this design would find, and how much more of anything would settle the difference that matters."""
    # The less certain of both differences decides.
    effect = max(
        (c.accuracy for c in (main.without, main.twin) if c.accuracy is not None), key=lambda one: one.high - one.low
    )
    difference, smallest = context.config["difference"], smallest_effect(effect)
    found = context.say(
        "With these folds, seeds and test images an effect of {smallest:1} points would be found in four of five studies.",
        smallest=smallest,
    )
    if smallest is not None and smallest <= difference:
        return found
    more = needed(effect, difference)
    if more.images is not None and more.images <= 1:
        return found  # in half of the studies it is narrow enough as it is
    ways = [
        context.say(text, n=number)
        for number, text in (
            (more.folds, words("{n:0} folds")),
            (more.seeds, words("{n:0} seeds")),
            (more.images, words("{n:1} times the test images")),
        )
        if number is not None
    ]
    would = context.say(
        "{d:g} points would take {ways}.",
        d=difference,
        ways=context.say(" or ").join(ways) or context.say("other data: none of that would do"),
    )
    return f"{found} {would}"
