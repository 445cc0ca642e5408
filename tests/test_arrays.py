"""Images that come as arrays and as tables: read as they are, and refused in a line where they are something else."""

import csv
import gzip
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import unlabeled as ul
from conftest import own_cache, read_study
from unlabeled.cli import main
from unlabeled.errors import DataError, UserError
from unlabeled.finished.running import looked_through
from unlabeled.presets import resolve
from unlabeled.sources import load
from unlabeled.sources.arrays import as_pixels
from unlabeled.sources.names import name_images

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (60, 12, 10, 3)).astype(np.uint8)
LABELS = np.tile([0, 1, 2, -1, -1], 12).astype(np.int64)


def splits_of(data, *, partly=False, **options):
    return load(resolve({"data": data, "side": "10x12", "near": "keep"} | options), partly=partly)


def shown(images):
    return images.take(np.arange(len(images)))


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "mine.npz", **arrays)
    return f"arrays:{tmp_path / 'mine.npz'}"


# .npz


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x,
        lambda x: x.transpose(0, 3, 1, 2),
        lambda x: np.concatenate([x, np.full_like(x[..., :1], 255)], axis=3),
    ],
)
def test_arrays_are_read_in_whatever_layout(tmp_path, layout):
    splits = splits_of(
        saved(tmp_path, x=layout(PIXELS), y=LABELS, x_test=layout(PIXELS[:9] // 2), y_test=LABELS[:9] % 3)
    )
    expected = PIXELS.transpose(0, 3, 1, 2)
    assert (shown(splits.labeled) == expected[LABELS >= 0]).all()
    assert (shown(splits.unlabeled) == expected[LABELS < 0]).all()
    assert splits.labeled.classes.tolist() == LABELS[LABELS >= 0].tolist()
    assert len(splits.test) == 9
    assert splits.class_names == ("0", "1", "2")


def test_grey_arrays_keep_one_channel_and_names_are_taken(tmp_path):
    data = saved(tmp_path, x=PIXELS[..., 0], y=LABELS, classes=np.array(["a", "b", "ü"]))
    splits = splits_of(data)
    assert splits.labeled.shape == (1, 12, 10)
    assert splits.class_names == ("a", "b", "ü")
    assert any(note.startswith("There is no test split: ") for note in splits.notes)
    assert len(splits.test) == 6
    assert len(splits.labeled) == 30


def test_a_changed_file_is_read_again(tmp_path):
    first = splits_of(saved(tmp_path, x=PIXELS, y=LABELS))
    second = splits_of(saved(tmp_path, x=255 - PIXELS, y=LABELS))
    assert first.origin["key"] != second.origin["key"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": PIXELS}, "holds x; it needs x .* and y"),
        ({"x": PIXELS / 255, "y": LABELS}, r"x: is float64; images are uint8, 0 to 255: save \(255 \* x\)\.round"),
        ({"x": PIXELS[..., :2], "y": LABELS}, "has shape .* of 1, 3 or 4 channels"),
        ({"x": PIXELS, "y": LABELS[:7]}, "labels are whole numbers, one for each of 60 images"),
        ({"x": PIXELS, "y": LABELS + 0.5}, "labels are whole numbers"),
        ({"x": PIXELS, "y": np.zeros(60, dtype=int)}, "no unlabeled images in it.*hide labels"),
        ({"x": PIXELS, "y": np.full(60, -1)}, "no labeled images in it"),
        ({"x": PIXELS, "y": np.where(LABELS > 0, -1, LABELS)}, "only the class '0'"),
        ({"x": PIXELS, "y": np.where(np.arange(60) == 3, 5, LABELS)}, "class '[35]' has [01] labeled images"),
        ({"x": PIXELS, "y": LABELS, "x_test": PIXELS}, "x_test and y_test go together"),
        ({"x": PIXELS, "y": LABELS, "x_test": PIXELS, "y_test": LABELS}, "y_test: -1 is no label"),
        ({"x": PIXELS, "y": LABELS, "x_test": PIXELS[..., 0], "y_test": abs(LABELS)}, "3 channels and x_test 1"),
        ({"x": PIXELS, "y": LABELS, "classes": np.array(["a", "b"])}, "the label 2, and there are 2 classes"),
    ],
)
def test_arrays_of_something_else_are_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        splits_of(saved(tmp_path, **arrays))


def test_what_is_no_npz_is_refused_and_no_pickle_is_opened(tmp_path):
    path = tmp_path / "mine.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"no \.npz file of arrays"):
        splits_of(f"arrays:{path}")
    np.savez(path, x=np.array([{"a": 1}], dtype=object), y=LABELS, allow_pickle=True)
    with pytest.raises(DataError, match=r"no \.npz file of arrays"):
        splits_of(f"arrays:{path}")
    with pytest.raises(DataError, match="no such file"):
        splits_of(f"arrays:{tmp_path / 'none.npz'}")


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.sampled_from(["uint8", "int64", "float32", "bool"]))
def test_any_array_is_pixels_or_refused(shape, kind):
    try:
        found = as_pixels(np.zeros(shape, dtype=kind), "x")
    except DataError as error:
        assert str(error).startswith("x: ")
    else:
        assert found.dtype == np.uint8
        assert found.ndim == 4
        assert found.shape[1] in (1, 3)


