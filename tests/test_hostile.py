"""What a stranger's files, or another program, may do to a run: nothing of it is followed, and no line of it is lost."""

import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import copy_results, own_cache, read_findings, read_json, read_study, write_json
from test_cli import SMALL, fails
from unlabeled.cli import main
from unlabeled.errors import DataError
from unlabeled.experiments import machine
from unlabeled.experiments.errands import facts
from unlabeled.finished.classifier import load_classifier
from unlabeled.images import decoding, formats
from unlabeled.images.fitting import Wanted
from unlabeled.keeping.results import read_result
from unlabeled.presets import resolve
from unlabeled.sources import load
from unlabeled.sources.stl10 import store_stl10

# The least that the main job can be asked for.
LITTLE = [
    *SMALL, "--curve.labels", "none", "--curve.unlabeled", "none",
    "--leave-out", "pca", "frozen-twin", "denoised", "denoised-network", "joint", "random", "scaled", "strong", "self-training",
]  # fmt: skip


def finished(factory, arguments):
    folder = factory.mktemp("answer") / "out"
    with own_cache(factory):
        main(["run", *arguments, "--jobs", "1", "--out", str(folder)])
    return folder


@pytest.fixture(scope="module")
def finished_answer(tmp_path_factory):
    """The main job with its curve, for tests that look at all of an answer."""
    return finished(tmp_path_factory, SMALL)


@pytest.fixture(scope="module")
def little_answer(tmp_path_factory):
    """The least of it, for tests that have it made anew."""
    return finished(tmp_path_factory, LITTLE)


def in_folder(root, **options):
    return load(resolve({"data": f"folder:{root}", **options}))


# Files that are no images


@pytest.mark.parametrize("part", ["unlabeled", "train/cat"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "hole", "postscript"])
def test_what_is_no_picture_is_skipped_among_the_unlabeled_and_refused_among_the_labeled(
    folder_of_images, part, kind, monkeypatch
):
    path = folder_of_images / part / "a.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "hole":
        with path.open("wb") as file:
            file.write(b"\xff\xd8\xff\xe0")
            file.truncate(20 << 30)
    else:
        monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("starts a program"))
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n")
    said = {
        "pipe": "not a regular file",
        "device": "not a regular file",
        "hole": "21,475 MB",
        "postscript": "not an image",
    }
    if kind == "folder":
        assert len(in_folder(folder_of_images).unlabeled) == 12  # an empty folder, whatever it is called
    elif part == "unlabeled":
        splits = in_folder(folder_of_images)
        assert len(splits.unlabeled) == 12
        assert f"{path} ({said[kind]}" in splits.notes[0]
    else:
        with pytest.raises(DataError, match="1 labeled images can't be read") as caught:
            in_folder(folder_of_images)
        assert said[kind] in str(caught.value)


def test_a_damaged_tiff_file_is_told_in_our_words_alone(folder_of_images, capfd):
    path = folder_of_images / "unlabeled" / "a.tif"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(
        path, compression="tiff_deflate"
    )
    content = bytearray(path.read_bytes())
    content[8:40] = bytes(32)
    path.write_bytes(content)
    assert "1 unlabeled images can't be read" in in_folder(folder_of_images).notes[0]
    assert capfd.readouterr().err == ""


