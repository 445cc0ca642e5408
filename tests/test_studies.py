"""The studies at their smallest, on handwritten digits."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import TINY_STUDIES as TINY
from conftest import read_arrays, read_findings, read_json, read_study, write_json
from unlabeled.errors import UserError
from unlabeled.evaluation.features import fit_components, pixel_features
from unlabeled.evaluation.statistics import holm
from unlabeled.experiments import networks, performing, pretraining, reconstructing, tasks
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.specs import Learned
from unlabeled.experiments.tasks import NetworkTask
from unlabeled.keeping.results import write_result
from unlabeled.presets import resolve
from unlabeled.records import ArmKey, as_json
from unlabeled.report.page import write_report
from unlabeled.sources import load
from unlabeled.studies import COURSE, course
from unlabeled.studies.course import run_studies
from unlabeled.studies.features import CODES, QUADRANTS
from unlabeled.studies.points import TWIN, from_random, is_gain, tuned
from unlabeled.studies.variants import variants
from unlabeled.training.optimizers import make_optimizer


def study(folder, **changes):
    config = resolve(TINY, changes)
    return run_studies(config, load(config), folder=folder)


def result(folder, name):
    return read_json(folder / name / "result.json")


def of_factor(factor, value):
    """The arm of study 2 with one thing changed."""
    return ArmKey("random", "network", factor=factor, value=value)


def without_times(value):
    """All that a study says, without what differs from run to run."""
    if isinstance(value, dict):
        return {
            k: without_times(v)
            for k, v in value.items()
            if "second" not in k and k not in ("peak_memory_mb", "jobs", "machine")
        }
    return [without_times(entry) for entry in value] if isinstance(value, list) else value


@pytest.fixture
def finished(finished_studies):
    return finished_studies


@pytest.fixture
def lab(finished):
    config = resolve(TINY)
    return Lab(config, load(config), finished)


def test_every_study_has_a_result(finished):
    for entry in COURSE:
        study = read_study(finished / entry.name)
        assert study.study == entry.name
        assert study.machine is not None
        assert study.seconds > 0
        assert read_findings(finished, entry.name).rows
        assert study.protocol.seeds == 2
        assert (study.protocol.folds is None) == ("labeled" not in entry.needs)


def test_results_are_plain_json(finished):
    paths = list(finished.rglob("*.json"))
    assert len(paths) > 900
    for path in paths:
        json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_means_are_those_of_the_runs_test_images(finished, lab):
    labels = lab.splits.test.classes
    for name in ("baselines", "network", "features"):
        findings = read_findings(finished, name)
        known = [arm for arm in findings.comparison.arms if arm.accuracy is not None]
        assert len(known) >= 3
        for arm in known:
            right = [
                (read_arrays(finished / row.run / "test.npz")["predicted"] == labels).mean()
                for row in findings.rows
                if row.arm == arm.arm
            ]
            assert len(right) == 4
            assert arm.accuracy.mean == pytest.approx(100 * np.mean(right))


def test_contrasts_are_differences_of_the_same_fold_and_seed(finished):
    findings = read_findings(finished, "features")
    by = {(row.arm, row.fold, row.seed): 100 * row.outcome.accuracy for row in findings.rows}
    assert len(findings.comparison.contrasts) == 4 * (4 + 2) + 4 + 1
    for contrast in findings.comparison.contrasts:
        differences = [by[contrast.treated, f, s] - by[contrast.control, f, s] for f in (0, 1) for s in (0, 1)]
        assert contrast.accuracy.mean == pytest.approx(np.mean(differences))


def test_both_ways_to_logistic_regression_are_measured(finished):
    agreement = read_findings(finished, "baselines").agreement
    assert agreement.agrees
    assert agreement.converged
    assert 0.99 <= agreement.same_answers <= 1
    assert 0 < agreement.log_loss <= 0.005


def test_a_variant_changes_one_thing():
    grid = resolve(TINY).studies.network
    base = grid.encoder.model_dump(), grid.training.model_dump()
    for variant in variants(grid):
        changed = {
            name
            for mine, start in zip((variant.encoder.model_dump(), variant.training.model_dump()), base, strict=True)
            for name in mine
            if mine[name] != start[name]
        }
        allowed = {
            "kernel": {"conv_kernel_size", "conv_padding"}, "filters": {"conv_out_channels"}, "weight-decay": {"weight_decay"},
            "momentum": {"optimizer", "momentum", "momentum_start", "nesterov", "dampening"},
            "optimizer": {"optimizer", "momentum", "weight_decay"},
            "activation": {"activation"}, "batch": {"batch_size"}, "pool": {"pool"},
        }.get(variant.factor)  # fmt: skip
        if allowed is not None:
            assert changed <= allowed
        assert variant.training.weight_decay > 0
        assert variant.network.training.weight_decay > 0
    lengths = {(v.factor, len(v.rates)) for v in variants(grid)}
    assert {length for _, length in lengths} == {2}


def test_equal_budgets_are_kept():
    with pytest.raises(UserError, match="equally many rates, the same budget for all; they have 1, 2, 2, 2"):
        resolve(TINY, {"studies": {"network": {"sgd_rates": [0.1]}}})


@pytest.mark.parametrize("name", ["none", "0.5", "0.9", "nesterov", "dampening"])
def test_learning_rates_of_momenta_move_a_steady_gradient_alike(name):
    """A thousand steps of PyTorch's SGD against a gradient of one."""
    grid = resolve(TINY).studies.network.model_copy(update={"momenta": (name,), "sgd_rates": (0.1,)})
    variant = next(v for v in variants(grid) if v.factor == "momentum")
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    model = torch.nn.ParameterList([weight])
    config = variant.training.model_copy(update={"learning_rate": variant.rates[0], "weight_decay": 0})
    optimizer = make_optimizer(model, config)
    for _ in range(1000):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert float(weight.detach()) == pytest.approx(-100, rel=0.01)


