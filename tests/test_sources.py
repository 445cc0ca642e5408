import gzip
import hashlib
import io
import math
import os
import shutil
import tarfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from unlabeled.config import Config, ShapesConfig
from unlabeled.errors import DataError
from unlabeled.evaluation.folds import make_folds
from unlabeled.images import decoding, jpeg
from unlabeled.images.fitting import Wanted
from unlabeled.images.leaks import find_leaks
from unlabeled.images.shrinking import shrink
from unlabeled.images.store import open_store
from unlabeled.presets import resolve
from unlabeled.sources import load, stl10
from unlabeled.sources.shapes import CLASSES, draw, write_shapes
from unlabeled.sources.shapes import _folds as drawn_folds
from unlabeled.sources.stl10 import stl10_writer, store_stl10

CUT = (
    "30 % of the pictures' area is cut off in the mean, at most 30 % of one, to come to the proportions of 32x32; --fit pad or stretch "
    "keeps all of it, --side WIDTHxHEIGHT gives other proportions."
)


def square(side):
    return Wanted((side, side))


def decoded(path, side):
    """The one image of a file, uint8 (3, side, side); a deep one on the scale of its own bits."""
    batch = decoding.decode_batch([str(path)], square(side))
    assert batch.problems == []
    if len(batch.deep.rows):
        return np.stack([np.rint(batch.deep.values[0] * (255 / (2 ** batch.deep.greatest.bit_length() - 1)))] * 3)
    return batch.pixels[0]


def write_stl10(folder, *, train=20, test=12, unlabeled=30, seed=0, leak=None):
    """A small data set in the official layout; ``leak`` maps unlabeled rows to (split, row) that they repeat."""
    random = np.random.default_rng(seed)
    images = {
        name: random.integers(0, 256, (n, 3, 96, 96), dtype=np.uint8)
        for name, n in (("train", train), ("test", test), ("unlabeled", unlabeled))
    }
    for row, (name, other) in (leak or {}).items():
        images["unlabeled"][row] = images[name][other]
    labels = {name: np.arange(n) % 10 for name, n in (("train", train), ("test", test))}
    with stl10_writer(folder) as writer:
        for name, pixels in images.items():
            writer.append(name, pixels, labels.get(name))
        writer.describe(stl10.CLASS_NAMES, [np.arange(0, train, 2), np.arange(1, train, 2)])
    return images, labels


def pack(folder, path):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(folder, "stl10_binary")
    return path


def test_the_binary_layout_is_read_as_it_is_defined(tmp_path):
    images, labels = write_stl10(tmp_path / "stl10_binary")
    # The definition, apart from the reader: channels first, each channel column by column, labels from 1.
    raw = (tmp_path / "stl10_binary" / "train_X.bin").read_bytes()
    channel, row, column, number = 2, 5, 90, 3
    assert raw[number * 27648 + channel * 9216 + column * 96 + row] == images["train"][number, channel, row, column]
    assert (tmp_path / "stl10_binary" / "train_y.bin").read_bytes()[:3] == bytes([1, 2, 3])
    splits = open_store(store_stl10(tmp_path, tmp_path / "cache", square(96)))
    for split, name in ((splits.labeled, "train"), (splits.test, "test")):
        assert np.array_equal(split.pixels, images[name])
        assert np.array_equal(split.classes, labels[name])
    assert np.array_equal(splits.unlabeled.pixels, images["unlabeled"])
    assert [fold.tolist() for fold in splits.folds] == [list(range(0, 20, 2)), list(range(1, 20, 2))]
    assert splits.class_names == stl10.CLASS_NAMES


