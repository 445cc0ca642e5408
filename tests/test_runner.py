"""Spreading tasks over processes."""

import ctypes
import os
import time
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from joblib import delayed
from rich.console import Console

from conftest import TINY_GAIN
from growing import be_killed, imported_by, square_and_grow
from unlabeled.console.progress import RunProgress
from unlabeled.console.ticks import Ticker, read_share
from unlabeled.errors import UserError
from unlabeled.experiments import machine
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.performing import perform
from unlabeled.experiments.runner import run_tasks
from unlabeled.experiments.selftraining import TEACHER, StrongTask
from unlabeled.keeping.results import Run
from unlabeled.outcomes import AutoencoderOutcome
from unlabeled.presets import resolve
from unlabeled.processes import in_processes
from unlabeled.records import ArmKey
from unlabeled.sources import load

_kept = []


@dataclass(frozen=True)
class Growing:
    """A task after which its process holds 160 MB more, as features that are kept for the next task do."""

    number: int
    arm = ArmKey("growing")
    kind = "growing"
    needs = ()
    fold = None
    seed = 0

    def key(self, lab):
        return Run(lab.folder / "runs", f"growing/{self.number}", {"number": self.number})

    def run(self, lab, folder, needed, watcher):
        # The pool looks at its processes' memory once a second.
        time.sleep(0.6)
        _kept.append(np.ones(20_000_000))
        return AutoencoderOutcome(float(self.number), 1.0, 1, [1, 1, 1], 1, 1, 1, str(os.getpid()), 1, 0.0, 1.0)


class Plain(Growing):
    """A task that takes nothing."""

    def run(self, lab, folder, needed, watcher):
        return AutoencoderOutcome(float(self.number), 1.0, 1, [1, 1, 1], 1, 1, 1, "model", 1, 0.5, 1.0)


@pytest.mark.slow
def test_a_process_that_grows_is_replaced_without_a_word(tmp_path):
    """The pool warns when it replaces a process; as an error that ended its thread, and the study waited for ever."""
    config = resolve({"data": "digits", "jobs": 2, "threads": 2, "device": "cpu"})
    lab = Lab(config, load(config), tmp_path)
    rows = run_tasks(lab, [Growing(number) for number in range(12)], RunProgress())
    assert [row.outcome.held_out_mse for row in rows] == list(range(12))
    assert len({row.outcome.model for row in rows}) > 2  # two at a time, and of one another took the place


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content | {"before": content.pop("seconds")},  # renamed since
        lambda content: content | {"added": 1.0},
        lambda content: {name: value for name, value in content.items() if name != "held_out_mse"},
        lambda content: content | {"images": "many"},
        lambda content: {},
    ],
    ids=["renamed", "added", "missing", "of another type", "empty"],
)
def test_a_run_of_another_versions_shape_is_made_anew_in_a_line(tmp_path, caplog, change):
    config = resolve({"data": "digits", "jobs": 1, "device": "cpu"})
    lab = Lab(config, load(config), tmp_path)
    (row,) = run_tasks(lab, [Plain(3)], RunProgress())
    run = Plain(3).key(lab)
    sound = run.outcome()
    run.start()
    run.finish(change(dict(sound)))
    assert run_tasks(lab, [Plain(3)], RunProgress()) == [row]
    assert run.outcome() == sound
    assert caplog.text.count("the result is not as this version writes it; this run is made anew") == 1
    assert perform(lab, Plain(3)) == row.outcome


class Slow(Plain):
    """A task that tells of its steps."""

    def run(self, lab, folder, needed, watcher):
        watcher.step(43, 100)
        time.sleep(2.5)
        return super().run(lab, folder, needed, watcher)


@pytest.mark.slow
def test_a_terminal_shows_how_far_runs_in_other_processes_are(tmp_path):
    config = resolve({"data": "digits", "jobs": 2, "threads": 2, "device": "cpu"})
    lab, shown = Lab(config, load(config), tmp_path), StringIO()
    with RunProgress(Console(file=shown, force_terminal=True, width=200)) as progress:
        run_tasks(lab, [Slow(1), Slow(2)], progress)
        place = progress.ticks_of("any").parent
        assert len(list(place.iterdir())) == 2
    assert "seed 0 43 %" in shown.getvalue()
    assert not place.exists()
    assert RunProgress(Console(file=shown)).ticks_of("any") is None  # nobody looks at a log