def test_the_kernel_does_not_change_the_number_of_features(lab):
    lengths = {
        lab.geometry(v.encoder).code_length for v in variants(lab.config.studies.network) if v.factor == "kernel"
    }
    assert len(lengths) == 1


def test_illegal_geometries_are_listed_with_their_reason(finished):
    network = read_findings(finished, "network")
    assert [entry.arm for entry in network.illegal] == [of_factor("blocks", "5")]
    # Activations are tried on the deepest network that fits.
    assert len(network.gradients[0].first) == 2 + 1
    assert all("does not fit" in entry.reason for entry in network.illegal)
    search = read_findings(finished, "autoencoder")
    assert search.illegal
    assert all(
        entry.arm.value.startswith("k3 p3") and "nothing but padding" in entry.reason for entry in search.illegal
    )
    every = {line.arm.value for line in search.candidates} | {entry.arm.value for entry in search.illegal}
    assert len([arm for arm in every if arm.endswith("mse") and "average" not in arm]) == 2 * 2 * 2 * 2


def test_a_learning_rate_that_diverges_is_marked_and_the_others_go_on(finished):
    findings, arm = read_findings(finished, "network"), of_factor("momentum", "none")
    rates = next(rates for rates in findings.rates if rates.arm == arm)
    assert rates.diverged == 4
    assert rates.rates == (0.1,)
    assert findings.comparison.arm(arm).accuracy is not None


def test_a_run_that_diverges_is_marked_and_the_study_goes_on(tmp_path):
    grid = {"sgd_rates": [1e6], "adam_rates": [1e-2], "adagrad_rates": [1e-2], "rmsprop_rates": [1e-2]}
    folder = study(tmp_path, study="network", studies={"network": grid})
    findings = read_findings(folder, "network")
    arm = findings.comparison.arm(of_factor("momentum", "none"))
    assert arm.diverged == arm.runs == 4
    assert arm.accuracy is None
    assert findings.comparison.arm(of_factor("optimizer", "adam")).accuracy is not None
    assert {c.verdict for c in findings.comparison.family("momentum")} == {"diverged"}
    assert next(f for f in findings.factors if f.name == "momentum").best is None


def test_the_best_value_has_the_least_validation_loss(finished):
    findings = read_findings(finished, "network")
    assert len(findings.factors) == 10
    for factor in findings.factors:
        losses = {
            arm: np.mean([row.outcome.valid_log_loss for row in findings.rows if row.arm == arm]) for arm in factor.arms
        }
        assert factor.best == min(losses, key=losses.get)


