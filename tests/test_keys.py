"""A run's key holds everything that decides its outcome: whichever field of the configuration changes, the key does, or the bytes stay."""

import types
from typing import Annotated, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from conftest import TINY_STUDIES, own_cache
from unlabeled import training
from unlabeled.config import Config
from unlabeled.errors import TrainingDiverged, UserError
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.performing import perform
from unlabeled.experiments.selftraining import TEACHER, StrongTask
from unlabeled.experiments.tasks import AutoencoderTask, ClassicalTask, NetworkTask, PatchesTask
from unlabeled.images.batches import uneven
from unlabeled.methods.strong import SELF_TRAINED
from unlabeled.presets import merge, resolve
from unlabeled.sources import load
from unlabeled.studies import curve, depths, gain, joint, maps, penalties, points, search
from unlabeled.studies.features import _plan as features_plan
from unlabeled.studies.study import pixel_tasks
from unlabeled.studies.variants import base_network, variants

# The grid of rates needs equally many everywhere; two of each leave room for a change.
BASE = merge(
    TINY_STUDIES,
    {
        "seeds": 1,
        "leave_out": "none",
        "classifier": "both",
        "precision": "fp32",
        "strong": {"widths": [4], "training": {"steps": 2, "batch_size": 8}},
        "studies": {"network": {name: [0.1, 0.2] for name in ("adam_rates", "adagrad_rates", "rmsprop_rates")}},
    },
)


def leaves(kind=Config, path=()):
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, (*path, name))
        else:
            yield (*path, name)


def value_at(config, path):
    for name in path:
        config = getattr(config, name)
    return config


def choices(annotation):
    origin = get_origin(annotation)
    if origin is Literal:
        return list(get_args(annotation))
    if origin in (Union, types.UnionType, Annotated, tuple, list):
        return [choice for inner in get_args(annotation) for choice in choices(inner)]
    return []


# Where the likely values are none, or change more than the field.
EXPLICIT = {
    ("leave_out",): [],
    ("device",): ["auto"],
    ("precision",): ["bf16"],  # "auto" is either, as the machine has it
    ("labels",): [120],
    ("network", "hidden"): [[7]],
    ("data",): [],
    ("cache",): [],
    ("curve", "labels"): [[0.4]],
    ("curve", "unlabeled"): [[0.4]],
    ("curve", "ways"): [["pixels"]],
}
# Kinds of momentum go with sgd alone.
WITH_SGD = ("momentum_start", "nesterov")


def others(path, value):
    """Values that a field could have instead, the likeliest first."""
    if path in EXPLICIT:
        return EXPLICIT[path]
    kind = Config
    for name in path[:-1]:
        kind = kind.model_fields[name].annotation
    known = [choice for choice in choices(kind.model_fields[path[-1]].annotation) if choice is not None]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, tuple | list):
        numbers = [[entry + step for entry in value] for step in (1, 2) if all(isinstance(v, int) for v in value)]
        scaled = [
            [entry * factor for entry in value] for factor in (0.5, 2.0) if all(isinstance(v, float) for v in value)
        ]
        return [*numbers, *scaled, [*value[:-1]], *([choice] for choice in known if [choice] != list(value))]
    if isinstance(value, int):
        return [value + 1, value + 2, value - 1, 2 * value]
    if isinstance(value, float):
        return [value * 0.5, value + 0.1, 0.5]
    return [*(choice for choice in known if choice != value), 9, 20, 0.5, "elsewhere"]


def nested(path, value):
    for name in reversed(path):
        value = {name: value}
    return value


def altered(path, value, *more):
    """The configuration with another value of one field, or nothing where no other goes with the rest."""
    if path in (("study",), ("preset",)):
        # Presets are taken apart before there is a configuration; it is the field's own part that is looked at.
        return resolve(BASE).model_copy(update={path[0]: others(path, value)[0]})
    if path == ("start",):
        return None  # no file is there
    for other in others(path, value):
        try:
            config = resolve(BASE, *more, nested(path, other))
        except UserError:
            continue
        if value_at(config, path) != value:
            return config
    return None


