"""A section of a report as a declaration: sentences with placeholders, and functions that make its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from numpy.typing import NDArray

from unlabeled.grammar.parts import Part, Section
from unlabeled.grammar.words import Language, model_name, verdict_lists
from unlabeled.keeping.results import read_result
from unlabeled.records import ArmKey, ContrastResult, Spread, StudyResult, read_as
from unlabeled.records import Protocol as StudyProtocol

F = TypeVar("F")


class Compared(Protocol):
    """What has two arms."""

    @property
    def treated(self) -> ArmKey:
        """The arm that is looked at."""

    @property
    def control(self) -> ArmKey:
        """The arm that it is compared with."""


@dataclass(frozen=True)
class Context(Generic[F]):
    """What a section is written from: a study's findings, how it was run, its folder, and the language."""

    findings: F
    config: dict[str, Any]
    protocol: StudyProtocol
    spread: Spread
    folder: Path
    language: Language
    page: Page[F] | None = None

    @classmethod
    def of(cls, kind: type[F], result: StudyResult, folder: Path, language: Language) -> Context[F]:
        """Read a study's findings."""
        assert result.config is not None
        assert result.protocol is not None
        assert result.spread is not None
        findings = read_as(kind, result.findings)
        return cls(findings, result.config, result.protocol, result.spread, folder, language)

    def say(self, text: str, /, **values: Any) -> str:
        """Translate a sentence, and fill it: with values, and with the findings (f), configuration (c), protocol (p), spread (s)."""
        known = {"f": self.findings, "c": self.config, "p": self.protocol, "s": self.spread}
        return self.language.say(text, **(known | values))

    def name(self, arm: ArmKey) -> str:
        """Name an arm, as the page does."""
        assert self.page is not None
        return self.say(self.page.names[arm]) if isinstance(self.page.names, Mapping) else self.page.names(self, arm)

    def colour(self, arm: ArmKey) -> str:
        """Return the name of an arm's colour."""
        assert self.page is not None
        return self.page.colours[arm] if isinstance(self.page.colours, Mapping) else self.page.colours(arm)

    def pair(self, contrast: Compared) -> str:
        """Name what is compared with what."""
        return self.say(
            "{treated} vs {control}", treated=self.name(contrast.treated), control=self.name(contrast.control)
        )

    def model(self, model: str) -> str:
        """Name a classical model."""
        return model_name(model, self.language)

    def length(self, training: Mapping[str, Any]) -> str:
        """Say how long a training is at the most, in steps or in epochs."""
        if training.get("steps") is not None:
            return self.say("{n:0} steps", n=training["steps"])
        return self.language.count("{n} epoch", "{n} epochs", training["epochs"])

    def each(self, text: str, items: Iterable[Any], separator: str = "; ") -> str:
        """Fill a text, which is not translated, with every item (i), and join them."""
        return separator.join(self.language.fill(text, i=item) for item in items)

    def effects(
        self, contrasts: Iterable[ContrastResult], name: Callable[[ContrastResult], str], form: str = "effect"
    ) -> str:
        """Say effects and verdicts one after the other, each after its name."""
        return "; ".join(f"{name(c)} {self.language.write(c, form)}" for c in contrasts)

    def verdicts(self, named: Iterable[tuple[str, str]], *, merely: bool = False) -> str:
        """Say where something helps, hurts, or neither is shown; better and worse where arms merely differ."""
        return verdict_lists(named, self.language, merely=merely)

    @cached_property
    def pictures(self) -> dict[str, NDArray[Any]]:
        """The study's pictures, as they were kept."""
        return read_result(self.folder).arrays("pictures.npz")


# A sentence, or what makes a part or several; nothing (None) is left out.
Entry: TypeAlias = str | Callable[[Context[F]], Part | Iterable[Part] | None]


@dataclass(frozen=True)
class Page(Generic[F]):
    """How a section is written; ``names`` and ``colours`` are those of its arms."""

    key: str
    title: str
    question: str = ""
    setup: Sequence[Entry[F]] = ()
    parts: Sequence[Entry[F]] = ()
    conclusion: Sequence[Entry[F]] = ()
    names: Mapping[ArmKey, str] | Callable[[Context[F], ArmKey], str] = field(default_factory=dict)
    colours: Mapping[ArmKey, str] | Callable[[ArmKey], str] = field(default_factory=dict)

    def write(self, context: Context[F]) -> Section:
        """Write the section."""
        context = replace(context, page=self)
        return Section(
            self.key,
            context.say(self.title),
            context.say(self.question) if self.question else "",
            _sentences(context, self.setup),
            list(_parts(context, self.parts)),
            _sentences(context, self.conclusion),
        )


def _parts(context: Context[F], entries: Iterable[Entry[F]]) -> Iterable[Part]:
    for entry in entries:
        made = context.say(entry) if isinstance(entry, str) else entry(context)
        if isinstance(made, Iterable) and not isinstance(made, str):
            yield from made
        elif made is not None:
            yield made


def _sentences(context: Context[F], entries: Iterable[Entry[F]]) -> list[str]:
    sentences = []
    for part in _parts(context, entries):
        if not isinstance(part, str):
            raise TypeError(
                f"set-up and conclusion take sentences, not a {type(part).__name__}; put it among the parts"
            )
        sentences.append(part)
    return sentences
