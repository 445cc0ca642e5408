"""One network that classifies and reconstructs."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conftest import make_images
from unlabeled.config import TrainingConfig
from unlabeled.images.batches import Turns
from unlabeled.networks.joint import JointNetwork
from unlabeled.networks.models import ConvAutoEncoder
from unlabeled.training import evaluate, fit
from unlabeled.training.objectives import Classification, JointClassification
from unlabeled.training.runtime import Runtime, seeded

CPU = Runtime.of("cpu")


def autoencoder(depth=2, **changes):
    options = {"conv_out_channels": (4, 5)[:depth], "conv_kernel_size": 3, "conv_stride": 1, "conv_padding": 1,
               "pool_kernel_size": 2, "pool_stride": 2}  # fmt: skip
    with seeded(0):
        return ConvAutoEncoder((3, 9, 12), **(options | changes))


def network(depth=2, **changes):
    with seeded(1):
        return JointNetwork(autoencoder(depth, **changes), classes=3)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    "changes", [{}, {"pool": "average"}, {"switches": False}, {"conv_stride": 2, "pool_stride": 1}]
)
def test_it_is_the_autoencoder_and_the_network(depth, changes):
    model, own = network(depth, **changes), autoencoder(depth, **changes)
    batch = CPU.load(make_images(6).pixels)
    output = model(batch)
    assert torch.allclose(output.images, own(batch), atol=1e-6)
    assert torch.equal(output.logits, model.network(batch))
    assert len(output.maps) == depth - 1
    for rebuilt, seen in output.maps:
        code, switches = own.encoder.block(0, batch)
        assert torch.allclose(seen, code, atol=1e-6)
        assert rebuilt.shape == seen.shape
        assert torch.allclose(own.decoder.block(0, rebuilt, switches), output.images, atol=1e-6)


def test_the_loss_is_the_sum_of_its_parts():
    model = network().train()
    some = make_images(8)
    batch, labels = CPU.load(some.pixels), torch.from_numpy(some.labels)
    labels[5:] = -1
    output = model(batch)
    ((rebuilt, seen),) = output.maps
    expected = (
        F.cross_entropy(output.logits[:5], labels[:5])
        + 3.0 * ((output.images - batch) ** 2).mean()
        + 0.5 * ((rebuilt - seen) ** 2).mean()
    )
    loss, accuracy = JointClassification(3.0, 0.5)(model, batch, labels)
    assert torch.allclose(loss, expected)
    assert float(accuracy) == pytest.approx(float((output.logits[:5].argmax(1) == labels[:5]).float().mean()))


def test_evaluated_it_is_the_log_loss_alone():
    model, some = network(), make_images(40)
    assert evaluate(model, JointClassification(9.0, 9.0), some, runtime=CPU) == pytest.approx(
        evaluate(model.network, Classification(), some, runtime=CPU)
    )


def test_unlabeled_images_take_part_in_training_and_are_not_classified():
    """Every step sees as many as the batch has, behind it; their part in the cross-entropy's gradient is none."""
    seen = []

    class Watching(JointClassification):
        def __call__(self, model, images, labels):
            if model.training:
                seen.append((images.detach().clone(), labels.clone()))
            return super().__call__(model, images, labels)

    labeled, others = make_images(10), make_images(25, classes=None, seed=5)
    config = TrainingConfig(epochs=5, batch_size=4)
    fit(network(), Watching(1.0), labeled, valid=None, config=config, beside=others, runtime=CPU)
    assert [len(images) for images, _ in seen[:3]] == [8, 8, 4]
    assert all(
        (labels[len(labels) // 2 :] == -1).all() and (labels[: len(labels) // 2] >= 0).all() for _, labels in seen
    )
    shown = torch.cat([images[len(images) // 2 :] for images, _ in seen])
    known = {image.numpy().tobytes(): number for number, image in enumerate(CPU.load(others.pixels).contiguous())}
    order = [known[image.contiguous().numpy().tobytes()] for image in shown]
    assert len(order) == 50
    assert sorted(order[:25]) == sorted(order[25:]) == list(range(25))
    assert order[:25] != order[25:]


def test_without_reconstruction_unlabeled_images_change_nothing():
    labeled, others = make_images(12), make_images(25, classes=None, seed=5)
    config = TrainingConfig(epochs=3, batch_size=5)
    weights = []
    for beside in (None, others):
        model = network()
        fit(model, JointClassification(0.0, 0.0), labeled, valid=None, config=config, beside=beside, runtime=CPU)
        weights.append(model.network.state_dict())
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-5), name


def test_turns_go_on_from_where_they_were():
    whole = Turns(7, 3, 0).next(30)
    parts = Turns(7, 3, 0)
    assert np.array_equal(np.concatenate([parts.next(n) for n in (3, 9, 1, 17)]), whole)
    assert np.array_equal(Turns(7, 3, 13).next(17), whole[13:])
    for start in range(0, 28, 7):
        assert sorted(whole[start : start + 7]) == list(range(7))
    assert not np.array_equal(Turns(7, 4, 0).next(30), whole)


def test_an_interrupted_joint_training_ends_in_the_same_bytes(tmp_path):
    labeled, others = make_images(10), make_images(23, classes=None, seed=5)
    config = TrainingConfig(epochs=4, batch_size=4, flip=True, shift=1)

    class Stop:
        def step(self, done, total):
            pass

        def epoch(self, row):
            if row["epoch"] == 2:
                raise KeyboardInterrupt

    whole, parts = network(), network()
    options = {"valid": make_images(6, seed=2), "config": config, "beside": others, "runtime": CPU}
    fit(whole, JointClassification(2.0, 1.0), labeled, **options)
    with pytest.raises(KeyboardInterrupt):
        fit(parts, JointClassification(2.0, 1.0), labeled, folder=tmp_path, watcher=Stop(), **options)
    resumed = network()
    fit(resumed, JointClassification(2.0, 1.0), labeled, folder=tmp_path, **options)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
