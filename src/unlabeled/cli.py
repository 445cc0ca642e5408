"""The command line, thin: it reads options, calls the package, and turns errors into one line and a status.

Status 0: done. 2: a mistake of the user's. 130, 143, 129: interrupted, terminated, hung up; what was finished is kept.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter, UnknownOptionError
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlabeled.config import PLUGINS, Config, Lang
from unlabeled.config.names import explain, separate, suggestion
from unlabeled.console.ending import (
    Ended,
    Escaping,
    interruptible,
    is_out_of_memory,
    silence_output,
    what_the_system_says,
)
from unlabeled.console.plain import printable, tolerate_output
from unlabeled.errors import UserError
from unlabeled.presets import read_file, resolve

if TYPE_CHECKING:
    from unlabeled.grammar.parts import Table as TableOfReport
    from unlabeled.images import Splits


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to ``main``: whoever has read enough of the output has made no mistake."""
        raise BrokenPipeError


_out = _Console(highlight=False)
app = App(
    name="unlabeled",
    console=_out,
    suppress_keyboard_interrupt=False,
    help="What are your unlabeled images worth to your classifier?",
    help_format="plaintext",
    default_parameter=Parameter(negative_iterable=(), consume_multiple=True),
)
data_app = App(name="data", help="Look at image sources: fetch, verify, show, sheet, draw.")
app.command(data_app)

_DataOption = Annotated[str, Parameter(help="shapes, digits, stl10, stl10:PATH or folder:PATH.")]
_CacheOption = Annotated[
    Path | None,
    Parameter(help="Folder for shrunken images and downloads; left out, the user's cache folder or UNLABELED_CACHE."),
]
_SideOption = Annotated[
    str | None,
    Parameter(help="Size of the shrunken images, pixels: one side, or WIDTHxHEIGHT; left out, 32 (8 for digits)."),
]
_FitOption = Annotated[
    Literal["crop", "pad", "stretch"],
    Parameter(help="What becomes of images of other proportions: cut to their middle, padded, or stretched."),
]
_StudiesArgument = Annotated[
    Path | None, Parameter(help="Folder of finished studies; left out, the one of runs/ that was written last.")
]
_ArchiveOption = Annotated[Path | None, Parameter(help="A copy of stl10_binary.tar.gz that is already at hand.")]


@app.command
def run(
    *,
    options: Annotated[Config | None, Parameter(name="*")] = None,
    config: Annotated[
        Path | None,
        Parameter(
            help="TOML file with the same names: top-level ones, and a table for each section, like [network.training]."
        ),
    ] = None,
    archive: _ArchiveOption = None,
) -> None:
    """Measure what the unlabeled images are worth, and write the report.

    A run that was interrupted goes on where it was; finished parts are never repeated. Defaults below are those of
    the preset "standard"; options win over --config, and both over the preset.
    """
    given = options.model_dump(exclude_unset=True) if options else {}
    layers = [read_file(config) if config else {}, given]
    try:
        resolved = resolve(*layers)
    except UserError as error:
        raise UserError(f"{config}: {error}" if config and _is_the_files(error, layers[0]) else str(error)) from None
    if archive is not None:
        if resolved.data != "stl10":
            raise UserError(f"--archive goes with --data stl10, not with --data {resolved.data}")
        resolved = resolve(*layers, {"data": f"stl10:{archive}"})
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("unlabeled run uses one process; under torchrun call unlabeled.fit from a script of your own")
    _run(resolved)


def _is_the_files(error: UserError, layer: dict[str, Any]) -> bool:
    """Tell whether a configuration is refused for what its file says."""
    try:
        resolve(layer)
    except UserError as found:
        return str(found) == str(error)
    return False


@app.command
def report(
    run: Annotated[Path, Parameter(help="Folder of a finished run.")], /, *,
    lang: Annotated[Lang, Parameter(help="Language: en or ru.")] = "en",
) -> None:  # fmt: skip
    """Write the report anew from the results of a finished run; in Russian it is report.ru.html."""
    from unlabeled.report.page import write_report

    _say(write_report(run, lang))


@app.command
def notebook(
    run: _StudiesArgument = None, /, *,
    lang: Annotated[Lang, Parameter(help="Language: en or ru.")] = "en",
) -> None:  # fmt: skip
    """Write an executed Jupyter notebook that calls the package; needs the extra, unlabeled[notebook]."""
    from unlabeled.course.notebook import write_notebook

    _say(write_notebook(_studies(run), lang))


