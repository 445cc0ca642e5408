"""What is saved in labels, and what is extrapolated: oracles without noise, and how often intervals hold the truth with it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import ndtr, ndtri

from unlabeled.errors import DataError
from unlabeled.evaluation.folds import Fold, Folds, share_folds
from unlabeled.evaluation.saving import (
    Measured,
    gain_of_more,
    label_equivalent,
    label_saving,
    nice_below,
    rounded,
    shared_test_covariance,
    straightest,
)
from unlabeled.evaluation.statistics import shared_test_variance

LABELS = (100, 200, 400, 800)


def law(labels, floor=0.08, scale=6.0, power=0.45):
    return floor + scale * np.asarray(labels, dtype=float) ** -power


def exactly(errors, images=100_000, folds=3, seeds=3):
    """Runs that all err on the same share of images: nothing but these images is left to chance."""
    wrong = np.arange(images) < np.round(np.asarray(errors) * images)[:, None]
    return np.broadcast_to(~wrong[:, None, None], (len(errors), folds, seeds, images))


def drawn(errors, random, folds=3, seeds=3, images=1500, spread=(0.03, 0.02, 0.02)):
    """Runs that differ by fold, seed and run, on test images of which some are hard for all."""
    hard = 0.8 * random.normal(size=images)
    shared = spread[0] * random.normal(size=(folds, 1)) + spread[1] * random.normal(size=(1, seeds))
    total = np.sqrt(1 + 0.64 + sum(one**2 for one in spread))
    runs = [ndtri(error) * total + shared + spread[2] * random.normal(size=(folds, seeds)) for error in errors]
    return np.array([random.random((folds, seeds, images)) > ndtr(run[..., None] + hard) for run in runs])


@given(arrays(np.float64, (3, 3, 2, 7), elements=st.floats(0, 1)), arrays(np.float64, 3, elements=st.floats(-2, 2)))
def test_the_covariance_is_the_variance_of_every_weighted_sum(values, weights):
    together = weights @ shared_test_covariance(values) @ weights
    alone = shared_test_variance(np.tensordot(weights, values, axes=1))
    assert max(0.0, together) == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize("shape", [(3, 1, 4, 9), (2, 3, 1, 9)])
def test_so_it_is_with_one_fold_or_seed(shape):
    values, weights = np.random.default_rng(0).random(shape), np.linspace(-1, 2, shape[0])
    together = weights @ shared_test_covariance(values) @ weights
    assert together == pytest.approx(shared_test_variance(np.tensordot(weights, values, axes=1)))


@pytest.mark.parametrize("times", [1.3, 2.0, 4.5])
def test_a_way_that_is_worth_so_many_times_the_labels_saves_the_rest(times):
    """On straight curves the number is exact: with n labels the way is as good as the other with ``times`` as many."""
    alone, best = (law(np.array(LABELS) * factor, floor=0.0) for factor in (1, times))
    measured = Measured(exactly([*best, alone[-1]]))
    saving = label_saving(LABELS, measured, scale="log error")
    assert saving.equal == pytest.approx(800 / times, rel=0.01)
    assert saving.measurable
    assert saving.low <= saving.equal <= saving.high < 800
    assert (saving.low < saving.high) == (times != 2)  # where both err on the same images nothing is left to chance


def test_what_lies_beyond_the_curve_has_no_end():
    alone = law(LABELS)
    far = label_saving(LABELS, Measured(exactly([*(0.9 * alone[-1] * alone / alone[0]), alone[-1]])), scale="logit")
    assert (far.equal, far.low, far.high) == (None, None, 100)
    worse = label_saving(LABELS, Measured(exactly([*(alone + 0.05), alone[-1]])), scale="logit")
    assert (worse.equal, worse.low, worse.high, worse.measurable) == (800, 800, None, False)
    same = label_saving(LABELS, Measured(drawn([*alone, alone[-1]], np.random.default_rng(1))), scale="accuracy")
    assert same.high is None
    assert same.low < 800


def test_a_curve_that_falls_is_read_off_the_mean_of_its_neighbours():
    """200 and 400 labels are taken for 31 % both, from where the line to 20 % passes 25.5 % halfway."""
    saving = label_saving(LABELS, Measured(exactly([0.4, 0.3, 0.32, 0.2, 0.255])), scale="accuracy")
    assert saving.equal == pytest.approx(400 * 2**0.5, rel=0.01)
    unpooled = label_saving(LABELS, Measured(exactly([0.4, 0.32, 0.3, 0.2, 0.255])), scale="accuracy")
    assert unpooled.equal == pytest.approx(400 * 2**0.45, rel=0.01)


def test_two_seeds_carry_no_saving():
    alone = law(LABELS)
    saving = label_saving(LABELS, Measured(exactly([*(alone - 0.1), alone[-1]], seeds=2)), scale="accuracy")
    assert not saving.measurable


@pytest.mark.parametrize("spread", [(0.04, 0.0, 0.02), (0.0, 0.04, 0.02), (0.02, 0.02, 0.03)])
def test_the_interval_of_the_saving_holds_the_truth(spread):
    alone, best = law(LABELS), law(1.8 * np.array(LABELS))
    where = np.exp(np.interp(-np.log(alone[-1]), -np.log(best), np.log(LABELS)))
    random, held = np.random.default_rng(2), 0
    for _ in range(100):
        saving = label_saving(LABELS, Measured(drawn([*best, alone[-1]], random, spread=spread)), scale="log error")
        held += (saving.low or 0) <= where <= (saving.high or np.inf)
    assert held >= 90


def test_curves_are_straight_on_the_scale_on_which_they_were_drawn():
    places = np.log(LABELS) - np.log(100)
    for scale, errors in {
        "accuracy": 0.6 - 0.2 * places,
        "log error": 0.6 * np.exp(-0.9 * places),
        "logit": 1 / (1 + np.exp(1.2 * places)),
    }.items():
        found, departures = straightest(LABELS, [Measured(exactly(errors))])
        assert found == scale
        assert departures[scale] < 0.01 < sorted(departures.values())[1]


@pytest.mark.parametrize("seed", range(8))
def test_two_numbers_of_labels_are_read_as_accuracy_and_not_on_the_scale_that_rounding_likes(seed):
    ends = np.random.default_rng(seed).uniform(0.2, 0.8, size=(2, 2))
    found, departures = straightest([100, 200], [Measured(exactly(one)) for one in ends])
    assert found == "accuracy"
    assert max(departures.values()) < 1e-9


def test_a_power_law_is_found_and_goes_on():
    """Without noise the equivalent and what more labels bring are those of the law that drew the curve."""
    alone, goal = law(LABELS), law(1300)
    found = label_equivalent(LABELS, Measured(exactly([*alone, goal])))
    assert found.labels == pytest.approx(1300, rel=0.03)
    assert found.low < 1300
    assert found.floor == pytest.approx(8, abs=1.5)
    more = gain_of_more(LABELS, Measured(exactly(alone)), 100)
    assert more.gain == pytest.approx(100 * (law(800) - law(900)), abs=0.1)
    assert more.low < more.gain < more.high


def test_between_two_points_it_is_a_line_over_the_logarithm():
    more = gain_of_more((200, 800), Measured(exactly([0.3, 0.2])), 200)
    assert more.gain == pytest.approx(10 * np.log(1000 / 800) / np.log(4), abs=0.01)


def test_no_law_is_told_where_none_fits():
    rising = Measured(exactly([0.2, 0.25, 0.3, 0.35, 0.1]))
    assert label_equivalent(LABELS, rising) is None
    assert gain_of_more(LABELS, Measured(exactly([0.2, 0.25, 0.3, 0.35])), 100) is None
    bumpy = Measured(exactly([0.5, 0.2, 0.45, 0.1, 0.05], images=20_000))
    assert label_equivalent(LABELS, bumpy) is None


@pytest.mark.slow
@pytest.mark.parametrize("folds", [3, 5])
def test_the_hidden_half_of_a_curve_lies_in_the_interval(folds):
    """From a half of the labels and less, the number at which all of them stand is told in 90 % or more of the cases."""
    random, held, told, closed = np.random.default_rng(3), 0, 0, 0
    alone = law(LABELS)
    for _ in range(40):
        measured = Measured(drawn(alone, random, folds=folds, images=1000))
        if (found := label_equivalent(LABELS[:3], measured)) is not None:
            told += 1
            closed += found.high is not None
            held += found.low <= LABELS[-1] <= (found.high or np.inf)
    assert told >= 30
    assert held >= 0.9 * told
    assert closed > 0


def test_numbers_are_told_as_people_tell_them():
    assert [rounded(n) for n in (0.3, 7.2, 24, 2464.0, 98765)] == [0, 7, 24, 2500, 99000]
    assert [nice_below(n) for n in (1, 3.9, 616.5, 11250)] == [1, 2, 500, 10000]


def folds_of(sizes, folds=3):
    classes = np.repeat(np.arange(len(sizes)), sizes)
    random = np.random.default_rng(0)
    rows = random.permutation(len(classes))
    parts = [rows[number::folds] for number in range(folds)]
    return classes, Folds(
        tuple(Fold(np.sort(np.setdiff1d(rows, part)), np.sort(part)) for part in parts), own=False, correlation=0.0
    )


def test_a_share_of_the_labels_holds_that_of_every_class_and_larger_ones_hold_smaller():
    classes, folds = folds_of((90, 31, 62))
    shares = [share_folds(folds, classes, ("a", "b", "c"), share).folds for share in (0.25, 0.5, 1.0)]
    for whole, small, half, all_of_it in zip(folds.folds, *shares, strict=True):
        for part in ("train", "valid"):
            rows = [getattr(fold, part) for fold in (small, half, all_of_it)]
            assert set(rows[0]) < set(rows[1]) < set(rows[2]) == set(getattr(whole, part))
            counts = [np.bincount(classes[one], minlength=3) for one in rows]
            assert abs(counts[0] - counts[2] / 4).max() <= 0.5
            assert abs(counts[1] - counts[2] / 2).max() <= 0.5


def test_too_few_labels_for_a_share_are_refused_by_their_number():
    classes, folds = folds_of((90, 9, 62))
    with pytest.raises(
        DataError, match=r"class 'b' to (train on|choose with), where [12] are needed; that takes \d+ of its \d now"
    ):
        share_folds(folds, classes, ("a", "b", "c"), 0.125)
