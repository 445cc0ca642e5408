import numpy as np
import pytest
import torch

from conftest import make_images
from test_training import network, same
from unlabeled.config import TrainingConfig
from unlabeled.training import fit, gradient_norms
from unlabeled.training.objectives import Classification
from unlabeled.training.optimizers import Group, make_optimizer, momentum
from unlabeled.training.runtime import Runtime

CPU = Runtime.of("cpu")
SGD = TrainingConfig(optimizer="sgd", momentum=0, weight_decay=0.01, schedule="constant", learning_rate=0.05, epochs=1)


def trained(groups=(), config=SGD, folder=None):
    model = network()
    fit(model, Classification(), make_images(30), valid=None, config=config, groups=groups, runtime=CPU, folder=folder)
    return model


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "adagrad", "rmsprop"])
def test_frozen_parameters_keep_their_bytes_and_the_rest_learns(optimizer):
    config = SGD.model_copy(update={"optimizer": optimizer, "epochs": 3, "learning_rate": 0.01})
    before, after = network(), trained([Group("encoder.", rate=0)], config)
    for name, tensor in before.encoder.state_dict().items():
        assert tensor.numpy().tobytes() == after.encoder.state_dict()[name].numpy().tobytes()
    assert not same(before.head, after.head)
    assert all(parameter.requires_grad for parameter in after.parameters())


def test_a_group_takes_its_share_of_the_step():
    """One step of plain SGD is the rate times the gradient, so a tenth of the rate is a tenth of the step."""
    one_step = SGD.model_copy(update={"batch_size": 30})
    before, full, slow = network(), trained(config=one_step), trained([Group("encoder.", rate=0.1)], one_step)
    for name, start in before.state_dict().items():
        moved, moved_slowly = full.state_dict()[name] - start, slow.state_dict()[name] - start
        share = 0.1 if name.startswith("encoder.") else 1.0
        assert torch.allclose(moved_slowly, share * moved, atol=1e-7)


def test_a_group_waits_until_its_time():
    """Four steps: a group that joins after half of them moves as little as one that is frozen for two, then not."""
    half = trained([Group("encoder.", after=0.5)], SGD.model_copy(update={"batch_size": 8, "epochs": 1}))
    never = trained([Group("encoder.", after=0.99)], SGD.model_copy(update={"batch_size": 8, "epochs": 1}))
    start = network()
    assert same(never.encoder, start.encoder)
    assert not same(half.encoder, start.encoder)
    assert not same(never.head, start.head)


def test_the_first_prefix_that_fits_decides():
    model = trained([Group("encoder.convolutions.0.weight", rate=0), Group("encoder.", rate=1)])
    states = [model.state_dict() for model in (network(), model)]
    weight, bias = ([state[f"encoder.convolutions.0.{name}"] for state in states] for name in ("weight", "bias"))
    assert torch.equal(*weight)
    assert not torch.equal(*bias)


def test_a_prefix_that_fits_nothing_is_refused():
    with pytest.raises(ValueError, match="no parameter's name begins with 'decoder'; the model has encoder"):
        make_optimizer(network(), SGD, [Group("decoder")])


def test_resuming_with_groups_ends_in_the_same_bytes(tmp_path):
    groups = [Group("encoder.", rate=0.1, after=0.4)]
    config = SGD.model_copy(update={"optimizer": "adam", "epochs": 4, "batch_size": 8, "momentum": 0.9})
    whole = trained(groups, config)

    class Stop(Exception):  # noqa: N818
        pass

    class Watcher:
        def step(self, done, total):
            pass

        def epoch(self, row):
            if row["epoch"] == 3:
                raise Stop

    with pytest.raises(Stop):
        fit(network(), Classification(), make_images(30), valid=None, config=config, groups=groups, runtime=CPU,
            folder=tmp_path, watcher=Watcher())  # fmt: skip
    assert same(trained(groups, config, tmp_path), whole)


def test_momentum_rises_evenly():
    config = TrainingConfig(momentum_start=0.5, momentum=0.99)
    values = [momentum(config, step, 8) for step in range(8)]
    assert values[0] == 0.5
    assert values[-1] == pytest.approx(0.99)
    assert np.diff(values) == pytest.approx([0.07] * 7)
    assert momentum(TrainingConfig(momentum=0.7), 3, 8) == 0.7


def test_momentum_that_does_not_rise_is_plain_momentum():
    plain = SGD.model_copy(update={"momentum": 0.9, "epochs": 2, "batch_size": 8})
    assert same(trained(config=plain.model_copy(update={"momentum_start": 0.9})), trained(config=plain))
    assert not same(trained(config=plain.model_copy(update={"momentum_start": 0.1})), trained(config=plain))


def test_gradient_norms_are_autograds():
    model, images = network(), make_images(12)
    norms = gradient_norms(model, Classification(), images, runtime=CPU)
    batch = CPU.load(images.take(np.arange(12)))
    loss, _ = Classification()(model, batch, torch.from_numpy(images.classes))
    loss.backward()
    assert set(norms) == {name for name, _ in model.named_parameters() if name.endswith("weight")}
    for name, weight in model.named_parameters():
        if name in norms:
            assert norms[name] == pytest.approx(float(weight.grad.square().mean().sqrt()), rel=1e-5)
    assert all(p.grad is None for p in network().parameters())
