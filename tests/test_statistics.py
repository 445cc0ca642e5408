import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from unlabeled.evaluation.comparison import compare
from unlabeled.evaluation.statistics import fold_correlation, holm, paired_effect
from unlabeled.methods import all_arms, all_contrasts
from unlabeled.outcomes import ClassicalOutcome
from unlabeled.records import Row
from unlabeled.studies.joint import FINETUNED, SCRATCH

numbers = st.lists(st.floats(-50, 50), min_size=3, max_size=12)


@given(numbers)
def test_one_seed_without_correlation_is_students_paired_test(values):
    effect = paired_effect(values, correlation=0)
    if np.std(values) < 1e-9:
        return
    expected = stats.ttest_1samp(values, 0)
    low, high = expected.confidence_interval()
    assert effect.p == pytest.approx(expected.pvalue, abs=1e-9)
    assert (effect.low, effect.high) == pytest.approx((low, high), abs=1e-6)


@given(numbers)
@settings(deadline=None)
def test_one_seed_is_the_correlated_t_test_that_baycomp_has(values):
    if np.std(values) < 1e-6:
        return
    with warnings.catch_warnings():
        # baycomp looks for a sampler that it does not need here.
        warnings.simplefilter("ignore")
        from baycomp.single import CorrelatedTTest
    mean, variance, degrees = CorrelatedTTest.compute_statistics(np.zeros(len(values)), np.array(values))
    effect = paired_effect(values, correlation=1 / len(values))
    assert effect.mean == pytest.approx(mean, abs=1e-9)
    assert effect.parts[0] == pytest.approx(variance, rel=1e-6)
    assert effect.degrees == pytest.approx(degrees)


@given(st.floats(-5, 5), st.floats(0.1, 10), st.integers(2, 8), st.integers(1, 4), st.integers(0, 99))
def test_effects_move_and_scale_with_the_differences(shift, scale, folds, seeds, seed):
    table = np.random.default_rng(seed).normal(size=(folds, seeds))
    base = paired_effect(table, test_variance=0.1)
    moved = paired_effect(scale * table + shift, test_variance=0.1 * scale**2)
    assert moved.mean == pytest.approx(scale * base.mean + shift, abs=1e-9)
    assert moved.high - moved.low == pytest.approx(scale * (base.high - base.low), rel=1e-6)
    mirrored = paired_effect(-table, test_variance=0.1)
    assert (mirrored.low, mirrored.high, mirrored.p) == pytest.approx((-base.high, -base.low, base.p))


def test_what_runs_share_widens_the_interval():
    table = np.random.default_rng(0).normal(size=(6, 1))
    plain = paired_effect(table, correlation=0)
    for wider in (paired_effect(table), paired_effect(table, correlation=0, test_variance=0.5)):
        assert wider.high - wider.low > plain.high - plain.low
    # A seed that moves all folds alike leaves the folds' spread as it was, and must not go unnoticed.
    shared = np.hstack([table, table + 4.0])
    assert paired_effect(shared).parts[1] == pytest.approx(np.var([0, 4.0], ddof=1) / 2)


def simulate(random, *, folds, seeds, effect, spread):
    """Draw differences as studies have them: parts that a fold, a seed and a run bring in.

    Folds share labels, so what they bring in is correlated by 1 / folds. A seed's autoencoder serves all folds. Runs
    are noisy on their own. ``spread`` is the deviation of a single difference about the effect.
    """
    rho = 1 / folds
    of_folds = math.sqrt(rho) * random.normal() + math.sqrt(1 - rho) * random.normal(size=(folds, 1))
    of_seeds = random.normal(size=(1, seeds))
    own = random.normal(size=(folds, seeds))
    shares = np.array([0.5, 0.3 if seeds > 1 else 0.0, 0.8])
    shares /= np.linalg.norm(shares)
    return effect + spread * (shares[0] * of_folds + shares[1] * of_seeds + shares[2] * own)


@pytest.mark.parametrize(("folds", "seeds"), [(10, 1), (10, 2), (10, 3), (5, 2), (5, 3), (4, 2), (3, 2)])
def test_without_an_effect_a_verdict_appears_in_at_most_5_percent_of_2000_studies(folds, seeds):
    random = np.random.default_rng(11)
    verdicts = [
        paired_effect(simulate(random, folds=folds, seeds=seeds, effect=0.0, spread=1.5)).verdict for _ in range(2000)
    ]
    false = sum(verdict != "no evidence" for verdict in verdicts)
    assert false <= 0.05 * 2000
    # And it is no interval that says nothing whatever the numbers are.
    strong = [
        paired_effect(simulate(random, folds=folds, seeds=seeds, effect=9.0, spread=1.5)).verdict for _ in range(200)
    ]
    assert strong.count("helps") > 100


@pytest.mark.parametrize(("folds", "seeds"), [(10, 1), (10, 2), (10, 3), (5, 3)])
def test_two_points_at_a_spread_of_one_and_a_half_are_found_in_most_studies(folds, seeds):
    random = np.random.default_rng(12)
    studies = [paired_effect(simulate(random, folds=folds, seeds=seeds, effect=2.0, spread=1.5)) for _ in range(500)]
    assert sum(study.verdict == "helps" for study in studies) > 250
    assert not any(study.verdict == "hurts" for study in studies)


