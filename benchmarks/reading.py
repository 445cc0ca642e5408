"""pipeline and folder: from files to a trained epoch, and from JPEG files to the store, against a DataLoader.

Every contender runs in a process of its own, so that its peak memory is its own:
``python -m benchmarks.reading CONTENDER PATH`` prints one line of JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.drawing import draw_images
from benchmarks.measuring import Contender, Outcome, Row, compare, take_turns
from benchmarks.training import CASES, HELD_OUT, fit_ours, loss_of_ours
from unlabeled.sources.stl10 import stl10_writer

SIDE = 32


def run_pipeline(*, images: int, repeats: int) -> list[Row]:
    """Measure from an STL-10 file to the end of the first epoch of ae1."""
    with tempfile.TemporaryDirectory() as folder:
        _write_stl10(Path(folder), images)
        return _run("pipeline", "pipeline", Path(folder), images=images, repeats=repeats, goal=6.0)


def run_folder(*, folder: Path | None, images: int, repeats: int) -> list[Row]:
    """Measure from JPEG files to the store; without a folder of images, some are drawn."""
    with tempfile.TemporaryDirectory() as drawn:
        if folder is None:
            folder = Path(drawn)
            _write_jpegs(folder, images)
        found = sum(1 for _ in folder.rglob("*.jpg"))
        return _run("folder", "folder", folder, images=found, repeats=repeats, goal=3.0)


def _run(case: str, kind: str, path: Path, *, images: int, repeats: int, goal: float) -> list[Row]:
    memory: dict[str, list[float]] = {}

    def contender(name: str) -> Contender:
        def run() -> Outcome:
            found = _apart(f"{kind}-{name}", path)
            memory.setdefault(name, []).append(found["peak_mb"])
            return Outcome(images, found["seconds"], found["loss"])

        return run

    outcomes = take_turns(
        {"DataLoader, 2 workers": contender("rival"), "unlabeled": contender("ours")}, repeats, warmups={}
    )
    rows = compare(case, outcomes, rival="DataLoader, 2 workers", goal=goal)
    bare = _apart("nothing", path)["peak_mb"]
    for row, name in zip(rows, ("rival", "ours"), strict=True):
        row.more["mb_above_torch"] = max(memory[name]) - bare
        row.note = f"peak {row.more['mb_above_torch']:,.0f} MB above torch's own"
    return rows


def _apart(name: str, path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reading", name, str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"benchmarks.reading {name} failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _write_stl10(folder: Path, images: int) -> None:
    drawn = draw_images(min(images, 2_000), side=96)
    with stl10_writer(folder) as writer:
        for start in range(0, images, 2_000):
            # Every image differs from the others: none is dropped as a copy.
            pixels = drawn.pixels[: min(2_000, images - start)].copy()
            pixels[:, 0, 0, :4] = np.frombuffer(np.int32(start).tobytes(), dtype=np.uint8)
            writer.append("unlabeled", pixels)


def _write_jpegs(folder: Path, images: int) -> None:
    data = draw_images(images, side=SIDE)
    for number, (pixels, label) in enumerate(zip(data.pixels, data.classes, strict=True)):
        part = "unlabeled" if number % 10 else f"train/{label}"
        (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / part / f"{number}.jpg", quality=90)


# ---- what one would write with torchvision, whose transforms are spelled out here ----


def _transform(image: Image.Image) -> torch.Tensor:
    """Do what Resize, ToTensor and Normalize do."""
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    tensor = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
    mean, deviation = torch.tensor([0.5, 0.5, 0.5]).view(-1, 1, 1), torch.tensor([0.5, 0.5, 0.5]).view(-1, 1, 1)
    return tensor.sub_(mean).div_(deviation)


class STL10Dataset(Dataset[torch.Tensor]):
    """The file in memory, as torchvision's STL10 has it; an image is one of Pillow's."""

    def __init__(self, path: Path) -> None:
        flat = np.fromfile(path / "unlabeled_X.bin", dtype=np.uint8)
        self.data = np.transpose(flat.reshape(-1, 3, 96, 96), (0, 1, 3, 2))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> torch.Tensor:
        return _transform(Image.fromarray(np.transpose(self.data[index], (1, 2, 0))))


class FolderDataset(Dataset[torch.Tensor]):
    """JPEG files, as torchvision's ImageFolder reads them."""

    def __init__(self, path: Path) -> None:
        self.files = sorted(path.rglob("*.jpg"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        with self.files[index].open("rb") as file:
            return _transform(Image.open(file).convert("RGB"))


def _pipeline_rival(path: Path) -> nn.Module:
    model = CASES["ae1"].plain()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for x in DataLoader(STL10Dataset(path), batch_size=128, shuffle=True, num_workers=2):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), x)
        loss.backward()
        optimizer.step()
    return model


def _pipeline_ours(path: Path) -> nn.Module:
    from unlabeled.images.fitting import Wanted
    from unlabeled.images.store import open_store
    from unlabeled.sources.stl10 import store_stl10

    with tempfile.TemporaryDirectory() as cache:
        splits = open_store(store_stl10(path, Path(cache), Wanted((SIDE, SIDE)), partly=True))
        model = CASES["ae1"].ours()
        fit_ours(CASES["ae1"], model, splits.unlabeled)
        return model


def _folder_rival(path: Path) -> None:
    for _ in DataLoader(FolderDataset(path), batch_size=256, num_workers=2):
        pass


def _folder_ours(path: Path) -> None:
    from unlabeled.images.fitting import Wanted
    from unlabeled.sources.folder import store_folder

    with tempfile.TemporaryDirectory() as cache:
        store_folder(path, Path(cache), Wanted((SIDE, SIDE)), partly=True)


CONTENDERS: dict[str, Callable[[Path], nn.Module | None]] = {
    "pipeline-rival": _pipeline_rival,
    "pipeline-ours": _pipeline_ours,
    "folder-rival": _folder_rival,
    "folder-ours": _folder_ours,
    "nothing": lambda path: None,
}


def main() -> None:
    """Run one contender, and print what it took."""
    name, path = sys.argv[1], Path(sys.argv[2])
    start = time.perf_counter()
    model = CONTENDERS[name](path)
    seconds, peak = time.perf_counter() - start, _peak_memory()
    held_out = draw_images(HELD_OUT, seed=1)
    loss = None if model is None else loss_of_ours(CASES["ae1"], model, held_out)
    print(json.dumps({"seconds": seconds, "loss": loss, "peak_mb": peak}))


def _peak_memory() -> float:
    """Return the most memory held, in MB, this process's own: Linux's ru_maxrss begins with that of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()
