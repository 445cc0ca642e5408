"""Study open-set: what foreign images among the unlabeled take, and what guards win back."""

import re
from dataclasses import replace

import numpy as np
import pytest

from conftest import TINY_STUDIES, make_images, own_cache, read_findings, read_study
from unlabeled.errors import UserError
from unlabeled.experiments.lab import Lab
from unlabeled.images import Images
from unlabeled.networks.strong import StrongNet
from unlabeled.presets import resolve
from unlabeled.report.page import write_report
from unlabeled.sources import load
from unlabeled.studies.course import run_studies
from unlabeled.studies.openset import OPEN_SET, _parts, opened, plan
from unlabeled.training.labelling import farness, unfamiliar
from unlabeled.training.measuring import codes_of, predict, predict_and_compare
from unlabeled.training.runtime import Runtime, seeded

ASKED = {"study": "open-set", "seeds": 1, "precision": "fp32",
         "strong": {"widths": [4, 6], "training": {"steps": 4, "batch_size": 16}, "consistency": {"steps": 3}},
         "studies": {"open_set": {"shares": [0, 0.75]}}}  # fmt: skip


@pytest.fixture(scope="module")
def config():
    return resolve(TINY_STUDIES, ASKED)


@pytest.fixture(scope="module")
def splits(config, tmp_path_factory):
    with own_cache(tmp_path_factory):
        yield load(config)


@pytest.fixture(scope="module")
def finished(config, splits, tmp_path_factory):
    return run_studies(config, splits, folder=tmp_path_factory.mktemp("open"))


def test_pools_hold_the_share_that_is_asked_for_and_no_image_that_is_labeled(config, splits, tmp_path):
    lab = Lab(config, splits, tmp_path)
    parts, classes, pools = _parts(lab), splits.labeled.classes, []
    assert len(parts.known) == 6
    assert set(parts.known) | set(parts.foreign) == set(range(10))
    for share in (0.0, 0.25, 0.5, 0.75):
        other = opened(lab, share)
        rows = other.splits.unlabeled.rows
        pools.append(set(rows.tolist()))
        assert len(rows) == len(pools[-1]) == len(parts.known_pool)
        where = (
            {row: number for number, row in enumerate(splits.labeled.rows)} if splits.labeled.rows is not None else None
        )
        shown = classes[[where[row] for row in rows]] if where else classes[rows]
        assert np.isin(shown, parts.foreign).mean() == pytest.approx(share, abs=0.51 / len(rows))
        assert other.splits.unlabeled.labels is None
        assert not pools[-1] & set(other.splits.labeled.rows.tolist())
        # The same classes under new numbers, in the labeled and the test split.
        for images, original in ((other.splits.labeled, splits.labeled), (other.splits.test, splits.test)):
            old = original.labels[images.rows]
            assert set(old) == set(parts.known)
            assert all(len(set(images.classes[old == number])) == 1 for number in parts.known)
            assert [other.splits.class_names[n] for n in images.classes] == [splits.class_names[n] for n in old]
    strangers = [{row for row in pool if row not in pools[0]} for pool in pools]
    assert strangers[1] < strangers[2] < strangers[3]


def test_fewer_labels_and_a_smaller_pool_can_be_asked_for(config, splits, tmp_path):
    """As in every study; the pool keeps its share of strangers, and the runs have other keys."""
    labs = [
        Lab(config.model_copy(update=update), splits, tmp_path)
        for update in ({}, {"labels": 24}, {"unlabeled": 20}, {"labels": 24, "unlabeled": 20})
    ]
    pools = [len(opened(lab, 0.75).splits.unlabeled) for lab in labs]
    assert pools[0] == pools[1] > pools[2] == pools[3] == 20
    used = [
        sum(len(part) for part in (opened(lab, 0.75).folds.folds[0].train, opened(lab, 0.75).folds.folds[0].valid))
        for lab in labs
    ]
    assert used[0] == used[2] > used[1] == used[3] == 24
    shown = splits.labeled.classes[opened(labs[2], 0.75).splits.unlabeled.rows]
    assert np.isin(shown, _parts(labs[2]).foreign).sum() == 15
    students = [[task for task in plan(lab) if task.inner.way == "pseudo-labels"][-1].key(lab).folder for lab in labs]
    assert len(set(students)) == 4


