"""STL-10 in its official binary layout: read from a folder or from the archive, and written.

Coates, Ng and Lee 2011. An image is 3 x 96 x 96 bytes, channel after channel, each channel column by column; labels
are 1..10; ``fold_indices.txt`` has one fold a line. The reader takes any counts, and checks the official ones.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import secrets
import tarfile
import zlib
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unlabeled.console.plain import class_name, printable
from unlabeled.errors import DataError
from unlabeled.images.fitting import Wanted, cut_note
from unlabeled.images.store import digests_of, look_at, stored
from unlabeled.images.writer import Batch, Description, Expected, Labels, Piece
from unlabeled.keeping.files import sweep, sync_folder
from unlabeled.keeping.locks import claim

URL = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
ARCHIVE_MD5 = "91f7769df0f17e558f3565bffb0c7dfb"
CLASS_NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
SIDE = 96
IMAGE_BYTES = 3 * SIDE * SIDE


@dataclass(frozen=True)
class OfficialFile:
    """What the official data set says of a file."""

    bytes: int
    md5: str


FILES = {
    "train_X.bin": OfficialFile(138_240_000, "918c2871b30a85fa023e0c44e0bee87f"),
    "train_y.bin": OfficialFile(5_000, "5a34089d4802c674881badbb80307741"),
    "test_X.bin": OfficialFile(221_184_000, "7f263ba9f9e0b06b93213547f721ac82"),
    "test_y.bin": OfficialFile(8_000, "36f9794fa4beb8a2c72628de14fa638e"),
    "unlabeled_X.bin": OfficialFile(2_764_800_000, "5242ba1fed5e4be9e1e742405eb56ca4"),
    "fold_indices.txt": OfficialFile(47_794, "4bbf8cd098ab9f87fe03fbcb37c06b28"),
    "class_names.txt": OfficialFile(55, "6de44d022411c4d5cda4673b7f147c3f"),
}
_SPLIT_OF = {"train": "labeled", "test": "test", "unlabeled": "unlabeled"}
_CHUNK = 200  # images; 5.5 MB, of which a few a worker are in memory
_MOST_WORKERS = 8  # beyond, reading is what takes the time
# Ten times the unlabeled split: a file that says it is larger is damaged, or made to fill a disk.
_MOST_IMAGES = 1_000_000
_MOST_BYTES = {
    "_X.bin": _MOST_IMAGES * IMAGE_BYTES,
    "_y.bin": _MOST_IMAGES,
    "indices.txt": 20 * _MOST_IMAGES,
    "names.txt": 100_000,
}
_LONGEST_NAME = 100
_Shrunken: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # pixels (n, 3, h, w), digests (n, 32)
_MOST_OF_OTHERS = 1 << 20  # bytes of what is in an archive beside the data set's files


def store_stl10(path: Path, cache: Path, wanted: Wanted, *, partly: bool = False) -> Path:
    """Shrink the images of a folder or archive into a store, and return the store's folder.

    With ``partly`` the labeled, the test or the unlabeled images may be missing.

    Raises
    ------
    DataError
        If a file is missing, truncated, or does not fit the others.
    """
    signature = ["stl10", wanted.as_json(), look_at(_parts(path), path.parent)]
    return stored(cache, signature, "stl10", (3, *wanted.size), lambda: read_stl10(path, wanted, partly=partly))


def read_stl10(path: Path, wanted: Wanted, *, name: str = "stl10", partly: bool = False) -> Generator[Piece]:
    """Yield the images of a folder or archive, their labels and folds."""
    try:
        yield from _read(path, wanted, name, partly=partly)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"{_shown(path)}: not a whole archive ({_first_line(error)}); get it again") from None
    except ValueError as error:  # tarfile's own, of a header whose numbers make no sense
        if path.is_dir():
            raise
        raise DataError(f"{_shown(path)}: not a whole archive ({_first_line(error)}); get it again") from None


def verify(path: Path) -> list[str]:
    """Compare a folder's or archive's files with the official sizes and checksums; return what differs."""
    if path.is_file():
        checksum = _checksum(path)
        return (
            [] if checksum == ARCHIVE_MD5 else [f"{path}: MD5 {checksum} instead of {ARCHIVE_MD5}; download it again"]
        )
    folder, findings = _binary_folder(path), []
    for name, official in FILES.items():
        file = folder / name
        size = file.stat().st_size if file.exists() else 0
        if size != official.bytes:
            findings.append(f"{file}: {size:,} bytes instead of {official.bytes:,}")
        elif (checksum := _checksum(file)) != official.md5:
            findings.append(f"{file}: MD5 {checksum} instead of {official.md5}")
    return findings


@contextmanager
def stl10_writer(folder: Path) -> Iterator[STL10Writer]:
    """Open a folder for writing in the official layout; files get their names when all is written."""
    writer = STL10Writer(folder)
    try:
        yield writer
        writer.close()
    finally:
        writer.discard()


class STL10Writer:
    """Writes the official layout, a chunk at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        sweep(folder)
        self._token = secrets.token_hex(8)
        self._files: dict[str, IO[bytes]] = {}

    def append(self, split: str, pixels: NDArray[np.uint8], labels: NDArray[np.integer[Any]] | None = None) -> None:
        """Add images uint8 (n, 3, 96, 96), row-major, and labels 0..9, to "train", "test" or "unlabeled"."""
        self._open(f"{split}_X.bin").write(np.ascontiguousarray(pixels.swapaxes(2, 3)).data)
        if labels is not None:
            self._open(f"{split}_y.bin").write((np.asarray(labels) + 1).astype(np.uint8).tobytes())

    def describe(self, class_names: tuple[str, ...], folds: list[NDArray[np.intp]]) -> None:
        """Write the class names and the folds."""
        self._open("class_names.txt").write(("\n".join(class_names) + "\n").encode())
        lines = [" ".join(map(str, fold.tolist())) + " \n" for fold in folds]
        self._open("fold_indices.txt").write("".join(lines).encode())

    def close(self) -> None:
        """Close the files and give them their names."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        for name, file in self._files.items():
            self._beside(name).replace(self._folder / name)
            file.close()
        sync_folder(self._folder)

    def discard(self) -> None:
        """Remove whatever did not get its name."""
        for name, file in self._files.items():
            file.close()
            self._beside(name).unlink(missing_ok=True)

    def _beside(self, name: str) -> Path:
        return self._folder / f".{name}.{self._token}.tmp"

    def _open(self, name: str) -> IO[bytes]:
        if name not in self._files:
            self._files[name] = self._beside(name).open("wb")
            claim(self._files[name].fileno())
        return self._files[name]


def _read(path: Path, wanted: Wanted, name: str, *, partly: bool = False) -> Iterator[Piece]:
    small: dict[str, bytes] = {}
    sizes: dict[str, int] = {}
    counts = dict.fromkeys(_SPLIT_OF.values(), 0)
    if path.is_dir():
        yield Expected(sum(part.stat().st_size for part in _parts(path)) // IMAGE_BYTES)
    for part, size, file in _open_parts(path):
        _check_size(path, part, size, twice=part in sizes)
        sizes[part] = size
        if part.endswith("_X.bin"):
            split = _SPLIT_OF[part.removesuffix("_X.bin")]
            for pixels, digests in _shrink_file(file, f"{_shown(path)}: {part}", size, wanted):
                counts[split] += len(pixels)
                yield Batch(split, pixels, digests)
        else:
            small[part] = file.read()
    _check_sizes(path, sizes, partly)
    for split in (part for part in ("train", "test") if f"{part}_X.bin" in sizes):
        yield Labels(_SPLIT_OF[split], _labels(path, f"{split}_y.bin", small, counts[_SPLIT_OF[split]]))
    names = _class_names(path, small.get("class_names.txt"))
    text = small.get("fold_indices.txt", b"") if counts["labeled"] else b""
    if counts["labeled"] and "fold_indices.txt" in small and not text.strip():
        raise DataError(
            f"{_shown(path)}: fold_indices.txt has no folds; get it again, or delete it to have stratified folds"
        )
    folds = _folds(path, text, counts["labeled"], small.get("train_y.bin", b""))
    origin = {"source": name, "filter": "triangle (antialiased bilinear)", "fit": wanted.fit, "original_side": SIDE}
    share = wanted.cut((SIDE, SIDE))
    notes = [cut_note(share, share, wanted)] if share >= 0.005 else []
    yield Description(names, folds, notes, origin)


def _shrink_file(file: IO[bytes], where: str, size: int, wanted: Wanted) -> Iterator[_Shrunken]:
    """Read, hash and shrink a file of images in chunks, on all cores, with few chunks in memory at a time."""
    if size % IMAGE_BYTES or size == 0:
        raise DataError(
            f"{where} has {size:,} bytes, which is no whole number of images of {IMAGE_BYTES:,}; it seems truncated, get it again"
        )
    workers = min(os.cpu_count() or 1, _MOST_WORKERS)
    waiting: list[Future[_Shrunken]] = []
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, size, _CHUNK * IMAGE_BYTES):
            most = min(_CHUNK * IMAGE_BYTES, size - start)
            chunk = file.read(most)
            if len(chunk) != most:
                raise DataError(f"{where} ends {most - len(chunk):,} bytes too early; it seems truncated, get it again")
            waiting.append(pool.submit(_shrink_chunk, chunk, wanted.turned))
            if len(waiting) > 2 * workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _shrink_chunk(chunk: bytes, turned: Wanted) -> _Shrunken:
    """Return the shrunken images (n, 3, h, w), row-major, and the digests (n, 32) of their raw bytes."""
    from unlabeled.images.shrinking import shrink

    images = np.frombuffer(chunk, dtype=np.uint8).reshape(-1, 3, SIDE, SIDE)
    # The filter treats both sides alike, so the small images are transposed instead of the large ones.
    return np.ascontiguousarray(shrink(images, turned).swapaxes(2, 3)), digests_of(images)


def _open_parts(path: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield the name, size and open file of each part, from a folder or straight from the archive."""
    if path.is_dir():
        for part in _parts(path):
            if not part.is_file():
                raise DataError(f"{_shown(part)}: not a regular file; get it again")
            with part.open("rb") as file:
                yield part.name, part.stat().st_size, file
        return
    with tarfile.open(path, "r|*", tarinfo=_Member) as archive:
        for member in archive:
            name = Path(member.name).name
            if name not in FILES or not member.isfile():
                if member.size > _MOST_OF_OTHERS:
                    raise DataError(
                        f"{_shown(path)}: {printable(member.name[:80])} has {member.size:,} bytes and is no file of STL-10; get it again"
                    )
                continue
            if member.issparse():
                # What it says it holds need not be there, and takes for ever to read.
                raise DataError(
                    f"{_shown(path)}: {name} is stored with holes, as no archive of STL-10 is; get it again"
                )
            if (content := archive.extractfile(member)) is not None:
                yield name, member.size, content


