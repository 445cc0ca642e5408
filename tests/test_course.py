"""The studies' report, in both languages; the notebook; the archive."""

import ast
import json
import re
import shutil
import string
import zipfile
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import unlabeled
from conftest import copy_results, read_json, write_json
from test_report import BROWSER, _Checker
from unlabeled.cli import main
from unlabeled.course.bundle import write_bundle
from unlabeled.course.notebook import write_notebook
from unlabeled.errors import UserError
from unlabeled.grammar.words import Language
from unlabeled.records import ArmKey, Contrast, ContrastResult, Effect, StudyResult, as_json
from unlabeled.report.display import show
from unlabeled.report.document import Document
from unlabeled.report.page import write_report
from unlabeled.studies.points import from_random

PACKAGE = Path(unlabeled.__file__).parent
# A notebook runs each of its studies anew, so two are enough.
FEW = ("baselines", "autoencoder")
STUDIES = ("baselines", "network", "autoencoder", "features", "finetune", "stacked", "sparse", "convolved", "joint")


@pytest.fixture(scope="module")
def folder(finished_studies, tmp_path_factory):
    copy = tmp_path_factory.mktemp("course") / "run"
    copy_results(finished_studies, copy)
    for code in ("en", "ru"):
        write_report(copy, code)
    return copy


def page_of(folder, code):
    return (folder / ("report.html" if code == "en" else f"report.{code}.html")).read_text(encoding="utf-8")


def catalogues():
    found = Catalog()
    words = {"_": None, "gettext": None, "say": None, "words": None, "count": (1, 2), "Message": None}
    methods = [("**.py", "python"), ("**/templates/**.j2", "jinja2.ext:babel_extract")]
    for _file, _line, message, _comments, _context in extract_from_dir(PACKAGE, method_map=methods, keywords=words):
        found.add(message)
    with (PACKAGE / "grammar" / "locale" / "ru.po").open("rb") as file:
        return found, read_po(file, locale="ru")


def test_no_sentence_hides_in_a_formatted_string():
    """What is translated within an f-string is not found for the catalogue."""
    hidden = re.compile(r"""\b(?:say|count|gettext|words|_)\(\s*['"]""")
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                assert not hidden.search(ast.unparse(node)), f"{path.name}, line {node.lineno}"


def test_every_sentence_is_in_the_catalogue_and_no_other():
    code, russian = catalogues()
    assert {message.id for message in code if message.id} == {message.id for message in russian if message.id}


def test_translations_are_whole_and_keep_their_places():
    def places(text):
        return sorted({f"{name}:{form}" for _, name, form, _ in string.Formatter().parse(text) if name}) + sorted(
            re.findall(r"%\(\w+\)s", text)
        )

    _, russian = catalogues()
    for message in russian:
        if not message.id:
            continue
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        assert all(strings), message.id
        assert "fuzzy" not in message.flags
        assert len(strings) == (3 if len(ids) == 2 else 1)
        assert {tuple(places(text)) for text in strings} == {tuple(places(text)) for text in ids}, message.id


@pytest.mark.parametrize(
    ("code", "value", "digits", "expected"),
    [("en", 1234.56, 1, "1,234.6"), ("ru", 1234.56, 1, "1\xa0234,6"), ("en", -0.5, 2, "−0.50"), ("ru", -0.5, 2, "−0,50"),
     ("ru", 7, 0, "7")],
)  # fmt: skip
def test_numbers_are_written_as_the_language_does(code, value, digits, expected):
    assert Language(code).number(value, digits) == expected


def test_numbers_of_things_follow_the_languages_plurals():
    russian, english = Language("ru"), Language("en")
    told = [russian.count("{n} seed", "{n} seeds", n) for n in (1, 2, 5, 11, 21)]
    assert told == ["1 зерно", "2 зерна", "5 зёрен", "11 зёрен", "21 зерно"]
    assert [english.count("{n} seed", "{n} seeds", n) for n in (1, 2)] == ["1 seed", "2 seeds"]


def test_signs_and_short_numbers():
    russian = Language("ru")
    assert russian.signed(0.04) == "0,0"
    assert russian.signed(1.25, 1) == "+1,2"
    assert russian.short(0.001) == "0,001"
    assert Language("en").short(12000.0) == "12,000"
    assert Language("en").figures(0.00123, 2) == "0.0012"


def test_an_unknown_language_is_refused():
    with pytest.raises(UserError, match="language 'de' is not known; use en or ru"):
        Language("de")


