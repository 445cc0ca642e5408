"""Autoencoders trained layer by layer, without switches, and on disturbed images."""

import pytest
import torch

from conftest import make_images
from unlabeled.config import TrainingConfig
from unlabeled.kernels.pooling import average_unpool
from unlabeled.networks.models import ConvAutoEncoder
from unlabeled.training import evaluate, fit, stacking
from unlabeled.training.objectives import LayerReconstruction, Reconstruction
from unlabeled.training.runtime import Runtime, seeded
from unlabeled.training.stacking import fit_stacked

CPU = Runtime.of("cpu")
CONFIG = TrainingConfig(epochs=6, batch_size=16, learning_rate=1e-2)


def model_of(channels=(4, 5, 6), **changes):
    options = {"conv_kernel_size": 3, "conv_stride": 1, "conv_padding": 1, "pool_kernel_size": 2, "pool_stride": 2}
    with seeded(0):
        return ConvAutoEncoder((3, 9, 12), conv_out_channels=channels, **(options | changes))


def test_a_layer_reconstructs_what_it_takes():
    model, batch = model_of(), CPU.load(make_images(5).pixels)
    taken = model.encoder.block(0, batch)[0]
    code, switches = model.encoder.block(1, taken)
    expected = ((model.decoder.block(1, code, switches) - taken) ** 2).mean()
    assert torch.allclose(LayerReconstruction(1)(model, batch, None)[0], expected)
    loss, _ = LayerReconstruction(1)(model, batch, None)
    loss.backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name.rsplit(".", 1)[0] for name in learning} == {"encoder.convolutions.1", "decoder.convolutions.1"}


@pytest.mark.parametrize("way", ["greedy", "joined"])
def test_each_layer_learns_alone_in_its_turn(way, monkeypatch):
    """While a layer learns, all others keep their bytes."""
    turns = []

    def watching(model, objective, *arguments, **options):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        fitted = fit(model, objective, *arguments, **options)
        changed = {
            name.rsplit(".", 1)[0]
            for name, tensor in model.state_dict().items()
            if not torch.equal(tensor, before[name])
        }
        turns.append((objective, options["config"].epochs, changed))
        return fitted

    monkeypatch.setattr(stacking, "fit", watching)
    images, valid = make_images(40), make_images(10, seed=3)
    fitted = fit_stacked(model_of(), Reconstruction(), images, valid=valid, config=CONFIG, stacking=way, runtime=CPU)
    for layer in range(3):
        objective, _, changed = turns[layer]
        assert objective == LayerReconstruction(layer)
        assert changed == {f"encoder.convolutions.{layer}", f"decoder.convolutions.{2 - layer}"}
    assert sum(epochs for _, epochs, _ in turns) == CONFIG.epochs
    assert len(turns) == (4 if way == "greedy" else 3)
    if way == "greedy":
        assert turns[3][0] == Reconstruction()
        assert len(turns[3][2]) == 6
    assert [row.get("layer") for row in fitted.history][:3] in ([1, 2, 3], [1, 1, 2])
    assert fitted.history[fitted.best_epoch - 1]["valid_mse"] == fitted.best_loss


@pytest.mark.parametrize("way", ["whole", "greedy", "joined"])
def test_what_is_told_is_the_error_of_the_whole(way):
    model, valid = model_of(), make_images(30, seed=3)
    before = evaluate(model, Reconstruction(), valid, runtime=CPU)[1]
    images = make_images(120)
    fitted = fit_stacked(model, Reconstruction(), images, valid=valid, config=CONFIG, stacking=way, runtime=CPU)
    after = evaluate(model, Reconstruction(), valid, runtime=CPU)[1]
    assert fitted.history[fitted.best_epoch - 1]["valid_mse"] == pytest.approx(after, rel=1e-6)
    assert after < before


def test_one_layer_is_trained_the_same_way_each_way():
    images, valid = make_images(40), make_images(10, seed=3)
    weights = []
    for way in ("whole", "greedy", "joined"):
        model = model_of((4,))
        fit_stacked(model, Reconstruction(), images, valid=valid, config=CONFIG, stacking=way, runtime=CPU)
        weights.append(model.state_dict())
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name])
        assert torch.equal(tensor, weights[2][name])


def test_without_switches_a_value_is_spread_over_its_window():
    with_them, without = model_of((4,)), model_of((4,), switches=False)
    batch = CPU.load(make_images(5).pixels)
    code, switches = without.encode(batch)
    assert torch.equal(code, with_them.encode(batch).code)
    assert torch.equal(without.decode(code, switches), without.decode(code))
    block = without.geometry.blocks[0]
    spread = average_unpool(code, block.conv_size, kernel=(2, 2), stride=(2, 2))
    assert torch.allclose(without.decode(code), torch.tanh(without.decoder.convolutions[0](spread)))
    with pytest.raises(ValueError, match="max unpooling needs the switches"):
        with_them.decode(code)


def test_noise_is_on_the_input_of_training_alone():
    class Repeat(torch.nn.Module):
        def forward(self, images):
            self.seen = images
            return images

    batch = CPU.load(make_images(200).pixels)
    for noise, level in (("gaussian", 0.5), ("masking", 0.25)):
        objective, model = Reconstruction(noise=noise, level=level), Repeat()
        assert float(objective(model.eval(), batch, None)[0]) == 0
        loss = float(objective(model.train(), batch, None)[0])
        if noise == "gaussian":
            assert loss == pytest.approx(0.25, rel=0.02)
            assert float((model.seen - batch).mean()) == pytest.approx(0, abs=0.01)
        else:
            masked = (model.seen == 0) & (batch != 0)
            assert float(masked.float().mean()) == pytest.approx(0.25, abs=0.01)
            assert torch.equal(masked.any(dim=1), masked.all(dim=1) | (masked.any(dim=1) & (batch == 0).any(dim=1)))
            assert torch.equal(model.seen[~masked], batch[~masked])


def test_denoising_is_the_same_each_time():
    images, valid = make_images(40), make_images(10, seed=3)
    weights = []
    for _ in range(2):
        model = model_of((4,))
        fit(model, Reconstruction(noise="gaussian", level=0.3), images, valid=valid, config=CONFIG, seed=5, runtime=CPU)
        weights.append(model.state_dict())
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
