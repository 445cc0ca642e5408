"""Images that come as arrays: an .npz file, the MNIST family's idx files, CIFAR's binary version. Knows nothing of files of images."""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from unlabeled.console.plain import printable
from unlabeled.errors import DataError
from unlabeled.images.fitting import Wanted
from unlabeled.images.shrinking import shrink
from unlabeled.images.store import digests_of, look_at, stored
from unlabeled.images.writer import Batch, Description, Expected, Piece
from unlabeled.sources.splitting import set_aside

_BATCH = 2048
_MOST_SIDE = 8192
_IDX = {"train": ("labeled",), "t10k": ("test",), "test": ("test",)}
_IDX_UINT8 = 0x08
_CIFAR = 3 * 32 * 32


@dataclass(frozen=True)
class Given:
    """Images as a source has them: pixels uint8 (n, c, h, w), and labels (n,) from 0 on or None, by split."""

    pixels: Mapping[str, NDArray[np.uint8]]
    labels: Mapping[str, NDArray[np.int64]]
    class_names: Sequence[str]
    notes: Sequence[str] = ()


def store_arrays(path: Path, cache: Path, wanted: Wanted, *, partly: bool = False) -> Path:
    """Put an .npz file's images into a store: x and y, where -1 is no label; x_test and y_test if there is a test split; names in classes.

    Raises
    ------
    DataError
        If the file can't be read, or its arrays are none of images and labels; the message says which, and how to convert them.
    """
    return _stored(path, [path], "arrays", cache, wanted, lambda: _read_npz(path), partly=partly)


def store_idx(path: Path, cache: Path, wanted: Wanted, *, partly: bool = False) -> Path:
    """Put the files of the MNIST family into a store: train-images-idx3-ubyte and the like, packed by gzip or not.

    A file ``classes.txt`` beside them, if there is one, has the names of the classes, one a line.

    Raises
    ------
    DataError
        If a file is missing or not as the format has it.
    """
    files = _idx_files(path)
    return _stored(path, list(files.values()), "idx", cache, wanted, lambda: _read_idx(path, files), partly=partly)


def store_cifar(path: Path, cache: Path, wanted: Wanted, *, partly: bool = False) -> Path:
    """Put CIFAR-10's or CIFAR-100's binary version into a store.

    Raises
    ------
    DataError
        If a file is missing or not as the format has it.
    """
    files = _cifar_files(path)
    return _stored(
        path,
        [*files["labeled"], *files["test"]],
        "cifar",
        cache,
        wanted,
        lambda: _read_cifar(path, files),
        partly=partly,
    )


def _stored(
    path: Path,
    files: Sequence[Path],
    name: str,
    cache: Path,
    wanted: Wanted,
    read: Callable[[], Given],
    *,
    partly: bool,
) -> Path:
    shown = printable(str(path))
    for file in files:
        if not file.is_file():
            raise DataError(f"{printable(str(file))}: no such file")
    beside = [
        one for one in (path / "classes.txt", path / "batches.meta.txt", path / "fine_label_names.txt") if one.is_file()
    ]
    signature = [name, wanted.as_json(), partly, look_at([*files, *beside], path)]

    def pieces() -> Generator[Piece]:
        yield from _pieces(read(), wanted, name, shown, partly=partly)

    # The number of channels is known when the images are read; what is grey keeps one of three.
    return stored(cache, signature, name, (3, *wanted.size), pieces)


