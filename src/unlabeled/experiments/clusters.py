"""Engines that people already run, behind one small door: submit runs, take them as they end, tell what was lost."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from unlabeled.console.plain import printable
from unlabeled.errors import UserError
from unlabeled.experiments.errands import Done, Errand, do_errand, facts, refuse_others

_LOOK = 1.0  # seconds between two looks at a queue
_SOON = 0.05  # seconds between two looks at workers
_PATIENCE = 20  # seconds for a scheduler to answer


@dataclass(frozen=True)
class Lost:
    """A worker ended before its run did, and the run can be given to another; ``reason`` is what the engine says."""

    reason: str


class Engine(Protocol):
    """A cluster: runs go in as errands, and come out as they end.

    Attributes
    ----------
    graph
        Whether it knows what a run waits for; else that is waited for here.
    """

    graph: bool

    def slots(self) -> dict[str, int]:
        """Return how many runs go on at a time, by host."""

    def submit(self, errand: Errand, after: Sequence[Any]) -> Any:
        """Hand in a run that begins when others, by their handles, have ended; return its handle."""

    def ended(self, handles: Sequence[Any]) -> Iterator[tuple[Any, Done | Lost]]:
        """Yield handles as they end, each with what came out; an error of the run itself is raised."""

    def cancel(self, handles: Sequence[Any]) -> None:
        """Take back what has not begun."""

    def close(self) -> None:
        """Leave the cluster as it is."""


def open_engine(name: str, folder: Path) -> Engine:
    """Connect to a cluster by its name: ``dask:ADDRESS``, ``dask:FILE`` of a scheduler, ``slurm`` or ``slurm:OPTION=VALUE,...``.

    Raises
    ------
    UserError
        If it is none of these, can't be reached, or its machines have other versions.
    """
    kind, _, rest = name.partition(":")
    if kind == "dask" and rest:
        return DaskEngine(rest)
    if kind == "slurm":
        return SlurmEngine(rest, folder / "slurm")
    raise UserError(
        f"--cluster {printable(name)}: use local, dask:ADDRESS (such as dask:tcp://10.0.0.1:8786, or dask:scheduler.json), or slurm"
    )


def _needed(name: str, way_out: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise UserError(way_out) from None


class DaskEngine:
    """Workers of Dask's distributed; what a run needs is its graph."""

    graph = True

    def __init__(self, address: str) -> None:
        self.distributed = _needed("distributed", "--cluster dask needs Dask's distributed; pip install '.[dask]'")
        file = Path(address).expanduser()
        if file.suffix == ".json" and not file.is_file():
            raise UserError(
                f"--cluster dask:{printable(address)}: no such file; dask scheduler --scheduler-file {printable(address)} writes it"
            )
        where = {"scheduler_file": str(file)} if file.suffix == ".json" else {"address": address}
        try:
            self.client = self.distributed.Client(**where, timeout=_PATIENCE, set_as_default=False, name="unlabeled")
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(
                f"--cluster dask:{printable(address)}: no scheduler answers there ({type(error).__name__}); start one by dask scheduler, "
                "and workers by dask worker ADDRESS --nthreads 1"
            ) from None
        try:
            self._look_at_workers(address)
        except BaseException:
            self.close()
            raise

    def _look_at_workers(self, address: str) -> None:
        self._wait_for_workers(address)
        workers = self._workers()
        several = [name for name, worker in workers.items() if worker["nthreads"] != 1]
        if several:
            raise UserError(
                f"{len(several)} of {len(workers)} workers have several threads, {several[0]} for one, and a process does one run at a "
                "time; start them with --nthreads 1, and as many --nworkers as there shall be runs"
            )
        refuse_others(facts(), self.client.run(facts))
        self.tagged = any("GPU" in worker.get("resources", {}) for worker in workers.values())

    def _wait_for_workers(self, address: str) -> None:
        try:
            self.client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError:
            raise UserError(
                f"--cluster dask:{printable(address)}: the scheduler has no worker; start some by dask worker {printable(address)} "
                "--nthreads 1"
            ) from None

    def _workers(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.scheduler_info(n_workers=-1)["workers"]
        return found

    def slots(self) -> dict[str, int]:
        """Return how many workers there are, by host."""
        names = self.client.run(socket.gethostname)
        found: dict[str, int] = {}
        for name in names.values():
            found[name] = found.get(name, 0) + 1
        return found

    def submit(self, errand: Errand, after: Sequence[Any]) -> Any:
        """Hand in a run; where workers are tagged with GPUs, one of them takes a run that may use one."""
        options = {"resources": {"GPU": 1}} if self.tagged and errand.place.device != "cpu" else {}
        return self.client.submit(do_errand, errand, *after, pure=False, **options)

    def ended(self, handles: Sequence[Any]) -> Iterator[tuple[Any, Done | Lost]]:
        """Yield futures as they end."""
        killed = self.distributed.scheduler.KilledWorker
        cancelled = self.distributed.client.FutureCancelledError
        left, heard = dict(enumerate(handles)), time.monotonic()
        while left:
            over = [number for number, future in left.items() if future.done()]
            for number in over:
                future = left.pop(number)
                try:
                    yield future, future.result()
                except killed as error:
                    yield future, Lost(str(error).partition("\n")[0])
                except (cancelled, self.distributed.comm.CommClosedError) as error:
                    raise self._gone(error) from None
            if self.client.status == "running":
                heard = time.monotonic()
            elif self.client.status in ("closed", "closing") or time.monotonic() - heard > _PATIENCE:
                # Its futures wait for ever.
                raise self._gone(TimeoutError())
            if left and not over:
                time.sleep(_SOON)

    def _gone(self, error: BaseException) -> UserError:
        return UserError(
            f"the cluster's scheduler has gone ({type(error).__name__}); what was finished is kept, and the same command goes on from there"
        )

    def cancel(self, handles: Sequence[Any]) -> None:
        """Take back what has not begun."""
        with suppress(OSError, TimeoutError):
            self.client.cancel(list(handles))

    def close(self) -> None:
        """Leave the workers to others."""
        self.client.close()


class SlurmEngine:
    """A queue, through submitit: jobs of one run each."""

    graph = False

    def __init__(self, options: str, folder: Path) -> None:
        submitit = _needed("submitit", "--cluster slurm needs submitit; pip install '.[slurm]'")
        self.errors = import_module("submitit.core.utils")
        given = dict(_options(options))
        try:
            self.executor = submitit.AutoExecutor(folder=str(folder), cluster=given.pop("cluster", "slurm"))
        except (RuntimeError, ValueError) as error:
            raise UserError(f"--cluster slurm: {printable(str(error)).partition(chr(10))[0]}") from None
        parameters: dict[str, Any] = {
            "name": "unlabeled",
            "timeout_min": 240,
            "cpus_per_task": 1,
            "slurm_array_parallelism": 64,
        }
        try:
            self.executor.update_parameters(**parameters | given)
        except (NameError, ValueError, AssertionError) as error:
            raise UserError(
                f"--cluster slurm:{printable(options)}: {printable(str(error)).partition(chr(10))[0]}"
            ) from None
        self.at_a_time = int(given.get("slurm_array_parallelism", 64))
        probe = self.executor.submit(facts)
        while not probe.done():
            time.sleep(_LOOK)
        refuse_others(facts(), {f"job {probe.job_id}": probe.result()})

    def slots(self) -> dict[str, int]:
        """Return how many jobs run at a time; each has the cores that it asked for to itself."""
        return {"": self.at_a_time}

    def submit(self, errand: Errand, after: Sequence[Any]) -> Any:
        """Hand in a job."""
        del after
        return self.executor.submit(do_errand, errand)

    def ended(self, handles: Sequence[Any]) -> Iterator[tuple[Any, Done | Lost]]:
        """Yield jobs as they end."""
        left = list(handles)
        while left:
            over = [job for job in left if job.done()]
            left = [job for job in left if job not in over]
            for job in over:
                try:
                    yield job, job.result()
                except self.errors.FailedJobError as error:
                    raise UserError(
                        f"job {job.job_id}: {_last_line(str(error))}; its log is {job.paths.stderr}"
                    ) from None
                except self.errors.UncompletedJobError as error:
                    yield job, Lost(str(error).partition("\n")[0])
            if left and not over:
                time.sleep(_LOOK)

    def cancel(self, handles: Sequence[Any]) -> None:
        """Take jobs back."""
        for job in handles:
            with suppress(Exception):
                job.cancel(check=False)

    def close(self) -> None:
        """Leave the queue alone."""


def _last_line(trace: str) -> str:
    """Return what an error says at the end of its traceback, without what kind of error it is where it is a user's."""
    lines = [line for line in trace.splitlines() if re.match(r"[\w.]+(Error|Exception|Killed)\b", line)]
    text = lines[-1] if lines else trace.partition("\n")[0]
    return printable(re.sub(r"^\S*UserError: ", "", text))


def _options(text: str) -> Iterator[tuple[str, Any]]:
    """Read OPTION=VALUE pairs as submitit names them; whole numbers are numbers."""
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise UserError(
                f"--cluster slurm:{printable(text)}: {printable(part)} is no OPTION=VALUE, such as timeout_min=60"
            )
        yield name, int(value) if value.isdigit() else value