def _png(width, height, colour, row):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_large_picture_costs_little_more_than_its_pixels(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(_png(6000, 5000, 6, b"\0" + bytes(range(240)) * 100))
    code = (
        "import resource, sys; from unlabeled.images.decoding import decode; from unlabeled.images.fitting import Wanted\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "decode(sys.argv[1], Wanted((32, 32))); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1.5 * 4 * 6000 * 5000 / 1024  # of 30 million pixels of four bytes, in kB


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16"])
def test_large_pictures_are_the_small_ones_in_strips(tmp_path, monkeypatch, mode):
    noise = np.random.default_rng(0).integers(0, 256, (70, 101, 4), dtype=np.uint8)
    picture = (
        Image.fromarray(noise, "RGBA")
        if mode == "RGBA"
        else Image.fromarray(noise[..., :3]).convert(mode.partition(";")[0])
    )
    if mode == "I;16":
        picture = Image.fromarray(noise[..., 0].astype(np.uint16) * 91)
    path = tmp_path / "a.tif"
    picture.save(path)
    wanted = Wanted((16, 16))
    whole = decoding.decode(path, wanted)
    monkeypatch.setattr(decoding, "_LARGE", 0)
    monkeypatch.setattr(decoding, "_STRIP_PIXELS", 300)
    strips = decoding.decode(path, wanted)
    assert strips.digest == whole.digest
    assert strips.greatest == whole.greatest
    one, other = (whole.values, strips.values) if mode == "I;16" else (whole.pixels, strips.pixels)
    span = whole.greatest / 255 if mode == "I;16" else 1
    # Reduced by a whole factor first: nearly the same picture.
    assert np.abs(one.astype(float) - other).mean() < 6 * span


def test_a_deep_picture_is_the_same_in_any_container(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (20, 30)).astype(np.uint16)
    for name in ("a.png", "b.tif"):
        Image.fromarray(values).save(tmp_path / name)
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "c.tif")
    found = [decoding.decode(path, Wanted((8, 8))) for path in sorted(tmp_path.iterdir())]
    assert len({picture.digest for picture in found}) == 1
    assert {picture.greatest for picture in found} == {int(values.max())}
    assert all(np.array_equal(picture.values, found[0].values) for picture in found)


def test_deep_pictures_of_a_folder_have_one_scale_that_is_said(folder_of_images):
    for number, most in enumerate((4095, 1000)):
        ramp = np.linspace(0, most, 32)[None].repeat(32, 0).astype(np.uint16)
        Image.fromarray(ramp).save(folder_of_images / "unlabeled" / f"{number}.png")
    splits = in_folder(folder_of_images)
    brightest = [int(image.max()) for image in splits.unlabeled.take(np.arange(2))]
    assert brightest == [255, round(1000 * 255 / 4095)]
    assert len(np.unique(splits.unlabeled.take(np.arange(1)))) == 32
    assert "12 bits are the full scale, the same for all of them" in " ".join(splits.notes)


@pytest.mark.skipif("AVIF" not in formats.formats(), reason="this Pillow can't write AVIF")
def test_whatever_pillow_reads_is_taken(folder_of_images):
    picture = Image.open(folder_of_images / "train" / "cat" / "0.png")
    for suffix in (".avif", ".jp2", ".tga", ".pcx", ".JPG", ".apng", ".mpo", ".jpe"):
        picture.save(folder_of_images / "unlabeled" / f"new{suffix}")
    assert len(in_folder(folder_of_images).unlabeled) + in_folder(folder_of_images).leaks.unlabeled_in_labeled == 20


def test_heic_is_read_where_its_reader_is_installed(folder_of_images):
    reader = pytest.importorskip("pillow_heif")
    picture = Image.open(folder_of_images / "train" / "cat" / "0.png")
    reader.from_pillow(picture).save(folder_of_images / "train" / "cat" / "phone.HEIC")
    assert len(in_folder(folder_of_images).labeled) == 21


# Folders


def test_what_systems_leave_behind_is_skipped_and_counted(folder_of_images):
    plain = in_folder(folder_of_images)
    for part in ("train", "train/cat", "test/dog", "unlabeled"):
        for name in ("@eaDir", "__MACOSX", ".thumbnails"):
            place = folder_of_images / part / name / "0.png"
            place.mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(place / "SYNOPHOTO_THUMB_M.png")
    (folder_of_images / "train" / "cat" / "Thumbs.db").write_bytes(b"x")
    splits = in_folder(folder_of_images)
    assert splits.class_names == plain.class_names
    assert [len(part) for part in (splits.labeled, splits.unlabeled, splits.test)] == [20, 12, 6]
    assert splits.leaks.total == 0
    # Two kinds of folders in four places, and one file; hidden ones are the user's own to know.
    assert splits.notes[0] == "9 files that systems leave behind were skipped (@eaDir, Thumbs.db, __MACOSX)."


@pytest.mark.parametrize(
    ("name", "said"), [("a.HEIC", "unlabeled[heic]"), ("a.mov", "1 .mov"), ("a", "1 no suffix"), ("a.svg", "1 .svg")]
)
def test_labeled_files_that_are_left_out_are_an_error_and_unlabeled_ones_a_note(folder_of_images, name, said):
    if name.endswith("HEIC") and ".heic" in formats.suffixes():
        pytest.skip("the reader of HEIC is installed")
    (folder_of_images / "unlabeled" / name).write_bytes(b"x")
    assert said.partition("[")[0] in in_folder(folder_of_images).notes[0]
    assert "1 files in unlabeled are no images by their names" in in_folder(folder_of_images).notes[0]
    (folder_of_images / "train" / "cat" / name).write_bytes(b"x")
    with pytest.raises(DataError, match="1 labeled files are of no kind of image that can be read") as caught:
        in_folder(folder_of_images)
    assert said in str(caught.value)


def test_what_lies_beside_the_known_folders_is_said(folder_of_images):
    for name in ("val/cat", "extra"):
        (folder_of_images / name).mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder_of_images / "val" / "cat" / "a.png")
    (folder_of_images / "labels.csv").write_text("a,b")
    (folder_of_images / "train" / "classes.txt").write_text("cat")
    (folder_of_images / "train" / "cat" / "0.xml").write_text("<x/>")
    notes = " ".join(in_folder(folder_of_images).notes)
    assert "The folder 'val' (1 images) is not used; choices are made on folds of train" in notes
    assert "The folder 'extra' (0 images) is not used." in notes
    assert "labels.csv, train/classes.txt" in notes
    assert "1 files in train are no images by their names and are left out: 1 .xml." in notes


