import math
import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from unlabeled.evaluation.comparison import _worths, compare
from unlabeled.evaluation.sizing import Needed, needed, smallest_effect
from unlabeled.evaluation.statistics import (
    fold_correlation,
    half_width,
    holm,
    mean_squares,
    paired_effect,
    shared_test_variance,
)
from unlabeled.methods import all_arms, all_contrasts
from unlabeled.outcomes import ClassicalOutcome, NetworkOutcome
from unlabeled.records import ArmKey, Contrast, ContrastResult, Effect, Row
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
    plain = paired_effect(table)
    for wider in (paired_effect(table, correlation=1 / 6), paired_effect(table, test_variance=0.5)):
        assert wider.high - wider.low > plain.high - plain.low
    # A seed that moves all folds alike leaves the folds' spread as it was, and must not go unnoticed.
    shared = np.hstack([table, table + 4.0])
    assert paired_effect(shared).parts[1] == pytest.approx(np.var([0, 4.0], ddof=1) / 2)


DESIGNS = [(3, 3), (4, 3), (5, 3), (10, 3), (3, 5), (5, 5), (10, 5)]
# Standard deviations of fold, seed and run: each dominates, even, none of one.
MIXTURES = [
    (0.1, 1, 0.1), (0.2, 1, 0.2), (0.3, 1, 0.07), (0.48, 1, 0.28), (1, 0.2, 0.2), (1, 0.3, 0.07), (0.2, 0.2, 1),
    (0.5, 0.5, 1), (1, 1, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (0, 0, 1), (0, 1, 0), (1, 0, 0),
]  # fmt: skip


def simulate(random, *, folds, seeds, mixture, correlation=0.0, studies=4000):
    """Draw tables of studies without an effect, and return the standard deviation of their mean with them.

    Each holds what a fold, a seed and a run bring in; fold effects are correlated where folds overlap.
    """
    fold, seed, run = mixture
    shared = math.sqrt(correlation) * random.normal(size=(studies, 1, 1))
    tables = fold * (shared + math.sqrt(1 - correlation) * random.normal(size=(studies, folds, 1)))
    tables = tables + seed * random.normal(size=(studies, 1, seeds)) + run * random.normal(size=(studies, folds, seeds))
    variance = fold**2 * (correlation + (1 - correlation) / folds) + seed**2 / seeds + run**2 / (folds * seeds)
    return tables, math.sqrt(variance)


def false_rate(half, deviation):
    """Return the rate of false verdicts and its standard error: the mean does not depend on the mean squares, so chance is known."""
    chances = 2 * special.ndtr(-half / deviation)
    return chances.mean(), chances.std() / math.sqrt(len(chances))


@pytest.mark.parametrize(("folds", "seeds"), DESIGNS)
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_without_an_effect_a_verdict_appears_in_at_most_5_percent_whatever_dominates(folds, seeds, level):
    random = np.random.default_rng(11)
    for mixture in MIXTURES:
        tables, deviation = simulate(random, folds=folds, seeds=seeds, mixture=mixture)
        squares = mean_squares(tables)
        for test in (0.0, 0.3 * deviation, 3 * deviation):
            half = half_width(squares, folds, seeds, test_variance=test**2, level=level)
            rate, error = false_rate(half, math.hypot(deviation, test))
            assert rate <= 1 - level + 3 * error, (mixture, test)
        # Where one of them is all there is no interval can be narrower, nor may be where runs share nothing.
        if sorted(mixture) == [0, 0, 1] and mixture[2] == 0:
            rate, error = false_rate(half_width(squares, folds, seeds, level=level), deviation)
            assert rate == pytest.approx(1 - level, abs=4 * error)


@pytest.mark.parametrize(("folds", "seeds", "mixture"), [(10, 3, (0.3, 1, 0.07)), (5, 3, (0.2, 1, 0.2))])
def test_verdicts_of_paired_effects_are_false_in_at_most_5_percent_of_4000_studies(folds, seeds, mixture):
    random = np.random.default_rng(3)
    tables, deviation = simulate(random, folds=folds, seeds=seeds, mixture=mixture)
    effects = [paired_effect(table) for table in tables]
    assert (
        sum(effect.verdict != "no evidence" for effect in effects) <= (0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)) * 4000
    )
    half = half_width(mean_squares(tables), folds, seeds)
    assert [(effect.high - effect.low) / 2 for effect in effects] == pytest.approx(half)
    # And it is no interval that says nothing whatever the numbers are.
    strong = [paired_effect(table + 6 * deviation).verdict for table in tables[:200]]
    assert strong.count("helps") > 120
    assert "hurts" not in strong