def _pieces(given: Given, wanted: Wanted, name: str, shown: str, *, partly: bool) -> Generator[Piece]:
    pixels, labels, notes = dict(given.pixels), dict(given.labels), list(given.notes)
    _check(pixels, labels, given.class_names, shown, partly=partly)
    if len(pixels["labeled"]) and not len(pixels["test"]):
        rest, test = set_aside(labels["labeled"], len(given.class_names))
        pixels["labeled"], pixels["test"] = pixels["labeled"][rest], pixels["labeled"][test]
        labels["labeled"], labels["test"] = labels["labeled"][rest], labels["labeled"][test]
        notes.append(
            f"There is no test split: {len(test):,} of the {len(rest) + len(test):,} labeled images, the same share of every class, were "
            "set aside as the test split."
        )
    yield Expected(sum(map(len, pixels.values())))
    for split, images in pixels.items():
        for start in range(0, len(images), _BATCH):
            part = images[start : start + _BATCH]
            small = shrink(np.ascontiguousarray(part), wanted)
            known = labels[split][start : start + _BATCH] if split in labels else None
            yield Batch(split, np.repeat(small, 3, axis=1) if small.shape[1] == 1 else small, digests_of(part), known)
    yield Description(list(given.class_names), notes=notes, origin={"source": name, "fit": wanted.fit})


def _check(
    pixels: Mapping[str, NDArray[np.uint8]],
    labels: Mapping[str, NDArray[np.int64]],
    names: Sequence[str],
    shown: str,
    *,
    partly: bool,
) -> None:
    if not partly and not len(pixels["unlabeled"]):
        raise DataError(
            f"{shown}: no unlabeled images in it, and the question is what they are worth; hide labels: save x and y as .npz with y = -1 "
            "where no label is to be used, and give it as arrays:FILE.npz (or run a study that needs none, such as --study baselines)"
        )
    if not partly and not len(pixels["labeled"]):
        raise DataError(f"{shown}: no labeled images in it; give some images their labels")
    for split, known in labels.items():
        if len(known) and int(known.max()) >= len(names):
            raise DataError(
                f"{shown}: a {split} image has the label {int(known.max())}, and there are {len(names)} classes, numbered from 0"
            )
    counts = np.bincount(labels["labeled"], minlength=len(names)) if len(labels["labeled"]) else np.zeros(0, dtype=int)
    if len(counts) and counts.min() < 2:
        few = int(counts.argmin())
        raise DataError(
            f"{shown}: class {names[few]!r} has {counts[few]} labeled images; every class needs two or more, for training and validation"
        )
    if len(counts) == 1:
        raise DataError(f"{shown}: only the class {names[0]!r} in it; a classifier needs two classes or more")


# .npz


def _read_npz(path: Path) -> Given:
    shown = printable(str(path))
    try:
        with np.load(path, allow_pickle=False) as stored_:
            arrays = {name: stored_[name] for name in stored_.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, struct.error) as error:
        text = str(error).partition("\n")[0]
        raise DataError(
            f"{shown}: no .npz file of arrays ({text}); write it by numpy.savez(FILE, x=images, y=labels), labels -1 where there is none"
        ) from None
    if "x" not in arrays or "y" not in arrays:
        raise DataError(
            f"{shown}: holds {', '.join(sorted(arrays)) or 'nothing'}; it needs x (images) and y (labels, -1 is none)"
        )
    images, given = as_pixels(arrays["x"], f"{shown}, x"), _as_labels(arrays["y"], len(arrays["x"]), f"{shown}, y")
    known = given >= 0
    pixels = {"labeled": images[known], "unlabeled": images[~known], "test": images[:0]}
    labels = {"labeled": given[known], "test": given[:0]}
    if "x_test" in arrays or "y_test" in arrays:
        if "x_test" not in arrays or "y_test" not in arrays:
            raise DataError(f"{shown}: x_test and y_test go together; one of them is missing")
        pixels["test"] = as_pixels(arrays["x_test"], f"{shown}, x_test")
        labels["test"] = _as_labels(arrays["y_test"], len(pixels["test"]), f"{shown}, y_test")
        if len(labels["test"]) and labels["test"].min() < 0:
            raise DataError(f"{shown}, y_test: -1 is no label, and every test image needs one")
        if pixels["test"].shape[1] != images.shape[1]:
            raise DataError(
                f"{shown}: x has {images.shape[1]} channels and x_test {pixels['test'].shape[1]}; give both alike"
            )
    count = 1 + max((int(one.max()) for one in labels.values() if len(one)), default=-1)
    names = (
        [str(name) for name in arrays["classes"]] if "classes" in arrays else [str(number) for number in range(count)]
    )
    return Given(pixels, labels, names)


