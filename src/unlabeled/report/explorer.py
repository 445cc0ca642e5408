"""The page to explore: one HTML file that carries its images, their numbers and its script, and asks for nothing else."""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from unlabeled.console.plain import printable
from unlabeled.grammar.words import Language, model_name, words
from unlabeled.keeping.files import write_atomically
from unlabeled.methods import arm_name
from unlabeled.records import ArmKey
from unlabeled.report.environment import environment
from unlabeled.report.explored import SPLITS, Explored
from unlabeled.report.sprites import Tiles, encode, sheets_of
from unlabeled.report.strips import strips_of

# Together with base64's third, texts and numbers, a page stays below 15 MB.
_SHEETS = 7_000_000  # bytes
_REBUILT = 1_600_000
_LISTED = 1_000_000
_PIXELS = 21_000_000  # 20,000 images of 32x32
_REBUILT_IMAGES = 4000
_LISTED_PIXELS = 6_000_000
_TOP = 8  # classes of which an image's probabilities are kept
_PLACES = 65535
# In the order in which they stand on one another.
MODULES = ("data", "view", "colours", "selection", "map", "detail", "lists", "main")

# What the script says, by the names that it has for it.
_WORDS = {
    "class": words("class"),
    "range": words("{low} to {high} %"),
    "right": words("right"),
    "wrong": words("wrong"),
    "bothRight": words("right, with and without"),
    "toRight": words("right only with unlabeled images"),
    "toWrong": words("wrong only with unlabeled images"),
    "bothWrong": words("wrong, with and without"),
    "noLabel": words("no label"),
    "taken": words("Taken for {guess}: {chance}."),
    "asLabeled": words("So says its label."),
    "notAsLabeled": words("Its label says {label}."),
    "otherwise": words("Without the unlabeled images it was taken for {guess}: {chance}."),
    "why": words("Of the {near} labeled images of this page nearest to it {same} are {guess}."),
    "pseudoUsed": words("Pseudo-label: {guess}, which {teller} learned from."),
    "pseudoLeftOut": words("Pseudo-label: {guess}, which {teller} left out."),
    "foreignness": words("It lies further from labeled images than {share} % of images like them do."),
    "rebuilt": words("as the autoencoder rebuilds it"),
    "nearLabeled": words("The nearest labeled images"),
    "nearUnlabeled": words("The nearest unlabeled images"),
    "choose": words("Choose"),
    "chosen": words("Chosen"),
    "count": words("chosen: {n}"),
    "found": words("found: {n}"),
    "previous": words("Previous"),
    "next": words("Next"),
    "back": words("Back to the list"),
}
_SPLIT_NAMES = {"labeled": words("labeled"), "unlabeled": words("unlabeled"), "test": words("test")}
_MODES = {
    "class": words("class: the label, else what it is taken for"),
    "probability": words("probability of the likeliest class"),
    "split": words("labeled, unlabeled or test"),
    "right": words("right and wrong"),
    "foreign": words("how foreign it looks"),
}


def write_explorer(explored: Explored, path: Path, code: str) -> Path:
    """Write the page in a language, and return its path."""
    page = _Page(explored, path, Language(code)).render()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(page.encode("utf-8")))
    return path


