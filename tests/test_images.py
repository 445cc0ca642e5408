"""The containers that everything reads: what they say, and what they refuse."""

import numpy as np
import pytest

from conftest import make_images
from unlabeled.errors import DataError
from unlabeled.images import Images, Leaks, Splits

PIXELS = np.zeros((4, 3, 9, 12), dtype=np.uint8)


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (PIXELS / 255, r"images are uint8, 0 to 255: for floats in \[0, 1\] give \(255 \* pixels\)"),
        (PIXELS.astype(np.int64), r"give pixels.astype\('uint8'\)"),
        (PIXELS.transpose(0, 2, 3, 1), r"with the channels last; .* give pixels.transpose\(0, 3, 1, 2\)"),
        (PIXELS.tolist(), r"pixels are a list; give a NumPy array: numpy.array\(pixels\)"),
        (PIXELS[:, 0], r"for grey ones give pixels\[:, None\]"),
        (PIXELS[0, 0], r"images are \(n, channels, height, width\)"),
    ],
)
def test_pixels_that_lie_otherwise_are_refused_with_the_way_out(pixels, said):
    with pytest.raises(DataError, match=said):
        Images(pixels)


@pytest.mark.parametrize("shape", [(4, 1, 9, 12), (4, 3, 9, 3), (4, 2, 5, 4), (4, 3, 1, 1), (0, 3, 9, 12)])
def test_images_of_any_size_and_few_channels_are_taken(shape):
    assert Images(np.zeros(shape, dtype=np.uint8)).shape == shape[1:]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array([0.0, 1, 1, 0]), r"give labels.astype\('int64'\)"),
        (np.array([0, 1, -1, 0]), "labels hold -1; they are whole numbers from 0 on"),
        (np.eye(4, dtype=np.int64), r"give labels.argmax\(1\)"),
        ([0, 1, 1, 0], "labels are a list"),
        (np.array([0, 1, 1]), "3 labels for 4 images"),
        (np.array(["a", "b", "a", "b"]), "labels are <U1"),
    ],
)
def test_labels_that_are_none_are_refused_with_the_way_out(labels, said):
    with pytest.raises(DataError, match=said):
        Images(PIXELS, labels)


def test_labels_beyond_the_class_names_are_refused():
    images = Images(PIXELS, np.array([0, 1, 2, 0]))
    with pytest.raises(DataError, match="the labeled images have the label 2, and there are names for 2 classes"):
        Splits(images, Images(PIXELS), images, ("a", "b"))
    # A label that no used row has does no harm.
    Splits(images.subset([0, 1]), Images(PIXELS), images.subset([3]), ("a", "b"))


def test_what_is_printed_is_two_lines():
    images = make_images(30, classes=3)
    told = repr(images).splitlines()
    assert told[0] == "Images: 30 of 12x9, 3 channels, uint8, in memory"
    assert told[1].startswith("  3 classes of ")
    assert repr(Images(PIXELS[:, :1])).splitlines() == ["Images: 4 of 12x9, 1 channel, uint8, in memory", "  no labels"]
    assert "no images" in repr(images.subset([]))
    splits = Splits(images, Images(PIXELS), images, ("a", "b", "c"), leaks=Leaks("drop", 2))
    assert repr(splits).splitlines() == [
        "Splits: 30 labeled, 4 unlabeled and 30 test images of 12x9, 3 channels",
        "  3 classes (a, b, c); no folds of its own; 2 exact copies, dropped; 0 near-copies of test images dropped",
    ]
    assert len(str(splits)) < 250
