import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from conftest import make_images
from unlabeled.config import ClassicalConfig
from unlabeled.errors import DataError
from unlabeled.evaluation.classifiers import (
    Labeled,
    Scale,
    choose_boosting,
    choose_logistic,
    choose_neighbours,
    choose_trees,
    log_losses,
    score,
)
from unlabeled.evaluation.features import encode, fit_components, pixel_features
from unlabeled.evaluation.folds import limit_folds, make_folds
from unlabeled.evaluation.linear import fit_linear_network
from unlabeled.images import Images, Splits
from unlabeled.networks.models import ConvAutoEncoder
from unlabeled.training.runtime import Runtime, to_images

CPU = Runtime.of("cpu")


def digits(n=150, noise=0):
    data = load_digits()
    features = data.data.astype(np.float32)
    if noise:
        features = np.hstack(
            [features, np.random.default_rng(0).normal(size=(len(features), noise)).astype(np.float32)]
        )
    return [
        Labeled(features[a:b], data.target[a:b].astype(np.int64)) for a, b in ((0, n), (n, n + 200), (n + 200, n + 700))
    ]


@pytest.mark.parametrize("noise", [0, 300])
def test_logistic_regression_is_scikit_learns_for_the_strength_it_chose(noise):
    """With 300 features of noise there are more features than images, and the smaller problem is solved instead."""
    train, valid, test = digits(noise=noise)
    chosen = choose_logistic(train, valid, classes=10, config=ClassicalConfig(strengths=(0.001, 0.01, 0.1)))
    assert chosen.converged
    if chosen.choice["scaling"] == "each":
        scaler = StandardScaler().fit(train.features)
        scale = scaler.transform
    else:
        mean = train.features.mean(0)
        spread = np.sqrt(train.features.var(0).mean())
        scale = lambda x: (x - mean) / spread  # noqa: E731
    model = LogisticRegression(C=chosen.choice["C"], max_iter=5000, tol=1e-8).fit(
        scale(train.features).astype(np.float64), train.labels
    )
    expected = model.predict_proba(scale(test.features).astype(np.float64))
    found = chosen.classifier.predict(test.features)
    assert np.abs(found - expected).max() < 0.02
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.99


def test_the_strength_with_the_least_validation_loss_is_chosen_and_the_path_ends_when_it_has_risen_twice():
    train, valid, _ = digits(60)
    # Labels that are half wrong are learned by heart, so a weak penalty is worse.
    wrong = np.where(np.arange(60) % 2, train.labels, np.random.default_rng(0).integers(0, 10, 60))
    train = Labeled(train.features, wrong)
    config = ClassicalConfig(strengths=tuple(10.0**power for power in range(-3, 6)))
    chosen = choose_logistic(train, valid, classes=10, config=config)
    losses = [row["valid_log_loss"] for row in chosen.tried]
    best = chosen.tried[int(np.argmin(losses))]
    assert {name: best[name] for name in ("C", "scaling")} == {name: chosen.choice[name] for name in ("C", "scaling")}
    assert score(chosen.classifier.predict(valid.features), valid.labels)[1] == pytest.approx(min(losses))
    for scaling in ("common", "each"):
        path = [row["valid_log_loss"] for row in chosen.tried if row["scaling"] == scaling]
        assert len(path) < len(config.strengths)
        assert path[-2] >= min(path[:-2]) <= path[-1]


def test_logistic_regression_that_has_not_converged_says_so():
    train, valid, _ = digits()
    chosen = choose_logistic(train, valid, classes=10, config=ClassicalConfig(strengths=(1.0,), max_iter=3))
    assert not chosen.converged


