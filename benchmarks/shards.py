"""What do a million images cost? Drawn ones, written as shards in parallel, looked through for copies, read in a mixed order, trained on.

``python -m benchmarks.shards [--sizes 100000,1000000] [--near]``: each step in a process of its own, with the memory that it had to itself
(shards are mapped, and what is mapped can be given up at any time, so it is not counted).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np

from unlabeled.images import Images
from unlabeled.images.batches import mixed
from unlabeled.images.shards import SHARD_BYTES, finish_shards, open_shards, write_shard
from unlabeled.processes import stop_processes

SIDE, BATCH, LABELED = 32, 128, 5000
EACH = SHARD_BYTES // (3 * SIDE**2)  # images of a shard
NAMES = tuple("abcdefghij")


def draw_shard(folder: Path, number: int, count: int) -> None:
    """Draw some images, and write them."""
    import torch

    from benchmarks.drawing import draw_images

    torch.set_num_threads(1)
    write_shard(folder, "unlabeled", number, draw_images(count, SIDE, seed=number + 10).take(np.arange(count)))


def write(folder: Path, images: int) -> str:
    """Write all shards on all cores."""
    from benchmarks.drawing import draw_images

    for split, seed in (("labeled", 1), ("test", 2)):
        few = draw_images(LABELED, SIDE, seed=seed)
        write_shard(folder, split, 0, few.take(np.arange(LABELED)), few.classes)
    starts = range(0, images, EACH)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(partial(draw_shard, folder), range(len(starts)), [min(EACH, images - at) for at in starts]))
    return f"{sum(path.stat().st_size for path in folder.iterdir()) / 1e6:,.0f} MB"


def finish(folder: Path, near: str) -> str:
    """Look for copies, and write the index."""
    finish_shards(folder, NAMES, near=near)  # type: ignore[arg-type]
    stop_processes()  # they wait for more, and this process would wait for them
    return f"index of {(folder / 'index.json').stat().st_size / 1e3:,.0f} kB"


def unlabeled_of(place: str, cache: Path) -> Images:
    """Open the unlabeled images."""
    return open_shards(place, cache).unlabeled


def compare(place: str, cache: Path) -> str:
    """Read every shard for the first time: it is compared with its digest, one elsewhere is fetched too."""
    images = unlabeled_of(place, cache)
    for start in range(0, len(images), EACH):
        images.take(np.arange(start, min(start + EACH // 32, len(images))))
    return ""


def read(place: str, cache: Path) -> str:
    """Read all images once, in the order of a training."""
    images = unlabeled_of(place, cache)
    seen = sum(len(images.take(rows)) for rows in mixed(images, BATCH, np.random.default_rng(0)))
    assert seen == len(images)
    return ""


def train(place: str, cache: Path, most: int) -> str:
    """Train an autoencoder on the images that come first in a pass, as many as are wanted."""
    import torch

    from unlabeled import ConvAutoEncoder, Reconstruction, TrainingConfig, fit

    torch.set_num_threads(os.cpu_count() or 1)
    images = unlabeled_of(place, cache)
    rows = np.concatenate(list(islice(mixed(images, BATCH, np.random.default_rng(0)), most // BATCH)))
    model = ConvAutoEncoder((3, SIDE, SIDE))
    fit(
        model,
        Reconstruction(),
        images.subset(np.sort(rows)),
        valid=None,
        config=TrainingConfig(epochs=1, batch_size=BATCH),
    )
    return f"{len(rows):,} images"


def own_memory() -> float:
    """Return what this process has in memory and to itself, MB."""
    told = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(told[1]) / 1e3 if told else float("nan")


def _measured(step: Callable[[], str], answer: Any) -> None:
    most, over = [own_memory()], Event()

    def watch() -> None:
        while not over.wait(0.05):
            most.append(own_memory())

    watcher = Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    try:
        told = step()
        answer.send((time.perf_counter() - start, max(most), told))
    finally:
        over.set()
        watcher.join()


def measure(name: str, images: int, step: Callable[[], str], worked: int | None = None) -> None:
    """Run a step in a process of its own, and print its line; ``worked`` is how many of the images it works on, all if left out."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    process = context.Process(target=_measured, args=(step, its))
    process.start()
    its.close()
    seconds, memory, told = mine.recv()
    process.join()
    print(
        f"| {images:,} | {name} | {seconds:,.1f} | {(worked or images) / seconds:,.0f} | {memory:,.0f} | {told} |",
        flush=True,
    )


def main() -> None:
    """Measure every size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shards", description=__doc__)
    parser.add_argument("--sizes", default="100000,1000000", help="how many images, with commas")
    parser.add_argument("--near", action="store_true", help="look for near-copies too")
    parser.add_argument("--train", type=int, default=100_000, help="images of a pass to train on")
    given = parser.parse_args()
    print("| images | step | seconds | images/s | own memory, MB | |\n|---|---|---|---|---|---|")
    for images in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="shards-") as temporary:
            folder, cache = Path(temporary) / "shards", Path(temporary) / "cache"
            elsewhere = f"file://{folder}"
            measure("draw and write", images, partial(write, folder, images))
            measure("exact copies, digests, index", images, partial(finish, folder, "keep"))
            if given.near:
                measure("the same with near-copies", images, partial(finish, folder, "drop"))
            measure("compare with digests, the first time", images, partial(compare, str(folder), cache))
            measure("read in a mixed order", images, partial(read, str(folder), cache))
            measure("train an autoencoder", images, partial(train, str(folder), cache, given.train), given.train)
            measure("fetch from an address, and read", images, partial(read, elsewhere, cache))
            shutil.rmtree(cache)


if __name__ == "__main__":
    main()
