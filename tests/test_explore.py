"""The page to explore: what it knows of images, how that comes into one file, and what a reader does with it."""

import base64
import csv
import io
import json
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon
from PIL import Image

from unlabeled.cli import main
from unlabeled.errors import UserError
from unlabeled.evaluation.projection import nearest, project
from unlabeled.experiments.applying import ask_unseen, out_of_fold, pseudo_labels_of
from unlabeled.finished import exploring, reopen
from unlabeled.finished.exploring import _Gathering, _level, explore
from unlabeled.report import explorer
from unlabeled.report.explored import UNKNOWN
from unlabeled.report.explorer import MODULES, bundle, write_explorer
from unlabeled.report.sprites import Tiles, encode, sheets_of

SCRIPTS = Path(explorer.__file__).parent / "templates" / "explore"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Silent:
    """Progress that nobody sees."""

    def note(self, text):
        pass


# Places and neighbours


def blobs(sizes, dimensions=12, seed=0):
    random = np.random.default_rng(seed)
    kinds = np.repeat(np.arange(len(sizes)), sizes)
    return np.eye(dimensions)[kinds] + 0.1 * random.normal(size=(len(kinds), dimensions)), kinds


def test_like_codes_lie_near_one_another_and_the_places_are_the_same_each_time():
    codes, kinds = blobs([30, 50, 20])
    places = project(codes)
    assert places.min() >= 0
    assert places.max() <= 1
    neighbours = nearest(places - places.mean(axis=0), places - places.mean(axis=0), 5, same=True).rows
    # Of directions from the middle: groups lie in different ones.
    assert (kinds[neighbours] == kinds[:, None]).mean() > 0.9
    assert (project(codes) == places).all()
    assert (project(8 * codes) == places).all()


@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (2, 5), (9, 3), (12, 1), (11, 40)])
def test_few_codes_have_places_too(shape):
    places = project(np.random.default_rng(0).normal(size=shape))
    assert places.shape == (shape[0], 2)
    assert np.isfinite(places).all()
    assert ((places >= 0) & (places <= 1)).all()


def test_codes_that_are_all_the_same_lie_in_one_place():
    places = project(np.ones((40, 6)))
    assert np.ptp(places, axis=0).max() < 1e-3
    assert np.isfinite(project(np.zeros((40, 6)))).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 12), st.integers(0, 15), st.integers(1, 6), st.booleans(), st.integers(0, 99))
def test_neighbours_are_the_nearest_by_angle(count, others, asked, same, seed):
    random = np.random.default_rng(seed)
    codes = random.normal(size=(count, 4))
    among = codes if same else random.normal(size=(others, 4))
    found = nearest(codes, among, asked, same=same)
    length = max(0, min(asked, len(among) - same))
    assert found.rows.shape == found.farness.shape == (count, length)
    unit, rest = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (codes, among))
    for row in range(count if length else 0):
        far = 1 - rest @ unit[row]
        if same:
            far[row] = np.inf
        assert found.farness[row] == pytest.approx(np.sort(far)[:length], abs=1e-5)
        assert far[found.rows[row]] == pytest.approx(np.sort(far)[:length], abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=3, max_size=3), st.integers(0, 200))
def test_a_sample_takes_as_many_of_each_split_as_it_can(sizes, most):
    shares = _level(sizes, most)
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    assert most - 2 <= sum(shares) <= most or shares == sizes
    short = [share for share, size in zip(shares, sizes, strict=True) if share < size]
    assert not short or max(shares) - min(short) <= 1


# Sheets of tiles


def coloured(count, channels, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, channels, height, width), dtype=np.uint8)


