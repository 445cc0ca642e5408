"""A classifier in a folder: weights, how images come to its size, its classes, its temperature. It needs no run and no store."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from joblib import delayed
from numpy.typing import NDArray
from pydantic import ConfigDict
from torch import nn

from unlabeled.errors import DamagedFile, UserError
from unlabeled.evaluation.calibration import warm
from unlabeled.finished.architectures import Architecture
from unlabeled.images import Images
from unlabeled.images.decoding import BATCH, Decoded, decode_all, decode_batch
from unlabeled.images.fitting import Fit, Wanted
from unlabeled.images.writer import scale_deep
from unlabeled.keeping.files import parse_arrays, read_bytes, write_arrays, write_atomically
from unlabeled.networks.classical import ClassicalNet
from unlabeled.processes import in_processes
from unlabeled.records import read_as
from unlabeled.training.checkpoints import load_weights, save_weights
from unlabeled.training.measuring import predict
from unlabeled.training.runtime import Runtime

FORMAT = 1
_GOLDEN = 1e-4
_WORTH_PROCESSES = 8.0  # seconds of work; a process with PyTorch takes three to start
# Of red, green and blue in grey (ITU-R BT.601), as Pillow has it.
_LUMA = np.array([299, 587, 114]) / 1000


@dataclass(frozen=True)
class ClassifierConfig:
    """What a classifier's folder says of it in ``config.json``.

    Attributes
    ----------
    classes
        Names, by number.
    input_size
        (channels, height, width) of the images that the networks see, uint8.
    fit
        How images of other proportions come to that size.
    architecture
        Of each of ``members`` networks, whose probabilities are averaged.
    temperature
        What their mean is taken to the power of one over.
    flip
        Whether the mirror image is asked too.
    bits
        Of grey images with more than 8 bits a pixel, how many are the full scale; None where training saw none.
    way
        What the networks have learned, in words.
    versions
        Of packages.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    classes: tuple[str, ...]
    input_size: tuple[int, int, int]
    fit: Fit
    architecture: Architecture
    members: int = 1
    temperature: float = 1.0
    flip: bool = True
    bits: int | None = None
    way: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True)
class Predicted:
    """A batch of files: their paths and probabilities (n, classes), and what could not be read, with the reason."""

    paths: tuple[str, ...]
    probabilities: NDArray[np.float32]
    problems: tuple[tuple[str, str], ...]


