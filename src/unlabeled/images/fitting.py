"""How an image of any shape comes to the wanted one: cut to its middle, padded, or stretched. Knows nothing of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Fit: TypeAlias = Literal["crop", "pad", "stretch"]
Pair: TypeAlias = tuple[int, int]
# What nothing of an image lies on: the middle, which is 0 to a network.
PAD = 128


@dataclass(frozen=True)
class Wanted:
    """The size (height, width) of shrunken images, and how images of other proportions come to it."""

    size: Pair
    fit: Fit = "crop"

    @property
    def text(self) -> str:
        """What people call the size: width x height."""
        return f"{self.size[1]}x{self.size[0]}"

    @property
    def turned(self) -> Wanted:
        """The same for images whose rows and columns are exchanged."""
        return Wanted((self.size[1], self.size[0]), self.fit)

    def kept(self, size: Pair) -> Pair:
        """Return the (height, width) of the middle of an image that is used; all of it unless it is cropped."""
        (height, width), (high, wide) = size, self.size
        if self.fit != "crop":
            return size
        # The largest part of the wanted proportions, in whole pixels.
        return min(height, max(1, round(width * high / wide))), min(width, max(1, round(height * wide / high)))

    def filled(self, size: Pair) -> Pair:
        """Return the (height, width) that an image of some size has within the wanted one; all of it unless it is padded."""
        (height, width), (high, wide) = size, self.size
        if self.fit != "pad":
            return self.size
        scale = min(high / height, wide / width)
        return min(high, max(1, round(height * scale))), min(wide, max(1, round(width * scale)))

    def cut(self, size: Pair) -> float:
        """Return the share of an image's area that is cut off."""
        height, width = self.kept(size)
        return 1 - height * width / (size[0] * size[1])

    def as_json(self) -> list[Any]:
        """Return what a signature holds of it."""
        return [*self.size, self.fit]


def cut_note(share: float, most: float, wanted: Wanted) -> str:
    """Say how much of the pictures is cut off, in the mean and at the most."""
    return (
        f"{100 * share:.0f} % of the pictures' area is cut off in the mean, at most {100 * most:.0f} % of one, to come to the proportions "
        f"of {wanted.text}; --fit pad or stretch keeps all of it, --side WIDTHxHEIGHT gives other proportions."
    )
