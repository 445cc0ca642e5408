"""The commands beside ``run`` and the reports, thin as these; and what all commands share: where they write to, how they load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from unlabeled.config import Config
from unlabeled.console.plain import printable

if TYPE_CHECKING:
    from unlabeled.images import Splits


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to ``main``: whoever has read enough of the output has made no mistake."""
        raise BrokenPipeError


out = _Console(highlight=False, emoji=False)


def say(text: object) -> None:
    """Print a line as it is: names in it are neither markup nor control characters."""
    out.print(printable(str(text)), soft_wrap=True, markup=False)


def load_images(config: Config, *, partly: bool = False) -> Splits:
    """Return the images of a configuration."""
    from unlabeled.sources import load

    return load(config, partly=partly)