@pytest.mark.parametrize(("folds", "seeds"), DESIGNS)
@pytest.mark.parametrize("correlation", [0.2, 0.5])
def test_folds_that_overlap_are_covered_for_another_draw_of_labels(folds, seeds, correlation):
    random = np.random.default_rng(12)
    for mixture in MIXTURES:
        tables, deviation = simulate(random, folds=folds, seeds=seeds, mixture=mixture, correlation=correlation)
        half = half_width(mean_squares(tables, correlation), folds, seeds, correlation=correlation)
        rate, error = false_rate(half, deviation)
        assert rate <= 0.05 + 3 * error, mixture
        if mixture[0] == 1 and max(mixture[1:]) < 0.5:
            # Without the inflation it is not.
            rate, error = false_rate(half_width(mean_squares(tables), folds, seeds), deviation)
            assert rate > 0.05 + 3 * error, mixture


@pytest.mark.parametrize(("folds", "seeds"), [(10, 3), (5, 5), (10, 5)])
def test_two_points_at_a_spread_of_one_and_a_half_are_found_in_most_studies(folds, seeds):
    tables, _ = simulate(np.random.default_rng(12), folds=folds, seeds=seeds, mixture=(0.75, 0.45, 1.2), studies=500)
    studies = [paired_effect(table + 2.0) for table in tables]
    assert sum(study.verdict == "helps" for study in studies) > 250
    assert not any(study.verdict == "hurts" for study in studies)


drawn = st.tuples(st.integers(2, 10), st.integers(1, 5), st.integers(0, 999), st.sampled_from([0.0, 0.2, 0.5]))


def draw_table(folds, seeds, seed):
    random = np.random.default_rng([folds, seeds, seed])
    fold, own, run = 10 ** random.uniform(-2, 1, size=3)
    noise = run * random.normal(size=(folds, seeds)) + own * random.normal(size=(1, seeds))
    return noise + fold * random.normal(size=(folds, 1)) + random.normal() * 3


@given(drawn, st.sampled_from([0.0, 0.5]))
@settings(deadline=None, max_examples=200)
def test_an_interval_is_never_narrower_than_the_single_runs_allow(drawn, test):
    folds, seeds, seed, correlation = drawn
    table = draw_table(folds, seeds, seed)
    effect = paired_effect(table, correlation=correlation, test_variance=test)
    low, high = stats.ttest_1samp(table.flatten(), 0).confidence_interval()
    assert effect.high - effect.low >= (high - low) * (1 - 1e-12)
    assert effect.high - effect.low >= 2 * 1.959964 * math.sqrt(test)


@given(drawn, st.sampled_from([0.0, 0.5]))
@settings(deadline=None, max_examples=200)
def test_p_says_what_the_interval_says_and_intervals_grow_with_their_level(drawn, test):
    folds, seeds, seed, correlation = drawn
    table = draw_table(folds, seeds, seed)
    levels = [0.01, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999]
    effects = [paired_effect(table, correlation=correlation, test_variance=test, level=level) for level in levels]
    for level, effect in zip(levels, effects, strict=True):
        assert effect.p == effects[0].p
        assert (effect.p < 1 - level) == (effect.low > 0 or effect.high < 0)
    widths = [effect.high - effect.low for effect in effects]
    assert widths == sorted(widths)
    if 1e-9 < effects[0].p < 1:
        touching = paired_effect(table, correlation=correlation, test_variance=test, level=1 - effects[0].p)
        nearest = min(abs(touching.low), abs(touching.high))
        assert nearest == pytest.approx(0, abs=1e-5 * (touching.high - touching.low))


