"""What a section of a report is made of, in values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Cell:
    """A cell of a table; ``kind`` is a class of the page: helps, hurts, no-evidence, diverged."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table: its heads, its rows, and which of them stands out."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    note: str = ""
    chosen: int | None = None
    swatches: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A drawn figure (SVG), with the sentence that says what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Photographs:
    """Rows of small pictures, each with its name: (name, address of a PNG)."""

    rows: Sequence[tuple[str, str]]
    caption: str


@dataclass(frozen=True)
class Listing:
    """Lines that the reader opens, such as what was left out and why."""

    title: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Points:
    """Sentences below one another."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Text as it is; with a title the reader opens it."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Matrix:
    """Percent of each true class (rows) that was answered as each class."""

    names: Sequence[str]
    values: Sequence[Sequence[int]]
    note: str


Part: TypeAlias = Table | Picture | Photographs | Listing | Points | Code | Matrix | str


@dataclass(frozen=True)
class Section:
    """A study's part of the report."""

    key: str
    title: str
    question: str = ""
    setup: Sequence[str] = ()
    parts: Sequence[Part] = ()
    conclusion: Sequence[str] = ()
    protocol: str = ""


@dataclass(frozen=True)
class Answer:
    """What a report leads with: the verdict, the answer in a sentence, a picture with what it says in labels, a small table, a note.

    Before the sentence's colon stands what the verdict's colour marks.
    """

    verdict: str
    headline: str
    table: Table
    note: str = ""
    picture: Picture | None = None
    labels: str = ""

    @property
    def sentences(self) -> str:
        """The answer, what it is in labels, and the note."""
        return " ".join(text for text in (self.headline, self.labels, self.note) if text)

    @property
    def lines(self) -> list[str]:
        """The rows of the table as lines."""
        rows = [[cell if isinstance(cell, str) else cell.text for cell in row] for row in self.table.rows]
        return [f"{name}: {', '.join(cells)}" for name, *cells in rows]
