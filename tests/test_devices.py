"""What holds on a GPU as on the processor; without a GPU only how many runs share one is looked at."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import make_images
from test_strong import besides, config, network
from test_training import _StopAfter, _StopError
from unlabeled.cli import main
from unlabeled.experiments.runner import _jobs, spread
from unlabeled.finished.classifier import load_classifier
from unlabeled.keeping.results import read_result
from unlabeled.records import StudyResult, read_as
from unlabeled.training import fit
from unlabeled.training.measuring import predict
from unlabeled.training.objectives import SelfTraining
from unlabeled.training.runtime import Runtime

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
DEVICES = ["cpu", "cuda"]


@pytest.mark.parametrize(
    ("device", "asked", "tasks", "expected"),
    [
        ("cuda", None, 9, 1),
        ("cuda", 3, 9, 3),
        ("cuda", 3, 2, 2),
        ("cpu", None, 9, 2),
        ("cpu", 1, 9, 1),
        ("cpu", 3, 9, 3),
    ],
)
def test_a_gpu_is_shared_by_as_many_runs_as_are_asked_for(device, asked, tasks, expected, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    asking = SimpleNamespace(jobs=asked, threads=2)
    lab = SimpleNamespace(runtime=Runtime(torch.device(device)), config=asking)
    assert _jobs(lab, tasks) == expected
    assert spread(lab).jobs == _jobs(lab, 100)


def fitted(device, which, **more):
    """Train so shortly that rounding has no time to grow."""
    torch.backends.cudnn.allow_tf32 = False
    model, images = network(), make_images(24)
    how = {"config": config(epochs=2, beside_ratio=2, learning_rate=0.01), "beside": besides()[which], "valid": images}
    done = fit(model, SelfTraining(smoothing=0.1), images, **how, runtime=Runtime.of(device, "fp32"), **more)
    return model, done


@needs_gpu
@pytest.mark.parametrize("which", range(len(besides())))
def test_a_gpu_trains_as_the_processor_does(which):
    (here, one), (there, other) = (fitted(device, which) for device in DEVICES)
    for mine, its in zip(one.history, other.history, strict=True):
        assert mine["valid_loss"] == pytest.approx(its["valid_loss"], rel=1e-3)
        assert mine["train_loss"] == pytest.approx(its["train_loss"], rel=1e-3)
    images = make_images(24, seed=5)
    told = [
        predict(model, images, flip=True, runtime=Runtime.of(device))
        for model, device in zip((here, there), DEVICES, strict=True)
    ]
    assert np.abs(told[0] - told[1]).max() < 5e-3


@needs_gpu
def test_a_training_goes_on_upon_a_gpu(tmp_path):
    whole, _ = fitted("cuda", 0)
    with pytest.raises(_StopError):
        fitted("cuda", 0, folder=tmp_path, watcher=_StopAfter(1))
    resumed, _ = fitted("cuda", 0, folder=tmp_path)
    images = make_images(24, seed=5)
    told = [predict(model, images, runtime=Runtime.of("cuda")) for model in (whole, resumed)]
    assert np.abs(told[0] - told[1]).max() < 5e-3


@needs_gpu
@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_the_main_job_runs_upon_a_gpu_and_its_classifier_says_the_same_on_both(tmp_path, monkeypatch, precision):
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path / "cache"))
    few = "--autoencoder.training.steps --network.training.steps --strong.training.steps --strong.consistency.steps"
    steps = [word for option in [*few.split(), "--strong.pretraining.steps"] for word in (option, "4")]
    main([
        "run", "--data", "digits", "--folds", "2", "--seeds", "2", "--jobs", "2", "--device", DEVICES[1], "--precision", precision,
        "--labels", "100", "--unlabeled", "60", "--test", "40", "--classifier", "both", "--leave-out", "none", *steps,
        "--strong.widths", "4,6", "--classical.trees", "4", "--classical.strengths", "0.1", "--curve.labels", "0.5",
        "--out", str(tmp_path / "run"),
    ])  # fmt: skip
    result = read_as(StudyResult, read_result(tmp_path / "run").content)
    assert result.answered and result.machine is not None and result.machine.device == DEVICES[1]
    images = make_images(6, (1, 8, 8)).pixels
    chances = [load_classifier(tmp_path / "run", device=device).predict_proba(images) for device in DEVICES]
    assert np.abs(chances[0] - chances[1]).max() < 0.02
