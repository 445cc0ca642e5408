"""Who works in a folder: locks that the system lets go of when their process ends, however it ends.

A lock is taken on the folder itself, so nothing is left behind, and neither process numbers nor clocks are asked: two containers
that share a disk and have the same process number keep out of each other's way. Some network disks can't lock; there everything
goes on without, and only what is a day old by the disk's own clock is taken for abandoned.
"""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_CANNOT_LOCK = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL, errno.ENOSYS)
_DAY = 86400.0


@contextmanager
def locked(folder: Path, *, waiting: Callable[[], object] | None = None) -> Iterator[bool]:
    """Keep other processes that lock this folder out of it; a context.

    Parameters
    ----------
    folder
        Exists.
    waiting
        Is called once if another process is in the folder, before waiting for it.

    Yields
    ------
    bool
        Whether the disk can lock: without, nobody is kept out.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _take(handle, waiting)
    finally:
        os.close(handle)


def _take(handle: int, waiting: Callable[[], object] | None) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting is not None:
            waiting()
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise
        return False
    return True


def claim(handle: int) -> None:
    """Mark an open file as being written, until it is closed; whoever asks whether it is abandoned has it for a moment at most."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise


def age_of(path: Path) -> float:
    """Return for how many seconds a file or folder was not changed, by the clock of its disk: a machine's own can be days off.

    Where nothing can be written beside it, or it is gone, it counts as new.
    """
    try:
        with tempfile.TemporaryFile(dir=path.parent) as new:
            return os.fstat(new.fileno()).st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0


def abandoned(path: Path) -> bool:
    """Tell whether nobody alive writes a claimed file, or is in a locked folder."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False  # gone, or somebody else's
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return age_of(path) > _DAY
    finally:
        os.close(handle)
    return True
