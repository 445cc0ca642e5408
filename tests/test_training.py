import copy
import json
import math
import os
import runpy
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric import Fabric
from torch import nn

from conftest import make_images, read_history
from unlabeled import training
from unlabeled.config import TrainingConfig
from unlabeled.errors import DataError, TrainingDiverged, UserError
from unlabeled.images import Images
from unlabeled.images.augmentation import augment
from unlabeled.images.batches import sizes
from unlabeled.networks.joint import JointNetwork
from unlabeled.networks.models import ConvAutoEncoder, ConvNet
from unlabeled.networks.strong import StrongNet
from unlabeled.training import evaluate, fit, learning_rate, make_optimizer
from unlabeled.training.checkpoints import load_weights, save_weights
from unlabeled.training.objectives import Classification, JointClassification, Reconstruction
from unlabeled.training.runtime import Alone, Runtime, choose_device, evaluating, seeded

CPU = Runtime.of("cpu")
SMALL = {"conv_out_channels": 6, "conv_kernel_size": 3, "conv_stride": 1, "pool_kernel_size": 2, "pool_stride": 2}


def network(seed=0, **more):
    with seeded(seed):
        return ConvNet((3, 9, 12), classes=3, **SMALL, **more)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_network_can_overfit_eight_images():
    images = make_images(8)
    model = network()
    config = TrainingConfig(epochs=80, batch_size=8, learning_rate=0.02, weight_decay=0, schedule="constant")
    fit(model, Classification(), images, valid=None, config=config, runtime=CPU)
    loss, accuracy = evaluate(model, Classification(), images, runtime=CPU)
    assert accuracy == 1.0
    assert loss < 0.01


def test_an_autoencoder_can_overfit_eight_images():
    images = make_images(8, classes=None)
    with seeded(0):
        model = ConvAutoEncoder((3, 9, 12), conv_out_channels=32, conv_kernel_size=3, conv_stride=1, conv_padding=1,
                                pool_kernel_size=1, pool_stride=1, activation="leaky-relu")  # fmt: skip
    before = evaluate(model, Reconstruction(), images, runtime=CPU)[0]
    config = TrainingConfig(epochs=300, batch_size=8, learning_rate=0.004, weight_decay=0)
    fit(model, Reconstruction(), images, valid=None, config=config, runtime=CPU)
    assert evaluate(model, Reconstruction(), images, runtime=CPU)[0] < before / 20


def test_a_linear_autoencoder_reaches_the_error_of_pca():
    random = np.random.default_rng(0)
    basis = random.normal(size=(3, 16))
    pixels = np.clip(random.normal(size=(200, 3)) @ basis * 25 + 128 + random.normal(size=(200, 16)) * 6, 0, 255)
    images = Images(pixels.astype(np.uint8).reshape(200, 1, 4, 4))
    flat = images.pixels.reshape(200, 16) / 127.5 - 1
    values = np.linalg.eigvalsh(np.cov(flat.T, bias=True))
    pca_error = values[:-3].sum() / 16

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up = nn.Linear(16, 3), nn.Linear(3, 16)

        def forward(self, images):
            return self.up(self.down(images.flatten(1))).view_as(images)

    with seeded(0):
        model = Linear()
    config = TrainingConfig(epochs=800, batch_size=200, learning_rate=0.03, weight_decay=0, schedule="cosine")
    fit(model, Reconstruction(), images, valid=None, config=config, runtime=CPU)
    error = evaluate(model, Reconstruction(), images, runtime=CPU)[0]
    assert pca_error <= error < pca_error * 1.05


def test_same_seed_same_bytes_other_seed_other_bytes():
    config = TrainingConfig(epochs=2, batch_size=7, flip=True, shift=1)
    models = []
    for seed in (1, 1, 2):
        model = network(dropout=0.3)
        fit(model, Classification(), make_images(), valid=make_images(9, seed=5), config=config, seed=seed, runtime=CPU)
        models.append(model)
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


class _StopError(Exception):
    pass