def as_pixels(images: NDArray[Any], what: str) -> NDArray[np.uint8]:
    """Return images as uint8 (n, c, h, w), of (n, h, w), (n, h, w, c) or (n, c, h, w); transparency lies on white.

    Raises
    ------
    DataError
        If they have another shape or are no uint8; the message says how to convert them.
    """
    if images.dtype != np.uint8:
        way = (
            "(255 * x).round().astype('uint8') of floats in [0, 1]" if images.dtype.kind == "f" else "x.astype('uint8')"
        )
        raise DataError(f"{what}: is {images.dtype}; images are uint8, 0 to 255: save {way}")
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] in (1, 3, 4):
        images = images.transpose(0, 3, 1, 2)
    if (
        images.ndim != 4
        or images.shape[1] not in (1, 3, 4)
        or min(images.shape[1:]) < 1
        or max(images.shape[2:]) > _MOST_SIDE
    ):
        raise DataError(
            f"{what}: has shape {images.shape}; images are (n, height, width), (n, height, width, channels) or (n, channels, height, "
            "width), of 1, 3 or 4 channels"
        )
    if images.shape[1] == 4:
        opaque = images[:, 3:].astype(np.uint16)
        images = ((images[:, :3] * opaque + 255 * (255 - opaque) + 127) // 255).astype(np.uint8)
    return images


def _as_labels(labels: NDArray[Any], images: int, what: str) -> NDArray[np.int64]:
    if labels.dtype.kind not in "iu" or labels.shape != (images,):
        raise DataError(
            f"{what}: is {labels.dtype} {labels.shape}; labels are whole numbers, one for each of {images} images, -1 is none"
        )
    return labels.astype(np.int64)


# idx


def _idx_files(path: Path) -> dict[tuple[str, str], Path]:
    """Return the files of images and labels, by split and kind."""
    shown = printable(str(path))
    if not path.is_dir():
        raise DataError(
            f"{shown}: no such folder; give one with train-images-idx3-ubyte, train-labels-idx1-ubyte and the like"
        )
    found: dict[tuple[str, str], Path] = {}
    for file in sorted(path.iterdir()):
        name = file.name.lower().removesuffix(".gz").replace(".", "-")
        for begin, (split,) in _IDX.items():
            for kind in ("images", "labels"):
                if f"{begin}-{kind}-idx" in name:
                    found.setdefault((split, kind), file)
    for split, begin in (("labeled", "train"), ("test", "t10k")):
        kinds = {kind for at, kind in found if at == split}
        if kinds != {"images", "labels"} and (kinds or split == "labeled"):
            missing = next(kind for kind in ("images", "labels") if kind not in kinds)
            number = 3 if missing == "images" else 1
            raise DataError(f"{shown}: no {begin}-{missing}-idx{number}-ubyte (or .gz) in it")
    return found


def _read_idx(path: Path, files: Mapping[tuple[str, str], Path]) -> Given:
    pixels: dict[str, NDArray[np.uint8]] = {}
    labels: dict[str, NDArray[np.int64]] = {}
    for split in ("labeled", "unlabeled", "test"):
        if (split, "images") not in files:
            shape = next(iter(pixels.values())).shape[1:]
            pixels[split] = np.empty((0, *shape), dtype=np.uint8)
            if split == "test":
                labels[split] = np.empty(0, dtype=np.int64)
            continue
        images, file = _read_idx_file(files[split, "images"], 3), files[split, "labels"]
        pixels[split], labels[split] = images[:, None], _read_idx_file(file, 1).astype(np.int64)
        if len(labels[split]) != len(images):
            raise DataError(f"{printable(str(file))}: {len(labels[split]):,} labels for {len(images):,} images")
    count = 1 + max(int(one.max()) for one in labels.values() if len(one))
    return Given(pixels, labels, _names(path / "classes.txt", count))


def _read_idx_file(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read a file of the format: two zeros, the type, the number of dimensions, their sizes, and the numbers."""
    shown = printable(str(path))
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as raw:
            file = cast("BinaryIO", raw)
            zeros, kind, found = struct.unpack(">HBB", file.read(4))
            if zeros or kind != _IDX_UINT8 or found != dimensions:
                raise DataError(f"{shown}: no idx file of bytes in {dimensions} dimension{'s' * (dimensions > 1)}")
            sizes = struct.unpack(f">{found}I", file.read(4 * found))
            if max(sizes[1:], default=1) > _MOST_SIDE:
                raise DataError(f"{shown}: images of {'x'.join(map(str, sizes[1:]))} are none")
            # A byte more tells a file that goes on.
            content = file.read(math.prod(sizes) + 1)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"{shown}: can't be read ({error}); fetch it again") from None
    if len(content) != math.prod(sizes):
        held = "more" if len(content) > math.prod(sizes) else f"{len(content):,}"
        raise DataError(f"{shown}: says {math.prod(sizes):,} bytes and holds {held}; fetch it again")
    return np.frombuffer(content, dtype=np.uint8).reshape(sizes)


# CIFAR


def _cifar_files(path: Path) -> dict[str, list[Path]]:
    shown = printable(str(path))
    if not path.is_dir():
        raise DataError(
            f"{shown}: no such folder; give one with data_batch_1.bin to data_batch_5.bin and test_batch.bin, or train.bin and test.bin"
        )
    batches = sorted(path.glob("data_batch_*.bin"))
    if batches:
        return {"labeled": batches, "test": [path / "test_batch.bin"]}
    if (path / "train.bin").is_file():
        return {"labeled": [path / "train.bin"], "test": [path / "test.bin"]}
    raise DataError(
        f"{shown}: neither data_batch_1.bin nor train.bin in it; the binary version of CIFAR-10 or CIFAR-100 has them"
    )


def _read_cifar(path: Path, files: Mapping[str, Sequence[Path]]) -> Given:
    hundred = files["labeled"][0].name == "train.bin"
    pixels: dict[str, NDArray[np.uint8]] = {}
    labels: dict[str, NDArray[np.int64]] = {}
    for split in ("labeled", "test"):
        parts = [_read_cifar_file(file, 2 if hundred else 1) for file in files[split]]
        pixels[split] = np.concatenate([images for images, _ in parts])
        labels[split] = np.concatenate([known for _, known in parts])
    pixels = {"labeled": pixels["labeled"], "unlabeled": pixels["labeled"][:0], "test": pixels["test"]}
    count = 1 + max(int(one.max()) for one in labels.values() if len(one))
    return Given(pixels, labels, _names(path / ("fine_label_names.txt" if hundred else "batches.meta.txt"), count))


def _read_cifar_file(path: Path, labels: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read records of labels and pixels; of two labels the second is the finer one."""
    record = labels + _CIFAR
    size = path.stat().st_size
    if size == 0 or size % record:
        raise DataError(
            f"{printable(str(path))}: {size:,} bytes are no whole number of records of {record:,}; fetch it again"
        )
    rows = np.fromfile(path, dtype=np.uint8).reshape(-1, record)
    return rows[:, labels:].reshape(-1, 3, 32, 32), rows[:, labels - 1].astype(np.int64)


def _names(path: Path, count: int) -> list[str]:
    """Return the names that a file has, one a line, or numbers where there is none or it has too few."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        names = []
    return names if len(names) >= count and len(set(names)) == len(names) else [str(number) for number in range(count)]
