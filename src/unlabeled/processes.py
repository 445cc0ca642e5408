"""Work spread over processes: joblib's pool, made fit for long work that can be interrupted, or lose its parent."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from unlabeled.errors import ProcessKilled

_LOOK = 0.3  # seconds between two looks whether the parent lives


def in_processes(
    calls: Iterable[Any], *, jobs: int = -1, ordered: bool = True, ahead: int | str = "2*n_jobs"
) -> Iterator[Any]:
    """Make calls (joblib's ``delayed``) in other processes, and yield what they return: in order, or as they end.

    The processes end when this one does, however it ends; an interruption from the keyboard is this one's to answer.

    Parameters
    ----------
    calls
        Taken one at a time, not all at once.
    jobs
        Processes; -1 is one a core.
    ordered
        Whether results come in the order of the calls.
    ahead
        How many calls are taken before their turn.

    Raises
    ------
    ProcessKilled
        If one of the processes was.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    kind = "generator" if ordered else "generator_unordered"
    pool = Parallel(n_jobs=jobs, batch_size=1, pre_dispatch=ahead, return_as=kind)
    parent, folder, results = os.getpid(), _here(), SimpleQueue[tuple[str, Any]]()
    guarded = (delayed(_as_child)(parent, folder, call) for call in calls)
    driver = threading.Thread(target=_drive, args=(pool, guarded, results), name="pool", daemon=True)
    driver.start()
    kind = "result"
    try:
        while kind == "result":
            kind, value = results.get()
            if isinstance(value, TerminatedWorkerError):
                raise ProcessKilled(
                    "a process that computed was ended from outside, most often because memory ran out; give the same command with "
                    "--jobs 1, or smaller images; what was finished is kept"
                ) from None
            if kind == "error":
                raise value
            if kind == "result":
                yield value
    finally:
        # Interrupted, or not wanted any more: the pool may be coming up still.
        while kind == "result" and driver.is_alive():
            stop_processes()
            driver.join(_LOOK)
        driver.join()


def _drive(pool: Any, calls: Iterable[Any], results: SimpleQueue[tuple[str, Any]]) -> None:
    """Run a pool, and pass on what it returns, or why it ended."""
    # Processes inherit what the thread that starts them has blocked: an interrupt of the whole group is not theirs, not even while they
    # are still being loaded.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with warnings.catch_warnings():
            # The pool takes a process that has come to hold much memory for one that leaks, and replaces it; nothing is lost. Its warning
            # would puzzle, and where warnings are errors it ends the pool's own thread, and whoever waits for results waits for ever.
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
            for result in pool(calls):
                results.put(("result", result))
        results.put(("end", None))
    except BaseException as error:  # noqa: BLE001 - it is raised again where it can be handled
        results.put(("error", error))


def stop_processes() -> None:
    """End all processes of the pool at once, and wait until they are gone."""
    from joblib.externals.loky import reusable_executor

    executor = reusable_executor._executor
    if executor is not None:
        executor.shutdown(wait=True, kill_workers=True)


def _here() -> Path | None:
    """Return the working directory, or nothing where it was removed."""
    with suppress(OSError):
        return Path.cwd()
    return None


def _as_child(
    parent: int, folder: Path | None, call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
) -> Any:
    """Make a call in a process of the pool, in the working directory that the parent had when it asked."""
    _live_with(parent)
    # One job is the parent's own, and where that is stays its own affair.
    if os.getpid() != parent:
        # What there is to say of files is said by the parent, which looks at them first.
        logging.getLogger("unlabeled").setLevel(logging.CRITICAL)
        # The pool is kept from call to call, and its processes are where their parent was when it started them.
        if folder is not None:
            with suppress(OSError):
                os.chdir(folder)
    function, arguments, named = call
    return function(*arguments, **named)


_watching = False


def _live_with(parent: int) -> None:
    """Let this process end soon after its parent; once a process."""
    global _watching  # noqa: PLW0603 - a fact of the process
    if _watching or os.getpid() == parent:
        return
    _watching = True

    def watch() -> None:
        # Killed, a parent tells nobody; its children get another one.
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
