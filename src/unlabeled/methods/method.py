"""What a way of using unlabeled images is: a name, a colour, options, comparisons, and its runs. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from unlabeled.config.settings import Section
from unlabeled.experiments.tasks import Task
from unlabeled.records import ArmKey, Contrast

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab

Part: TypeAlias = Literal["labeled", "unlabeled"]


@dataclass(frozen=True)
class Message:
    """A text for people, in English; its translations stand in the catalogues, or beside it where a method brings its own."""

    english: str
    translations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Colour:
    """A colour in figures and tables, as CSS writes it, on light and on dark paper."""

    light: str
    dark: str


class Method(Protocol):
    """One way to a classifier. What it is called, how it is drawn, which options it has and what it is compared with follow from here.

    An instance is a description in values; what is heavy is imported when a task is run.
    """

    @property
    def name(self) -> str:
        """Its name in options (``--methods.NAME.OPTION``) and colours: small letters and hyphens."""

    @property
    def title(self) -> Message:
        """What people call it: of features their name, of a network the whole."""

    @property
    def colour(self) -> Colour:
        """Its colour throughout a report."""

    @property
    def uses(self) -> frozenset[Part]:
        """The images that it learns from."""

    @property
    def options(self) -> type[Section] | None:
        """Its own options, if it has some; ``config.methods`` holds their values."""

    @property
    def arms(self) -> tuple[ArmKey, ...]:
        """The arms of its runs."""

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """What its arms are compared with; ``lead`` marks what the answer's table shows."""

    def tasks(self, lab: Lab, fold: int, seed: int) -> Sequence[Task]:
        """Return its runs on a fold with a seed, one for each arm."""