@app.command
def bundle(
    run: _StudiesArgument = None, /, *,
    surname: Annotated[str, Parameter(help="Surname of the student.")],
    name: Annotated[str, Parameter(help="First name of the student.")],
    lang: Annotated[Lang, Parameter(help="Language of notebook and report: en or ru.")] = "en",
    out: Annotated[Path, Parameter(help="Folder for the archive.")] = Path(),
) -> None:  # fmt: skip
    """Write task1_SURNAME_NAME.zip, as the course asks for it: report, notebook, modules and results."""
    from unlabeled.course.bundle import write_bundle

    _say(write_bundle(_studies(run), surname=surname, name=name, code=lang, out=out))


@data_app.command
def fetch(*, archive: _ArchiveOption = None, cache: _CacheOption = None) -> None:
    """Download STL-10 (2.6 GB, goes on where it broke off), or check a copy at hand."""
    from unlabeled.images.store import cache_folder
    from unlabeled.sources.download import fetch_stl10

    if archive is not None:
        verify(archive)
        return
    _say(fetch_stl10(cache_folder(cache)))


@data_app.command
def verify(path: Annotated[Path, Parameter(help="STL-10's archive, or the folder with its files.")], /) -> None:
    """Compare STL-10's files with the official sizes and checksums."""
    from unlabeled.sources import stl10

    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    findings = stl10.verify(path)
    if findings:
        raise UserError("; ".join(findings))
    _say(f"{path}: sizes and checksums are the official ones")


@data_app.command
def show(
    *, data: _DataOption = "shapes", side: _SideOption = None, fit: _FitOption = "crop", cache: _CacheOption = None,
    leaks: Annotated[Literal["drop", "keep"], Parameter(help="Whether leaks are dropped.")] = "drop",
) -> None:  # fmt: skip
    """Show counts, classes, folds and leaks."""
    splits = _load(resolve({"data": data, "side": side, "fit": fit, "cache": cache, "leaks": leaks, "preset": "quick"}))
    channels, height, width = splits.labeled.shape
    _say(f"{data}: images of {width}x{height}, {channels} channel{'s' * (channels > 1)}")
    for name, images in (("labeled", splits.labeled), ("unlabeled", splits.unlabeled), ("test", splits.test)):
        _out.print(f"{name:>10}  {len(images):>9,}")
    table = Table("class", "labeled", "test", box=None, padding=(0, 2))
    for number, name in enumerate(splits.class_names):
        counts = [f"{int((images.classes == number).sum()):,}" for images in (splits.labeled, splits.test)]
        table.add_row(Text(name), *counts)
    _out.print(table)
    sizes = sorted({len(fold) for fold in splits.folds})
    folds = f"{len(splits.folds)} of its own, of {sizes[0]:,} to {sizes[-1]:,} images" if sizes else "none of its own"
    _out.print(f"folds: {folds}")
    overlaps = splits.leaks
    _out.print(
        f"exact copies: {overlaps.unlabeled_in_test:,} unlabeled images in test, {overlaps.unlabeled_in_labeled:,} among the labeled; "
        f"{overlaps.labeled_in_test:,} labeled images stand in test; {'dropped' if overlaps.policy == 'drop' else 'kept'}",
        soft_wrap=True,
    )
    near = splits.near
    _out.print(
        f"near-copies: {near.unlabeled_in_test:,} unlabeled and {near.labeled_in_test:,} labeled images of {near.test_in_others:,} test "
        f"images; {'dropped' if near.policy == 'drop' else 'kept'}",
        soft_wrap=True,
    )
    for note in splits.notes:
        _say(note)


