from itertools import pairwise

import numpy as np
import pytest

from conftest import make_images
from unlabeled.evaluation.features import fit_components, pixel_features, pool_quadrants
from unlabeled.experiments.lab import Lab
from unlabeled.networks.filters import BANK, hand_made_filters
from unlabeled.presets import resolve
from unlabeled.sources import load


@pytest.mark.parametrize("size", [(3, 4, 6), (2, 5, 3), (4, 1, 2), (1, 1, 1)])
def test_quadrants_are_means_of_quarters(size, random):
    codes = random.normal(size=(7, *size)).astype(np.float32)
    pooled = pool_quadrants(codes.reshape(7, -1), size)
    channels, height, width = size
    tops = [(0, -(-height // 2)), (height // 2, height)] if height > 1 else [(0, 1)]
    lefts = [(0, -(-width // 2)), (width // 2, width)] if width > 1 else [(0, 1)]
    naive = [
        [
            image[channel, top:bottom, left:right].mean()
            for top, bottom in tops
            for left, right in lefts
            for channel in range(channels)
        ]
        for image in codes
    ]
    assert pooled.dtype == np.float32
    assert pooled == pytest.approx(np.array(naive), abs=1e-6)


def test_the_bank_answers_to_changes_only():
    """On a flat image every filter but blur gives zero, and blur gives the image."""
    for name, image in BANK:
        assert image.sum() == pytest.approx({"blur": 1.0}.get(name, 0.0) * np.sign(image.sum()), abs=1e-12)
    assert len({image.tobytes() for _, image in BANK}) == len(BANK)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 3), (5, 4), (8, 8)])
@pytest.mark.parametrize("channels", [1, 3])
def test_hand_made_filters_fit_every_kernel(kernel, channels):
    weights = hand_made_filters(80, channels, kernel)
    assert weights.shape == (80, channels, *kernel)
    assert np.isfinite(weights).all()
    if min(kernel) >= 3:
        assert (np.abs(weights).sum(axis=(1, 2, 3)) > 0).all()


def test_the_hand_made_encoder_is_the_formula_of_the_assignment():
    """F(i, j) = sum over k1, k2 of x[i + k1, j + k2] * G[k1, k2], by loops."""
    config = resolve({"data": "digits", "device": "cpu"})
    lab = Lab(config, load(config), None)
    encoder = config.encoder.model_copy(
        update={
            "conv_out_channels": (17,),
            "conv_kernel_size": (3,),
            "conv_padding": (0,),
            "pool_kernel_size": (1,),
            "pool_stride": (1,),
        }
    )
    made = lab.hand_made_encoder(encoder)
    image = lab.splits.labeled.take(np.arange(1))
    found = made(lab.runtime.load(image)).code[0].detach().numpy()
    x = pixel_features(lab.splits.labeled.subset([0])).reshape(8, 8)
    filters = hand_made_filters(17, 1, (3, 3))
    for number in range(17):
        for i in range(6):
            for j in range(6):
                total = sum(x[i + a, j + b] * filters[number, 0, a, b] for a in range(3) for b in range(3))
                assert found[number, i, j] == pytest.approx(max(total, 0), abs=1e-6)


def test_sobel_measures_a_slope():
    ramp = np.tile(np.arange(9.0), (9, 1))
    sobel = hand_made_filters(1, 1, (3, 3))[0, 0]
    assert (ramp[2:5, 3:6] * sobel).sum() == pytest.approx(1.0)
    assert (ramp.T[2:5, 3:6] * sobel).sum() == pytest.approx(0.0)


def test_images_are_rebuilt_from_their_components():
    images, others = make_images(60, classes=None), make_images(25, classes=None, seed=5)
    components = fit_components(images, 40)
    for length in (1, 7, 40):
        scores = components.scores(others)[:, :length]
        naive = components.mean + scores @ components.components[:length]
        assert components.rebuild(others, length).reshape(25, -1) == pytest.approx(naive, abs=1e-5)
    errors = [
        np.square(components.rebuild(images, n).reshape(60, -1) - pixel_features(images)).mean() for n in range(41)
    ]
    assert all(after <= before + 1e-9 for before, after in pairwise(errors))
