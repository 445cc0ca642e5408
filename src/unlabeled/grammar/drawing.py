"""What all figures share: SVG that follows the page's colours, and pictures as PNG; the same bytes for the same results."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from unlabeled.methods import METHODS

# Matplotlib writes these colours, which nothing else uses, and the page's variables take their place.
COLOURS = {"ink": "#010203", "muted": "#040506", "line": "#070809"}
# The studies' own colours; methods bring theirs.
_PALETTE = (
    "pixels", "random", "pca", "autoencoder", "filters", "frozen", "slow", "gradual", "bicubic", "labeled", "joint",
)  # fmt: skip
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.parse_math": False,
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["ink"],
    "text.color": COLOURS["ink"],
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
}
_LETTERS = 56  # of a legend's line
_LINE = 0.17  # inches
_WIDTH = 4.7  # inches: readable on a phone, two side by side on a desktop


def colour(name: str) -> str:
    """Return what stands for one of the page's colours until the figure is put into it."""
    return _placeholders()[name]


def _placeholders() -> dict[str, str]:
    names = [*_PALETTE, *(f"method-{method.name}" for method in METHODS)]
    return {name: f"#{0x0A0B0C + 0x030303 * number:06x}" for number, name in enumerate(names)}


class Finished:
    """Where a figure's SVG goes when its block ends."""

    svg = ""


@contextmanager
def figure(name: str, *, height: float) -> Iterator[tuple[Axes, Finished]]:
    """Draw on one pair of axes; the SVG is there when the block has ended."""
    with panels(name, height=height, columns=1) as (axes, finished):
        yield axes[0], finished


@contextmanager
def panels(name: str, *, height: float, columns: int, share_y: bool = False) -> Iterator[tuple[list[Axes], Finished]]:
    """Draw on several axes side by side."""
    finished = Finished()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        whole = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield list(whole.subplots(1, columns, squeeze=False, sharey=share_y)[0]), finished
        file = io.StringIO()
        whole.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    finished.svg = _for_page(file.getvalue(), name)


def _for_page(svg: str, name: str) -> str:
    """Cut the SVG out of its file, give its colours and names over to the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\1{name}-", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font: ([^;\"]*?)'[^;\"]*", r"font: \1sans-serif", svg)
    for variable, value in (COLOURS | _placeholders()).items():
        svg = svg.replace(value, f"var(--{variable})")
    return svg.strip()


def legend(axes: Axes) -> None:
    """Put the legend above the axes, where it hides nothing, and make the figure as much higher; without names there is none."""
    assert isinstance(axes.figure, Figure)
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    half = -(-len(labels) // 2)
    beside = max(map(len, labels[:half])) + max(map(len, labels[half:]), default=0)
    columns = 2 if beside <= _LETTERS else 1
    width, height = axes.figure.get_size_inches()
    axes.figure.set_size_inches(width, height + _LINE * (-(-len(labels) // columns) - 1))
    axes.figure.legend(
        handles, labels, loc="outside upper left", ncols=columns, frameon=False, fontsize=8, borderaxespad=0.2,
        handlelength=1.4,
    )  # fmt: skip


def tile(images: list[NDArray[Any]], *, columns: int, gap: int = 1, scale: int = 3) -> NDArray[np.uint8]:
    """Lay images uint8 (c, h, w) out in rows, enlarged, with transparent gaps: (H, W, 4)."""
    _, height, width = images[0].shape
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4), dtype=np.uint8)
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        sheet[top : top + height, left : left + width, :3] = image.transpose(1, 2, 0)
        sheet[top : top + height, left : left + width, 3] = 255
    return sheet.repeat(scale, axis=0).repeat(scale, axis=1)


def png(pixels: NDArray[np.uint8]) -> str:
    """Return pixels (h, w, 4) as a data address."""
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def filter_sheet(filters: NDArray[np.float32]) -> str:
    """Return filters (n, c, h, w), each stretched to its own range, as the address of a PNG: grey is zero."""
    if filters.shape[1] not in (1, 3):
        filters = filters.mean(axis=1, keepdims=True)
    most = np.maximum(abs(filters).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    images = np.round((filters / most + 1) * 127.5).astype(np.uint8)
    return png(tile(list(images), columns=min(16, len(images)), scale=max(1, 36 // images.shape[3])))