def test_folder_and_archive_give_the_same_store_and_nothing_is_done_twice(tmp_path, monkeypatch):
    write_stl10(tmp_path / "stl10_binary")
    archive = pack(tmp_path / "stl10_binary", tmp_path / "stl10_binary.tar.gz")
    cache = tmp_path / "cache"
    first = store_stl10(tmp_path, cache, square(32))
    assert store_stl10(archive, cache, square(32)) == first
    assert store_stl10(tmp_path, cache, square(16)) != first
    monkeypatch.setattr(stl10, "_read", lambda *_: pytest.fail("it was read again"))
    assert store_stl10(tmp_path, cache, square(32)) == first


def test_a_changed_source_gets_another_store(tmp_path):
    write_stl10(tmp_path / "a")
    write_stl10(tmp_path / "b", seed=1)
    assert store_stl10(tmp_path / "a", tmp_path / "cache", square(8)) != store_stl10(
        tmp_path / "b", tmp_path / "cache", square(8)
    )


@pytest.mark.parametrize("size", [(96, 96), (50, 64), (31, 33), (7, 9)])
@pytest.mark.parametrize("side", [32, 9])
def test_shrinking_gives_pillows_bytes(random, size, side):
    images = random.integers(0, 256, (4, 3, *size), dtype=np.uint8)
    expected = [
        np.asarray(Image.fromarray(image.transpose(1, 2, 0)).resize((side, side), Image.Resampling.BILINEAR))
        for image in images
    ]
    difference = np.abs(
        shrink(images, Wanted((side, side), "stretch")).astype(int) - np.stack(expected).transpose(0, 3, 1, 2)
    )
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_shrinking_is_antialiased():
    stripes = np.zeros((1, 1, 96, 96), dtype=np.uint8)
    stripes[..., ::2] = 255
    assert abs(shrink(stripes, square(32))[..., 2:-2].astype(int) - 127).max() < 30


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "test_X.bin").unlink(), "test_X.bin missing"),
        (lambda f: _cut(f / "unlabeled_X.bin", 1000), "no whole number of images of 27,648; it seems truncated"),
        (lambda f: _cut(f / "train_X.bin", 27648), "train_y.bin has 20 labels for 19 images"),
        (lambda f: (f / "test_y.bin").write_bytes(bytes([11] * 12)), "holds the label 11; STL-10's labels are 1..10"),
        (
            lambda f: (f / "fold_indices.txt").write_text("0 1 99\n"),
            "line 1 of fold_indices.txt has indices outside 0..19",
        ),
        (lambda f: (f / "fold_indices.txt").write_text("0 x\n"), "fold_indices.txt is damaged"),
        (lambda f: (f / "train_X.bin").write_bytes(b""), "has 0 bytes"),
    ],
)
def test_a_damaged_stl10_folder_is_refused_and_leaves_nothing(tmp_path, damage, message):
    write_stl10(tmp_path / "stl10_binary")
    damage(tmp_path / "stl10_binary")
    with pytest.raises(DataError) as caught:
        store_stl10(tmp_path, tmp_path / "cache", square(8))
    assert message in str(caught.value)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name != "index"]


def _cut(path, count):
    path.write_bytes(path.read_bytes()[:-count])


def test_a_truncated_archive_is_refused(tmp_path):
    write_stl10(tmp_path / "stl10_binary")
    archive = pack(tmp_path / "stl10_binary", tmp_path / "stl10_binary.tar.gz")
    _cut(archive, 500_000)
    with pytest.raises(DataError, match="not a whole archive"):
        store_stl10(archive, tmp_path / "cache", square(8))
    archive.write_bytes(gzip.compress(b"no archive"))
    with pytest.raises(DataError, match="not a whole archive"):
        store_stl10(archive, tmp_path / "cache", square(8))


def test_official_labeled_splits_beside_a_cut_unlabeled_one_are_noticed(tmp_path, monkeypatch):
    write_stl10(tmp_path / "a")
    sizes = {"train_X.bin": 20 * 27648, "test_X.bin": 12 * 27648, "unlabeled_X.bin": 31 * 27648}
    monkeypatch.setattr(stl10, "FILES", {n: stl10.OfficialFile(sizes.get(n, 1), "") for n in stl10.FILES})
    with pytest.raises(DataError, match=r"unlabeled_X.bin has 829,440 bytes instead of 857,088; it seems truncated"):
        store_stl10(tmp_path / "a", tmp_path / "cache", square(8))