@dataclass(frozen=True)
class _Page:
    explored: Explored
    path: Path
    language: Language

    def render(self) -> str:
        """Return the page."""
        explored, language = self.explored, self.language
        strips = strips_of(explored, language, self.name)
        shown = np.unique([number for strip in strips for number in strip.images]).astype(np.intp)
        tiles = Tiles.of(explored.shape, len(explored.facts), pixels=_PIXELS)
        small = Tiles.of(explored.shape, max(1, len(shown)), pixels=_LISTED_PIXELS)
        sheets, _ = encode(sheets_of(explored.take, np.arange(len(explored.facts)), tiles), most=_SHEETS)
        listed, _ = encode(sheets_of(explored.take, shown, small), most=_LISTED)
        rebuilt = self._rebuilt(shown)
        again = (
            [] if explored.rebuild is None else encode(sheets_of(explored.rebuild, rebuilt, tiles), most=_REBUILT)[0]
        )
        arrays, block = _packed(self._arrays(rebuilt, shown))
        facts = {**self._facts(tiles), "arrays": arrays}
        return environment(language).get_template("explore.html.j2").render(
            language=language,
            title=language.say("What the classifier sees"),
            lead=self._lead(),
            note=self._note(),
            strips=strips,
            tile=lambda number: small.place(int(np.searchsorted(shown, number))),
            tiles=small,
            modes=[(name, language.say(text)) for name, text in _MODES.items()],
            listed=[_text(sheet) for sheet in listed],
            sheets=[_text(sheet) for sheet in sheets],
            rebuilt=[_text(sheet) for sheet in again],
            facts=_text(zlib.compress(json.dumps(facts, ensure_ascii=False).encode("utf-8"), 9)),
            arrays=_text(zlib.compress(block, 9)),
            style=_read("explore.css"),
            script=bundle(),
        )  # fmt: skip

    def name(self, arm: ArmKey) -> str:
        """Name a way, as the report does."""
        return arm_name(arm, say=self.language.title, model=lambda model: model_name(model, self.language))

    def _lead(self) -> str:
        explored = self.explored
        return self.language.say(
            "{n:0} images as {name} sees them: like ones lie near one another. {right:%0} % of all {test:0} test images are taken for what "
            "they are.",
            n=len(explored.facts), name=self.name(explored.way), test=explored.totals[2], right=explored.accuracy,
        )  # fmt: skip

    def _note(self) -> str:
        explored, language = self.explored, self.language
        counts = np.bincount(explored.facts.split, minlength=3).tolist()
        parts = [
            language.say("{n:0} of {total:0} {name}", n=n, total=total, name=language.say(_SPLIT_NAMES[name]))
            for n, total, name in zip(counts, explored.totals, SPLITS, strict=True)
        ]
        sample = language.say("A sample: {parts}.", parts=parts)
        whole = language.say("All images of the run: {parts}.", parts=parts)
        asked = language.say(
            "Probabilities are the mean of {n:0} networks, one a fold; labeled images are judged by those that were not trained on them. "
            "The map is of the first network's codes (t-SNE): who is near whom says something, how far apart groups lie and how large they "
            "are does not.",
            n=explored.networks,
        )
        return f"{whole if sum(counts) == sum(explored.totals) else sample} {asked}"

    def _rebuilt(self, shown: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return of which images the page has what the autoencoder makes of them: those of the lists, and others spread over all."""
        if self.explored.rebuild is None:
            return np.empty(0, dtype=np.intp)
        count = len(self.explored.facts)
        others = np.unique(np.linspace(0, count - 1, max(0, min(count, _REBUILT_IMAGES) - len(shown))).astype(np.intp))
        return np.union1d(shown, others)

    def _facts(self, tiles: Tiles) -> dict[str, Any]:
        explored, facts, language = self.explored, self.explored.facts, self.language
        names = [printable(name) for name in facts.names]
        odd = {
            str(number): quote(name, errors="surrogateescape")
            for number, (name, shown) in enumerate(zip(facts.names, names, strict=True))
            if name != shown
        }
        base = None
        if explored.root is not None:
            where = os.path.relpath(explored.root, self.path.parent.absolute())
            base = quote(where, errors="surrogateescape") + "/"
        return {
            "n": len(facts),
            "classes": [printable(name) for name in explored.classes],
            "splits": [language.say(_SPLIT_NAMES[name]) for name in SPLITS],
            "names": names,
            "odd": odd,
            "files": explored.root is not None,
            "base": base,
            "tiles": vars(tiles),
            "top": min(_TOP, len(explored.classes)),
            "way": self.name(explored.way),
            "baseline": None if explored.baseline is None else self.name(explored.baseline),
            "teller": None if explored.teller is None else self.name(explored.teller),
            "nearLabeledEach": facts.labeled.shape[1],
            "nearUnlabeledEach": facts.unlabeled.shape[1],
            "words": {name: language.gettext(text) for name, text in _WORDS.items()},
        }

    def _arrays(self, rebuilt: NDArray[np.intp], listed: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        facts = self.explored.facts
        number = np.dtype("<u2" if len(facts) <= np.iinfo(np.uint16).max else "<u4")
        places = np.round(facts.places * _PLACES).astype("<u2")
        arrays: dict[str, NDArray[Any]] = {
            "split": facts.split,
            "label": facts.label.astype("<i2"),
            "x": places[:, 0],
            "y": places[:, 1],
            "foreign": np.round(255 * np.clip(facts.foreign, 0, 1)).astype(np.uint8),
            "nearLabeled": facts.labeled.astype(number),
            "nearUnlabeled": facts.unlabeled.astype(number),
            "pseudo": facts.pseudo.astype("<i2"),
            "used": facts.used.astype(np.uint8),
            "rebuilt": rebuilt.astype(number),
            "listed": listed.astype(number),
        }
        arrays["classesOf"], arrays["chances"] = _best(facts.chances)
        if facts.without is not None:
            arrays["classesWithout"], arrays["chancesWithout"] = _best(facts.without)
        return arrays


def bundle() -> str:
    """Return the script's modules as one, in the order in which they stand on one another.

    A page that is opened from the disk can't import. So each module becomes a function that returns what it exports, and what it
    imports is taken from those before it.
    """
    return "\n\n".join(_bundled(name, _read(f"explore/{name}.js"), last=name == MODULES[-1]) for name in MODULES)


def _bundled(name: str, text: str, *, last: bool) -> str:
    exported = re.findall(r"^export (?:async )?(?:function|class|const) (\w+)", text, flags=re.MULTILINE)
    text = re.sub(r"^export ", "", text, flags=re.MULTILINE)
    text = re.sub(
        r'^import (\{[^}]*\}) from "\./(\w+)\.js";$', r"const \1 = \2Module;", text, flags=re.MULTILINE
    ).strip()
    if last:  # it exports nothing, and waits
        return text
    return f"const {name}Module = (() => {{\n{text}\nreturn {{ {', '.join(exported)} }};\n}})();"


def _read(name: str) -> str:
    return (files("unlabeled.report") / "templates" / name).read_text(encoding="utf-8")


def _best(chances: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return of each image the likeliest classes, and how probable they are in steps of 1/255: (n, top) each."""
    top = min(_TOP, chances.shape[1])
    order = np.argsort(-chances, axis=1, kind="stable")[:, :top]
    shares = np.round(255 * np.take_along_axis(chances, order, axis=1)).astype(np.uint8)
    return order.astype("<u2"), shares


def _packed(arrays: dict[str, NDArray[Any]]) -> tuple[list[dict[str, Any]], bytes]:
    """Return arrays in one block, each from a multiple of four bytes on, and what tells them apart."""
    described = [{"name": name, "kind": one.dtype.str[1:], "length": one.size} for name, one in arrays.items()]
    contents = [np.ascontiguousarray(one).tobytes() for one in arrays.values()]
    return described, b"".join(content + bytes(-len(content) % 4) for content in contents)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
