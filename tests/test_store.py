"""Stores: what is read back is what was stored, or the images are read again."""

import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from unlabeled import sources
from unlabeled.errors import DamagedFile, DataError
from unlabeled.images import store
from unlabeled.images.store import open_store, stored
from unlabeled.images.writer import Batch, Deep, Description, Expected, fill
from unlabeled.presets import resolve
from unlabeled.sources import load


def everything(splits):
    """All that training sees of splits, as bytes."""
    parts = [splits.labeled, splits.unlabeled, splits.test]
    images = [part.take(np.arange(len(part))).tobytes() for part in parts]
    return images, splits.labeled.classes.tolist(), splits.test.classes.tolist(), splits.class_names, splits.notes


@pytest.fixture
def photos(folder_of_images, tmp_path):
    config = resolve({"data": f"folder:{folder_of_images}", "cache": tmp_path / "cache", "side": 8})
    return config, everything(load(config))


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "longer":
        path.write_bytes(content + b"x")
    elif how == "other":
        path.write_bytes(content[::-1])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["bit", "cut", "gone", "longer", "other"])
@pytest.mark.parametrize(
    "name",
    [f"{split}.{kind}" for split in ("labeled", "unlabeled", "test") for kind in ("pixels", "sha256", "labels")]
    + ["store.json"],
)
def test_a_damaged_store_is_made_anew(photos, tmp_path, name, how):
    config, before = photos
    (folder,) = (tmp_path / "cache").glob("folder-*")
    if (folder / name).stat().st_size == 0 and how in ("bit", "cut", "other"):
        how = "longer"
    damage(folder / name, how)
    assert everything(load(config)) == before
    assert everything(load(config)) == before  # and stays so


def test_labels_moved_by_one_are_noticed(photos, tmp_path, caplog):
    config, before = photos
    (path,) = (tmp_path / "cache").glob("folder-*/labeled.labels")
    labels = np.fromfile(path, dtype="<i8")
    np.roll(labels, 1).tofile(path)
    with pytest.raises(DamagedFile, match=r"labeled\.labels: damaged"):
        open_store(path.parent)
    assert everything(load(config)) == before
    assert "the images are read again" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b'{"store": 5}', b"[]"])
def test_a_damaged_index_leads_nowhere(photos, tmp_path, content):
    config, before = photos
    for path in (tmp_path / "cache" / "index").iterdir():
        path.write_bytes(content)
    assert everything(load(config)) == before


def test_an_index_that_leads_to_another_store_is_not_followed(photos, folder_of_images, tmp_path):
    config, before = photos
    other = folder_of_images.parent / "other"
    shutil.copytree(folder_of_images, other)
    next((other / "unlabeled" / "deep").iterdir()).unlink()
    load(resolve({"data": f"folder:{other}", "cache": tmp_path / "cache", "side": 8}))
    first, second = sorted((tmp_path / "cache" / "index").iterdir())
    first_content, second_content = first.read_bytes(), second.read_bytes()
    first.write_bytes(second_content)
    second.write_bytes(first_content)
    assert everything(load(config)) == before


