"""What several test modules need."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import isfunction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unlabeled.images import Images
from unlabeled.keeping import files
from unlabeled.keeping.locks import locked
from unlabeled.keeping.results import has_result, read_result, write_result
from unlabeled.kernels import building
from unlabeled.records import StudyResult, read_as
from unlabeled.studies import GAIN, STUDIES

# The tensors of the tests are so small that a second thread only costs.
torch.set_num_threads(1)


# The studies at their smallest.
TINY_STUDIES = {
    "study": "all", "data": "digits", "preset": "quick", "folds": 2, "seeds": 2, "unlabeled": 150, "test": 80, "device": "cpu",
    "jobs": 1,
    "autoencoder": {"training": {"epochs": 1}},
    "network": {"learning_rates": [1e-2], "training": {"epochs": 2, "patience": 0}},
    "classical": {"trees": 4, "strengths": [0.01, 0.1], "boosting_iterations": 2, "neighbours": [3]},
    "studies": {
        "network": {
            "kernels": [3, 5], "filters": [4], "blocks": [1, 2, 5], "momenta": ["none", "rising", "dampening"],
            "optimizers": ["adam", "rmsprop"],
            "weight_decays": [5e-4], "activations": ["relu", "sigmoid"], "batch_sizes": [32], "pools": ["max", "average"],
            "sgd_rates": [0.1, 1e6], "training": {"epochs": 1}, "encoder": {"conv_out_channels": [4]},
        },
        "autoencoder": {
            "images": 60, "kernels": [3, 5], "paddings": [1, 3], "strides": [1, 2], "filters": [3, 40], "training": {"epochs": 2},
        },
        "finetune": {"labels": [10, 10000], "unlabeled": [50, 10000]},
        "stacked": {"filters": [3, 5], "noises": ["masking"]},
        "sparse": {"patches": 400, "hidden": 8, "iterations": 15, "rhos": [0.2], "betas": [30.0], "decays": [0.01],
                   "training": {"epochs": 3, "batch_size": 300}},
        "convolved": {"deep": [6, 5, 6], "unpooled": [4]},
        "joint": {"reconstruction": [1.0, 10.0], "between": [0.5]},
    },
}  # fmt: skip


# The main job nearly so.
TINY_GAIN = {
    "data": "digits",
    "preset": "quick",
    "folds": 2,
    "seeds": 2,
    "unlabeled": 120,
    "test": 60,
    "device": "cpu",
    "jobs": 1,
    "classifier": "small",
    "leave_out": ["scaled", "denoised-network"],
    "encoder": {"conv_out_channels": [4], "conv_kernel_size": 3, "conv_padding": 1},
    "autoencoder": {"training": {"epochs": 2}},
    "network": {"learning_rates": [1e-3, 1e-2], "training": {"epochs": 2}},
    "classical": {"trees": 5, "strengths": [0.01, 0.1]},
    "curve": {"labels": []},
}


# The main job with the strong network, one student and the baselines.
TINY_STRONG = {
    "preset": "quick", "folds": 2, "seeds": 3, "device": "cpu", "jobs": 1, "precision": "fp32",
    "leave_out": ["random", "pca", "frozen", "denoised", "consistency", "pretrained", "rotations"],
    "strong": {"widths": [4, 6], "training": {"steps": 6, "batch_size": 16}}, "classical": {"trees": 5, "strengths": [0.1]},
    "curve": {"labels": "none"},
}  # fmt: skip


# What takes longest to make, and is made once.
SHARED = ("finished_studies", "finished_gain", "finished_photos")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests of one finished folder in a row: a process makes it and goes on with it, while the other has those of none."""

    def rank(item: pytest.Item) -> int:
        wanted = getattr(item, "fixturenames", ())
        return next((number for number, name in enumerate(SHARED) if name in wanted), len(SHARED))

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def _compiles_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compile the kernels once for all tests, though most caches are new."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        yield
        return
    folder = shared_folder(tmp_path_factory, "compiled")
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("compiling.py")), str(folder), compiler]
    script = tmp_path_factory.mktemp("compiler") / "cc"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
    script.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", str(script))
        yield


@pytest.fixture
def compiled() -> None:
    """Leave out what only kernels can do, where there are none."""
    if building.kernels() is None:
        pytest.skip("this machine has no compiler, or UNLABELED_KERNELS=off")


@pytest.fixture(scope="session", autouse=True)
def _never_waits_for_the_disk() -> Iterator[None]:
    """Take every file for written; what survives a crash is tried by processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@contextmanager
def own_cache(factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give what is made for several tests the cache that each of them has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNLABELED_CACHE", str(factory.getbasetemp() / "cache"))
        yield


def shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """Return a folder that all processes of the tests see."""
    own = factory.getbasetemp()
    # pytest-xdist puts the processes' folders beside one another.
    place = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    place.mkdir(exist_ok=True)
    return place


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that is made once for all processes of the tests; each gets a copy of its own."""
    place = shared_folder(factory, f"made-{name}")
    with locked(place), own_cache(factory):
        if not (place / "whole").exists():
            shutil.rmtree(place / "run", ignore_errors=True)  # of a process that failed half way
            make(place / "run")
            (place / "whole").touch()
    return Path(shutil.copytree(place / "run", factory.mktemp(name) / "run"))


