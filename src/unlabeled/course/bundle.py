"""The archive that the course asks for: report, notebook, modules and results in one file."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import unlabeled
from unlabeled.course.notebook import write_notebook
from unlabeled.errors import UserError
from unlabeled.keeping.files import write_atomically
from unlabeled.report.document import read_results
from unlabeled.report.page import write_report

# One date for all members: the same content gives the same archive.
_DATE = (2000, 1, 1, 0, 0, 0)
_SOURCES = (".py", ".c", ".j2", ".css", ".po")


def write_bundle(folder: Path, *, surname: str, name: str, code: str = "en", out: Path = Path()) -> Path:
    """Write ``task1_SURNAME_NAME.zip`` and return its path.

    It holds the report and the executed notebook (both written anew), the studies' results, and the package's modules.

    Raises
    ------
    UserError
        If a name can't be part of a file's name, no study is there, or the notebook can't be made.
    """
    path = out / f"task1_{_checked('surname', surname)}_{_checked('name', name)}.zip"
    report, notebook = write_report(folder, code), write_notebook(folder, code)
    out.mkdir(parents=True, exist_ok=True)
    members = sorted(_members(folder, report, notebook))

    def write(file: object) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
            for inside, content in members:
                archive.writestr(zipfile.ZipInfo(inside, _DATE), content, zipfile.ZIP_DEFLATED)

    write_atomically(path, write)
    return path


def _members(folder: Path, report: Path, notebook: Path) -> Iterator[tuple[str, bytes]]:
    for path in (report, notebook):
        yield path.name, path.read_bytes()
    for study in read_results(folder):
        place = folder if study == "gain" else folder / study
        yield f"results/{study}.json", (place / "result.json").read_bytes()
    package = Path(unlabeled.__file__).parent
    for path in package.rglob("*"):
        if path.suffix in _SOURCES and path.is_file():
            yield f"unlabeled/{path.relative_to(package).as_posix()}", path.read_bytes()


def _checked(what: str, text: str) -> str:
    """Return a name without the spaces at its ends, if a file can have it in its own."""
    name = "-".join(text.split())
    if not name or not all(letter.isalnum() or letter in "-'’" for letter in name):
        raise UserError(
            f"--{what} {text!r} can't stand in the archive's name; use letters, digits, hyphens and apostrophes"
        )
    return name