class _StopAfter:
    """A watcher that dies when some epochs are done: before their checkpoint is written, as a kill might."""

    def __init__(self, epochs):
        self.epochs = epochs

    def step(self, done, total):
        pass

    def epoch(self, row):
        if row["epoch"] == self.epochs:
            raise _StopError


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "adagrad", "rmsprop"])
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(tmp_path, monkeypatch, optimizer):
    monkeypatch.setattr(training, "_TIMES_A_CHECKPOINT", 0)  # one an epoch
    images, valid = make_images(), make_images(9, seed=5)
    config = TrainingConfig(
        optimizer=optimizer, epochs=5, batch_size=7, learning_rate=0.01, flip=True, shift=2, warmup=0.2
    )
    arguments = {"valid": valid, "config": config, "seed": 4, "runtime": CPU}
    whole = network(dropout=0.4)
    expected = fit(whole, Classification(), images, **arguments, folder=tmp_path / "whole")
    with pytest.raises(_StopError):
        fit(
            network(dropout=0.4),
            Classification(),
            images,
            **arguments,
            folder=tmp_path / "killed",
            watcher=_StopAfter(3),
        )
    assert len(read_history(tmp_path / "killed" / "history.jsonl")) == 2
    resumed = network(dropout=0.4)
    found = fit(resumed, Classification(), images, **arguments, folder=tmp_path / "killed")
    assert same(whole, resumed)
    assert (found.best_epoch, found.best_loss) == (expected.best_epoch, expected.best_loss)
    for name in ("whole", "killed"):
        save_weights(tmp_path / f"{name}.safetensors", whole if name == "whole" else resumed)
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "killed.safetensors").read_bytes()
    assert len(read_history(tmp_path / "killed" / "history.jsonl")) == 5


@pytest.mark.parametrize(("times", "epochs"), [(0, [1, 2, 3, 4, 5]), (1e9, [1, 5])])
def test_short_epochs_share_a_checkpoint_and_the_last_one_has_its_own(tmp_path, monkeypatch, times, epochs):
    monkeypatch.setattr(training, "_TIMES_A_CHECKPOINT", times)
    written, save = [], training.save_checkpoint

    def count(path, tensors, state):
        written.append(len(state["history"]))
        save(path, tensors, state)

    monkeypatch.setattr(training, "save_checkpoint", count)
    arguments = {"valid": None, "config": TrainingConfig(epochs=5), "folder": tmp_path, "runtime": CPU}
    first, again = network(), network()
    fit(first, Classification(), make_images(), **arguments)
    assert written == epochs
    assert len(read_history(tmp_path / "history.jsonl")) == 5
    fit(again, Classification(), make_images(), **arguments)  # it is over, so nothing is trained or written
    assert written == epochs
    assert same(first, again)


def test_many_short_epochs_are_validated_seldom_where_nothing_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_MOST_LOOKS", 4)
    monkeypatch.setattr(training, "_TIMES_A_CHECKPOINT", 0)
    arguments = {"valid": make_images(9, seed=5), "seed": 4, "runtime": CPU}
    for epochs, looks in ((3, [1, 2, 3]), (10, [2, 4, 6, 8, 10]), (11, [2, 4, 6, 8, 10, 11])):
        config, made = TrainingConfig(epochs=epochs, keep="last"), network()
        fitted = fit(made, Classification(), make_images(), **arguments, config=config)
        assert [row["epoch"] for row in fitted.history if "valid_loss" in row] == looks
        assert fitted.best_epoch == epochs
        assert fitted.best_loss == evaluate(made, Classification(), arguments["valid"], runtime=CPU)[0]
        # A killed one too ends with the weights of the last epoch.
        again, folder = network(), tmp_path / str(epochs)
        with pytest.raises(_StopError):
            fit(
                network(),
                Classification(),
                make_images(),
                **arguments,
                config=config,
                folder=folder,
                watcher=_StopAfter(3),
            )
        again = network()
        fit(again, Classification(), make_images(), **arguments, config=config, folder=folder)
        assert same(made, again)
    chosen = fit(network(), Classification(), make_images(), **arguments, config=TrainingConfig(epochs=10))
    assert all("valid_loss" in row for row in chosen.history)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    images = make_images()
    config = TrainingConfig(epochs=1)
    fit(network(), Classification(), images, valid=None, config=config, folder=tmp_path, runtime=CPU)
    with pytest.raises(UserError, match="this checkpoint is of another training"):
        fit(network(), Classification(), images, valid=None, config=config, seed=1, folder=tmp_path, runtime=CPU)