def test_checksums_are_compared(tmp_path):
    write_stl10(tmp_path / "stl10_binary")
    findings = stl10.verify(tmp_path)
    # The writer's class names are the official file, byte for byte; the six others are of another data set.
    assert len(findings) == 6
    assert not any("class_names.txt" in finding for finding in findings)
    assert "train_X.bin: 552,960 bytes instead of 138,240,000" in findings[0]
    archive = pack(tmp_path / "stl10_binary", tmp_path / "a.tar.gz")
    found = hashlib.md5(archive.read_bytes()).hexdigest()
    assert stl10.verify(archive) == [f"{archive}: MD5 {found} instead of {stl10.ARCHIVE_MD5}; download it again"]


# Leaks


def test_leaks_are_found_before_shrinking_and_dropped_or_kept(tmp_path):
    write_stl10(tmp_path / "a", leak={0: ("test", 1), 1: ("test", 1), 5: ("train", 3), 9: ("unlabeled", 8)})
    folder = store_stl10(tmp_path / "a", tmp_path / "cache", square(8))
    dropped, kept = open_store(folder), open_store(folder, leaks="keep")
    for splits in (dropped, kept):
        assert (splits.leaks.unlabeled_in_test, splits.leaks.unlabeled_in_labeled, splits.leaks.labeled_in_test) == (
            2,
            1,
            0,
        )
    assert (len(dropped.unlabeled), len(kept.unlabeled)) == (27, 30)
    stay = [row for row in range(30) if row not in (0, 1, 5)]
    assert np.array_equal(dropped.unlabeled.take(np.arange(27)), kept.unlabeled.pixels[stay])


def test_a_labeled_image_in_test_is_dropped_and_folds_follow(tmp_path):
    images, _ = write_stl10(tmp_path / "a")
    images["test"][4] = images["train"][6]
    with stl10_writer(tmp_path / "a") as writer:
        writer.append("test", images["test"], np.arange(12) % 10)
    splits = open_store(store_stl10(tmp_path / "a", tmp_path / "cache", square(96)))
    assert splits.leaks.labeled_in_test == 1
    assert len(splits.labeled) == 19
    assert [fold.tolist() for fold in splits.folds] == [
        [0, 2, 4, 7, 9, 11, 13, 15, 17],
        [1, 3, 5, 6, 8, 10, 12, 14, 16, 18],
    ]
    assert np.array_equal(splits.labeled.take(splits.folds[0])[3], images["train"][8])


def test_finding_leaks_equals_comparing_every_pair(random):
    splits = [random.integers(0, 3, (n, 32), dtype=np.uint8) // 2 for n in (7, 40, 9)]
    for digests in splits:
        digests[:, 4:] = 0
    labeled, unlabeled, test = splits
    leaks, labeled_rows, unlabeled_rows = find_leaks(labeled, unlabeled, test, policy="drop")

    def stands(row, others):
        return any(np.array_equal(row, other) for other in others)

    assert leaks.unlabeled_in_test == sum(stands(row, test) for row in unlabeled)
    assert leaks.labeled_in_test == sum(stands(row, test) for row in labeled) > 0
    assert unlabeled_rows.tolist() == [
        i for i, row in enumerate(unlabeled) if not stands(row, test) and not stands(row, labeled)
    ]
    assert labeled_rows.tolist() == [i for i, row in enumerate(labeled) if not stands(row, test)]


# Shapes


@pytest.mark.slow
def test_shapes_are_the_same_bytes_for_a_seed_and_go_through_the_reader(tmp_path):
    config = ShapesConfig(train=100, test=30, unlabeled=40, seed=3)
    for name in ("a", "b"):
        write_shapes(tmp_path / name, config)
    write_shapes(tmp_path / "c", config.model_copy(update={"seed": 4}))
    contents = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "abc"]
    assert contents[0] == contents[1] != contents[2]
    splits = load(resolve({"data": "shapes", "cache": tmp_path / "cache", "shapes": config.model_dump()}))
    assert [len(s) for s in (splits.labeled, splits.unlabeled, splits.test)] == [100, 40, 30]
    assert splits.labeled.shape == (3, 24, 24)
    assert np.bincount(splits.labeled.classes).tolist() == [10] * 10
    assert len(splits.folds) == 10
    assert all(len(fold) == 20 for fold in splits.folds)
    assert splits.leaks.total == 0
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.name.startswith("unfinished")] == []


