"""Images in shards: the same as one array, wherever they lie; every shard read once a pass; copies found a shard at a time."""

import json
import logging
import pickle
import sys
from functools import partial
from itertools import islice

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import delayed

import unlabeled as ul
from conftest import TINY_STRONG, make_images, read_findings
from unlabeled.cli import main
from unlabeled.errors import DamagedFile, DataError, UserError
from unlabeled.images import Images, Splits, batches, sharded, shards
from unlabeled.images.batches import MIXED_SHARDS, Turns, mixed, shuffled, sizes
from unlabeled.images.leaks import find_leaks
from unlabeled.images.near import find_near
from unlabeled.images.shards import open_shards, pack
from unlabeled.images.store import digests_of
from unlabeled.keeping.files import read_sealed, write_sealed
from unlabeled.presets import resolve
from unlabeled.processes import in_processes
from unlabeled.sources import load
from unlabeled.studies.course import run_gain

RANDOM = np.random.default_rng(3)
NAMES = ("one", "two", "three")


def draw(n, size=(3, 8, 12), seed=0):
    return np.random.default_rng([seed, n]).integers(0, 256, (n, *size)).astype(np.uint8)


def written(folder, *, unlabeled=(5, 1, 7), labeled=6, test=4):
    """Shards of noise; return the unlabeled pixels as one array."""
    parts = [draw(count, seed=number) for number, count in enumerate(unlabeled)]
    for number, part in enumerate(parts):
        ul.write_shard(folder, "unlabeled", 3 * number, part)
    ul.write_shard(folder, "labeled", 0, draw(labeled, seed=50), np.arange(labeled) % 3)
    ul.write_shard(folder, "test", 0, draw(test, seed=60), np.arange(test) % 3)
    return np.concatenate(parts)


def elsewhere(folder, name):
    """The same files at an address of fsspec's; return it."""
    files = fsspec.filesystem("memory")
    for path in folder.iterdir():
        files.pipe_file(f"/{name}/{path.name}", path.read_bytes())
    return f"memory://{name}"


@pytest.fixture
def place(tmp_path):
    """A finished folder of shards, and its unlabeled pixels."""
    whole = written(tmp_path / "shards")
    ul.finish_shards(tmp_path / "shards", NAMES, near="keep", jobs=1)
    return tmp_path / "shards", whole


# Reading


@pytest.mark.parametrize("remote", [False, True])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_rows_are_those_of_one_array(remote, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    whole = written(folder / "shards", unlabeled=data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=6)))
    ul.finish_shards(folder / "shards", NAMES, leaks="keep", jobs=1)
    where = elsewhere(folder / "shards", folder.name) if remote else str(folder / "shards")
    pixels = open_shards(where, folder / "cache").unlabeled.pixels
    n = len(whole)
    assert pixels.shape == whole.shape and len(pixels) == n
    rows = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=30)), dtype=int)
    assert np.array_equal(pixels[rows], whole[rows])
    start, stop, step = data.draw(st.tuples(st.integers(-n, n), st.integers(-n, n), st.sampled_from([-2, -1, 1, 3])))
    assert np.array_equal(pixels[start:stop:step], whole[start:stop:step])
    mask = RANDOM.random(n) < 0.5
    assert np.array_equal(pixels[mask], whole[mask]) and np.array_equal(pixels[n - 1], whole[-1])
    with pytest.raises(IndexError, match=f"{n}"):
        pixels[[n]]


def test_a_few_images_from_elsewhere_are_read_by_their_ranges_and_many_fetch_the_shard(tmp_path, monkeypatch):
    whole = written(tmp_path / "shards", unlabeled=(200, 200))
    ul.finish_shards(tmp_path / "shards", NAMES, leaks="keep", jobs=1)
    where = elsewhere(tmp_path / "shards", "few")
    pixels = open_shards(where, tmp_path / "cache").unlabeled.pixels
    fetched = lambda: {path.name[17:] for path in (tmp_path / "cache").rglob("*unlabeled-*.shard")}  # noqa: E731
    assert np.array_equal(pixels[[0, 399]], whole[[0, 399]])
    assert not fetched()
    assert np.array_equal(pixels[200:], whole[200:])
    assert fetched() == {"unlabeled-000003.shard"}
    # What was fetched is not asked for again, by no process.
    monkeypatch.setattr(sharded.Shelf, "_ask", lambda *_: pytest.fail("asked again"))
    again = pickle.loads(pickle.dumps(pixels))
    assert np.array_equal(again[200:], whole[200:])


