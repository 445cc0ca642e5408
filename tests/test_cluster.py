"""Runs over a cluster, as docs/clusters.md has it: the table of a serial run, whatever is killed; refusals in a line."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from conftest import TINY_GAIN, own_cache
from errands import Dying, Full, Plain, Slow
from unlabeled.console.progress import RunProgress
from unlabeled.errors import ProcessKilled, UserError
from unlabeled.experiments import clusters
from unlabeled.experiments.clusters import DaskEngine, SlurmEngine, open_engine
from unlabeled.experiments.distributing import engine_of, run_on
from unlabeled.experiments.errands import Errand, do_errand, facts, place_of, refuse_others
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.runner import run_tasks
from unlabeled.finished import reopen
from unlabeled.presets import resolve
from unlabeled.sources import load
from unlabeled.studies.course import run_gain

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,
    # Dask's own sockets and loops are closed when it likes.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@contextmanager
def workers(count=2, **options):
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0", "silence_logs": 50} | options
    with distributed.LocalCluster(n_workers=count, **options) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with own_cache(tmp_path_factory), workers() as cluster:
        yield cluster


@pytest.fixture
def engine(cluster):
    engine = DaskEngine(cluster.scheduler_address)
    yield engine
    engine.close()


@pytest.fixture
def lab(tmp_path):
    config = resolve({"data": "digits", "device": "cpu", "precision": "fp32"})
    return Lab(config, load(config), tmp_path / "run")


def perform(engine, lab, tasks):
    """Run tasks on an engine; return what came out, by number, and what was said."""
    said = StringIO()
    waiting = [(str(task.key(lab).folder), f"run {task.number}", task) for task in tasks]
    with RunProgress(Console(file=said, width=200)) as progress:
        found = run_on(engine, lab, waiting, progress, lambda outcome: "done")
    return {task.number: found[name] for name, _, task in waiting}, said.getvalue()


def test_the_main_job_over_workers_ends_with_the_serial_bytes(cluster, tmp_path):
    options = TINY_GAIN | {"leave_out": ["scaled", "denoised-network", "denoised", "joint", "pca"]}
    serial = resolve(options)
    spread = resolve(options, {"cluster": f"dask:{cluster.scheduler_address}"})
    assert serial.question == spread.question
    splits = load(serial)
    here = run_gain(serial, splits, folder=tmp_path / "here")
    there = run_gain(spread, splits, folder=tmp_path / "there")
    digests = [json.loads((one / "result.json").read_text(encoding="utf-8"))["digest"] for one in (here, there)]
    assert digests[0] == digests[1]
    names = [sorted(str(p.relative_to(one)) for p in (one / "runs").rglob("test.npz")) for one in (here, there)]
    assert names[0] == names[1]
    for name in names[0]:
        assert (here / name).read_bytes() == (there / name).read_bytes()
    engine_of(Lab(spread, splits, there)).close()
    # The cluster may be gone when somebody asks for suggestions or the classifier.
    assert reopen(there).lab.config.cluster == "local"


def test_a_run_begins_when_those_that_it_needs_have_ended(engine, lab):
    first = Plain(1)
    second = Plain(10, (first,))
    found, _ = perform(engine, lab, [Plain(100, (second, first)), second, Plain(3)])
    assert {number: one.held_out_mse for number, one in found.items()} == {100: 112, 10: 11, 3: 3}
    done = first.key(lab).outcome()
    assert done["held_out_mse"] == 1
    assert done["seconds"] <= found[10].seconds <= found[100].seconds


def test_a_killed_worker_costs_its_run_no_more_than_time(lab, tmp_path, tmp_path_factory):
    with own_cache(tmp_path_factory), workers() as own:
        engine = DaskEngine(own.scheduler_address)
        tasks = [Dying(1, times=1, notes=str(tmp_path)), Plain(2), Plain(3, (Dying(1, times=1, notes=str(tmp_path)),))]
        found, _ = perform(engine, lab, tasks)
        assert {number: one.held_out_mse for number, one in found.items()} == {1: 1, 2: 2, 3: 4}
        engine.close()


def test_a_run_that_ends_every_worker_is_told_and_what_was_finished_is_kept(lab, tmp_path, tmp_path_factory):
    with own_cache(tmp_path_factory), workers() as own:
        own.scheduler.allowed_failures = 0
        engine = DaskEngine(own.scheduler_address)
        said = StringIO()
        tasks = [Plain(2), Dying(1, times=99, notes=str(tmp_path))]
        waiting = [(str(task.key(lab).folder), f"run {task.number}", task) for task in tasks]
        with (
            pytest.raises(ProcessKilled, match=r"run 1: its worker was ended 4 times .* give workers more memory"),
            RunProgress(Console(file=said, width=200)) as progress,
        ):
            run_on(engine, lab, waiting, progress, lambda outcome: "done")
        assert "run 1: its worker was lost, and another begins it again (3 lost so far)" in said.getvalue()
        assert Plain(2).key(lab).outcome() is not None
        engine.close()


def test_a_full_disk_on_a_worker_is_that_error_and_the_others_are_kept(engine, lab):
    with pytest.raises(OSError, match="No space left on device"):
        perform(engine, lab, [Plain(1), Full(2)])
    found, _ = perform(engine, lab, [Plain(1), Plain(2)])  # another run in its folder, when there is room again
    assert found[2].held_out_mse == 2


def test_an_interrupt_takes_back_what_waits(engine, lab, monkeypatch):
    taken = []
    monkeypatch.setattr(engine, "cancel", lambda handles: taken.append(len(handles)))

    def interrupted(handles):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(engine, "ended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        perform(engine, lab, [Plain(1), Plain(2), Plain(3)])
    assert taken == [3]


def test_runs_that_may_use_a_gpu_go_to_workers_that_have_one(lab, tmp_path_factory):
    with own_cache(tmp_path_factory), workers(2) as plain:
        engine = DaskEngine(plain.scheduler_address)
        assert not engine.tagged
        engine.close()
    with own_cache(tmp_path_factory), workers(1, resources={"GPU": 1}) as tagged:
        tagged.scale(1)
        engine = DaskEngine(tagged.scheduler_address)
        assert engine.tagged
        gpu = Lab(lab.config.model_copy(update={"device": "auto"}), lab.splits, lab.folder)
        found, _ = perform(engine, gpu, [Plain(1)])
        assert found[1].held_out_mse == 1
        engine.close()


def test_a_scheduler_that_goes_away_ends_the_study_in_a_line(lab, tmp_path, monkeypatch):
    """As people start them: a scheduler that leaves its address in a file, and a worker."""
    monkeypatch.setattr(clusters, "_PATIENCE", 20)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    file = tmp_path / "scheduler.json"
    dask, options = [sys.executable, "-m", "dask"], {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--scheduler-file", file, "--port", "0", "--no-dashboard"], **options
    )
    worker = subprocess.Popen(
        [*dask, "worker", "--scheduler-file", file, "--nthreads", "1", "--no-dashboard"], **options
    )
    try:
        while not file.exists():
            time.sleep(0.1)
        engine = open_engine(f"dask:{file}", tmp_path)
        monkeypatch.setattr(clusters, "_PATIENCE", 2)
        threading.Timer(2.0, scheduler.kill).start()
        with pytest.raises(UserError, match=r"the cluster's scheduler has gone .* the same command goes on from there"):
            perform(engine, lab, [Slow(number) for number in range(5)])
        engine.close()
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


def test_a_queue_does_the_same(lab, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    engine = open_engine("slurm:cluster=local,timeout_min=5", tmp_path)
    assert isinstance(engine, SlurmEngine)
    dying = Dying(7, times=1, notes=str(tmp_path))
    found, said = perform(engine, lab, [Plain(2, (Plain(1),)), dying])
    assert {number: one.held_out_mse for number, one in found.items()} == {2: 3, 7: 7}
    assert "its worker was lost, and another begins it again (1 lost so far)" in said
    with pytest.raises(UserError, match=r"job .*: OSError: .*No space left on device.*; its log is .*\.err$"):
        perform(engine, lab, [Full(9)])


# Refusals


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ray:auto", "--cluster ray:auto: use local, dask:ADDRESS"),
        ("dask:", "use local, dask:ADDRESS"),
        ("dask:tcp://127.0.0.1:9", "no scheduler answers there"),
        ("dask:nowhere.json", "no such file; dask scheduler --scheduler-file nowhere.json writes it"),
        ("slurm:walltime=3,cluster=local", "--cluster slurm:walltime=3"),
        ("slurm:fast", "fast is no OPTION=VALUE"),
    ],
)
def test_clusters_that_are_none_are_refused(name, message, tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "_PATIENCE", 1)
    with pytest.raises(UserError, match=message):
        open_engine(name, tmp_path)


def test_workers_of_several_threads_or_other_versions_are_refused(tmp_path_factory, monkeypatch, cluster):
    with (
        workers(1, threads_per_worker=2, processes=False) as several,
        pytest.raises(UserError, match=r"1 of 1 workers have several threads, .* --nthreads 1"),
    ):
        DaskEngine(several.scheduler_address)
    monkeypatch.setattr(clusters, "refuse_others", lambda here, there: refuse_others(here | {"torch": "9.9"}, there))
    with pytest.raises(
        UserError, match=r"machines are not alike: tcp://.* has torch .* \(here 9\.9\); install the same"
    ):
        open_engine(f"dask:{cluster.scheduler_address}", tmp_path_factory.mktemp("x"))


def test_the_same_versions_are_taken_and_the_first_differences_named():
    mine = facts()
    refuse_others(mine, {"a": dict(mine), "b": dict(mine)})
    with pytest.raises(UserError, match=r"b has numpy 1 \(here .*; c has torch missing"):
        refuse_others(
            mine, {"a": mine, "b": mine | {"numpy": "1"}, "c": {k: v for k, v in mine.items() if k != "torch"}}
        )


def test_an_errand_proves_images_and_run(lab):
    task, place = Plain(5), place_of(lab)
    run = task.key(lab).folder.name
    threads = torch.get_num_threads()
    assert do_errand(Errand(place, task, run, {})).outcome.held_out_mse == 5
    assert torch.get_num_threads() == threads
    with pytest.raises(UserError, match=r"would compute .* in place of plain-other: kernels or precision differ"):
        do_errand(Errand(place, task, "plain-other", {}))
    with pytest.raises(
        UserError, match=r"digits holds other images here \(.*\) than where the study was begun \(other\)"
    ):
        do_errand(Errand(replace(place, images="other"), task, run, {}))


def test_what_no_other_machine_can_make_is_computed_here(lab):
    config = lab.config.model_copy(update={"cluster": "dask:tcp://127.0.0.1:9"})
    assert engine_of(Lab(config.model_copy(update={"data": "python"}), lab.splits, lab.folder)) is None
    assert engine_of(lab) is None
    rows = run_tasks(lab, [Plain(1)], RunProgress())
    assert rows[0].outcome.held_out_mse == 1