@given(st.integers(2, 6), st.integers(1, 5), st.floats(-300, 0), st.floats(-6, 2), st.booleans())
def test_p_is_a_number_however_little_differs(folds, seeds, spread, mean, same):
    """Runs that are all alike on test images that are all alike but for rounding had none."""
    table = np.full((folds, seeds), 10.0**mean)
    table += 0 if same else 10.0**spread * np.arange(folds * seeds).reshape(folds, seeds)
    effect = paired_effect(table, test_variance=10.0**spread)
    assert 0 <= effect.p <= 1
    assert effect.low <= effect.mean <= effect.high


def test_p_is_small_and_not_zero_far_away():
    table = np.random.default_rng(0).normal(size=(5, 3))
    effects = [paired_effect(table + shift, test_variance=0.01) for shift in (10, 1e3, 1e6)]
    assert effects[0].p > effects[1].p > effects[2].p > 0
    assert effects[2].p < 1e-8


@pytest.mark.parametrize(
    ("shape", "decidable"), [((5, 1), False), ((5, 2), False), ((5, 3), True), ((2,), False), ((3,), True)]
)
def test_fewer_than_three_seeds_give_an_interval_and_no_verdict(shape, decidable):
    effect = paired_effect(1000 + np.random.default_rng(0).normal(size=shape))
    assert effect.low < effect.mean < effect.high
    assert effect.low > 0
    assert (effect.decidable, effect.verdict) == (decidable, "helps" if decidable else "no evidence")
    assert (smallest_effect(effect) is not None) == decidable
    assert (needed(effect, 0.9).seeds is None) == (effect.seeds == 1)


@pytest.mark.parametrize(("folds", "seeds"), [(5, 3), (10, 5)])
@pytest.mark.parametrize("mixture", [(0.2, 1, 0.2), (0.2, 0.2, 1), (1, 1, 1)])
def test_the_smallest_effect_is_found_with_the_power_that_was_asked_for(folds, seeds, mixture):
    random = np.random.default_rng(7)
    tables, deviation = simulate(random, folds=folds, seeds=seeds, mixture=mixture)
    squares = mean_squares(tables)
    # A study whose mean squares are as expected.
    found = paired_effect(tables[0], test_variance=0.04)
    exact = replace(
        found, parts=(squares.folds.mean(), squares.seeds.mean(), 0.04), runs=squares.runs.mean(),
    )  # fmt: skip
    effect = smallest_effect(exact, power=0.8)
    half = half_width(squares, folds, seeds, test_variance=0.04)
    power = special.ndtr((effect - half) / math.hypot(deviation, 0.2)).mean()
    assert power == pytest.approx(0.8, abs=0.02)
    assert smallest_effect(exact, power=0.9) > effect
    assert smallest_effect(exact, folds=2 * folds, seeds=2 * seeds) < effect
    with pytest.raises(ValueError, match=r"power=0\.01; give a number between 0\.05 and 1"):
        smallest_effect(exact, power=0.01)


