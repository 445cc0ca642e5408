"""A run's folder: what was asked, what happened, and last of all the result. Knows nothing of torch.

``result.json`` is written when everything else is on disk: it exists exactly when the run is finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from unlabeled.errors import UserError


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside its place and rename it there, so that it is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, keys in the order given."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> Any:
    """Read JSON; a missing or broken file is the user's to mend."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; is this the folder of a finished run?") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); delete it and run again") from None


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays, compressed."""
    write_atomically(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read named arrays."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (FileNotFoundError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: missing or damaged ({error}); delete its folder and run again") from None


def write_history(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    write_atomically(path, lambda file: file.write(text.encode()))


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line; no file is no history."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def fingerprint(content: Any) -> str:
    """Return 12 hexadecimal digits that change with any value of the content (JSON's types only)."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Run:
    """One run: a folder named by what it is and by its whole configuration.

    Parameters
    ----------
    root
        Folder of all runs.
    name
        What people call it, as a relative path.
    configuration
        Everything that determines the outcome, in JSON's types.
    """

    def __init__(self, root: Path, name: str, configuration: dict[str, Any]) -> None:
        self.configuration = configuration
        self.folder = root / f"{name}-{fingerprint(configuration)}"

    @property
    def finished(self) -> bool:
        """Whether the result is there."""
        return (self.folder / "result.json").exists()

    def start(self) -> None:
        """Make the folder and write down what is asked."""
        for abandoned in self.folder.glob(".*.tmp"):
            abandoned.unlink(missing_ok=True)
        write_json(self.folder / "config.json", self.configuration)

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result, last."""
        write_json(self.folder / "result.json", result)

    def result(self) -> dict[str, Any]:
        """Read the result."""
        result: dict[str, Any] = read_json(self.folder / "result.json")
        return result