def test_test_images_alone_without_a_true_effect_are_covered():
    """Two classifiers that are right on the same share of all images, scored on one small test split by every run."""
    random = np.random.default_rng(5)
    false = 0
    for _ in range(600):
        # Every run gives the same answers, so folds and seeds show no spread at all.
        difference = 100.0 * (random.choice([-1, 0, 1], p=[0.15, 0.7, 0.15], size=150))
        table = np.full((4, 2), difference.mean())
        variance = difference.var(ddof=1) / len(difference)
        false += paired_effect(table, test_variance=variance).verdict != "no evidence"
    assert 0.02 * 600 < false < 0.08 * 600


def test_verdicts_follow_the_interval():
    assert paired_effect([2.0, 2.1, 1.9, 2.0]).verdict == "helps"
    assert paired_effect([-2.0, -2.1, -1.9, -2.0]).verdict == "hurts"
    assert paired_effect([2.0, -2.1, 1.9, -2.0]).verdict == "no evidence"
    assert paired_effect([0.0, 0.0, 0.0]).verdict == "no evidence"


def test_folds_won_count_the_mean_over_seeds_and_no_ties():
    effect = paired_effect([[1.0, -0.5], [0.0, 0.0], [-1.0, 2.0], [-1.0, 0.5]])
    assert (effect.folds_won, effect.folds, effect.seeds) == (2, 4, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0],), "differences have shape (1,); give (folds, seeds) with two folds or more"),
        (([1.0, math.nan],), "differences and their test variance must be finite, and the variance at least 0"),
        (([1.0, 2.0], 1.0), "correlation=1.0; give a number of at least 0 and below 1"),
    ],
)
def test_senseless_input_is_refused(arguments, message):
    with pytest.raises(ValueError) as caught:
        paired_effect(arguments[0], correlation=arguments[1] if len(arguments) > 1 else None)
    assert str(caught.value) == message


def test_correlation_of_drawn_folds_is_the_share_that_they_have_in_common():
    assert fold_correlation([np.arange(0, 10), np.arange(5, 15), np.arange(10, 20)]) == pytest.approx(
        (0.5 + 0 + 0.5) / 3
    )
    random = np.random.default_rng(0)
    folds = [random.choice(5000, 1000, replace=False) for _ in range(10)]
    assert fold_correlation(folds) == pytest.approx(0.2, abs=0.02)
    # For means over images it is the correlation itself.
    images = random.normal(size=(5000, 2000))
    means = np.array([images[fold].mean(axis=0) for fold in folds])
    found = np.corrcoef(means)[np.triu_indices(10, 1)].mean()
    assert found == pytest.approx(fold_correlation(folds), abs=0.02)


@pytest.mark.parametrize(
    ("given", "expected"),
    [([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]), ([0.5, 0.9], [1.0, 1.0]), ([0.2], [0.2]), ([], [])],
)
def test_holms_correction(given, expected):
    # The first row is the example of statsmodels' and R's documentation of p.adjust(method = "holm").
    assert holm(given) == pytest.approx(expected)


def scores_of(differences, images=400):
    """Rows and scores of a study in which one arm is better by the given number of images on each (fold, seed)."""
    rows, scores = [], {}
    for arm in all_arms():
        for (fold, seed), more in np.ndenumerate(differences):
            right = np.zeros(images, dtype=bool)
            right[: 100 + (int(more) if arm == FINETUNED else 0)] = True
            outcome = ClassicalOutcome(arm.model != "logistic", {}, [], {}, 1, 0.5, 1.0, 0.5, 1.0, 1.0, 0.1, 0.5, 1.0)
            rows.append(Row(arm, seed, "runs/some", outcome, fold))
            scores[arm, fold, seed] = (right, np.where(right, 0.1, 2.0))
    return rows, scores


def test_comparison_pairs_by_fold_and_seed():
    differences = np.array([[8, 10], [12, 14], [9, 11]])
    rows, scores = scores_of(differences)
    compared = compare(rows, scores, all_contrasts(), correlation=1 / 3)
    main = compared.named
    assert (main.treated, main.control) == (FINETUNED, SCRATCH)
    assert main.accuracy.mean == pytest.approx(differences.mean() / 4)
    assert main.log_loss.mean == pytest.approx(-1.9 * differences.mean() / 400)
    assert [d.accuracy for d in main.differences] == pytest.approx((differences / 4).flatten().tolist())
    assert main.verdict == "reading"  # two seeds
    assert main.p == main.accuracy.p
    assert main.accuracy.parts[2] > 0
    assert [arm.arm for arm in compared.arms] == list(all_arms())
    assert {arm.not_converged for arm in compared.arms if arm.arm.model == "logistic"} == {6}
    assert len(compared.contrasts) == 14
    assert {contrast.verdict for contrast in compared.contrasts} == {"reading"}
