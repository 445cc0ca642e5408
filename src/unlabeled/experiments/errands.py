"""A run as it travels to another machine: its specification in values, which images it sees and which folder it leaves its result in."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

import unlabeled
from unlabeled.config import Config
from unlabeled.errors import UserError
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.machine import own_peak, versions
from unlabeled.experiments.performing import perform
from unlabeled.experiments.tasks import Task
from unlabeled.outcomes import Outcome
from unlabeled.sources import load

_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "pillow")
# Random numbers, threads and features are a process's, so it does one run at a time.
_alone = threading.Lock()


@dataclass(frozen=True)
class Place:
    """What runs of one study share, said in values.

    Attributes
    ----------
    config
        The configuration as JSON; paths in it are absolute.
    images
        Key of the images' store. A machine that has none makes it from the source, and this key proves that it is the same.
    folder
        Of results; all machines see it under this path.
    precision
        Of the strong network, measured once for all machines; None where none is run.
    device
        Where runs compute, as the configuration has it.
    """

    config: str
    images: str
    folder: str
    precision: str | None
    device: str = "cpu"


@dataclass(frozen=True)
class Errand:
    """One run, where, and the name of the folder that its key comes to."""

    place: Place
    task: Task
    run: str
    slots: Mapping[str, int]


@dataclass(frozen=True)
class Done:
    """What came out, how long it took in seconds, who did it, and the most memory of that process, MB."""

    outcome: Outcome
    seconds: float
    worker: str
    peak: float


def place_of(lab: Lab) -> Place:
    """Say in values what the runs of a lab share."""
    config = lab.config
    kind, colon, path = config.data.partition(":")
    changes: dict[str, Any] = {"out": None, "data": f"{kind}:{Path(path).expanduser().absolute()}" if colon else kind}
    changes |= {"cache": None if config.cache is None else Path(config.cache).expanduser().absolute()}
    if config.start is not None:
        changes["start"] = Path(config.start).expanduser().absolute()
    chosen = lab.__dict__.get("strong_runtime")
    return Place(
        config.model_copy(update=changes).model_dump_json(),
        str(lab.splits.origin.get("key")),
        str(lab.folder.absolute()),
        None if chosen is None else chosen.precision,
        config.device,
    )


def do_errand(errand: Errand, *_needed: object) -> Done:
    """Do a run on this machine, unless its result is there; what it needs is done, or is done first.

    Raises
    ------
    UserError
        If this machine's images are others, or it would compute otherwise.
    """
    with _alone:
        lab = _lab(errand.place)
        found = errand.task.key(lab).folder.name
        if found != errand.run:
            raise UserError(
                f"{socket.gethostname()}: would compute {found} in place of {errand.run}: kernels or precision differ; install a C "
                "compiler on all machines or none, or give --precision fp32 and UNLABELED_KERNELS=off everywhere"
            )
        began = time.perf_counter()
        with _threads(max(1, _cores() // errand.slots.get(socket.gethostname(), 1))):
            outcome = perform(lab, errand.task)
        return Done(outcome, time.perf_counter() - began, f"{socket.gethostname()}:{os.getpid()}", own_peak())


@lru_cache(maxsize=1)
def _lab(place: Place) -> Lab:
    config = Config.model_validate_json(place.config)
    splits = load(config, partly=True)
    if splits.origin.get("key") != place.images:
        raise UserError(
            f"{socket.gethostname()}: {config.data} holds other images here ({splits.origin.get('key')}) than where the study was begun "
            f"({place.images}); give a path under which all machines see the same files"
        )
    lab = Lab(config, splits, Path(place.folder))
    if place.precision is not None:
        lab.strong_runtime = replace(lab.runtime, precision=place.precision)
    return lab


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with so many threads, and leave the process as it was: it may do other things than errands."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cores() -> int:
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def facts() -> dict[str, str]:
    """Return what must be the same on all machines: versions, and the package's own files."""
    return {"python": ".".join(platform.python_version_tuple()[:2]), "unlabeled": _own_files(), **versions(_PACKAGES)}


@lru_cache(maxsize=1)
def _own_files() -> str:
    root = Path(unlabeled.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return f"{versions(['unlabeled'])['unlabeled']} ({digest.hexdigest()[:8]})"


def refuse_others(here: Mapping[str, str], there: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse machines whose versions are not those of this one.

    Raises
    ------
    UserError
        If one has others; the message names the first difference of each.
    """
    wrong = []
    for name, found in sorted(there.items()):
        differing = [
            f"{what} {found.get(what, 'missing')} (here {mine})"
            for what, mine in here.items()
            if found.get(what) != mine
        ]
        if differing:
            wrong.append(f"{name} has {', '.join(differing)}")
    if wrong:
        raise UserError(
            f"the cluster's machines are not alike: {'; '.join(wrong[:3])}; install the same versions on all of them"
        )
