"""Classical models as modules: the same numbers as scikit-learn's, kept without pickle, asked and exported like networks."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import unlabeled as ul
from conftest import own_cache
from unlabeled.cli import main
from unlabeled.config import ClassicalConfig
from unlabeled.errors import DamagedFile
from unlabeled.evaluation.classifiers import Labeled, choose_logistic, choose_trees
from unlabeled.experiments.refitting import Refitter, choose_together, linear_head
from unlabeled.experiments.tasks import ClassicalTask
from unlabeled.finished import reopen
from unlabeled.finished.architectures import ClassicalArchitecture
from unlabeled.finished.exporting import export
from unlabeled.images import Images
from unlabeled.methods import METHODS
from unlabeled.networks.classical import ClassicalNet, Codes, Components, Pixels, TreesHead, below
from unlabeled.outcomes import ClassicalOutcome
from unlabeled.presets import resolve
from unlabeled.sources import load
from unlabeled.studies.course import run_gain
from unlabeled.training.checkpoints import load_weights, save_weights
from unlabeled.training.measuring import predict


def some(random, count, length, classes):
    # Whole numbers: features often lie on a threshold's either side by nothing but its rounding.
    features = (random.integers(0, 12, (count, length)) / 10).astype(np.float32)
    return Labeled(features, np.asarray(classes)[random.integers(0, len(classes), count)])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    seen=st.sampled_from([(0, 1), (1, 3), (0, 1, 2, 3), (2, 0, 4)]),
    ensemble=st.sampled_from(["forest", "extra-trees"]),
    leaf=st.integers(1, 5),
)
def test_trees_walked_by_tensors_say_what_scikit_learns_say(seed, seen, ensemble, leaf):
    random = np.random.default_rng(seed)
    train, other = some(random, 60, 4, seen), some(random, 200, 4, seen)
    config = ClassicalConfig(trees=7, ensemble=ensemble, min_samples_leaf=(leaf,))
    fitted = choose_trees(train, train, classes=5, config=config, seed=seed, threads=1).classifier
    head = TreesHead.of(fitted.model, fitted.prior, 4)
    found = head(torch.from_numpy(other.features)).softmax(1).numpy()
    np.testing.assert_allclose(found, fitted.predict(other.features), atol=1e-6)
    assert head.is_whole()


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 999),
    seen=st.sampled_from([(0, 1), (1, 3), (0, 1, 2, 3)]),
    scaling=st.sampled_from(["common", "each"]),
)
def test_logistic_regression_says_the_same(seed, seen, scaling):
    random = np.random.default_rng(seed)
    train, other = some(random, 60, 4, seen), some(random, 50, 4, seen)
    config = ClassicalConfig(strengths=(0.5,))
    fitted = choose_logistic(train, train, classes=5, config=config, scalings=(scaling,)).classifier
    found = linear_head(fitted, 4)(torch.from_numpy(other.features)).softmax(1).numpy()
    np.testing.assert_allclose(found, fitted.predict(other.features), atol=1e-5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on digits whose best use is a classical model, for no network was asked for."""
    with own_cache(tmp_path_factory):
        folder = tmp_path_factory.mktemp("run") / "digits"
        config = resolve(
            {
                "preset": "quick", "folds": 2, "seeds": 2, "device": "cpu", "jobs": 1, "precision": "fp32",
                "classical": {"trees": 5, "strengths": [0.01, 0.1]}, "autoencoder": {"training": {"epochs": 1}},
                "encoder": {"conv_out_channels": [4], "conv_kernel_size": 3, "conv_padding": 1}, "curve": {"labels": "none"},
                "leave_out": ["strong", "self-training", "consistency", "pretrained", "rotations"],
            },
            {"data": "digits", "unlabeled": 150, "test": 80},
        )  # fmt: skip
        return run_gain(config, load(config), folder=folder)


@pytest.fixture(scope="module")
def classifier(finished, tmp_path_factory):
    with own_cache(tmp_path_factory):
        return ul.load_classifier(ul.keep_classifier(finished))


@pytest.mark.slow
def test_a_classical_winner_is_kept_and_asked_like_a_network(finished, classifier, tmp_path, capsys):
    opened = reopen(finished)
    folder = finished / "classifier"
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json", "README.md", "golden.npz"}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["architecture"]["kind"] == "classical"
    assert config["flip"] is False and config["temperature"] > 0
    assert opened.winner == opened.findings.comparison.answer.arm
    assert classifier.check_golden(folder) < 1e-6
    test = opened.lab.splits.test
    assert (classifier.predict_proba(test).argmax(axis=1) == test.classes).mean() > 0.75
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert re.search(r"a classical model, fitted once more on all labels: .+ → ", text)
    out = tmp_path / "found.csv"
    image = np.repeat(test.take(np.arange(1))[0].transpose(1, 2, 0), 3, axis=2)
    Image.fromarray(image).save(tmp_path / "digit.png")
    main(["predict", str(finished), str(tmp_path / "digit.png"), "--out", str(out)])
    assert "1 images" in capsys.readouterr().out.replace("1 image:", "1 images:")