@pytest.mark.parametrize(
    ("name", "meant"),
    [("Unlabeled", "unlabeled"), ("unlabelled", "unlabeled"), ("Training", "train"), ("TRAIN", "train")],
)
def test_a_folder_whose_name_is_nearly_right_is_suggested(folder_of_images, name, meant):
    (folder_of_images / meant).rename(folder_of_images / name)
    with pytest.raises(DataError, match=f"no folder '{meant}' in it; rename '{name}' to it if that is meant"):
        in_folder(folder_of_images)


def test_names_that_are_no_utf_8_and_accents_in_both_ways_work(folder_of_images):
    (folder_of_images / "train" / "cat").rename(folder_of_images / "train" / "cafe\u0301")  # as some systems write it
    (folder_of_images / "test" / "cat").rename(folder_of_images / "test" / "caf\u00e9")
    for part in ("train", "test"):
        (folder_of_images / part / "dog").rename(folder_of_images / part / os.fsdecode(b"d\xf6g"))
    (folder_of_images / "unlabeled" / os.fsdecode(b"\xff.png")).write_bytes(b"")
    splits = in_folder(folder_of_images)
    assert splits.class_names == ("café", r"d\xf6g")
    assert np.bincount(splits.test.classes).tolist() == [3, 3]
    assert r"\xff.png (not an image)" in splits.notes[0]
    json.dumps(splits.notes).encode()


def test_no_name_reaches_the_terminal_as_it_is(folder_of_images, capsys):
    for part in ("train", "test"):
        (folder_of_images / part / "cat").rename(folder_of_images / part / "\x1b[31mred\nerror: forged")
    main(["data", "show", "--data", f"folder:{folder_of_images}"])
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "\nerror: forged" not in shown.out + shown.err
    (folder_of_images / "train" / "dog" / "\x1b[2J\nerror: x.png").write_bytes(b"")
    said = fails(capsys, "data", "show", "--data", f"folder:{folder_of_images}", "--side", "9")
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("fit", "corner", "middle", "cut"), [("crop", 0, 0, 0.25), ("pad", 128, 0, 0), ("stretch", 0, 0, 0)]
)
def test_pictures_of_other_proportions_come_to_any_size(folder_of_images, fit, corner, middle, cut):
    for path in (folder_of_images / "unlabeled" / "deep").iterdir():
        Image.new("RGB", (48, 36)).save(path)
    splits = in_folder(folder_of_images, side="16x16", fit=fit)
    picture = splits.unlabeled.take(np.arange(1))[0]
    assert picture.shape == (3, 16, 16)
    assert (picture[0, 0, 8], picture[0, 8, 8]) == (corner, middle)
    assert any("is cut off" in note for note in splits.notes) == (fit == "crop")
    wide = in_folder(folder_of_images, side="24x18", fit=fit)
    assert wide.labeled.shape == (3, 18, 24)
    wanted = Wanted((16, 16), fit)
    assert wanted.cut((36, 48)) == pytest.approx(cut)


