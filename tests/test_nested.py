"""Runs that share nothing random with those of other folds: their intervals, how large a study must be, and that they share nothing."""

import math
import os
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from unlabeled import resolve
from unlabeled.evaluation.comparison import compare
from unlabeled.evaluation.saving import Measured, label_saving
from unlabeled.evaluation.sizing import needed, smallest_effect
from unlabeled.evaluation.statistics import half_width, mean_squares, paired_effect, shared_test_variance
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.selftraining import StrongTask
from unlabeled.experiments.strong import new_strong
from unlabeled.finished import reopen
from unlabeled.keeping.results import read_result
from unlabeled.methods import METHODS
from unlabeled.methods.strong import CONSISTENT, SELF_TRAINED, STRONG, STRONG_METHODS
from unlabeled.outcomes import ClassicalOutcome
from unlabeled.records import ArmKey, Contrast, Row
from unlabeled.sources import load
from unlabeled.studies import course
from unlabeled.studies.course import run_gain

DESIGNS = [(3, 1), (8, 1), (3, 3), (5, 2), (5, 3), (10, 3)]
# Standard deviations of fold and run.
MIXTURES = [(1, 0), (0, 1), (1, 1), (0.3, 1), (1, 0.3)]


def simulate(random, folds, seeds, mixture, correlation=0.0, studies=4000):
    """Draw studies without an effect and return the standard deviation of their mean; no run of a fold shares a seed with another's."""
    fold, run = mixture
    shared = math.sqrt(correlation) * random.normal(size=(studies, 1, 1))
    tables = fold * (shared + math.sqrt(1 - correlation) * random.normal(size=(studies, folds, 1)))
    tables = tables + run * random.normal(size=(studies, folds, seeds))
    return tables, math.sqrt(fold**2 * (correlation + (1 - correlation) / folds) + run**2 / (folds * seeds))


def false_rate(half, deviation):
    """Return the rate of false verdicts and its standard error; the mean of normal numbers is independent of their spread."""
    chances = 2 * special.ndtr(-half / deviation)
    return chances.mean(), chances.std() / math.sqrt(len(chances))


@given(st.integers(2, 8), st.integers(1, 4), st.integers(0, 999), st.floats(-3, 3))
@settings(deadline=None)
def test_the_interval_is_students_of_the_folds_means_or_that_of_all_runs_where_it_is_wider(folds, seeds, seed, shift):
    table = np.random.default_rng(seed).normal(size=(folds, seeds)) + shift
    effect = paired_effect(table, nested=True)
    expected = [stats.ttest_1samp(values, 0).confidence_interval() for values in (table.mean(axis=1), table.ravel())]
    assert (effect.high - effect.low) / 2 == pytest.approx(max((one.high - one.low) / 2 for one in expected))
    assert (effect.mean, effect.decidable) == (pytest.approx(table.mean()), folds >= 3)
    assert (effect.p < 0.05) == (effect.low > 0 or effect.high < 0)


@pytest.mark.parametrize(("folds", "seeds"), DESIGNS)
@pytest.mark.parametrize("correlation", [0.0, 0.2, 0.5])
def test_without_an_effect_a_verdict_appears_in_at_most_5_percent(folds, seeds, correlation):
    random = np.random.default_rng(21)
    for mixture in MIXTURES:
        tables, deviation = simulate(random, folds, seeds, mixture, correlation)
        squares = mean_squares(tables, correlation, nested=True)
        for tested in (0.0, deviation):
            half = half_width(squares, folds, seeds, correlation=correlation, test_variance=tested**2, nested=True)
            rate, error = false_rate(half, math.hypot(deviation, tested))
            assert rate <= 0.05 + 3 * error, (mixture, tested)
            # And it is no wider than it has to be where folds are all there is.
            if mixture == (1, 0) and not tested:
                assert rate == pytest.approx(0.05, abs=4 * error)