def tasks_of(lab):
    """The runs of the main job and of all studies, as far as they do not wait for what others find."""
    config = lab.config
    encoder, trained = config.encoder, config.autoencoder
    grid = config.studies.network
    yield from gain.plan(lab)
    for point in curve.label_points(lab)[0]:
        yield from curve.tasks_at(lab, point, curve.drawn_ways(lab, TEACHER, SELF_TRAINED.arm))
    for point in curve.image_points(lab):
        yield from curve.tasks_at(lab, point, [SELF_TRAINED.arm])
    yield from pixel_tasks(lab)
    yield from pixel_tasks(lab, ("linear-network",))
    yield from (NetworkTask(v.arm, v.encoder, v.network, 0, 0) for v in variants(grid, 2) if v.value != "5")
    yield NetworkTask(joint.SCRATCH, grid.encoder, base_network(grid.training), 0, 0, gradients=True)
    candidates, _ = search._legal(lab, search._geometries(trained, config.studies.autoencoder))
    candidates |= search._legal(lab, search._relatives(next(iter(candidates.values())), config.studies.autoencoder))[0]
    yield from (AutoencoderTask(arm, c.learned(0, config.studies.autoencoder.images)) for arm, c in candidates.items())
    yield from features_plan(lab, encoder, trained)
    yield from points.Finetuning(lab, encoder, trained).tasks()
    yield from depths.plan(lab, depths.make_variants(lab)[0])
    yield from (PatchesTask(arm, learned[0]) for arm, learned in penalties.variants(lab).items())
    strides = [stride for stride in config.studies.convolved.strides if maps.fits(lab, stride)]
    plan = maps.make_plan(lab, strides, 0)
    yield from maps.learning(plan)
    yield from maps.tasks(lab, [plan])
    yield from joint.plan(lab)


def keys(config, folder):
    lab = Lab(config, load(config), folder)
    needed = dict.fromkeys(task for task in tasks_of(lab) for task in (task, *task.needs))
    return {task.key(lab).folder.relative_to(folder).as_posix() for task in needed}


def one_of_each_kind(lab):
    """A run of each kind; of classical models and networks those, of what they stand on what they need."""
    seen = {}
    for task in tasks_of(lab):
        learning = getattr(task, "learning", None)
        kind = (type(task), getattr(task, "model", ""), task.arm.source, getattr(learning, "way", type(learning)))
        if isinstance(task, ClassicalTask | NetworkTask | StrongTask) and task.arm.source not in (
            "report",
            "deep",
            "filters",
        ):
            seen.setdefault(kind, task)
    assert len(seen) > 25
    return list(seen.values())


