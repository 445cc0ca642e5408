"""Try to break the command for some minutes: ``make reliability``, or ``cd tests && python -m reliability --minutes 10 --seed 3 kills``.

Prints a line a part and one summary line last; ends with status 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from pathlib import Path

# Needed before the children are forked.
import sklearn.datasets  # noqa: F401
import torch

import unlabeled.report.page
import unlabeled.studies.course  # noqa: F401
from reliability import damage, kills, sanitizers, surroundings
from reliability.trials import Found

# Shares of the time that the sanitizers leave.
_SANITIZERS = 40
SHARES = {"sanitizers": 0.0, "surroundings": 0.36, "damage": 0.3, "kills": 0.34}


def run(part: str, work: Path, *, seed: int, seconds: float, short: bool) -> Found:
    """Run a part in a folder of its own: for so many seconds, or in its short form."""
    if short:
        return {
            "sanitizers": lambda: sanitizers.run(
                work, seed=seed, blocks=10, builds=dict(list(sanitizers.BUILDS.items())[:1])
            ),
            "surroundings": lambda: surroundings.run(work, only=(surroundings.output_that_is_full,)),
            "damage": lambda: damage.run(work, seed=seed, trials=12),
            "kills": lambda: kills.kill(kills.Bench(work), random.Random(seed), "one process", 1),
        }[part]()
    if part == "sanitizers":
        return sanitizers.run(work, seed=seed)
    if part == "surroundings":
        return surroundings.run(work, seconds=seconds)
    return {"damage": damage.run, "kills": kills.run}[part](work, seed=seed, seconds=seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(SHARES)}; left out, all")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="a few of each, in about a minute")
    given = parser.parse_args()
    unknown = sorted(set(given.parts) - set(SHARES))
    if unknown:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(SHARES)}")
    chosen = given.parts or list(SHARES)
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    whole, began = Found(), time.monotonic()
    # What was begun is ended, so the last trial of a part may take longer than its share.
    left = 50 * given.minutes - (_SANITIZERS if "sanitizers" in chosen else 0)
    total = sum(SHARES[part] for part in chosen) or 1
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        Path(folder).chmod(0o755)  # a check runs as another user
        for part in chosen:
            work, start = Path(folder) / part, time.monotonic()
            work.mkdir(mode=0o755)
            found = run(part, work, seed=given.seed, seconds=left * SHARES[part] / total, short=given.short)
            print(
                f"{part}: {found.tried} tried, {len(found.faults)} wrong, {time.monotonic() - start:.0f} s", flush=True
            )
            for line in [*found.faults, *(f"left out: {name}" for name in found.skipped)]:
                print(f"  {line}", flush=True)
            whole.tried += found.tried
            whole.faults += found.faults
    print(
        f"reliability: {whole.tried} tried, {len(whole.faults)} wrong, seed {given.seed}, {time.monotonic() - began:.0f} s"
    )
    sys.exit(bool(whole.faults))


if __name__ == "__main__":
    main()