def test_what_is_inflated_for_nothing_is_taken_off():
    """Where folds overlap, the runs' own noise is in the folds' mean square, and is no part of what folds have in common."""
    tables, deviation = simulate(np.random.default_rng(22), 10, 3, (1, 1), 0.3)
    squares = mean_squares(tables, 0.3, nested=True)
    whole = half_width(replace(squares, runs=np.zeros(len(tables))), 10, 3, correlation=0.3, nested=True)
    half = half_width(squares, 10, 3, correlation=0.3, nested=True)
    assert np.median(half) < 0.97 * np.median(whole)
    assert false_rate(half, deviation)[0] > false_rate(whole, deviation)[0]


def test_seeds_that_are_common_to_all_folds_may_not_be_taken_for_nested():
    random = np.random.default_rng(23)
    tables = random.normal(size=(4000, 1, 3)) + 0.3 * random.normal(size=(4000, 5, 3))
    deviation = math.sqrt(1 / 3 + 0.09 / 15)
    nested, crossed = (half_width(mean_squares(tables, nested=n), 5, 3, nested=n) for n in (True, False))
    assert false_rate(nested, deviation)[0] > 0.3
    assert false_rate(crossed, deviation)[0] <= 0.055


def test_the_variance_of_test_images_is_what_runs_of_other_folds_share():
    random = np.random.default_rng(24)
    shared, runs, folds = (random.normal(size=(*shape, 2000)) for shape in ((1, 1), (4, 3), (4, 1)))
    assert max(shared_test_variance(noise + 0 * runs, nested=True) for noise in (runs, folds)) < 0.1 / 2000
    assert shared_test_variance(shared + runs + folds, nested=True) == pytest.approx(1 / 2000, rel=0.2)
    assert shared_test_variance(shared + 0 * runs, nested=True) == pytest.approx(shared.var(ddof=1) / 2000)
    # One seed is enough to tell what is shared from what is a run's own; where seeds are common it is not.
    one = (shared + runs)[:, :1]
    assert shared_test_variance(one, nested=True) == pytest.approx(1 / 2000, rel=0.2)
    assert shared_test_variance(one) > 1.1 * shared_test_variance(one, nested=True)


@pytest.mark.parametrize(("folds", "seeds"), [(5, 1), (5, 3), (8, 2)])
def test_the_smallest_effect_is_found_with_the_power_that_was_asked_for(folds, seeds):
    tables, deviation = simulate(np.random.default_rng(25), folds, seeds, (0.5, 1))
    squares = mean_squares(tables, nested=True)
    found = paired_effect(tables[0], nested=True)
    exact = replace(found, parts=(squares.folds.mean(), 0.0, 0.0), runs=squares.runs.mean())
    effect, half = smallest_effect(exact), half_width(squares, folds, seeds, nested=True)
    power = special.ndtr((effect - half) / deviation).mean()
    assert power == pytest.approx(0.8, abs=0.02)
    assert smallest_effect(exact, folds=2 * folds) < effect
    assert smallest_effect(exact, folds=2) is None
    # More seeds of a fold help as far as runs' noise does, and with one seed that is not known.
    assert (needed(exact, 0.9 * float(np.median(half))).seeds is None) == (seeds == 1)


def rows_of(arms, folds, seeds, *, apart):
    """Rows and scores of arms whose accuracies over 500 test images differ by folds, seeds and arms."""
    random, rows, scores = np.random.default_rng(26), [], {}
    for arm, fold, seed in product(arms, range(folds), range(seeds)):
        right = random.random(500) < 0.5 + 0.2 * (arm == arms[0]) + 0.01 * fold
        outcome = ClassicalOutcome(
            converged=True, choice={}, tried=[], valid_accuracy=0.5, valid_log_loss=1.0, seconds=1.0, predict_seconds=0.1, accuracy=0.5,
            log_loss=1.0, facts={}, features=1, train_accuracy=0.5, train_log_loss=1.0,
        )  # fmt: skip
        rows.append(Row(arm, seed, "runs/some", outcome, fold, arm in apart))
        scores[arm, fold, seed] = (right, np.where(right, 0.1, 2.0))
    return rows, scores


