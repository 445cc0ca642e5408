"""Digests of large files, a block at a time: they are compared on all cores, and no file is loaded whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from unlabeled.errors import DamagedFile

_BLOCK = 1 << 24  # bytes that one digest stands for


def digest_whole(path: Path) -> str:
    """Return the SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while part := file.read(_BLOCK):
            found.update(part)
    return found.hexdigest()


def digest_blocks(path: Path) -> list[str]:
    """Return the SHA-256 of every block of a file."""
    return [_digest_block(path, start) for start in range(0, path.stat().st_size, _BLOCK)]


def _digest_block(path: Path, start: int) -> str:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        found, left = hashlib.sha256(), _BLOCK
        while left and (part := file.read(left)):  # a network's disk can give less at a time
            found.update(part)
            left -= len(part)
        return found.hexdigest()


def verify_blocks(folder: Path, blocks: Mapping[str, Sequence[str]], *, way_out: str) -> None:
    """Compare every block of every file in a folder with its digest, on as many threads as there are cores.

    Raises
    ------
    DamagedFile
        If a file is missing, has another length, or a block is not as it was.
    """
    wanted = []
    for name in sorted(blocks):
        path = folder / name
        if not path.is_file():
            raise DamagedFile(f"{path}: no such file; {way_out}")
        if -(-path.stat().st_size // _BLOCK) != len(blocks[name]):
            raise DamagedFile(
                f"{path}: damaged ({path.stat().st_size:,} bytes, not those that were written); {way_out}"
            )
        wanted += [(path, number * _BLOCK, block) for number, block in enumerate(blocks[name])]

    def differs(item: tuple[Path, int, str]) -> bool:
        try:
            return _digest_block(item[0], item[1]) != item[2]
        except FileNotFoundError:
            return True  # another process removes what it found damaged

    with ThreadPoolExecutor(min(len(wanted) or 1, os.cpu_count() or 1)) as pool:
        for (path, start, _), wrong in zip(wanted, pool.map(differs, wanted), strict=True):
            if wrong:
                raise DamagedFile(f"{path}: damaged (at byte {start:,} or behind it); {way_out}")
