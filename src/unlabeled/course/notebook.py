"""The studies, or the main job, as a Jupyter notebook that calls the package, executed."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from pydantic import ValidationError

from unlabeled.config.names import explain
from unlabeled.config.settings import EncoderConfig
from unlabeled.errors import UserError
from unlabeled.grammar.words import Language
from unlabeled.keeping.files import write_atomically
from unlabeled.records import StudyResult
from unlabeled.report.document import Document
from unlabeled.report.environment import reading

_MINUTES = 60
_SCRIPT = re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE)
_LONGEST_SOCKETS = 60


def write_notebook(folder: Path, code: str = "en", *, html: bool = False) -> Path:
    """Write ``notebook.ipynb``, or ``notebook.ru.ipynb``, into the studies' folder, executed, and return its path.

    Its cells load the images, call every study (whose finished runs are read, not repeated) and show its section. With ``html`` it is
    written as a page too, ``notebook.html``, whose path is returned.

    Raises
    ------
    UserError
        If the extra ``notebook`` is not installed, no study is there, or a cell fails.
    """
    try:
        import nbformat
    except ImportError as error:
        raise UserError(_missing(error)) from None
    document = Document(folder, code)
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    kinds = {"text": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    with reading(folder):
        cells = _cells(document)
    for number, (kind, source) in enumerate(cells):
        # Cells are named by their place, so that the same results give the same notebook.
        notebook.cells.append(kinds[kind](source, id=f"cell-{number}"))
    _execute(notebook)
    path = folder / ("notebook.ipynb" if code == "en" else f"notebook.{code}.ipynb")
    text = nbformat.writes(notebook)
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))
    return _write_html(notebook, path.with_suffix(".html")) if html else path


def _write_html(notebook: Any, path: Path) -> Path:
    """Write an executed notebook as a page that asks no other place for anything."""
    try:
        from nbconvert import HTMLExporter
    except ImportError as error:
        raise UserError(_missing(error)) from None
    # Left alone it loads scripts for widgets, formulas and diagrams, of which there are none.
    exporter = HTMLExporter(embed_images=True, require_js_url="", jquery_url="", mathjax_url="", mermaid_js_url="")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that pictures lack a second description beside their title
        text, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem}})
    write_atomically(path, lambda file: file.write(_SCRIPT.sub("", text).encode("utf-8")))
    return path


def _execute(notebook: Any) -> None:
    """Run the cells in this interpreter."""
    try:
        from ipykernel.kernelspec import get_kernel_dict
        from jupyter_client.kernelspec import KernelSpec
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
        from traitlets.config import Config
    except ImportError as error:
        raise UserError(_missing(error)) from None
    place = {"metadata": {"path": str(Path.cwd())}}
    with TemporaryDirectory(prefix="unlabeled-", dir=_short_folder()) as sockets:
        # Files in place of ports: nobody else on the machine can listen.
        options = Config({"ConnectionFileMixin": {"transport": "ipc", "ip": f"{sockets}/k"}})

        class OwnKernel(AsyncKernelManager):  # type: ignore[misc]
            """The interpreter that runs this, which has the package, whatever is called python3 elsewhere."""

            kernel_spec = KernelSpec(**get_kernel_dict())

        client = NotebookClient(
            notebook, config=options, kernel_manager_class=OwnKernel, timeout=60 * _MINUTES, kernel_name="python3",
            record_timing=False, resources=place,
        )  # fmt: skip
        try:
            client.execute()
        except CellExecutionError as error:
            raise UserError(f"a cell of the notebook failed: {error.ename}: {error.evalue}") from None
        except (CellTimeoutError, DeadKernelError, RuntimeError, OSError) as error:
            said = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UserError(
                f"the notebook's kernel ({sys.executable} -m ipykernel) ended or did not answer: {said}; see whether "
                f"{sys.executable} -m ipykernel --version works"
            ) from None


def _missing(error: ImportError) -> str:
    return f"a notebook needs {error.name}; install it with: pip install 'unlabeled[notebook]'"


def _short_folder() -> str | None:
    """Return where sockets can lie: the system takes about a hundred letters of their paths, whatever TMPDIR says."""
    usual = gettempdir()
    if len(usual) <= _LONGEST_SOCKETS:
        return None
    known = (os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp")
    return next((path for path in known if 0 < len(path) <= _LONGEST_SOCKETS and os.access(path, os.W_OK)), None)


def _cells(document: Document) -> list[tuple[str, str]]:
    """Return kinds and sources of the cells."""
    folder, language, results, told = document.folder, document.language, document.results, document.answer
    _ = language.gettext
    main, studies = _("What are the unlabeled images worth?"), _("Learning from unlabeled images: the studies")
    chosen = _chosen_encoder(results)
    whole = [name for name, result in results.items() if result.answered]
    if not whole:
        raise UserError(f"{folder}: no study came to an end here, so there is nothing for a notebook to show")
    first = whole[0]
    cells = [
        (
            "text",
            f"# {main if document.main else studies}\n\n{told.sentences}\n\n"
            + "\n".join(f"- {line}" for line in told.lines),
        ),
        ("text", _("Every cell calls the package; runs that are finished are read, not repeated.")),
        ("code", _first_cell(folder)),
        (
            "code",
            f"{_read_config(first)}\nsplits = ul.load(config, partly=True)\n"
            "len(splits.labeled), len(splits.unlabeled), len(splits.test), splits.labeled.shape, splits.class_names",
        ),
        (
            "text",
            _(
                "An autoencoder takes one specification and gives an image of the same size back; its encoder is the network's."
            ),
        ),
        ("code", f"autoencoder = ul.ConvAutoEncoder(splits.labeled.shape, {chosen})\nautoencoder"),
        ("code", "ul.ConvNet.from_encoder(autoencoder, classes=max(2, len(splits.class_names)))"),
    ]
    for name in results:
        cells += [
            ("text", _study_text(document, name)),
            ("code", _study_code(name, language, whole=name in whole)),
        ]
    answer = _("The answer")
    cells.append(("text", f"## {answer}\n\n{told.sentences}"))
    return cells


def _first_cell(folder: Path) -> str:
    return (
        "import os\nfrom pathlib import Path\n\nimport unlabeled as ul\n\n"
        "# Paths of results and images are those of the folder that the studies were run in.\n"
        f"os.chdir({str(Path.cwd())!r})\nfolder = Path({str(folder)!r})"
    )


def _chosen_encoder(results: Mapping[str, StudyResult]) -> str:
    """Write the arguments of the encoder that studies 4 and 5 used, or of the configuration's.

    A results folder may be a stranger's, and what is written here is run: so only an encoder's own fields, with values of their kinds.
    """
    known = [result for result in results.values() if result.findings is not None]
    encoder = next(
        (result.findings["encoder"] for result in known if result.findings and "encoder" in result.findings), None
    )
    if encoder is None:
        encoder = next((result.config["encoder"] for result in known if result.config), {})
    try:
        checked = EncoderConfig.model_validate(encoder)
    except ValidationError as error:
        raise UserError(f"the results' encoder is none: {explain(error)}; run the studies again") from None
    return ", ".join(
        f"{name}={value!r}" for name, value in checked.model_dump(mode="json").items() if value is not None
    )


def _study_text(document: Document, name: str) -> str:
    if document.main:
        return "## " + document.language.gettext("The ways compared")
    section = document.sections(name)[0]
    return f"## {section.title}\n\n{section.question}".rstrip()


def _study_code(name: str, language: Language, *, whole: bool) -> str:
    shown = f"ul.show(folder, {name!r}, {language.code!r})"
    if not whole:
        return shown
    if name == "gain":
        return f"{_read_config(name)}\nul.run_gain(config, ul.load(config), folder=folder)\n{shown}"
    # Each with its own configuration and images: studies can have been run apart.
    run = (
        f'ul.run_studies(config.model_copy(update={{"study": {name!r}}}), ul.load(config, partly=True), folder=folder)'
    )
    return f"{_read_config(name)}\n{run}\n{shown}"


def _read_config(name: str) -> str:
    # Where things lie is this machine's to say, not the results': a cache holds compiled code.
    place = "folder" if name == "gain" else f'folder / "{name}"'
    return f'config = ul.Config.model_validate(ul.read_result({place}).content["config"]).model_copy(update={{"cache": None}})'
