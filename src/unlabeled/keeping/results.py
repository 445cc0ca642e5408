"""Results on disk: a folder each, and last of all ``result.json``, which names the folder's files with their digests.

It exists exactly when the run is finished, and says whether everything beside it is as it was written. Knows nothing of torch.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.errors import DamagedFile, UserError
from unlabeled.keeping.files import (
    AGAIN,
    digest_content,
    digest_file,
    fingerprint,
    parse_arrays,
    parse_history,
    parse_json,
    read_bytes,
    read_sealed,
    refuse_name,
    write_atomically,
    write_json,
    write_sealed,
)

_log = logging.getLogger("unlabeled")
_RESULT = "result.json"


@dataclass(frozen=True)
class Result:
    """A finished result, and its folder's files by their digests.

    Attributes
    ----------
    folder
        Where it lies.
    content
        The result itself, in JSON's types.
    files
        Digest of each file that belongs to it, by its name within the folder.
    """

    folder: Path
    content: dict[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Read the named arrays of one of its files."""
        path, content = self._verified(name)
        return parse_arrays(path, content)

    def history(self, name: str = "history.jsonl") -> list[dict[str, Any]]:
        """Read its history, a row an epoch; a run that has none gives an empty list."""
        if name not in self.files:
            return []
        path, content = self._verified(name)
        return parse_history(path, content)

    def json(self, name: str) -> Any:
        """Read the JSON of one of its files."""
        path, content = self._verified(name)
        return parse_json(path, content)

    def verify(self) -> Result:
        """Compare every file with its digest, and return the result itself."""
        for name in self.files:
            self._verified(name)
        return self

    def _verified(self, name: str) -> tuple[Path, bytes]:
        path = self.folder / refuse_name(name)
        if name not in self.files:
            raise DamagedFile(f"{self.folder / _RESULT}: names no {name}; {AGAIN}")
        content = read_bytes(path)
        if digest_content(path, content) != self.files[name]:
            raise DamagedFile(f"{path}: damaged (its digest is not that in {_RESULT}); {AGAIN}")
        return path, content


def write_result(folder: Path, content: Mapping[str, Any], files: Iterable[str] = ()) -> None:
    """Write a folder's result, when the files that belong to it are on disk."""
    digests = {name: digest_file(folder / name) for name in sorted(files)}
    write_sealed(folder / _RESULT, {**content, "files": digests})


def read_result(folder: Path | str) -> Result:
    """Read a folder's result.

    Raises
    ------
    DamagedFile
        If it is not there, not as it was written, or of a version that this one does not read.
    """
    folder = Path(folder)
    if not has_result(folder):
        raise DamagedFile(f"{folder}: no {_RESULT}, so this is no finished run; give the folder of one, or {AGAIN}")
    content = read_sealed(folder / _RESULT)
    files = content.pop("files", {})
    if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
        raise DamagedFile(f"{folder / _RESULT}: damaged (its list of files); {AGAIN}")
    return Result(folder, content, files)


def has_result(folder: Path) -> bool:
    """Tell whether a folder has a result."""
    return (folder / _RESULT).is_file()


def keep_earlier(folder: Path, question: Mapping[str, Any], names: Iterable[str]) -> Path | None:
    """Copy a finished answer to another question out of the way of a new one; return where the copy lies.

    Runs stay where they are, for both questions use them. An answer to the same question, or none, needs no copy.
    """
    try:
        earlier = read_result(folder).verify().content.get("question")
    except UserError:
        return None
    if earlier is None or fingerprint(earlier) == fingerprint(dict(question)):
        return None
    kept = folder / "earlier" / fingerprint(earlier)
    if has_result(kept):
        return kept  # by a run that was interrupted since
    # The result goes last, as always.
    for name in sorted(names, key=lambda name: name == _RESULT):
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            write_atomically(kept / name, lambda file, content=content: file.write(content))  # type: ignore[misc]
    return kept


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

    def outcome(self, *, tell: bool = False) -> dict[str, Any] | None:
        """Return the result if the run is finished and all its files are as they were written; what is damaged can be told."""
        if not has_result(self.folder):
            return None
        try:
            return read_result(self.folder).verify().content
        except DamagedFile as error:
            if tell:
                _log.warning(f"{str(error).rpartition(';')[0]}; this run is made anew")
            return None

    def start(self) -> None:
        """Make the folder, without what an earlier, damaged result left, and write down what is asked."""
        if has_result(self.folder):
            for path in self.folder.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        write_json(self.folder / "config.json", self.configuration)

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result, last."""
        # What file managers and network disks put there has names that begin with a dot.
        paths = [path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        names = {str(path.relative_to(self.folder)) for path in paths} - {_RESULT}
        write_result(self.folder, result, names)
