"""What several test modules need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unlabeled.images import Images

# The tensors of the tests are so small that a second thread only costs.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache; all of a session share one."""
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


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
