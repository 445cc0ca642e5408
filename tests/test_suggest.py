"""Which images to label next, which labels look wrong, and how that is written and tried."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from conftest import TINY_STRONG, own_cache, read_arrays, read_findings, read_study
from unlabeled.cli import main
from unlabeled.console.progress import RunProgress
from unlabeled.errors import UserError
from unlabeled.evaluation.choosing import choose, uncertainty
from unlabeled.evaluation.suspects import find_suspects
from unlabeled.experiments.applying import apply, ask_unseen, out_of_fold
from unlabeled.experiments.growing import GrownTask, chosen_of, pick
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.performing import perform
from unlabeled.experiments.selftraining import TEACHER, StrongTask
from unlabeled.experiments.within import LabelShare, lab_within
from unlabeled.finished import reopen
from unlabeled.finished.backtest import run_backtest
from unlabeled.finished.suggesting import _verdict, write_suggestions
from unlabeled.grammar.section import Context
from unlabeled.grammar.words import Language
from unlabeled.images import Images
from unlabeled.methods.strong import SELF_TRAINED
from unlabeled.presets import resolve
from unlabeled.report.page import write_report
from unlabeled.sources import load
from unlabeled.studies import GAIN
from unlabeled.studies.course import run_gain
from unlabeled.studies.looks import turned, wrong_labels
from unlabeled.studies.probabilities import probabilities


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with own_cache(tmp_path_factory):
        config = resolve(TINY_STRONG, {"data": "digits", "unlabeled": 120, "test": 60})
        return run_gain(config, load(config), folder=tmp_path_factory.mktemp("run") / "digits")


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Choosing


def test_uncertainty_is_the_entropy_as_a_share_of_the_most():
    assert uncertainty(np.array([[0.25] * 4, [1, 0, 0, 0], [0.5, 0.5, 0, 0]])) == pytest.approx([1, 0, 0.5], abs=1e-6)


def blobs(sizes, spread=0.02, dimensions=8, seed=0):
    """Codes in as many directions as there are sizes."""
    random = np.random.default_rng(seed)
    centres = np.eye(dimensions)[: len(sizes)]
    kinds = np.repeat(np.arange(len(sizes)), sizes)
    return centres[kinds] + spread * random.normal(size=(len(kinds), dimensions)), kinds


def test_doubtful_images_are_chosen_from_each_kind_and_each_class():
    """Of two classes with two kinds of image each, the one doubtful image of every kind."""
    codes, kinds = blobs([40, 40, 40, 40])
    chances = np.tile([0.9, 0.1], (160, 1))
    chances[kinds >= 2] = [0.1, 0.9]
    doubtful = [5, 55, 95, 155]
    chances[doubtful] = [[0.55, 0.45], [0.55, 0.45], [0.45, 0.55], [0.45, 0.55]]
    found = choose(chances, codes, 4, known=codes[:1], per_class=50)
    assert sorted(found) == doubtful


def test_classes_get_what_is_expected_of_them():
    random = np.random.default_rng(1)
    chances = np.repeat([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.01, 0.98]], [60, 30, 10], axis=0)
    found = choose(chances, random.normal(size=(100, 5)), 20, known=random.normal(size=(3, 5)), per_class=20)
    assert np.bincount(chances[found].argmax(axis=1)).tolist() == [12, 6, 2]
    assert len(set(found.tolist())) == 20


def test_with_few_labels_kinds_without_one_come_first_and_typical_images_of_them():
    codes, kinds = blobs([30, 50, 40])
    outlier = 35
    codes[outlier] = codes[outlier] + 0.3 * np.eye(8)[7]
    chances = np.full((120, 2), 0.5)
    found = choose(chances, codes, 2, known=blobs([1, 0, 0])[0], per_class=0.5)
    assert sorted(kinds[found]) == [1, 2]
    assert outlier not in found


@pytest.mark.parametrize("per_class", [1, 100])
@pytest.mark.parametrize("count", [1, 7, 40, 99])
def test_no_image_is_chosen_twice_and_no_more_than_there_are(per_class, count):
    random = np.random.default_rng(2)
    chances = random.dirichlet([0.3] * 4, size=40)
    found = choose(chances, random.normal(size=(40, 6)), count, known=random.normal(size=(4, 6)), per_class=per_class)
    assert len(found) == len(set(found.tolist())) == min(count, 40)


def pixels_as_codes(images):
    return images.reshape(len(images), -1).astype(np.float32) - 128


def test_no_two_that_are_nearly_the_same_are_chosen_and_none_like_a_labeled_one():
    random = np.random.default_rng(3)
    smooth = np.kron(random.integers(0, 256, (60, 1, 6, 6)), np.ones((4, 4))).astype(np.uint8)
    pool = np.concatenate([smooth[:40], smooth[:10, :, :, ::-1], smooth[50:55]])
    chances = np.full((len(pool), 2), 0.5)
    chances[:, 0] += random.normal(size=len(pool)) * 0.01
    codes = pixels_as_codes(pool), pixels_as_codes(smooth[50:])
    found = pick(chances, Images(pool), Images(smooth[50:]), codes, 30, classes=2)
    assert not set(found.tolist()) & set(range(50, 55))
    assert not {row for row in found if row < 10} & {row - 40 for row in found if 40 <= row < 50}
    assert len(found) == 30
    everything = pick(chances, Images(pool), Images(smooth[50:]), codes, 100, classes=2)
    assert len(everything) == 40


# Labels that look wrong


def test_exchanged_labels_are_found_and_hard_images_are_not():
    random = np.random.default_rng(4)
    truth = random.integers(0, 5, 1000)
    logits = 1.5 * random.normal(size=(1000, 5))
    logits[np.arange(1000), truth] += 5
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    given, exchanged = truth.copy(), random.choice(1000, 50, replace=False)
    given[exchanged] = (truth[exchanged] + random.integers(1, 5, 50)) % 5
    found = find_suspects(chances, given)
    right = set(found.rows) & set(exchanged.tolist())
    assert len(right) >= 0.75 * 50
    assert len(right) >= 0.75 * len(found)
    assert [given[row] for row in found.rows] == list(found.given)
    assert list(found.confidence) == sorted(found.confidence, reverse=True)
    assert np.mean([truth[row] == likely for row, likely in zip(found.rows, found.likely, strict=True)]) > 0.75


def test_what_no_network_judged_and_classes_without_a_label_are_no_suspects():
    chances = np.array([[0.9, 0.05, 0.05], [np.nan] * 3, [0.05, 0.9, 0.05], [0.05, 0.9, 0.05]])
    found = find_suspects(chances, np.array([0, 1, 1, 0]))
    assert found.rows == (3,)
    assert len(find_suspects(np.full((2, 3), np.nan), np.array([0, 1]))) == 0


def test_labels_are_judged_by_networks_that_were_not_trained_on_them(finished):
    opened = reopen(finished)
    runs = opened.tasks(SELF_TRAINED.arm)
    asked = ask_unseen(opened.lab, [task for task, _ in runs])
    chances = out_of_fold(asked, len(opened.lab.splits.labeled), 10)
    assert np.isfinite(chances).all()
    row = 17
    judges = [
        apply(opened.lab, task).probabilities(opened.lab.splits.labeled.subset([row]))[0]
        for task, _ in runs
        if row not in opened.lab.folds.folds[task.fold].train
    ]
    assert len(judges) == 3
    np.testing.assert_allclose(chances[row], np.mean(judges, axis=0), rtol=1e-4, atol=1e-6)
    assert opened.findings.looks.suspects == find_suspects(chances, opened.lab.splits.labeled.classes)


def test_a_network_read_again_says_what_it_said(finished):
    opened = reopen(finished)
    for task, row in [*opened.tasks(TEACHER)[:2], *opened.tasks(SELF_TRAINED.arm)[:1]]:
        chances = apply(opened.lab, task).probabilities(opened.lab.splits.test)
        assert (chances.argmax(1) == read_arrays(finished / row.run / "test.npz")["predicted"]).all()


def test_images_turn_and_classes_gain_as_their_runs_say(finished):
    findings, labels = read_findings(finished), read_arrays(finished / "test.npz")["labels"]
    looks, main = findings.looks, findings.comparison.answer.without
    right = {
        arm: np.mean([read_arrays(finished / r.run / "test.npz")["predicted"] == labels for r in findings.rows if r.arm == arm], 0)
        for arm in (main.treated, main.control)
    }  # fmt: skip
    change = right[main.treated] - right[main.control]
    assert set(looks.to_right) == set(np.flatnonzero(change >= 0.5))
    assert set(looks.to_wrong) == set(np.flatnonzero(change <= -0.5))
    assert [gain.mean for gain in looks.gains] == pytest.approx(
        [100 * change[labels == one].mean() for one in range(10)]
    )


# The lists


def test_the_lists_name_files_that_are_there(finished_photos, photos):
    written = write_suggestions(finished_photos, count=12, backtest=False)
    folder = finished_photos / "suggestions"
    assert {path.name for path in folder.iterdir()} == {
        "label-next.csv", "label-next.png", "label-studio.json", "label-studio.xml", "check-labels.csv"
    }  # fmt: skip
    rows = rows_of(folder / "label-next.csv")
    assert [row["image"] for row in rows] == [one.name for one in written.suggestions]
    assert len({row["image"] for row in rows}) == 12
    splits = load(resolve(TINY_STRONG, {"data": f"folder:{photos}", "side": 16}))
    for one in written.suggestions:
        with Image.open(one.name) as picture:
            shown = np.asarray(picture).transpose(2, 0, 1)
        assert (shown == splits.unlabeled.take(np.array([one.row]))[0]).all()
        assert 0 < one.probability <= 1
    tasks = json.loads((folder / "label-studio.json").read_text())
    for task, row in zip(tasks, rows, strict=True):
        below = unquote(re.fullmatch(r"/data/local-files/\?d=(.+)", task["data"]["image"])[1])
        assert photos.absolute() / below == Path(row["image"])
        (guess,) = task["predictions"]
        assert guess["result"][0]["value"]["choices"] == [row["guess"]]
    labeling = ElementTree.fromstring((folder / "label-studio.xml").read_text(encoding="utf-8"))
    assert [choice.get("value") for choice in labeling.iter("Choice")] == list(splits.class_names)
    (control,) = labeling.iter("Choices")
    assert (control.get("name"), control.get("toName")) == (
        guess["result"][0]["from_name"],
        guess["result"][0]["to_name"],
    )
    with Image.open(folder / "label-next.png") as sheet:
        assert sheet.size[0] > 600
    for row in rows_of(folder / "check-labels.csv"):
        assert Path(row["image"]).parent.name == row["label"] != row["likelier"]


def test_images_that_are_no_files_are_named_by_split_and_number(finished, tmp_path):
    written = write_suggestions(finished, count=5, backtest=False, out=tmp_path / "lists")
    assert all(re.fullmatch(r"unlabeled/\d+", one.name) for one in written.suggestions)
    tasks = json.loads((tmp_path / "lists" / "label-studio.json").read_text())
    assert all(task["data"]["image"].startswith("data:image/png;base64,") for task in tasks)


@pytest.mark.slow
def test_the_command_tries_it_on_known_labels_and_says_how_that_went(finished, capsys):
    main(["suggest", str(finished), "--count", "7"])
    said = capsys.readouterr().out
    assert re.search(r"7 of 120 unlabeled images to label next, by 6 networks \(strong network, self-training\)", said)
    assert re.search(
        r"random choice on your own labels: [+−]?\d+\.\d \(.*\) points \(19 of 7\d hidden labels a fold, 6 rounds\)",
        said,
    )
    folders = {path.parent.name for path in finished.glob("runs/grown-*/*")}
    assert folders == {"grown-suggested", "grown-random"}


def test_both_choices_begin_alike_and_add_as_many_hidden_labels(finished, monkeypatch):
    opened = reopen(finished)
    seen = {}

    def remember(self, lab, folder, needed, watcher):
        seen[folder.name] = lab.folds.folds[self.fold]
        raise KeyboardInterrupt

    lab = opened.lab
    inner = StrongTask(TEACHER, lab.config.strong, 1, 0)
    tasks = {how: GrownTask(TEACHER, inner, how) for how in ("suggested", "random")}
    (base,) = tasks["random"].needs
    perform(lab, base)
    monkeypatch.setattr(StrongTask, "run", remember)
    for how, task in tasks.items():
        with pytest.raises(KeyboardInterrupt):
            task.run(lab, finished / "none" / how, (), None)
    assert set(seen) == {"suggested", "random"}
    begun = lab_within(lab, LabelShare(0.5)).folds.folds[1]
    hidden = np.setdiff1d(lab.folds.folds[1].train, begun.train)
    for fold in seen.values():
        added = np.setdiff1d(fold.train, begun.train)
        assert set(begun.train) < set(fold.train)
        assert set(added) < set(hidden)
        assert len(added) == chosen_of(len(hidden), 10)
        assert (fold.valid == begun.valid).all()


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("helps", "beats random choice"),
        ("hurts", "does worse than random choice"),
        ("no difference", "was not shown to be better than random choice"),
        ("imprecise", "was not shown to be better than random choice"),
        ("reading", "was not shown to be better than random choice"),
    ],
)
def test_it_is_said_whether_choosing_beats_chance(finished, verdict, words):
    opened = reopen(finished)
    found = replace(opened.findings.comparison.contrasts[0], verdict=verdict)
    assert words in _verdict(opened, found)


def test_the_page_shows_wrong_labels_and_what_turned(finished):
    text = write_report(finished).read_text(encoding="utf-8")
    looks = read_findings(finished).looks
    assert f"{len(looks.suspects)} of 300 labels look wrong to networks (strong network, self-training)" in text
    assert (
        f"{len(looks.to_right)} of 60 test images turn from wrong to right and {len(looks.to_wrong)} from right to wrong"
        in text
    )
    assert "What each class gains" in text


# What is refused


def refused(*given):
    with pytest.raises(UserError) as error:
        write_suggestions(*given, backtest=False)
    return str(error.value)


def test_runs_that_can_tell_nothing_are_refused(finished_studies, tmp_path):
    assert re.search("no finished run of the main job; give the folder", refused(tmp_path))
    assert re.search("no finished run of the main job", refused(tmp_path / "none"))
    assert re.search("answer of study baselines|no finished run", refused(finished_studies / "baselines"))


def test_changed_images_are_refused(finished_photos, photos, tmp_path, monkeypatch):
    other = shutil.copytree(photos, tmp_path / "other")
    shutil.rmtree(other / "unlabeled")
    run = shutil.copytree(finished_photos, tmp_path / "run")
    monkeypatch.setattr("unlabeled.finished.load", lambda config: replace(load(config), origin={"key": "another"}))
    assert re.search("the images are not those of .* any more; run unlabeled run again", refused(run))


def test_a_count_below_one_and_a_run_without_networks_are_refused(finished, monkeypatch):
    with pytest.raises(UserError, match="--count 0: give 1 or more"):
        write_suggestions(finished, count=0)
    opened = reopen(finished)
    rows = tuple(row for row in opened.findings.rows if row.arm.model != "network")
    with pytest.raises(UserError, match="no network was run here"):
        _ = replace(opened, findings=replace(opened.findings, rows=rows)).arm


def test_too_few_labels_to_hide_some_are_refused_by_their_number(finished):
    opened = reopen(finished)
    few = opened.lab.config.model_copy(update={"labels": 40})
    lab = Lab(few, opened.lab.splits, finished)
    with pytest.raises(
        UserError, match=r"0\.5 of the labels: fold 1 would have 1 images of class '\d' to train on, where 2 are needed"
    ):
        run_backtest(replace(opened, lab=lab), RunProgress())


def test_a_run_of_an_earlier_version_says_that_it_was_not_asked(finished):
    result = read_study(finished)
    context = Context.of(GAIN.findings, result, finished, Language("en"))
    context = replace(context, findings=replace(context.findings, looks=None), page=GAIN.pages[0])
    for part in (wrong_labels(context), probabilities(context)):
        assert part == ["This run was made before networks were asked this; the same command again asks them."]
    assert turned(context) == []
