"""The estimators keep scikit-learn's contract, all of it, and take images in whatever layout."""

import pickle
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from unlabeled.estimators import (
    ConvAutoEncoderTransformer,
    ConvNetClassifier,
    SelfTrainedClassifier,
    SparsePatchTransformer,
)

SMALL = [
    ConvAutoEncoderTransformer(conv_out_channels=(4,), epochs=1, random_state=0),
    SparsePatchTransformer(patches=200, hidden=8, iterations=10, random_state=0),
    ConvNetClassifier(conv_out_channels=(4,), epochs=3, random_state=0),
    SelfTrainedClassifier(widths=(4, 8), steps=8, random_state=0),
]
DIGITS, LABELS = load_digits(return_X_y=True)


def output(estimator, images):
    return estimator.predict_proba(images) if hasattr(estimator, "predict_proba") else estimator.transform(images)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "checks"),
    [
        (ConvAutoEncoderTransformer(epochs=1), 46),
        (SparsePatchTransformer(patches=200, iterations=20), 46),
        (ConvNetClassifier(conv_out_channels=(8,), epochs=20), 53),
        (SelfTrainedClassifier(widths=(16,), steps=40), 53),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else "",
)
def test_all_of_scikit_learns_checks_pass(estimator, checks):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # checks provoke some
        found = check_estimator(estimator, on_fail=None)
    failed = [
        (check["check_name"], check["exception"]) for check in found if check["status"] not in ("passed", "skipped")
    ]
    assert not failed
    assert Counter(check["status"] for check in found)["passed"] >= checks


@pytest.mark.parametrize("estimator", SMALL, ids=lambda one: type(one).__name__)
def test_one_set_of_images_is_one_whatever_its_layout(estimator):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (12, 3, 8, 10)).astype(np.uint8), np.arange(12) % 2
    layouts = {"channels first": images, "channels last": images.transpose(0, 2, 3, 1), "rows": images.reshape(12, -1)}
    results = []
    for name, stack in layouts.items():
        own = clone(estimator).set_params(image_shape=(3, 8, 10) if name == "rows" else None)
        results.append(output(own.fit(stack, labels), stack))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)
    grey = images[:, 0]
    np.testing.assert_array_equal(
        output(clone(estimator).fit(grey, labels), grey),
        output(clone(estimator).fit(grey[:, None], labels), grey[:, None]),
    )


@pytest.mark.parametrize("estimator", SMALL, ids=lambda one: type(one).__name__)
def test_a_pickled_or_cloned_estimator_says_the_same_again(estimator):
    images, labels = DIGITS[:40], LABELS[:40] % 3
    fitted = clone(estimator).set_params(image_shape=(1, 8, 8)).fit(images, labels)
    expected = output(fitted, images)
    np.testing.assert_array_equal(output(pickle.loads(pickle.dumps(fitted)), images), expected)
    np.testing.assert_array_equal(output(clone(fitted).fit(images, labels), images), expected)
    assert fitted.input_size_ == (1, 8, 8)


def test_numbers_between_0_and_1_are_the_bytes_that_they_are():
    images, labels = np.random.default_rng(1).integers(0, 256, (10, 8, 8)).astype(np.uint8), np.arange(10) % 2
    images.flat[0], images.flat[1] = 0, 255
    by_bytes, by_shares = (clone(SMALL[2]).fit(x, labels) for x in (images, images / 255))
    np.testing.assert_array_equal(by_bytes.predict_proba(images), by_shares.predict_proba(images / 255))


@pytest.mark.slow
def test_rows_without_a_label_are_learned_from_and_get_one():
    images, labels = DIGITS[:300], LABELS[:300].copy()
    hidden = np.arange(300) >= 60
    labels[hidden] = -1
    made = SelfTrainedClassifier(image_shape=(1, 8, 8), widths=(16, 32), steps=150, random_state=0).fit(images, labels)
    assert made.classes_.tolist() == list(range(10))
    assert (made.transduction_[~hidden] == labels[~hidden]).all()
    assert set(made.transduction_[hidden]) <= set(range(10))
    other = clone(made).fit(
        np.vstack([images[~hidden], images[hidden][::-1] * 0]), np.r_[labels[~hidden], labels[hidden]]
    )
    assert not np.array_equal(made.predict_proba(images), other.predict_proba(images))
    torch.testing.assert_close(made.teacher_.head.weight.shape, other.teacher_.head.weight.shape)
    assert made.score(DIGITS[300:500], LABELS[300:500]) > 0.6


def test_minus_one_is_a_class_where_only_one_other_is_there():
    made = clone(SMALL[3]).set_params(image_shape=(1, 8, 8)).fit(DIGITS[:20], np.where(LABELS[:20] > 4, 1, -1))
    assert made.classes_.tolist() == [-1, 1]


@pytest.mark.slow
def test_they_run_in_several_processes():
    scores = cross_val_score(
        clone(SMALL[2]).set_params(image_shape=(1, 8, 8)), DIGITS[:80], LABELS[:80] % 2, cv=2, n_jobs=2
    )
    assert scores.shape == (2,)


@pytest.mark.parametrize(
    ("images", "shape", "message"),
    [
        (np.zeros((4, 65)), (1, 8, 8), r"rows have 65 numbers, and image_shape=\(1, 8, 8\) has 64"),
        (
            np.zeros((4, 2, 8, 8)),
            None,
            r"X has shape \(4, 2, 8, 8\); images are \(n, c, h, w\) or \(n, h, w, c\) of 1 or 3 channels",
        ),
        (np.zeros((4, 1, 1, 8, 8)), None, "X has 5 dimensions; give images"),
    ],
)
def test_what_is_no_image_is_refused(images, shape, message):
    with pytest.raises(ValueError, match=message):
        clone(SMALL[0]).set_params(image_shape=shape).fit(images)


def test_images_of_another_size_than_those_fitted_are_refused():
    made = clone(SMALL[0]).fit(np.random.default_rng(0).random((4, 8, 8)))
    with pytest.raises(ValueError, match=r"images have shape \(1, 9, 8\); fit has seen \(1, 8, 8\)|X has 9 features"):
        made.transform(np.zeros((4, 9, 8)))


@pytest.mark.slow
def test_the_pages_code_runs_and_its_student_beats_its_peers():
    page = (Path(__file__).parent.parent / "docs" / "ESTIMATORS.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in page.split("```python\n")[1:]:
        exec(compile(block.partition("```")[0], "ESTIMATORS.md", "exec"), names)
    scores = names["scores"]
    assert set(scores) == {f"labels alone, {who}" for who in ("scikit-learn", "skorch", "unlabeled")} | {
        f"self-training, {who}" for who in ("scikit-learn", "unlabeled")
    }
    assert scores.pop("self-training, unlabeled") > max(scores.values())
    assert min(scores.values()) > 0.8
    assert set(names["search"].best_params_) == {"convautoencodertransformer__conv_out_channels"}