# idx


def idx(path, array):
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def mnist(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    idx(folder / "train-images-idx3-ubyte.gz", PIXELS[..., 0])
    idx(folder / "train-labels-idx1-ubyte.gz", np.arange(60) % 3)
    idx(folder / "t10k-images.idx3-ubyte", PIXELS[:8, ..., 1])
    idx(folder / "t10k-labels.idx1-ubyte", np.arange(8) % 3)
    return folder


def test_the_mnist_familys_files_are_read_packed_or_not(mnist):
    splits = splits_of(f"idx:{mnist}", partly=True)
    assert (shown(splits.labeled)[:, 0] == PIXELS[..., 0]).all()
    assert (shown(splits.test)[:, 0] == PIXELS[:8, ..., 1]).all()
    assert splits.labeled.classes.tolist() == (np.arange(60) % 3).tolist()
    (mnist / "classes.txt").write_text("shirt\nshoe\nbag\n")
    assert splits_of(f"idx:{mnist}", partly=True).class_names == ("shirt", "shoe", "bag")
    with pytest.raises(DataError, match=r"no unlabeled images in it.*--study baselines"):
        splits_of(f"idx:{mnist}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", b"not packed", "can't be read .*; fetch it again"),
        ("train-images-idx3-ubyte.gz", gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", 60, 12, 10) + b"x"),
         "says 7,200 bytes and holds 1"),
        ("train-images-idx3-ubyte.gz", gzip.compress(b"\0\0\x0d\x03" + bytes(12)), "no idx file of bytes in 3 dimensions"),
        ("train-labels-idx1-ubyte.gz", gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 5) + bytes(5)), "5 labels for 60 images"),
        ("train-labels-idx1-ubyte.gz", gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 5) + bytes(6)), "says 5 bytes and holds more"),
        ("train-labels-idx1-ubyte.gz", None, "no train-labels-idx1-ubyte"),
    ],
    ids=["not packed", "too short", "another type", "fewer labels", "too long", "none"],
)  # fmt: skip
def test_damaged_idx_files_are_refused(mnist, name, content, message):
    (mnist / name).unlink()
    if content is not None:
        (mnist / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        splits_of(f"idx:{mnist}", partly=True)


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_no_bytes_of_an_idx_file_end_otherwise(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("idx")
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + content)
    (folder / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 2) + b"\0\1")
    with pytest.raises(DataError):
        splits_of(f"idx:{folder}", partly=True)


# CIFAR


