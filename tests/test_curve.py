"""The answer in labels: its runs, what it reads off them, and what the page says of it."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from conftest import own_cache, read_arrays, read_findings, read_study
from unlabeled.errors import UserError
from unlabeled.evaluation.saving import Equivalent, Measured, More, Saving, label_saving
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.selftraining import TEACHER, StrongTask
from unlabeled.experiments.tasks import AutoencoderTask, ClassicalTask
from unlabeled.experiments.within import LabelShare, Pool, WithinTask, lab_within
from unlabeled.grammar.section import Context
from unlabeled.grammar.words import Language
from unlabeled.methods import arm_name
from unlabeled.methods.frozen_codes import FROZEN_CODES
from unlabeled.methods.strong import SELF_TRAINED
from unlabeled.presets import resolve
from unlabeled.report.page import write_report
from unlabeled.sources import load
from unlabeled.studies import GAIN
from unlabeled.studies.course import run_gain
from unlabeled.studies.labels import labels_parts
from unlabeled.studies.lead import lead

ASKED = {
    "data": "digits", "preset": "quick", "folds": 2, "seeds": 3, "unlabeled": 120, "test": 60, "device": "cpu", "jobs": 1,
    "precision": "fp32", "leave_out": ["random", "pca", "frozen", "denoised", "consistency", "pretrained", "rotations"],
    "strong": {"widths": [4, 6], "training": {"steps": 6, "batch_size": 16}}, "classical": {"trees": 5, "strengths": [0.1]},
    "curve": {"labels": [0.01, 0.25, 0.5], "unlabeled": [0.5]},
}  # fmt: skip
BEST = SELF_TRAINED.arm


@pytest.fixture(scope="module")
def config():
    return resolve(ASKED)


@pytest.fixture(scope="module")
def splits(config, tmp_path_factory):
    with own_cache(tmp_path_factory):
        yield load(config)


@pytest.fixture(scope="module")
def finished(config, splits, tmp_path_factory):
    with own_cache(tmp_path_factory):
        return run_gain(config, splits, folder=tmp_path_factory.mktemp("curve"))


@pytest.fixture
def lab(config, splits, tmp_path):
    return Lab(config, splits, tmp_path)


def key_of(lab, task):
    return task.key(lab).folder


def test_with_fewer_labels_a_run_is_another_and_its_autoencoder_is_not(lab):
    (codes, _) = FROZEN_CODES.tasks(lab, 0, 1)
    labels = StrongTask(TEACHER, lab.config.strong, 0, 1)
    for task in (codes, labels):
        keys = {key_of(lab, task), *(key_of(lab, WithinTask(task.arm, task, LabelShare(s))) for s in (0.25, 0.5))}
        assert len(keys) == 3
    assert isinstance(codes, ClassicalTask)
    (needed,) = codes.needs
    (within,) = WithinTask(codes.arm, codes, LabelShare(0.5)).needs
    assert isinstance(needed, AutoencoderTask)
    assert key_of(lab, needed) == key_of(lab, within)


def test_with_fewer_unlabeled_images_what_learns_from_them_is_another(lab):
    labels, student = StrongTask(TEACHER, lab.config.strong, 0, 1), SELF_TRAINED.tasks(lab, 0, 1)[0]
    assert key_of(lab, labels) == key_of(lab, WithinTask(TEACHER, labels, Pool(60)))
    assert len({key_of(lab, student), *(key_of(lab, WithinTask(BEST, student, Pool(n))) for n in (30, 60))}) == 3
    few, many = (set(lab_within(lab, Pool(n)).splits.unlabeled.rows.tolist()) for n in (30, 60))
    assert few < many < set(range(len(lab.splits.unlabeled.pixels)))


def test_a_student_of_fewer_labels_has_a_teacher_of_fewer_labels(lab):
    student, place = SELF_TRAINED.tasks(lab, 1, 0)[0], LabelShare(0.5)
    (teacher,) = WithinTask(BEST, student, place).needs
    alone = StrongTask(TEACHER, lab.config.strong, 1, 0)
    assert key_of(lab, teacher) == key_of(lab, WithinTask(TEACHER, alone, place)) != key_of(lab, alone)


def test_the_curve_is_what_its_runs_say(finished, config, splits):
    findings = read_findings(finished)
    curve, labels = findings.curve, read_arrays(finished / "test.npz")["labels"]
    assert [way.arm for way in curve.ways] == [TEACHER, BEST]
    own = Lab(config, splits, finished)
    within = [lab_within(own, LabelShare(share)).folds.folds for share in (0.25, 0.5)]
    sizes = [np.mean([len(f.train) + len(f.valid) for f in folds]) for folds in (*within, own.folds.folds)]
    assert curve.labels == tuple(round(size) for size in sizes)
    assert curve.labels[-1] == len(splits.labeled)
    assert curve.images == (60, 120)
    assert len(curve.rows) == (2 * 2 + 1) * 2 * 3

    def right(arm, rows):
        table = np.empty((2, 3, len(labels)), dtype=bool)
        for row in rows:
            if row.arm == arm:
                table[row.fold, row.seed] = read_arrays(finished / row.run / "test.npz")["predicted"] == labels
        return table

    points = {}
    for way in curve.ways:
        arms = [replace(way.arm, factor="labels", value=value) for value in ("0.25", "0.5")]
        points[way.arm] = np.stack([*(right(arm, curve.rows) for arm in arms), right(way.arm, findings.rows)])
        assert [e.mean for e in way.accuracies] == pytest.approx(100 * points[way.arm].mean(axis=(1, 2, 3)))
    expected = label_saving(
        curve.labels, Measured(np.concatenate([points[BEST], points[TEACHER][-1:]]), nested=True), scale=curve.scale
    )
    assert curve.saving == expected
    half = right(replace(BEST, factor="images", value="60"), curve.rows)
    assert curve.over_images[0].mean == pytest.approx(100 * half.mean())
    assert curve.over_images[1] == curve.ways[1].accuracies[-1]


def test_a_share_with_too_few_labels_is_left_out_and_named(finished):
    (line,) = read_findings(finished).curve.missing
    assert re.search(r"0\.01 of the labels: fold 1 would have 0 images of class '\d'", line)
    text = write_report(finished).read_text(encoding="utf-8")
    assert "Points that these images do not have" in text


def test_runs_of_the_curve_are_not_repeated(finished, config, splits, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/*/result.json")}
    monkeypatch.setattr("unlabeled.experiments.strong.fit", None)
    run_gain(config, splits, folder=finished)
    assert {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/*/result.json")} == before


def test_further_ways_are_drawn_and_unknown_ones_refused(config, splits, finished, tmp_path):
    finished = shutil.copytree(finished, tmp_path / "run")
    more = config.model_copy(update={"curve": config.curve.model_copy(update={"ways": ("pixels",), "labels": (0.5,)})})
    run_gain(more, splits, folder=finished)
    assert [str(way.arm) for way in read_findings(finished).curve.ways][2:] == ["pixels → logistic", "pixels → trees"]
    unknown = config.model_copy(update={"curve": config.curve.model_copy(update={"ways": ("selftraining",)})})
    with pytest.raises(UserError, match=r"--curve\.ways selftraining: there is no such way; take of pixels, "):
        run_gain(unknown, splits, folder=finished)


@pytest.mark.parametrize("shares", [[0.5, 0.25], [0.0, 0.5], [0.5, 1.0], [0.5, 0.5]])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(UserError, match=r"--curve: labels takes shares between 0 and 1, rising"):
        resolve(ASKED, {"curve": {"labels": shares}})


@pytest.mark.slow
def test_no_curve_is_run_where_none_is_asked_for(tmp_path, splits):
    config = resolve(ASKED, {"curve": {"labels": "none"}})
    folder = run_gain(config, splits, folder=tmp_path)
    assert read_findings(folder).curve is None
    text = write_report(folder).read_text(encoding="utf-8")
    assert "The curve over labels was left out" in text
    assert 'class="face"' not in text


# What the page says, with numbers set.

SAVING = Saving(4932, 617, 2464.0, 2100.0, 3100.0)
NOTHING = replace(SAVING, high=None)


def told(finished, code="en", verdict="helps", **changes):
    """The main job's lead and its section in labels, with a verdict and a curve of one's own."""
    result, language = read_study(finished), Language(code)
    context = Context.of(GAIN.findings, result, finished, language)
    findings = context.findings
    compared = findings.comparison
    worths = tuple(replace(worth, verdict=verdict) for worth in compared.worths)
    curve = replace(
        findings.curve, labels=(617, 1233, 4932), images=(), **({"saving": SAVING, "over_twin": SAVING} | changes)
    )
    context = replace(
        context,
        findings=replace(findings, comparison=replace(compared, worths=worths), curve=curve),
        page=GAIN.pages[0],
        protocol=replace(context.protocol, unlabeled=45_000),
    )
    return lead(context), list(labels_parts(context))


def test_the_headline_is_in_labels_where_labels_are_saved(finished):
    answer, _ = told(finished)
    assert answer.headline == (
        "Your 45,000 unlabeled images save about half of the labels: 2,500 with them do what 4,932 do without "
        "(95 %: 2,100 to 3,100)."
    )
    assert answer.labels.startswith("Strong network, self-training vs strong network ")
    assert answer.picture is not None
    assert "2,500 with them do what 4,932 do without" in answer.picture.svg
    other, _ = told(finished, saving=replace(SAVING, equal=3300.0, low=3000.0, high=4000.0))
    assert "save about a third of the labels: 3,300 with them" in other.headline
    odd, _ = told(finished, saving=replace(SAVING, equal=4700.0, low=4600.0, high=4800.0))
    assert "save 5 % of the labels: 4,700 with them" in odd.headline


def test_a_saving_beyond_the_curve_is_a_bound(finished):
    answer, _ = told(finished, saving=replace(SAVING, equal=None, low=None, high=617))
    assert (
        "save about seven eighths of the labels or more: 617 with them do more than 4,932 do without (95 %: fewer than 617)"
        in answer.headline
    )
    answer, _ = told(finished, saving=replace(SAVING, low=None))
    assert "(95 %: fewer than 617 to 3,100)" in answer.headline


@pytest.mark.parametrize(
    ("verdict", "changes"),
    [
        ("helps", {"saving": NOTHING}),
        ("helps", {"over_twin": NOTHING}),
        ("no difference", {}),
        ("hurts", {"saving": replace(SAVING, equal=4932, low=4932, high=None)}),
        ("reading", {"saving": replace(SAVING, decidable=False), "over_twin": replace(SAVING, decidable=False)}),
    ],
)
def test_no_saving_is_claimed_without_both_differences(finished, verdict, changes):
    answer, parts = told(finished, verdict=verdict, **changes)
    assert "save" not in answer.headline
    if changes:
        assert not any(re.search(r"\bsave\b", line) for part in parts for line in getattr(part, "lines", []))
        assert re.search("nothing is saved|no saving can be measured|no interval can be told", answer.labels)


def test_an_extrapolation_is_called_one_and_has_no_upper_end_where_none_is_known(finished):
    answer, _ = told(finished, equivalent=Equivalent(9120.0, 6800.0, 15_200.0, 8.0))
    assert (
        "Extrapolated, 9,100 labels without unlabeled images would do what 4,932 do with them (95 %: 6,800 to 15,000)"
        in answer.labels
    )
    answer, _ = told(finished, equivalent=Equivalent(9120.0, 6800.0, None, 8.0))
    assert "(95 %: 6,800 or more; no upper end can be told)" in answer.labels
    for nothing in (None, Equivalent(3000.0, 2000.0, None, 8.0)):
        assert "Extrapolated" not in told(finished, equivalent=nothing)[0].labels
    _, parts = told(finished, more_labels=More(500, 1.23, 0.4, 2.0), more_images=More(10_000, -0.2, -0.6, 0.2))
    lines = " ".join(line for part in parts for line in getattr(part, "lines", []))
    assert "500 more labels would bring it +1.2 points (95 %: +0.4 to +2.0)" in lines
    assert "10,000 more unlabeled images would bring it −0.2 points (95 %: −0.6 to +0.2)" in lines


def test_the_russian_page_says_it_too(finished):
    answer, _ = told(finished, code="ru", equivalent=Equivalent(9120.0, 6800.0, None, 8.0))
    assert re.match(r"Ваши 45\s000 неразмеченных изображений сберегают около половины меток: ", answer.headline)
    assert not re.search(r"\b(labels|with|do)\b", answer.headline + answer.labels)


def test_the_page_leads_with_the_picture(finished):
    text = write_report(finished).read_text(encoding="utf-8")
    assert text.index('<div class="face">') < text.index('<table class="answer')
    assert text.count('id="labels-') > 5


def test_lines_of_progress_say_how_many_labels_a_run_has(lab):
    (needed,) = WithinTask(
        replace(BEST, factor="labels", value="0.25"), SELF_TRAINED.tasks(lab, 0, 0)[0], LabelShare(0.25)
    ).needs
    assert arm_name(needed.arm) == "strong network, 0.25 of the labels"
    assert arm_name(replace(BEST, factor="images", value="60")) == "strong network, self-training, 60 unlabeled images"