# STL-10's files


def write_archive(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, __import__("io").BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("class_names.txt", b"x" * 200_000)], "class_names.txt has 200,000 bytes"),
        ([("train_y.bin", bytes(1_000_001))], "train_y.bin has 1,000,001 bytes"),
        ([("train_y.bin", b"\x01"), ("a/train_y.bin", b"\x01")], "holds train_y.bin twice"),
    ],
)
def test_sizes_are_held_against_the_format_before_anything_is_read(tmp_path, members, said):
    path = write_archive(tmp_path / "a.tar", members)
    with pytest.raises(DataError, match=said):
        store_stl10(path, tmp_path / "cache", Wanted((8, 8)))


@pytest.mark.parametrize("kind", ["a long name", "properties", "another file"])
def test_what_an_archive_has_beside_the_data_is_never_read_whole(tmp_path, kind):
    info = tarfile.TarInfo("junk" if kind == "another file" else "././@LongLink")
    info.type = {"a long name": tarfile.GNUTYPE_LONGNAME, "properties": tarfile.XHDTYPE}.get(kind, tarfile.REGTYPE)
    info.size = 6 << 30
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(DataError, match=r"header of 6,442,450,944 bytes|junk has 6,442,450,944 bytes"):
        store_stl10(tmp_path / "a.tar", tmp_path / "cache", Wanted((8, 8)))


def test_what_is_neither_folder_nor_file_is_no_archive(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="neither a folder nor a regular file"):
        store_stl10(tmp_path / "pipe", tmp_path / "cache", Wanted((8, 8)))


def test_members_with_holes_are_refused(tmp_path):
    header = bytearray(tarfile.TarInfo("stl10_binary/train_X.bin").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[124:136] = b"S", b"%011o\0" % 512
    header[386:398], header[398:410] = b"%011o\0" % 0, b"%011o\0" % 512
    header[482:495] = b"\0" + bytes([0x80]) + (27648 * 10**6).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(512) + bytes(1024))
    with pytest.raises(DataError, match=r"train_X.bin is stored with holes"):
        store_stl10(tmp_path / "a.tar", tmp_path / "cache", Wanted((8, 8)))


NAMES = "".join(f"{name}\n" for name in "abcdefghij")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("wägen\n".encode("latin-1") * 10, "no UTF-8"), (b"a\nb\n", "2 names for 10 classes"), (NAMES.encode() * 2, "20 names"),
        (b"x\n" * 10, "the name 'x' twice"), (b"a" * 50_000 + NAMES[1:].encode(), "a name of 50,000 letters"), (b"", "0 names"),
    ],
)  # fmt: skip
def test_class_names_are_not_taken_on_trust(tmp_path, content, said):
    main(["data", "draw", str(tmp_path / "s"), "--train", "100", "--test", "20", "--unlabeled", "20"])
    (tmp_path / "s" / "class_names.txt").write_bytes(content)
    with pytest.raises(DataError, match=f"class_names.txt.*{said}"):
        store_stl10(tmp_path / "s", tmp_path / "cache", Wanted((8, 8)))
    for sound in (NAMES.replace("\n", "\r\n"), "\ufeff" + NAMES, NAMES.rstrip(), "\n" + NAMES + "\n\n"):
        (tmp_path / "s" / "class_names.txt").write_text(sound, encoding="utf-8")
        assert load(resolve({"data": f"stl10:{tmp_path / 's'}", "side": 8})).class_names == tuple("abcdefghij")


