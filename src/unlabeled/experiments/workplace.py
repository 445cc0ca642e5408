"""The folder that studies are run in: one process at a time, and nothing half written stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unlabeled.console.plain import printable
from unlabeled.keeping.files import sweep
from unlabeled.keeping.locks import locked
from unlabeled.processes import stop_processes


@contextmanager
def working_in(folder: Path, note: Callable[[str], None]) -> Iterator[None]:
    """Have a folder for this process alone; a second one waits, says so, and then finds what the first has finished.

    Whatever killed processes left half written is removed at the beginning, and this one's own if it is interrupted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = printable(str(folder))
    with locked(folder, waiting=lambda: note(f"another process works in {shown}; waiting until it has ended")):
        sweep(folder)
        try:
            yield
        except BaseException:
            # Those that still compute would go on writing.
            stop_processes()
            sweep(folder)
            raise
