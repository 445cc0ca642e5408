"""Weights from elsewhere as the start of a network of the main job."""

import io
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from conftest import TINY_GAIN
from test_selftraining import SMALL
from unlabeled.errors import UserError
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.performing import perform
from unlabeled.methods.strong import STARTED
from unlabeled.networks.resnet import ResNet
from unlabeled.networks.strong import StrongNet
from unlabeled.presets import resolve
from unlabeled.sources import load
from unlabeled.studies import GAIN
from unlabeled.studies.gain import ways
from unlabeled.training.starting import network_from, read_tensors


def tensors_of(*, bottleneck=False, blocks=(2, 1), stem=7, width=4):
    """A state dict by torchvision's names; its numbers come from plain modules that are laid out here once more."""
    found, ins = {}, width

    def take(name, module):
        found.update({f"{name}.{key}": tensor for key, tensor in module.state_dict().items()})

    torch.manual_seed(0)
    take("conv1", nn.Conv2d(3, width, stem, bias=False))
    take("bn1", nn.BatchNorm2d(width))
    for stage, count in enumerate(blocks, 1):
        inner = width * 2 ** (stage - 1)
        outs = inner * 4 if bottleneck else inner
        for number in range(count):
            name = f"layer{stage}.{number}"
            shapes = (
                [(ins, inner, 1), (inner, inner, 3), (inner, outs, 1)]
                if bottleneck
                else [(ins, inner, 3), (inner, outs, 3)]
            )
            for place, (a, b, side) in enumerate(shapes, 1):
                take(f"{name}.conv{place}", nn.Conv2d(a, b, side, bias=False))
                norm = nn.BatchNorm2d(b)
                norm.running_mean.normal_(0, 0.1)
                take(f"{name}.bn{place}", norm)
            if ins != outs or (stage > 1 and number == 0):
                take(f"{name}.downsample.0", nn.Conv2d(ins, outs, 1, bias=False))
                take(f"{name}.downsample.1", nn.BatchNorm2d(outs))
            ins = outs
    take("fc", nn.Linear(ins, 1000))
    return found


