"""Kill the command, at random times and at chosen operations on files, start it again, and compare with a run that was left alone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from itertools import pairwise
from pathlib import Path

from reliability.trials import SMALL, Found, finish, group, left_over, start, strip

# Loaded by Python before anything else: counts operations on files under a folder, and kills the whole group at one of them.
_SITE = """
import os, signal
at, how, under = int(os.environ.get("KILL_AT", "0")), os.environ.get("KILL_HOW"), os.environ.get("KILL_UNDER", "?")
count = 0
def mine(what):
    try:
        return (os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else os.path.abspath(os.fsdecode(what))).startswith(under)
    except Exception:
        return False
def watch(name):
    usual = getattr(os, name)
    def call(*arguments, **options):
        global count
        if not (arguments and mine(arguments[0])):
            return usual(*arguments, **options)
        count += 1
        if count == at:
            if how == "after":
                usual(*arguments, **options)
            elif how == "half" and name == "fsync":
                try:
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                except OSError:
                    pass
            os.killpg(0, signal.SIGKILL)
        return usual(*arguments, **options)
    setattr(os, name, call)
if at:
    for name in ("fsync", "replace", "rename", "unlink", "mkdir"):
        watch(name)
"""
JOBS = {
    "one process": SMALL,
    "two processes": ["2" if before == "--threads" else word for before, word in pairwise(["", *SMALL])],
    "a study": ["run", "--study", "joint", *SMALL[1:]],
}


def state(folder: Path) -> dict[str, str]:
    """Return what every file of a results folder holds, times left out; pages are made from the others."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".html"):
        if path.suffix == ".json":
            content = json.dumps(strip(json.loads(path.read_text())), sort_keys=True)
        elif path.suffix == ".jsonl":
            content = json.dumps([strip(json.loads(line)) for line in path.read_text().splitlines()])
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = content
    return found