def test_a_pass_over_shards_elsewhere_fetches_each_once_and_reads_few_images_by_themselves(tmp_path, monkeypatch):
    whole = written(tmp_path / "shards", unlabeled=(400,) * 10)
    ul.finish_shards(tmp_path / "shards", NAMES, leaks="keep", jobs=1)
    images = open_shards(elsewhere(tmp_path / "shards", "pass"), tmp_path / "cache").unlabeled
    alone, fetched, ranges, compare = [], [], sharded.Shelf.ranges, sharded._compare
    monkeypatch.setattr(
        sharded.Shelf, "ranges", lambda self, shard, starts, n: alone.extend(starts) or ranges(self, shard, starts, n)
    )
    monkeypatch.setattr(
        sharded, "_compare", lambda path, shard, **more: fetched.append(shard.name) or compare(path, shard, **more)
    )
    random = np.random.default_rng(0)
    for _ in range(2):
        assert all(np.array_equal(images.take(rows), whole[rows]) for rows in mixed(images, 32, random))
    assert len(fetched) == len(set(fetched)) == 10
    assert len(alone) <= 10 * 400 / 64


@pytest.mark.parametrize("left", [b"", b"x" * 100, None])
def test_what_is_damaged_in_the_cache_is_fetched_again(place, tmp_path, left):
    folder, whole = place
    where = elsewhere(folder, "healed")
    open_shards(where, tmp_path / "cache").unlabeled.pixels[:]
    for path in [*(tmp_path / "cache").rglob("*.shard")]:
        path.write_bytes(bytes(path.stat().st_size) if left is None else left)
    splits = open_shards(where, tmp_path / "cache")
    assert np.array_equal(splits.unlabeled.pixels[:], whole) and splits.test.classes.tolist() == [0, 1, 2, 0]
    for path in [*(tmp_path / "cache").rglob("*.seen")]:
        path.write_bytes(b"\xff\xfe")
    assert np.array_equal(open_shards(where, tmp_path / "cache").unlabeled.pixels[:], whole)


def test_one_image_of_a_shard_that_is_gone_elsewhere_is_an_error_in_words(tmp_path):
    written(tmp_path / "shards", unlabeled=(200, 200))
    ul.finish_shards(tmp_path / "shards", NAMES, leaks="keep", jobs=1)
    where = elsewhere(tmp_path / "shards", "gone")
    pixels = open_shards(where, tmp_path / "cache").unlabeled.pixels
    fsspec.filesystem("memory").rm(f"/gone/{pixels.shards[1].name}")
    assert len(pixels[[0]]) == 1
    with pytest.raises(UserError, match="can't be read"):
        pixels[[399]]


def test_fetched_shards_make_room_for_one_another(tmp_path, monkeypatch):
    whole = written(tmp_path / "shards", unlabeled=(40,) * 6)
    ul.finish_shards(tmp_path / "shards", NAMES, leaks="keep", jobs=1)
    size = (tmp_path / "shards" / "unlabeled-000000.shard").stat().st_size
    pixels = open_shards(elsewhere(tmp_path / "shards", "room"), tmp_path / "cache").unlabeled.pixels
    held = lambda: [path.stat().st_size for path in (tmp_path / "cache").rglob("[!.]*.shard")]  # noqa: E731

    class Disk:
        @property
        def free(self):
            return 7 * size - sum(held())

    monkeypatch.setattr(sharded.shutil, "disk_usage", lambda _: Disk())
    for _ in range(2):
        for rows in batches.batches(len(whole), 40):
            assert np.array_equal(pixels[rows], whole[rows])
            assert sum(held()) <= 7 * size / 2
    assert len(held()) >= 3