def test_the_chosen_autoencoder_has_the_least_error_of_those_that_are_short_enough(finished):
    findings = read_findings(finished, "autoencoder")
    assert findings.longest == 64
    assert any(line.code_length > 64 for line in findings.candidates)
    short = [line for line in findings.candidates if line.code_length <= 64]
    assert findings.chosen == min(short, key=lambda line: line.mse).arm
    for line in findings.candidates:
        assert line.mse == pytest.approx(np.mean(line.errors))
        assert line.compression == pytest.approx(64 / line.code_length)
    assert findings.images == 60


def test_candidates_never_see_labels_or_test_images(finished, monkeypatch, tmp_path):
    """With other test images and labels the search is the same, run for run."""
    config = resolve(TINY, {"study": "autoencoder", "test": 20, "folds": 3})
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.setattr(pretraining, "fit_stacked", lambda *_, **__: pytest.fail("it was trained again"))
    run_studies(config, load(config), folder=tmp_path / "copy")
    assert (
        read_findings(tmp_path / "copy", "autoencoder").candidates == read_findings(finished, "autoencoder").candidates
    )


def test_the_linear_rivals_are_what_they_say(finished, lab):
    findings = read_findings(finished, "autoencoder")
    watched, held_out = lab.training_images(60), lab.held_out
    assert len(findings.pca) >= 6
    for entry in findings.pca:
        components = fit_components(watched, entry.length)
        rebuilt = components.rebuild(held_out, entry.length).reshape(len(held_out), -1).clip(-1, 1)
        assert entry.mse == pytest.approx(((rebuilt - pixel_features(held_out)) ** 2).mean(), rel=1e-3, abs=1e-9)
    by_length = {entry.length: entry.mse for entry in findings.bicubic}
    assert max(by_length) == 64
    assert by_length[64] == 0
    assert by_length[1] > by_length[16] > 0
    for line in findings.candidates:
        assert line.pca == next(e.mse for e in findings.pca if e.length == line.code_length)
    assert findings.confirmed.images == 80


@pytest.mark.parametrize(
    ("height", "width", "pixels", "expected"),
    [(8, 8, 48, (7, 6)), (8, 8, 64, (8, 8)), (8, 8, 1000, (8, 8)), (8, 8, 1, (1, 1)), (8, 8, 0, (1, 1)), (32, 32, 256, (16, 16)),
     (30, 10, 75, (15, 5)), (3, 40, 2, (1, 2))],
)  # fmt: skip
def test_a_small_picture_is_the_largest_that_fits(height, width, pixels, expected):
    size = reconstructing._small_size(height, width, pixels)
    assert sorted(size) == sorted(expected)
    assert size[0] <= height
    assert size[1] <= width


def test_true_code_and_true_switches_are_the_autoencoder(finished, lab):
    findings = read_findings(finished, "autoencoder")
    line = next(line for line in findings.candidates if line.arm == findings.switches_of)
    assert findings.switches.true == pytest.approx(line.errors[0], rel=1e-4)
    assert findings.switches.true < findings.switches.neither
    pictures = read_arrays(finished / "autoencoder" / "pictures.npz")
    assert pictures["error_map"].shape == (8, 8)
    chosen = next(line for line in findings.candidates if line.arm == findings.chosen)
    assert pictures["error_map"].mean() == pytest.approx(chosen.errors[0], rel=1e-4)


def test_features_of_quadrants_are_four_a_filter(finished):
    findings = read_findings(finished, "features")
    counts = {arm.arm: arm.medians.get("features") for arm in findings.comparison.arms}
    shapes = {shape.kind: shape for shape in findings.shapes}
    assert counts[QUADRANTS.on("logistic")] == 4 * findings.encoder["conv_out_channels"]
    assert counts[ArmKey("filters").on("logistic")] == counts[CODES.on("logistic")] == findings.code_length
    assert shapes[CODES].features == findings.code_length
    assert 1 <= shapes[ArmKey("pixels")].directions <= 64


def test_standardising_is_one_of_the_scalings_that_the_free_arm_chose_from(finished):
    rows = {(row.arm, row.fold, row.seed): row.outcome for row in read_findings(finished, "features").rows}
    for fold in (0, 1):
        free, common, each = (rows[CODES.on("logistic", scaling), fold, 0] for scaling in ("", "common", "each"))
        assert free.valid_log_loss == pytest.approx(min(common.valid_log_loss, each.valid_log_loss))
        assert (common.choice["scaling"], each.choice["scaling"]) == ("common", "each")


