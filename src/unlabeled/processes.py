"""Work spread over processes: joblib's pool, made fit for long work."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any


def in_processes(
    calls: Iterable[Any], *, jobs: int = -1, ordered: bool = True, ahead: int | str = "2*n_jobs"
) -> Iterator[Any]:
    """Make calls (joblib's ``delayed``) in other processes, and yield what they return: in order, or as they end.

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
    """
    from joblib import Parallel

    kind = "generator" if ordered else "generator_unordered"
    pool = Parallel(n_jobs=jobs, batch_size=1, pre_dispatch=ahead, return_as=kind)
    with warnings.catch_warnings():
        # The pool takes a process that has come to hold much memory for one that leaks, and replaces it; nothing is lost. Its warning
        # would puzzle, and where warnings are errors it ends the pool's own thread, and whoever waits for results waits for ever.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
        yield from pool(calls)