def test_cifars_binary_versions_are_read(tmp_path):
    pixels = RANDOM.integers(0, 256, (20, 3072)).astype(np.uint8)
    ten, hundred = tmp_path / "ten", tmp_path / "hundred"
    for folder in (ten, hundred):
        folder.mkdir()
    for number in (1, 2):
        rows = np.hstack([np.arange(10)[:, None] % 2, pixels[10 * (number - 1) : 10 * number]])
        rows.astype(np.uint8).tofile(ten / f"data_batch_{number}.bin")
    np.hstack([np.arange(20)[:, None] % 2, pixels]).astype(np.uint8).tofile(ten / "test_batch.bin")
    (ten / "batches.meta.txt").write_text("plane\ncar\n\n")
    for name in ("train", "test"):
        np.hstack([np.full((20, 1), 7), np.arange(20)[:, None] % 4, pixels]).astype(np.uint8).tofile(
            hundred / f"{name}.bin"
        )
    options = {"side": 32, "leaks": "keep", "partly": True}
    splits = splits_of(f"cifar:{ten}", **options)
    assert splits.class_names == ("plane", "car")
    assert (shown(splits.labeled).reshape(20, -1) == pixels).all()
    assert splits.labeled.classes.tolist() == [number % 2 for number in [*range(10), *range(10)]]
    assert splits_of(f"cifar:{hundred}", **options).labeled.classes.tolist() == (np.arange(20) % 4).tolist()
    (ten / "test_batch.bin").write_bytes(b"short")
    with pytest.raises(DataError, match=r"5 bytes are no whole number of records of 3,073"):
        splits_of(f"cifar:{ten}", **options)
    with pytest.raises(DataError, match=r"neither data_batch_1\.bin nor train\.bin in it"):
        splits_of(f"cifar:{tmp_path}", **options)


# Tables


@pytest.fixture
def table(tmp_path):
    """A table of 24 images, of which 8 have no label; names with spaces, a comma and an umlaut."""
    rows = []
    for number in range(24):
        path = tmp_path / "images" / f"a, {number} ä.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(PIXELS[number]).save(path)
        rows.append({"path": f"images/{path.name}", "label": ["cat", "dog", ""][number % 3], "split": "", "fold": ""})
    return tmp_path, rows


def written(table, suffix=".csv", rows=None):
    folder, known = table
    path, rows = folder / f"table{suffix}", known if rows is None else rows
    if suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return f"table:{path}"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_table_says_which_image_has_which_label(table, suffix):
    splits = splits_of(written(table, suffix))
    assert splits.class_names == ("cat", "dog")
    assert len(splits.unlabeled) == 8
    assert (len(splits.labeled), len(splits.test)) == (12, 4)
    assert (shown(splits.unlabeled) == PIXELS[2:24:3].transpose(0, 3, 1, 2)).all()
    config = resolve({"data": written(table, suffix), "side": "10x12"})
    names = name_images(config, splits)
    assert [name.rpartition("/")[2] for name in names.unlabeled] == [f"a, {number} ä.png" for number in range(2, 24, 3)]
    for called, images in ((names.labeled, splits.labeled), (names.test, splits.test)):
        for name, pixels in zip(called, shown(images), strict=True):
            with Image.open(name) as picture:
                assert (np.asarray(picture).transpose(2, 0, 1) == pixels).all()


def test_splits_and_folds_of_a_table_are_its_own(table):
    _, rows = table
    for number, row in enumerate(rows):
        row["split"] = "test" if number < 6 else "Train" if row["label"] else "unlabeled"
        row["label"] = row["label"] or ("dog" if number < 6 else "")
        row["fold"] = str(number // 9) if row["split"] == "Train" else ""
    splits = splits_of(written(table, rows=rows))
    assert len(splits.test) == 6
    assert len(splits.labeled) == 12
    assert [len(fold) for fold in splits.folds] == [2, 6, 4]
    assert sorted(np.concatenate(splits.folds).tolist()) == list(range(12))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows[4].update(path="images/none.png"),
            r"row 6 names .*none\.png, and there is no such file; paths are relative",
        ),
        (lambda rows: rows[4].update(path=" "), "row 6 has no path"),
        (lambda rows: rows[4].update(split="val"), "row 6 has the split 'val'; use train, test or unlabeled"),
        (lambda rows: rows[2].update(split="train"), "row 4 is of the split train and has no label"),
        (lambda rows: [row.update(label=row["label"] or "cat") for row in rows], "no unlabeled images in it"),
        (lambda rows: [row.update(label="") for row in rows], "no labeled images to train with"),
        (lambda rows: [row.update(label=row["label"] and "cat") for row in rows], "only the class 'cat'"),
        (lambda rows: rows[0].update(label="emu"), "class 'emu' is on one image"),
        (lambda rows: [row.pop("label") for row in rows], "no column 'label'; its columns are path, split, fold"),
    ],
)
def test_a_table_that_means_nothing_is_refused_with_its_row(table, change, message):
    _, rows = table
    change(rows)
    with pytest.raises(DataError, match=message):
        splits_of(written(table, rows=rows))