def test_frozen_networks_keep_the_encoders_bytes(finished, lab):
    from safetensors.numpy import load_file

    rows = read_findings(finished, "finetune").rows
    encoders = {path.parent.name: load_file(path) for path in finished.glob("runs/autoencoder/*/weights.safetensors")}
    for way, kept in (("frozen", True), ("plain", False), ("slow", False), ("gradual", False)):
        row = next(row for row in rows if row.arm == tuned(way))
        start = read_json(finished / row.run / "config.json")["autoencoder"]
        network = load_file(finished / row.run / "weights.safetensors")
        same = [
            network[name].tobytes() == encoders[start][name].tobytes()
            for name in network
            if name.startswith("encoder.")
        ]
        assert all(same) == kept


def test_each_way_is_compared_with_itself_from_random_weights(finished):
    findings = read_findings(finished, "finetune")
    assert [point.labels for point in findings.labels] == [10, None]
    for point in findings.labels:
        gains = [c for c in point.comparison.contrasts if is_gain(c)]
        assert all(c.treated == tuned(c.treated.way, point.labels) for c in gains)
        assert all(c.control == from_random(c.treated.way, point.labels) for c in gains)
        assert len(gains) == (4 if point.labels is None else 2)
        for contrast in gains:
            rows = {}
            for row in findings.rows:
                if row.arm in (contrast.treated, contrast.control):
                    kept = read_json(finished / row.run / "config.json")
                    kept["way"] = kept.get("way", ["plain", None])
                    kept.pop("autoencoder", None), kept["data"].pop("unlabeled", None)
                    rows.setdefault((row.fold, row.seed), []).append(kept)
            # The same labels, budget, way, seed: nothing but the autoencoder.
            assert all(first == second for first, second in rows.values())


def test_only_the_comparison_named_beforehand_is_spared_the_correction(finished):
    findings = read_findings(finished, "finetune")
    every = [c for point in findings.labels for c in point.comparison.contrasts]
    main = findings.all_labels.comparison.named
    assert (main.treated, main.control) == (tuned("plain"), from_random("plain"))
    assert main.p == main.accuracy.p
    others = [c for c in every if not c.contrast.named]
    assert len(others) == len(every) - 2
    assert [c.control for c in every if c.contrast.named] == [main.control, TWIN]
    assert [c.p for c in others] == pytest.approx(holm([c.accuracy.p for c in others]))
    curve = [point.contrast for point in findings.unlabeled if point.contrast.treated.images is not None]
    assert [c.p for c in curve] == pytest.approx(holm([c.accuracy.p for c in curve]))
    assert next(point.contrast for point in findings.unlabeled if point.contrast not in curve).p == main.p


@pytest.mark.slow
def test_an_autoencoder_that_diverges_takes_what_stands_on_it_along_and_nothing_else(finished, tmp_path):
    """The final autoencoder of studies 4 and 5 is replaced by one that diverged; what does without it has its numbers."""
    shutil.copytree(finished, tmp_path / "copy")
    rows = read_findings(finished, "finetune").autoencoders
    row = next(row for row in rows if row.seed == 1 and row.outcome.images == 142)
    (tmp_path / "copy" / row.run / "weights.safetensors").unlink()
    write_result(tmp_path / "copy" / row.run, {"diverged": "the loss became nan", "seconds": 0.0})
    standing = [
        path.parent
        for path in (tmp_path / "copy").glob("runs/autoencoder-*/*/config.json")
        if read_json(path)["autoencoder"] == Path(row.run).name
    ]
    assert len(standing) > 20
    for place in standing:
        shutil.rmtree(place)
    study(tmp_path / "copy")
    compared = read_findings(tmp_path / "copy", "features").comparison
    assert compared.arm(CODES.on("logistic")).diverged == 2
    assert compared.arm(CODES.on("logistic")).accuracy is None
    assert compared.arm(ArmKey("pixels", "logistic")).accuracy is not None
    findings = read_findings(tmp_path / "copy", "finetune")
    assert {c.verdict for c in findings.all_labels.comparison.contrasts if is_gain(c)} == {"diverged"}
    assert "its autoencoder: the loss became nan" in json.dumps(as_json(findings.rows))
    assert write_report(tmp_path / "copy").exists()