def plainly(tensors, images, *, bottleneck, blocks, side):
    """The same network, written out with functions."""
    f = nn.functional

    def norm(x, name):
        return f.batch_norm(
            x, *(tensors[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        )

    x = (images + 1) / 2
    x = f.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
    x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x = f.max_pool2d(f.relu(norm(f.conv2d(x, tensors["conv1.weight"], stride=2, padding=3), "bn1")), 3, 2, 1)
    for stage, count in enumerate(blocks, 1):
        for number in range(count):
            name, stride, y = f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1, x
            steps = [(1, 0), (stride, 1), (1, 0)] if bottleneck else [(stride, 1), (1, 1)]
            for place, (step, pad) in enumerate(steps, 1):
                y = norm(
                    f.conv2d(y, tensors[f"{name}.conv{place}.weight"], stride=step, padding=pad), f"{name}.bn{place}"
                )
                y = f.relu(y) if place < len(steps) else y
            if f"{name}.downsample.0.weight" in tensors:
                x = norm(f.conv2d(x, tensors[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1")
            x = f.relu(x + y)
    return x.mean((2, 3))


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_residual_network_is_the_one_that_its_weights_are_of(bottleneck):
    blocks, tensors = (2, 1, 2), tensors_of(bottleneck=bottleneck, blocks=(2, 1, 2))
    network = ResNet(tensors, classes=5, side=64).eval()
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        expected = plainly(tensors, images, bottleneck=bottleneck, blocks=blocks, side=64)
        assert torch.allclose(network.codes(images), expected, atol=1e-5)
        assert network(images).shape == (3, 5)
        assert network(images[:, :1, :, :20]).shape == (3, 5)
    assert network.code_length == expected.shape[1]


def test_a_stem_for_small_images_does_not_narrow_them():
    network = ResNet(tensors_of(stem=3, blocks=(1,)), classes=2, side=8)
    assert not network.narrows
    assert network.conv1.stride == (1, 1)


@pytest.mark.parametrize(
    ("nest", "prefix", "ending"),
    [
        (None, "", ".safetensors"),
        (None, "", ".pt"),
        ("state_dict", "backbone.", ".ckpt"),
        ("model", "module.encoder.", ".pth"),
    ],
)
def test_weights_are_found_where_trainings_keep_them(tmp_path, nest, prefix, ending):
    tensors, path = tensors_of(), tmp_path / f"weights{ending}"
    named = {prefix + name: tensor for name, tensor in tensors.items()}
    if prefix:
        named |= {"projector.0.weight": torch.zeros(2, 2), f"{prefix}head.weight": torch.zeros(2, 2)}
    if ending == ".safetensors":
        save_file(named, path)
    else:
        torch.save({nest: named, "epoch": 3} if nest else named, path)
    found = read_tensors(path)
    assert found.keys() == tensors.keys()
    network = network_from(path, (3, 16, 16), classes=3, side=16, seed=0)
    assert torch.equal(network.layer1[0].conv1.weight, tensors["layer1.0.conv1.weight"])
    again = network_from(path, (3, 16, 16), classes=3, side=16, seed=0)
    assert torch.equal(network.fc.weight, again.fc.weight)
    assert not torch.equal(network.fc.weight, network_from(path, (3, 16, 16), classes=3, side=16, seed=1).fc.weight)


def test_the_strong_networks_own_weights_are_taken_but_for_the_head(tmp_path):
    source = StrongNet((3, 12, 12), classes=7, widths=(4, 6), layers=(1, 2))
    save_file(source.state_dict(), tmp_path / "own.safetensors")
    network = network_from(tmp_path / "own.safetensors", (3, 12, 12), classes=3, side=64, seed=0)
    assert network.head.weight.shape == (3, 6)
    assert network.layers == (1, 2)
    for name, tensor in source.state_dict().items():
        assert name.startswith("head") or torch.equal(network.state_dict()[name], tensor)


def broken():
    tensors = tensors_of()
    yield "missing", None, "no such file"
    yield "text.safetensors", b"no weights", "can't be read as weights"
    yield "text.pt", b"no weights", "can't be read as weights"
    yield "code.pt", pickle.dumps(os.system), "can't be read as weights"
    yield "list.pt", [1, 2], "holds no named tensors"
    yield "other.pt", {"features.0.weight": torch.zeros(2, 3, 3, 3)}, "so it is no ResNet"
    yield (
        "less.pt",
        {name: one for name, one in tensors.items() if name != "layer2.0.bn2.bias"},
        "it lacks layer2.0.bn2.bias",
    )
    yield "more.pt", {**tensors, "layer1.0.se.weight": torch.zeros(3)}, "a plain ResNet has no layer1.0.se.weight"
    yield "shape.pt", {**tensors, "layer1.0.bn1.weight": torch.zeros(9)}, "is .9,. where .4,. fits"
    yield "grey.pt", {**tensors, "conv1.weight": torch.zeros(4, 1, 7, 7)}, "colour images"


@pytest.mark.parametrize(
    ("name", "content", "said"), list(broken()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_is_no_such_network_is_refused_and_runs_no_code(tmp_path, name, content, said):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=said) as caught:
        network_from(path, (3, 16, 16), classes=3, side=16, seed=0)
    assert str(path) in str(caught.value)
    assert ";" in str(caught.value)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "text", "noise"])
def test_damaged_and_foreign_files_are_refused_in_a_line(tmp_path, kind):
    """A restricted unpickler reads any bytes as instructions, so what it stumbles over can be of every kind."""
    random, file = np.random.default_rng(5), io.BytesIO()
    torch.save(tensors_of(width=2), file, _use_new_zipfile_serialization=kind == "zip")
    sound = {
        "pickle": pickle.dumps({"a": [1, 2, {"b": 3.5}], "c": "text"}, 2),
        "text": b"root:x:0:0:root:/root:/bin/bash\n" * 3,
        "noise": bytes(random.integers(256, size=60, dtype=np.uint8)),
    }.get(kind, file.getvalue())
    path, refused = tmp_path / "weights.pt", 0
    for number in range(150):
        content = bytearray(sound if kind != "noise" else random.integers(256, size=1 + number % 70, dtype=np.uint8))
        for _ in range(number % 6):
            content[int(random.integers(min(len(content), 600)))] = int(random.integers(256))
        path.write_bytes(content[: int(random.integers(len(content)))] if number % 3 == 0 else content)
        try:
            read_tensors(path)
        except UserError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 40


def test_it_is_an_arm_of_the_main_job_where_it_is_asked_for(tmp_path):
    torch.save(tensors_of(), tmp_path / "weights.pt")
    plain = resolve(TINY_GAIN, SMALL)
    asked = resolve(TINY_GAIN, SMALL, {"start": tmp_path / "weights.pt", "strong": {"start": {"side": 16, "steps": 4}}})
    splits = load(plain)
    assert STARTED not in ways(Lab(plain, splits, tmp_path / "run"))
    lab = Lab(asked, splits, tmp_path / "run")
    assert STARTED in ways(lab)
    GAIN.check(lab)
    (task,) = STARTED.tasks(lab, 0, 0)
    outcome = perform(lab, task)
    assert 0 <= outcome.accuracy <= 1
    before = task.key(lab).folder
    torch.save(tensors_of(width=6), tmp_path / "weights.pt")
    assert task.key(lab).folder != before
    with pytest.raises(UserError, match="no such file"):
        GAIN.check(Lab(asked.model_copy(update={"start": tmp_path / "none.pt"}), splits, tmp_path / "run"))
