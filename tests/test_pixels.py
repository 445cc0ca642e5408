"""What the kernels make of training images is what NumPy makes of them, to the last bit, on any processor."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from test_kernels import built_with
from unlabeled.images import policy
from unlabeled.images.augmentation import Augmentation
from unlabeled.images.policy import COLOURS, OPERATIONS, draw_amounts, recolour
from unlabeled.kernels import building, pixels

SIDES = st.one_of(st.integers(1, 40), st.integers(1, 40), st.sampled_from([96, 171]))


@st.composite
def batches(draw):
    """Images (n, c, h, w): noise, images of few tones, of one tone, and dark or bright ones."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(SIDES), draw(SIDES)
    shape = (draw(st.integers(0, 12)), draw(st.sampled_from([3, 3, 1, 2, 4])), height, width)
    low, spread = draw(st.sampled_from([(0, 256), (0, 3), (7, 1), (250, 6), (0, 1), (255, 1), (90, 40)]))
    return random.integers(low, low + spread, size=shape).astype(np.uint8)


WAYS = st.builds(
    Augmentation,
    flip=st.booleans(),
    shift=st.integers(0, 6),
    cutout=st.integers(0, 12),
    operations=st.integers(0, 6),
    magnitude=st.floats(0, 1),
)
CASES = {"images": batches(), "way": WAYS, "seed": st.integers(0, 99)}
QUICKLY = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def by_numpy(change):
    with building.without_kernels():
        return change()


def assert_same(one, other):
    assert one.dtype == other.dtype
    assert one.strides == other.strides
    np.testing.assert_array_equal(one, other)


def assert_changes_as_numpy(images, way, seed):
    kept = images.copy()
    made = way(images, np.random.default_rng(seed))
    assert_same(made, by_numpy(lambda: way(images, np.random.default_rng(seed))))
    np.testing.assert_array_equal(images, kept)


@settings(max_examples=100, **QUICKLY)
@given(**CASES)
def test_images_are_changed_as_by_numpy(compiled, images, way, seed):
    assert_changes_as_numpy(images, way, seed)


@pytest.mark.parametrize(
    "flags", [["-O1"], ["-O3", "-march=x86-64-v3"], ["-O3", "-march=native", "-ffp-contract=fast"]],
    ids=["oldest", "avx2", "joined"],
)  # fmt: skip
@settings(max_examples=40, **QUICKLY)
@given(**CASES)
def test_images_are_changed_alike_on_any_processor(compiled, monkeypatch, tmp_path_factory, flags, images, way, seed):
    if "-march=x86-64-v3" in flags and "avx2" not in building.processor().split():
        pytest.skip("this processor has no AVX2")
    other = built_with(tuple(flags), tmp_path_factory.getbasetemp() / "processors")
    with monkeypatch.context() as patch:
        patch.setattr("unlabeled.kernels.pixels.library", lambda: other)
        assert_changes_as_numpy(images, way, seed)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_operation_alone_is_numpys(compiled, name, channels):
    random = np.random.default_rng(3)
    images = random.integers(0, 256, size=(60, channels, 17, 23), dtype=np.uint8)
    amounts = np.zeros((60, len(OPERATIONS)), dtype=np.float32)
    amounts[:, OPERATIONS.index(name)] = np.linspace(-2, 2, 60)

    def change():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("unlabeled.images.augmentation.draw_amounts", lambda *_: amounts)
            return Augmentation(operations=1)(images, np.random.default_rng(0))

    made = change()
    assert_same(made, by_numpy(change))
    assert (made != images).any() or (name in COLOURS and channels == 1)


@pytest.mark.parametrize("turned", ["columns", "every second", "read only", "other numbers"])
def test_images_that_do_not_lie_in_one_piece_are_left_to_numpy(compiled, turned):
    images = np.random.default_rng(1).integers(0, 256, size=(8, 3, 12, 10), dtype=np.uint8)
    given = {
        "columns": images.transpose(0, 1, 3, 2),
        "every second": images[::2],
        "read only": images.copy(),
        "other numbers": images.astype(np.int16),
    }[turned]
    given.flags.writeable = turned != "read only"
    way = Augmentation(flip=True, shift=2, cutout=3, operations=0 if turned == "other numbers" else 3)
    plain = np.ascontiguousarray(given)
    assert_same(way(given, np.random.default_rng(2)), by_numpy(lambda: way(plain, np.random.default_rng(2))))


def test_what_is_changed_in_place_may_lie_in_pieces(compiled):
    images = np.random.default_rng(1).integers(0, 256, size=(16, 9, 9, 3), dtype=np.uint8)
    amounts = draw_amounts(8, 5, 1.0, np.random.default_rng(4))
    whole, pieces = images[::2].copy(), images.copy()
    recolour(whole, amounts)
    recolour(pieces[::2], amounts)
    np.testing.assert_array_equal(pieces[::2], whole)
    np.testing.assert_array_equal(pieces[1::2], images[1::2])


def test_the_kernels_do_the_work_where_they_can(compiled, monkeypatch):
    asked = []
    monkeypatch.setattr(pixels, "_call", lambda name, batch, *arguments: asked.append(name))
    images = np.random.default_rng(1).integers(0, 256, size=(64, 3, 9, 9), dtype=np.uint8)
    Augmentation(cutout=3, operations=4, magnitude=1.0)(images, np.random.default_rng(0))
    assert set(asked) == set(building._PIXELS)
    monkeypatch.setenv("UNLABELED_KERNELS", "off")
    assert policy.kernels(images) is None
