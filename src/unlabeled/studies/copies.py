"""Near-copies of test images: how many there were, what was done, and some pairs."""

from __future__ import annotations

from typing import Any

from unlabeled.grammar.drawing import png, tile
from unlabeled.grammar.parts import Part, Photographs
from unlabeled.grammar.section import Context
from unlabeled.grammar.words import words
from unlabeled.keeping.results import read_result

_MOST_PAIRS = 12


def copies(context: Context[Any]) -> list[Part]:
    """Say how many near-copies there were and what was done; show some pairs."""
    near, pairs = context.protocol.near, read_result(context.folder).arrays("test.npz")["near"]
    text = (
        words(
            "{n.test_in_others:0} of {p.test:0} test images have a near-copy elsewhere: the same picture shifted, cut, mirrored, "
            "recoloured or saved again. {n.unlabeled_in_test:0} unlabeled and {n.labeled_in_test:0} labeled images were left out for it."
        )
        if near.policy == "drop"
        else words(
            "{n.test_in_others:0} of {p.test:0} test images have a near-copy elsewhere: the same picture shifted, cut, mirrored, "
            "recoloured or saved again. {n.unlabeled_in_test:0} unlabeled and {n.labeled_in_test:0} labeled images were kept all the same."
        )
    )
    more = context.say(
        "{n.unlabeled_in_labeled:0} unlabeled images are near-copies of labeled ones, {n.within_labeled:0} labeled images of one another, "
        "and {n.within_test:0} test images; they stay.",
        n=near,
    )
    shown: list[Part] = [context.say(text, n=near), more]
    if len(pairs):
        images = [image for row in (0, 1) for image in pairs[:_MOST_PAIRS, row]]
        sheet = png(tile(images, columns=len(images) // 2, scale=2))
        caption = context.say("The pairs that agree best: above an unlabeled or labeled image, below a test image.")
        shown.append(Photographs([("", sheet)], caption))
    return shown