def test_a_checkpoint_holds_no_pickle_and_leaves_no_other_file(tmp_path):
    fit(
        network(),
        Classification(),
        make_images(),
        valid=None,
        config=TrainingConfig(epochs=2),
        folder=tmp_path,
        runtime=CPU,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.safetensors", "history.jsonl"]
    content = (tmp_path / "checkpoint.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert {name.partition("/")[0] for name in header} == {"__metadata__", "model", "best", "optimizer"}


def test_the_best_epoch_by_validation_is_kept(tmp_path):
    # Two classes told by noise: the network learns the training images by heart, and validation gets worse.
    random = np.random.default_rng(0)
    images, valid = (
        Images(random.integers(0, 256, (24, 3, 9, 12), dtype=np.uint8), random.integers(0, 3, 24)) for _ in range(2)
    )
    model = network()
    config = TrainingConfig(epochs=60, learning_rate=0.02, batch_size=8, patience=6, schedule="constant")
    fitted = fit(model, Classification(), images, valid=valid, config=config, runtime=CPU)
    losses = [row["valid_loss"] for row in fitted.history]
    assert fitted.best_loss == min(losses) == losses[fitted.best_epoch - 1]
    assert len(losses) == fitted.best_epoch + 6 < 60
    assert evaluate(model, Classification(), valid, runtime=CPU)[0] == pytest.approx(fitted.best_loss, rel=1e-6)


def test_history_has_loss_metric_and_speed():
    fitted = fit(
        network(), Classification(), make_images(), valid=make_images(5), config=TrainingConfig(epochs=2), runtime=CPU
    )
    for number, row in enumerate(fitted.history, 1):
        assert row["epoch"] == number
        assert {
            "train_loss",
            "train_accuracy",
            "valid_loss",
            "valid_accuracy",
            "learning_rate",
            "images_per_second",
            "seconds",
        } < set(row)
        assert row["images_per_second"] > 0


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_that_is_not_finite_ends_with_what_to_try():
    config = TrainingConfig(
        optimizer="sgd", learning_rate=100, momentum=0.99, epochs=30, schedule="constant", weight_decay=0
    )
    with pytest.raises(
        TrainingDiverged, match=r"the loss became (nan|inf).* learning rate 100\); try a learning rate of 10"
    ):
        fit(network(), Classification(), make_images(), valid=None, config=config, runtime=CPU)


@pytest.mark.parametrize(
    ("images", "valid", "message"),
    [
        (make_images().subset([]), None, "no images to train on"),
        (make_images(), make_images().subset([]), "no validation images"),
        (make_images(classes=None), None, "this objective needs labels"),
    ],
)
def test_there_must_be_something_to_train_on(images, valid, message):
    with pytest.raises(DataError, match=message):
        fit(network(), Classification(), images, valid=valid, config=TrainingConfig(), runtime=CPU)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "step"])
def test_schedules_start_at_the_peak_and_never_rise(schedule):
    config = TrainingConfig(learning_rate=0.1, schedule=schedule)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[0] == 0.1
    assert all(later <= earlier for earlier, later in pairwise(rates))
    assert rates[-1] == pytest.approx({"constant": 0.1, "step": 0.001}.get(schedule, 0), abs=0.0011)


def test_warmup_rises_in_a_line_to_the_peak():
    config = TrainingConfig(learning_rate=0.1, schedule="constant", warmup=0.1)
    rates = [learning_rate(config, step, 100) for step in range(12)]
    assert rates[:10] == pytest.approx([0.01 * (step + 1) for step in range(10)])
    assert rates[10:] == [0.1, 0.1]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "adagrad", "rmsprop"])