@pytest.mark.parametrize("code", ["en", "ru"])
def test_the_page_is_whole(folder, code):
    page = page_of(folder, code)
    checker = _Checker()
    checker.feed(page)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    anchors = {link[1:] for link in checker.links if link.startswith("#")}
    assert {*STUDIES, "answer", "run"} <= anchors <= set(checker.ids)
    assert all(link.startswith(("#", "data:")) for link in checker.links)
    assert "script" not in checker.tags
    assert not re.search(
        r"\bnan\b|\binf\b|None|Undefined|\{\w+\}",
        re.sub(r"base64,[^\"]+|<style>.*?</style>", "", page, flags=re.DOTALL),
    )
    assert f'<html lang="{code}">' in page


@pytest.mark.slow
def test_the_page_is_the_same_each_time(folder):
    before = page_of(folder, "ru")
    write_report(folder, "ru")
    assert page_of(folder, "ru") == before


def test_the_russian_page_has_no_english_sentence_and_no_english_number(folder):
    unread = r"<style>.*?</style>|<pre>.*?</pre>|<details>.*?</details>|base64,[^\"]+|<path.*?/>|<use .*?/>"
    page = re.sub(unread, "", page_of(folder, "ru"), flags=re.DOTALL)
    run = page.index('id="run"')
    text = re.sub(r"<[^>]+>", " ", page[:run])
    code, _ = catalogues()
    for message in code:
        if isinstance(message.id, str) and len(message.id.split()) > 2:
            for part in re.split(r"\{\w+\}|%\(\w+\)s", message.id):
                assert len(re.findall("[A-Za-z]+", part)) < 3 or part.strip() not in text, part
    assert not re.findall(r"\d\.\d", text)
    assert len(re.findall(r"\d,\d", text)) > 200


def test_every_study_has_question_set_up_table_figure_and_conclusion(folder):
    for name in STUDIES:
        (section,) = Document(folder, "en").sections(name)
        kinds = {type(part).__name__ for part in section.parts}
        assert {"Table", "Picture"} <= kinds
        assert section.question.endswith("?")
        assert section.setup
        assert section.conclusion


def test_figures_have_a_sentence_and_the_page_the_protocol_once(folder):
    page = page_of(folder, "en")
    assert page.count("<figure>") == page.count("<figcaption>") > 20
    assert page.count("Protocol: digits, 8×8×1; 2 folds ") == page.count("Protocol: ") == 1
    assert page.count("Intervals: 95\N{NO-BREAK SPACE}%, for other splits of these labels") == 1


def test_the_baselines_stand_in_every_later_figure_of_accuracy(folder):
    page = page_of(folder, "en")
    counts = {}
    for name in ("network", "features", "finetune", "stacked", "convolved", "joint"):
        own = page.partition(f'<section id="{name}">')[2].partition("</section>")[0]
        drawn = [svg for svg in re.findall(r"<svg.*?</svg>", own, flags=re.DOTALL) if "test accuracy, %" in svg]
        counts[name] = len(drawn)
        for svg in drawn:
            assert "pixels, logistic regression" in svg
            assert "pixels, random forest" in svg
    assert counts == {"network": 11, "features": 4, "finetune": 2, "stacked": 2, "convolved": 2, "joint": 1}


@pytest.mark.usefixtures("undrawn")
def test_conclusions_follow_the_numbers(folder, tmp_path):
    """The same study with another effect says otherwise: nothing is written by heart."""
    copy = tmp_path / "run"
    copy_results(folder, copy)
    path = copy / "finetune" / "result.json"
    found = read_json(path)
    expected = {"helps": ("Yes, the unlabeled images help: ", "The unlabeled images help: "),
                "hurts": ("No, they hurt: ", "Using the unlabeled images this way hurts: "),
                "no difference": ("No difference that matters: ", "The unlabeled images make no difference that matters: "),
                "imprecise": ("Too imprecise to tell: ", "Too imprecise to tell what the unlabeled images are worth: "),
                "unfinished": ("Not trained to the end: ", "Not trained to the end, so there is no verdict: "),
                "reading": ("No verdict with fewer than 3 seeds: ", "A reading without a verdict, for there are ")}  # fmt: skip
    for verdict, (headline, sentence) in expected.items():
        (worth,) = found["findings"]["labels"][-1]["comparison"]["worths"]
        worth["verdict"] = verdict
        worth["without"]["accuracy"] |= {"mean": 3.21, "low": 1.5, "high": 4.75}
        worth["twin"]["accuracy"] |= {"mean": -2.34, "low": -2.5, "high": -1.75}
        write_json(path, found)
        assert Document(copy).answer.headline.startswith(headline)
        (section,) = Document(copy, "en").sections("finetune")
        assert section.conclusion[0].startswith(sentence)
        assert "from scratch: +3.2 (+1.5 to +4.8) points" in section.conclusion[0]
        assert "labeled images alone: −2.3 (−2.5 to −1.8) points" in section.conclusion[0]


