"""Measure by turns: A B C A B C ..., so that whatever else the machine does meets all alike."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch


@dataclass
class Outcome:
    """What one contender did once: images worked on, the seconds it took, and the quality it ended with."""

    images: int
    seconds: float
    loss: float | None = None


@dataclass
class Row:
    """A line of the table: images/s of one contender over all repeats."""

    case: str
    contender: str
    speeds: list[float]
    losses: list[float]
    ratio: float | None = None
    ratio_spread: tuple[float, float] | None = None
    goal: float | None = None
    note: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Return the median speed."""
        return statistics.median(self.speeds)

    def as_json(self) -> dict[str, Any]:
        """Return everything that was measured, in JSON's types."""
        return {**asdict(self), "median": self.median, "spread": [min(self.speeds), max(self.speeds)]}


Contender = Callable[[], Outcome]


def take_turns(
    contenders: dict[str, Contender], repeats: int, *, warmups: dict[str, Contender]
) -> dict[str, list[Outcome]]:
    """Run each warm-up once, then all contenders one after the other, ``repeats`` times over."""
    for name in contenders:
        if name in warmups:
            warmups[name]()
    outcomes: dict[str, list[Outcome]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            outcomes[name].append(contender())
    return outcomes


def compare(
    case: str,
    outcomes: dict[str, list[Outcome]],
    *,
    rival: str,
    goal: float | None,
    notes: dict[str, str] | None = None,
) -> list[Row]:
    """Make the rows of a case; a ratio is the median of the ratios to the rival within each turn."""
    rows = []
    for name, found in outcomes.items():
        speeds = [one.images / one.seconds for one in found]
        ratios = [speed / (other.images / other.seconds) for speed, other in zip(speeds, outcomes[rival], strict=True)]
        rows.append(
            Row(
                case,
                name,
                speeds,
                [one.loss for one in found if one.loss is not None],
                None if name == rival else statistics.median(ratios),
                None if name == rival else (min(ratios), max(ratios)),
                None if name == rival else goal,
                (notes or {}).get(name, ""),
            )
        )
    return rows


def describe_machine() -> dict[str, Any]:
    """Measure what the machine can do: matrix products in fp32 and bf16, and copying memory."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load": [round(load, 2) for load in os.getloadavg()],
        "gflops_fp32": _matrix_product(torch.float32),
        "gflops_bf16": _matrix_product(torch.bfloat16),
        "copy_gb_per_second": _copy(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _matrix_product(dtype: torch.dtype, most: int = 2048) -> float:
    """Return GFLOP/s of square matrices, as large as take 20 ms: without bf16 in the processor, 2,048 rows of it take minutes."""
    side = 128
    while True:
        product = partial(torch.mm, *(torch.randn(side, side).to(dtype) for _ in range(2)))
        if side == most or _best(product, repeats=2) > 0.02:
            return 2 * side**3 / _best(product) / 1e9
        side *= 2


def _copy(size: int = 1 << 28) -> float:
    source = torch.zeros(size, dtype=torch.uint8)
    target = torch.ones(size, dtype=torch.uint8)
    return 2 * size / _best(lambda: target.copy_(source)) / 1e9


def _best(work: Callable[[], Any], repeats: int = 7) -> float:
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def geometric_slope(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the exponent by which the cost grows with the size: 1 is linear."""
    x, y = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    mx, my = statistics.mean(x), statistics.mean(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)
