"""A method is one file: the one of docs/EXTENDING.md, registered here, and nothing else of the package changed."""

import importlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import unlabeled
from conftest import read_findings
from unlabeled.cli import main
from unlabeled.errors import UserError
from unlabeled.experiments.lab import Lab
from unlabeled.grammar.drawing import _placeholders
from unlabeled.methods import METHODS, all_arms, all_contrasts, method_of, register, unregister
from unlabeled.presets import resolve
from unlabeled.report.environment import methods_css
from unlabeled.sources import load

ROOT = Path(unlabeled.__file__).parent.parent.parent
SMALL = [
    "--data", "digits", "--classifier", "small", "--folds", "2", "--seeds", "1", "--unlabeled", "60", "--test", "40", "--device", "cpu",
    "--jobs", "1",
    "--encoder.conv-out-channels", "3", "--encoder.conv-kernel-size", "3", "--encoder.conv-padding", "1",
    "--autoencoder.training.epochs", "1", "--network.training.epochs", "1", "--network.learning-rates", "1e-3",
    "--classical.trees", "3", "--classical.strengths", "0.01",
]  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The page's method, imported from a file of its own and registered."""
    code = (ROOT / "docs" / "EXTENDING.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    assert len(code.splitlines()) < 150
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "prototypes.py").write_text(code, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        method = importlib.import_module("prototypes").METHOD
        register(method)
        yield method
        unregister(method)
        sys.modules.pop("prototypes")


@pytest.fixture(scope="module")
def finished(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNLABELED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        main(["run", *SMALL, "--methods.prototypes.sharpness", "2.5", "--out", str(folder)])
        main(["report", str(folder), "--lang", "ru"])
    return folder


def test_its_options_are_in_the_help_and_are_checked(toy, capsys):
    main(["run", "--help", "all"])
    told = " ".join(capsys.readouterr().out.split())
    assert "--methods.prototypes.sharpness NUMBER" in told
    assert "How quickly probabilities fall with the squared distance. Default: 1.0." in told
    with pytest.raises(SystemExit):
        main(["run", "--methods.prototypes.sharpness", "-1"])
    assert "--methods.prototypes.sharpness: Input should be greater than 0" in capsys.readouterr().err
    assert resolve({"methods": {"prototypes": {"sharpness": 3}}}).methods.prototypes.sharpness == 3.0


def test_it_is_run_compared_and_judged(toy, finished):
    findings = read_findings(finished)
    rows = [row for row in findings.rows if row.arm == toy.arms[0]]
    assert [(row.fold, row.seed) for row in rows] == [(0, 0), (1, 0)]
    assert {row.run.split("/")[1] for row in rows} == {"prototypes"}
    assert findings.comparison.arm(toy.arms[0]).accuracy.mean > 20
    contrast = findings.comparison.find(toy.contrasts[0].treated, toy.contrasts[0].control)
    assert contrast.verdict == "reading"  # one seed
    # Sixteen comparisons and its own.
    assert len(findings.comparison.contrasts) == 17


@pytest.mark.parametrize(
    ("file", "title"), [("report.html", "nearest class means"), ("report.ru.html", "ближайшие средние классов")]
)
def test_table_figure_verdict_and_answer_show_it_in_both_languages(finished, file, title):
    page = (finished / file).read_text(encoding="utf-8")
    assert re.search(rf'<span class="swatch method-prototypes"></span>{title}</td>', page)
    assert len(re.findall(rf"<td>{title} (?:vs|—) ", page)) == 2  # the answer's table, and all comparisons
    figures = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    drawn = [svg for svg in figures if title in svg]
    assert len(drawn) == 2
    assert all("var(--method-prototypes)" in svg for svg in drawn)
    assert "--method-prototypes: #3450a3;" in page
    assert "--method-prototypes: #94abf5;" in page


def test_another_option_is_another_run(toy, tmp_path):
    names = set()
    for sharpness in (1.0, 2.0):
        config = resolve({"data": "digits", "folds": 2, "methods": {"prototypes": {"sharpness": sharpness}}})
        lab = Lab(config, load(config), tmp_path)
        names |= {task.key(lab).folder.name for task in toy.tasks(lab, 0, 0)}
    assert len(names) == 2


@pytest.mark.slow
def test_a_page_of_a_method_that_is_not_here_is_written(finished, toy, tmp_path, capsys):
    unregister(toy)
    try:
        with pytest.raises(UserError, match="there is no such option"):
            resolve({"methods": {"prototypes": {"sharpness": 3}}})
        main(["report", str(finished)])
        assert "prototypes → nearest" in (finished / "report.html").read_text(encoding="utf-8")
    finally:
        register(toy)
        main(["report", str(finished)])


def test_every_method_has_a_colour_in_light_and_dark_and_an_arm_of_its_own():
    light, dark, swatches = methods_css().splitlines()
    for method in METHODS:
        assert f"--method-{method.name}: {method.colour.light};" in light
        assert f"--method-{method.name}: {method.colour.dark};" in dark
        assert method.colour.light != method.colour.dark
        assert f".method-{method.name} {{" in swatches
        assert method.uses <= {"labeled", "unlabeled"}
        assert [method_of(arm) for arm in method.arms] == [method] * len(method.arms)
    assert len(set(_placeholders().values())) == len(_placeholders())
    assert len(set(all_arms())) == len(all_arms())
    # Validation images choose what answers, of those that are held against doing without and against their twin.
    assert not [contrast for contrast in all_contrasts() if contrast.named]
    roles = {arm: {c.role for c in all_contrasts() if c.treated == arm} for arm in all_arms()}
    assert all(("without" in own) == ("twin" in own) for own in roles.values())
    known = set(all_arms())
    assert all({contrast.treated, contrast.control} <= known for contrast in all_contrasts())


def test_a_name_or_an_arm_of_another_is_refused():
    for other in (METHODS[0], replace(METHODS[0], name="other")):
        with pytest.raises(ValueError, match="has the name or an arm of method 'pixels'; give it another"):
            register(other)


@pytest.mark.parametrize("whole", [True, False])
def test_the_command_knows_the_method_of_an_installed_package(tmp_path, whole):
    code = (ROOT / "docs" / "EXTENDING.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    (tmp_path / "prototypes.py").write_text(code if whole else "import nothing_of_that_name", encoding="utf-8")
    (tmp_path / "prototypes-1.0.dist-info").mkdir()
    (tmp_path / "prototypes-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: prototypes\nVersion: 1.0\n"
    )
    (tmp_path / "prototypes-1.0.dist-info" / "entry_points.txt").write_text(
        "[unlabeled.methods]\nprototypes = prototypes:METHOD\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "unlabeled", "run", "--methods.prototypes.sharpness", "-1"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    told = (
        "--methods.prototypes.sharpness: Input should be greater than 0"
        if whole
        else "method prototypes of an installed package"
    )
    assert told in line