@pytest.mark.slow
def test_a_candidate_that_diverges_is_marked_and_not_chosen(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    before = read_findings(finished, "autoencoder")
    for row in (before.rows[0], next(row for row in before.rows if row.arm == before.chosen)):
        write_json(tmp_path / "copy" / row.run / "result.json", {"diverged": "the loss became nan", "seconds": 0.0})
    study(tmp_path / "copy", study="autoencoder")
    findings = read_findings(tmp_path / "copy", "autoencoder")
    lines = {line.arm: line for line in findings.candidates}
    assert lines[before.rows[0].arm].mse is None
    assert lines[before.rows[0].arm].diverged == 1
    assert lines[findings.chosen].mse is not None
    assert write_report(tmp_path / "copy").exists()


def test_no_network_that_fits_is_told(tmp_path):
    with pytest.raises(
        UserError,
        match=r"no network of --studies\.network fits these images; the first: block 1: a 64x64 pool does not fit",
    ):
        study(tmp_path, study="network", studies={"network": {"encoder": {"pool_kernel_size": 64}}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {"training": {"nesterov": True}}}, "--studies.network.training.nesterov needs optimizer sgd"),
        (
            {"autoencoder": {"training": {"momentum_start": 0.1}}},
            "--studies.autoencoder.training.momentum-start needs optimizer sgd",
        ),
        (
            {"network": {"encoder": {"conv_out_channels": [3, 4]}}},
            "--studies.network.encoder is the smallest network's: give it one block",
        ),
        ({"network": {"blocks": []}}, "--studies.network.blocks needs at least one number"),
        ({"autoencoder": {"kernels": [0, 3]}}, "--studies.autoencoder.kernels takes numbers of at least 1; it has 0"),
        ({"network": {"weight_decays": [0.0]}}, "--studies.network.weight-decays takes numbers above 0; it has 0"),
        ({"autoencoder": {"losses": []}}, "--studies.autoencoder.losses needs at least one loss"),
    ],
)
def test_values_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(UserError) as caught:
        resolve(TINY, {"studies": changes})
    assert str(caught.value).startswith(message)


def test_a_kind_of_momentum_is_what_its_name_says_whatever_the_base_is():
    base = {"optimizer": "sgd", "momentum": 0.7, "dampening": 0.3, "momentum_start": 0.2}
    grid = resolve(TINY, {"studies": {"network": {"training": base, "momenta": ["none", "nesterov"]}}}).studies.network
    none, nesterov = (v.training for v in variants(grid) if v.factor == "momentum")
    assert (none.momentum, none.dampening, none.momentum_start, none.nesterov) == (0, 0, None, False)
    assert (nesterov.momentum, nesterov.dampening, nesterov.momentum_start, nesterov.nesterov) == (0.9, 0, None, True)


def test_points_that_are_not_there_are_named(finished):
    findings = read_findings(finished, "finetune")
    assert (findings.missing_labels, findings.missing_images) == ((10000,), (10000,))
    assert [point.labels for point in findings.labels] == [10, None]
    assert findings.labels[0].train == 80
    assert [point.images for point in findings.unlabeled] == [50, 142]