class Classifier:
    """Networks that classify images of any size.

    Attributes
    ----------
    config
        What it is.
    members
        The networks, in evaluation mode.
    folder
        Where it was read from, so that other processes can read it too.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        members: Sequence[nn.Module],
        *,
        device: str = "auto",
        folder: Path | None = None,
    ) -> None:
        self.config, self.runtime, self.folder = config, Runtime.of(device), folder
        # As in training: convolutions are faster so.
        self.members = tuple(
            member.to(self.runtime.device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
            for member in members
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, by number."""
        return self.config.classes

    @property
    def wanted(self) -> Wanted:
        """The size that images come to, and how."""
        return Wanted(self.config.input_size[1:], self.config.fit)

    def predict_proba(
        self, images: Images | NDArray[np.uint8] | str | Path | Iterable[str | Path]
    ) -> NDArray[np.float32]:
        """Return calibrated probabilities (n, classes).

        Parameters
        ----------
        images
            A path, or several, of image files of any size; or pixels uint8 (n, c, h, w) of the classifier's size.

        Raises
        ------
        UserError
            If a file can't be read, or pixels have another shape.
        """
        if isinstance(images, np.ndarray):
            images = Images(images)
        if isinstance(images, Images):
            return self._ask(images)
        paths = [str(images)] if isinstance(images, str | Path) else [str(path) for path in images]
        if not paths:
            return np.empty((0, len(self.classes)), dtype=np.float32)
        batches = list(self.stream(paths))
        problems = [problem for batch in batches for problem in batch.problems]
        if problems:
            path, reason = problems[0]
            raise UserError(
                f"{path}: can't be read ({reason}); {len(problems)} of {len(paths)} can't; stream skips them"
            )
        return np.concatenate([batch.probabilities for batch in batches])

    def predict(self, images: Images | NDArray[np.uint8] | str | Path | Iterable[str | Path]) -> list[str]:
        """Return the likeliest class's name of each image; see ``predict_proba``."""
        return [self.classes[number] for number in self.predict_proba(images).argmax(axis=1)]

    def stream(self, paths: Sequence[str]) -> Iterator[Predicted]:
        """Yield the probabilities of files in batches, on all cores; what can't be read is named and left out.

        The first batch tells whether the others are worth a process a core, which decodes and asks the networks by itself.
        """
        batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
        if not batches:
            return
        start = time.perf_counter()
        yield self.classify(batches[0])
        ahead = (time.perf_counter() - start) * (len(batches) - 1)
        if ahead > _WORTH_PROCESSES and self.folder is not None and self.runtime.device.type == "cpu":
            stamp = (self.folder / "model.safetensors").stat().st_mtime_ns
            yield from in_processes(delayed(_classify_apart)(str(self.folder), stamp, batch) for batch in batches[1:])
            return
        for batch, (_, decoded) in zip(batches[1:], decode_all([paths[BATCH:]], self.wanted), strict=True):
            yield self._answer(batch, decoded)

    def classify(self, paths: Sequence[str]) -> Predicted:
        """Return the probabilities of a batch of files, here."""
        return self._answer(paths, decode_batch(paths, self.wanted))

    def _answer(self, paths: Sequence[str], batch: Decoded) -> Predicted:
        good, refused = self._sort_out(batch)
        problems = [*batch.problems, *((paths[batch.good[place]], reason) for place, reason in refused.items())]
        pixels = self._channels(batch, good)
        known = self._ask(Images(pixels)) if len(good) else np.empty((0, len(self.classes)), dtype=np.float32)
        return Predicted(tuple(paths[batch.good[place]] for place in good), known, tuple(problems))

    def _sort_out(self, batch: Decoded) -> tuple[list[int], dict[int, str]]:
        """Return the places of images that can be used, and why others can't."""
        if self.config.bits is not None:
            return list(range(len(batch.pixels))), {}
        reason = (
            "grey with more than 8 bits a pixel, and training saw none, so their scale isn't known; save it with 8 bits"
        )
        refused = dict.fromkeys(batch.deep.rows.tolist(), reason)
        return [place for place in range(len(batch.pixels)) if place not in refused], refused

    def _channels(self, batch: Decoded, good: Sequence[int]) -> NDArray[np.uint8]:
        """Return pixels as training saw them: deep grey on its scale, one channel where that is all it has."""
        pixels = batch.pixels
        if self.config.bits is not None and len(batch.deep.rows):
            pixels = pixels.copy()
            pixels[batch.deep.rows] = scale_deep(batch.deep.values, self.config.bits)[:, None]
        pixels = pixels[list(good)]
        if self.config.input_size[0] == 3:
            return pixels
        # Grey as it is, and of colours their luminance.
        return np.rint(np.tensordot(_LUMA, pixels, axes=(0, 1))).astype(np.uint8)[:, None]

    def _ask(self, images: Images) -> NDArray[np.float32]:
        if images.shape != self.config.input_size:
            raise UserError(
                f"images have shape {images.shape}; this classifier takes pixels of {self.config.input_size}, or files of any size by "
                "their paths"
            )
        if not len(images):
            return np.empty((0, len(self.classes)), dtype=np.float32)
        several = [predict(member, images, flip=self.config.flip, runtime=self.runtime) for member in self.members]
        mean = several[0] if len(several) == 1 else np.mean(np.stack(several), axis=0)
        return warm(mean, self.config.temperature).astype(np.float32)

    def save(self, folder: Path, *, card: str, golden: NDArray[np.uint8]) -> None:
        """Write the classifier: weights, ``config.json``, a card, and some images with their probabilities, by which a copy is checked."""
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(folder / "model.safetensors", nn.ModuleList(self.members))
        write_arrays(folder / "golden.npz", images=golden, probabilities=self.predict_proba(golden))
        _write_text(folder / "README.md", card)
        _write_text(folder / "config.json", json.dumps(asdict(self.config), indent=2, ensure_ascii=False) + "\n")

    def check_golden(self, folder: Path) -> float:
        """Return how far the probabilities of the images kept with it are from those kept, at the most.

        Raises
        ------
        UserError
            If it is more than 1e-4: then this machine does not compute what was kept.
        """
        kept = parse_arrays(folder / "golden.npz", read_bytes(folder / "golden.npz"))
        off = float(np.abs(self.predict_proba(kept["images"]) - kept["probabilities"]).max())
        if off > _GOLDEN:
            raise UserError(
                f"{folder}: probabilities are off by {off:.2g} on the images kept with it; the files do not belong together"
            )
        return off


def load_classifier(folder: str | Path, *, device: str = "auto") -> Classifier:
    """Read a classifier from its folder, or from that of the run that made it.

    Nothing in the folder is run: weights are numbers, and all else is text.

    Raises
    ------
    UserError
        If there is none, or it is of a later format.
    DamagedFile
        If a file is not as it was written.
    """
    place = Path(folder).expanduser()
    if not (place / "config.json").is_file() or not (place / "model.safetensors").is_file():
        place = place / "classifier"
    if not (place / "model.safetensors").is_file():
        raise UserError(
            f"{folder}: no classifier in it; give the folder of a finished run, or the classifier folder in it"
        )
    try:
        content = json.loads(read_bytes(place / "config.json"))
        if isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] > FORMAT:
            raise UserError(
                f"{place}: is of format {content['format']}, and this version reads {FORMAT}; install a later version"
            )
        config = read_as(ClassifierConfig, content)
    except ValueError as error:
        raise DamagedFile(
            f"{place / 'config.json'}: no classifier's description ({str(error).splitlines()[0]})"
        ) from None
    members = nn.ModuleList(
        config.architecture.make(config.input_size, len(config.classes)) for _ in range(config.members)
    )
    load_weights(place / "model.safetensors", members)
    if not all(member.is_whole() for member in members if isinstance(member, ClassicalNet)):
        raise DamagedFile(f"{place / 'model.safetensors'}: nodes of its trees point out of their lists")
    return Classifier(config, list(members), device=device, folder=place)


@lru_cache(maxsize=1)
def _here(folder: str, stamp: int) -> Classifier:
    """Return this process's own copy, which computes on one core."""
    del stamp  # of the weights: others in the same folder are read anew
    torch.set_num_threads(1)
    return load_classifier(folder, device="cpu")


def _classify_apart(folder: str, stamp: int, paths: Sequence[str]) -> Predicted:
    return _here(folder, stamp).classify(paths)


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))