def test_every_optimiser_has_the_l2_penalty_and_sgd_its_momentum(optimizer):
    config = TrainingConfig(optimizer=optimizer, weight_decay=0.25, momentum=0.7, dampening=0.1)
    group = make_optimizer(network(), config).param_groups[0]
    assert group["weight_decay"] == 0.25
    if optimizer == "sgd":
        assert (group["momentum"], group["dampening"], group["nesterov"]) == (0.7, 0.1, False)


def test_sgd_takes_the_step_of_the_formula():
    images = make_images(6)
    config = TrainingConfig(
        optimizer="sgd", momentum=0, learning_rate=0.1, weight_decay=0.5, epochs=1, batch_size=6, schedule="constant"
    )
    model = network()
    twin = copy.deepcopy(model)
    fit(model, Classification(), images, valid=None, config=config, runtime=CPU)
    batch = torch.from_numpy(images.pixels.astype(np.float32) / 127.5 - 1)
    nn.functional.cross_entropy(twin(batch), torch.from_numpy(images.labels)).backward()
    for new, old in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * (old.grad + 0.5 * old), rtol=1e-4, atol=1e-6)


@given(st.integers(1, 500), st.integers(1, 200))
def test_no_batch_of_an_epoch_is_under_a_quarter_of_the_others(n, size):
    found = list(sizes(n, size))
    assert sum(found) == n
    assert len(found) == math.ceil(n / size)  # as many steps as were planned
    assert max(found) <= size
    assert 4 * min(found) >= min(n, size)


def test_one_image_more_than_a_batch_takes_nothing_away():
    """A batch of one image each second step kept a network that normalises over its batch from learning."""
    images, shape = make_images(33, (3, 12, 12)), (3, 12, 12)
    with seeded(0):
        model = StrongNet(shape, classes=3, widths=(8, 16, 16))
    config = TrainingConfig(
        optimizer="sgd", nesterov=True, learning_rate=0.2, batch_size=32, steps=100, schedule="linear", keep="last"
    )
    fit(model, Classification(), images, valid=None, config=config, runtime=CPU)
    loss, accuracy = evaluate(model, Classification(), images, runtime=CPU)
    assert loss < 0.05
    assert accuracy == 1


def test_evaluation_weighs_a_short_last_batch_by_its_size(monkeypatch):
    images, model = make_images(10), network()
    whole = evaluate(model, Classification(), images, runtime=CPU)
    monkeypatch.setattr("unlabeled.training.measuring._EVALUATION_BATCH", 4)
    assert evaluate(model, Classification(), images, runtime=CPU) == pytest.approx(whole, rel=1e-5)


def test_evaluation_puts_every_module_back_and_draws_nothing():
    model = network(dropout=0.5)
    model.train()
    model.encoder.eval()
    state = torch.get_rng_state()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert (model.training, model.encoder.training, model.head.training) == (True, False, True)
    fit(model, Classification(), make_images(), valid=None, config=TrainingConfig(epochs=1), runtime=CPU)
    assert torch.equal(state, torch.get_rng_state())


def test_weights_are_read_strictly(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, network())
    with pytest.raises(UserError) as caught:
        load_weights(path, network(hidden=(5,)))
    assert str(caught.value) == (
        f"{path}: the weights are of another model: missing head.3.bias, head.3.weight; "
        "head.1.bias is (3,) instead of (5,); head.1.weight is (3, 90) instead of (5, 90)"
    )
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_weights(path, network())


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(UserError, match="device 'gpu' is not known; use auto, cpu, cuda, cuda:1 or mps"):
        choose_device("gpu")
    with pytest.raises(UserError, match="device 'meta' is not on this machine"):
        choose_device("meta")


def test_one_process_in_full_precision_trains_to_the_bytes_it_would_with_fabric(monkeypatch):
    found = {}
    for stand_in in (Alone, lambda: Fabric(accelerator="cpu", devices=1, precision="32-true")):
        monkeypatch.setattr("unlabeled.training.runtime.Alone", stand_in)
        model = network()
        config = TrainingConfig(epochs=3, batch_size=8)
        fitted = fit(model, Classification(), make_images(), valid=None, config=config, runtime=Runtime.of("cpu"))
        found[stand_in] = [fitted.best_loss, *model.state_dict().values()]
    alone, fabric = found.values()
    assert alone[0] == fabric[0]
    assert all(torch.equal(one, other) for one, other in zip(alone[1:], fabric[1:], strict=True))