def test_autoencoders_of_fewer_images_take_as_many_steps(finished):
    steps = {}
    for row in read_findings(finished, "finetune").autoencoders:
        config = read_json(finished / row.run / "config.json")["autoencoder"]["training"]
        images = row.outcome.images
        steps.setdefault(images, set()).add(config["epochs"] * -(-images // config["batch_size"]))
    assert steps == {50: {6}, 142: {5}}


def test_scratch_and_copied_networks_of_a_point_differ_in_the_encoder_alone(lab):
    encoder, config = lab.config.encoder, lab.config.autoencoder
    learned = Learned(encoder, config, 1)
    performing.perform(lab, tasks.AutoencoderTask(ArmKey("autoencoder"), learned))
    scratch, copied = (
        networks.new_network(NetworkTask(ArmKey("random"), encoder, lab.config.network, 0, 1, start), lab)
        for start in (None, learned)
    )
    for name, tensor in scratch.head.state_dict().items():
        assert torch.equal(tensor, copied.head.state_dict()[name])
    trained = lab.trained_autoencoder(learned).encoder.state_dict()
    for name, tensor in copied.encoder.state_dict().items():
        assert torch.equal(tensor, trained[name])


@pytest.mark.slow
def test_finished_runs_are_never_repeated(finished, monkeypatch):
    before = {entry.name: without_times(result(finished, entry.name)) for entry in COURSE}
    started = []
    attempt = performing._attempt
    monkeypatch.setattr(performing, "_attempt", lambda *given: started.append(given) or attempt(*given))
    study(finished)
    assert started == []
    assert {entry.name: without_times(result(finished, entry.name)) for entry in COURSE} == before


@pytest.mark.slow
def test_several_processes_end_in_the_results_of_one(finished, tmp_path):
    """Each run has one thread either way, so the numbers are the same to the last digit."""
    for name in ("baselines", "finetune"):
        study(tmp_path, study=name, jobs=2, threads=2)
    for name in ("baselines", "finetune"):
        mine, theirs = (without_times(result(folder, name)) for folder in (tmp_path, finished))
        for found in (mine, theirs):
            for differing in ("study",):
                found["config"].pop(differing)
        assert mine == theirs


@pytest.mark.slow
def test_a_study_alone_is_the_study_of_all(finished, tmp_path):
    study(tmp_path, study="features")
    mine, theirs = (without_times(result(folder, "features")) for folder in (tmp_path, finished))
    mine["config"].pop("study"), theirs["config"].pop("study")
    assert mine == theirs


def test_an_interrupted_study_goes_on(finished, tmp_path, monkeypatch):
    calls = []

    def some(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return tasks_fit(*arguments, **options)

    tasks_fit = pretraining.fit_stacked
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "fit_stacked", some)
        with pytest.raises(KeyboardInterrupt):
            study(tmp_path, study="autoencoder")
    assert len(list(tmp_path.glob("runs/autoencoder/*/result.json"))) == 3
    assert not (tmp_path / "autoencoder" / "result.json").exists()
    study(tmp_path, study="autoencoder")
    mine, theirs = (without_times(result(folder, "autoencoder"))["findings"] for folder in (tmp_path, finished))
    assert mine["candidates"] == theirs["candidates"]


def photographs(root, *parts):
    random = np.random.default_rng(0)
    for part in parts:
        (root / part).mkdir(parents=True)
        for number in range(24):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / part / f"{number}.png")
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        (("train/a", "train/b", "test/a", "test/b"),
         {name: ["unlabeled"] for name in ("autoencoder", "features", "finetune", "stacked", "sparse", "convolved", "joint")}),
        (("unlabeled",),
         {name: ["labeled", "test"] for name in ("baselines", "network", "features", "finetune", "stacked", "convolved", "joint")}),
    ],
)  # fmt: skip
def test_a_study_without_its_data_says_what_it_needs_and_the_others_go_on(tmp_path, parts, missing):
    root = photographs(tmp_path / "photos", *parts)
    config = resolve(TINY, {"data": f"folder:{root}", "side": 8, "unlabeled": None, "test": None, "seeds": 1})
    folder = run_studies(config, load(config, partly=True), folder=tmp_path / "run")
    for entry in COURSE:
        found = read_study(folder / entry.name)
        assert list(found.missing) == missing.get(entry.name, [])
        assert found.answered == (entry.name not in missing)
    alone = config.model_copy(update={"study": next(iter(missing))})
    with pytest.raises(
        UserError, match=f"study {next(iter(missing))} needs .* images, and there are none; add some, or run another"
    ):
        run_studies(alone, load(config, partly=True), folder=tmp_path / "alone")


def test_a_study_that_fails_says_why_and_the_others_go_on(tmp_path, monkeypatch):
    def fail(lab, do):
        raise UserError("no luck")

    for name in ("COURSE", "STUDIES"):
        monkeypatch.setattr(course, name, (COURSE[0], replace(COURSE[1], run=fail)))
    study(tmp_path)
    assert read_study(tmp_path / "network").failed == "no luck"
    assert read_study(tmp_path / "baselines").answered
    with pytest.raises(UserError, match="no luck"):
        study(tmp_path, study="network")


def test_pages_of_an_earlier_answer_go_and_those_of_the_same_stay(tmp_path):
    study(tmp_path, study="baselines")
    pages = [tmp_path / name for name in ("report.html", "report.ru.html", "notebook.ru.ipynb")]
    for page in pages:
        page.write_text("tells of the answer")
    study(tmp_path, study="baselines")
    assert all(page.exists() for page in pages)
    study(tmp_path, study="baselines", classical={"trees": 5})
    assert not any(page.exists() for page in pages)