@pytest.mark.slow
def test_labels_alone_are_trained_once_and_every_way_with_every_pool(finished):
    names = {path.parents[1].name.split("-fold")[0] for path in finished.glob("runs/*/*/result.json")}
    assert len(list(finished.glob("runs/strong-labels/*/result.json"))) == 2
    assert names == {"strong-labels", "strong-pseudo-labels", "strong-consistency"}
    assert len(list(finished.glob("runs/strong-pseudo-labels/*/result.json"))) == 2 * 2 * 3
    assert len(list(finished.glob("runs/strong-consistency/*/result.json"))) == 2 * 2


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "ru"])
def test_the_page_names_classes_shares_and_guards(finished, lang):
    page = write_report(finished, lang).read_text()
    assert "guard" in page if lang == "en" else "защит" in page
    # It leads with what it found, and its protocol is of its own splits.
    findings, protocol = read_findings(finished, "open-set"), read_study(finished / "open-set").protocol
    heading = re.search(r"<h1>(.*?)</h1>", page)[1]
    assert ("75" in heading) and ("study 5" not in heading)
    assert 'id="answer"' not in page
    assert protocol.unlabeled == findings.pool
    assert len(protocol.class_names) == len(findings.known)
    assert protocol.folds.train[0] + protocol.folds.valid[1] == findings.labels
    assert page.count("75") > 3


def test_what_leaves_nothing_foreign_or_nothing_to_pool_is_refused(config, splits, tmp_path):
    two = {name: Images(getattr(splits, name).pixels, getattr(splits, name).labels % 2, getattr(splits, name).rows)
           for name in ("labeled", "test")}  # fmt: skip
    few = Lab(config, replace(splits, class_names=splits.class_names[:2], **two), tmp_path)
    with pytest.raises(UserError, match="3 classes or more"):
        OPEN_SET.check(few)
    grid = config.studies.open_set.model_copy(update={"labels": 0.999})
    full = config.model_copy(update={"studies": config.studies.model_copy(update={"open_set": grid})})
    with pytest.raises(UserError, match="no labeled images to spare"):
        OPEN_SET.check(Lab(full, splits, tmp_path))
    for shares in ([0.5], [0.5, 0.5], [0.2, 1.0], [-0.1, 0.5]):
        with pytest.raises(UserError, match="two numbers or more, of at least 0 and below 1"):
            resolve(TINY_STUDIES, ASKED, {"studies": {"open_set": {"shares": shares}}})


def test_arms_are_what_their_runs_say(finished, config, splits):
    lab = Lab(config, splits, finished)
    findings = read_findings(finished, "open-set")
    assert {row.arm for row in findings.rows} == {arm.arm for arm in findings.comparison.arms}
    assert len(findings.comparison.arms) == 1 + 2 * 4
    assert (findings.labels, findings.pool) == (len(_parts(lab).labeled), len(_parts(lab).known_pool))


def test_codes_are_far_by_the_angle_to_the_nearest_and_strange_beyond_what_known_ones_are():
    known = np.array([[1.0, 0.0], [0.0, 2.0]])
    codes = np.array([[5.0, 0.0], [1.0, 1.0], [-1.0, -1e-9], [0.0, 0.0]])
    assert np.allclose(farness(codes, known), [0, 1 - 0.5**0.5, 1, 1], atol=1e-6)
    rng = np.random.default_rng(0)
    judged = rng.normal(size=2000)
    assert unfamiliar(judged, judged).mean() == pytest.approx(0.05, abs=0.001)
    assert unfamiliar(judged + 5, judged).mean() > 0.99


def test_one_pass_tells_what_two_would():
    images, runtime = make_images(300, (3, 9, 12)), Runtime.of("cpu")
    with seeded(0):
        model = StrongNet((3, 9, 12), classes=3, widths=(4, 6))
    known = codes_of(model, images.subset(np.arange(40)), runtime=runtime)
    told, far = predict_and_compare(model, images, known, flip=True, runtime=runtime)
    assert np.array_equal(told, predict(model, images, flip=True, runtime=runtime))
    assert np.allclose(far, farness(codes_of(model, images, runtime=runtime), known), atol=1e-6)
    assert np.allclose(far[:40], 0, atol=1e-6)
    assert far[40:].max() > 1e-4
