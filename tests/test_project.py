"""Laws of the code as a whole."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import unlabeled

PACKAGE = Path(unlabeled.__file__).parent
# From the bottom to the top: a room, or a module that stands alone, imports only from lines above its own.
ROOMS = [
    "errors",
    "keeping", "console",
    "processes", "geometry",
    "kernels",
    "images",
    "config",
    "presets",
    "outcomes",
    "records",
    "networks",
    "training",
    "evaluation",
    "estimators",
    "sources",
    "experiments",
    "methods",
    "grammar",
    "studies",
    "report",
    "course",
    "finished",
    "commands",
    "cli",
    "__main__",
]  # fmt: skip
RANK = {name: rank for rank, name in enumerate(ROOMS)}
LIGHT = [
    "errors", "geometry", "keeping.results", "images", "config", "images.leaks", "images.store", "evaluation.statistics",
    "evaluation.comparison", "evaluation.folds", "console.progress", "images.decoding", "sources.folder", "report.page",
    "report.display", "report.sheet", "records", "outcomes", "methods", "experiments.specs", "experiments.tasks", "studies",
    "presets", "networks.filters", "images.patches", "processes", "config.grids", "config.settings", "cli", "keeping.files",
    "keeping.locks", "console.plain", "keeping.digests", "config.options", "images.fitting", "images.formats", "images.batches",
    "console.ending", "sources.listing",
]  # fmt: skip


def name_of(path):
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imported(path, *, called=True):
    """What a module imports of the package; with or without what it imports when a function is called, or for types alone."""
    tree = ast.parse(path.read_text())
    apart = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    late = {id(below) for node in apart for below in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unlabeled."):
            module = node.module.removeprefix("unlabeled.")
            for alias in node.names:
                below = f"{module}.{alias.name}"
                if called or id(node) not in late:
                    yield below if below in FILES else module


@pytest.mark.parametrize("name", sorted(set(FILES) - {""}))
def test_rooms_import_one_way(name):
    room = name.partition(".")[0]
    for other in imported(FILES[name]):
        below = other.partition(".")[0]
        assert below == room or RANK[below] < RANK[room], f"{name} imports {other}"


def test_no_module_imports_what_imports_it():
    graph = {name: set(imported(path, called=False)) - {name} for name, path in FILES.items()}
    with_rooms = {
        name: {other for other in others if not name.startswith(f"{other}.")} for name, others in graph.items()
    }
    assert list(graphlib.TopologicalSorter(with_rooms).static_order())


@pytest.mark.parametrize("name", sorted(FILES))
def test_files_and_functions_are_short(name):
    text = FILES[name].read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body:
                assert body[-1].end_lineno - body[0].lineno < 42, f"{name}.{node.name}"


def test_what_does_not_need_torch_does_not_import_it():
    code = (
        "import sys\n" + "\n".join(f"import unlabeled.{name}" for name in LIGHT) + "\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_there():
    for name in unlabeled.__all__:
        assert getattr(unlabeled, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = unlabeled.nothing


def test_the_readmes_ten_lines_of_python_run(capsys):
    readme = (PACKAGE.parent.parent / "README.md").read_text()
    code = readme.partition("## In Python")[2].partition("```python\n")[2].partition("```")[0]
    exec(compile(code, "README.md", "exec"), {})
    loss, accuracy = ast.literal_eval(capsys.readouterr().out.splitlines()[-1])
    assert loss < 2.3
    assert accuracy > 0.4
