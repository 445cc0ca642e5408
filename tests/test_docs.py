"""The pages of docs/: every command and every piece of code in them is run, in order, where a reader would have his photographs."""

import gzip
import json
import re
import shlex
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unlabeled as ul
from conftest import made_once, own_cache
from unlabeled.cli import app, main
from unlabeled.config.names import separate
from unlabeled.presets import read_file, resolve

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("first-answer", "your-images", "millions", "reading-the-report", "seeing", "using-the-classifier")
# Pages whose code other tests run, or what it does.
ELSEWHERE = {"EXTENDING": "test_methods.py", "ESTIMATORS": "test_estimators.py", "clusters": "test_cluster.py"}
# So small that a page takes seconds; names of folders are those that a reader gets.
SMALL = {
    "device": "cpu", "jobs": 1, "precision": "fp32", "folds": 2, "seeds": 2, "strong": {
        "widths": [4, 6], "training": {"steps": 6, "batch_size": 16}, "consistency": {"steps": 4},
        "self_training": {"steps": 6}, "rounds": 1,
    },
    "leave_out": ["random", "pca", "frozen", "denoised", "pretrained", "rotations"], "classical": {"trees": 5, "strengths": [0.1]},
    "curve": {"labels": [0.5], "unlabeled": []},
}  # fmt: skip


def small(*layers):
    """Return the configuration of some options in small, in the folder that it has in large."""
    wanted = resolve(*layers)
    layers = [{name: value for name, value in layer.items() if name not in ("encoder", "network")} for layer in layers]
    return resolve(SMALL_KNOWN, *layers).model_copy(update={"out": wanted.folder})


def _known(settings, section):
    return {
        name: _known(value, getattr(section, name)) if isinstance(value, dict) else value
        for name, value in settings.items()
        if hasattr(section, name)
    }


SMALL_KNOWN = _known(SMALL, ul.Config())


def picture(random, kind, size=(24, 20)):
    return np.clip(random.normal(70, 40, (*size, 3)) + 90 * np.eye(3)[kind], 0, 255).astype(np.uint8)


def make_photographs(place):
    """Fill a folder with all that the pages speak of."""
    random = np.random.default_rng(0)

    def save(path, kind, **size):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(random, kind, **size)).save(path)

    for kind, name in enumerate(("red", "green", "blue")):
        for number in range(16):
            save(place / "photos" / "train" / name / f"{number}.png", kind)
        for number in range(6):
            save(place / "photos" / "test" / name / f"{number}.png", kind, size=(40, 30))
    for number in range(30):
        save(place / "photos" / "unlabeled" / f"{number}.png", number % 3)
    for name in ("holiday/a.jpg", "more/b.jpg", "inbox/c.jpg", "inbox/d.png", "photo.jpg"):
        save(place / name, 0, size=(50, 70))
    files = sorted((place / "photos").rglob("*.png"))
    labels = ["" if "unlabeled" in path.parts else path.parent.name for path in files]
    names = [str(path.relative_to(place)) for path in files]
    lines = [f"{name},{label}" for name, label in zip(names, labels, strict=True)]
    (place / "labels.csv").write_text("\n".join(["path,label", *lines]))
    numbers = {name: number for number, name in enumerate(sorted(set(labels) - {""}))}
    marks = [{"image_id": row, "category_id": numbers[label]} for row, label in enumerate(labels) if label]
    coco = {
        "images": [{"id": row, "file_name": name} for row, name in enumerate(names)],
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "annotations": marks,
    }
    (place / "instances.json").write_text(json.dumps(coco))
    _make_arrays(place, random)


def _make_arrays(place, random):
    x = np.stack([picture(random, kind % 3, (32, 32)) for kind in range(80)]).transpose(0, 3, 1, 2)
    y = np.arange(80) % 3
    np.savez(place / "mine.npz", x=x[:60], y=np.where(np.arange(60) < 36, y[:60], -1), x_test=x[60:], y_test=y[60:])
    (place / "digits").mkdir()
    for begin, count in (("train", 40), ("t10k", 12)):
        images = random.integers(0, 256, (count, 12, 12)).astype(np.uint8)
        head = struct.pack(">HBBIII", 0, 8, 3, *images.shape)
        (place / "digits" / f"{begin}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
        classes = (np.arange(count) % 3).astype(np.uint8)
        (place / "digits" / f"{begin}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">HBBI", 0, 8, 1, count) + classes.tobytes())
        )
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["red", "green", "blue"])})
    rows = {
        "image": [Image.fromarray(one.transpose(1, 2, 0)) for one in x[:40]],
        "label": [*y[:30].tolist(), *[-1] * 10],
    }
    datasets.Dataset.from_dict(rows, features=kinds).save_to_disk(place / "pets")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder of photographs in which the first answer was asked for already."""

    def make(place):
        make_photographs(place)
        with own_cache(tmp_path_factory), pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            patch.setattr("unlabeled.cli.resolve", small)
            main(["run", "--data", "folder:photos"])

    return made_once(tmp_path_factory, "docs", make)


def pieces(page):
    """Yield the language and the text of each block of code of a page."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    yield from re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands(block):
    return [re.split(r"\s{2,}#", line)[0].strip() for line in block.splitlines() if line.startswith("unlabeled ")]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_every_piece_of_code_of_a_page_runs(page, workplace, tmp_path, monkeypatch, capsys):
    place = shutil.copytree(workplace, tmp_path / "work")
    monkeypatch.chdir(place)
    monkeypatch.setattr("unlabeled.cli.resolve", small)
    monkeypatch.setattr(ul, "resolve", small)
    monkeypatch.setattr("unlabeled.finished.running.resolve", small)
    ran = 0
    for language, block in pieces(page):
        if language == "python":
            exec(compile(block, f"{page}.md", "exec"), {})
            ran += 1
        elif language == "toml":
            (place / "study.toml").write_text(block)
            assert resolve(read_file(place / "study.toml")).data_name == "photos"
            (line,) = [one.removeprefix("# ") for one in block.splitlines() if one.startswith("# unlabeled")]
            parsed(line)
        for line in commands(block):
            main(shlex.split(line)[1:])
            ran += 1
    assert ran >= 1
    assert "Traceback" not in capsys.readouterr().err


def parsed(line):
    given = shlex.split(line)[1:]
    app.parse_args(separate(given) if given[0] == "run" else given, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", [*PAGES, *ELSEWHERE, "../README"])
def test_every_command_that_a_sentence_names_is_one(page):
    text = re.sub(
        r"^```.*?^```$", "", (DOCS / f"{page}.md").read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    told = [line for _, block in pieces(page) for line in commands(block)]
    for line in told + re.findall(
        r"`(unlabeled (?:run|data|report|suggest|explore|predict|export|notebook|bundle)[^`]*)`", text
    ):
        if "--help" not in line and "..." not in line:
            parsed(line)


def test_all_pages_are_run_and_named_in_the_readme():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert {path.stem for path in DOCS.glob("*.md")} == {*PAGES, *ELSEWHERE, "LOG"}
    for page in (*PAGES, *ELSEWHERE):
        assert f"(docs/{page}.md)" in readme
    for page, test in ELSEWHERE.items():
        assert f"{page}.md" in (Path(__file__).parent / test).read_text(encoding="utf-8")
    for page in PAGES:
        for target in re.findall(r"\]\(([\w./-]+\.md)\)", (DOCS / f"{page}.md").read_text(encoding="utf-8")):
            assert (DOCS / target).exists()
