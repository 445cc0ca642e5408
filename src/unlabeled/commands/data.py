"""Commands that look at image sources."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from unlabeled import commands
from unlabeled.commands import load_images, say
from unlabeled.errors import UserError
from unlabeled.presets import resolve

data_app = App(name="data", help="Look at image sources: fetch, verify, show, sheet, draw, pack.")

DataOption = Annotated[
    str,
    Parameter(
        help="shapes, digits, stl10, stl10:PATH, folder:PATH, table:FILE, coco:FILE, arrays:FILE, hf:FOLDER, idx:FOLDER, cifar:FOLDER or "
        "shards:FOLDER."
    ),
]
CacheOption = Annotated[
    Path | None,
    Parameter(help="Folder for shrunken images and downloads; left out, the user's cache folder or UNLABELED_CACHE."),
]
SideOption = Annotated[
    str | None,
    Parameter(help="Size of the shrunken images, pixels: one side, or WIDTHxHEIGHT; left out, 32 (8 for digits)."),
]
FitOption = Annotated[
    Literal["crop", "pad", "stretch"],
    Parameter(help="What becomes of images of other proportions: cut to their middle, padded, or stretched."),
]
ArchiveOption = Annotated[Path | None, Parameter(help="A copy of stl10_binary.tar.gz that is already at hand.")]


@data_app.command
def fetch(*, archive: ArchiveOption = None, cache: CacheOption = None) -> None:
    """Download STL-10 (2.6 GB, goes on where it broke off), or check a copy at hand."""
    from unlabeled.images.store import cache_folder
    from unlabeled.sources.download import fetch_stl10

    if archive is not None:
        verify(archive)
        return
    say(fetch_stl10(cache_folder(cache)))


@data_app.command
def verify(path: Annotated[Path, Parameter(help="STL-10's archive, or the folder with its files.")], /) -> None:
    """Compare STL-10's files with the official sizes and checksums."""
    from unlabeled.sources import stl10

    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    findings = stl10.verify(path)
    if findings:
        raise UserError("; ".join(findings))
    say(f"{path}: sizes and checksums are the official ones")


@data_app.command
def show(
    *, data: DataOption = "shapes", side: SideOption = None, fit: FitOption = "crop", cache: CacheOption = None,
    leaks: Annotated[Literal["drop", "keep"], Parameter(help="Whether leaks are dropped.")] = "drop",
) -> None:  # fmt: skip
    """Show counts, classes, folds and leaks."""
    splits = load_images(
        resolve({"data": data, "side": side, "fit": fit, "cache": cache, "leaks": leaks, "preset": "quick"}),
        partly=True,
    )
    channels, height, width = splits.labeled.shape
    say(f"{data}: images of {width}x{height}, {channels} channel{'s' * (channels > 1)}")
    for name, images in (("labeled", splits.labeled), ("unlabeled", splits.unlabeled), ("test", splits.test)):
        commands.out.print(f"{name:>10}  {len(images):>9,}")
    table = Table("class", "labeled", "test", box=None, padding=(0, 2))
    for number, name in enumerate(splits.class_names):
        counts = [f"{int((images.classes == number).sum()):,}" for images in (splits.labeled, splits.test)]
        table.add_row(Text(name), *counts)
    commands.out.print(table)
    sizes = sorted({len(fold) for fold in splits.folds})
    folds = f"{len(splits.folds)} of its own, of {sizes[0]:,} to {sizes[-1]:,} images" if sizes else "none of its own"
    commands.out.print(f"folds: {folds}")
    overlaps = splits.leaks
    commands.out.print(
        f"exact copies: {overlaps.unlabeled_in_test:,} unlabeled images in test, {overlaps.unlabeled_in_labeled:,} among the labeled; "
        f"{overlaps.labeled_in_test:,} labeled images stand in test; {'dropped' if overlaps.policy == 'drop' else 'kept'}",
        soft_wrap=True,
    )
    near = splits.near
    commands.out.print(
        f"near-copies: {near.unlabeled_in_test:,} unlabeled and {near.labeled_in_test:,} labeled images of {near.test_in_others:,} test "
        f"images; {'dropped' if near.policy == 'drop' else 'kept'}",
        soft_wrap=True,
    )
    for note in splits.notes:
        say(note)


@data_app.command
def sheet(
    out: Annotated[Path, Parameter(help="PNG file to write.")], /, *,
    data: DataOption = "shapes", side: SideOption = None, fit: FitOption = "crop", cache: CacheOption = None,
) -> None:  # fmt: skip
    """Write a contact sheet: ten images of every class (of 20 at the most), and unlabeled ones."""
    from unlabeled.report.sheet import write_sheet

    options = {"data": data, "side": side, "fit": fit, "cache": cache, "preset": "quick"}
    write_sheet(out, load_images(resolve(options), partly=True))
    say(out)


@data_app.command
def pack(
    out: Annotated[Path, Parameter(help="Folder to write shards and their index into.")], /, *,
    data: DataOption = "shapes", side: SideOption = None, fit: FitOption = "crop", cache: CacheOption = None,
    leaks: Annotated[Literal["drop", "keep"], Parameter(help="Whether exact copies are dropped.")] = "drop",
    near: Annotated[Literal["drop", "keep"], Parameter(help="Whether near-copies of test images are dropped.")] = "drop",
    shard_mib: Annotated[int, Parameter(help="Pixels of one shard, MiB, about.")] = 128,
) -> None:  # fmt: skip
    """Write the shrunken images as shards: files to read over a network, or from more than one disk, as shards:FOLDER or shards:ADDRESS."""
    from unlabeled.images.shards import pack as write

    if shard_mib < 1:
        raise UserError(f"--shard-mib {shard_mib}: give 1 or more")
    options = {"data": data, "side": side, "fit": fit, "cache": cache, "leaks": leaks, "near": near, "preset": "quick"}
    say(write(load_images(resolve(options), partly=True), out, shard_bytes=shard_mib << 20))


@data_app.command
def draw(
    out: Annotated[Path, Parameter(help="Folder to write stl10_binary's files into.")], /, *,
    train: Annotated[int, Parameter(help="Labeled images.")] = 5000,
    test: Annotated[int, Parameter(help="Test images.")] = 8000,
    unlabeled: Annotated[int, Parameter(help="Unlabeled images.")] = 100_000,
    seed: Annotated[int, Parameter(help="Seed of the drawing.")] = 0,
) -> None:  # fmt: skip
    """Draw the shapes data set in the binary layout of STL-10, by default in its full size (3.1 GB)."""
    from unlabeled.sources.shapes import write_shapes

    shapes = {"train": train, "test": test, "unlabeled": unlabeled, "seed": seed}
    try:
        wanted = resolve({"shapes": shapes}).shapes
    except UserError as error:
        raise UserError(str(error).replace("--shapes.", "--")) from None
    write_shapes(out, wanted)
    say(out)
