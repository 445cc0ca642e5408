"""A command in a child of its own, the least job that trains everything, and what is compared of results."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MEASURED = re.compile("second|memory|machine")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_BAR = ["--preset", "quick", "--folds", "2", "--seeds", "1", "--threads", "1", "--autoencoder.training.epochs", "2"]
_BAR += ["--network.training.epochs", "2", "--network.training.patience", "0", "--classical.trees", "5"]
_BAR += ["--classical.strengths", "0.01", "--encoder.conv-out-channels", "4", "4"]
# A precision that is measured anew in each cache could differ between two of them.
_BAR += [
    "--strong.widths",
    "8",
    "--strong.training.steps",
    "20",
    "--strong.training.batch-size",
    "32",
    "--precision",
    "fp32",
]
SMALL = ["run", "--data", "digits", *_BAR]
OF_FOLDER = ["run", "--side", "12", *_BAR]


@dataclass
class Found:
    """What a part tried, and what was wrong: a sentence each."""

    tried: int = 0
    faults: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def count(self, fault: str | None) -> None:
        """Count a trial, and its fault if it had one."""
        self.tried += 1
        if fault:
            self.faults.append(fault)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its status (a text if it did not end), what it printed, and what the call returned."""

    status: int | str
    out: str
    err: str
    returned: Any = None

    def complaint(self, *allowed: int) -> str:
        """Say what is wrong with this end: a traceback, another status, not one line of error, control characters."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        if "Traceback (most recent call last)" in self.err:
            return f"traceback: {lines[-1][:200]}"
        if self.status not in (allowed or (0, 2)):
            return f"status {self.status}: {lines[-1][:200] if lines else ''}"
        if self.status == 2 and sum(line.startswith("error: ") for line in lines) != 1:
            return f"not one line of error: {lines[-3:]}"
        if CONTROL.search(self.out + self.err):
            return f"control characters reach the terminal: {CONTROL.search(self.out + self.err)!r}"
        return ""


def strip(content: Any) -> Any:
    """Leave out what a clock, a memory meter or another machine tells."""
    if isinstance(content, dict):
        return {name: strip(value) for name, value in content.items() if not MEASURED.search(name)}
    return [strip(value) for value in content] if isinstance(content, list) else content


def answer(folder: Path) -> str:
    """Return a finished job's result as far as it is the same on every run."""
    return json.dumps(strip(json.loads((folder / "result.json").read_text())), sort_keys=True)


def in_child(
    call: Callable[[], Any], folder: Path, *, seconds: float = 90, gigabytes: float = 6, env: dict[str, str]
) -> Ended:
    """Make a call in a forked child with bounds on time, memory and file sizes."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as returned:
        child = os.fork()
        if child == 0:
            _be_child(call, folder, env, gigabytes, out.fileno(), err.fileno(), returned.fileno())
        status = _await(child, seconds)
        for file in (out, err, returned):
            file.seek(0)
        text = returned.read()
        said = [file.read().decode("utf-8", "replace") for file in (out, err)]
        return Ended(status, *said, json.loads(text) if text else None)


def _be_child(
    call: Callable[[], Any], folder: Path, env: dict[str, str], gigabytes: float, out: int, err: int, returned: int
) -> None:
    status = 70
    try:
        os.setsid()
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), "utf-8", write_through=True)
        sys.stderr = io.TextIOWrapper(
            os.fdopen(2, "wb", closefd=False), "utf-8", "backslashreplace", write_through=True
        )
        from rich.console import Console

        from unlabeled import commands

        commands.out = Console(highlight=False, file=sys.stdout, width=300)
        os.chdir(folder)
        os.environ.update(env)
        size = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            said = call()
            if said is not None:
                os.write(returned, json.dumps(said).encode())
            status = 0
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 0
    except BaseException:  # noqa: BLE001 - whatever it is, it is told
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _await(child: int, seconds: float) -> int | str:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(code)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return f"no end within {seconds:g} s"


def call_main(arguments: list[str]) -> Callable[[], None]:
    """Return a call of the command line."""

    def call() -> None:
        from unlabeled.cli import main

        main([str(argument) for argument in arguments])

    return call


def start(
    arguments: list[str], env: dict[str, str], *, cwd: Path, prefix: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Start the command as a user would, in a group of its own."""
    command = [*prefix, sys.executable, "-m", "unlabeled", *map(str, arguments)]
    return subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"} | env, cwd=cwd, start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        # A shell starts what it puts in the background with SIGINT ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip


def finish(process: subprocess.Popen[str], seconds: float = 240) -> Ended:
    """Wait for a command, and kill its group if it takes too long."""
    try:
        out, err = process.communicate(timeout=seconds)
        return Ended(process.returncode, out, err)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return Ended(f"no end within {seconds:g} s", out, err)


def group(leader: int) -> list[str]:
    """Return the commands of the living processes of a group, its leader apart."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == leader and int(place.name) != leader and fields[0] != "Z":
                found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode()[-60:])
    return found


def left_over(*folders: Path) -> list[str]:
    """Return what should not stay behind: files half written, stores and libraries half made, checkpoints."""
    kinds = (".*.tmp", "unfinished-*", ".building-*", "checkpoint.safetensors")
    return [str(path) for folder in folders for kind in kinds for path in folder.rglob(kind)]


def write_photos(root: Path, *, names: tuple[str, ...] = ("cat", "dog"), unlabeled: int = 24) -> Path:
    """Write a small folder of pictures that a classifier can learn."""
    random = np.random.default_rng(0)
    counts = (
        [(f"train/{name}", 8) for name in names] + [(f"test/{name}", 3) for name in names] + [("unlabeled", unlabeled)]
    )
    for number, (part, count) in enumerate(counts):
        (root / part).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            pixels = random.integers(0, 120, (14, 18, 3), dtype=np.uint8)
            pixels[..., number % 3] += 100
            Image.fromarray(pixels).save(root / part / f"{k}.{'jpg' if k % 3 == 0 else 'png'}")
    return root


def finished_job(work: Path, *, forked: bool = False) -> tuple[Path, Path]:
    """Return the folder and the cache of the small job, run once: as a user would, or as a forked child computes, with its threads."""
    folder, cache = work / "job", work / "cache"
    if not (folder / "result.json").exists():
        command, env = [*SMALL, "--out", str(folder)], {"UNLABELED_CACHE": str(cache)}
        ended = in_child(call_main(command), work, env=env) if forked else finish(start(command, env, cwd=work))
        assert ended.status == 0, ended.err
    return folder, cache


@contextlib.contextmanager
def copies(work: Path, *folders: Path) -> Iterator[list[Path]]:
    """Copy folders for one trial."""
    place = Path(tempfile.mkdtemp(prefix="trial-", dir=work))
    try:
        yield [
            Path(shutil.copytree(folder, place / f"{number}-{folder.name}")) for number, folder in enumerate(folders)
        ]
    finally:
        shutil.rmtree(place, ignore_errors=True)
