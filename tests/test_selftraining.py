"""The strong network as a way of the main job: teacher, student, and the student of labeled images alone."""

import pickle
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file as load_tensors

from conftest import TINY_GAIN, own_cache, read_json
from unlabeled.config.settings import ConsistencyConfig
from unlabeled.console.progress import RunProgress
from unlabeled.errors import UserError
from unlabeled.experiments import lab as lab_module
from unlabeled.experiments import strong
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.performing import perform
from unlabeled.experiments.selftraining import TEACHER, StrongTask
from unlabeled.kernels import blocks, building, halves
from unlabeled.methods.strong import (
    CONSISTENT,
    CONSISTENT_TWIN,
    REBUILT,
    REBUILT_TWIN,
    ROTATED,
    ROTATED_TWIN,
    SELF_DISTILLED,
    SELF_TRAINED,
    STRONG,
    STRONG_METHODS,
)
from unlabeled.networks.layout import count_operations
from unlabeled.networks.strong import whitening_of
from unlabeled.presets import resolve
from unlabeled.report.page import write_report
from unlabeled.sources import load
from unlabeled.studies.course import run_gain
from unlabeled.training import precision

BLOCKS_CALL = blocks.call
SMALL = {"classifier": "strong", "leave_out": ["random", "pca", "frozen", "denoised"], "seeds": 1,
         "precision": "fp32",
         "strong": {"widths": [6, 8, 10], "rounds": 2, "training": {"steps": 6, "batch_size": 16},
                    "consistency": {"steps": 9}}}  # fmt: skip


@pytest.fixture
def lab(tmp_path):
    config = resolve(TINY_GAIN, SMALL)
    return Lab(config, load(config), tmp_path)


@pytest.mark.slow
def test_no_way_draws_of_random_numbers_that_are_not_its_seeds(tmp_path):
    config, weights = resolve(TINY_GAIN, SMALL, {"folds": 2}), []
    for number in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(number)
            np.random.seed(number)
            run_gain(config, load(config), folder=tmp_path / str(number))
        found = sorted((tmp_path / str(number)).glob("runs/*/*/weights.safetensors"))
        weights.append({str(path.relative_to(tmp_path / str(number))): path.read_bytes() for path in found})
    assert len({name.split("/")[1] for name in weights[0]}) > 10
    assert weights[0] == weights[1]


def test_a_student_of_the_second_round_stands_on_all_before_it(lab):
    (task,) = SELF_TRAINED.tasks(lab, 1, 0)
    (first,) = task.needs
    (teacher,) = first.needs
    assert (task.round, first.round, teacher.round) == (2, 1, 0)
    assert (first.arm, first.pool) == (task.arm, "unlabeled")
    assert [teacher] == STRONG.tasks(lab, 1, 0)
    assert teacher.needs == ()
    folders = {one.key(lab).folder for one in (task, first, teacher, *SELF_DISTILLED.tasks(lab, 1, 0))}
    assert len(folders) == 4


@pytest.mark.slow
def test_nobody_learns_from_images_that_choose_or_that_judge(lab, monkeypatch):
    """Labeled training images for all, the unlabeled ones for students, and nothing else; validation images only measure."""
    seen, fit = [], strong.fit

    def watch(network, objective, images, *, valid, beside=None, **options):
        seen.append((images, valid, beside))
        return fit(network, objective, images, valid=valid, beside=beside, **options)

    monkeypatch.setattr(strong, "fit", watch)
    part = lab.folds.folds[0]
    own, judging = (set(lab.splits.labeled.subset(rows).rows.tolist()) for rows in (part.train, part.valid))
    for method in STRONG_METHODS[:-1]:  # but the one that starts from the user's weights
        seen.clear()
        perform(lab, method.tasks(lab, 0, 0)[0])
        assert seen
        for images, valid, beside in seen:
            pool = images if beside is None else beside.images
            if images.labels is not None:
                assert set(images.rows.tolist()) == own
                assert set(valid.rows.tolist()) == judging
                assert beside is None or beside.taught or np.allclose(beside.targets.sum(1), 1, atol=1e-5)
            if pool.pixels is lab.splits.unlabeled.pixels:
                assert method.pool == "unlabeled"
            else:
                assert set(pool.rows.tolist()) == own
        assert (method.pool == "unlabeled") == any(
            one.pixels is lab.splits.unlabeled.pixels for images, _, beside in seen for one in (images, beside and beside.images) if one
        )  # fmt: skip


