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
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter, UnknownOptionError
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from unlabeled import commands
from unlabeled.commands import load_images, say
from unlabeled.commands.data import ArchiveOption, data_app
from unlabeled.commands.finished import explore, export, predict, suggest
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


app = App(
    name="unlabeled",
    console=commands.out,
    suppress_keyboard_interrupt=False,
    help="What are your unlabeled images worth to your classifier?",
    help_format="plaintext",
    default_parameter=Parameter(negative_iterable=(), consume_multiple=True),
)
app.command(data_app)
app.command(suggest)
app.command(explore)
app.command(predict)
app.command(export)

_StudiesArgument = Annotated[
    Path | None, Parameter(help="Folder of finished studies; left out, the one of runs/ that was written last.")
]


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
    archive: ArchiveOption = None,
) -> None:
    """Measure what the unlabeled images are worth, and write the report.

    A run that was interrupted goes on where it was; finished parts are never repeated. Defaults below are those of
    the preset "standard"; options win over --config, and both over the preset.
    """
    given = options.in_full(given=True) if options else {}
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
        raise UserError(
            "unlabeled run uses one process; under torchrun use unlabeled train, or unlabeled.fit in a script"
        )
    _run(resolved)


@app.command
def train(
    model: Annotated[str, Parameter(help="autoencoder, network, student or consistency.")],
    /,
    *,
    options: Annotated[Config | None, Parameter(name="*")] = None,
) -> None:
    """Train one model on all labels, also under torchrun: no folds, no comparison.

    Options are those of run. A training that was interrupted, or whose processes torchrun starts again, goes on from its checkpoint.
    """
    from typing import cast

    from unlabeled.finished.training import Model, train_large

    given = options.in_full(given=True) if options else {}
    config = resolve(given)
    if config.out is None:
        config = config.model_copy(update={"out": Path("runs") / f"{config.data_name}-{model}"})
    written = train_large(cast("Model", model), config, load_images(config, partly=True))
    if int(os.environ.get("RANK", "0")) == 0:
        say(written)


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

    say(write_report(run, lang))


@app.command
def notebook(
    run: _StudiesArgument = None, /, *,
    lang: Annotated[Lang, Parameter(help="Language: en or ru.")] = "en",
    html: Annotated[bool, Parameter(help="Write it as a page too, notebook.html.", negative="")] = False,
) -> None:  # fmt: skip
    """Write an executed Jupyter notebook that calls the package; needs the extra, unlabeled[notebook]."""
    from unlabeled.course.notebook import write_notebook

    say(write_notebook(_studies(run), lang, html=html))


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

    say(write_bundle(_studies(run), surname=surname, name=name, code=lang, out=out))


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

        print_help(commands.out, everything="all" in arguments)
        return
    given = separate(arguments) if arguments[:1] in (["run"], ["train"]) else arguments
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

    document = Document(run_gain(config, load_images(config), folder=config.folder), config.lang)
    path = write_page(document)
    ways = next(part for part in document.sections("gain")[0].parts if isinstance(part, TableOfReport))
    Console(width=max(commands.out.width, 92), emoji=False).print(_plain_table(ways))
    say(document.answer.sentences)
    for line in document.answer.lines:
        say(f"  {line}")
    commands.out.print()
    say(f"report: {path}")
    _keep(config.folder, config.cache)


def _keep(folder: Path, cache: Path | None) -> None:
    """Make the classifier, where a network was run; the answer is there in any case."""
    from unlabeled.finished.keeping import keep_classifier

    try:
        say(f"classifier: {keep_classifier(folder, cache=cache)}")
    except UserError as error:
        say(f"no classifier is kept: {error}")


def _run_studies(config: Config) -> None:
    from unlabeled.report.document import Document
    from unlabeled.report.page import write_page
    from unlabeled.studies.course import run_studies

    document = Document(run_studies(config, load_images(config, partly=True), folder=config.folder), config.lang)
    for name in document.results if config.study == "all" else (config.study,):
        for section in document.sections(name):
            commands.out.print()
            say(section.title)
            for line in section.conclusion or section.setup:
                say(f"  {line}")
    if config.study == "all":
        commands.out.print()
        say(document.answer.sentences)
    path = write_page(document)
    commands.out.print()
    say(document.language.gettext("Report: {path}").format(path=path))


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