def copy_results(finished: Path, copy: Path) -> Path:
    """Copy a finished folder but for the single runs, of which there are hundreds and which no page reads."""
    return Path(shutil.copytree(finished, copy, ignore=shutil.ignore_patterns("runs")))


@pytest.fixture(scope="session")
def finished_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all studies, run once for all tests."""
    from unlabeled.presets import resolve
    from unlabeled.sources import load
    from unlabeled.studies.course import run_studies

    config = resolve(TINY_STUDIES)
    return made_once(tmp_path_factory, "studies", lambda folder: run_studies(config, load(config), folder=folder))


@pytest.fixture(scope="session")
def finished_gain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the main job, run once for all tests."""
    from unlabeled.presets import resolve
    from unlabeled.sources import load
    from unlabeled.studies.course import run_gain

    config = resolve(TINY_GAIN)
    return made_once(tmp_path_factory, "gain", lambda folder: run_gain(config, load(config), folder=folder))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three colours with noise; names with spaces, umlauts and a percent sign, and an unlabeled file that is no image."""
    folder, random = shared_folder(tmp_path_factory, "photos") / "a b", np.random.default_rng(0)

    def draw(path: Path, colour: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(random.normal(60, 30, (16, 16, 3)) + 120 * np.eye(3)[colour], 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(path)

    with locked(folder.parent):
        if folder.is_dir():
            return folder
        for colour, name in enumerate(("red", "grün", "b&w")):
            for number in range(24):
                draw(folder / "train" / name / f"{number}.png", colour)
            for number in range(6):
                draw(folder / "test" / name / f"{number}.png", colour)
        for number in range(30):
            draw(folder / "unlabeled" / f"ä 100% {number:02}.png", number % 3)
        (folder / "unlabeled" / "ä 100% 07a.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="session")
def finished_photos(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the main job on them, run once for all tests."""
    from unlabeled.presets import resolve
    from unlabeled.sources import load
    from unlabeled.studies.course import run_gain

    config = resolve(TINY_STRONG, {"data": f"folder:{photos}", "side": 16})
    return made_once(tmp_path_factory, "on-photos", lambda folder: run_gain(config, load(config), folder=folder))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache; all of a session share one."""
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    building.keep_in(None)  # what an earlier test in this process has named is no more


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences stand beside figures, which take most of the time."""
    from unlabeled.grammar import drawing, plots
    from unlabeled.report import document  # noqa: F401 - its import loads whatever draws

    for module in [module for name, module in sys.modules.items() if name.startswith("unlabeled.")]:
        for name, value in list(vars(module).items()):
            drawn = isfunction(value) and value.__module__ in (plots.__name__, drawing.__name__)
            if drawn and (name.endswith("_figure") or name in ("picture_row", "filter_sheet", "tile", "png")):
                monkeypatch.setattr(module, name, lambda *_, **__: "")


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def make_images(
    n: int = 30, shape: tuple[int, int, int] = (3, 9, 12), classes: int | None = 3, seed: int = 0
) -> Images:
    """Images that are not square, with classes of unequal size that a network can learn: a bright stripe each."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 90, (n, *shape), dtype=np.uint8)
    labels = None
    if classes is not None:
        labels = np.minimum(random.geometric(0.45, n) - 1, classes - 1).astype(np.int64)
        labels[:classes] = np.arange(classes)
        for image, label in zip(pixels, labels, strict=True):
            image[:, label * 2 : label * 2 + 2] = 220
    return Images(pixels, labels)


@pytest.fixture
def folder_of_images(tmp_path: Path) -> Path:
    """A small image folder: two classes, ten labeled images each, twelve unlabeled ones, six for the test."""
    from PIL import Image

    random = np.random.default_rng(3)
    root = tmp_path / "photos"
    for part, count in (("train/cat", 10), ("train/dog", 10), ("test/cat", 3), ("test/dog", 3), ("unlabeled/deep", 12)):
        (root / part).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 256, (20, 14, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / part / f"{number}.png")
    return root


def read_json(path: Path) -> Any:
    """What a file of JSON says; a result is verified."""
    return read_result(path.parent).content if path.name == "result.json" else files.read_json(path)


def write_json(path: Path, content: Any) -> None:
    """Put something else into a file of JSON; a result stays a sound one."""
    if path.name != "result.json":
        files.write_json(path, content)
    else:
        write_result(path.parent, content, read_result(path.parent).files if has_result(path.parent) else ())


def read_study(folder: Path) -> StudyResult:
    """A finished study, or the main job's answer."""
    return read_as(StudyResult, read_result(folder).content)


def read_findings(folder: Path, name: str = "gain") -> Any:
    """What a study found, as its own record."""
    kinds = {study.name: study.findings for study in (GAIN, *STUDIES)}
    return read_as(kinds[name], read_study(folder if name == "gain" else folder / name).findings)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    return files.parse_arrays(path, path.read_bytes())


def read_history(path: Path) -> list[dict[str, Any]]:
    return files.parse_history(path, path.read_bytes())