def test_a_fold_of_one_class_is_refused_by_its_line(tmp_path):
    main(["data", "draw", str(tmp_path / "s"), "--train", "100", "--test", "20", "--unlabeled", "20"])
    labels = np.fromfile(tmp_path / "s" / "train_y.bin", dtype=np.uint8)
    one = " ".join(map(str, np.flatnonzero(labels == 3)))
    (tmp_path / "s" / "fold_indices.txt").write_text(f"{' '.join(map(str, range(50)))}\n\n{one}\n")
    with pytest.raises(DataError, match=r"line 3 of fold_indices.txt has images of one class alone \(label 3\)"):
        store_stl10(tmp_path / "s", tmp_path / "cache", Wanted((8, 8)))


# The command


def test_nothing_is_trained_before_all_is_checked(folder_of_images, capsys, tmp_path):
    out = tmp_path / "out"
    common = ["run", "--data", f"folder:{folder_of_images}", "--out", str(out)]
    assert "for 50 folds" in _last_error(capsys, *common, "--folds", "50")
    assert "parameters takes" in _last_error(capsys, *common, "--network.hidden", "2000000000")
    assert "do not fit images of 8x8" in _last_error(
        capsys, *common, "--study", "sparse", "--side", "8", "--studies.sparse.side", "9"
    )
    assert "one block" in _last_error(capsys, *common, "--study", "features", "--studies.encoder", "given")
    assert not out.exists()


def _last_error(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("error: ") for line in lines].count(True) == 1
    return lines[-1]


def test_another_question_gets_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = resolve({"data": "digits"}).folder
    assert plain == Path("runs/digits-quick")
    assert resolve({"data": "digits", "threads": 2, "jobs": 1, "lang": "ru"}).folder == plain
    assert resolve({"data": "digits", "seeds": 5}).folder == Path("runs/digits-quick-seeds-5")
    assert resolve({"data": "digits", "seeds": 3}).folder == plain  # the preset's own
    assert resolve({"data": "digits", "side": "16x8"}).folder == Path("runs/digits-quick-side-16x8")
    assert resolve({"data": "digits", "leave_out": "none"}).folder == Path("runs/digits-quick-leave-out-none")
    long = {
        "data": "digits",
        "network": {"hidden": [10, 20, 30], "training": {"epochs": 7, "optimizer": "sgd"}},
        "seeds": 2,
    }
    assert len(resolve(long).folder.name) == len("digits-quick-12345678")
    assert resolve(long).folder != resolve({**long, "seeds": 4}).folder
    assert resolve({"data": "digits", "study": "joint"}).folder == Path("runs/digits-quick-studies")
    assert resolve({"data": "digits", "out": "here", "seeds": 5}).folder == Path("here")


@pytest.mark.slow
def test_a_finished_answer_is_kept_when_its_folder_is_given_for_another_question(tmp_path, capsys):
    command = ["run", *LITTLE, "--jobs", "1", "--out", str(tmp_path / "out")]
    main(command)
    first = read_json(tmp_path / "out" / "result.json")
    main(command)
    assert not (tmp_path / "out" / "earlier").exists()
    main(["report", str(tmp_path / "out"), "--lang", "ru"])
    capsys.readouterr()
    main(
        [
            option if option != "3" or command[place - 1] != "--classical.trees" else "4"
            for place, option in enumerate(command)
        ]
    )
    assert "an answer to another question was in this folder; it is kept in" in capsys.readouterr().err
    (kept,) = (tmp_path / "out" / "earlier").iterdir()
    assert read_result(kept).verify().content["findings"] == first["findings"]
    main(["report", str(kept)])
    assert (kept / "report.html").exists()
    # A page of the earlier answer does not stay beside the later one.
    assert (kept / "report.ru.html").exists()
    assert not (tmp_path / "out" / "report.ru.html").exists()
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["result.json", "config.json", "test.npz", "runs/autoencoder/*/history.jsonl", "runs/*-*/*/test.npz"]
)
def test_a_damaged_answer_is_made_anew_by_the_same_command(little_answer, tmp_path, capsys, name):
    command = ["run", *LITTLE, "--jobs", "1", "--out", str(tmp_path / "out")]
    shutil.copytree(little_answer, tmp_path / "out")
    before = read_json(tmp_path / "out" / "result.json")
    for path in (tmp_path / "out").glob(name):
        path.write_bytes(path.read_bytes()[:-20])
    assert "run the same command again, and it is made anew" in _last_error(capsys, "report", str(tmp_path / "out"))
    main(command)
    assert _without_times(read_json(tmp_path / "out" / "result.json")) == _without_times(before)
    main(["report", str(tmp_path / "out")])


