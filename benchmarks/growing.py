"""size: what an epoch of ae1 costs for 10k, 30k and 100k images, on one thread and on all."""

from __future__ import annotations

import torch

from benchmarks.drawing import draw_images
from benchmarks.measuring import Contender, Outcome, Row, geometric_slope, take_turns
from benchmarks.training import CASES, HELD_OUT, train_ours
from unlabeled.images import Images


def run_sizes(*, sizes: tuple[int, ...], repeats: int) -> list[Row]:
    """Measure each size by turns; "exponent" is how the seconds grow with the images: 1 is linear."""
    data, held_out = draw_images(max(sizes)), draw_images(HELD_OUT, seed=1)
    most = torch.get_num_threads()
    rows = []
    for threads in sorted({1, most}):
        torch.set_num_threads(threads)
        try:
            contenders = {f"{size:,} images": _trainer(data.subset(range(size)), held_out) for size in sizes}
            few = _trainer(data.subset(range(1_024)), held_out)
            outcomes = take_turns(contenders, repeats, warmups={f"{sizes[0]:,} images": few})
        finally:
            torch.set_num_threads(most)
        case = f"size, {threads} thread{'s' * (threads > 1)}"
        found = [
            Row(case, name, [one.images / one.seconds for one in runs], [one.loss or 0.0 for one in runs])
            for name, runs in outcomes.items()
        ]
        exponent = geometric_slope(sizes, [size / row.median for size, row in zip(sizes, found, strict=True)])
        found[-1].note = f"seconds grow with images to the power of {exponent:.2f}"
        found[-1].more["exponent"] = exponent
        rows += found
    return rows


def _trainer(images: Images, held_out: Images) -> Contender:
    def run() -> Outcome:
        return train_ours(CASES["ae1"], images, held_out)

    return run