@pytest.mark.slow
def test_a_missing_and_a_failed_study_are_told(folder, tmp_path):
    copy = tmp_path / "run"
    copy_results(folder, copy)
    write_json(
        copy / "features" / "result.json",
        as_json(StudyResult("features", "quick", {}, missing=("unlabeled", "test"))),
    )
    write_json(copy / "network" / "result.json", as_json(StudyResult("network", "quick", {}, failed="too <small>")))
    shutil.rmtree(copy / "finetune")
    page = write_report(copy).read_text()
    assert "it needs unlabeled images, test images, and there are none" in page
    assert "could not be run: too &lt;small&gt;" in page
    assert "told by study 5, which has no result here" in page
    assert 'id="finetune"' not in page


@pytest.mark.slow
def test_a_diverged_arm_is_marked_in_the_page(folder, tmp_path):
    copy = tmp_path / "run"
    copy_results(folder, copy)
    path = copy / "network" / "result.json"
    found = read_json(path)
    adam = as_json(ArmKey("random", "network", factor="optimizer", value="adam"))
    compared = found["findings"]["comparison"]
    arm = next(arm for arm in compared["arms"] if arm["arm"] == adam)
    arm |= {"accuracy": None, "log_loss": None, "diverged": 3}
    for contrast in compared["contrasts"]:
        if contrast["contrast"]["treated"] == adam:
            contrast |= {"accuracy": None, "log_loss": None, "p": None, "verdict": "diverged", "differences": []}
    write_json(path, found)
    assert "3 of 4 runs diverged" in write_report(copy).read_text()


def test_studies_that_were_not_run_alike_are_flagged(folder, tmp_path):
    assert "The studies in this folder were not run alike" not in page_of(folder, "en")
    copy = tmp_path / "run"
    for name in ("baselines", "autoencoder"):
        shutil.copytree(folder / name, copy / name)
    found = read_json(copy / "baselines" / "result.json")
    found["protocol"]["test"] = 40
    write_json(copy / "baselines" / "result.json", found)
    assert "The studies in this folder were not run alike" in write_report(copy).read_text()


@pytest.mark.usefixtures("undrawn")
def test_a_network_that_has_not_learned_is_told(folder, tmp_path):
    copy = tmp_path / "run"
    copy_results(folder, copy)
    found = read_json(copy / "finetune" / "result.json")
    arms = found["findings"]["labels"][-1]["comparison"]["arms"]
    scratch = next(arm for arm in arms if arm["arm"] == as_json(from_random("plain")))
    for accuracy, told in ((12.0, True), (40.0, False)):
        scratch["accuracy"]["mean"] = accuracy
        write_json(copy / "finetune" / "result.json", found)
        conclusion = " ".join(Document(copy, "en").sections("finetune")[0].conclusion)
        assert ("it has hardly learned" in conclusion) == told


def test_a_folder_without_studies_is_refused(tmp_path):
    with pytest.raises(UserError, match="nothing was finished here; run unlabeled run again to go on"):
        write_report(tmp_path)