def test_tables_that_are_none_are_refused(tmp_path):
    for name, content in (("a.xlsx", b"x"), ("b.csv", b""), ("c.parquet", b"PAR1 no"), ("d.csv", b"path,label\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"a table's name ends in|no rows in it|no Parquet file"):
            splits_of(f"table:{tmp_path / name}")
    with pytest.raises(DataError, match="no such file; give a table"):
        splits_of(f"table:{tmp_path / 'none.csv'}")


# COCO-like JSON


def coco_of(table, *, images="images"):
    """Return the table's content as COCO has it; two images are annotated twice."""
    _, rows = table
    names = ["cat", "dog"]
    return {
        "images": [
            {"id": 100 + number, "file_name": Path(row["path"]).name if images == "" else row["path"]}
            for number, row in enumerate(rows)
        ],
        "categories": [{"id": 7 + number, "name": name} for number, name in enumerate(names)],
        "annotations": [
            {"id": number, "image_id": 100 + number, "category_id": 7 + names.index(row["label"]), "bbox": [0, 0, 2, 2]}
            for number, row in [*enumerate(rows), (0, rows[0]), (1, rows[1])]
            if row["label"]
        ],
    }


@pytest.mark.parametrize("place", ["", "annotations"])
def test_coco_like_json_says_the_same_as_a_table(table, place):
    folder, _ = table
    path = folder / place / "instances.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(coco_of(table, images="" if place else "images")), encoding="utf-8")
    splits, by_table = splits_of(f"coco:{path}"), splits_of(written(table))
    assert splits.class_names == ("cat", "dog")
    for one in ("labeled", "unlabeled", "test"):
        assert (shown(getattr(splits, one)) == shown(getattr(by_table, one))).all()
    assert splits.labeled.classes.tolist() == by_table.labeled.classes.tolist()
    names = name_images(resolve({"data": f"coco:{path}", "side": "10x12"}), splits)
    with Image.open(names.unlabeled[0]) as picture:
        assert (np.asarray(picture).transpose(2, 0, 1) == shown(splits.unlabeled)[0]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it.pop("images"), "no JSON as COCO has it, with the lists images"),
        (
            lambda it: it["annotations"][0].update(image_id=5),
            "annotation 1 has the image_id 5, and there is none of that id",
        ),
        (lambda it: it["annotations"][1].update(category_id=[1]), "an entry has no category_id"),
        (lambda it: it["annotations"][-1].update(category_id=7), r"image 101 \(.*\) is of the classes 'dog' and 'cat'"),
        (lambda it: it["categories"].append({"id": 9, "name": "cat"}), "two categories have one id or name"),
        (lambda it: it["images"][3].pop("file_name"), "an entry has no file_name"),
        (lambda it: it["images"][3].update(file_name="gone.png"), r"names .*gone\.png, and there is no such file"),
        (lambda it: it.update(annotations=[]), "no labeled images to train with"),
        (lambda it: it.update(annotations={"a": 1}), "annotations is no list"),
    ],
)
def test_json_that_means_nothing_is_refused(table, change, message):
    content = coco_of(table)
    change(content)
    (table[0] / "wrong.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        splits_of(f"coco:{table[0] / 'wrong.json'}")
    (table[0] / "wrong.json").write_text("{")
    with pytest.raises(DataError, match="can't be read as JSON"):
        splits_of(f"coco:{table[0] / 'wrong.json'}")


# Saved data sets


def hf_of(folder, splits, *, classes=("cat", "dog"), key="label"):
    """Save splits (name: (pixels, labels or None)) as datasets does; PNG, so that pixels come back."""
    datasets = pytest.importorskip("datasets")
    kinds = {"number": datasets.Value("int64"), "image": datasets.Image()}
    made = {}
    for name, (pixels, labels) in splits.items():
        columns = {"number": list(range(len(pixels))), "image": [Image.fromarray(one) for one in pixels]}
        own = dict(kinds)
        if labels is not None:
            columns[key] = labels
            strings = any(isinstance(one, str) for one in labels)
            own[key] = datasets.Value("string") if strings else datasets.ClassLabel(names=list(classes))
        made[name] = datasets.Dataset.from_dict(columns, features=datasets.Features(own))
    whole = datasets.DatasetDict(made) if list(made) != ["only"] else made["only"]
    whole.save_to_disk(folder)
    return f"hf:{folder}"


def test_a_saved_data_set_is_read_with_its_splits(tmp_path):
    data = hf_of(
        tmp_path / "pets",
        {
            "train": (PIXELS[:8], [0, 1, -1, 0, 1, 0, 1, None]),
            "validation": (PIXELS[8:12], [1, 0, 1, 0]),
            "test": (PIXELS[12:16], [0, 1, 0, 1]),
            "unlabeled": (PIXELS[16:20], None),
            "extra": (PIXELS[20:24], [0, 1, 0, 1]),
        },
    )
    splits = splits_of(data)
    assert splits.class_names == ("cat", "dog")
    moved = PIXELS.transpose(0, 3, 1, 2)
    assert (shown(splits.labeled) == moved[[0, 1, 3, 4, 5, 6, 8, 9, 10, 11]]).all()
    assert splits.labeled.classes.tolist() == [0, 1, 0, 1, 0, 1, 1, 0, 1, 0]
    assert (shown(splits.unlabeled) == moved[[2, 7, 16, 17, 18, 19]]).all()
    assert (shown(splits.test) == moved[12:16]).all()
    assert any("split 'extra' (4 rows) is not used" in note for note in splits.notes)
    names = name_images(resolve({"data": data, "side": "10x12"}), splits)
    assert names.unlabeled[:3] == ("train[2]", "train[7]", "unlabeled[0]")
    assert not names.files


def test_a_saved_data_set_without_splits_has_a_test_set_aside(tmp_path):
    labels = ["dog" if number % 2 else "cat" for number in range(20)] + ["", "", "", ""]
    splits = splits_of(hf_of(tmp_path / "pets", {"only": (PIXELS[:24], labels)}, key="category"))
    assert splits.class_names == ("cat", "dog")
    assert (len(splits.labeled), len(splits.test), len(splits.unlabeled)) == (16, 4, 4)


def test_saved_data_sets_that_can_not_be_used_are_refused(tmp_path):
    datasets = pytest.importorskip("datasets")
    with pytest.raises(DataError, match="no data set as save_to_disk of datasets writes it"):
        splits_of(f"hf:{tmp_path}")
    datasets.Dataset.from_dict({"label": [0, 1]}).save_to_disk(tmp_path / "bare")
    with pytest.raises(DataError, match="split train has no column of images; its columns are label"):
        splits_of(f"hf:{tmp_path / 'bare'}")
    data = hf_of(tmp_path / "all", {"train": (PIXELS[:8], [0, 1] * 4), "test": (PIXELS[8:10], [0, -1])})
    with pytest.raises(DataError, match=r"test\[1\] has no label, and every test image needs one"):
        splits_of(data)
    data = hf_of(tmp_path / "none", {"train": (PIXELS[:8], [0, 1] * 4)})
    with pytest.raises(DataError, match="no unlabeled images in it"):
        splits_of(data)


def test_a_row_that_is_no_image_is_skipped_or_named(tmp_path):
    datasets = pytest.importorskip("datasets")
    good = [{"bytes": path.read_bytes(), "path": None} for path in png_files(tmp_path, 12)]
    rows = [*good, {"bytes": b"no image", "path": None}, None]
    kind = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    labels = [0, 1] * 5 + [-1] * 4
    datasets.Dataset.from_dict({"image": rows, "label": labels}, features=kind).save_to_disk(tmp_path / "some")
    splits = splits_of(f"hf:{tmp_path / 'some'}")
    assert len(splits.unlabeled) == 2
    assert any(
        "2 unlabeled images can't be read" in note and "train[12] (not an image)" in note for note in splits.notes
    )
    names = name_images(resolve({"data": f"hf:{tmp_path / 'some'}", "side": "10x12"}), splits)
    assert names.unlabeled == ("train[10]", "train[11]")
    labels = [-1, -1, 0, 1] + [0, 1] * 5
    datasets.Dataset.from_dict({"image": rows, "label": labels}, features=kind).save_to_disk(tmp_path / "bad")
    with pytest.raises(DataError, match=r"labeled images can't be read: train\["):
        splits_of(f"hf:{tmp_path / 'bad'}")


def png_files(folder, count):
    for number in range(count):
        Image.fromarray(PIXELS[number]).save(folder / f"{number}.png")
    return [folder / f"{number}.png" for number in range(count)]


# Together


def test_an_unknown_kind_is_answered_with_all_of_them(tmp_path, capsys):
    (tmp_path / "mine.npz").touch()
    for given_, meant in (
        ("imagenet", "use shapes, .*table:FILE.csv, coco:FILE.json, arrays:FILE.npz, hf:FOLDER .*for example"),
        (str(tmp_path / "mine.npz"), "write arrays:"),
    ):
        with pytest.raises(DataError, match=meant):
            splits_of(given_)
    with pytest.raises(DataError, match="data 'table' needs a path; write table:PATH"):
        splits_of("table")


def test_data_show_knows_them_all(table, mnist, tmp_path_factory, capsys):
    with own_cache(tmp_path_factory):
        for data in (written(table), f"idx:{mnist}", saved(table[0], x=PIXELS, y=LABELS)):
            main(["data", "show", "--data", data, "--side", "16"])
            assert "images of 16x16" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_on_arrays_ends_with_an_answer(tmp_path):
    from unlabeled.studies.course import run_gain

    config = resolve(
        {"data": saved(tmp_path, x=PIXELS, y=LABELS), "folds": 2, "seeds": 1, "side": 12, "jobs": 1, "device": "cpu",
         "curve": {"labels": "none"},
         "precision": "fp32", "leave_out": ["random", "pca", "frozen", "denoised", "consistency", "pretrained", "rotations"],
         "strong": {"widths": [4], "training": {"steps": 2, "batch_size": 8}}, "classical": {"trees": 2, "strengths": [0.1]}}
    )  # fmt: skip
    assert config.data_name == "mine"
    folder = run_gain(config, load(config), folder=tmp_path / "run")
    assert (folder / "result.json").exists()


SMALL = {
    "folds": 2, "seeds": 1, "jobs": 1, "device": "cpu", "curve": {"labels": "none"}, "precision": "fp32",
    "leave_out": ["random", "pca", "frozen", "denoised", "consistency", "pretrained", "rotations"],
    "strong": {"widths": [4], "training": {"steps": 2, "batch_size": 8}}, "classical": {"trees": 2, "strengths": [0.1]},
}  # fmt: skip


def made_in_python():
    pixels = np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2))
    labeled, unlabeled, test = pixels[:24], pixels[24:50].copy(), pixels[50:]
    unlabeled[0], unlabeled[1] = test[0], labeled[3]  # copies, as they occur
    return ul.Splits(
        labeled=ul.Images(labeled, np.arange(24) % 2), unlabeled=ul.Images(unlabeled), test=ul.Images(test, np.arange(10) % 2),
        class_names=("a", "b"),
    )  # fmt: skip