@pytest.mark.slow
def test_fabric_is_not_imported_where_it_has_nothing_to_do():
    code = """
import sys
from unlabeled.training.runtime import Runtime
Runtime.of("cpu").fabric()
assert "lightning_fabric" not in sys.modules
Runtime.of("cpu", "bf16").fabric()
assert "lightning_fabric" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bf16_trains_about_as_well():
    losses = {}
    for precision in ("fp32", "bf16"):
        model = network()
        config = TrainingConfig(epochs=20, learning_rate=0.01, batch_size=8)
        losses[precision] = fit(
            model, Classification(), make_images(), valid=None, config=config, runtime=Runtime.of("cpu", precision)
        ).best_loss
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.15, abs=0.05)


def test_augmentation_mirrors_and_moves_and_repeats_the_edge(random):
    pixels = random.integers(0, 256, (200, 2, 5, 7), dtype=np.uint8)
    out = augment(pixels, np.random.default_rng(0), flip=True, shift=2)
    assert out.shape == pixels.shape
    assert out.dtype == np.uint8
    seen = set()
    for image, changed in zip(pixels, out, strict=True):
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="edge")
        options = {}
        for top in range(5):
            for left in range(5):
                moved = padded[:, top : top + 5, left : left + 7]
                options[top, left, False] = moved
                options[top, left, True] = moved[:, :, ::-1]
        found = [key for key, option in options.items() if np.array_equal(option, changed)]
        assert found
        seen.update(found)
    assert len(seen) == 50
    assert augment(pixels, np.random.default_rng(0)) is pixels


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from conftest import make_images
from test_training import joint_network, network
from unlabeled.training.checkpoints import save_weights
from unlabeled.config import TrainingConfig
from unlabeled.training.objectives import Classification, JointClassification
from unlabeled.training.runtime import Runtime
from unlabeled.training import fit
runtime = Runtime.of("cpu")
model = network()
config = TrainingConfig(epochs=2, batch_size=9, flip=True, shift=1, optimizer="sgd", learning_rate=0.05)
# 28 images in batches of 9: the last batch has one, so one process of two has nothing to do.
fitted = fit(model, Classification(), make_images(28), valid=make_images(5), config=config, runtime=runtime)
# The same with unlabeled images in every step, which the processes share too.
joint = joint_network()
# In parts of a batch, several for each of two processes.
config = config.model_copy(update={{"accumulate": 1 if runtime.processes == 1 else 3}})
fit(joint, JointClassification(2.0), make_images(28), valid=make_images(5), config=config, runtime=runtime,
    beside=make_images(31, classes=None, seed=4))
if runtime.rank == 0:
    save_weights(Path({out!r}), model)
    save_weights(Path({out!r} + "-joint"), joint)
    print(fitted.history[-1]["train_loss"])
"""


@pytest.mark.parametrize("parts", [2, 4, 50])
@pytest.mark.parametrize("ratio", [0, 2])
def test_gradients_of_parts_add_up_to_those_of_the_batch(parts, ratio):
    ends, losses = [], []
    for accumulate in (1, parts):
        model, config = joint_network(), TrainingConfig(
            epochs=2, batch_size=9, flip=True, shift=1, optimizer="sgd", learning_rate=0.05, accumulate=accumulate,
            beside_ratio=max(1, ratio),
        )  # fmt: skip
        beside = make_images(31, classes=None, seed=4) if ratio else None
        fitted = fit(model, JointClassification(2.0), make_images(28), valid=None, config=config, beside=beside)
        ends.append(torch.cat([value.flatten() for value in model.state_dict().values()]))
        losses.append(fitted.history[-1]["train_loss"])
    # Added in another order, so not in the same bytes: they were computed in parts.
    assert not torch.equal(*ends)
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-6)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def joint_network(seed=0):
    with seeded(seed):
        return JointNetwork(ConvAutoEncoder((3, 9, 12), **SMALL), classes=3)