@pytest.mark.parametrize(("way", "twin"), [(REBUILT, REBUILT_TWIN), (ROTATED, ROTATED_TWIN)])
def test_a_pretrained_network_starts_from_blocks_that_never_saw_a_label(lab, monkeypatch, way, twin):
    """Its head and order are those of labels alone; the images that learn and choose carry no labels; the twin's are the fold's own."""
    fit, seen = strong.fit, []

    def watch(network, objective, images, **options):
        seen.append((images, options["valid"], {name: t.clone() for name, t in network.state_dict().items()}))
        return fit(network, objective, images, **options)

    monkeypatch.setattr(strong, "fit", watch)
    perform(lab, STRONG.tasks(lab, 0, 0)[0])
    for method in (way, twin):
        (task,) = method.tasks(lab, 0, 0)
        (needed,) = task.needs
        perform(lab, task)
        (images, valid, _), (labeled, _, first) = seen[-2:]
        assert images.labels is None
        assert valid.labels is None
        assert np.array_equal(labeled.rows, seen[0][0].rows)
        learned = load_tensors(needed.key(lab).folder / "weights.safetensors")
        assert all((first[name] == learned[name]).all() for name in first if name.startswith(("blocks", "whitening")))
        assert all((first[name] == seen[0][2][name]).all() for name in first if name.startswith("head"))
    assert way.tasks(lab, 1, 0)[0].needs == way.tasks(lab, 0, 0)[0].needs
    assert twin.tasks(lab, 1, 0)[0].needs != twin.tasks(lab, 0, 0)[0].needs


def test_teacher_and_students_take_as_many_steps_on_as_many_images(lab):
    teacher, student = lab.config.strong.training, lab.config.strong.student
    images = len(lab.folds.folds[0].train)
    assert student.batch_size * (1 + student.beside_ratio) == teacher.batch_size
    assert student.steps == teacher.steps
    assert student.steps_of(images) == teacher.steps_of(images)
    assert student.augmentation == teacher.augmentation


def test_consistency_goes_on_from_the_weights_of_labels_alone(lab, monkeypatch):
    """Same first weights, as many steps, for the way and its twin; a threshold that nothing passes leaves the labels alone."""
    fit, begun = strong.fit, []

    def watch(network, objective, images, **options):
        begun.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        fitted = fit(network, objective, images, **options)
        assert sum(np.ceil(len(images) / options["config"].batch_size) for _ in fitted.history) >= 9
        return fitted

    for method in (CONSISTENT, CONSISTENT_TWIN):
        (task,) = method.tasks(lab, 1, 0)
        (teacher,) = task.needs
        assert teacher == STRONG.tasks(lab, 1, 0)[0]
        perform(lab, teacher)
        with monkeypatch.context() as patched:
            patched.setattr(strong, "fit", watch)
            perform(lab, task)
        weights = load_tensors(teacher.key(lab).folder / "weights.safetensors")
        assert all((weights[name] == tensor).all() for name, tensor in begun[-1].items())
        after = load_tensors(task.key(lab).folder / "weights.safetensors")
        assert any((after[name] != tensor).any() for name, tensor in weights.items())
        assert all((after[name] == weights[name]).all() for name in after if name.startswith("whitening"))
    assert all((begun[0][name] == begun[1][name]).all() for name in begun[0])


