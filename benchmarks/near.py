"""How long the search for near-copies takes and how much memory: ``python -m benchmarks.near [folder:PATH] [SIDE]``."""

from __future__ import annotations

import resource
import sys
import time

from unlabeled.images.near import find_near
from unlabeled.presets import resolve
from unlabeled.sources import load


def main() -> None:
    data, side = (sys.argv[1:] + ["shapes", "32"][len(sys.argv) - 1 :])[:2]
    splits = load(resolve({"data": data, "side": int(side), "near": "keep", "leaks": "keep"}))
    images = {name: getattr(splits, name) for name in ("labeled", "unlabeled", "test")}
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    near = find_near(**images, policy="drop")[0]
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Pixels that are mapped from disk count as memory once they were read.
    mapped = sum(one.pixels.nbytes for one in images.values()) / 2**20
    print(
        f"{sum(map(len, images.values())):,} images of {side}x{side}: {seconds:.1f} s, {(after - before) / 1024:.0f} MiB more "
        f"(of them {mapped:.0f} MiB are the images)"
    )
    print({name: value for name, value in vars(near).items() if name != "examples"})


if __name__ == "__main__":
    main()