def outcome_bytes(config, folder):
    """The files of one run of each kind, times apart."""
    lab = Lab(config, load(config), folder)
    for task in one_of_each_kind(lab):
        perform(lab, task)
    files = [path for path in folder.rglob("*") if path.suffix in (".npz", ".safetensors")]
    return {path.relative_to(folder): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    with own_cache(tmp_path_factory):
        config = resolve(BASE)
        return config, keys(config, tmp_path_factory.mktemp("keys"))


# Where and how quickly it is computed, what it is called, and of other data sets: these must change no key.
SILENT = {
    ("study",), ("lang",), ("out",), ("device",), ("threads",), ("jobs",), ("cluster",), ("own_folds",), ("preset",), ("shapes", "train"),
    ("shapes", "test"), ("shapes", "unlabeled"), ("shapes", "seed"), ("studies", "encoder"),
}  # fmt: skip


# What of the studies only chooses among runs or compares them, or makes runs that are not among those looked at here.
UNSEEN = {
    ("difference",), ("near",), ("studies", "autoencoder", "longest"), ("studies", "convolved", "pool"),
    ("studies", "convolved", "stride"), ("studies", "finetune", "most_epochs"), ("studies", "network", "adagrad_rates"),
    ("studies", "network", "decoupled_decay"), ("strong", "start", "steps"), ("strong", "start", "learning_rate"),
    ("strong", "start", "side"), ("studies", "open_set", "shares"), ("studies", "open_set", "known"), ("studies", "open_set", "labels"),
    ("studies", "network", "filters"), ("studies", "network", "labels"),
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(set(leaves())), ids=".".join)
def test_another_value_is_another_key_but_where_it_changes_no_byte(base, tmp_path, path):
    config, known = base
    more = ()
    if path[-1] in WITH_SGD:
        more = (nested(path[:-1], {"optimizer": "sgd", "momentum": 0.9}),)
        config = resolve(BASE, *more)
        known = keys(config, tmp_path)
    other = altered(path, value_at(config, path), *more)
    if other is None:
        # Of other data, elsewhere, fewer of the same runs, and a name for the one learning rate of a list.
        assert path in (("data",), ("cache",), ("leave_out",), ("start",), ("network", "training", "learning_rate"))
        return
    assert (keys(other, tmp_path) == known) == (path in SILENT | UNSEEN)


def with_value(config, path, value):
    """A configuration with another value of one field."""
    if len(path) > 1:
        value = with_value(getattr(config, path[0]), path[1:], value)
    return config.model_copy(update={path[0]: value})


@pytest.mark.slow
def test_what_changes_no_key_changes_no_byte(base, tmp_path):
    """All of it is changed at once, and one run of each kind made anew."""
    config, known = base
    other = config
    for path in sorted(SILENT | UNSEEN):
        other = with_value(other, path, value_at(altered(path, value_at(config, path)), path))
    assert keys(other, tmp_path / "other") <= known
    found, expected = outcome_bytes(other, tmp_path / "other"), outcome_bytes(config, tmp_path / "same")
    assert len(found) > 25
    differing = {path.parts[1] for path, content in found.items() if expected[path] != content}
    # The number of threads is among what is changed, and PyTorch's batch normalisation adds up in another order on another number of
    # them, which of these small runs the strong autoencoder's alone shows (docs/LOG.md). All else is the same to the byte.
    assert differing <= {"strong-autoencoder"}


def sections(config, path=()):
    yield path, config
    for name, field in type(config).model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from sections(getattr(config, name), (*path, name))


def fields_read(lab, task, monkeypatch):
    """The fields of the lab's configuration that a run reads while it computes, its key apart."""
    paths, read, on = {id(section): path for path, section in sections(lab.config)}, set(), []
    get, dump, run = BaseModel.__getattribute__, BaseModel.model_dump, type(task).run

    def reading(self, name):
        if on and id(self) in paths and name in type(self).model_fields:
            read.add((*paths[id(self)], name))
        return get(self, name)

    def dumping(self, *arguments, **options):
        if on and id(self) in paths:
            path, left_out = paths[id(self)], options.get("exclude") or set()
            taken = options.get("include")
            inside = [leaf for leaf in leaves() if leaf[: len(path)] == path]
            read.update(
                leaf
                for leaf in inside
                if leaf[len(path)] not in left_out and (taken is None or leaf[len(path)] in taken)
            )
        return dump(self, *arguments, **options)

    def running(self, *arguments):
        on.append(self)
        try:
            return run(self, *arguments)
        finally:
            on.pop()

    for need in task.needs:
        perform(lab, need)
    with monkeypatch.context() as patch:
        patch.setattr(BaseModel, "__getattribute__", reading)
        patch.setattr(BaseModel, "model_dump", dumping)
        patch.setattr(type(task), "run", running)
        perform(lab, task)
    return read & set(leaves())


# These say where and how quickly a run is computed, or only name what the key holds in other words: which store, which folds.
NOT_IN_KEYS = {
    ("device",),
    ("threads",),
    ("jobs",),
    ("cluster",),
    ("folds",),
    ("labels",),
    ("own_folds",),
    ("classical", "strengths"),
}


@pytest.mark.slow
def test_what_a_run_reads_of_the_configuration_is_in_its_key(tmp_path, monkeypatch):
    config = resolve(BASE)
    lab = Lab(config, load(config), tmp_path)
    tasks = one_of_each_kind(lab)
    read = {task: fields_read(lab, task, monkeypatch) for task in tasks}
    assert sum(map(len, read.values())) > 50
    missing = set()
    for path in sorted(set().union(*read.values()) - NOT_IN_KEYS):
        other = altered(path, value_at(config, path))
        if other is None:
            continue
        changed = Lab(other, lab.splits, tmp_path)
        again = {(type(task), task.arm, task.fold, task.seed): task for task in one_of_each_kind(changed)}
        for task in tasks:
            twin = again.get((type(task), task.arm, task.fold, task.seed))
            if path in read[task] and twin is not None and twin.key(changed).folder == task.key(lab).folder:
                missing.add((".".join(path), str(task.arm)))
    assert not missing


@pytest.mark.slow
@pytest.mark.parametrize("size", [29, 37])
def test_how_an_epoch_is_cut_is_in_the_key_where_it_is_not_as_it_was(tmp_path, monkeypatch, size):
    """Of a fold's 150 images, batches of 29 leave 5, and a student's, of 7, leave 3; of 37 they leave 2, and a student's, of 9, leave 6."""
    batches = {"training": {"batch_size": size}}
    config = resolve(merge(BASE, {"strong": batches, "network": batches, "autoencoder": batches}))
    lab = Lab(config, load(config), tmp_path)
    met = set()

    def cut(images, size, random):
        met.add(uneven(len(images), size))
        raise TrainingDiverged("all that is asked is known")

    said = {}
    for task in one_of_each_kind(lab):
        for needed in task.needs:
            perform(lab, needed)
        met.clear()
        with monkeypatch.context() as patch:
            patch.setattr(training, "mixed", cut)
            perform(lab, task)
        if met:
            said[task] = ("batches" in task.key(lab).configuration, met == {True})
    assert len(said) > 8
    assert True in {met for _, met in said.values()}
    assert [str(task.arm) for task, (told, met) in said.items() if told != met] == []