@pytest.mark.parametrize("model", ["logistic", "forest", "extra-trees"])
def test_probabilities_are_whole_even_for_two_classes_and_a_class_never_seen(model):
    train, valid, test = (Labeled(part.features[part.labels < 2], part.labels[part.labels < 2]) for part in digits())
    config = ClassicalConfig(trees=20, ensemble="forest" if model == "logistic" else model)
    if model == "logistic":
        chosen = choose_logistic(train, valid, classes=3, config=config)
    else:
        chosen = choose_trees(train, valid, classes=3, config=config, seed=0)
    probabilities = chosen.classifier.predict(test.features)
    assert probabilities.shape == (len(test.labels), 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    assert (probabilities[:, 2] == 0).all()
    assert score(probabilities, test.labels)[0] > 0.9


def test_no_class_that_was_seen_gets_probability_zero_from_trees():
    train, valid, test = digits()
    chosen = choose_trees(train, valid, classes=10, config=ClassicalConfig(trees=5, min_samples_leaf=(1, 3)), seed=0)
    assert len(chosen.tried) == 2
    assert chosen.classifier.predict(test.features).min() > 0


@pytest.mark.parametrize("ensemble", ["forest", "extra-trees"])
def test_trees_that_grow_in_parts_are_those_of_one_call(ensemble, random):
    train = Labeled(random.random((90, 5)).astype(np.float32), random.integers(0, 3, 90))
    config = ClassicalConfig(trees=23, ensemble=ensemble, min_samples_leaf=(2, 3))
    steps = []
    chosen = choose_trees(
        train, train, classes=3, config=config, seed=5, threads=1, step=lambda done, total: steps.append((done, total))
    )
    kind = RandomForestClassifier if ensemble == "forest" else ExtraTreesClassifier
    once = kind(23, min_samples_leaf=chosen.choice["min_samples_leaf"], random_state=5).fit(
        train.features, train.labels
    )
    for grown, whole in zip(chosen.classifier.model.estimators_, once.estimators_, strict=True):
        np.testing.assert_array_equal(grown.tree_.threshold, whole.tree_.threshold)
        np.testing.assert_array_equal(grown.tree_.value, whole.tree_.value)
    assert len(steps) == 20
    assert steps == sorted(steps)
    assert steps[-1] == (46, 46)


def test_a_fit_of_many_strengths_tells_how_far_it_is(random):
    train = Labeled(random.random((60, 5)).astype(np.float32), random.integers(0, 2, 60))
    steps = []
    config = ClassicalConfig(strengths=(0.01, 0.1, 1.0))
    choose_logistic(train, train, classes=2, config=config, step=lambda done, total: steps.append((done, total)))
    assert steps == [(number, 6) for number in range(1, 7)]


def test_scores_are_accuracy_and_log_loss():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [1.0, 0.0, 0.0]])
    labels = np.array([0, 1, 2])
    assert score(probabilities, labels)[0] == pytest.approx(1 / 3)
    np.testing.assert_allclose(log_losses(probabilities, labels), [np.log(2), np.log(10), np.log(1e12)])


# Features


def test_pixel_features_are_minus_one_to_one():
    images = make_images(5)
    assert np.allclose(pixel_features(images), images.pixels.reshape(5, -1) / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("length", [4, 100, 500])
def test_components_are_scikit_learns(length, monkeypatch):
    monkeypatch.setattr("unlabeled.evaluation.features._BATCH", 16)
    images = make_images(150)
    found = fit_components(images, length)
    flat = pixel_features(images)
    kept = min(length, 149)
    expected = PCA(kept).fit(flat)
    assert len(found.components) == kept
    assert found.explained == pytest.approx(expected.explained_variance_ratio_.sum(), abs=1e-5)
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(kept), atol=1e-5)
    if length == 4:
        np.testing.assert_allclose(np.abs(found.scores(images)), np.abs(expected.transform(flat)), atol=1e-3)


def test_there_are_no_more_components_than_images_less_one():
    assert len(fit_components(make_images(7), 50).components) == 6