def stores(cache: Path) -> dict[str, str]:
    """Return what the stores hold."""
    files = [
        path
        for path in cache.rglob("*")
        if path.is_file() and path.relative_to(cache).parts[0] not in ("kernels", "index")
    ]
    return {str(path.relative_to(cache)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


class Bench:
    """Runs the jobs in a folder, and knows what each leaves if nobody disturbs it."""

    def __init__(self, work: Path) -> None:
        self.work = work
        (work / "site").mkdir(parents=True, exist_ok=True)
        (work / "site" / "sitecustomize.py").write_text(_SITE)
        self.alone: dict[str, tuple[dict[str, str], dict[str, str], float]] = {}

    def start(self, job: str, place: Path, **more: str) -> subprocess.Popen[str]:
        """Start a job in a place of its own."""
        place.mkdir(parents=True, exist_ok=True)
        env = {
            "UNLABELED_CACHE": str(place / "cache"),
            "PYTHONPATH": os.pathsep.join([str(self.work / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "KILL_UNDER": str(self.work),
            **more,
        }
        return start([*JOBS[job], "--out", str(place / "out")], env, cwd=self.work)

    def undisturbed(self, job: str) -> tuple[dict[str, str], dict[str, str], float]:
        """Return what a job leaves, and how many seconds it takes."""
        if job not in self.alone:
            place, began = self.work / f"alone-{job}", time.monotonic()
            ended = finish(self.start(job, place))
            assert ended.status == 0, ended.err
            self.alone[job] = state(place / "out"), stores(place / "cache"), time.monotonic() - began
        return self.alone[job]

    def compare(self, job: str, place: Path) -> str:
        """Start a job again, let it end, and say what differs from an undisturbed run, or is left over."""
        results, kept, _ = self.undisturbed(job)
        ended = finish(self.start(job, place))
        if complaint := ended.complaint(0):
            return complaint
        mine = state(place / "out")
        differing = sorted(name for name in results.keys() | mine.keys() if results.get(name) != mine.get(name))
        if differing:
            return f"other files: {differing[:5]}"
        if stores(place / "cache") != kept:
            return "other stores"
        left = left_over(place)
        return f"left over: {left[:5]}" if left else ""


def kill(bench: Bench, rng: random.Random, job: str, rounds: int) -> Found:
    """Kill a job some times one after the other, and then let it end."""
    found, place, history = Found(), bench.work / f"kill-{rng.getrandbits(40):x}", []
    seconds = bench.undisturbed(job)[2]
    for _ in range(rounds):
        if rng.random() < 0.5:
            at, how = rng.choice([rng.randint(1, 30), rng.randint(1, 200)]), rng.choice(["before", "after", "half"])
            process = bench.start(job, place, KILL_AT=str(at), KILL_HOW=how)
            history.append(f"{how} operation {at}")
            ended = finish(process)
        else:
            process = bench.start(job, place)
            delay = rng.uniform(0.2, seconds)
            history.append(f"after {delay:.2f} s")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(delay)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            ended = finish(process)
        if ended.status == 0:
            break
        found.count(None if ended.status == -signal.SIGKILL else f"{job}, {history}: {ended.complaint(0)}")
    if fault := bench.compare(job, place):
        found.faults.append(f"{job}, killed {history}: {fault}")
    shutil.rmtree(place, ignore_errors=True)
    return found


def ask_to_end(bench: Bench, rng: random.Random, what: signal.Signals, *, whole_group: bool) -> Found:
    """Ask a job with two processes to end while they train; and then let it end."""
    found, job = Found(), "two processes"
    place = bench.work / f"ask-{rng.getrandbits(40):x}"
    process = bench.start(job, place)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(rng.uniform(0.4, 0.9) * bench.undisturbed(job)[2])
    (os.killpg if whole_group else os.kill)(process.pid, what)
    ended = finish(process, 30)
    name = f"{what.name} to the {'group' if whole_group else 'process'}"
    if ended.status != 0:
        complaint = ended.complaint(128 + what)
        if not complaint and "what was finished is kept" not in ended.err:
            complaint = "does not say so"
        time.sleep(1)
        alive, left = (
            group(process.pid),
            [path for path in left_over(place) if not path.endswith("checkpoint.safetensors")],
        )
        complaint = complaint or (f"still alive: {alive}" if alive else "") or (f"left over: {left}" if left else "")
        found.count(f"{name}: {complaint}" if complaint else None)
        if fault := bench.compare(job, place):
            found.faults.append(f"{name}: {fault}")
    shutil.rmtree(place, ignore_errors=True)
    return found


def lose_parent(bench: Bench) -> Found:
    """Kill the first process alone, as the kernel does when memory is short: its workers end too, and the job goes on later."""
    found, job = Found(), "two processes"
    place = bench.work / "orphans"
    process = bench.start(job, place)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.7 * bench.undisturbed(job)[2])
    process.kill()  # nothing, if it has ended in that moment
    process.wait()
    time.sleep(3)
    alive = group(process.pid)
    found.count(f"workers live on: {alive}" if alive else None)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if fault := bench.compare(job, place):
        found.faults.append(f"after the first process was killed: {fault}")
    shutil.rmtree(place, ignore_errors=True)
    return found


def run(work: Path, *, seed: int, seconds: float = 1e9, rounds: int = 10**6) -> Found:
    """Kill by turns until the time is up, or so many rounds are done."""
    rng, bench, whole, began = random.Random(seed), Bench(work), Found(), time.monotonic()

    def add(found: Found) -> None:
        whole.tried += found.tried
        whole.faults += found.faults

    add(lose_parent(bench))
    for number in range(rounds):
        if time.monotonic() - began > seconds:
            break
        add(kill(bench, rng, list(JOBS)[number % len(JOBS)], 4))
        if number % 3 == 0:
            what = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[number // 3 % 3]
            add(ask_to_end(bench, rng, what, whole_group=bool(number // 3 % 2)))
    return whole