def test_a_process_is_sent_names_and_no_pixels(place):
    folder, whole = place
    pixels = open_shards(str(folder), folder / "cache").unlabeled.pixels
    pixels[:]
    sent = pickle.dumps(pixels)
    assert len(sent) < 2500 < whole.nbytes
    assert np.array_equal(pickle.loads(sent)[:], whole)


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("change", ["a byte", "shorter", "gone"])
def test_a_damaged_shard_is_named(place, tmp_path, remote, change):
    folder, _ = place
    path = folder / "unlabeled-000003.shard"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink() if change == "gone" else path.write_bytes(content if change == "a byte" else content[:-5])
    where = elsewhere(folder, f"{tmp_path.name}") if remote else str(folder)
    pixels = open_shards(where, tmp_path / "cache").unlabeled.pixels
    assert len(pixels[:5]) == 5  # another shard
    with pytest.raises((DamagedFile, UserError), match=r"unlabeled-000003\.shard"):
        pixels[4:]


def test_a_shard_that_is_written_anew_is_compared_anew(place, tmp_path):
    folder, _ = place
    pixels = open_shards(str(folder), tmp_path / "cache").unlabeled.pixels
    pixels[:]
    ul.write_shard(folder, "unlabeled", 0, draw(5, seed=99))
    with pytest.raises(DamagedFile, match="unlabeled-000000"):
        open_shards(str(folder), tmp_path / "cache").unlabeled.pixels[:2]


# Order


def lying_in(counts):
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
    return bounds, int(bounds[-1])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40).filter(any), st.integers(0, 5), st.integers(1, 9))
def test_a_pass_takes_every_image_once_and_a_few_shards_at_a_time(counts, seed, size):
    bounds, n = lying_in(counts)
    parts = list(shuffled(n, np.random.default_rng(seed), bounds))
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    taken = [set((np.searchsorted(bounds, part, side="right") - 1).tolist()) for part in parts]
    assert all(len(some) <= MIXED_SHARDS or len(counts) <= MIXED_SHARDS for some in taken)
    assert sum(map(len, taken)) == len(set().union(*taken))
    again = list(shuffled(n, np.random.default_rng(seed), bounds))
    assert all(np.array_equal(one, other) for one, other in zip(parts, again, strict=True))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40).filter(any), st.integers(0, 300), st.integers(1, 40))
def test_turns_go_on_from_anywhere_in_shards(counts, taken, count):
    bounds, n = lying_in(counts)
    whole = Turns(n, 3, 0, bounds).next(taken + count)
    assert np.array_equal(Turns(n, 3, taken, bounds).next(count), whole[taken:])
    assert np.array_equal(np.sort(whole[:n]), np.arange(min(n, len(whole)))) or len(whole) < n


@given(st.integers(1, 60), st.integers(1, 20))
def test_images_in_one_place_are_mixed_as_a_whole(n, size):
    expected = np.split(np.random.default_rng(5).permutation(n), np.cumsum(list(sizes(n, size)))[:-1])
    found = list(mixed(make_images(n, classes=None), size, np.random.default_rng(5)))
    assert all(np.array_equal(one, other) for one, other in zip(expected, found, strict=True))


def test_few_shards_change_no_order_and_subsets_know_where_their_shards_begin(place):
    images = open_shards(str(place[0]), place[0] / "cache").unlabeled
    assert images.bounds.tolist() == [0, 5, 6, 13]
    assert images.subset([1, 4, 7, 12]).bounds.tolist() == [0, 2, 2, 4]
    assert images.subset([4, 1]).bounds is None
    one = list(mixed(images, 4, np.random.default_rng(1)))
    other = list(mixed(Images(images.take(np.arange(13))), 4, np.random.default_rng(1)))
    assert all(np.array_equal(*both) for both in zip(one, other, strict=True))