@pytest.mark.slow
def test_report_and_studies_by_command(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    main(["report", "run", "--lang", "ru"])
    assert capsys.readouterr().out.strip() == "run/report.ru.html"
    with pytest.raises(SystemExit):
        main(["report", "run", "--lang", "de"])


def test_a_section_shows_itself_in_a_notebook(folder):
    shown = show(folder, "autoencoder", "ru")
    html = shown._repr_html_()
    checker = _Checker()
    checker.feed(html)
    assert checker.open == []
    assert "Выбран " in html
    assert repr(shown).startswith("Однослойный автокодировщик\n")
    with pytest.raises(UserError, match="study 'gain' was not run here; it has baselines, network"):
        show(folder, "gain")


@pytest.fixture(scope="module")
def archive(finished_studies, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNLABELED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        few, out = tmp_path_factory.mktemp("few"), tmp_path_factory.mktemp("bundle")
        for name in (*FEW, "runs"):
            shutil.copytree(finished_studies / name, few / name)
        return few, write_bundle(few, surname="Иванова", name="Anna Maria", code="ru", out=out)


@pytest.mark.slow
def test_the_notebook_is_executed_and_every_cell_ended(archive):
    notebook = json.loads((archive[0] / "notebook.ru.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 4 + len(FEW)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert "import unlabeled as ul" in "".join(cells[0]["source"])
    for cell, name in zip(cells[4:], FEW, strict=True):
        assert "ul.run_studies(" in "".join(cell["source"])
        kinds = [kind for output in cell["outputs"] for kind in output.get("data", {})]
        assert "text/html" in kinds
        assert not any(output["output_type"] == "error" for output in cell["outputs"])
        assert f"ul.show(folder, '{name}', 'ru')" in "".join(cell["source"])


@pytest.mark.slow
def test_the_notebook_runs_where_it_lies(archive, tmp_path, monkeypatch):
    """Whoever opens it is in its folder, and the results' paths are those of the folder that the studies were run in."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(archive[0] / "notebook.ru.ipynb", as_version=4)
    del notebook.cells[-2:]
    monkeypatch.chdir(tmp_path)
    client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(archive[0])}})
    client.execute()


def test_a_cell_that_fails_is_the_users_to_know(folder, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    shutil.copytree(folder / "baselines", copy / "baselines")
    found = read_json(copy / "baselines" / "result.json")
    found["config"]["data"] = "folder:/nowhere"
    write_json(copy / "baselines" / "result.json", found)
    with pytest.raises(UserError, match="a cell of the notebook failed: DataError: /nowhere: no such folder"):
        write_notebook(copy)


@pytest.mark.slow
def test_the_archive_is_what_the_course_asks_for(archive):
    folder, archive = archive
    assert archive.name == "task1_Иванова_Anna-Maria.zip"
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        names = set(opened.namelist())
        assert {"report.ru.html", "notebook.ru.ipynb"} <= names
        assert {f"results/{name}.json" for name in FEW} <= names
        modules = {f"unlabeled/{path.relative_to(PACKAGE).as_posix()}" for path in PACKAGE.rglob("*.py")}
        assert modules <= names
        assert "unlabeled/grammar/locale/ru.po" in names
        assert opened.read("report.ru.html") == (folder / "report.ru.html").read_bytes()


@pytest.mark.parametrize("name", ["", "a/b", "..", "x\n/y", 'q"'])
def test_names_that_no_file_can_have_are_refused(folder, name):
    with pytest.raises(UserError, match="can't stand in the archive's name"):
        write_bundle(folder, surname=name, name="Anna")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(("width", "scheme", "code"), [(1200, "light", "ru"), (390, "dark", "en")])
def test_the_page_in_a_browser(folder, width, scheme, code):
    from playwright.sync_api import sync_playwright

    path = folder / ("report.html" if code == "en" else f"report.{code}.html")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        troubles = []
        page.on("console", lambda message: troubles.append(message.text))
        page.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else troubles.append(request.url),
        )
        page.goto(f"file://{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # No word of a figure lies outside of it.
        outside = page.evaluate(
            """() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
                 const box = svg.getBoundingClientRect();
                 return [...svg.querySelectorAll('text')].filter(t => {
                   const b = t.getBoundingClientRect();
                   return b.left < box.left - 2 || b.right > box.right + 2;
                 }).map(t => t.textContent);
               })"""
        )
        assert outside == []
        page.click("nav a[href='#finetune']")
        assert page.evaluate("document.querySelector('#finetune').getBoundingClientRect().top") < 900
        assert troubles == []
        browser.close()


def test_a_form_that_is_not_known_is_refused_and_zero_has_no_sign():
    language = Language("en")
    effect = Effect(0.5, -1.0, 2.0, 0.3, 2.0, 1.0, 1, 2, 1, (0.0, 0.0, 0.0))
    contrast = ContrastResult(Contrast(ArmKey("a"), ArmKey("b")), None, None)
    for value, form in ((1.0, "told"), (effect, "p1"), (effect, ""), (contrast, ""), (contrast, "helps")):
        with pytest.raises(ValueError, match="writes no"):
            language.write(value, form)
    assert [language.write(-0.04, "1"), language.write(-1e-13, "4"), language.short(-0.0)] == ["0.0", "0.0000", "0"]
    assert language.interval(-0.01, 0.2) == "0.0 to 0.2"
