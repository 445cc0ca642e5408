"""`unlabeled train`: one large training, by one process or several, whatever is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import unlabeled as ul
from conftest import own_cache
from unlabeled.cli import main
from unlabeled.errors import UserError
from unlabeled.finished.training import train_large
from unlabeled.networks.models import ConvAutoEncoder
from unlabeled.presets import resolve
from unlabeled.sources import load
from unlabeled.training.checkpoints import load_weights

pytestmark = pytest.mark.slow

SMALL = [
    "--data", "digits", "--device", "cpu", "--precision", "fp32", "--strong.training.steps", "60", "--strong.widths", "4,6",
    "--strong.training.batch-size", "40",
]  # fmt: skip


def together(arguments, *, restarts=0, processes=2):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [*command, f"--max-restarts={restarts}", "-m", "unlabeled", "train", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def weights(folder):
    return ul.load_classifier(folder).members[0].state_dict()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process comes to."""
    folder = tmp_path_factory.mktemp("alone") / "out"
    with own_cache(tmp_path_factory):
        main(["train", "student", *SMALL, "--out", str(folder)])
    return folder


def test_several_processes_come_to_the_weights_of_one(alone, tmp_path):
    running = together(["student", *SMALL, "--out", str(tmp_path / "out")])
    said, _ = running.communicate(timeout=150)
    assert running.returncode == 0, said
    for name, one in weights(alone).items():
        torch.testing.assert_close(weights(tmp_path / "out")[name], one, rtol=1e-4, atol=1e-4)


def test_several_processes_come_to_the_weights_of_one_though_they_are_killed(alone, tmp_path):
    """One is killed in the middle of each training; torchrun starts both again, and they go on from the checkpoint."""
    running = together(["student", *SMALL, "--out", str(tmp_path / "out")], restarts=2)
    for way, rank in (("labels", 0), ("pseudo-labels", 1)):
        while not list((tmp_path / "out").glob(f"runs/strong-{way}/*/checkpoint.safetensors")):
            assert running.poll() is None, running.stdout.read()
            time.sleep(0.02)
        ranks = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        os.kill(int(ranks[rank]), signal.SIGKILL)
    said, _ = running.communicate(timeout=150)
    assert running.returncode == 0, said
    assert said.count("(exitcode: -9)") == 2
    for name, one in weights(alone).items():
        torch.testing.assert_close(weights(tmp_path / "out")[name], one, rtol=1e-4, atol=1e-4)
    assert not list((tmp_path / "out").rglob("checkpoint.safetensors"))


def test_a_finished_training_is_read_and_its_classifier_can_be_asked(alone, capsys):
    before = {path: path.stat().st_mtime_ns for path in alone.rglob("*") if path.name == "weights.safetensors"}
    assert len(before) == 2  # the teacher's and the student's
    main(["train", "student", *SMALL, "--out", str(alone)])
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert capsys.readouterr().out.strip().endswith("classifier")
    classifier = ul.load_classifier(alone)
    splits = load(resolve({"data": "digits"}))
    assert (classifier.predict_proba(splits.test).argmax(axis=1) == splits.test.classes).mean() > 0.2
    assert "it was compared with nothing" in (alone / "classifier" / "README.md").read_text()


def test_an_autoencoder_leaves_its_weights(tmp_path):
    small = {
        "data": "digits",
        "device": "cpu",
        "out": str(tmp_path / "out"),
        "autoencoder": {"training": {"epochs": 1}},
    }
    config = resolve(small)
    splits = load(config)
    path = train_large("autoencoder", config, splits)
    made = ConvAutoEncoder(
        splits.labeled.shape, output_activation=config.autoencoder.output_activation, switches=config.autoencoder.switches,
        **config.encoder.model_dump(),
    )  # fmt: skip
    load_weights(path, made)


def test_what_can_not_be_trained_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["train", "forest", "--data", "digits"])
    assert "forest: is no model to train; use autoencoder, network, student, consistency" in capsys.readouterr().err
    config = resolve({"data": "digits"})
    splits = load(config)
    bare = ul.Splits(splits.labeled, splits.unlabeled.subset([]), splits.test, splits.class_names)
    with pytest.raises(UserError, match="no unlabeled images to train student on"):
        train_large("student", config, bare)