class _Member(tarfile.TarInfo):
    """A member whose long name, or whose list of properties, is not longer than such things are; they are read whole."""

    def _proc_gnulong(self, archive: tarfile.TarFile) -> Any:
        self._check_header()
        return super()._proc_gnulong(archive)  # type: ignore[misc]

    def _proc_pax(self, archive: tarfile.TarFile) -> Any:
        self._check_header()
        return super()._proc_pax(archive)  # type: ignore[misc]

    def _check_header(self) -> None:
        if self.size > _MOST_OF_OTHERS:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")


def _parts(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(
            f"{_shown(path)}: neither a folder nor a regular file; give the folder of STL-10's files, or its archive"
        )
    folder = _binary_folder(path)
    return [folder / name for name in FILES if (folder / name).exists()]


def _binary_folder(path: Path) -> Path:
    return path / "stl10_binary" if (path / "stl10_binary").is_dir() else path


def _check_sizes(path: Path, sizes: dict[str, int], partly: bool) -> None:
    missing = [name for name in FILES if name.endswith(".bin") and name not in sizes]
    # A whole part can be missing if the caller can do without; half a part is a mistake.
    halves = [name for name in missing if name.replace("_X", "_y") in sizes or name.replace("_y", "_X") in sizes]
    if halves if partly and sizes else missing:
        raise DataError(f"{_shown(path)}: {', '.join(missing)} missing; STL-10 has {', '.join(FILES)}")
    # Official labeled splits beside another unlabeled one: a copy that broke off at an image's end.
    official = all(sizes.get(name) == FILES[name].bytes for name in ("train_X.bin", "test_X.bin"))
    wanted = FILES["unlabeled_X.bin"].bytes
    if official and sizes.get("unlabeled_X.bin", wanted) != wanted:
        raise DataError(
            f"{path}: unlabeled_X.bin has {sizes['unlabeled_X.bin']:,} bytes instead of {wanted:,}; it seems truncated, get it again"
        )


def _labels(path: Path, name: str, small: dict[str, bytes], images: int) -> NDArray[np.int64]:
    labels = np.frombuffer(small[name], dtype=np.uint8).astype(np.int64)
    path = Path(_shown(path))
    if len(labels) != images:
        raise DataError(f"{path}: {name} has {len(labels):,} labels for {images:,} images; one of the two is truncated")
    if labels.min() < 1 or labels.max() > 10:
        wrong = labels[(labels < 1) | (labels > 10)][0]
        raise DataError(f"{path}: {name} holds the label {wrong}; STL-10's labels are 1..10, so the file is damaged")
    return labels - 1


def _check_size(path: Path, part: str, size: int, *, twice: bool) -> None:
    """Hold the size of a file against what the format can have, before anything of it is read."""
    if twice:
        raise DataError(f"{_shown(path)}: holds {part} twice; get it again")
    most = next(most for ending, most in _MOST_BYTES.items() if part.endswith(ending))
    if size > most:
        raise DataError(
            f"{_shown(path)}: {part} has {size:,} bytes, and no data set in this layout has more than {most:,}; get it again"
        )


def _class_names(path: Path, content: bytes | None) -> tuple[str, ...]:
    """Read the names of the ten classes, a line each."""
    if content is None:
        return CLASS_NAMES
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{_shown(path)}: class_names.txt is no UTF-8 ({error.reason} at byte {error.start:,}); save it as UTF-8, or delete it to "
            "have the official names"
        ) from None
    names = [class_name(line.strip()) for line in lines if line.strip()]
    way = f"it needs {len(CLASS_NAMES)}, one a line; mend it, or delete it to have the official names"
    if len(names) != len(CLASS_NAMES):
        raise DataError(
            f"{_shown(path)}: class_names.txt has {len(names):,} names for {len(CLASS_NAMES)} classes; {way}"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{_shown(path)}: class_names.txt has the name {twice!r} twice; {way}")
    if (longest := max(names, key=len)) and len(longest) > _LONGEST_NAME:
        raise DataError(f"{_shown(path)}: class_names.txt has a name of {len(longest):,} letters; {way}")
    return tuple(names)


def _folds(path: Path, text: bytes, images: int, labels: bytes) -> list[NDArray[np.intp]]:
    path = Path(_shown(path))
    try:
        lines = [line.split() for line in text.decode("ascii").splitlines()]
        if any(not index.isdigit() for line in lines for index in line):
            wrong = next(index for line in lines for index in line if not index.isdigit())
            raise ValueError(f"{printable(wrong[:20])!r} is no index")
        folds = {number: np.array(line, dtype=np.intp) for number, line in enumerate(lines, 1) if line}
    except (UnicodeDecodeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: fold_indices.txt is damaged ({error}); get it again") from None
    for number, fold in folds.items():
        if fold.min() < 0 or fold.max() >= images or len(np.unique(fold)) != len(fold):
            raise DataError(
                f"{path}: line {number} of fold_indices.txt has indices outside 0..{images - 1} or repeated ones"
            )
        if images == 5_000 and len(fold) != 1_000:
            raise DataError(
                f"{path}: line {number} of fold_indices.txt has {len(fold)} indices instead of 1,000; get it again"
            )
        kinds = np.unique(np.frombuffer(labels, dtype=np.uint8)[fold])
        if len(kinds) < 2:
            raise DataError(
                f"{path}: line {number} of fold_indices.txt has images of one class alone (label {kinds[0]}); a classifier needs two or "
                "more, so mend that line, or delete the file to have stratified folds"
            )
    return list(folds.values())


def _shown(path: Path) -> str:
    return printable(str(path))


def _first_line(error: BaseException) -> str:
    return printable(str(error).partition("\n")[0]) or type(error).__name__


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        md5 = hashlib.md5(usedforsecurity=False)
        while block := file.read(1 << 22):
            md5.update(block)
    return md5.hexdigest()