def _without_times(content):
    if isinstance(content, dict):
        return {
            name: _without_times(value)
            for name, value in content.items()
            if not any(part in name for part in ("second", "memory"))
        }
    return [_without_times(value) for value in content] if isinstance(content, list) else content


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3])
def test_odd_results_with_sound_digests_are_refused_in_words(finished_studies, finished_answer, tmp_path, seed):
    """A stranger's folder can have sound digests; whichever field is missing or odd, there is one line."""
    import random

    from reliability.damage import altered
    from unlabeled.errors import UserError
    from unlabeled.report.document import Document
    from unlabeled.report.page import write_report

    rng = random.Random(seed)
    shutil.copytree(finished_answer, tmp_path / "out")
    names = sorted(path.parent.name for path in finished_studies.glob("*/result.json"))
    copy_results(finished_studies, tmp_path / "studies")
    before = read_json(tmp_path / "out" / "result.json")
    for _ in range(4):
        with contextlib.suppress(ValueError):  # what is no JSON can't be written
            write_json(tmp_path / "out" / "result.json", altered(before, rng))
        try:
            write_report(tmp_path / "out")
        except UserError as error:
            assert len(str(error).splitlines()) == 1
        name = rng.choice(names)
        whole = read_json(tmp_path / "studies" / name / "result.json")
        odd = altered(whole, rng)
        with contextlib.suppress(ValueError):
            write_json(tmp_path / "studies" / name / "result.json", odd if isinstance(odd, dict) else whole)
        try:
            # The pages of the others do not depend on it.
            document = Document(tmp_path / "studies")
            assert document.answer.lines
            assert document.sections(name)
        except UserError as error:
            assert len(str(error).splitlines()) == 1
        write_json(tmp_path / "studies" / name / "result.json", whole)


@pytest.mark.slow
def test_equal_runs_have_equal_digests(tmp_path):
    for name in ("a", "b"):
        main(["run", *SMALL, "--jobs", "1", "--cache", str(tmp_path / f"cache {name}"), "--out", str(tmp_path / name)])
    digests = [json.loads((tmp_path / name / "result.json").read_text())["digest"] for name in ("a", "b")]
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_what_computed_the_networks_is_part_of_every_runs_key_and_of_the_report(tmp_path, capsys, monkeypatch):
    command = ["run", *LITTLE, "--jobs", "1", "--out", str(tmp_path / "out")]
    main(command)
    monkeypatch.setenv("UNLABELED_KERNELS", "off")
    capsys.readouterr()
    main(command)
    assert "kernels are off (UNLABELED_KERNELS=off)" in capsys.readouterr().err
    without = read_findings(tmp_path / "out").rows
    assert read_study(tmp_path / "out").machine.kernels is False
    assert "without the compiled kernels" in (tmp_path / "out" / "report.html").read_text()
    monkeypatch.delenv("UNLABELED_KERNELS")
    main(command)
    had_kernels = read_study(tmp_path / "out").machine.kernels
    for row, other in zip(without, read_findings(tmp_path / "out").rows, strict=True):
        assert (row.run == other.run) == (row.arm.source in ("pixels", "pca") or not had_kernels)


