"""Text that comes from outside, made safe to show: on a terminal, in a file of results, in a page."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from typing import TextIO

# Marks that turn the direction of the text behind them: a name could hide its ending, or swallow a line.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# What the package's own sentences use beyond ASCII, for terminals that take ASCII only. A sign of a number must not be lost.
_ASCII = {
    "−": "-", "–": "-", "—": "-", "→": "->", "←": "<-", "↓": "", "×": "x", "…": "...", "’": "'", "‘": "'", "“": '"', "”": '"', "\xa0": " ",
    "≥": ">=", "≤": "<=", "·": "*", "±": "+-", "•": "*",
}  # fmt: skip


def printable(text: str) -> str:
    """Escape what is not to be printed: control characters, line ends, marks of direction, bytes that were no UTF-8.

    All other text stays as it is, in any script.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_escaped, text))


def class_name(folder: str) -> str:
    """Return the name of a class from its folder's: printable, and the same for both ways to write an accented letter."""
    return printable(unicodedata.normalize("NFC", folder))


def tolerate(stream: TextIO | None) -> None:
    """Let a stream replace what its encoding lacks, so that no answer is lost at the last step."""
    codecs.register_error("unlabeled", _replaced)
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="unlabeled")


def tolerate_output() -> None:
    """Do so for both standard streams."""
    for stream in (sys.stdout, sys.stderr):
        tolerate(stream)


def _escaped(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind == "Cs" and "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"  # a byte of a name that was no UTF-8
    if kind in ("Cc", "Cs", "Zl", "Zp") or letter in _TURNING:
        return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
    return letter


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(_ASCII.get(letter, "") or _plainest(letter) for letter in wrong), error.end


def _plainest(letter: str) -> str:
    """Return a letter without its accents, or a question mark."""
    if letter in _ASCII:
        return ""
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode("ascii")
    return plain or "?"