def test_a_study_of_the_size_that_is_needed_is_as_narrow_as_was_asked():
    random = np.random.default_rng(8)
    tables, _ = simulate(random, folds=5, seeds=3, mixture=(0.2, 0.5, 1))
    squares = mean_squares(tables)
    effect = replace(
        paired_effect(tables[0], test_variance=0.02),
        parts=(squares.folds.mean(), squares.seeds.mean(), 0.02),
        runs=squares.runs.mean(),
    )
    answer = needed(effect, 0.7)
    assert answer.folds is None
    assert answer.images is None
    for seeds, enough in ((answer.seeds, True), (answer.seeds - 1, False)):
        more, _ = simulate(random, folds=5, seeds=seeds, mixture=(0.2, 0.5, 1))
        assert (
            np.median(half_width(mean_squares(more), 5, seeds, test_variance=0.02)) < 0.7 * (1.02 if enough else 1)
        ) == enough
    assert needed(effect, 100.0) == Needed(5, 3, 1.0)
    wide = replace(effect, parts=(*effect.parts[:2], 9.0))
    images = needed(wide, 3.0).images
    now, after = (np.median(half_width(squares, 5, 3, test_variance=variance)) for variance in (9.0, 9.0 / images))
    assert now > 3.0 > after * 0.98


def test_test_images_alone_without_a_true_effect_are_covered():
    """Two classifiers that are right on the same share of all images, scored on one small test split by every run."""
    random = np.random.default_rng(5)
    false = 0
    for _ in range(600):
        # Every run gives the same answers, so folds and seeds show no spread at all.
        difference = 100.0 * (random.choice([-1, 0, 1], p=[0.15, 0.7, 0.15], size=150))
        table = np.full((4, 3), difference.mean())
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
        paired_effect(arguments[0], correlation=arguments[1] if len(arguments) > 1 else 0.0)
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
            outcome = ClassicalOutcome(
                converged=arm.model != "logistic", choice={}, tried=[], valid_accuracy=0.5, valid_log_loss=1.0, seconds=1.0,
                predict_seconds=0.1, accuracy=0.5, log_loss=1.0, facts={}, features=1, train_accuracy=0.5, train_log_loss=1.0,
            )  # fmt: skip
            rows.append(Row(arm, seed, "runs/some", outcome, fold))
            scores[arm, fold, seed] = (right, np.where(right, 0.1, 2.0))
    return rows, scores


def test_comparison_pairs_by_fold_and_seed():
    differences = np.array([[80, 82, 81], [82, 84, 83], [81, 83, 82]])
    rows, scores = scores_of(differences)
    compared = replace(compare(rows, scores, all_contrasts(), correlation=0.0), chosen=FINETUNED)
    main = compared.named
    assert (main.treated, main.control) == (FINETUNED, SCRATCH)
    assert main.accuracy.mean == pytest.approx(differences.mean() / 4)
    assert main.log_loss.mean == pytest.approx(-1.9 * differences.mean() / 400)
    assert [d.accuracy for d in main.differences] == pytest.approx((differences / 4).flatten().tolist())
    assert main.verdict == "helps"
    # One of as many ways as are held against doing without.
    assert main.p == pytest.approx(main.accuracy.p * sum(c.role == "without" for c in all_contrasts()))
    assert main.accuracy.parts[2] > 0
    assert [arm.arm for arm in compared.arms] == list(all_arms())
    assert {arm.not_converged for arm in compared.arms if arm.arm.model == "logistic"} == {9}
    assert len(compared.contrasts) == len(all_contrasts())
    others = [contrast for contrast in compared.contrasts if contrast.treated != FINETUNED]
    assert {contrast.verdict for contrast in others} == {"no difference"}
    assert (compared.answer.arm, compared.answer.verdict) == (FINETUNED, "helps")
    assert {worth.verdict for worth in compared.worths if worth.arm != FINETUNED} == {"no difference"}


@pytest.mark.parametrize(
    ("p", "named", "expected"), [(0.012, False, "imprecise"), (0.0099, False, "hurts"), (0.04, True, "hurts")]
)
def test_of_several_ways_one_hurts_only_after_the_correction_for_their_number(p, named, expected):
    """Of five ways one at 5 % each would be said to hurt by chance in a quarter of all studies; the answer is one comparison."""
    results = []
    for number in range(5):
        low, arm = number == 0, ArmKey(f"way {number}", "network")
        effect = Effect(-4.0, -9.0, 1.0, p if low else 0.9, 4.0, 2.0, 0, 3, 3, (0.1, 0.1, 0.1))
        results += [
            ContrastResult(Contrast(arm, ArmKey(role), named=named and low, role=role), effect, effect)
            for role in ("without", "twin")
        ]
    assert _worths(results, 2.0)[0].verdict == expected