@pytest.mark.parametrize(("count", "channels"), [(1, 3), (7, 1), (500, 3)])
def test_every_image_lies_where_its_number_says(count, channels):
    images = coloured(count, channels, 12, 20)
    tiles = Tiles.of(images.shape[1:], count, pixels=10**9)
    tiles = replace(tiles, columns=min(tiles.columns, 9), rows=min(tiles.rows, 11))
    sheets = [np.asarray(one) for one in sheets_of(lambda rows: images[rows], np.arange(count), tiles)]
    assert len(sheets) == -(-count // tiles.each)
    for number in range(count):
        sheet, column, row = tiles.place(number)
        seen = sheets[sheet][12 * row : 12 * (row + 1), 20 * column : 20 * (column + 1)]
        assert (seen == np.broadcast_to(images[number].transpose(1, 2, 0), (12, 20, 3))).all()


def test_many_large_images_become_small_tiles_in_sheets_that_phones_take():
    tiles = Tiles.of((3, 96, 64), 20_000, pixels=21_000_000)
    assert tiles.width * tiles.height * 20_000 <= 21_000_000
    assert tiles.height / tiles.width == pytest.approx(1.5, rel=0.05)
    assert max(tiles.columns * tiles.width, tiles.rows * tiles.height) <= 2048
    assert (Tiles.of((3, 96, 64), 100, pixels=21_000_000).height, Tiles.of((1, 8, 8), 3, pixels=21_000_000).height) == (
        96,
        8,
    )
    # Each image is shrunken by itself: one of one colour keeps it to its edges.
    images = np.repeat(np.arange(0, 250, 25, dtype=np.uint8), 3 * 96 * 64).reshape(10, 3, 96, 64)
    small = Tiles.of((3, 96, 64), 10, pixels=10 * 25 * 17)
    (sheet,) = sheets_of(lambda rows: images[rows], np.arange(10), small)
    for number in range(10):
        _, column, row = small.place(number)
        seen = np.asarray(sheet)[small.height * row :, small.width * column :][: small.height, : small.width]
        assert (seen == 25 * number).all()


def test_sheets_keep_to_their_bytes_or_to_the_least_quality():
    noise = coloured(64, 3, 32, 32)
    sheets = sheets_of(lambda rows: noise[rows], np.arange(64), Tiles.of((3, 32, 32), 64, pixels=10**7))
    (best,), highest = encode(sheets, most=10**9)
    (less,), quality = encode(sheets, most=int(0.8 * len(best)))
    assert highest == 90
    assert quality < highest
    assert len(less) <= 0.8 * len(best)
    assert encode(sheets, most=1)[1] == 30
    assert Image.open(io.BytesIO(less)).size == sheets[0].size
    assert encode([], most=1)[0] == []


# What is gathered


@pytest.fixture(scope="module")
def gathered(finished_photos):
    finished = reopen(finished_photos)
    return finished, _Gathering(finished, Silent()).gather(1000, 7)


def test_labeled_images_are_judged_by_networks_that_were_not_trained_on_them(gathered):
    finished, found = gathered
    facts, lab = found.facts, finished.lab
    assert len(facts) == 72 + 30 + 18
    assert found.totals == (72, 30, 18)
    assert facts.split.tolist() == [0] * 72 + [1] * 30 + [2] * 18
    tasks = [task for task, row in finished.tasks(finished.arm) if row.seed == 0]
    wanted = out_of_fold(ask_unseen(lab, tasks), 72, lab.classes)
    assert facts.chances[:72] == pytest.approx(wanted, abs=1e-6)
    networks = finished.networks(finished.arm)[: len(tasks)]
    mean = np.mean([one.probabilities(lab.splits.test) for one in networks], axis=0)
    assert facts.chances[-18:] == pytest.approx(mean, abs=1e-6)
    assert facts.label.tolist() == [*lab.splits.labeled.classes, *[UNKNOWN] * 30, *lab.splits.test.classes]
    assert facts.without.shape == facts.chances.shape
    assert np.abs(facts.without - facts.chances).max() > 0.01
    assert found.accuracy == pytest.approx((mean.argmax(axis=1) == lab.splits.test.classes).mean())
    assert facts.without.sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_neighbours_and_names_are_those_of_the_images(gathered):
    finished, found = gathered
    facts, splits = found.facts, finished.lab.splits
    networks, folds = finished.networks(finished.arm)[:2], finished.lab.folds.folds
    likes = []
    for network in networks:
        codes = np.concatenate([network.codes(images) for images in (splits.labeled, splits.unlabeled, splits.test)])
        unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
        likes.append(unit @ unit.T)
        np.fill_diagonal(likes[-1], -np.inf)
    # Labeled images by the network that they did not train, all others by the first one.
    like = likes[0].copy()
    like[folds[1].valid] = likes[1][folds[1].valid]
    assert not set(folds[1].valid) & set(folds[1].train)
    for rows, members in ((facts.labeled, np.arange(72)), (facts.unlabeled, np.arange(72, 102))):
        best = np.take_along_axis(like, rows, axis=1)
        assert best == pytest.approx(-np.sort(-like[:, members], axis=1)[:, : rows.shape[1]], abs=1e-5)
        assert np.isin(rows, members).all()
    assert {name.split("/")[0] for name in facts.names[:72]} == {"train"}
    for number in (0, 80, 119):
        with Image.open(Path(found.root) / facts.names[number]) as picture:
            assert (np.asarray(picture.convert("RGB")).transpose(2, 0, 1) == found.take(np.array([number]))[0]).all()


def test_lists_are_places_of_the_page(gathered):
    finished, found = gathered
    lists, facts = found.lists, found.facts
    looks = finished.findings.looks
    assert lists.suspects == looks.suspects.rows[:48]
    assert len(lists.label_next) == 7
    assert set(lists.label_next) | set(lists.uncertain) | set(lists.foreign) <= set(range(72, 102))
    doubt = -(facts.chances * np.log(facts.chances)).sum(axis=1)
    assert doubt[list(lists.uncertain)] == pytest.approx(-np.sort(-doubt[72:102]), abs=1e-5)
    assert [place - 102 for place in lists.to_right] == list(looks.to_right)
    assert (facts.foreign[list(lists.foreign)] == 1).all()
    assert lists.counts["kept"] + lists.counts["left_out"] == 30
    told = pseudo_labels_of(finished.lab, finished.tasks(finished.arm)[0][0])
    for kept in (True, False):
        for number, places in (lists.kept if kept else lists.left_out).items():
            rows = np.array(places) - 72
            assert (told.classes[rows] == number).all()
            assert (told.used[rows] == kept).all()
            assert (facts.pseudo[list(places)] == number).all()


def test_a_sample_has_what_the_lists_name(finished_photos):
    finished = reopen(finished_photos)
    whole = _Gathering(finished, Silent()).gather(1000, 7)
    some = _Gathering(finished, Silent()).gather(50, 7)
    assert 50 <= len(some.facts) < len(whole.facts)
    assert some.totals == whole.totals
    for name in ("suspects", "label_next", "uncertain", "to_right", "foreign"):
        named = [[one.facts.names[place] for place in getattr(one.lists, name)] for one in (some, whole)]
        assert named[0] == named[1]
    assert some.rebuild is None


# The page


class Reading(HTMLParser):
    """A page's texts, scripts and addresses."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.words, self.addresses, self.open = {}, [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.addresses += [value for name, value in given.items() if name in ("src", "href")]
        self.open = (tag, given.get("id") or given.get("class") or given.get("type") or "")

    def handle_data(self, data):
        if self.open and self.open[0] == "script":
            self.scripts.setdefault(self.open[1], []).append(data)
        else:
            self.words.append(data)

    def handle_endtag(self, tag):
        self.open = None


def facts_of(page):
    return json.loads(zlib.decompress(base64.b64decode(page.scripts["facts"][0])))


def arrays_of(page):
    block, found, start = zlib.decompress(base64.b64decode(page.scripts["arrays"][0])), {}, 0
    for one in facts_of(page)["arrays"]:
        kind = np.dtype("<" + one["kind"])
        found[one["name"]] = np.frombuffer(block, kind, one["length"], start)
        start += -(-one["length"] * kind.itemsize // 4) * 4
    assert start == len(block)
    return found


@pytest.fixture(scope="module")
def page(gathered, tmp_path_factory):
    return write_explorer(gathered[1], tmp_path_factory.mktemp("page") / "explore.html", "en")


def test_the_page_carries_what_was_gathered(gathered, page):
    facts, read = gathered[1].facts, Reading(page.read_text(encoding="utf-8"))
    arrays, told = arrays_of(read), facts_of(read)
    assert told["n"] == len(facts)
    assert told["names"] == list(facts.names)
    assert told["classes"] == ["b&w", "grün", "red"]
    assert (arrays["label"] == facts.label).all()
    assert (arrays["split"] == facts.split).all()
    assert arrays["x"] / 65535 == pytest.approx(facts.places[:, 0], abs=1e-4)
    assert (arrays["nearLabeled"].reshape(len(facts), -1) == facts.labeled).all()
    classes, chances = (arrays[name].reshape(len(facts), 3) for name in ("classesOf", "chances"))
    assert np.take_along_axis(facts.chances, classes.astype(int), axis=1) == pytest.approx(chances / 255, abs=0.003)
    assert (np.diff(chances.astype(int), axis=1) <= 0).all()
    (sheet,) = read.scripts["sheet"]
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet))).convert("RGB")).astype(int)
    tiles = told["tiles"]
    for number in (0, 100):
        left, top = tiles["width"] * (number % tiles["columns"]), tiles["height"] * (number // tiles["columns"])
        own = gathered[1].take(np.array([number]))[0].transpose(1, 2, 0).astype(int)
        assert np.abs(seen[top : top + 16, left : left + 16].mean(axis=(0, 1)) - own.mean(axis=(0, 1))).max() < 12
    # It asks for nothing.
    text = page.read_text(encoding="utf-8")
    assert [address for address in read.addresses if not address.startswith("#")] == []
    assert not re.search(r"(?:https?:)?//(?!local)\w+\.\w+/", re.sub(r"[A-Za-z0-9+/=]{200,}", "", text))


def test_lists_are_readable_without_a_script(gathered, page):
    words = " ".join("".join(Reading(page.read_text(encoding="utf-8")).words).split())
    lists = gathered[1].lists
    assert f"{lists.counts['suspects']} labels look wrong" in words or not lists.counts["suspects"]
    for title in (
        "Labels that look wrong",
        "To label next",
        "Most uncertain",
        "Near-copies",
        "Pseudo-labels",
        "grün: kept",
    ):
        assert title in words
    facts, first = gathered[1].facts, lists.label_next[0]
    name = gathered[1].classes[facts.guesses[first]]
    assert f"{name}, {100 * facts.sure[first]:.0f} %" in words


HOSTILE = ("</script><script>bad()</script>", "<img src=x onerror=bad()>", 'a\u202eb & "c"')


def test_names_are_neither_markup_nor_script(gathered, tmp_path):
    explored = gathered[1]
    names = (HOSTILE[0] + "/\udcff.png", HOSTILE[1], *explored.facts.names[2:])
    hostile = replace(explored, classes=HOSTILE, facts=replace(explored.facts, names=names))
    text = write_explorer(hostile, tmp_path / "page.html", "en").read_text(encoding="utf-8")
    assert "bad()</script>" not in text
    assert "<img" not in text
    told = facts_of(Reading(text))
    assert told["classes"][1] == HOSTILE[1]
    assert "\u202e" not in told["classes"][2]
    assert told["odd"]["0"].endswith("%FF.png")


def test_russian_is_whole(gathered, tmp_path):
    text = write_explorer(gathered[1], tmp_path / "page.html", "ru").read_text(encoding="utf-8")
    read = Reading(text)
    assert "Что видит классификатор" in text
    assert all(re.search("[а-яА-Я]", word) for word in facts_of(read)["words"].values())
    assert "Pseudo-labels" not in " ".join(read.words)


@pytest.mark.slow
def test_the_command_writes_the_page_and_the_report_leads_to_it(finished_photos, tmp_path, capsys):
    run = shutil.copytree(finished_photos, tmp_path / "run")
    main(["report", str(run)])
    assert 'href="explore' not in (run / "report.html").read_text(encoding="utf-8")
    main(["explore", str(run), "--count", "5"])
    assert re.search(r"explore\.html \(\d\.\d MB\)", capsys.readouterr().out.replace("\n", ""))
    assert 'href="explore.html"' in (run / "report.html").read_text(encoding="utf-8")
    main(["explore", str(run), "--lang", "ru", "--out", str(tmp_path / "elsewhere" / "p.html")])
    read = Reading((tmp_path / "elsewhere" / "p.html").read_text(encoding="utf-8"))
    told = facts_of(read)
    assert (tmp_path / "elsewhere" / told["base"].replace("%20", " ") / told["names"][3]).is_file()


@pytest.mark.slow
def test_other_networks_and_images_that_are_no_files(finished_gain, monkeypatch):
    kept = []
    monkeypatch.setattr(exploring, "write_explorer", lambda explored, path, code: kept.append(explored) or path)
    explore(finished_gain, out=Path("nowhere.html"))
    (explored,) = kept
    assert explored.root is None
    assert explored.facts.names[0].startswith("labeled/")
    assert explored.teller is None
    assert explored.rebuild is not None
    unlabeled = np.flatnonzero(explored.facts.split == 1)
    error = np.square(explored.rebuild(unlabeled).astype(float) - explored.take(unlabeled)).mean() / 127.5**2
    assert error == pytest.approx(reopen(finished_gain).findings.autoencoders[0].outcome.held_out_mse, rel=0.25)


def test_what_can_not_be_explored_is_said(finished_photos, tmp_path):
    with pytest.raises(UserError, match="--images 10: give 50 or more"):
        explore(finished_photos, images=10)
    with pytest.raises(UserError, match="--count 0: give 1 or more"):
        explore(finished_photos, count=0)
    with pytest.raises(UserError, match="no finished run of the main job"):
        explore(tmp_path)


# The script, without a browser


def deno(*arguments, text=""):
    from deno import find_deno_bin

    return subprocess.run([find_deno_bin(), *arguments], input=text, capture_output=True, text=True, check=False)


def test_the_linter_has_nothing_to_say():
    found = deno("lint", "--quiet", str(SCRIPTS))
    assert found.returncode == 0, found.stderr


def test_modules_stand_on_those_before_them_and_none_is_left_out():
    assert sorted(path.stem for path in SCRIPTS.glob("*.js")) == sorted(MODULES)
    for place, name in enumerate(MODULES):
        text = (SCRIPTS / f"{name}.js").read_text()
        assert set(re.findall(r'from "\./(\w+)\.js"', text)) <= set(MODULES[:place])
        assert len(text.splitlines()) <= 400
    assert not re.search(r"^(?:import|export) ", bundle(), flags=re.MULTILINE)
    assert "</script" not in bundle()


def run_script(code, **given):
    """Run a script over the modules, with values as JSON, and return what it prints as JSON."""
    imports = "\n".join(
        f'import * as {name} from "{(SCRIPTS / f"{name}.js").as_uri()}";'
        for name in ("view", "colours", "selection", "data")
    )
    whole = f"{imports}\nconst given = {json.dumps(given)};\n{code}"
    found = deno("run", "--quiet", "--allow-read", "--ext=js", "-", text=whole)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_a_lasso_catches_what_lies_inside():
    random = np.random.default_rng(3)
    polygon, points = random.random((9, 2)).round(3), random.random((400, 2)).round(3)
    active = random.integers(0, 2, 400)
    caught = run_script(
        "console.log(JSON.stringify(view.caught(given.polygon, given.xs, given.ys, given.active)))",
        polygon=polygon.tolist(), xs=points[:, 0].tolist(), ys=points[:, 1].tolist(), active=active.tolist(),
    )  # fmt: skip
    # Even-odd: the path's own test counts windings, so rays are cast here.
    inside = []
    for number, (x, y) in enumerate(points):
        ends = zip(polygon, np.roll(polygon, -1, axis=0), strict=True)
        crossings = sum(
            (a[1] > y) != (b[1] > y) and x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0] for a, b in ends
        )
        if active[number] and crossings % 2:
            inside.append(number)
    assert caught == inside
    triangle = np.array([[0.1, 0.1], [0.9, 0.2], [0.4, 0.8]])
    found = run_script(
        "console.log(JSON.stringify(view.caught(given.polygon, given.xs, given.ys, given.xs.fill ? given.xs.map(() => 1) : [])))",
        polygon=triangle.tolist(), xs=points[:, 0].tolist(), ys=points[:, 1].tolist(),
    )  # fmt: skip
    assert found == np.flatnonzero(Polygon(triangle).contains_points(points)).tolist()


def test_zooming_keeps_what_is_under_the_pointer_and_pictures_stay_when_moved():
    found = run_script(
        """
        const whole = view.fitted(800, 600);
        const near = view.zoomed(view.zoomed(whole, 3.3, 420, 310), 0.7, 380, 280);
        const at = [view.placeAt(whole, 420, 310), view.placeAt(view.zoomed(whole, 3.3, 420, 310), 420, 310)];
        const xs = given.xs, ys = given.ys, active = xs.map(() => 1), order = xs.map((_, image) => image);
        const rooms = [near, view.moved(near, 33, -21)].map((one) => [...view.roomy(xs, ys, order, active, one)]);
        const least = view.roomy(xs, ys, order, active, whole).length;
        const nothing = view.roomy(xs, ys, order, xs.map(() => 0), whole).length;
        const far = view.zoomed(whole, 1e9, 0, 0).scale / whole.least;
        console.log(JSON.stringify({ at, rooms, least, nothing, far, resized: view.resized(near, 400, 300).scale / near.scale }));
        """,
        xs=np.linspace(0, 1, 3000).tolist(), ys=(np.arange(3000) % 53 / 53).tolist(),
    )  # fmt: skip
    assert found["at"][0] == pytest.approx(found["at"][1])
    assert found["rooms"][0] == found["rooms"][1]
    assert 100 < found["least"] < len(found["rooms"][0]) <= 3000
    assert found["nothing"] == 0
    assert found["far"] <= 80
    assert found["resized"] == pytest.approx(268 / 568)


DATA = {
    "n": 3, "top": 2, "classes": ['a, "b"', "c"], "label": [0, -1, 1], "split": [0, 1, 2], "classesOf": [1, 0, 0, 1, 1, 0],
    "chances": [200, 55, 255, 0, 128, 127], "classesWithout": [0, 1, 0, 1, 0, 1], "baseline": "x", "foreign": [0, 128, 255],
    "names": ["train/ä 100%.png", "line\nbreak.png", "=cmd()"], "odd": {"1": "odd%FF.png"}, "files": True, "way": "w",
    "splits": ["l", "u", "t"],
    "words": {"range": "{low}-{high}", "bothRight": "r", "toRight": "tr", "toWrong": "tw", "bothWrong": "w", "noLabel": "n"},
}  # fmt: skip


def test_a_selection_becomes_a_table_and_tasks():
    found = run_script(
        """
        const csv = selection.toCsv(given, [2, 0, 1]);
        const tasks = JSON.parse(selection.toTasks(given, [0, 1], null));
        const drawn = JSON.parse(selection.toTasks({ ...given, files: false }, [2], () => "data:x"));
        const chosen = new selection.Selection();
        const heard = [];
        chosen.onChange((one) => heard.push(one.images.size));
        chosen.toggle(4); chosen.add([1, 2, 4]); chosen.toggle(4); chosen.clear();
        console.log(JSON.stringify({ csv, tasks, drawn, heard }));
        """,
        **DATA,
    )
    rows = list(csv.DictReader(io.StringIO(found["csv"], newline="")))
    assert [row["image"] for row in rows] == ["=cmd()", "train/ä 100%.png", "line\nbreak.png"]
    assert [row["label"] for row in rows] == ["c", 'a, "b"', ""]
    assert [row["split"] for row in rows] == ["test", "labeled", "unlabeled"]
    assert [(row["guess"], row["probability"], row["second"]) for row in rows] == [
        ("c", "0.50", 'a, "b"'), ("c", "0.78", 'a, "b"'), ('a, "b"', "1.00", "c"),
    ]  # fmt: skip
    assert found["tasks"][0]["data"]["image"] == "/data/local-files/?d=train/%C3%A4%20100%25.png"
    assert found["tasks"][1]["data"]["image"] == "/data/local-files/?d=odd%FF.png"
    assert found["tasks"][0]["predictions"][0]["result"][0]["value"] == {"choices": ["c"]}
    assert found["drawn"][0]["data"]["image"] == "data:x"
    assert found["heard"] == [1, 3, 2, 0]


def test_what_is_filled_in_is_not_looked_at_again():
    code = f'import {{ filled }} from "{(SCRIPTS / "detail.js").as_uri()}";'
    text = "{a}, {b}; {c}"
    whole = f"{code}\nconsole.log(JSON.stringify(filled({json.dumps(text)}, {{ a: '{{b}} $& $1', b: 0 }})))"
    found = deno("run", "--quiet", "--allow-read", "--ext=js", "-", text=whole)
    assert json.loads(found.stdout) == "{b} $& $1, 0; {c}", found.stderr


def test_colours_stand_for_what_their_names_say():
    found = run_script(
        """
        const of = (mode, more = {}) => {
          const one = colours.colouring(mode, { ...given, ...more });
          return { kind: [...one.kind], names: one.legend.map(({ name }) => name), counts: one.legend.map(({ count }) => count) };
        };
        const many = Array.from({ length: 300 }, (_, number) => colours.classColour(number, 300));
        console.log(JSON.stringify({
          modes: Object.fromEntries(colours.MODES.map((mode) => [mode, of(mode)])),
          alone: of("right", { baseline: null, words: { right: "r", wrong: "w", noLabel: "n" } }),
          many: new Set(many).size,
        }));
        """,
        **DATA,
    )
    modes = found["modes"]
    assert modes["class"] == {"kind": [0, 0, 1], "names": DATA["classes"], "counts": [2, 1]}
    assert modes["split"]["kind"] == [0, 1, 2]
    assert modes["right"] == {"kind": [2, 4, 1], "names": ["tr", "tw", "n"], "counts": [1, 1, 1]}
    assert modes["probability"]["kind"] == [5, 6, 3]
    assert modes["foreign"]["kind"] == [0, 3, 6]
    assert modes["foreign"]["names"] == ["0-14", "43-57", "86-100"]
    assert found["alone"]["names"] == ["r", "w", "n"]
    assert found["many"] > 250


# In a browser


@pytest.fixture
def opened(page, monkeypatch):
    if BROWSER is None:
        pytest.skip("no Chromium on this machine; the script's modules are tested without one")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=options)
        complaints, requests = [], []

        def open_page(width=1200, height=900, scheme="light", *, before="", ready="html.ready", **more):
            tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, **more)
            tab.add_init_script(before)
            tab.on("console", lambda message: complaints.append(message.text))
            tab.on("pageerror", lambda error: complaints.append(str(error)))
            tab.on("request", lambda request: requests.append(request.url))
            tab.goto(page.as_uri())
            if more.get("java_script_enabled", True):
                tab.wait_for_selector(ready)
            return tab

        open_page.complaints = complaints
        try:
            yield open_page
            assert complaints == []
            assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
        finally:
            browser.close()


def pixels(tab):
    return tab.evaluate("document.querySelector('#map').toDataURL()")


def saved(tab, button):
    with tab.expect_download() as waiting:
        button.click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore")
def test_a_reader_looks_around_and_chooses(opened, gathered):
    tab, explored = opened(), gathered[1]
    box = tab.locator("#map").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    seen = [pixels(tab)]
    tab.mouse.move(*middle)
    tab.mouse.wheel(0, -400)
    tab.mouse.down()
    tab.mouse.move(middle[0] + 90, middle[1] + 40, steps=4)
    tab.mouse.up()
    tab.wait_for_timeout(100)
    seen.append(pixels(tab))
    tab.locator("#colour").select_option("right")
    tab.wait_for_timeout(100)
    seen.append(pixels(tab))
    assert len(set(seen)) == 3
    # A lasso around everything.
    tab.locator("[data-map=fit]").click()
    tab.locator("[data-map=lasso]").click()
    left, top, right, bottom = box["x"] + 5, box["y"] + 5, box["x"] + box["width"] - 5, box["y"] + box["height"] - 5
    tab.mouse.move(left, top)
    tab.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        tab.mouse.move(x, y, steps=3)
    tab.mouse.up()
    assert tab.locator("#selection output").inner_text() == f"chosen: {len(explored.facts)}"
    name, text = saved(tab, tab.locator("#selection [data-do=tasks]"))
    assert name == "label-studio.json"
    assert {task["data"]["name"] for task in json.loads(text)} == set(explored.facts.names)
    tab.locator("#selection [data-do=clear]").click()
    assert not tab.locator("#selection").is_visible()
    # A list as a table.
    name, text = saved(tab, tab.locator("#label-next [data-do=csv]"))
    assert name == "label-next.csv"
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["image"] for row in rows] == [explored.facts.names[image] for image in explored.lists.label_next]
    assert {row["split"] for row in rows} == {"unlabeled"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_one_image_tells_what_it_is_taken_for_and_why(opened, gathered):
    tab, explored = opened(), gathered[1]
    facts, image = explored.facts, explored.lists.label_next[2]
    tab.locator(f"#label-next button[data-image='{image}']").click()
    told = tab.locator("#detail").inner_text()
    guess = explored.classes[facts.guesses[image]]
    assert f"Taken for {guess}: {100 * facts.sure[image]:.0f} %" in told
    assert facts.names[image] in told
    same = int((facts.label[facts.labeled[image]] == facts.guesses[image]).sum())
    assert f"Of the {facts.labeled.shape[1]} labeled images of this page nearest to it {same} are {guess}" in told
    link = tab.locator("#detail a").evaluate("link => link.href")
    assert link == (Path(explored.root) / facts.names[image]).as_uri()
    # Along the list and back to it.
    assert tab.evaluate("document.activeElement.tagName") == "H2"
    tab.locator("#detail .trail button").nth(1).click()
    assert facts.names[explored.lists.label_next[3]] in tab.locator("#detail").inner_text()
    tab.locator("#detail .trail button").nth(0).click()
    tab.locator("#detail .trail button").nth(2).click()
    assert tab.evaluate("document.activeElement.dataset.image") == str(image)
    # On to a neighbour, chosen by the keyboard.
    tab.locator("#detail .strip button").first.click()
    assert facts.names[facts.labeled[image][0]] in tab.locator("#detail").inner_text()
    tab.locator("#detail .choose").press("Enter")
    assert tab.locator("#selection output").inner_text() == "chosen: 1"
    first = tab.locator("#most-uncertain button[data-image]").first
    first.focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press(" ")
    assert tab.locator("#selection output").inner_text() == "chosen: 2"
    assert tab.evaluate("document.activeElement.dataset.image") == str(explored.lists.uncertain[1])
    assert tab.evaluate("document.activeElement.ariaPressed") == "true"
    # The map by keys alone.
    tab.locator("#map").focus()
    before = pixels(tab)
    for key in ("+", "ArrowLeft", "Enter"):
        tab.keyboard.press(key)
    tab.wait_for_timeout(100)
    assert pixels(tab) != before
    assert any(name in tab.locator("#detail").inner_text() for name in facts.names)


@pytest.mark.filterwarnings("ignore")
def test_kinds_and_names_can_be_left_out(opened, gathered):
    tab, facts = opened(), gathered[1].facts
    tab.locator("#colour").select_option("split")
    tab.locator("#legend button").first.click()
    assert tab.locator("#legend button").first.get_attribute("aria-pressed") == "false"
    tab.locator("#search").fill("100%")
    assert tab.locator("#found output").inner_text() == "found: 30"
    tab.locator("#found button").click()
    bar = tab.locator("#selection").bounding_box()
    assert 0 < bar["y"] < 900 - bar["height"]
    assert tab.locator("#selection output").inner_text() == "chosen: 30"
    tab.locator("#map").focus()
    tab.keyboard.press("0")
    tab.locator("#map").press("Enter")
    assert "ä 100%" in tab.locator("#detail h2").inner_text()
    assert sum("100%" in name for name in facts.names) == 30


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1200, "light"), (3840, "dark")])
@pytest.mark.filterwarnings("ignore")
def test_it_fits_phones_and_large_screens(opened, width, scheme):
    tab = opened(width, 844 if width < 500 else 2000, scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(20, 21, 24)") == (scheme == "dark")
    box = tab.locator("#map").bounding_box()
    assert box["width"] > 0.5 * width
    assert box["height"] > 300
    legend = tab.locator("#legend").bounding_box()
    if width < 500:  # below the map, not on it
        assert legend["y"] >= box["y"] + box["height"]
    assert (
        tab.locator("#label-next .tile")
        .first.evaluate("tile => getComputedStyle(tile).backgroundImage")
        .startswith('url("data:image/webp')
    )


@pytest.mark.filterwarnings("ignore")
def test_two_fingers_zoom(opened):
    tab = opened(390, 844, has_touch=True)
    box = tab.locator("#map").bounding_box()
    before = pixels(tab)
    session = tab.context.new_cdp_session(tab)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def touch(kind, *spreads):
        points = [{"x": x + sign * one, "y": y + sign * one} for one in spreads for sign in (-1, 1)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 20)
    for spread in (40, 60, 80):
        touch("touchMove", spread)
    touch("touchEnd")
    tab.wait_for_timeout(100)
    assert pixels(tab) != before
    assert tab.evaluate("visualViewport.scale") == 1


@pytest.mark.filterwarnings("ignore")
def test_without_a_script_the_lists_are_there_and_the_map_is_not(opened):
    tab = opened(java_script_enabled=False)
    assert not tab.locator("#explorer").is_visible()
    assert tab.locator("#label-next .image").first.is_visible()
    assert not tab.locator("#label-next .tools").is_visible()
    assert "needs a script" in tab.locator("header").inner_text()


@pytest.mark.filterwarnings("ignore")
def test_a_browser_that_lacks_something_says_so_and_has_the_lists(opened):
    tab = opened(before="delete globalThis.DecompressionStream", ready="#failed")
    assert "can't be drawn by this browser" in tab.locator("#failed").inner_text()
    assert tab.locator("#label-next .image").first.is_visible()
    assert tab.locator("nav").is_visible()
    assert "DecompressionStream" in opened.complaints.pop()


@pytest.mark.filterwarnings("ignore")
def test_the_wheel_goes_on_down_the_page_where_all_is_seen(opened):
    tab = opened()
    box = tab.locator("#map").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.wheel(0, 300)
    tab.wait_for_timeout(300)
    assert tab.evaluate("scrollY") > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_on_a_phone_what_is_pressed_comes_into_sight(opened):
    tab = opened(390, 844, has_touch=True)
    box = tab.locator("#map").bounding_box()
    tab.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.locator("#map").press("Enter")
    tab.wait_for_timeout(900)
    head = tab.locator("#detail .taken").bounding_box()
    assert 0 <= head["y"] <= 844 - head["height"]
    tab.locator("#most-uncertain button[data-image]").nth(1).tap()
    tab.wait_for_timeout(900)
    assert tab.locator("#detail .trail").bounding_box()["y"] >= 0
    head = tab.locator("#detail .taken").bounding_box()
    assert 0 <= head["y"] <= 844 - head["height"]


def test_many_classes_do_not_swell_the_page(gathered, monkeypatch):
    monkeypatch.setattr(exploring, "_PSEUDO_LABELS", 4)
    found = _Gathering(gathered[0], Silent()).gather(1000, 7)
    shown = [image for groups in (found.lists.kept, found.lists.left_out) for some in groups.values() for image in some]
    assert 0 < len(shown) <= 4
    assert max(map(len, found.lists.kept.values())) == 1
