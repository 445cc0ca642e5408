"""How the command ends when something goes wrong around it: requests to end, errors of the system, output that nobody takes."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from unlabeled.console.plain import printable


class Ended(KeyboardInterrupt):
    """The system, or who stands behind it, asked the process to end; args are the word for it and the status."""


class Escaping(logging.Formatter):
    """Lets no control character of a name through."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return printable(super().format(record))


@contextmanager
def interruptible() -> Iterator[None]:
    """Take a request to end as an interruption from the keyboard is taken: everything is put in order first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        raise Ended("terminated" if number == signal.SIGTERM else "hung up", 128 + number)

    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Ignored by whoever started us, as by nohup: it stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


def what_the_system_says(error: OSError) -> str:
    """Say what an error of the system is about, and the way out."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{error.filename or 'writing'}: {error.strerror}; free some space, or give other folders with --out and --cache; "
            "finished parts are kept"
        )
    # A file is written beside its place first; that place is what is wrong then.
    name = error.filename2 or error.filename
    if name is None:
        return f"{error.strerror or error}; see to the disk and the limits of this session, and give the same command again"
    return f"{os.fsdecode(name)}: {error.strerror}; give other paths, or change the permissions"


def is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Tell whether memory was lacking: Python says so by a kind of error, PyTorch in words."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in ("allocate memory", "out of memory"))


def silence_output() -> None:
    """Send what is still to be written nowhere."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