def test_a_comparison_is_nested_where_both_arms_are_and_then_asks_for_folds():
    arms = [ArmKey("a", "logistic"), ArmKey("b", "logistic"), ArmKey("c", "logistic")]
    contrasts = [Contrast(arms[0], arms[1], named=True), Contrast(arms[0], arms[2], named=True)]
    for folds, seeds, verdicts in ((4, 1, ("helps", "reading")), (2, 3, ("reading", "helps"))):
        rows, scores = rows_of(arms, folds, seeds, apart=arms[:2])
        compared = compare(rows, scores, contrasts, correlation=0.0)
        assert tuple(one.verdict for one in compared.contrasts) == verdicts
        assert [one.accuracy.nested for one in compared.contrasts] == [True, False]
        assert [arm.accuracy.nested for arm in compared.arms] == [True, True, False]
        table = np.array([d.accuracy for d in compared.contrasts[0].differences]).reshape(folds, seeds)
        variance = compared.contrasts[0].accuracy.parts[2]
        expected = paired_effect(table, test_variance=variance, nested=True)
        assert compared.contrasts[0].accuracy == expected


def test_labels_saved_have_an_interval_of_folds_alone():
    random = np.random.default_rng(27)
    right = random.random((3, 6, 1, 800)) < np.array([0.6, 0.75, 0.7])[:, None, None, None]
    crossed, nested = (label_saving([100, 200], Measured(right, nested=n), scale="accuracy") for n in (False, True))
    assert (crossed.decidable, nested.decidable) == (False, True)
    assert nested.low < nested.equal < nested.high
    expected = [shared_test_variance(1.0 - one, nested=True) for one in right]
    found = np.diag(Measured(right, nested=True).covariance)
    assert np.maximum(found, 0.0) == pytest.approx(expected, abs=1e-12)
    few = Measured(right[:, :2], nested=True)
    assert not label_saving([100, 200], few, scale="accuracy").decidable


