import html
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from conftest import read_findings, read_json, read_study, write_json
from unlabeled.cli import main
from unlabeled.course.notebook import write_notebook
from unlabeled.errors import UserError
from unlabeled.grammar.section import Context
from unlabeled.grammar.words import Language
from unlabeled.report.document import Document
from unlabeled.report.page import write_report
from unlabeled.report.protocol import protocol_line
from unlabeled.studies.gain import GAIN, GainFindings
from unlabeled.studies.limits import caveats

ENGLISH = Language("en")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def run(finished_gain, tmp_path_factory):
    folder = shutil.copytree(finished_gain, tmp_path_factory.mktemp("report") / "run")
    write_report(folder)
    return folder


class _Checker(HTMLParser):
    """Keeps what a page must not have wrong: open elements, ids, references."""

    VOID = frozenset({"meta", "img", "br", "link", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                self.links.append(value)
            if tag == "img" and name == "alt":
                assert value

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_and_needs_neither_network_nor_script(run):
    page = (run / "report.html").read_text()
    checker = _Checker()
    checker.feed(page)
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    assert "script" not in checker.tags
    assert checker.tags.count("svg") == 7
    for link in checker.links:
        assert link.startswith("data:image/png;base64,") or link.removeprefix("#") in checker.ids
    assert not re.search(r"url\((?!#)", page)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_the_page_says_the_verdict_first_and_the_protocol_with_the_numbers(run):
    page = (run / "report.html").read_text()
    told = Document(run).answer
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page[page.index("<h1>") : page.index("</h1>")]))
    assert html.unescape(text).strip() == told.headline
    assert page.count(protocol_line(read_study(run).protocol, ENGLISH)) == 1
    rows = [[getattr(cell, "text", cell) for cell in row] for row in told.table.rows]
    assert len(rows) == 8
    assert all(f"<td>{name}</td><td>{effect}</td><td>{twin}</td>" in page for name, effect, twin, _ in rows)
    assert f"<td>{rows[0][0]}</td>" in page.partition('<tr class="chosen">')[2].partition("</tr>")[0]
    arms = read_findings(run).comparison.arms
    assert len(arms) == 21
    for arm in arms:
        assert f"<td>{arm.accuracy.mean:.1f} (" in page
    best = max(arms, key=lambda arm: arm.accuracy.mean)
    ways = page.partition('<section id="arms">')[2]
    assert f"<td>{best.accuracy.mean:.1f} (" in ways.partition('<tr class="chosen">')[2].partition("</tr>")[0]