def test_the_same_task_again_is_read_and_another_number_of_rounds_shares_what_it_can(lab, monkeypatch):
    (task,) = SELF_TRAINED.tasks(lab, 0, 0)
    done = perform(lab, task)
    monkeypatch.setattr(strong, "fit", None)
    assert perform(lab, task) == done
    shorter = replace(task, strong=task.strong.model_copy(update={"rounds": 1}), round=1)
    assert shorter.key(lab).folder == task.needs[0].key(lab).folder
    assert not done.best_at_last
    assert 0 <= done.valid_accuracy <= 1


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"ratio": 1}, True),
        ({"balance": 1.0}, True),
        ({"consistency": ConsistencyConfig(steps=8)}, True),
        ({"layers": 2}, False),
        ({"widths": (4, 4)}, False),
    ],
)
def test_a_teacher_knows_nothing_of_its_students(lab, change, same):
    task = StrongTask(TEACHER, lab.config.strong, 0, 0)
    other = replace(task, strong=lab.config.strong.model_copy(update=change))
    assert (task.key(lab).folder == other.key(lab).folder) == same
    student, consistent = (
        replace(task, way="pseudo-labels", pool="unlabeled", round=1),
        replace(task, way="consistency", pool="unlabeled"),
    )
    changes = [student.key(lab).folder != replace(student, strong=other.strong).key(lab).folder,
               consistent.key(lab).folder != replace(consistent, strong=other.strong).key(lab).folder]  # fmt: skip
    assert changes == ["consistency" not in change, "balance" not in change]


def test_only_students_of_unlabeled_images_are_whitened_by_them(lab):
    part = lab.folds.folds[0]
    train = lab.splits.labeled.subset(part.train)
    by_labeled, by_unlabeled = (
        strong.new_strong(lab, lab.config.strong, 0, images) for images in (train, lab.splits.unlabeled)
    )
    for network, images in ((by_labeled, train), (by_unlabeled, lab.splits.unlabeled)):
        matrix, _ = whitening_of(images)
        assert np.allclose(network.whitening.weight[: len(matrix)].reshape(matrix.shape).numpy(), matrix, atol=1e-4)
    assert all((a == b).all() for a, b in zip(by_labeled.parameters(), by_unlabeled.parameters(), strict=True))


def test_of_a_small_image_only_the_blocks_that_fit_are_used_and_of_a_tiny_one_none(lab, tmp_path):
    network = strong.new_strong(lab, lab.config.strong, 0, lab.splits.unlabeled)  # of 8x8
    assert network.widths == (6, 8)
    config = resolve(TINY_GAIN, SMALL, {"side": 6})
    with pytest.raises(
        UserError, match="at least 8 pixels a side, and these have 6; give --side 8 or more, or --classifier small"
    ):
        strong.check_strong(Lab(config, load(config), tmp_path))


def test_a_run_costs_what_it_stands_on_too(lab):
    """Seconds and operations of the teacher, or of the pretraining, are counted once, and a training's grow with its images."""
    teacher = perform(lab, STRONG.tasks(lab, 0, 0)[0])
    assert teacher.seconds_before == 0
    network = strong.new_strong(lab, lab.config.strong, 0, lab.splits.unlabeled)
    forward = count_operations(network, lab.splits.labeled.shape)
    train = len(lab.folds.folds[0].train)
    assert teacher.operations == 3 * forward * train * teacher.epochs
    (task,) = CONSISTENT.tasks(lab, 0, 0)
    student = perform(lab, task)
    assert student.seconds_in_all == pytest.approx(student.seconds + teacher.seconds)
    ratio = lab.config.strong.ratio
    assert student.operations == teacher.operations + forward * train * student.epochs * (3 * (1 + ratio) + ratio)
    (task,) = REBUILT.tasks(lab, 0, 0)
    pretrained = perform(lab, task.needs[0])
    assert perform(lab, task).seconds_before == pytest.approx(pretrained.seconds)
    assert perform(lab, task).operations == pretrained.operations + teacher.operations