def tasks_of(lab):
    names = ("pixels", "pca", "frozen", "random")
    return [task for method in METHODS if method.name in names for task in method.tasks(lab, 0, 0)]


@pytest.mark.slow
def test_each_kind_of_features_and_model_is_the_one_that_was_compared(finished, tmp_path):
    """Fitted on a fold's images with that run's choice, a module says of the test images what the run did."""
    lab = reopen(finished).lab
    kinds = set()
    for task in tasks_of(lab):
        outcome = task.run(lab, tmp_path / str(task.arm), [], None)
        kept = dict(np.load(tmp_path / str(task.arm) / "test.npz"))
        net = Refitter(lab, task, outcome.choice).on(lab.folds.folds[0].train)
        found = predict(net, lab.splits.test)
        same = (found.argmax(axis=1) == kept["predicted"]).mean()
        # Each strength of a path begins at the weights of the one before it, so it ends a little elsewhere.
        assert same == 1 if task.model == "trees" else same > 0.97, task
        architecture = ClassicalArchitecture.of(net, lab.config.encoder)
        blank = architecture.make(lab.splits.test.shape, lab.classes)
        save_weights(tmp_path / "model.safetensors", net)
        load_weights(tmp_path / "model.safetensors", blank)
        np.testing.assert_array_equal(predict(blank.eval(), lab.splits.test), found)
        kinds.add((type(net.features), type(net.head)))
    assert len(kinds) == 6
    assert {kind for kind, _ in kinds} == {Pixels, Components, Codes}


@pytest.mark.slow
def test_trees_are_exported_with_all_that_comes_before_them(finished, classifier, tmp_path):
    pytest.importorskip("onnxruntime")
    lab = reopen(finished).lab
    task = next(one for one in tasks_of(lab) if one.model == "trees" and one.arm.source == "autoencoder")
    net = Refitter(lab, task, {"min_samples_leaf": 4}).on(lab.folds.folds[0].train)
    config = replace(classifier.config, architecture=ClassicalArchitecture.of(net, lab.config.encoder))
    made = type(classifier)(config, [net], device="cpu")
    made.save(tmp_path / "kept", card="", golden=lab.splits.labeled.take(np.arange(10)))
    assert export(tmp_path / "kept")[1] < 1e-5
    assert export(tmp_path / "kept", onnx=False, encoder=True)[1] < 1e-4


@given(threshold=st.floats(-1e6, 1e6), steps=st.integers(-2, 2))
def test_thresholds_of_32_bits_part_features_where_those_of_64_do(threshold, steps):
    feature = np.float32(threshold)
    for _ in range(abs(steps)):
        feature = np.nextafter(feature, np.float32(np.sign(steps) * np.inf))
    assert (feature <= below(np.array([threshold]))[0]) == (float(feature) <= threshold)


def test_settings_are_chosen_over_all_runs_of_those_that_all_have_tried():
    def outcome(**losses):
        tried = [
            {"C": float(name[1:]), "valid_log_loss": loss, "converged": True, "iterations": 3}
            for name, loss in losses.items()
        ]
        made = ClassicalOutcome.__new__(ClassicalOutcome)
        object.__setattr__(made, "tried", tried)
        object.__setattr__(made, "choice", {"C": 7.0})
        return made

    assert choose_together([outcome(c1=0.5, c2=0.6), outcome(c1=0.9, c2=0.6, c3=0.1)]) == {"C": 2.0}
    assert choose_together([outcome(c1=0.5), outcome(c2=0.9)]) == {"C": 7.0}


def test_trees_that_lead_nowhere_are_refused(finished, classifier, tmp_path):
    lab = reopen(finished).lab
    task = next(task for task in tasks_of(lab) if task.model == "trees")
    net = Refitter(lab, task, {"min_samples_leaf": 4}).on(lab.folds.folds[0].train)
    config = replace(classifier.config, architecture=ClassicalArchitecture.of(net, lab.config.encoder))
    made = type(classifier)(config, [net], device="cpu")
    made.save(tmp_path / "good", card="", golden=lab.splits.labeled.take(np.arange(3)))
    assert ul.load_classifier(tmp_path / "good").predict(Images(lab.splits.test.take(np.arange(2))))
    for name, value in (("below", 10**8), ("leaf", -1), ("feature", 10**6), ("roots", -5)):
        shutil.copytree(tmp_path / "good", tmp_path / name)
        spoilt = ClassicalNet(net.features, net.head.__class__(net.head.shape, net.head.length, lab.classes))
        spoilt.load_state_dict(net.state_dict())
        getattr(spoilt.head, name).view(-1)[-1] = value
        save_weights(tmp_path / name / "model.safetensors", torch.nn.ModuleList([spoilt]))
        with pytest.raises(DamagedFile, match="nodes of its trees point out of their lists"):
            ul.load_classifier(tmp_path / name)


def test_a_task_without_a_module_is_none_of_the_main_jobs(finished):
    """What the main job compares by classical models can be kept: each of its methods' features has a module."""
    lab = reopen(finished).lab
    for method in METHODS:
        for task in method.tasks(lab, 0, 0):
            if isinstance(task, ClassicalTask):
                assert task.model in ("logistic", "trees")
                assert getattr(task.features, "pooling", "whole") == "whole"