@data_app.command
def sheet(
    out: Annotated[Path, Parameter(help="PNG file to write.")], /, *,
    data: _DataOption = "shapes", side: _SideOption = None, fit: _FitOption = "crop", cache: _CacheOption = None,
) -> None:  # fmt: skip
    """Write a contact sheet: ten images of every class (of 20 at the most), and unlabeled ones."""
    from unlabeled.report.sheet import write_sheet

    write_sheet(out, _load(resolve({"data": data, "side": side, "fit": fit, "cache": cache, "preset": "quick"})))
    _say(out)


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
    _say(out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and leave with its status."""
    tolerate_output()
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - until the end
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Escaping("%(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("unlabeled").setLevel(logging.INFO)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with interruptible():
            _dispatch(given)
            sys.stdout.flush()
    except CycloptsError as error:
        _fail(_what_is_wrong(error))
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt as error:
        how, status = error.args if isinstance(error, Ended) else ("interrupted", 130)
        print(f"\n{how}; what was finished is kept, and the same command goes on from there", file=sys.stderr)
        raise SystemExit(status) from None
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more on leaving.
        silence_output()
        raise SystemExit(0) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _fail("out of memory; take smaller images (--side), networks or batches, or fewer runs at a time (--jobs 1)")
    except OSError as error:
        _fail(what_the_system_says(error))


def _dispatch(arguments: list[str]) -> None:
    """Call the command, or print the help of ``run``, which is written from the configuration."""
    if arguments[:1] == ["run"] and entry_points(group=PLUGINS):
        # Their options are the command's; without any there is nothing to wait for.
        import unlabeled.methods  # noqa: F401
    if arguments[:1] == ["run"] and {"--help", "-h"} & set(arguments):
        from unlabeled.config.options import print_help

        print_help(_out, everything="all" in arguments)
        return
    given = separate(arguments) if arguments[:1] == ["run"] else arguments
    app(given, exit_on_error=False, print_error=False, result_action="return_value")


def _run(config: Config) -> None:
    """Load, run, report, and say the answer."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    if config.study == "gain":
        _run_gain(config)
    else:
        _run_studies(config)


def _run_gain(config: Config) -> None:
    from unlabeled.grammar.parts import Table as TableOfReport
    from unlabeled.report.document import Document
    from unlabeled.report.page import write_page
    from unlabeled.studies.course import run_gain

    document = Document(run_gain(config, _load(config), folder=config.folder), config.lang)
    path = write_page(document)
    ways = next(part for part in document.sections("gain")[0].parts if isinstance(part, TableOfReport))
    Console(width=max(_out.width, 92)).print(_plain_table(ways))
    _say(document.answer.sentences)
    for line in document.answer.lines:
        _say(f"  {line}")
    _out.print()
    _say(f"report: {path}")


def _run_studies(config: Config) -> None:
    from unlabeled.report.document import Document
    from unlabeled.report.page import write_page
    from unlabeled.studies.course import run_studies

    document = Document(run_studies(config, _load(config, partly=True), folder=config.folder), config.lang)
    for name in document.results if config.study == "all" else (config.study,):
        for section in document.sections(name):
            _out.print()
            _say(section.title)
            for line in section.conclusion or section.setup:
                _say(f"  {line}")
    if config.study == "all":
        _out.print()
        _say(document.answer.sentences)
    path = write_page(document)
    _out.print()
    _say(document.language.gettext("Report: {path}").format(path=path))


def _studies(run: Path | None) -> Path:
    """Return the folder given, or the last one where studies were finished."""
    if run is not None:
        return run
    results = sorted(Path("runs").glob("*/*/result.json"), key=lambda path: path.stat().st_mtime)
    if not results:
        raise UserError("runs: no study was finished there; run unlabeled run --study all first, or give the folder")
    return results[-1].parent.parent


def _plain_table(shown: TableOfReport) -> Table:
    """Return a table of the report for the terminal."""
    table = Table(*shown.heads, box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in shown.rows:
        table.add_row(*(cell if isinstance(cell, str) else cell.text for cell in row))
    return table


def _load(config: Config, *, partly: bool = False) -> Splits:
    from unlabeled.sources import load

    return load(config, partly=partly)


def _say(text: object) -> None:
    """Print a line as it is: names in it are neither markup nor control characters."""
    _out.print(printable(str(text)), soft_wrap=True, markup=False)


def _what_is_wrong(error: CycloptsError) -> str:
    """Say it in the configuration's own words where the configuration refused a value."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ValidationError):
            return explain(cause)
        cause = cause.__cause__
    if isinstance(error, UnknownOptionError) and "run" in (error.command_chain or ()):
        name = (error.token.keyword or error.token.value).partition("=")[0]
        return f"unknown option {name}{suggestion(name) or '; unlabeled run --help all shows every option'}"
    return " ".join(str(error).replace("│", " ").split())


def _fail(message: str) -> None:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        silence_output()
    with suppress(OSError, ValueError):
        print(f"error: {printable(message)}", file=sys.stderr, flush=True)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
