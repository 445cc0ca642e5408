"""Commands that go on with a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unlabeled.commands import say
from unlabeled.commands.data import CacheOption
from unlabeled.config import Lang

_MOST_NAMED = 10  # files that can't be read


def suggest(
    run: Annotated[Path, Parameter(help="Folder of a finished run of the main job.")], /, *,
    count: Annotated[int, Parameter(help="How many images to suggest.")] = 100,
    out: Annotated[Path | None, Parameter(help="Folder for the lists; left out, RUN/suggestions.")] = None,
    backtest: Annotated[
        bool, Parameter(help="Whether choosing so is tried on your own labels against random choice: two trainings a fold and seed.")
    ] = True,
    cache: CacheOption = None,
) -> None:  # fmt: skip
    """Say which unlabeled images to label next, and which labels look wrong: lists, a contact sheet, tasks for Label Studio."""
    from unlabeled.finished.suggesting import write_suggestions

    written = write_suggestions(run, count=count, out=out, backtest=backtest, cache=cache)
    for line in written.lines:
        say(line)


def explore(
    run: Annotated[Path, Parameter(help="Folder of a finished run of the main job.")], /, *,
    images: Annotated[int, Parameter(help="How many images the page shows at the most; of more it has a sample.")] = 20_000,
    count: Annotated[int, Parameter(help="How many images to label next it names.")] = 50,
    lang: Annotated[Lang, Parameter(help="Language of the page.")] = "en",
    out: Annotated[Path | None, Parameter(help="File to write; left out, explore.html in the run's folder.")] = None,
    cache: CacheOption = None,
) -> None:  # fmt: skip
    """Write a page to explore what the classifier sees: a map of the images, each with its neighbours, and lists worth a look."""
    from unlabeled.finished.exploring import explore as write

    path = write(run, images=images, count=count, lang=lang, out=out, cache=cache)
    say(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


def predict(
    run: Annotated[Path, Parameter(help="Folder of a finished run, or of a classifier.")],
    images: Annotated[tuple[str, ...], Parameter(help="Files, folders (images at any depth), or patterns like 'photos/*.jpg'.")], /, *,
    out: Annotated[Path | None, Parameter(help="A .csv, .json or .parquet file; left out, a line an image is printed.")] = None,
    top: Annotated[int, Parameter(help="How many classes to tell of each image.")] = 3,
    none_below: Annotated[
        float | None, Parameter(help="Probability of the likeliest class below which an image counts as none of the classes.")
    ] = None,
    copy_to: Annotated[Path | None, Parameter(help="Folder to copy the files into, a folder a class.")] = None,
    device: Annotated[str, Parameter(help="Where to compute: auto, cpu, cuda, mps.")] = "auto",
) -> None:  # fmt: skip
    """Classify images of any size by the classifier of a finished run."""
    from unlabeled.finished.predicting import NONE, classify

    found = classify(run, images, out=out, top=top, none_below=none_below, copy_to=copy_to, tell=say, device=device)
    if out is not None or copy_to is not None:
        for name, count in found.counts.items():
            say(f"{count:>9,}  {name}")
    if none_below is not None:
        say(f"{found.none:>9,}  {NONE} ({100 * found.none / max(1, found.total):.1f} %)")
    for path, reason in found.problems[:_MOST_NAMED]:
        say(f"skipped, can't be read: {path} ({reason})")
    if len(found.problems) > _MOST_NAMED:
        say(f"and {len(found.problems) - _MOST_NAMED:,} more that can't be read")
    if out is not None:
        say(f"{found.total:,} images: {out}")


def export(
    run: Annotated[Path, Parameter(help="Folder of a finished run, or of a classifier.")], /, *,
    out: Annotated[Path | None, Parameter(help="File to write; left out, model.onnx in the classifier's folder.")] = None,
    onnx: Annotated[bool, Parameter(help="ONNX (needs the extra, unlabeled[onnx]); --no-onnx writes a program of torch.export.")] = True,
    encoder: Annotated[bool, Parameter(help="The encoder alone: codes come out, in place of probabilities.")] = False,
) -> None:  # fmt: skip
    """Write the classifier as one graph: images uint8 (n, height, width, 3) of any size in, probabilities out."""
    from unlabeled.finished.exporting import export as write

    path, off = write(run, out=out, onnx=onnx, encoder=encoder)
    say(f"{path}: the same numbers as in PyTorch to {off:.1g} on the images kept with the classifier")
