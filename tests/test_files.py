"""What the package writes is whole, named last, verified when it is read, and in nobody's way."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from conftest import read_history
from unlabeled.errors import DamagedFile, UserError
from unlabeled.keeping import files
from unlabeled.keeping.locks import abandoned, claim, locked
from unlabeled.keeping.results import Run, keep_earlier, read_result, write_result
from unlabeled.training.checkpoints import load_checkpoint, load_weights, save_checkpoint, save_weights

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
NAMES = st.text(max_size=6).filter(lambda name: not files._MEASURED.search(name))
TREES = st.recursive(
    SCALARS, lambda inside: st.lists(inside, max_size=4) | st.dictionaries(NAMES, inside, max_size=4), max_leaves=12
)


@pytest.mark.slow
@given(tree=TREES, other=TREES)
def test_a_digest_changes_with_every_value_and_not_with_the_order_of_names(tree, other):
    same = json.dumps(tree, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (files.digest_of(tree) == files.digest_of(other)) == same
    backwards = dict(reversed(list(tree.items()))) if isinstance(tree, dict) else tree
    assert files.digest_of(backwards) == files.digest_of(tree)


@given(first=st.floats(0, 1e300), second=st.floats(0, 1e300))
def test_what_a_clock_or_a_memory_meter_told_is_left_out_of_a_digest_but_not_its_kind(first, second):
    def row(told):
        return {"rows": [{"seconds": told, "images_per_second": told, "peak_memory_mb": told, "mse": 0.5}]}

    assert files.digest_of(row(first)) == files.digest_of(row(second))
    for odd in (None, "1", True, -1.0, [1.0]):
        assert files.digest_of(row(odd)) != files.digest_of(row(first))


@pytest.mark.parametrize("content", [{"a": 1, "b": [1.5, None]}, {}, {"path": "caf\udce9"}])
def test_what_was_sealed_comes_back(tmp_path, content):
    files.write_sealed(tmp_path / "a.json", content)
    assert files.read_sealed(tmp_path / "a.json") == content


@settings(max_examples=60)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_bit_that_changed_in_sealed_json_is_never_read(tmp_path_factory, place, bit):
    path = tmp_path_factory.mktemp("sealed") / "a.json"
    files.write_sealed(path, {"counts": {"a": 12, "b": 0}, "names": ["x", "é"], "share": 0.25})
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        assert files.read_sealed(path) == {
            "counts": {"a": 12, "b": 0},
            "names": ["x", "é"],
            "share": 0.25,
        }  # a blank for a line's end
    except DamagedFile as error:
        assert str(path) in str(error)


ODD = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"\xff\xfe",
    b'{"a": NaN}',
    b"[" * 100_000,
    b'{"a": ' + b"9" * 5000 + b"}",
    b"\xef\xbb\xbf{}",
]


@pytest.mark.parametrize("content", ODD)
def test_every_reader_raises_one_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    readers = [
        files.read_sealed, lambda path: read_result(path.parent), load_checkpoint, lambda path: load_weights(path, nn.Linear(2, 2)),
        lambda path: files.parse_arrays(path, path.read_bytes()),
    ]  # fmt: skip
    (tmp_path / "result.json").write_bytes(content)
    for reader in readers:
        with pytest.raises(DamagedFile) as caught:
            reader(path)
        assert str(tmp_path) in str(caught.value)
        assert "same command again" in str(caught.value)


def test_arrays_with_any_byte_changed_are_read_or_refused_in_one_way(tmp_path):
    path = tmp_path / "a.npz"
    files.write_arrays(path, predicted=np.arange(9), loss=np.ones((3, 3), dtype=np.float32))
    content = path.read_bytes()
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 0x11]) + content[place + 1 :]
        try:
            files.parse_arrays(path, changed)
        except DamagedFile as error:
            assert str(path) in str(error)


def test_versions_are_refused_in_words(tmp_path):
    files.write_json(tmp_path / "result.json", {"arms": []})
    with pytest.raises(DamagedFile, match="holds no digest, so another program or an earlier version wrote it"):
        read_result(tmp_path)
    later = {"format": files.FORMAT + 1, "arms": []}
    files.write_json(tmp_path / "result.json", {**later, "digest": files.digest_of(later)})
    with pytest.raises(
        DamagedFile, match=f"written in format 2, and this version of unlabeled reads format {files.FORMAT}"
    ):
        read_result(tmp_path)


def test_a_result_vouches_for_the_files_beside_it(tmp_path):
    files.write_arrays(tmp_path / "test.npz", predicted=np.arange(5))
    files.write_history(tmp_path / "history.jsonl", [{"epoch": 1, "mse": 0.5, "seconds": 2.0}])
    write_result(tmp_path, {"accuracy": 0.5}, ["test.npz", "history.jsonl"])
    stored = read_result(tmp_path).verify()
    assert stored.content == {"accuracy": 0.5}
    assert stored.arrays("test.npz")["predicted"].tolist() == [0, 1, 2, 3, 4]
    assert stored.history() == read_history(tmp_path / "history.jsonl")
    files.write_history(tmp_path / "history.jsonl", [{"epoch": 1, "mse": 0.5, "seconds": 9.0}])  # another clock
    assert stored.history()[0]["seconds"] == 9.0
    files.write_history(tmp_path / "history.jsonl", [{"epoch": 1, "mse": 0.25, "seconds": 2.0}])
    with pytest.raises(DamagedFile, match=r"history.jsonl: damaged"):
        stored.history()
    files.write_arrays(tmp_path / "test.npz", predicted=np.arange(1, 6))
    with pytest.raises(DamagedFile, match=r"test.npz: damaged"):
        stored.arrays("test.npz")
    with pytest.raises(DamagedFile, match=r"names no pictures.npz"):
        stored.arrays("pictures.npz")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "~/x", "a/../../b", "", "a\0b"])
def test_a_result_leads_to_no_file_outside_of_its_folder(tmp_path, name):
    write_result(tmp_path, {})
    with pytest.raises(UserError, match="is no file of a run's folder"):
        read_result(tmp_path).arrays(name)


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors", "rate1/history.jsonl", "result.json"])
@pytest.mark.parametrize("how", ["bit", "cut", "gone"])
def test_a_run_is_finished_only_if_all_its_files_are_as_they_were_written(tmp_path, caplog, name, how):
    run = Run(tmp_path, "a", {"seed": 1})
    run.start()
    save_weights(run.folder / "weights.safetensors", nn.Linear(2, 2))
    files.write_history(run.folder / "rate1" / "history.jsonl", [{"epoch": 1, "loss": 0.5}])
    assert run.outcome() is None
    run.finish({"accuracy": 0.5})
    assert run.outcome() == {"accuracy": 0.5}
    path = run.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content if how == "bit" else content[:-9])
    assert run.outcome() is None
    assert not caplog.records
    assert run.outcome(tell=True) is None
    assert caplog.text.count("this run is made anew") == ((name, how) != ("result.json", "gone"))
    had_result = (run.folder / "result.json").exists()
    run.start()
    # Nothing of a damaged result stays; without a result a run may have been interrupted, and goes on.
    assert ([path.name for path in run.folder.iterdir()] == ["config.json"]) == had_result


def test_a_run_made_anew_leaves_alone_what_a_link_in_it_leads_to(tmp_path):
    run = Run(tmp_path, "a", {"seed": 1})
    run.start()
    run.finish({"accuracy": 0.5})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "photo.png").touch()
    (run.folder / "link").symlink_to(tmp_path / "elsewhere")
    run.start()
    assert [path.name for path in run.folder.iterdir()] == ["config.json"]
    assert (tmp_path / "elsewhere" / "photo.png").exists()


@pytest.mark.parametrize("name", [".DS_Store", ".nfs0001", "rate1/._history.jsonl"])
def test_what_file_managers_leave_in_a_run_belongs_to_nobody(tmp_path, name):
    run = Run(tmp_path, "a", {"seed": 1})
    run.start()
    (run.folder / "rate1").mkdir()
    (run.folder / name).write_bytes(b"x")
    run.finish({"accuracy": 0.5})
    (run.folder / name).write_bytes(b"y")
    assert run.outcome() == {"accuracy": 0.5}


def test_an_answer_to_another_question_is_kept(tmp_path):
    files.write_arrays(tmp_path / "test.npz", labels=np.arange(3))
    write_result(tmp_path, {"question": {"seeds": 3}, "answer": 1}, ["test.npz"])
    assert keep_earlier(tmp_path, {"seeds": 3}, ["result.json", "test.npz"]) is None
    kept = keep_earlier(tmp_path, {"seeds": 5}, ["result.json", "test.npz", "report.html"])
    assert kept.parent == tmp_path / "earlier"
    assert read_result(kept).verify().content["answer"] == 1
    # A new answer's first file is written, and then the process is killed.
    files.write_arrays(tmp_path / "test.npz", labels=np.arange(4))
    keep_earlier(tmp_path, {"seeds": 5}, ["result.json", "test.npz", "report.html"])
    assert read_result(kept).verify().content["answer"] == 1
    assert keep_earlier(tmp_path / "nothing", {"seeds": 5}, ["result.json"]) is None


# Weights and checkpoints


def test_weights_and_checkpoints_carry_a_digest(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    save_weights(tmp_path / "a.safetensors", model)
    save_checkpoint(tmp_path / "b.safetensors", {"model": model.state_dict()}, {"epoch": 3})
    for path, read in (
        (tmp_path / "a.safetensors", lambda path: load_weights(path, model)),
        (tmp_path / "b.safetensors", load_checkpoint),
    ):
        read(path)
        content = path.read_bytes()
        for place in range(len(content)):
            changed = bytearray(content)
            changed[place] ^= 1
            path.write_bytes(changed)
            with pytest.raises(DamagedFile, match=r"damaged|holds no digest"):
                read(path)
        for length in (0, 4, 8, 100, len(content) - 1):
            path.write_bytes(content[:length])
            with pytest.raises(DamagedFile, match="damaged"):
                read(path)
    with pytest.raises(DamagedFile, match="no such file"):
        load_weights(tmp_path / "missing.safetensors", model)


def test_weights_that_another_program_wrote_are_refused_in_words(tmp_path):
    from safetensors.torch import save_file

    save_file(nn.Linear(2, 2).state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(DamagedFile, match="holds no digest, so another program or an earlier version wrote it"):
        load_weights(tmp_path / "a.safetensors", nn.Linear(2, 2))


# Writing beside others


def test_a_file_is_whole_or_absent(tmp_path):
    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    files.write_atomically(tmp_path / "a", lambda file: file.write(b"first"))
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(tmp_path / "a", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"first"


def test_a_file_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    told = []
    sync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda handle: told.append("sync") or sync(handle))
    monkeypatch.setattr(type(tmp_path), "replace", lambda self, other: told.append("name") or replace(self, other))
    files.write_atomically(tmp_path / "a", lambda file: file.write(b"x"))
    assert told == ["sync", "name", "sync"]


def test_what_is_being_written_is_never_swept_away_and_what_a_killed_process_left_is(tmp_path):
    dead = tmp_path / "deep" / ".0123456789abcdef.tmp"
    dead.parent.mkdir()
    dead.write_bytes(b"half")
    seen = []

    def write(file):
        files.sweep(tmp_path)
        seen.append([path.name for path in tmp_path.rglob(".*.tmp")])
        file.write(b"whole")

    files.write_atomically(tmp_path / "a", write)
    assert len(seen[0]) == 1
    assert seen[0] != [dead.name]
    assert not dead.exists()
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_temporary_files_of_other_programs_stay(tmp_path):
    others = [tmp_path / name for name in (".draft.tmp", ".x.0123.tmp", "a.tmp", ".0123456789abcdeg.tmp", ".~lock.tmp")]
    for path in others:
        path.write_bytes(b"x")
    files.sweep(tmp_path)
    assert all(path.exists() for path in others)


def test_who_asks_whether_a_file_is_abandoned_does_not_disturb_its_writer(tmp_path, monkeypatch):
    asked = []
    usual = files.claim

    def asked_first(handle):
        path = next(tmp_path.glob(".*.tmp"))
        asked.append(abandoned(path))
        usual(handle)

    monkeypatch.setattr(files, "claim", asked_first)
    files.write_atomically(tmp_path / "a", lambda file: file.write(b"x"))
    assert asked == [True]
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_file_swept_away_before_it_was_claimed_is_written_again(tmp_path):
    tries = []

    def write(file):
        tries.append(1)
        if len(tries) == 1:
            Path(file.name).unlink()
        file.write(b"whole")

    files.write_atomically(tmp_path / "a", write)
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert len(tries) == 2


def test_threads_that_write_the_same_file_end_with_one_of_their_contents(tmp_path):
    def write(number):
        for _ in range(20):
            files.write_json(tmp_path / "a.json", {"number": number, "more": "x" * 1000})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files.read_json(tmp_path / "a.json")["number"] in range(4)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_lock_is_let_go_when_its_process_is_killed(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from unlabeled.keeping.locks import locked\n"
        f"with locked(Path({str(tmp_path)!r})):\n    print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"in\n"
        assert not abandoned(tmp_path)
        waited = []
        killer = threading.Timer(0.3, process.kill)
        killer.start()
        with locked(tmp_path, waiting=lambda: waited.append(1)) as alone:
            assert alone
        assert waited == [1]
    assert abandoned(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ahead", [0, 1e6, -1e6])
def test_where_a_disk_cannot_lock_only_what_is_a_day_old_is_abandoned(tmp_path, monkeypatch, ahead):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path) as alone:
        assert not alone
    # A machine whose clock is days ahead takes nothing for older than it is.
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + ahead)
    young, old = tmp_path / f".{'a' * 16}.tmp", tmp_path / f".a.bin.{'b' * 16}.tmp"
    for path in (young, old):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    with old.open("rb") as file:
        claim(file.fileno())
    files.sweep(tmp_path)
    assert young.exists()
    assert not old.exists()
