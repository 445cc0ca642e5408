"""Whether the classifier's probabilities can be taken at their word, before and after its temperature."""

from __future__ import annotations

from typing import Any

from unlabeled.grammar.parts import Part, Picture
from unlabeled.grammar.plots import Curve, curves_figure
from unlabeled.grammar.section import Context
from unlabeled.grammar.words import words
from unlabeled.studies.looks import UNASKED

_LEAST = 10  # answers that a point of the figure stands for


def probabilities(context: Context[Any]) -> list[Part]:
    """Draw accuracy against confidence, on labeled images that the networks were not trained on."""
    looks = context.findings.looks
    if looks is None:
        return [context.say(UNASKED)]
    if looks.calibration is None or looks.arm is None:
        return [context.say("No network was run whose probabilities would tell.")]
    found = looks.calibration
    shown = [[one for one in bins if one.count >= _LEAST] for bins in (found.bins_before, found.bins_after)]
    ends = [end([one.confidence for bins in shown for one in bins] or [0.0]) for end in (min, max)]
    curves = [
        Curve(
            context.say("what a confidence should mean"),
            [100 * e for e in ends],
            [100 * e for e in ends],
            "pixels",
            dashed=True,
        )
    ]
    curves += [
        Curve(context.say(name), [100 * one.confidence for one in bins], [100 * one.accuracy for one in bins], colour)
        for name, bins, colour in (
            (words("as the networks say"), shown[0], "random"),
            (words("with the temperature"), shown[1], context.colour(looks.arm)),
        )
    ]
    figure = curves_figure(
        "reliability",
        curves,
        context.language,
        x=context.say("probability of the answer, %"),
        y=context.say("right answers, %"),
    )
    sure = words("less sure") if found.temperature > 1 else words("more sure")
    caption = context.say(
        "{name:cap}, each network on labeled images that it was not trained on, where {least} answers or more are as sure: confidence and "
        "accuracy differ by {c.before:%} points in the mean, and by {c.after:%} with the temperature of {c.temperature:2}, which makes it "
        "{sure}.",
        name=context.name(looks.arm), least=_LEAST, c=found, sure=context.say(sure),
    )  # fmt: skip
    return [Picture(figure, caption)]