def test_operations_are_those_of_the_shapes():
    """Of a convolution: outputs times what each is the sum of."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(5 * 8 * 9, 2))
    assert count_operations(model, (3, 8, 9)) == 8 * 9 * 5 * 27 + 5 * 8 * 9 * 2


@pytest.mark.parametrize(("half", "gain", "steps"), [(0.5, 2.0, 12), (1.25, 0.8, 12), (10.0, 0.1, 4)])
def test_an_emulated_precision_is_not_waited_for(monkeypatch, half, gain, steps):
    """Each takes a step to warm up; five turns of two follow, or one where half precision takes more than five times as long."""
    now, asked = 0.0, []

    def clock():
        nonlocal now
        asked.append(now)
        if len(asked) % 2 == 0:
            now += half if len(asked) % 4 == 0 else 1.0  # every second step is in half precision
        return now

    monkeypatch.setattr(precision.time, "perf_counter", clock)
    assert precision._measure() == pytest.approx(gain)
    assert len(asked) == 2 * steps


def test_the_faster_precision_is_measured_once_and_kept(tmp_path, monkeypatch, caplog):
    device, asked = torch.device("cpu"), []

    def measured(gain):
        monkeypatch.setattr(precision, "_measure", lambda: asked.append(gain) or gain)

    measured(1.9)
    assert precision.faster_precision(device, tmp_path) == "bf16"
    measured(0.7)
    assert precision.faster_precision(device, tmp_path) == "bf16"
    assert asked == [1.9]
    (kept,) = tmp_path.glob("precision-*.json")
    for damaged in ("", "{}", "[1]", '{"faster": "fp8"}', '{"faster": ["fp32"]}'):
        kept.write_text(damaged)
        assert precision.faster_precision(device, tmp_path) == "fp32"
    assert asked == [1.9, *[0.7] * 5]
    monkeypatch.setattr(precision, "_VERSION", precision._VERSION + 1)  # both compute otherwise now
    measured(1.5)
    assert precision.faster_precision(device, tmp_path) == "bf16"
    (tmp_path / "file").write_text("")
    assert precision.faster_precision(device, tmp_path / "file") == "bf16"
    assert "measured again" in caplog.text


@pytest.mark.parametrize(
    ("asked", "others", "own"), [("auto", "fp32", "bf16"), ("fp32", "fp32", "fp32"), ("bf16", "bf16", "bf16")]
)
def test_only_the_strong_network_takes_the_faster_precision_and_its_key_says_so(
    lab, tmp_path, monkeypatch, asked, others, own
):
    monkeypatch.setattr(lab_module, "faster_precision", lambda *_: "bf16")
    config = lab.config.model_copy(update={"precision": asked})
    other = Lab(config, lab.splits, tmp_path)
    assert other.runtime.precision == others
    assert other.strong_runtime.precision == own
    assert other.arithmetic["precision"] == others
    same = STRONG.tasks(other, 0, 0)[0].key(other).folder.name == STRONG.tasks(lab, 0, 0)[0].key(lab).folder.name
    assert same == (own == "fp32")
    monkeypatch.setattr(lab_module, "faster_precision", lambda *_: "fp32")
    monkeypatch.setattr(lab_module.building, "take", lambda library: None)  # this process is not the other one
    travelled = pickle.loads(pickle.dumps(other))
    assert travelled.strong_runtime.precision == own
    # A finished run of before the kernels keeps to its keys.
    own_key = STRONG.tasks(other, 0, 0)[0].key(other)
    other.strong_kernels = not other.strong_kernels
    for same in (other, other.like(other.splits), pickle.loads(pickle.dumps(other))):
        assert STRONG.tasks(same, 0, 0)[0].key(same).folder != own_key.folder


@pytest.mark.parametrize("task", [STRONG, REBUILT])
def test_a_strong_networks_key_says_whether_kernels_made_it(lab, tmp_path, monkeypatch, task):
    """As it was before there were any where there are none."""
    names = {}
    for there, digits in product((True, False), ("fp32", "bf16")):
        monkeypatch.setattr(lab_module.building, "kernels", lambda there=there: there or None)
        other = Lab(lab.config.model_copy(update={"precision": digits}), lab.splits, tmp_path)
        run = task.tasks(other, 0, 0)[0].key(other)
        names[there, digits] = run.folder.name
        assert other.strong_arithmetic == {"precision": digits} | ({"kernels": True} if there else {})
    assert len(set(names.values())) == len(names)


@pytest.mark.skipif(building.kernels() is None, reason="this machine has no compiler, or UNLABELED_KERNELS=off")
@pytest.mark.parametrize("digits", ["fp32", "bf16"])
@pytest.mark.parametrize("task", [STRONG, REBUILT])
def test_a_run_is_made_as_its_key_says(lab, tmp_path, monkeypatch, task, digits):
    """A folder of before the kernels is gone on with as it was begun."""
    config = lab.config.model_copy(update={"precision": digits})
    asked = []
    for module in (blocks, halves):
        monkeypatch.setattr(module, "call", lambda *given: (asked.append(given), BLOCKS_CALL(*given)))
    for there in (True, False):
        asked.clear()
        other = Lab(config, lab.splits, tmp_path)
        other.strong_kernels = there
        perform(other, *task.tasks(other, 0, 0)[:1])
        assert bool(asked) == there
    # The last lab of a process is taken for another only if it computes alike.
    monkeypatch.setattr(lab_module.building, "take", lambda library: None)
    assert [pickle.loads(pickle.dumps(one)).strong_kernels for one in (other, Lab(config, lab.splits, tmp_path))] == [
        False,
        True,
    ]


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """The main job with every way of the strong network, its progress and its folder."""
    with own_cache(tmp_path_factory):
        yield _answer(tmp_path_factory.mktemp("strong"))


def _answer(folder):
    config = resolve(TINY_GAIN, SMALL, {"seeds": 3, "strong": {"rounds": 1}})
    said = []

    class Shown(RunProgress):
        def done(self, name, outcome, took):
            said.append((name, took))
            super().done(name, outcome, took)

    return run_gain(config, load(config), folder=folder, progress=Shown(Console(quiet=True))), said


@pytest.mark.slow
def test_each_run_is_told_once_with_its_own_seconds(answered):
    """Teachers are needed by others and asked for themselves: they are made, and told, once."""
    _, said = answered
    names = [name for name, _ in said]
    assert len(names) == len(set(names))
    teachers = [took for name, took in said if "strong-labels" in name]
    assert len(teachers) == 2 * 3
    assert min(teachers) > 0.01


def test_the_main_job_is_about_the_best_way_of_the_strong_network(answered):
    result = read_json(answered[0] / "result.json")
    arms = {arm["arm"]["source"] for arm in result["findings"]["comparison"]["arms"]}
    assert {"strong", "self-training", "consistency", "rebuilding", "rotations"} <= arms
    assert not arms & {"random", "joint", "labeled"}
    chosen = result["findings"]["comparison"]["chosen"]
    valid = {}
    for row in result["findings"]["rows"]:
        if row["arm"].get("way", "") == "" and row["arm"]["source"] in (
            "self-training",
            "consistency",
            "rebuilding",
            "rotations",
        ):
            valid.setdefault(row["arm"]["source"], []).append(row["outcome"]["valid_accuracy"])
    means = {source: np.mean(values) for source, values in valid.items()}
    assert means[chosen["source"]] == max(means.values())


@pytest.mark.parametrize(
    ("lang", "words"), [("en", ("look foreign", "operations", "in all, s")), ("ru", ("Чужими", "операций"))]
)
def test_its_page_tells_costs_and_what_looks_foreign(answered, lang, words):
    page = write_report(answered[0], lang).read_text()
    assert all(word in page for word in words)
    assert "costs" in page
    assert "Raise --network" not in page