@given(each=st.integers(2, 60), seed=st.integers(0, 99))
def test_folds_of_shapes_are_fifths_of_each_class_that_share_as_little_as_they_can(each, seed):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(10 * each) % 10)
    folds = drawn_folds(labels, random)
    share = max(2, round(each / 5))
    assert len(folds) == 10
    for fold in folds:
        assert len(np.unique(fold)) == len(fold)
        assert np.bincount(labels[fold]).tolist() == [share] * 10
    for five in (folds[:5], folds[5:]):
        taken = np.bincount(np.concatenate(five), minlength=len(labels))
        # 5 x share places for the images of a class: none is taken twice before all are taken once, but for rounding.
        assert taken.max() <= max(1, -(-5 * share // each))
        if each % 5 == 0 and each > 5:
            assert set(taken.tolist()) == {1}
    assert not np.array_equal(folds[0], folds[5]) or each <= 3


def test_every_kind_of_shape_is_drawn_and_no_two_images_are_alike():
    kinds = np.repeat(np.arange(18), 3)
    images = draw(kinds, np.random.default_rng(0))
    assert images.shape == (54, 3, 96, 96)
    assert len({image.tobytes() for image in images}) == 54
    assert len(CLASSES) == 10


def test_digits_hide_the_labels_of_the_unlabeled(tmp_path):
    splits = load(resolve({"data": "digits", "cache": tmp_path}))
    assert splits.labeled.shape == (1, 8, 8)
    assert splits.unlabeled.labels is None
    assert len(splits.labeled) + len(splits.unlabeled) + len(splits.test) == 1797
    assert splits.unlabeled.pixels.max() == 255


# Folders


def in_folder(root, **options):
    return load(resolve({"data": f"folder:{root}", **options}))


def test_a_folder_is_read_by_its_layout(folder_of_images):
    splits = in_folder(folder_of_images)
    assert splits.class_names == ("cat", "dog")
    assert [len(s) for s in (splits.labeled, splits.unlabeled, splits.test)] == [20, 12, 6]
    assert splits.labeled.classes.tolist() == [0] * 10 + [1] * 10
    assert splits.unlabeled.labels is None
    assert splits.notes == (CUT,)
    # 14 wide and 20 high: the middle 14x14 are kept.
    first = Image.open(folder_of_images / "train" / "cat" / "0.png")
    expected = np.asarray(first.resize((32, 32), Image.Resampling.BILINEAR, box=(0, 3, 14, 17)))
    assert np.array_equal(splits.labeled.pixels[0], expected.transpose(2, 0, 1))


@pytest.mark.parametrize("processes", [True, False])
def test_many_files_are_decoded_in_order_on_all_cores_where_that_is_worth_it(folder_of_images, monkeypatch, processes):
    expected = in_folder(folder_of_images).unlabeled.pixels
    used = []
    pool = decoding.in_processes
    monkeypatch.setattr(decoding, "in_processes", lambda calls: used.append(True) or pool(calls))
    monkeypatch.setattr(decoding, "BATCH", 5)
    monkeypatch.setattr(decoding, "_WORTH_A_POOL", -1.0 if processes else math.inf)
    shutil.rmtree(folder_of_images.parent / "again", ignore_errors=True)
    found = in_folder(folder_of_images, cache=folder_of_images.parent / "again").unlabeled.pixels
    assert np.array_equal(found, expected)
    assert bool(used) == processes


def test_without_a_test_folder_a_stratified_share_is_set_aside_and_said(folder_of_images):
    shutil.rmtree(folder_of_images / "test")
    splits = in_folder(folder_of_images)
    assert np.bincount(splits.test.classes).tolist() == [2, 2]
    assert np.bincount(splits.labeled.classes).tolist() == [8, 8]
    assert "4 of the 20 labeled images" in splits.notes[0]
    again = in_folder(folder_of_images, cache=folder_of_images.parent / "again")
    assert np.array_equal(again.test.pixels, splits.test.pixels)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def test_every_kind_of_image_becomes_the_same_rgb(tmp_path):
    ramp = np.linspace(0, 255, 24 * 24).astype(np.uint8).reshape(24, 24)
    rgb = np.stack([ramp] * 3, axis=2)
    expected = decoded(save(tmp_path / "a.png", rgb), 24)
    paths = {
        "grey": save(tmp_path / "b.png", ramp),
        "16 bit": save(tmp_path / "c.png", ramp.astype(np.uint16) * 257),
        "bmp": save(tmp_path / "d.bmp", rgb),
        "webp": save(tmp_path / "e.webp", rgb, lossless=True),
        "opaque rgba": save(tmp_path / "f.png", np.dstack([rgb, np.full_like(ramp, 255)])),
        "palette": tmp_path / "g.png",
    }
    Image.fromarray(ramp).convert("P").save(paths["palette"])
    for name, path in paths.items():
        assert np.abs(decoded(path, 24).astype(int) - expected).max() <= 1, name
    jpeg = decoded(save(tmp_path / "h.jpg", rgb, quality=95), 24)
    assert np.abs(jpeg.astype(int) - expected).mean() < 3


@st.composite
def jpeg_files(draw):
    """A JPEG file of few colours, so that every encoder's buffer is large enough."""
    width, height = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    coarse = random.integers(0, 256, (draw(st.integers(1, 9)), draw(st.integers(1, 9)), 3)).astype(np.uint8)
    mode = draw(st.sampled_from(["RGB", "RGB", "L", "CMYK"]))
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    options = {"quality": draw(st.integers(20, 95)), "progressive": draw(st.booleans())}
    if mode == "RGB":
        options |= draw(st.sampled_from([{"subsampling": n} for n in range(3)] + [{"keep_rgb": True}]))
    if draw(st.integers(0, 3)) == 0:
        exif = Image.Exif()
        exif[0x0112] = draw(st.integers(1, 8))
        options["exif"] = exif
    elif draw(st.integers(0, 3)) == 0:
        options["xmp"] = f'<x tiff:Orientation="{draw(st.integers(1, 8))}"/>'.encode()
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    content = buffer.getvalue()
    damage = draw(st.sampled_from(["none", "none", "cut", "changed", "more"]))
    if damage == "cut":
        content = content[: draw(st.integers(0, len(content)))]
    elif damage == "changed":
        place = draw(st.integers(2, len(content) - 1))
        content = content[:place] + bytes([draw(st.integers(0, 255))]) + content[place + 1 :]
    return content + (b"more" if damage == "more" else b"")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=jpeg_files(), side=st.sampled_from([8, 16, 32]))
def test_jpeg_files_give_the_same_bytes_with_pillow_alone(tmp_path, monkeypatch, content, side):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with_both = decoding.decode_batch([path], square(side))
    with monkeypatch.context() as patch:
        patch.setattr(jpeg, "simplejpeg", None)
        with_pillow = decoding.decode_batch([path], square(side))
    assert np.array_equal(with_both.pixels, with_pillow.pixels)
    assert np.array_equal(with_both.digests, with_pillow.digests)
    assert with_both.problems == with_pillow.problems


def test_plain_jpeg_files_do_not_go_through_pillow(tmp_path, monkeypatch):
    pytest.importorskip("simplejpeg")
    path = save(tmp_path / "a.jpg", np.zeros((40, 30, 3), dtype=np.uint8))
    monkeypatch.setattr(decoding, "_decode_any", lambda file, wanted: pytest.fail("went through Pillow"))
    assert decoded(path, 16).shape == (3, 16, 16)


def test_transparency_lies_on_white_and_orientation_is_applied(tmp_path):
    rgba = np.zeros((8, 8, 4), dtype=np.uint8)
    rgba[:4, :, 3] = 255
    pixels = decoded(save(tmp_path / "a.png", rgba), 8)
    assert (pixels[0, 0, 0], pixels[0, 7, 0]) == (0, 255)
    picture = np.zeros((16, 16, 3), dtype=np.uint8)
    picture[:8] = 250
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the file's top is the picture's right
    pixels = decoded(save(tmp_path / "b.png", picture, exif=exif), 16)
    assert pixels[0, 8, 15] == 250
    assert pixels[0, 8, 0] == 0


def test_same_pixels_in_other_files_are_the_same_image(folder_of_images):
    image = Image.open(folder_of_images / "test" / "cat" / "0.png")
    image.save(folder_of_images / "unlabeled" / "copy.bmp")
    Image.open(folder_of_images / "train" / "dog" / "2.png").save(
        folder_of_images / "unlabeled" / "other.webp", lossless=True
    )
    splits = in_folder(folder_of_images)
    assert (splits.leaks.unlabeled_in_test, splits.leaks.unlabeled_in_labeled) == (1, 1)
    assert len(splits.unlabeled) == 12


def test_unreadable_unlabeled_images_are_skipped_with_a_count(folder_of_images, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_MEGAPIXELS", 0.001)
    for bad, content in (("a.png", b"no image"), ("b.jpg", b"")):
        (folder_of_images / "unlabeled" / bad).write_bytes(content)
    _cut(
        save(
            folder_of_images / "unlabeled" / "c.png",
            np.random.default_rng(0).integers(0, 255, (20, 14, 3), dtype=np.uint8),
        ),
        300,
    )
    save(folder_of_images / "unlabeled" / "d.png", np.zeros((40, 40), dtype=np.uint8))
    (folder_of_images / "unlabeled" / "notes.txt").write_text("hello")
    (folder_of_images / "unlabeled" / ".hidden.png").write_text("hello")
    splits = in_folder(folder_of_images)
    assert len(splits.unlabeled) == 12
    assert splits.notes[0] == "1 files in unlabeled are no images by their names and are left out: 1 .txt."
    assert splits.notes[1].startswith(
        f"4 unlabeled images can't be read and were skipped: {folder_of_images}/unlabeled/a.png (not an image)"
    )
    assert splits.notes[1].endswith("and 1 more.")


@pytest.mark.parametrize("part", ["train/cat", "test/dog"])
def test_an_unreadable_labeled_or_test_image_is_an_error_that_names_it(folder_of_images, part):
    bad = folder_of_images / part / "bad.png"
    bad.write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        in_folder(folder_of_images)
    name = "labeled" if part.startswith("train") else "test"
    assert str(caught.value) == (
        f"1 {name} images can't be read: {bad} (not an image); mend or remove them (unlabeled ones would be skipped)"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "no such folder; give one that holds train/<class>/, unlabeled/"),
        (lambda r: shutil.rmtree(r / "unlabeled"), "no folder 'unlabeled' in it"),
        (lambda r: shutil.rmtree(r / "unlabeled" / "deep"), "unlabeled: no images in it"),
        (lambda r: shutil.rmtree(r / "train" / "dog"), "only the class 'cat' in it; a classifier needs two classes"),
        (lambda r: (r / "train" / "empty").mkdir(), "train/empty: no images in it; add some, or remove the folder"),
        (lambda r: [p.unlink() for p in list((r / "train" / "dog").iterdir())[1:]], "class 'dog' has one image"),
        (
            lambda r: (r / "test" / "bird").mkdir(),
            "class 'bird' has no folder in train; the classes there are cat, dog",
        ),
        (
            lambda r: shutil.copy(r / "train" / "cat" / "0.png", r / "train"),
            "1 images lie outside of the class folders, '0.png'",
        ),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_in_words(folder_of_images, change, message):
    change(folder_of_images)
    with pytest.raises(DataError) as caught:
        in_folder(folder_of_images)
    assert message in str(caught.value)


def test_a_link_to_a_folder_above_brings_no_other_class_in(folder_of_images):
    (folder_of_images / "train" / "cat" / "loop").symlink_to("..")
    (folder_of_images / "train" / "dog" / "far").symlink_to(folder_of_images)
    assert np.bincount(in_folder(folder_of_images).labeled.classes).tolist() == [10, 10]


def test_a_picture_in_two_classes_is_told(folder_of_images):
    for number in (3, 4):
        shutil.copy(
            folder_of_images / "train" / "cat" / f"{number}.png", folder_of_images / "train" / "dog" / f"c{number}.png"
        )
    notes = " ".join(in_folder(folder_of_images).notes)
    assert "2 labeled images repeat another labeled image" in notes
    assert "2 labeled pictures stand in more than one class, one of them in cat and in dog" in notes
    (folder_of_images / "train" / "dog" / "c3.png").unlink(), (folder_of_images / "train" / "dog" / "c4.png").unlink()
    shutil.copy(folder_of_images / "train" / "cat" / "3.png", folder_of_images / "train" / "cat" / "again.png")
    notes = " ".join(in_folder(folder_of_images).notes)
    assert "1 labeled images repeat another labeled image" in notes
    assert "more than one class" not in notes


def test_classes_that_differ_in_capitals_alone_are_told(folder_of_images):
    shutil.copytree(folder_of_images / "train" / "cat", folder_of_images / "train" / "Cat")
    assert "Classes Cat and cat differ in capitals alone" in " ".join(in_folder(folder_of_images).notes)


def test_links_in_a_circle_end(folder_of_images):
    (folder_of_images / "unlabeled" / "deep" / "circle").symlink_to(folder_of_images / "unlabeled")
    assert len(in_folder(folder_of_images).unlabeled) == 12


def test_limits_take_a_fixed_sample(folder_of_images):
    splits = in_folder(folder_of_images, unlabeled=10)
    assert len(splits.unlabeled) == 10
    assert np.array_equal(
        splits.unlabeled.take(np.arange(10)), in_folder(folder_of_images, unlabeled=10).unlabeled.take(np.arange(10))
    )


@pytest.mark.parametrize("data", ["photos", "folder", "folder:", "shapes:x"])
def test_unknown_data_are_refused(data):
    with pytest.raises(DataError, match=r"use shapes, digits, stl10|write folder:PATH"):
        load(resolve({"data": data}))


def test_too_small_a_disk_is_noticed_before_the_work(folder_of_images, monkeypatch):
    monkeypatch.setattr("unlabeled.images.store.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1000))
    with pytest.raises(DataError, match=r"38 images of 32x32 take 0 MB and 0 MB are free; free some space"):
        in_folder(folder_of_images, cache=folder_of_images.parent / "small")


def test_another_folder_with_the_same_names_sizes_and_times_is_another_source(tmp_path):
    found = []
    for name, value in (("a", 0), ("b", 200)):
        for part in ("train/x", "train/y", "unlabeled"):
            folder = tmp_path / name / "photos" / part
            folder.mkdir(parents=True)
            for number in range(10):
                path = save(folder / f"{number}.bmp", np.full((8, 8, 3), value + number, dtype=np.uint8))
                os.utime(path, (1, 1))
        found.append(in_folder(tmp_path / name / "photos", leaks="keep").unlabeled.pixels)
    assert (found[0].max(), found[1].min()) == (9, 200)


def test_links_that_lead_nowhere_are_reported_or_skipped(folder_of_images):
    (folder_of_images / "unlabeled" / "broken.png").symlink_to("nowhere.png")
    assert "1 unlabeled images can't be read" in in_folder(folder_of_images).notes[0]
    (folder_of_images / "train" / "cat" / "broken.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match=r"1 labeled images can't be read: .*broken.png"):
        in_folder(folder_of_images)


def test_a_class_without_test_images_and_copies_among_the_labeled_are_noted(folder_of_images):
    shutil.rmtree(folder_of_images / "test" / "dog")
    shutil.copy(folder_of_images / "train" / "cat" / "1.png", folder_of_images / "train" / "cat" / "copy.png")
    assert in_folder(folder_of_images).notes == (
        "No test image is of class dog: the accuracy says nothing of it.",
        CUT,
        "1 labeled images repeat another labeled image; one may train and the other validate.",
    )


def test_images_of_one_colour_and_other_shape_are_not_the_same(folder_of_images):
    save(folder_of_images / "test" / "cat" / "wide.png", np.zeros((10, 20, 3), dtype=np.uint8))
    save(folder_of_images / "unlabeled" / "high.png", np.zeros((20, 10, 3), dtype=np.uint8))
    assert in_folder(folder_of_images).leaks.total == 0


def test_one_fold_or_folds_that_are_the_same_are_refused(tmp_path):
    write_stl10(tmp_path / "a")
    config = resolve({"data": f"stl10:{tmp_path / 'a'}", "cache": tmp_path / "cache"})
    everything = " ".join(map(str, range(20))) + "\n"
    for text in (everything, everything * 2):
        (tmp_path / "a" / "fold_indices.txt").write_text(text)
        with pytest.raises(DataError, match="one and the same or nearly so"):
            make_folds(load(config))


@pytest.mark.parametrize(
    ("missing", "counts"),
    [(["unlabeled"], (20, 0, 12)), (["test"], (20, 30, 0)), (["train"], (0, 30, 12)), (["train", "test"], (0, 30, 0))],
)
def test_a_part_can_be_missing_where_the_caller_does_without(tmp_path, missing, counts):
    write_stl10(tmp_path)
    for part in missing:
        for path in tmp_path.glob(f"{part}_*.bin"):
            path.unlink()
    config = Config(data=f"stl10:{tmp_path}", side=8, cache=tmp_path / "cache")
    with pytest.raises(DataError, match="missing; STL-10 has"):
        load(config)
    splits = load(config, partly=True)
    assert (len(splits.labeled), len(splits.unlabeled), len(splits.test)) == counts
    assert len(splits.folds) == (2 if counts[0] else 0)
    # The store is there now, and still nobody gets an empty split who needs one.
    with pytest.raises(DataError, match=r"no \w+ images, or none is left after exact and near copies were dropped"):
        load(config)


def test_half_a_part_is_a_mistake_for_everyone(tmp_path):
    write_stl10(tmp_path)
    (tmp_path / "test_y.bin").unlink()
    with pytest.raises(DataError, match=r"test_y\.bin missing"):
        load(Config(data=f"stl10:{tmp_path}", side=8, cache=tmp_path / "cache"), partly=True)


def test_a_folder_without_unlabeled_images_does_for_some(folder_of_images, tmp_path):
    shutil.rmtree(folder_of_images / "unlabeled")
    config = Config(data=f"folder:{folder_of_images}", side=8, cache=tmp_path / "cache")
    with pytest.raises(DataError, match="no folder 'unlabeled' in it"):
        load(config)
    splits = load(config, partly=True)
    assert (len(splits.labeled), len(splits.unlabeled), len(splits.test)) == (20, 0, 6)