def test_a_foreign_folder_is_data_to_the_notebook(finished_studies, tmp_path):
    from unlabeled.course.notebook import write_notebook
    from unlabeled.errors import UserError

    folder = tmp_path / "studies"
    copy_results(finished_studies, folder)
    for name in ("features", "finetune"):
        found = read_json(folder / name / "result.json")
        found["findings"]["encoder"] = {f"**(open({str(tmp_path / 'ran')!r}, 'w').close() or {{}}), layers_num": 1}
        write_json(folder / name / "result.json", found)
    with pytest.raises(UserError, match="the results' encoder is none"):
        write_notebook(folder)
    assert not (tmp_path / "ran").exists()


def start(tmp_path, *more, env=None, epochs="4000"):
    """The command itself, with two processes that train for long."""
    long = [
        epochs if LITTLE[place - 1] == "--network.training.epochs" else option for place, option in enumerate(LITTLE)
    ]
    command = [
        sys.executable,
        "-m",
        "unlabeled",
        "run",
        *long,
        "--threads",
        "2",
        "--network.training.patience",
        "0",
        "--out",
        str(tmp_path / "out"),
    ]
    return subprocess.Popen(
        [*command, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **(env or {})},
    )


def wait_for_training(process, folder):
    for _ in range(600):
        if list(folder.glob("runs/*-network/*/rate*/history.jsonl")) or process.poll() is not None:
            break
        time.sleep(0.1)
    assert process.poll() is None, process.communicate()


def alive(leader):
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found.append(place.name)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are counted in /proc")
@pytest.mark.parametrize(("what", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_workers_end_with_their_parent_and_nothing_half_written_stays(tmp_path, what, status):
    process = start(tmp_path)
    wait_for_training(process, tmp_path / "out")
    process.send_signal(what)
    error = process.communicate(timeout=30)[1]
    assert process.returncode == status
    for _ in range(50):
        if not alive(process.pid):
            break
        time.sleep(0.1)
    assert alive(process.pid) == []
    if what == signal.SIGTERM:
        assert "terminated; what was finished is kept, and the same command goes on from there" in error
        assert "Traceback" not in error
        assert not list((tmp_path / "out").rglob(".*.tmp"))


@pytest.mark.slow
def test_the_same_command_twice_at_once_ends_right_twice(tmp_path):
    env = {"UNLABELED_CACHE": str(tmp_path / "cache")}
    processes = [start(tmp_path, "--jobs", "1", env=env, epochs="1") for _ in range(2)]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert sum("another process" in error for _, error in ended) >= 1
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith((".", "unfinished"))]
    read_result(tmp_path / "out").verify()


@pytest.mark.slow
def test_ascii_terminals_get_the_answer(tmp_path):
    process = start(tmp_path, "--jobs", "1", env={"PYTHONIOENCODING": "ascii"}, epochs="1")
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert "report: " in out
    assert "pixels -> logistic regression" in out
    assert (out + error).isascii()


# Help


def test_the_help_is_short_and_all_of_it_is_there(capsys, monkeypatch):
    from rich.console import Console

    from unlabeled import commands

    monkeypatch.setattr(commands, "out", Console(width=100))
    main(["run", "--help"])
    short = capsys.readouterr().out
    assert 12 <= short.count("\n  --") <= 18
    assert "--help all" in short
    assert len(short.splitlines()) < 70
    main(["run", "--help", "all"])
    assert capsys.readouterr().out.count("--") > 100


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("epochs", "network.training.epochs"), ("lr", "network.training.learning-rate"), ("batch_size", "network.training.batch-size"),
        ("seed", "seeds"), ("image-size", "side"), ("network.training.epoch", "network.training.epochs"), ("n-jobs", "jobs"),
        ("output-dir", "out"), ("trees", "classical.trees"),
    ],
)  # fmt: skip
def test_options_find_their_way(capsys, tmp_path, given, meant):
    assert f"did you mean --{meant}" in fails(capsys, "run", f"--{given}", "3")
    if "." not in given:
        (tmp_path / "a.toml").write_text(f"{given} = 3\n")
        assert f"did you mean --{meant}" in fails(capsys, "run", "--config", str(tmp_path / "a.toml"))


@pytest.mark.parametrize("given", ["3", "513", "48x", "x48", "48x64x3", "48x5000", "a", "-4", "4.5", "True"])
def test_sizes_that_are_none_are_refused(capsys, given):
    assert "give one side of 4 to 512 pixels, or WIDTHxHEIGHT" in fails(capsys, "run", "--side", given)