@pytest.mark.slow
def test_splits_made_in_python_are_run_and_looked_through_for_copies(tmp_path):
    folder = ul.run(made_in_python(), tmp_path / "run", **SMALL)
    assert {"result.json", "report.html", "classifier"} <= {path.name for path in folder.iterdir()}
    protocol = read_study(folder).protocol
    assert protocol.unlabeled == 24
    assert (protocol.leaks.unlabeled_in_test, protocol.leaks.unlabeled_in_labeled) == (1, 1)
    assert ul.load_classifier(folder).classes == ("a", "b")
    runs = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*/result.json")}
    ul.run(made_in_python(), tmp_path / "run", **SMALL)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*/result.json")} == runs
    with pytest.raises(UserError, match="was run on splits made in Python"):
        ul.keep_classifier(folder)


def test_other_splits_are_other_runs_and_none_are_refused(tmp_path):
    one, other = made_in_python(), made_in_python()
    other.labeled.labels[0] = 1
    assert looked_through(one).origin["key"] != looked_through(other).origin["key"]
    assert looked_through(one).origin["key"] == looked_through(made_in_python()).origin["key"]
    empty = replace(one, unlabeled=one.unlabeled.subset([]))
    with pytest.raises(UserError, match=r"splits\.unlabeled is empty"):
        ul.run(empty, tmp_path)
    with pytest.raises(UserError, match="the images are the splits given"):
        ul.run(one, tmp_path, data="digits")
    with pytest.raises(UserError, match="--seed: there is no such option; did you mean --seeds"):
        ul.run(one, tmp_path, seed=3)
