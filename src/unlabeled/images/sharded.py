"""Images that lie in many files, here or elsewhere: read as one array of pixels, a shard at a time. Knows nothing of torch.

A shard is one file: a head of 4,096 bytes in JSON, the pixels, the labels if there are some. On this machine's disks it is mapped where it
lies. Elsewhere (any address that fsspec knows) it is fetched once into the cache, compared with its digest and mapped from there; a few
images of one that is not at hand are read by their ranges.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlabeled.console.plain import printable
from unlabeled.errors import DamagedFile, UserError
from unlabeled.images.shardfiles import HEAD
from unlabeled.keeping.caching import expand
from unlabeled.keeping.digests import digest_whole
from unlabeled.keeping.files import fingerprint, write_atomically

_OPEN = 64  # shards that are mapped at a time
_FEW = 64  # of a shard elsewhere less than one in so many images are read by their ranges
_SHARE_OF_DISK = 0.5  # of what is free, for shards that were fetched
_TRIES = 3
_WAY_OUT = "fetch or write it again"


@dataclass(frozen=True)
class Shard:
    """What an index says of a shard: its file's name, how many images it holds, the SHA-256 of the file, rows that are left out."""

    name: str
    count: int
    digest: str
    without: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.count - len(self.without)

    def places(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return where in the file some rows stand, those that are left out not counted among the rows."""
        if not self.without:
            return rows
        # The i-th of those left out stands before all rows from without[i] - i on.
        return rows + np.searchsorted(np.asarray(self.without) - np.arange(len(self.without)), rows, side="right")


class Shelf:
    """Where shards lie: a folder, or an address of fsspec's like ``s3://bucket/photos``.

    Parameters
    ----------
    place
        The folder or the address.
    cache
        Folder of the user's cache; what is fetched lies in ``shards/`` there, and what was compared is noted.
    """

    def __init__(self, place: str, cache: Path) -> None:
        self.place, self.remote = place.rstrip("/"), "://" in place
        self.folder = None if self.remote else expand(place)
        where = self.place if self.remote else str(expand(place).absolute())
        self.kept = cache / "shards" / fingerprint(where)

    def fetch_index(self, name: str) -> Path:
        """Return the path of the index; one elsewhere is read anew each time."""
        if self.folder is not None:
            return self.folder / name
        content = self._ask(lambda files, root: files.cat_file(f"{root}/{name}"))
        write_atomically(self.kept / name, lambda file: file.write(content))
        return self.kept / name

    def at_hand(self, shard: Shard) -> bool:
        """Whether reading a shard fetches nothing."""
        return self.folder is not None or self._copy(shard).exists()

    def path(self, shard: Shard) -> Path:
        """Return the path of a shard on this machine, compared with its digest once; fetch it if need be.

        Raises
        ------
        DamagedFile
            If it is missing, or not what the index says.
        UserError
            If it can't be fetched.
        """
        if self.folder is None:
            return self._fetched(shard)
        path = self.folder / shard.name
        try:
            facts = path.stat()
        except OSError:
            raise DamagedFile(f"{printable(str(path))}: no such file, but the index names it; {_WAY_OUT}") from None
        told = f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ino}"
        mark = self.kept / f"{shard.digest[:16]}-{shard.name}.seen"
        if not mark.is_file() or mark.read_text() != told:
            _compare(path, shard)
            with suppress(OSError):  # a cache that can't be written: it is compared again the next time
                write_atomically(mark, lambda file: file.write(told.encode()))
        return path

    def ranges(self, shard: Shard, starts: Sequence[int], length: int) -> list[bytes]:
        """Read so many bytes from each of some places of a shard elsewhere."""
        return self._ask(
            lambda files, root: files.cat_ranges(
                [f"{root}/{shard.name}"] * len(starts), list(starts), [start + length for start in starts]
            )
        )

    def _copy(self, shard: Shard) -> Path:
        return self.kept / f"{shard.digest[:16]}-{shard.name}"

    def _fetched(self, shard: Shard) -> Path:
        copy = self._copy(shard)
        if copy.exists():
            os.utime(copy)  # what was not wanted for longest makes room first
            return copy
        self.kept.mkdir(parents=True, exist_ok=True)
        coming = self.kept / f".{os.getpid()}-{threading.get_ident()}-{copy.name}"
        try:
            self._ask(lambda files, root: files.get_file(f"{root}/{shard.name}", str(coming)))
            _compare(coming, shard, shown=f"{self.place}/{shard.name}")
            self._make_room(coming.stat().st_size)
            coming.replace(copy)
        finally:
            coming.unlink(missing_ok=True)
        return copy

    def _make_room(self, needed: int) -> None:
        """Remove what was fetched and not wanted for longest; who has it mapped still can read it."""
        found = []
        for path in self.kept.glob("[!.]*.shard"):
            try:
                found.append((path.stat().st_mtime, path.stat().st_size, path))
            except FileNotFoundError:
                continue  # another process made room
        held = sum(size for _, size, _ in found)
        most = _SHARE_OF_DISK * (shutil.disk_usage(self.kept).free + held)
        for _, size, path in sorted(found):
            if held + needed <= most:
                return
            path.unlink(missing_ok=True)
            held -= size

    def _ask(self, question: Any) -> Any:
        try:
            from fsspec.core import url_to_fs
        except ModuleNotFoundError:
            raise UserError(
                f"shards:{self.place}: an address needs fsspec; pip install 'unlabeled[remote]', or give a folder"
            ) from None
        try:
            return question(*url_to_fs(self.place))
        except (OSError, ValueError, ImportError) as error:
            raise UserError(
                f"shards:{printable(self.place)}: can't be read ({type(error).__name__}: {printable(str(error))[:200]}); look whether "
                "the address is right and this machine may read it"
            ) from None


def _compare(path: Path, shard: Shard, shown: str = "") -> None:
    if digest_whole(path) != shard.digest:
        raise DamagedFile(f"{printable(shown or str(path))}: damaged, not the file that the index tells of; {_WAY_OUT}")


class ShardedPixels:
    """Pixels, uint8 (n, c, h, w), of images that lie in shards; indexed like an array by rows, which are copied into memory.

    It holds no pixels: a process that is sent it is sent names.

    Attributes
    ----------
    shape
        (n, c, h, w).
    starts
        The row with which each shard begins, and n, (shards + 1,).
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, shelf: Shelf, shards: Sequence[Shard], size: tuple[int, int, int]) -> None:
        self.shelf, self.shards = shelf, tuple(shards)
        self.starts = np.concatenate([[0], np.cumsum([len(shard) for shard in shards])]).astype(np.intp)
        self.shape = (int(self.starts[-1]), *size)
        self._maps: dict[int, NDArray[np.uint8]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        wanted = np.asarray(rows)
        if wanted.ndim == 0:
            return self[wanted[None]][0]
        if wanted.dtype == np.bool_:
            wanted = np.flatnonzero(wanted)
        wanted = np.where(wanted < 0, wanted + len(self), wanted)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of {len(self):,} images")
        taken = np.empty((len(wanted), *self.shape[1:]), dtype=np.uint8)
        of = np.searchsorted(self.starts, wanted, side="right") - 1
        for number in np.unique(of):
            here = np.flatnonzero(of == number)
            taken[here] = self._read(int(number), wanted[here] - self.starts[number])
        return taken

    def _read(self, number: int, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        shard = self.shards[number]
        rows = shard.places(rows)
        if len(rows) * _FEW < shard.count and number not in self._maps and not self.shelf.at_hand(shard):
            length = int(np.prod(self.shape[1:]))
            parts = self.shelf.ranges(shard, [HEAD + int(row) * length for row in rows], length)
            if any(len(part) != length for part in parts):
                raise DamagedFile(f"{self.shelf.place}/{shard.name}: shorter than the index tells; {_WAY_OUT}")
            return np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(-1, *self.shape[1:])
        return self._mapped(number)[rows]

    def _mapped(self, number: int) -> NDArray[np.uint8]:
        if (found := self._maps.get(number)) is not None:
            return found
        shard = self.shards[number]
        for left in reversed(range(_TRIES)):
            path = self.shelf.path(shard)
            try:
                pixels = np.memmap(path, dtype=np.uint8, mode="r", offset=HEAD, shape=(shard.count, *self.shape[1:]))
            except FileNotFoundError:  # another process made room in this moment
                if not left:
                    raise
                continue
            break
        while len(self._maps) >= _OPEN:
            del self._maps[next(iter(self._maps))]
        self._maps[number] = pixels
        return pixels
