"""Filters of patches as convolutions, against taking every patch by hand."""

import numpy as np
import pytest
import torch

from conftest import make_images
from unlabeled.errors import DataError
from unlabeled.evaluation.convolved import PatchEncoder, fit_centroids, folded, map_features, pool_to_grid
from unlabeled.images.patches import as_numbers, cut_patches, prepare
from unlabeled.networks.models import ConvNet
from unlabeled.networks.sparse import SparseAutoencoder
from unlabeled.training.runtime import Runtime

CPU = Runtime.of("cpu")


def images(n=3):
    """Images with values up to both ends, so that a clip clips."""
    made = make_images(n, (3, 9, 12), classes=3)
    made.pixels[:, :, ::3, ::4] = 255
    made.pixels[:, 0, 1::4] = 0
    return made


def every_patch(batch, side, stride):
    """Return all patches (n, places, c, side, side), row by row, and how many rows there are."""
    rows = range(0, batch.shape[2] - side + 1, stride)
    columns = range(0, batch.shape[3] - side + 1, stride)
    cut = [batch[:, :, top : top + side, left : left + side] for top in rows for left in columns]
    return torch.stack(cut, dim=1), len(rows)


def trained(hidden=(5,), kind="whitening"):
    torch.manual_seed(1)
    model = SparseAutoencoder(prepare(cut_patches(images(20), 500, side=4), kind), hidden)
    for layer in model.layers:
        torch.nn.init.normal_(layer.bias)
    return model


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("kind", ["whitening", "clip"])
@pytest.mark.parametrize("hidden", [(5,), (6, 4, 6)])
def test_the_convolution_is_encoding_every_patch_by_hand(stride, kind, hidden):
    model = trained(hidden, kind)
    batch = CPU.load(images().pixels).contiguous()
    cut, rows = every_patch(batch, 4, stride)
    by_hand = model.encode(cut.flatten(0, 1)).view(len(batch), cut.shape[1], -1)
    maps = PatchEncoder.of(model, stride=stride)(batch)
    assert maps.shape[2] == rows
    assert torch.allclose(maps.flatten(2).transpose(1, 2), by_hand, atol=1e-5)
    assert float(maps.detach().std()) > 0.01


def test_a_clip_that_bites_is_kept():
    model = trained(kind="clip")
    model.low.fill_(-0.3)
    model.high.fill_(0.2)
    batch = CPU.load(images().pixels).contiguous()
    cut, _ = every_patch(batch, 4, 3)
    by_hand = model.encode(cut.flatten(0, 1)).view(len(batch), cut.shape[1], -1)
    assert torch.allclose(PatchEncoder.of(model, stride=3)(batch).flatten(2).transpose(1, 2), by_hand, atol=1e-5)


def test_a_network_begins_with_the_filters():
    """A network's first block with the folded filters gives the code of every patch, where no pixel is clipped."""
    model = trained()
    network = ConvNet(
        (3, 9, 12), conv_out_channels=(5,), conv_kernel_size=4, conv_stride=2, pool_kernel_size=1, pool_stride=1,
        activation="sigmoid",
    )  # fmt: skip
    weights, offsets = folded(model)
    network.encoder.convolutions[0].load_state_dict({"weight": weights, "bias": offsets})
    batch = CPU.load(images().pixels)
    code = network.encoder(batch).code
    assert torch.allclose(code, PatchEncoder.of(model, stride=2)(batch), atol=1e-5)


def test_triangle_activation_is_that_of_single_patches():
    cut = cut_patches(images(30), 600, side=4)
    encoder = fit_centroids(cut, 7, stride=3, seed=0)
    batch = CPU.load(images().pixels).contiguous()
    maps = encoder(batch)
    patches, _ = every_patch(batch, 4, 3)
    flat = patches.flatten(2).double()
    normal = (flat - flat.mean(dim=2, keepdim=True)) / (
        flat.var(dim=2, unbiased=False, keepdim=True) + 10 / 127.5**2
    ).sqrt()
    # The whitening by its definition: Coates, Ng and Lee's, of the same patches.
    numbers = torch.from_numpy(as_numbers(cut))
    numbers = (numbers - numbers.mean(dim=1, keepdim=True)) / (
        numbers.var(dim=1, unbiased=False, keepdim=True) + 10 / 127.5**2
    ).sqrt()
    centre = numbers.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov(numbers.T, correction=0))
    whitening = vectors @ torch.diag((values.clamp(min=0) + 0.1).rsqrt()) @ vectors.T
    white = (normal - centre) @ whitening
    distances = torch.cdist(white, encoder.centroids[:, :, 0, 0].double())
    expected = (distances.mean(dim=2, keepdim=True) - distances).clamp(min=0)
    assert torch.allclose(maps.flatten(2).transpose(1, 2).double(), expected, atol=2e-3)
    assert 0.2 < float((maps > 0).float().mean()) < 0.9


def test_centroids_need_enough_patches():
    with pytest.raises(DataError, match="5 patches for 7 centroids"):
        fit_centroids(cut_patches(images(), 5, side=4), 7, stride=1, seed=0)


def test_pooled_maps_are_means_of_the_grids_parts():
    maps = torch.arange(2 * 3 * 6 * 4, dtype=torch.float32).view(2, 3, 6, 4)
    pooled = pool_to_grid(maps, 2)
    assert pooled.shape == (2, 3, 2, 2)
    assert torch.equal(pooled[:, :, 1, 0], maps[:, :, 3:, :2].mean(dim=(2, 3)))
    assert pool_to_grid(maps, None) is maps
    assert pool_to_grid(maps, 9).shape == maps.shape


def test_features_of_many_images_are_those_of_each():
    encoder = PatchEncoder(torch.randn(4, 3, 4, 4), torch.randn(4), stride=2)
    some = make_images(103, (3, 9, 12))
    whole = map_features(encoder, some, 2, runtime=CPU)
    assert whole.shape == (103, 4 * 4)
    assert whole.dtype == np.float32
    alone = map_features(encoder, some.subset([101]), 2, runtime=CPU)
    assert np.allclose(whole[101], alone[0], atol=1e-6)
    assert all(not parameter.requires_grad for parameter in encoder.parameters())
