"""Images that lie in many files, here or elsewhere: read as one array of pixels, a shard at a time. Knows nothing of torch.

On this machine's disks a shard is mapped where it lies. Elsewhere (any address that fsspec knows) it is fetched once into the cache,
compared with its digest and mapped from there; the first few images that are asked of one not at hand are read by their ranges.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unlabeled.console.plain import printable
from unlabeled.errors import DamagedFile, UserError
from unlabeled.images.shardfiles import HEAD, facts_of
from unlabeled.keeping.caching import expand
from unlabeled.keeping.digests import digest_whole
from unlabeled.keeping.files import fingerprint, sweep, write_atomically
from unlabeled.keeping.locks import claim

_OPEN = 64  # shards that are mapped at a time
_FEW = 64  # of a shard elsewhere the first images, up to one in so many, are read by their ranges
_SHARE_OF_DISK = 0.5  # of what is free, for shards that were fetched
_TRIES = 3
T = TypeVar("T")
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
        self.folder = None if self.remote else expand(place).absolute()
        self.kept = cache.absolute() / "shards" / fingerprint(str(self.folder or self.place))

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

    def use(self, shard: Shard, read: Callable[[Path], T]) -> T:
        """Return what is read from a shard on this machine, which was compared with its digest once; fetch it if need be.

        Raises
        ------
        DamagedFile
            If it is missing, or not what the index says.
        UserError
            If it can't be fetched.
        """
        if self.folder is None:
            for _ in range(_TRIES):
                with suppress(FileNotFoundError):  # another process made room in this moment
                    return read(self._fetched(shard))
            raise UserError(f"{self.kept}: the disk is too full to hold a shard; free some space")
        path = self.folder / shard.name
        if not path.is_file():
            raise DamagedFile(f"{printable(str(path))}: no such file, but the index names it; {_WAY_OUT}")
        if not self._seen(shard, path):
            _compare(path, shard)
            self._see(shard, path)
        return read(path)

    def _seen(self, shard: Shard, path: Path) -> bool:
        """Tell whether a file is the one that was compared."""
        try:
            return self._mark(shard).read_bytes() == repr(facts_of(path)).encode()
        except OSError:
            return False

    def _see(self, shard: Shard, path: Path) -> None:
        with suppress(OSError):  # a cache that can't be written: it is compared again the next time
            write_atomically(self._mark(shard), lambda file: file.write(repr(facts_of(path)).encode()))

    def ranges(self, shard: Shard, starts: Sequence[int], length: int) -> list[bytes]:
        """Read so many bytes from each of some places of a shard elsewhere."""
        return self._ask(
            lambda files, root: files.cat_ranges(
                [f"{root}/{shard.name}"] * len(starts),
                list(starts),
                [start + length for start in starts],
                on_error="raise",
            )
        )

    def _copy(self, shard: Shard) -> Path:
        return self.kept / f"{shard.digest[:16]}-{shard.name}"

    def _mark(self, shard: Shard) -> Path:
        return self._copy(shard).with_suffix(".seen")

    def _fetched(self, shard: Shard) -> Path:
        copy = self._copy(shard)
        if copy.exists() and self._seen(shard, copy):
            with suppress(OSError):  # what was not wanted for longest makes room first
                os.utime(copy, ns=(time.time_ns(), copy.stat().st_mtime_ns))
            return copy
        self.kept.mkdir(parents=True, exist_ok=True)
        sweep(self.kept)
        coming = self.kept / f".{secrets.token_hex(8)}.tmp"
        try:
            with coming.open("x+b") as file:
                claim(file.fileno())
                self._ask(lambda files, root: files.get_file(f"{root}/{shard.name}", str(coming)))
                os.fsync(file.fileno())
                _compare(coming, shard, shown=f"{self.place}/{shard.name}")
                self._make_room(coming.stat().st_size)
                coming.replace(copy)
        finally:
            coming.unlink(missing_ok=True)
        self._see(shard, copy)
        return copy

    def _make_room(self, needed: int) -> None:
        """Remove what was fetched and not wanted for longest; who has it mapped still can read it."""
        found = []
        for path in self.kept.glob("*.shard"):
            try:
                found.append((path.stat().st_atime, path.stat().st_size, path))
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
        except Exception as error:  # noqa: BLE001 - each file system has errors of its own
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
        self._asked: Counter[int] = Counter()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}, "_asked": Counter()}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        if isinstance(rows, tuple):
            raise IndexError("images in shards are indexed by rows alone; take them first, then index what was taken")
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        wanted = np.asarray(rows)
        if wanted.ndim == 0:
            return self[wanted[None]][0]
        if wanted.dtype == np.bool_:
            if wanted.shape != self.shape[:1]:
                raise IndexError(f"a mask of shape {wanted.shape} for {len(self):,} images")
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
        if number not in self._maps and not self.shelf.at_hand(shard):
            self._asked[number] += len(rows)
            if self._asked[number] * _FEW < shard.count and (found := self._ranges(shard, rows)) is not None:
                return found
        return self._mapped(number)[rows]

    def _ranges(self, shard: Shard, rows: NDArray[np.intp]) -> NDArray[np.uint8] | None:
        length = int(np.prod(self.shape[1:]))
        parts = self.shelf.ranges(shard, [HEAD + int(row) * length for row in rows], length)
        if any(len(part) != length for part in parts):
            return None  # a server that knows no ranges; what is wrong with a shard shows when it is fetched
        return np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(-1, *self.shape[1:])

    def _mapped(self, number: int) -> NDArray[np.uint8]:
        if (found := self._maps.get(number)) is not None:
            return found
        shard = self.shards[number]
        shape = (shard.count, *self.shape[1:])
        pixels = self.shelf.use(shard, lambda path: np.memmap(path, dtype=np.uint8, mode="r", offset=HEAD, shape=shape))
        while len(self._maps) >= _OPEN:
            self._maps.pop(next(iter(self._maps)), None)  # threads may do so at the same time
        self._maps[number] = pixels
        return pixels