def worth_of(without, twin, *, seeds=3, difference=2.0, at_last=(), noise=0):
    """The verdict on an arm that differs by so many images (of 400) from the arm without unlabeled images, and from its twin."""
    arms = {"treated": 100, "control": 100 - without, "twin": 100 - twin}
    rows, scores = [], {}
    for (name, base), fold, seed in product(arms.items(), range(3), range(seeds)):
        own = noise * ((2 * fold + 3 * seed) % 5 - 2) if name == "treated" else 0
        right = np.arange(400) < base + (fold + seed) % 2 + own
        outcome = NetworkOutcome(
            converged=True, choice={"epoch": 5 if name in at_last else 3}, tried=[], valid_accuracy=0.5, valid_log_loss=1.0, seconds=1.0,
            predict_seconds=0.1, accuracy=0.5, log_loss=1.0, parameters=1, code_length=1, images_per_second=1.0, seconds_to_best=1.0,
            predictions_per_second=1.0, epochs=5,
        )  # fmt: skip
        rows.append(Row(ArmKey(name, "network"), seed, "runs/some", outcome, fold))
        scores[rows[-1].arm, fold, seed] = (right, np.where(right, 0.1, 2.0))
    treated, control, double = (ArmKey(name, "network") for name in arms)
    contrasts = [
        Contrast(treated, control, named=True, role="without"),
        Contrast(treated, double, named=True, role="twin"),
    ]
    return compare(rows, scores, contrasts, correlation=0.0, difference=difference).answer


@pytest.mark.parametrize(
    ("without", "twin", "options", "verdict"),
    [
        (40, 40, {}, "helps"),
        # Better than without them is not enough: the same from labeled images alone does as well.
        (40, 0, {}, "no difference"),
        (40, -40, {}, "no difference"),
        (0, 40, {}, "no difference"),
        (-40, 40, {}, "hurts"),
        (-40, -40, {}, "hurts"),
        (0, 0, {}, "no difference"),
        (2, 2, {"noise": 8}, "imprecise"),
        # What is too imprecise for somebody is no difference to somebody else.
        (2, 2, {"noise": 8, "difference": 9.0}, "no difference"),
        (40, 40, {"seeds": 2}, "reading"),
        (40, 40, {"at_last": ("control",)}, "unfinished"),
    ],
)
def test_images_help_only_if_both_comparisons_say_so(without, twin, options, verdict):
    worth = worth_of(without, twin, **options)
    assert worth.verdict == verdict
    assert worth.p == max(worth.without.accuracy.p, worth.twin.accuracy.p)


def test_the_variance_of_test_images_is_what_all_runs_share():
    """Noise of single runs, seeds or folds on images is in their own mean squares; it must not be counted once more."""
    random = np.random.default_rng(3)
    shared, runs = random.normal(size=2000), random.normal(size=(4, 3, 2000))
    folds, seeds = random.normal(size=(4, 1, 2000)), random.normal(size=(1, 3, 2000))
    alone = [shared_test_variance(noise + 0 * runs) for noise in (runs, folds, seeds)]
    assert max(alone) < 0.1 / 2000
    assert shared_test_variance(shared + runs + folds + seeds) == pytest.approx(1 / 2000, rel=0.15)
    assert shared_test_variance(shared + 0 * runs) == pytest.approx(shared.var(ddof=1) / 2000)
    assert shared_test_variance(shared[None, None]) == pytest.approx(shared.var(ddof=1) / 2000)