# Own files and streams that are something else


@pytest.mark.slow
@pytest.mark.parametrize("name", ["result.json", "config.json", "test.npz", "runs/autoencoder/*/history.jsonl"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_an_own_file_that_is_something_else_is_told_and_made_anew(little_answer, tmp_path, capsys, name, kind):
    command = ["run", *LITTLE, "--jobs", "1", "--out", str(tmp_path / "out")]
    shutil.copytree(little_answer, tmp_path / "out")
    path = next((tmp_path / "out").glob(name))
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    said = _last_error(capsys, "report", str(tmp_path / "out"))
    assert "delete it" in said or name == "result.json"
    if "/" in name:
        main(command)  # a run is made anew
        main(["report", str(tmp_path / "out")])


@pytest.mark.slow
def test_a_full_standard_error_does_not_stop_a_run(tmp_path):
    command = [sys.executable, "-m", "unlabeled", "run", *LITTLE, "--jobs", "1", "--out", str(tmp_path / "out")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, text=True, check=False)
    assert done.returncode == 0
    assert "report: " in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["run", "--help", "all"], ["--help"], ["data", "show", "--data", "digits"]])
def test_who_has_read_enough_of_the_output_made_no_mistake(arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "unlabeled", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0, error
    assert b"Traceback" not in error


def test_a_test_folder_that_can_not_be_reached_is_no_missing_one(folder_of_images, tmp_path):
    shutil.rmtree(folder_of_images / "test")
    (folder_of_images / "test").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no folder that can be reached"):
        in_folder(folder_of_images)


def test_folds_that_are_empty_are_no_missing_ones(tmp_path):
    main(["data", "draw", str(tmp_path / "s"), "--train", "100", "--test", "20", "--unlabeled", "20"])
    (tmp_path / "s" / "fold_indices.txt").write_text("\n \n")
    with pytest.raises(DataError, match=r"fold_indices\.txt has no folds"):
        store_stl10(tmp_path / "s", tmp_path / "cache", Wanted((8, 8)))


def test_colours_of_16_bits_are_told(folder_of_images, tmp_path):
    row = b"\0" + bytes(range(0, 180)) * 1

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 30, 9, 16, 2, 0, 0, 0)
    content = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 9)) + chunk(b"IEND", b"")
    )
    (folder_of_images / "unlabeled" / "deep.png").write_bytes(content)
    assert "1 pictures have 16 bits a colour, of which the upper 8 are kept" in " ".join(
        in_folder(folder_of_images).notes
    )


@pytest.mark.slow
def test_the_main_job_and_the_studies_do_not_overwrite_each_others_report(tmp_path, capsys):
    main(["run", *LITTLE, "--jobs", "1", "--out", str(tmp_path / "out")])
    said = _last_error(capsys, "run", "--study", "baselines", *LITTLE, "--jobs", "1", "--out", str(tmp_path / "out"))
    assert "holds an answer of the main job" in said
    quick = [*SMALL, "--classical.boosting-iterations", "2", "--jobs", "1"]
    main(["run", "--study", "baselines", *quick, "--out", str(tmp_path / "studies")])
    assert "holds answers of studies" in _last_error(
        capsys, "run", *LITTLE, "--jobs", "1", "--out", str(tmp_path / "studies")
    )


def test_code_that_is_not_installed_ends_as_any_other(little_answer, tmp_path, monkeypatch):
    def unknown(name):
        raise PackageNotFoundError(name)

    shutil.copytree(little_answer, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "classifier")
    (tmp_path / "out" / "result.json").unlink()
    monkeypatch.setattr(machine, "version", unknown)
    main(["run", *LITTLE, "--jobs", "1", "--out", str(tmp_path / "out")])
    assert read_json(tmp_path / "out" / "result.json")["machine"]["packages"]["unlabeled"] == "missing"
    assert load_classifier(tmp_path / "out").config.versions["torch"] == "missing"
    assert facts()["numpy"] == "missing"