def test_half_a_note_is_none(tmp_path):
    assert read_share(tmp_path / "missing") == 0
    for text, share in (("", 0), ("0.", 0), ("0.25", 0.25), ("7", 1), ("nan", 0), ("-1", 0), ("x", 0)):
        (tmp_path / "note").write_text(text)
        assert read_share(tmp_path / "note") == share
    ticker = Ticker(tmp_path / "note")
    ticker.step(1, 4)
    ticker.step(2, 4)  # a moment later
    assert read_share(tmp_path / "note") == 0.25
    Ticker(tmp_path / "gone" / "note").step(1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [True, False])
def test_results_come_in_order_or_as_they_end_and_all_of_them(ordered):
    found = list(in_processes((delayed(square_and_grow)(n) for n in range(6)), jobs=2, ordered=ordered))
    assert sorted(found) == [0, 1, 4, 9, 16, 25]
    assert found == sorted(found) or not ordered


def test_a_process_that_is_killed_is_told_in_words():
    with pytest.raises(
        UserError, match="a process that computed was ended from outside, most often because memory ran out"
    ):
        list(in_processes((delayed(call)() for call in (be_killed, be_killed)), jobs=2))
    assert list(in_processes((delayed(abs)(number) for number in (-1, -2)), jobs=2)) == [1, 2]


def test_one_job_leaves_its_caller_where_it_goes(tmp_path, monkeypatch):
    """One job is done in this process, which may go elsewhere between two results."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    gone = Event()
    results = in_processes([delayed(Path.cwd)(), delayed(gone.wait)(60), delayed(Path.cwd)()], jobs=1)
    assert next(results) == tmp_path
    monkeypatch.chdir(tmp_path / "elsewhere")
    gone.set()
    assert list(results) == [True, tmp_path / "elsewhere"]
    assert Path.cwd() == tmp_path / "elsewhere"


def test_the_processes_are_where_their_parent_is(tmp_path, monkeypatch):
    """The pool is kept from call to call: a relative path means the same in it as here, also after a change of the folder."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        Path("here").write_text(name)
        assert set(in_processes((delayed(Path.read_text)(Path("here")) for _ in range(4)), jobs=2)) == {name}
    (tmp_path / "second" / "here").unlink()
    (tmp_path / "second").rmdir()  # nothing is relative to it any more
    assert list(in_processes((delayed(abs)(number) for number in (-1, -2)), jobs=2)) == [1, 2]


def test_calls_that_nobody_waits_for_are_ended(tmp_path):
    began = time.monotonic()
    for _ in in_processes((delayed(time.sleep)(seconds) for seconds in (0, 60, 60)), jobs=2, ordered=False):
        break
    assert time.monotonic() - began < 50


def test_processes_that_were_replaced_do_not_add_up(monkeypatch):
    """Of ten processes in turn, two at a time, no more than the two largest can have held their memory at once."""
    monkeypatch.setattr(machine, "_workers", {})
    monkeypatch.setattr(machine, "_at_a_time", set())
    monkeypatch.setattr(machine, "own_peak", lambda: 100.0)
    assert machine.peak_of_all() == 100.0
    for number in range(10):
        machine.remember_worker(number, 50.0 * (number + 1), among=2)
        machine.remember_worker(number, 10.0, among=2)
    assert machine.peak_of_all() == 100.0 + 500.0 + 450.0


@pytest.mark.slow
def test_a_process_that_trains_reads_no_package_of_other_stages(tmp_path):
    """scikit-learn, with what it reads, is 80 MB and a second in each process; matplotlib's figures are the report's."""
    config = resolve(TINY_GAIN, {"strong": {"widths": [6, 8, 10], "training": {"steps": 4}}, "precision": "fp32"})
    lab = Lab(config, load(config), tmp_path)
    training = delayed(imported_by)(perform, lab, StrongTask(TEACHER, config.strong, 0, 0))
    for read in in_processes([training, training], jobs=2):
        assert {"torch", "unlabeled"} <= read
        assert not read & {"sklearn", "pandas", "matplotlib", "lightning_fabric"}


def test_what_a_run_has_freed_goes_back_to_the_system(tmp_path):
    """The C library keeps what lies below anything still held; the next run of the process would come on top."""
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this C library decides by itself")

    class Hoarding(Plain):
        def run(self, lab, folder, needed, watcher):
            # 320 MB, in pieces that the library does not map one by one.
            blocks = [np.ones(10_000) for _ in range(4_000)]
            _kept.append(blocks[-1])
            return super().run(lab, folder, needed, watcher)

    config = resolve({"data": "digits", "device": "cpu"})
    lab = Lab(config, load(config), tmp_path)
    perform(lab, Plain(0))
    before = resident()
    perform(lab, Hoarding(1))
    assert resident() < before + 100


def resident():
    """Return the memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
