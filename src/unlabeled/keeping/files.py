"""The package's own files: written whole or not at all, and verified when they are read. Knows nothing of torch.

There is one reader for each kind (JSON, JSON a line, arrays), and it raises one error, ``DamagedFile``. A digest says whether a file
holds what was written. That of JSON leaves out what a clock or a memory meter told, so equal results have equal digests.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from unlabeled.errors import DamagedFile, UserError
from unlabeled.keeping.locks import abandoned, claim

# Raise it when files are written otherwise than before.
FORMAT = 1
AGAIN = "run the same command again, and it is made anew"
_MEASURED = re.compile("second|memory")
_TRIES = 3
_MOST_BYTES = 1 << 32  # of one of the package's own files that is read whole
_OURS = re.compile(r"\.(?:[\w.]+\.)?[0-9a-f]{16}\.tmp")  # other programs have temporary files too
_NO_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES, errno.EPERM)


_BAD_ARRAYS = (
    ValueError, EOFError, LookupError, AttributeError, TypeError, OSError, RuntimeError, MemoryError, OverflowError, SyntaxError,
    struct.error, tokenize.TokenError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside its place and rename it there, so that it is whole or absent, and on disk before it has its name."""
    for left in reversed(range(_TRIES)):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with temporary.open("xb") as file:
                claim(file.fileno())
                write(file)
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)
        except FileNotFoundError:
            # Swept away by another process in the moment before it was claimed, or the folder was.
            if not left:
                raise
            continue
        finally:
            temporary.unlink(missing_ok=True)
        return sync_folder(path.parent)
    return None


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk, where the disk can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half written under a folder; what is being written stays."""
    for path in folder.rglob(".*.tmp"):
        if _OURS.fullmatch(path.name) and path.is_file() and abandoned(path):
            path.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, keys in the order given."""
    content_text = _to_text(content, indent=1) + "\n"
    write_atomically(path, lambda file: file.write(content_text.encode()))


def read_json(path: Path) -> Any:
    """Read JSON."""
    return parse_json(path, read_bytes(path))


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with the format's number and a digest."""
    sealed = {"format": FORMAT, **content}
    write_json(path, {**sealed, "digest": digest_of(sealed)})


def read_sealed(path: Path, *, way_out: str = AGAIN) -> dict[str, Any]:
    """Read what ``write_sealed`` wrote, without format and digest.

    Raises
    ------
    DamagedFile
        If it is not as it was written, or was written by another version.
    """
    content = parse_json(path, read_bytes(path, way_out), way_out)
    if not isinstance(content, dict):
        raise DamagedFile(f"{path}: damaged (holds no names and values); {way_out}")
    if "digest" not in content and "format" not in content:
        raise DamagedFile(f"{path}: holds no digest, so another program or an earlier version wrote it; {way_out}")
    if isinstance(number := content.get("format"), int) and number > FORMAT:
        # By a later version, which may have another kind of digest.
        raise DamagedFile(
            f"{path}: written in format {number}, and this version of unlabeled reads format {FORMAT}; {way_out}"
        )
    digest = content.pop("digest", None)
    if digest != digest_of(content) or content.pop("format", None) != FORMAT:
        raise DamagedFile(f"{path}: damaged (its digest does not fit what it holds); {way_out}")
    return content


def write_history(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    text = "".join(_to_text(row) + "\n" for row in rows)
    write_atomically(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays, compressed."""
    write_atomically(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def parse_arrays(path: Path, content: bytes) -> dict[str, np.ndarray]:
    """Return the named arrays that a file holds."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except _BAD_ARRAYS as error:
        raise DamagedFile(f"{path}: damaged ({error}); {AGAIN}") from None


def parse_history(path: Path, content: bytes) -> list[dict[str, Any]]:
    """Return the JSON objects, one a line, that a file holds."""
    return [parse_json(path, line) for line in content.splitlines()]


def digest_file(path: Path) -> str:
    """Return the digest of a file; that of JSON, or JSON a line, leaves out what was measured."""
    return digest_content(path, read_bytes(path))


def digest_content(path: Path, content: bytes) -> str:
    """Return the digest of what a file of that name holds."""
    if path.suffix == ".json":
        return digest_of(parse_json(path, content))
    if path.suffix == ".jsonl":
        return digest_of(parse_history(path, content))
    return hashlib.sha256(content).hexdigest()


def digest_of(content: Any) -> str:
    """Return the SHA-256 of values of JSON's types, times and memory left out, whatever the order of names."""
    # What is written and read again has lists for tuples, and text for numbers that are names.
    plain = json.loads(_to_text(content))
    return hashlib.sha256(json.dumps(_without_measured(plain), sort_keys=True).encode()).hexdigest()


def fingerprint(content: Any) -> str:
    """Return 12 hexadecimal digits that change with any value of the content (JSON's types only)."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_bytes(path: Path, way_out: str = AGAIN) -> bytes:
    """Read a file of the package's own."""
    try:
        # A pipe is not waited for, and a device not read for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MOST_BYTES:
                raise DamagedFile(
                    f"{path}: not a regular file, or one of {facts.st_size:,} bytes; delete it, and {way_out}"
                )
            return file.read()
    except FileNotFoundError:
        raise DamagedFile(f"{path}: no such file; {way_out}") from None
    except IsADirectoryError:
        raise DamagedFile(f"{path}: a folder in place of a file; delete it, and {way_out}") from None
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise DamagedFile(f"{path}: not a regular file; delete it, and {way_out}") from None  # a socket


def parse_json(path: Path, content: bytes, way_out: str = AGAIN) -> Any:
    """Return the JSON that a file holds."""
    try:
        parsed = json.loads(content, parse_constant=_refuse_constant, parse_float=_finite)
        _to_text(parsed)  # what is nested too deeply to be written is not read either
        return parsed
    except (ValueError, RecursionError) as error:  # both kinds of damage, text and JSON, are ValueErrors
        raise DamagedFile(f"{path}: damaged, not readable as JSON ({_short(error)}); {way_out}") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is beyond any number")
    return number


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def _to_text(content: Any, *, indent: int | None = None) -> str:
    text = json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # A path with bytes that are no UTF-8: escaped it comes back as it was.
        text = json.dumps(content, indent=indent, ensure_ascii=True, allow_nan=False)
    return text


def _without_measured(content: Any, name: str = "") -> Any:
    """Put one sign for every sound number that a clock or a memory meter told."""
    if isinstance(content, dict):
        return {key: _without_measured(value, key) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_measured(value) for value in content]
    number = isinstance(content, (int, float)) and not isinstance(content, bool)
    if number and _MEASURED.search(name) and 0 <= content < math.inf:
        return "measured"
    return content


def refuse_name(name: str) -> str:
    """Return a name of a file inside a folder, if it leads nowhere else."""
    if not name or name.startswith(("/", "~")) or ".." in Path(name).parts or "\0" in name:
        raise UserError(f"{name!r} is no file of a run's folder")
    return name