def test_what_another_process_builds_is_waited_for_and_not_built_twice(tmp_path):
    built, together = [], threading.Barrier(3)

    def read():
        built.append(1)
        pixels = np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2)
        yield Batch("labeled", pixels, np.zeros((3, 32), dtype=np.uint8), np.zeros(3, dtype=np.int64))
        yield Description(["x"], origin={"fit": "crop"})

    found = []

    def want():
        together.wait()
        found.append(stored(tmp_path, ["the same"], "a", (1, 2, 2), read))

    threads = [threading.Thread(target=want) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len(set(found)) == 1


def test_a_file_that_goes_while_it_is_compared_is_a_damaged_one(photos, tmp_path, monkeypatch):
    """Another process has found the store damaged, and removes it."""
    from unlabeled.keeping import digests

    (folder,) = (tmp_path / "cache").glob("folder-*")
    digest_block = digests._digest_block

    def remove_first(path, start):
        (folder / "test.sha256").unlink(missing_ok=True)
        return digest_block(path, start)

    monkeypatch.setattr(digests, "_digest_block", remove_first)
    with pytest.raises(DamagedFile, match=r"test\.sha256"):
        open_store(folder)


def test_several_processes_at_a_damaged_store_all_get_the_images(photos, tmp_path):
    config, before = photos
    (path,) = (tmp_path / "cache").glob("folder-*/unlabeled.pixels")
    damage(path, "bit")
    found, together = [], threading.Barrier(4)

    def want():
        together.wait()
        found.append(everything(load(config)))

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [before] * 4


@pytest.mark.parametrize("data", ["digits", "shapes"])
def test_how_images_were_fitted_is_part_of_a_stores_key(tmp_path, data):
    more = {"shapes": {"train": 100, "test": 20, "unlabeled": 20}}
    made = {
        fit: load(resolve({"data": data, "side": "16x8", "fit": fit, "cache": tmp_path, **more}))
        for fit in ("crop", "pad", "stretch")
    }
    assert len({splits.origin["key"] for splits in made.values()}) == 3
    assert len({everything(splits)[0][0] for splits in made.values()}) == 3


def test_what_a_killed_process_left_is_removed_before_the_next_store(tmp_path, photos, folder_of_images):
    left = tmp_path / "cache" / "unfinished-0123"
    left.mkdir()
    (left / "labeled.pixels").write_bytes(b"x")
    load(photos[0])  # nothing is built, nothing is looked for
    assert left.exists()
    load(resolve({"data": f"folder:{folder_of_images}", "cache": tmp_path / "cache", "side": 9}))
    assert not left.exists()


def test_a_store_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    told = []
    sync, rename = store.os.fsync, type(tmp_path).rename
    monkeypatch.setattr(store.os, "fsync", lambda handle: told.append("sync") or sync(handle))
    monkeypatch.setattr(type(tmp_path), "rename", lambda self, other: told.append("name") or rename(self, other))
    empty = np.zeros((1, 1, 2, 2), dtype=np.uint8), np.zeros((1, 32), dtype=np.uint8), np.zeros(1, dtype=np.int64)
    fill(
        tmp_path,
        "a",
        (1, 2, 2),
        (piece for piece in (Batch("test", *empty), Description(["x"], origin={"fit": "crop"}))),
    )
    assert told[:9] == ["sync"] * 9  # three files a split
    assert told[-2:] == ["name", "sync"]


@pytest.mark.parametrize("grey", [True, False])
def test_images_that_are_all_grey_keep_one_channel(tmp_path, random, grey):
    pixels = random.integers(0, 256, (5000, 1, 3, 5), dtype=np.uint8)
    pixels = np.repeat(pixels, 3, axis=1)
    if not grey:
        pixels[4999, 2, 1, 4] ^= 1

    def read():
        for start in range(0, 5000, 700):
            some = pixels[start : start + 700]
            yield Batch("unlabeled", some, np.zeros((len(some), 32), dtype=np.uint8))
        yield Description(["x", "y"], origin={"fit": "crop"})

    folder = fill(tmp_path, "a", (3, 3, 5), read())
    splits = open_store(folder, leaks="keep")
    assert splits.unlabeled.shape == ((1, 3, 5) if grey else (3, 3, 5))
    assert np.array_equal(splits.unlabeled.pixels, pixels[:, :1] if grey else pixels)
    assert any("All images are grey" in note for note in splits.notes) == grey


def test_deep_images_of_all_splits_have_one_scale(tmp_path):
    def read():
        for split, values, greatest in (("labeled", [[0, 1023]], 1023), ("unlabeled", [[4095, np.nan]], 4095)):
            nothing = np.zeros((2, 3, 1, 2), dtype=np.uint8)
            nothing[0] = 7
            deep = Deep(np.array([1]), np.array([values], dtype=np.float32), greatest)
            labels = np.zeros(2, dtype=np.int64) if split == "labeled" else None
            digests = np.random.default_rng(greatest).integers(0, 9, (2, 32)).astype(np.uint8)
            yield Batch(split, nothing, digests, labels, deep)
        yield Description(["x"], origin={"fit": "crop"})

    splits = open_store(fill(tmp_path, "a", (3, 1, 2), read()))
    assert splits.labeled.pixels[:, 0, 0].tolist() == [[7, 7], [0, 64]]
    assert splits.unlabeled.pixels[:, 0, 0].tolist() == [[7, 7], [255, 128]]
    assert splits.notes[0].startswith(
        "2 grey images have more than 8 bits a pixel. Their greatest value is 4,095, so 12 bits are the full scale"
    )


def test_a_cache_that_is_full_and_read_only_serves(photos, tmp_path, monkeypatch):
    config, before = photos
    monkeypatch.setattr(sources, "discard", lambda folder: pytest.fail("writes"))
    for path in (tmp_path / "cache").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert everything(load(config)) == before
    finally:
        for path in (tmp_path / "cache").rglob("*"):
            path.chmod(0o755)


def test_pictures_in_a_store_are_those_of_the_files(photos, folder_of_images):
    image = Image.open(folder_of_images / "train" / "cat" / "0.png")
    expected = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR, box=(0, 3, 14, 17)))
    assert photos[1][0][0][: 3 * 64] == expected.transpose(2, 0, 1).tobytes()


def test_a_source_is_closed_and_nothing_is_left_when_it_or_the_disk_fails(tmp_path, monkeypatch):
    closed = []

    def read(broken):
        try:
            yield Expected(10**15 if broken == "disk" else 1)
            if broken == "source":
                raise DataError("no picture")
            yield Batch("test", np.zeros((1, 1, 2, 2), dtype=np.uint8), np.zeros((1, 32), dtype=np.uint8))
        finally:
            closed.append(broken)

    for broken, error in (("disk", DataError), ("source", DataError), ("description", ValueError)):
        with pytest.raises(error, match=r"free|no picture|without a description"):
            fill(tmp_path, "a", (1, 2, 2), read(broken))
        assert not list(tmp_path.iterdir())
    assert closed == ["disk", "source", "description"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pixels": np.zeros((2, 1, 2, 2), dtype=np.float32)}, "pixels are float32"),
        ({"pixels": np.zeros((2, 1, 2, 3), dtype=np.uint8)}, r"takes uint8 \(n, \(1, 2, 2\)\)"),
        ({"digests": np.zeros((1, 32), dtype=np.uint8)}, "2 images need"),
        ({"labels": np.zeros(1, dtype=np.int64)}, "2 labeled images have 1 labels"),
        ({"labels": None}, "2 labeled images have 0 labels"),
        ({"origin": {}}, "lacks 'fit'"),
    ],
)
def test_what_a_source_yields_is_looked_at(tmp_path, change, said):
    given = {
        "pixels": np.zeros((2, 1, 2, 2), dtype=np.uint8),
        "digests": np.zeros((2, 32), dtype=np.uint8),
        "labels": np.zeros(2, dtype=np.int64),
        "origin": {"fit": "crop"},
    } | change

    def read():
        yield Batch("labeled", given["pixels"], given["digests"], given["labels"])
        yield Description(["x"], origin=given["origin"])

    with pytest.raises(ValueError, match=said):
        fill(tmp_path, "a", (1, 2, 2), read())
    assert not list(tmp_path.iterdir())