ASKED = {
    "data": "digits", "preset": "quick", "folds": 3, "seeds": 2, "unlabeled": 60, "test": 30, "device": "cpu", "precision": "fp32",
    "strong": {"widths": [4, 6], "rounds": 2, "training": {"steps": 4, "batch_size": 16}},
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    config = resolve(ASKED)
    return Lab(config, load(config), tmp_path_factory.mktemp("nested"))


def stood_on(task, lab):
    """Return the folders of a run and of all that it stands on."""
    return {task.key(lab).folder}.union(*(stood_on(one, lab) for one in task.needs))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_run_that_is_apart_stands_on_nothing_that_a_run_of_another_fold_stands_on(method, lab):
    if method.name == "weights":
        pytest.skip("its key is that of a file of the user's")
    for seed in range(2):
        per_fold = [method.tasks(lab, fold, seed) for fold in range(3)]
        for tasks in zip(*per_fold, strict=True):
            if getattr(tasks[0], "apart", False):
                folders = [stood_on(task, lab) for task in tasks]
                assert sum(map(len, folders)) == len(set.union(*folders))


def test_the_strong_networks_ways_are_apart_but_for_those_that_were_pretrained_once_a_seed(lab):
    told = {method.name: method.tasks(lab, 1, 0)[0].apart for method in STRONG_METHODS}
    crossed = {"pretrained", "pretrained-twin", "rotations", "rotations-twin"}
    assert {name for name, apart in told.items() if not apart} == crossed


def test_ways_that_are_compared_begin_from_the_same_random_numbers(lab):
    for fold, seed in product(range(3), range(2)):
        assert len({method.tasks(lab, fold, seed)[0].draws for method in STRONG_METHODS}) == 1


@pytest.mark.slow
def test_an_answer_of_before_is_another_one_and_is_kept(tmp_path, monkeypatch):
    """Its runs began from the same random numbers on all folds: it stays beside the new one, and can be read with its own runs."""
    asked = ASKED | {"folds": 2, "seeds": 1, "curve": {"labels": []}, "classical": {"strengths": [0.1]}, "jobs": 1} | {
        "leave_out": ["random", "pca", "scaled", "frozen", "denoised", "denoised-network", "joint", "consistency", "pretrained",
                      "rotations"]
    }  # fmt: skip
    config, made = resolve(asked), Lab.__init__

    def as_before(self, *given):
        made(self, *given)
        self.apart = False

    with monkeypatch.context() as patched:
        patched.setattr(Lab, "__init__", as_before)
        patched.setattr(course, "_draws", lambda _: {})
        folder = run_gain(config, load(config), folder=tmp_path / "run")
    assert "apart" not in read_result(folder).content["protocol"]
    before = reopen(folder)
    assert all(not row.apart and row.run == relative(before.lab, task) for task, row in before.tasks(STRONG.arm))
    (folder / "report.html").write_text("of before")
    run_gain(config, load(config), folder=folder)
    after = reopen(folder)
    assert all(row.apart and row.run == relative(after.lab, task) for task, row in after.tasks(STRONG.arm))
    (kept,) = (folder / "earlier").iterdir()
    assert not (folder / "report.html").exists()
    assert (kept / "report.html").read_text() == "of before"
    old, new = (
        [row["run"] for row in read_result(one).content["findings"]["rows"] if row["fold"] == 1]
        for one in (kept, folder)
    )
    assert not {run for run in old if "strong" in run} & set(new)


def relative(lab, task):
    """Return the folder of a run within its study's, as rows say it."""
    return os.path.relpath(task.key(lab).folder, lab.folder)


def test_numbers_that_share_nothing_ask_for_more_of_them_and_not_for_seeds():
    effect = paired_effect([1.0, 2.0, 3.0, 2.0, 1.0])
    assert smallest_effect(effect, folds=10) < smallest_effect(effect)
    assert needed(effect, 0.5).folds > 5


def test_no_two_runs_begin_from_the_same_random_numbers(lab):
    """Seeds may be as many as the options allow, and the rounds of self-training have numbers of their own."""
    ways = [replace(STRONG.tasks(lab, fold, seed)[0]) for fold, seed in product(range(3), range(2))]
    assert len({task.draws for task in ways}) == 6
    weights = [new_strong(lab, lab.config.strong, task.draws, lab.splits.labeled) for task in ways]
    firsts = [network.blocks.state_dict() for network in weights]
    flat = [np.concatenate([value.numpy().ravel() for value in one.values()]) for one in firsts]
    for a, b in product(range(6), range(6)):
        if a < b:
            assert (flat[a] != flat[b]).mean() > 0.5
    most = StrongTask(STRONG.arm, lab.config.strong, 0, 99, "pseudo-labels", "unlabeled", 10)
    assert most.draws + 1000 * most.round < replace(most, fold=1, seed=0).draws


def test_students_start_from_the_teacher_of_their_own_fold_and_seed(lab):
    for method in (SELF_TRAINED, CONSISTENT):
        (task,) = method.tasks(lab, 2, 1)
        while task.needs:
            (task,) = task.needs
        (alone,) = STRONG.tasks(lab, 2, 1)
        assert task == alone
        assert stood_on(task, lab) == stood_on(alone, lab)


def test_runs_of_before_keep_their_keys_on_every_fold(lab):
    """A folder from when seeds were common to all folds is read with the keys that it was made with."""
    before = Lab(lab.config, lab.splits, lab.folder)
    before.apart = False
    assert before.like(lab.splits).apart is False
    for fold, seed in product(range(3), range(2)):
        (then,), (now,) = (STRONG.tasks(one, fold, seed) for one in (before, lab))
        assert then.draws == seed
        assert (then.key(lab).folder == now.key(lab).folder) == (fold == 0)