def test_encoding_is_the_encoder_in_batches_and_changes_nothing(monkeypatch):
    monkeypatch.setattr("unlabeled.evaluation.features._BATCH", 4)
    torch.manual_seed(0)
    model = ConvAutoEncoder(
        (3, 9, 12), conv_out_channels=5, conv_kernel_size=3, conv_stride=1, pool_kernel_size=2, pool_stride=2
    )
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = make_images(10)
    codes = encode(model.encoder, images, runtime=CPU)
    expected = model.encode(to_images(torch.from_numpy(images.pixels))).code.flatten(1)
    np.testing.assert_allclose(codes, expected.detach().numpy(), atol=1e-6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


# Folds


def splits_of(labels, folds=()):
    images = Images(np.zeros((len(labels), 1, 2, 2), dtype=np.uint8), np.asarray(labels, dtype=np.int64))
    names = tuple("abc"[: max(labels) + 1])
    return Splits(images, images, images, names, tuple(np.asarray(fold) for fold in folds))


def test_stratified_folds_use_every_image_once_for_validation():
    labels = [0] * 13 + [1] * 7 + [2] * 4
    folds = make_folds(splits_of(labels), count=4)
    valid = np.concatenate([fold.valid for fold in folds.folds])
    assert sorted(valid.tolist()) == list(range(24))
    for fold in folds.folds:
        assert sorted([*fold.train, *fold.valid]) == list(range(24))
        counts = np.bincount(np.asarray(labels)[fold.valid], minlength=3)
        assert all(n // 4 <= c <= -(-n // 4) for n, c in zip((13, 7, 4), counts, strict=True))
    assert {len(fold.valid) for fold in folds.folds} == {6}
    assert folds.correlation == 0.0  # of these labels


def test_own_folds_are_taken_as_they_are_a_fifth_for_validation():
    labels = [0, 1] * 30
    own = [np.arange(0, 40), np.arange(20, 60)]
    folds = make_folds(splits_of(labels, own))
    for fold, given in zip(folds.folds, own, strict=True):
        assert sorted([*fold.train, *fold.valid]) == given.tolist()
        assert np.bincount(np.asarray(labels)[fold.valid]).tolist() == [4, 4]
    assert folds.correlation == pytest.approx(0.5)
    with pytest.raises(DataError, match="folds=3, and the data set has 2 of its own; use --folds 2"):
        make_folds(splits_of(labels, own), count=3)


def test_labels_limit_a_fold_and_keep_the_classes_shares():
    labels = [0] * 60 + [1] * 30 + [2] * 10
    folds = make_folds(splits_of(labels), count=2, labels=20)
    used = np.concatenate([folds.folds[0].train, folds.folds[0].valid])
    assert np.bincount(np.asarray(labels)[used]).tolist() == [12, 6, 2]


def test_limited_folds_hold_so_many_of_each_class_and_fewer_are_part_of_more():
    labels = np.repeat([0, 1, 2], [40, 60, 50])
    folds = make_folds(splits_of(labels), count=3)
    five, ten = limit_folds(folds, labels, 5), limit_folds(folds, labels, 10)
    for small, large, whole in zip(five.folds, ten.folds, folds.folds, strict=True):
        assert np.bincount(labels[small.train]).tolist() == [4, 4, 4]
        assert np.bincount(labels[small.valid]).tolist() == [1, 1, 1]
        assert np.bincount(labels[large.train]).tolist() == [8, 8, 8]
        assert np.bincount(labels[large.valid]).tolist() == [2, 2, 2]
        for part in ("train", "valid"):
            assert set(getattr(small, part)) < set(getattr(large, part)) < set(getattr(whole, part))
    drawn = [set(fold.train) | set(fold.valid) for fold in ten.folds]
    shares = [len(drawn[a] & drawn[b]) / 30 for a, b in ((0, 1), (0, 2), (1, 2))]
    assert ten.correlation == pytest.approx(np.mean(shares))
    assert drawn[0] != drawn[1]


def test_a_fold_with_fewer_labels_has_no_limited_one():
    labels = np.repeat([0, 1], [12, 30])
    folds = make_folds(splits_of(labels), count=3)
    assert limit_folds(folds, labels, 13) is None
    assert limit_folds(folds, labels, 8) is not None
    assert limit_folds(folds, labels, 1) is None


def test_a_class_too_small_for_the_folds_is_named():
    with pytest.raises(DataError) as caught:
        make_folds(splits_of([0] * 9 + [1] * 3), count=5)
    assert str(caught.value) == (
        "class 'b' has 3 labeled images for 5 folds, after limits, dropped leaks and images set aside for the test; "
        "use --folds 3 or fewer"
    )


def test_components_that_hold_nothing_but_rounding_are_left_out():
    """Grey pictures stored as RGB have a third of the components that their pixels could have."""
    grey = make_images(200, shape=(1, 6, 7)).pixels
    images = Images(np.repeat(grey, 3, axis=1))
    assert len(fit_components(images, 126).components) <= 42


def test_components_of_a_sample_are_those_of_the_whole_when_it_is_the_whole(monkeypatch):
    images = make_images(60)
    exact = fit_components(images, 5)
    monkeypatch.setattr("unlabeled.evaluation.features._MOST_PIXELS", 100)
    sampled = fit_components(images, 5)
    assert sampled.explained == pytest.approx(exact.explained, abs=1e-4)
    np.testing.assert_allclose(np.abs(sampled.components @ exact.components.T), np.eye(5), atol=1e-3)


@pytest.mark.parametrize("kind", ["common", "each"])
def test_a_feature_of_rounding_noise_is_not_blown_up(random, kind):
    features = random.normal(size=(50, 6)).astype(np.float32)
    features[:, 3] *= 1e-9
    features[:, 5] = 2.0
    scaled = Scale.of(features, kind).apply(features)
    assert np.abs(scaled[:, [3, 5]]).max() < 1e-6
    if kind == "each":
        np.testing.assert_allclose(scaled[:, [0, 1, 2, 4]].std(0), 1, rtol=1e-5)
    else:
        assert (scaled**2).mean() == pytest.approx(1, rel=1e-5)


def test_both_ways_to_logistic_regression_end_alike():
    train, valid, test = digits()
    config = ClassicalConfig(strengths=(0.1,))
    ours = choose_logistic(train, valid, classes=10, config=config)
    twin = fit_linear_network(train, classes=10, scaling=ours.choice["scaling"], strength=0.1)
    assert twin.converged
    assert twin.classifier.predict(test.features) == pytest.approx(ours.classifier.predict(test.features), abs=2e-3)


def test_the_one_layer_network_ends_where_no_direction_goes_down(random):
    """The gradient of mean cross-entropy + |W|^2 / (2 C n), by hand, is zero at its weights; offsets have no penalty."""
    features = random.normal(size=(40, 5)).astype(np.float32) * 3 + 1
    labels = random.integers(0, 3, 40)
    chosen = fit_linear_network(Labeled(features, labels), classes=3, scaling="each", strength=0.7, tolerance=1e-7)
    scaled = chosen.classifier.scale.apply(features).astype(np.float64)
    error = (chosen.classifier.predict(features) - np.eye(3)[labels]) / 40
    assert np.abs(error.T @ scaled + chosen.classifier.weights / (0.7 * 40)).max() < 1e-6
    assert np.abs(error.sum(axis=0)).max() < 1e-6


def test_both_ways_agree_on_two_classes_too():
    """Of two classes scikit-learn keeps one weight vector, and penalises that."""
    train, valid, test = (
        Labeled(part.features[part.labels < 2], part.labels[part.labels < 2]) for part in digits(n=400)
    )
    ours = choose_logistic(train, valid, classes=2, config=ClassicalConfig(strengths=(0.01,)))
    twin = fit_linear_network(train, classes=2, scaling=ours.choice["scaling"], strength=0.01)
    assert twin.classifier.predict(test.features) == pytest.approx(ours.classifier.predict(test.features), abs=1e-3)


def test_an_unseen_class_has_no_probability_in_the_one_layer_network(random):
    labels = np.array([0, 2] * 10)
    chosen = fit_linear_network(
        Labeled(random.normal(size=(20, 4)).astype(np.float32), labels), classes=4, scaling="common", strength=1.0
    )
    probabilities = chosen.classifier.predict(random.normal(size=(6, 4)).astype(np.float32))
    assert probabilities[:, [1, 3]].max() == 0
    assert probabilities.sum(axis=1) == pytest.approx(1)


def test_boosting_keeps_the_rounds_that_validation_prefers():
    """What is kept is scikit-learn's own model of so many rounds, and no other number has less validation loss."""
    train, valid, test = digits()
    config = ClassicalConfig(boosting_iterations=12, boosting_rate=0.5)
    chosen = choose_boosting(train, valid, classes=10, config=config, seed=3)
    rounds = chosen.choice["rounds"]
    oracle = HistGradientBoostingClassifier(
        max_iter=rounds, learning_rate=0.5, max_leaf_nodes=15, max_bins=63, early_stopping=False, random_state=3
    ).fit(train.features, train.labels)
    assert chosen.classifier.predict(test.features) == pytest.approx(oracle.predict_proba(test.features))
    losses = [row["valid_log_loss"] for row in chosen.tried]
    assert len(losses) == 12
    assert losses[rounds - 1] == min(losses)
    assert score(chosen.classifier.predict(valid.features), valid.labels)[1] == pytest.approx(min(losses))


def test_neighbours_vote_as_scikit_learns_do():
    train, valid, test = digits()
    chosen = choose_neighbours(train, valid, classes=10, config=ClassicalConfig(neighbours=(4,)), scalings=("each",))
    scale = Scale.of(train.features, "each")
    oracle = KNeighborsClassifier(4, algorithm="brute").fit(scale.apply(train.features), train.labels)
    shares = oracle.predict_proba(scale.apply(test.features))
    # One more vote is spread over all classes.
    assert chosen.classifier.predict(test.features) == pytest.approx((4 * shares + 1 / 10) / 5)


def test_more_neighbours_than_images_are_all_images():
    train, valid, _ = digits()
    few = Labeled(train.features[:6], train.labels[:6])
    chosen = choose_neighbours(few, valid, classes=10, config=ClassicalConfig(neighbours=(50,)))
    assert chosen.choice["neighbours"] == 6


def test_depth_of_trees_is_told():
    train, valid, _ = digits()
    chosen = choose_trees(train, valid, classes=10, config=ClassicalConfig(trees=4, min_samples_leaf=(1,)), seed=0)
    assert chosen.facts["depth"] == np.mean([tree.get_depth() for tree in chosen.classifier.model.estimators_])
