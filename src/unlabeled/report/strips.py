"""The lists of a page to explore: strips of images with a sentence each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from unlabeled.console.plain import printable
from unlabeled.grammar.words import Language, words
from unlabeled.records import ArmKey
from unlabeled.report.explored import Explored


@dataclass(frozen=True)
class Item:
    """An image of a list with its caption and its name; the second of a pair of near-copies, if it is one."""

    image: int
    caption: str
    name: str
    other: int | None = None
    other_name: str = ""


@dataclass(frozen=True)
class Strip:
    """Images with a sentence; ``groups`` are strips within it, which the reader opens."""

    key: str
    title: str
    sentence: str
    items: Sequence[Item] = ()
    groups: Sequence[Strip] = ()

    @property
    def images(self) -> Iterator[int]:
        """All its images."""
        for item in self.items:
            yield item.image
            if item.other is not None:
                yield item.other
        for group in self.groups:
            yield from group.images


@dataclass(frozen=True)
class _Writer:
    explored: Explored
    language: Language
    name: Callable[[ArmKey], str]
    classes: Sequence[str] = field(default_factory=tuple)

    def strip(self, key: str, title: str, sentence: str, images: Sequence[int], captions: Sequence[str]) -> Strip:
        """Return a list of images with a caption each."""
        names = self.explored.facts.names
        items = [Item(image, caption, printable(names[image])) for image, caption in zip(images, captions, strict=True)]
        return Strip(key, title, sentence, items)

    def some_of(self, count: int, here: int) -> str:
        """Say that not all are here, if they are not."""
        return " " + self.language.say("The first {n:0} are here.", n=here) if here < count else ""

    def sure(self, image: int) -> str:
        """Say what an image is taken for, and how surely."""
        facts = self.explored.facts
        return self.language.say(
            "{guess}, {share:%0} %", guess=self.classes[facts.guesses[image]], share=float(facts.sure[image])
        )

    def label(self, image: int) -> str:
        """Say what an image is labeled as."""
        return self.classes[self.explored.facts.label[image]]


def strips_of(explored: Explored, language: Language, name: Callable[[ArmKey], str]) -> list[Strip]:
    """Return the lists that are not empty, or that say why they are."""
    writer = _Writer(explored, language, name, [printable(one) for one in explored.classes])
    made = (_suspects, _next, _uncertain, _turned_right, _turned_wrong, _foreign, _copies, _pseudo)
    return [strip for make in made if (strip := make(writer)) is not None]


def _suspects(w: _Writer) -> Strip | None:
    lists, say = w.explored.lists, w.language.say
    if "suspects" not in lists.counts:
        return None
    sentence = say(
        "{n:0} labels look wrong to networks that were not trained on these images; the clearest first. Some will be images that are hard.",
        n=lists.counts["suspects"],
    )
    sentence += w.some_of(lists.counts["suspects"], len(lists.suspects))
    captions = [
        say("{given}, likelier {likely}", given=w.label(image), likely=w.classes[likely])
        for image, likely in zip(lists.suspects, lists.likely, strict=True)
    ]
    return w.strip("labels-that-look-wrong", say("Labels that look wrong"), sentence, lists.suspects, captions)


def _next(w: _Writer) -> Strip | None:
    lists, say = w.explored.lists, w.language.say
    if not lists.label_next:
        return None
    sentence = say(
        "{n:0} unlabeled images whose labels would teach most: doubtful, of every class, no two nearly the same. unlabeled suggest asks "
        "the networks of all seeds, writes as many as you ask for, and tries on your own labels whether choosing so beats chance.",
        n=len(lists.label_next),
    )  # fmt: skip
    captions = [w.sure(image) for image in lists.label_next]
    return w.strip("label-next", say("To label next"), sentence, lists.label_next, captions)


def _uncertain(w: _Writer) -> Strip | None:
    lists, say = w.explored.lists, w.language.say
    if not lists.uncertain:
        return None
    sentence = say("The unlabeled images whose probabilities are spread most evenly over the classes.")
    captions = [w.sure(image) for image in lists.uncertain]
    return w.strip("most-uncertain", say("Most uncertain"), sentence, lists.uncertain, captions)


def _turned_right(w: _Writer) -> Strip | None:
    sentence = words(
        "{n:0} test images that runs with unlabeled images get right and runs without get wrong, in half of the runs more than the "
        "other way."
    )
    return _turned(
        w, "from-wrong-to-right", words("From wrong to right"), sentence, "to_right", w.explored.lists.to_right
    )


def _turned_wrong(w: _Writer) -> Strip | None:
    sentence = words(
        "{n:0} test images that runs with unlabeled images get wrong and runs without get right, in half of the runs more than the "
        "other way."
    )
    return _turned(
        w, "from-right-to-wrong", words("From right to wrong"), sentence, "to_wrong", w.explored.lists.to_wrong
    )


def _turned(w: _Writer, key: str, title: str, sentence: str, counted: str, images: Sequence[int]) -> Strip | None:
    lists, say = w.explored.lists, w.language.say
    if counted not in lists.counts:
        return None
    captions = [say("is {label}; {sure}", label=w.label(image), sure=w.sure(image)) for image in images]
    whole = say(sentence, n=lists.counts[counted]) + w.some_of(lists.counts[counted], len(images))
    return w.strip(key, say(title), whole, images, captions)


def _foreign(w: _Writer) -> Strip | None:
    lists, say = w.explored.lists, w.language.say
    if "foreign" not in lists.counts:
        return None
    sentence = say(
        "{n:0} unlabeled images lie further from all labeled ones than any labeled image that the network was not trained on; the furthest "
        "first. They may show none of the classes.",
        n=lists.counts["foreign"],
    )  # fmt: skip
    sentence += w.some_of(lists.counts["foreign"], len(lists.foreign))
    captions = [w.sure(image) for image in lists.foreign]
    return w.strip("looks-foreign", say("Looks foreign"), sentence, lists.foreign, captions)


def _copies(w: _Writer) -> Strip | None:
    lists, say, facts = w.explored.lists, w.language.say, w.explored.facts
    sentence = say(
        "{n:0} pairs of images on this page are near-copies of one another, the best first: both, and their difference. Near-copies of "
        "test images are left out of a run before it begins, unless it was told to keep them.",
        n=lists.counts.get("copies", 0),
    )  # fmt: skip
    items = [
        Item(
            pair.first,
            say("they agree by {share:%0} %", share=pair.agreement),
            printable(facts.names[pair.first]),
            pair.second,
            printable(facts.names[pair.second]),
        )
        for pair in lists.copies
    ]
    sentence += w.some_of(lists.counts.get("copies", 0), len(items))
    return Strip("near-copies", say("Near-copies"), sentence, items)


def _pseudo(w: _Writer) -> Strip | None:
    lists, say, teller = w.explored.lists, w.language.say, w.explored.teller
    if teller is None:
        return None
    sentence = say(
        "{name:cap}, first run: it learned from {kept:0} unlabeled images as what it took them for, and left out {left:0}. Some of each "
        "class, drawn at random.",
        name=w.name(teller), kept=lists.counts.get("kept", 0), left=lists.counts.get("left_out", 0),
    )  # fmt: skip
    groups = []
    for number, name in enumerate(w.classes):
        for key, kind, images in (
            ("kept", words("{class_name}: kept"), lists.kept.get(number, ())),
            ("left-out", words("{class_name}: left out"), lists.left_out.get(number, ())),
        ):
            if images:
                # The teacher took it for the class; what it is taken for now may be another.
                captions = [say("now {sure}", sure=w.sure(image)) for image in images]
                groups.append(
                    w.strip(f"pseudo-labels-{key}-{number}", say(kind, class_name=name), "", images, captions)
                )
    return Strip("pseudo-labels", say("Pseudo-labels"), sentence, groups=groups)
