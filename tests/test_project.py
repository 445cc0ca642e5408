"""Laws of the code as a whole."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import unlabeled
from unlabeled.presets import read_file, resolve

PACKAGE = Path(unlabeled.__file__).parent
# From the bottom to the top: a module may import only from lines above its own.
LAYERS = [
    ["errors", "plain", "locks", "fitting", "formats", "batches", "kernels"],
    ["caching", "processes", "geometry", "files", "settings", "layout", "digests", "ending"],
    ["results"],
    ["pooling", "grids", "kernels.building"],
    ["kernels.blocks"],
    ["images", "config", "models"],
    ["checks"],
    ["leaks", "objectives", "runtime", "augmentation", "statistics", "shrinking", "optimizers", "filters", "presets", "joint",
     "patches"],
    ["outcomes"],
    ["records"],
    ["store", "checkpoints", "folds", "comparison", "sparse"],
    ["decoding", "sources.stl10", "sources.digits", "training"],
    ["sources.listing"],
    ["sources.folder", "sources.shapes", "sources.download", "features", "classifiers", "stacking", "convolved"],
    ["linear"],
    ["sources", "progress", "machine", "options"],
    ["experiments", "experiments.specs", "experiments.workplace"],
    ["experiments.lab"],
    ["experiments.tasks"],
    ["methods.method"],
    ["methods.features", "methods.networks"],
    ["methods.scratch", "methods.pixels", "methods.pca", "methods.random_codes", "methods.frozen_codes"],
    ["methods.finetuned", "methods.joint"],
    ["methods"],
    ["experiments.performing"],
    ["experiments.pretraining", "experiments.classical", "experiments.networks"],
    ["experiments.runner", "experiments.reconstructing"],
    ["grammar", "grammar.words", "grammar.drawing", "grammar.parts"],
    ["grammar.plots", "grammar.section"],
    ["grammar.tables"],
    ["studies.study", "studies.codes", "studies.search", "studies.variants", "studies.penalties", "studies.limits"],
    ["studies.points", "studies.depths", "studies.maps"],
    ["studies.baselines", "studies.autoencoder", "studies.sparse", "studies.joint", "studies.gain"],
    ["studies.network", "studies.stacked", "studies.convolved", "studies.features"],
    ["studies.finetune"],
    ["studies"],
    ["studies.course"],
    ["report", "report.environment", "report.protocol", "report.sheet"],
    ["report.course"],
    ["report.summary"],
    ["report.document"],
    ["report.page"],
    ["report.display", "notebook"],
    ["bundle"],
    ["cli"],
    ["__main__"],
]  # fmt: skip
# A task is said in values, and who computes it is imported when it is run.
CALLED = {("experiments.tasks", f"experiments.{name}") for name in ("pretraining", "classical", "networks")}
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
LIGHT = ["errors", "geometry", "results", "images", "config", "leaks", "store", "statistics", "comparison", "folds", "progress",
         "decoding", "sources.folder", "report.page", "report.display", "report.sheet",
         "records", "outcomes", "methods", "experiments.specs", "experiments.tasks", "studies",
         "presets", "filters", "patches", "processes", "grids", "settings", "cli", "files", "locks", "plain", "digests", "options",
         "fitting", "formats", "batches", "ending", "sources.listing"]  # fmt: skip


def name_of(path):
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unlabeled."):
            module = node.module.removeprefix("unlabeled.")
            for alias in node.names:
                below = f"{module}.{alias.name}"
                yield below if below in FILES else module


@pytest.mark.parametrize("name", sorted(set(FILES) - {""}))
def test_imports_go_one_way(name):
    for other in imported(FILES[name]):
        if (name, other) in CALLED:
            continue
        assert RANK[other] < RANK[name], f"{name} imports {other}"


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
    code = readme.partition("```python\n")[2].partition("```")[0]
    exec(compile(code, "README.md", "exec"), {})
    loss, accuracy = ast.literal_eval(capsys.readouterr().out.splitlines()[-1])
    assert loss < 2.3
    assert accuracy > 0.4


def test_the_readmes_configuration_is_legal(tmp_path):
    readme = (PACKAGE.parent.parent / "README.md").read_text()
    file = readme.partition("```toml\n")[2].partition("```")[0]
    path = tmp_path / "study.toml"
    path.write_text(file)
    assert resolve(read_file(path)).data_name == "photos"