def test_training_takes_that_order_and_is_the_same_again(tmp_path, monkeypatch):
    written(tmp_path / "shards", unlabeled=(6,) * 20)
    ul.finish_shards(tmp_path / "shards", NAMES, leaks="keep", jobs=1)
    taken = []
    take = Images.take
    monkeypatch.setattr(Images, "take", lambda self, rows: taken.append(rows) or take(self, rows))

    def trained():
        images = open_shards(str(tmp_path / "shards"), tmp_path / "cache").unlabeled
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = ul.ConvAutoEncoder((3, 8, 12))
        taken.clear()
        ul.fit(model, ul.Reconstruction(), images, valid=None, config=ul.TrainingConfig(epochs=1, batch_size=8))
        return torch.cat([one.flatten() for one in model.state_dict().values()])

    first, rows = trained(), list(taken)[-15:]
    assert np.array_equal(np.sort(np.concatenate(rows)), np.arange(120))
    assert [len(np.unique(np.concatenate(rows[k : k + 6]) // 6)) for k in (0, 6)] == [MIXED_SHARDS] * 2
    assert torch.equal(first, trained())


# Writing


def copied():
    """Splits with exact copies, and with near-copies that were made brighter."""
    smooth = np.kron(RANDOM.integers(0, 200, (60, 3, 8, 8)), np.ones((1, 1, 4, 4))).astype(np.uint8)
    test, labeled, unlabeled = smooth[:12].copy(), smooth[12:30].copy(), smooth[30:].copy()
    unlabeled[3], unlabeled[20], unlabeled[7], labeled[2] = test[0], test[5], labeled[4], test[1]
    unlabeled[11], labeled[9] = test[3] + 20, test[4] + 15
    return {"labeled": labeled, "unlabeled": unlabeled, "test": test}


@pytest.mark.slow
@pytest.mark.parametrize(("leaks", "near"), [("drop", "drop"), ("drop", "keep"), ("keep", "drop")])
@pytest.mark.parametrize("jobs", [1, 2])
def test_copies_are_found_as_in_any_other_source(tmp_path, leaks, near, jobs):
    images = copied()
    for split, pixels in images.items():
        ul.write_shard(tmp_path, split, 0, pixels, None if split == "unlabeled" else np.arange(len(pixels)) % 3)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ul.finish_shards(tmp_path, NAMES, leaks=leaks, near=near, jobs=jobs)
    splits = open_shards(str(tmp_path), tmp_path / "cache")
    digests = {split: digests_of(pixels) for split, pixels in images.items()}
    expected, labeled, unlabeled = find_leaks(digests["labeled"], digests["unlabeled"], digests["test"], policy=leaks)
    assert splits.leaks == expected and (expected.unlabeled_in_test, expected.labeled_in_test) == (2, 1)
    rest = Images(images["labeled"][labeled]), Images(images["unlabeled"][unlabeled]), Images(images["test"])
    alike, near_labeled, near_unlabeled = find_near(*rest, policy="drop")
    if (leaks, near) == ("drop", "drop"):
        assert (splits.near.unlabeled_in_test, splits.near.labeled_in_test) == (
            alike.unlabeled_in_test, alike.labeled_in_test,
        ) == (1, 1)  # fmt: skip
        labeled, unlabeled = labeled[near_labeled], unlabeled[near_unlabeled]
    assert np.array_equal(splits.unlabeled.pixels[:], images["unlabeled"][unlabeled])
    assert np.array_equal(splits.labeled.pixels[:], images["labeled"][labeled])
    assert np.array_equal(splits.labeled.classes, labeled % 3)
    # Shards are not touched, so finishing twice says the same.
    index = (tmp_path / "index.json").read_bytes()
    ul.finish_shards(tmp_path, NAMES, leaks=leaks, near=near, jobs=jobs)
    assert (tmp_path / "index.json").read_bytes() == index
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_shards_are_written_by_many_processes(tmp_path):
    whole = written(tmp_path / "alone", unlabeled=(4,) * 6)
    written(tmp_path / "together", unlabeled=(1,))
    (tmp_path / "together" / "unlabeled-000000.shard").unlink()
    write = partial(ul.write_shard, tmp_path / "together", "unlabeled")
    list(in_processes((delayed(write)(3 * k, whole[4 * k : 4 * k + 4]) for k in reversed(range(6))), jobs=2))
    for name in ("alone", "together"):
        ul.finish_shards(tmp_path / name, NAMES, jobs=1)
    one, other = ((tmp_path / name / "index.json").read_bytes() for name in ("alone", "together"))
    assert one == other


def test_one_job_does_not_silence_this_process(place):
    logging.getLogger("unlabeled").setLevel(logging.INFO)
    ul.finish_shards(place[0], NAMES, near="keep", jobs=1)
    assert logging.getLogger("unlabeled").level == logging.INFO


@pytest.mark.slow
def test_packed_images_answer_as_the_source_does(tmp_path, photos, finished_photos):
    plain = load(resolve(TINY_STRONG, {"data": f"folder:{photos}", "side": 16}))
    index = pack(plain, tmp_path / "shards", shard_bytes=plain.test.pixels[0].nbytes * 12)
    assert [len(some) for some in json.loads(index.read_text())["shards"].values()] == [6, 3, 2]
    config = resolve(TINY_STRONG, {"data": f"shards:{tmp_path / 'shards'}"})
    opened = load(config)
    for split in ("labeled", "unlabeled", "test"):
        one, other = getattr(plain, split), getattr(opened, split)
        assert np.array_equal(one.take(np.arange(len(one))), other.take(np.arange(len(other))))
    assert (opened.class_names, opened.notes, opened.leaks) == (plain.class_names, plain.notes, plain.leaks)
    run_gain(config, opened, folder=tmp_path / "sharded")
    one, other = (
        sorted(
            (str(row.arm), row.fold, row.seed, row.scored.accuracy, row.scored.log_loss)
            for row in read_findings(folder).rows
        )
        for folder in (finished_photos, tmp_path / "sharded")
    )
    assert one == other


def test_data_pack_and_show(tmp_path, capsys):
    main(["data", "pack", str(tmp_path / "shards"), "--data", "digits", "--shard-mib", "1"])
    main(["data", "show", "--data", f"shards:{tmp_path / 'shards'}"])
    out = capsys.readouterr().out
    main(["data", "show", "--data", "digits"])
    assert out.splitlines()[2:] == capsys.readouterr().out.splitlines()[1:]
    with pytest.raises(SystemExit, match="2"):
        main(["data", "pack", str(tmp_path / "shards"), "--data", "digits"])
    assert "holds shards already" in capsys.readouterr().err


# What can be wrong


@pytest.mark.parametrize(
    "change",
    [
        {"shape": None}, {"shape": [3, 8]}, {"shape": [3, -8, 12]}, {"folds": [[99]]}, {"near": {"no": 1}}, {"leaks": None},
        *({"shards": {"labeled": [], "test": [], "unlabeled": [one]}} for one in (
            ["../x/unlabeled-000000.shard", 5, "a" * 64, []], ["unlabeled-000000.shard", "5", "a" * 64, []],
            ["unlabeled-000000.shard", -5, "a" * 64, []], ["unlabeled-000000.shard", 5, "/etc/passwd", []],
            ["unlabeled-000000.shard", 5, "a" * 64, [2, 2]], ["unlabeled-000000.shard", 5, "a" * 64, [-1]],
            ["unlabeled-000000.shard", 5, "a" * 64, [5]], ["test-000000.shard", 5, "a" * 64, []], ["unlabeled-000000.shard"],
        )),
    ],
)  # fmt: skip
def test_an_index_that_tells_of_no_shards_is_refused(place, change):
    path = place[0] / "index.json"
    write_sealed(path, {**read_sealed(path), **change})
    with pytest.raises(DamagedFile, match=r"index\.json: does not tell of shards"):
        open_shards(str(place[0]), place[0] / "cache")


def test_copies_that_were_kept_are_not_taken_for_dropped(place):
    folder, _ = place
    config = {"data": f"shards:{folder}", "preset": "quick"}
    with pytest.raises(DataError, match="with copies kept; give --near keep, or write it again with drop"):
        load(resolve(config))
    assert len(load(resolve({**config, "near": "keep"})).unlabeled) == 13
    with pytest.raises(DataError, match="with copies dropped; give --leaks drop"):
        load(resolve({**config, "leaks": "keep"}))


def test_what_is_written_while_it_is_looked_through_is_not_finished(place, monkeypatch):
    folder, _ = place
    digest = shards.digest_whole

    def also_written(path):
        if path.name == "unlabeled-000000.shard":
            ul.write_shard(folder, "unlabeled", 0, draw(5, seed=77))
        return digest(path)

    monkeypatch.setattr(shards, "digest_whole", also_written)
    with pytest.raises(DamagedFile, match=r"unlabeled-000000\.shard: was written while"):
        ul.finish_shards(folder, NAMES, jobs=1)


def test_what_was_packed_is_finished_by_nobody_else(tmp_path):
    index = pack(load(resolve({"data": "digits", "preset": "quick"})), tmp_path / "shards", shard_bytes=64 * 300)
    index.unlink()  # as if it was ended before
    with pytest.raises(DataError, match="delete the folder and pack again"):
        ul.finish_shards(tmp_path / "shards", [str(digit) for digit in range(10)])


def test_arguments_that_mean_nothing_are_refused(place):
    folder, _ = place
    for wrong in ({"leaks": "Drop"}, {"near": "no"}, {"fit": "squash"}):
        with pytest.raises(DataError, match="give "):
            ul.finish_shards(folder, NAMES, **wrong)
    for number in ("3", 1.0):
        with pytest.raises(DataError, match="whole number from 0 on"):
            ul.write_shard(folder, "unlabeled", number, draw(2))
    with pytest.raises(DataError, match="labels hold"):
        ul.write_shard(folder, "test", 5, draw(2), np.full(2, 2**63, dtype=np.uint64))
    pixels = open_shards(str(folder), folder / "cache").unlabeled.pixels
    with pytest.raises(IndexError, match="rows alone"):
        pixels[0, 1]
    with pytest.raises(IndexError, match="a mask"):
        pixels[np.ones(3, dtype=bool)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", 0, draw(2)), "split 'train': is none; use labeled, unlabeled, test"),
        (("unlabeled", 0, draw(2), np.zeros(2, int)), "unlabeled images have no labels; leave them out"),
        (("labeled", 0, draw(2)), "labeled images need labels"),
        (("labeled", 0, draw(2), np.zeros(3, int)), "3 labels for 2 images"),
        (("unlabeled", 0, draw(0)), "0 images as shard 0; give at least one"),
        (("unlabeled", -1, draw(2)), "shard -1"),
        (("unlabeled", 0, draw(2) / 255), "give \\(255 \\* pixels\\)"),
    ],
)
def test_what_is_no_shard_is_not_written(tmp_path, arguments, said):
    with pytest.raises(DataError, match=said):
        ul.write_shard(tmp_path, *arguments)
    assert not list(tmp_path.iterdir())


def test_folders_that_are_no_data_set_are_refused(tmp_path, place, monkeypatch):
    folder, _ = place
    with pytest.raises(DataError, match="holds no shards"):
        ul.finish_shards(tmp_path / "none", NAMES)
    with pytest.raises(DataError, match=r"label 2.*names for 2 classes"):
        ul.finish_shards(folder, NAMES[:2])
    with pytest.raises(DataError, match="images of 12x8, not 16x16; leave out --side"):
        load(resolve({"data": f"shards:{folder}", "side": 16, "preset": "quick"}))
    with pytest.raises(DataError, match="finish_shards writes it"):
        open_shards(str(tmp_path), tmp_path)
    with pytest.raises(DataError, match="write shards:FOLDER"):
        load(resolve({"data": "shards:", "preset": "quick"}))
    ul.write_shard(folder, "unlabeled", 9, draw(3, size=(3, 9, 12)))
    with pytest.raises(DataError, match="all need one size"):
        ul.finish_shards(folder, NAMES)
    (folder / "unlabeled-000009.shard").write_bytes(b"no shard")
    with pytest.raises(DataError, match=r"unlabeled-000009\.shard: is no shard"):
        ul.finish_shards(folder, NAMES)
    whole = (folder / "unlabeled-000000.shard").read_bytes()
    (folder / "unlabeled-000009.shard").write_bytes(whole[:-1])
    with pytest.raises(DamagedFile, match="bytes, not the"):
        ul.finish_shards(folder, NAMES)
    with pytest.raises(UserError, match="can't be read"):
        open_shards("memory://nowhere", tmp_path)
    with pytest.raises(UserError, match="can't be read"):
        open_shards("no-such-protocol://nowhere", tmp_path)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UserError, match=r"pip install 'unlabeled\[remote\]'"):
        open_shards("memory://nowhere", tmp_path)


def test_splits_in_shards_describe_themselves(place):
    splits = open_shards(str(place[0]), place[0] / "cache")
    assert isinstance(splits, Splits)
    assert "in 3 shards" in repr(splits.unlabeled) and "in 1 shard\n" in repr(splits.test)
    assert len(list(islice(mixed(splits.unlabeled, 4, np.random.default_rng(0)), 9))) == 4