def test_the_same_results_give_the_same_bytes_without_torch(run, tmp_path):
    expected = (run / "report.html").read_bytes()
    folder = tmp_path / "elsewhere"
    shutil.copytree(run, folder)
    (folder / "report.html").unlink()
    code = (
        "import sys; from pathlib import Path; from unlabeled.report.page import write_report;"
        f"write_report(Path({str(folder)!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (folder / "report.html").read_bytes() == expected


def test_names_from_folders_are_escaped(run, tmp_path):
    folder = tmp_path / "escaped"
    shutil.copytree(run, folder)
    result = read_json(folder / "result.json")
    result["protocol"]["class_names"][3] = "<script>alert(1)</script> $x$ & 'y'"
    result["protocol"]["notes"] = ["<img src=x onerror=alert(1)>"]
    write_json(folder / "result.json", result)
    page = write_report(folder).read_text()
    assert "<script>" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_many_classes_become_a_list_of_confusions(run, tmp_path):
    folder = tmp_path / "many"
    shutil.copytree(run, folder)
    result = read_json(folder / "result.json")
    result["protocol"]["class_names"] += [f"class {number}" for number in range(30)]
    write_json(folder / "result.json", result)
    assert 'class="matrix"' not in write_report(folder).read_text()


def test_a_folder_without_a_finished_run_is_refused(tmp_path, capsys):
    with pytest.raises(UserError, match="nothing was finished here; run unlabeled run again to go on"):
        write_report(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["report", str(tmp_path)])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: no result.json")


@pytest.mark.parametrize(
    ("value", "text"), [(1.25, "+1.2"), (-1.26, "\N{MINUS SIGN}1.3"), (0.04, "0.0"), (-0.04, "0.0"), (0.0, "0.0")]
)
def test_differences_are_written_with_their_sign(value, text):
    assert ENGLISH.signed(value) == text


def test_intervals_and_the_protocol_in_words(run):
    assert ENGLISH.interval(-0.5, 1.26, 1, signed=True) == "\N{MINUS SIGN}0.5 to +1.3"
    assert protocol_line(read_study(run).protocol, ENGLISH) == (
        "Protocol: digits, 8×8×1; 2 folds (stratified parts of the labeled images), each with 150 labels to train and 150 to choose "
        "with; 120 unlabeled images; 60 test images; exact copies dropped: 0; near-copies of test images "
        "dropped: 0; 2 seeds; preset quick"
    )


def test_the_main_job_speaks_russian_too(run, tmp_path):
    folder = tmp_path / "russian"
    shutil.copytree(run, folder)
    page = write_report(folder, "ru").read_text(encoding="utf-8")
    assert "Чего стоят неразмеченные изображения?" in page
    assert page.count("<svg") == 7
    for english in ("The ways compared", "folds won", "held out", "vs scratch", "Configuration, every"):
        assert english not in page


def test_an_answer_of_an_earlier_format_is_refused_in_a_line(run, tmp_path):
    """What the main job wrote before its results were records."""
    folder = tmp_path / "earlier"
    shutil.copytree(run, folder)
    write_json(folder / "result.json", {"protocol": {}, "arms": [], "contrasts": [], "rows": [], "autoencoders": []})
    with pytest.raises(UserError, match="not what this version of unlabeled writes") as caught:
        write_report(folder)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
@pytest.mark.filterwarnings("ignore")
def test_a_browser_shows_the_page_without_overflow_or_complaint(run, width, scheme):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=options)
        try:
            page = browser.new_page(
                viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=True
            )
            complaints, requests = [], []
            page.on("console", lambda message: complaints.append(message.text))
            page.on("request", lambda request: requests.append(request.url))
            page.goto((run / "report.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("h1").is_visible()
            assert page.locator("figure svg").count() == 7
            colours = page.evaluate(
                "getComputedStyle(document.body).backgroundColor + getComputedStyle(document.querySelector('figure svg text')).fill"
            )
            assert ("rgb(20, 21, 24)" in colours) == (scheme == "dark")
            # Text in figures is text, in the theme's colours and not too small to read.
            size = page.evaluate("document.querySelector('figure svg text').getBoundingClientRect().height")
            assert size >= 8
            for svg in page.locator("figure svg").all():
                box = svg.bounding_box()
                assert box["width"] > 250
                assert box["x"] + box["width"] <= width
            assert complaints == []
            assert all(url.startswith(("file:", "data:")) for url in requests)
        finally:
            browser.close()


def test_networks_that_only_guess_are_called_so(run, tmp_path):
    folder = tmp_path / "guess"
    shutil.copytree(run, folder)
    result = read_json(folder / "result.json")
    arms = result["findings"]["comparison"]["arms"]
    for mean, told in ((11.0, True), (40.0, False)):
        for arm in arms:
            arm["accuracy"]["mean"] = 11.0
        arms[-1]["accuracy"]["mean"] = mean
        write_json(folder / "result.json", result)
        context = replace(Context.of(GainFindings, read_study(folder), folder, ENGLISH), page=GAIN.pages[0])
        assert any("better than guessing" in caveat for caveat in caveats(context)) == told


@pytest.mark.parametrize(("name", "content"), [("result.json", "{}"), ("result.json", "{"), ("test.npz", "no archive")])
def test_a_damaged_run_is_said_in_words(run, tmp_path, name, content):
    folder = tmp_path / "damaged"
    shutil.copytree(run, folder)
    (folder / name).write_text(content)
    with pytest.raises(UserError, match="run the same command again, and it is made anew"):
        write_report(folder)


@pytest.mark.slow
def test_the_main_job_has_a_notebook_and_its_page_too(run):
    page = write_notebook(run, html=True)
    assert page.name == "notebook.html"
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") >= 7
    # A page that asks nobody for anything: neither scripts, nor styles, fonts or pictures of other places.
    assert not re.search(r"<script|@import|\bsrc=(?![\"']?data:)|<link\b|url\((?![\"']?(data:|#))", text)
    notebook = json.loads(page.with_suffix(".ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 5
    assert "ul.run_gain(config" in "".join(cells[-1]["source"])
    (shown,) = [output["data"] for output in cells[-1]["outputs"] if "text/html" in output.get("data", {})]
    assert "".join(shown["text/html"]).count("<svg") == 7
    assert not any(output["output_type"] == "error" for cell in cells for output in cell["outputs"])


STARTS = {
    "helps": "The unlabeled images help: ",
    "hurts": "Using the unlabeled images this way hurts: ",
    "no difference": "The unlabeled images make no difference that matters: ",
    "imprecise": "Too imprecise to tell what the unlabeled images are worth: ",
    "unfinished": "Not trained to the end, so there is no verdict: ",
    "reading": "A reading without a verdict, for there are fewer than 3 folds or seeds: ",
}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("verdict", "start"), STARTS.items())
def test_every_sentence_of_the_main_job_follows_the_numbers(run, tmp_path, verdict, start):
    """The same result with other numbers says otherwise: nothing is written by heart."""
    folder = tmp_path / "other"
    shutil.copytree(run, folder)
    result = read_json(folder / "result.json")
    compared = result["findings"]["comparison"]
    effect = {"mean": 1.26, "low": -3.25, "high": 5.75, "folds_won": 2, "folds": 3, "seeds": 3}
    compared["chosen"] = {"source": "autoencoder", "model": "network"}
    compared["worths"] = sorted(
        compared["worths"], key=lambda worth: worth["without"]["contrast"]["treated"] != compared["chosen"]
    )
    for number, worth in enumerate(compared["worths"]):
        worth["verdict"] = verdict if number < 2 else "imprecise"
        for role, more in (("without", 0.0), ("twin", 3.0)):
            worth[role]["accuracy"] |= effect | {"mean": 1.26 + more, "high": 5.75 + more}
    for contrast in compared["contrasts"]:
        contrast["accuracy"] |= effect
        for difference in contrast["differences"]:
            difference["accuracy"] = 1.5 * difference["fold"] - 0.5
    write_json(folder / "result.json", result)
    document = Document(folder)
    headline = document.answer.headline
    assert headline.startswith(start)
    assert "ConvNet from the autoencoder vs ConvNet from scratch +1.3 (−3.2 to +5.8) points" in headline
    assert (
        "vs the same from labeled images alone +4.3 (−3.2 to +8.8) points (95 % intervals, for these labels)."
        in headline
    )
    assert ("would be found in four of five studies" in document.answer.note) == (verdict == "imprecise")
    name, without, twin, word = document.answer.lines[0].partition(":")[0], *document.answer.lines[0].split(", ")[-3:]
    assert name == "ConvNet from the autoencoder"
    assert (without.partition(": ")[2], twin) == ("+1.3 (−3.2 to +5.8)", "+4.3 (−3.2 to +8.8)")
    assert word == {"imprecise": "too imprecise", "unfinished": "not trained to the end", "reading": "no verdict"}.get(
        verdict, verdict
    )
    changes = next(section for section in document.sections("gain") if section.key == "changes")
    captions = [part.caption for part in changes.parts if hasattr(part, "caption")]
    counts = {one: sum(worth["verdict"] == one for worth in compared["worths"]) for one in ("helps", "hurts")}
    assert f"{counts['helps']} help, by both differences, and {counts['hurts']} hurt" in captions[0]
    assert captions[1].startswith("On 2 of 3 folds ConvNet from the autoencoder is better in the mean; ")
    assert captions[1].endswith("single differences range from −0.5 to +1.0 points.")
    note = next(part.note for part in changes.parts if hasattr(part, "note"))
    assert "leaves out zero" not in note
    for contrast in compared["contrasts"]:
        contrast["accuracy"]["low"], contrast["verdict"] = 0.2, "imprecise"
    write_json(folder / "result.json", result)
    changes = next(section for section in Document(folder).sections("gain") if section.key == "changes")
    assert "leaves out zero" in next(part.note for part in changes.parts if hasattr(part, "note"))


@pytest.mark.usefixtures("undrawn")
def test_one_way_alone_is_not_counted(run, tmp_path):
    folder = tmp_path / "one"
    shutil.copytree(run, folder)
    result = read_json(folder / "result.json")
    del result["findings"]["comparison"]["worths"][1:]
    write_json(folder / "result.json", result)
    changes = next(section for section in Document(folder).sections("gain") if section.key == "changes")
    captions = [part.caption for part in changes.parts if hasattr(part, "caption")]
    assert captions[0].startswith("One way to use the unlabeled images is compared with doing without")


@pytest.mark.usefixtures("undrawn")
def test_what_was_done_about_near_copies_is_said(run, tmp_path):
    folder = tmp_path / "near"
    shutil.copytree(run, folder)
    result = read_json(folder / "result.json")
    for policy, said in (("drop", "were left out for it"), ("keep", "were kept all the same")):
        result["protocol"]["near"] = {
            "policy": policy,
            "unlabeled_in_test": 7,
            "labeled_in_test": 4,
            "test_in_others": 9,
            "within_test": 3,
        }
        write_json(folder / "result.json", result)
        section = next(section for section in Document(folder).sections("gain") if section.key == "copies")
        assert section.parts[0].startswith("9 of ")
        assert f"7 unlabeled and 4 labeled images {said}" in section.parts[0]
        assert "and 3 test images; they stay" in section.parts[1]
        line = protocol_line(read_study(folder).protocol, ENGLISH)
        assert f"near-copies of test images {'dropped' if policy == 'drop' else 'kept'}: 11" in line