@pytest.mark.slow
def test_two_processes_under_torchrun_end_in_the_weights_of_one(tmp_path, capsys):
    losses = []
    for processes in (1, 2):
        script = tmp_path / f"script{processes}.py"
        script.write_text(
            SCRIPT.format(tests=str(Path(__file__).parent), out=str(tmp_path / f"{processes}.safetensors"))
        )
        if processes == 1:
            runpy.run_path(str(script))
            losses.append(float(capsys.readouterr().out.split()[-1]))
            continue
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        done = subprocess.run(
            [*command, str(script)],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
            timeout=170,
        )
        assert done.returncode == 0, done.stderr
        losses.append(float(done.stdout.split()[-1]))
    models = [network(seed=9), network(seed=8)]
    for model, processes in zip(models, (1, 2), strict=True):
        load_weights(tmp_path / f"{processes}.safetensors", model)
    joint = [joint_network(seed=9), joint_network(seed=8)]
    for model, processes in zip(joint, (1, 2), strict=True):
        load_weights(tmp_path / f"{processes}.safetensors-joint", model)
    for pair in (models, joint):
        for one, two in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    assert math.isclose(losses[0], losses[1], rel_tol=1e-5)


@pytest.mark.parametrize("change", ["labels", "pixels", "first weights", "valid", "dropout", "precision"])
def test_a_checkpoint_is_only_taken_up_by_the_very_same_training(tmp_path, change):
    images, valid = make_images(), make_images(6, seed=2)
    fit(
        network(dropout=0.1),
        Classification(),
        images,
        valid=valid,
        config=TrainingConfig(epochs=1),
        folder=tmp_path,
        runtime=CPU,
    )
    other = Images(images.pixels, images.labels[::-1].copy()) if change == "labels" else images
    other = Images(255 - images.pixels, images.labels) if change == "pixels" else other
    model = network(seed=1 if change == "first weights" else 0, dropout=0.2 if change == "dropout" else 0.1)
    runtime = Runtime.of("cpu", "bf16" if change == "precision" else "fp32")
    with pytest.raises(UserError, match="this checkpoint is of another training"):
        fit(model, Classification(), other, valid=None if change == "valid" else valid, config=TrainingConfig(epochs=1),
            folder=tmp_path, runtime=runtime)  # fmt: skip


def test_classes_the_model_does_not_know_are_told():
    images = make_images(8, classes=5)
    with pytest.raises(DataError, match=r"a class 4, and the model tells 3 apart, 0 to 2; make it with classes=5"):
        evaluate(network(), Classification(), images, runtime=CPU)
    with pytest.raises(DataError, match="a class 4"):
        fit(network(), Classification(), images, valid=None, config=TrainingConfig(epochs=1), runtime=CPU)


@pytest.mark.parametrize("joint", [False, True])
def test_half_precision_takes_logits_and_named_parts_and_says_nothing(joint, capfd):
    """A network gives back logits, or parts by their names with pairs of maps; losses get them in full either way."""
    images = make_images(12, classes=4)
    block = {"conv_out_channels": (3,), "conv_kernel_size": 3, "conv_stride": 1, "conv_padding": 1, "pool_kernel_size": 2,
             "pool_stride": 2}  # fmt: skip
    model, objective, beside = (
        (JointNetwork(ConvAutoEncoder(images.shape, **block), classes=4), JointClassification(1.0, 1.0), Images(images.pixels))
        if joint
        else (ConvNet(images.shape, classes=4, **block), Classification(), None)
    )  # fmt: skip
    config = TrainingConfig(epochs=1, batch_size=6)
    fitted = fit(
        model, objective, images, valid=images, config=config, beside=beside, runtime=Runtime.of("cpu", "bf16")
    )
    assert np.isfinite(fitted.history[0]["train_loss"])
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    assert "bfloat16" not in "".join(capfd.readouterr())
