"""The studies of the assignment's second half at their smallest: stacked, sparse, convolved, joint."""

import itertools
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from conftest import TINY_STUDIES as TINY
from conftest import copy_results, read_arrays, read_findings, read_json, read_study, write_json
from unlabeled.errors import UserError
from unlabeled.evaluation.statistics import holm
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.networks import new_joint_network, new_network
from unlabeled.experiments.performing import perform
from unlabeled.experiments.pretraining import describe_activations, describe_filters
from unlabeled.experiments.specs import Learned, PatchesLearned
from unlabeled.experiments.tasks import Joint, NetworkTask, PatchesTask
from unlabeled.images.patches import as_numbers
from unlabeled.networks.sparse import mean_activations
from unlabeled.presets import resolve
from unlabeled.records import ArmKey, read_as
from unlabeled.report.document import Document
from unlabeled.report.page import write_report
from unlabeled.sources import load
from unlabeled.sources.shapes import write_shapes
from unlabeled.studies.course import run_studies
from unlabeled.studies.depths import error_effect, make_pairs, make_variants
from unlabeled.studies.joint import JOINT, LABELED_ONLY, SCRATCH
from unlabeled.studies.maps import FROM_FILTERS
from unlabeled.studies.penalties import BASE, IN_BATCHES, UNPENALISED, UNTRAINED, changed, prepared
from unlabeled.training import Fitted
from unlabeled.training.runtime import evaluating


def result(folder, name):
    return read_json(folder / name / "result.json")


@pytest.fixture
def lab(finished_studies):
    config = resolve(TINY)
    return Lab(config, load(config), finished_studies)


def test_codes_of_every_depth_are_as_long_as_filters_allow(finished_studies):
    findings = read_findings(finished_studies, "stacked")
    for variant in findings.variants:
        _, height, width = variant.code_size
        assert abs(variant.code_length - 64 * 2 / 3) <= height * width / 2
    assert {variant.arm.depth for variant in findings.variants} == {1, 2}


def test_depths_that_do_not_fit_are_listed(finished_studies):
    config = resolve(TINY, {"studies": {"stacked": {"filters": [3, 5, 6, 7]}}})
    variants, illegal = make_variants(Lab(config, load(config), finished_studies))
    assert {variant.depth for variant in variants} == {1, 2, 3}
    assert [entry.arm.depth for entry in illegal] == [4]
    assert "does not fit" in illegal[0].reason
    assert {variant.way for variant in variants if variant.depth == 3} >= {"masking", "greedy", "switchless"}
    assert {variant.way for variant in variants if variant.depth == 2} == {"whole", "greedy", "joined", "switchless"}


def test_pairs_differ_in_one_thing(lab):
    variants = {variant.arm: variant for variant in make_variants(lab)[0]}
    pairs = make_pairs(list(variants.values()))
    assert {pair.factor for pair in pairs} == {"depth", "way", "switches", "noise"}
    for pair in pairs:
        treated, control = variants[pair.treated], variants[pair.control]
        if pair.factor == "depth":
            assert treated.config == control.config
        else:
            assert treated.encoder == control.encoder
            changed = [name for name, value in dict(treated.config).items() if value != getattr(control.config, name)]
            assert changed == [{"way": "stacking", "switches": "switches", "noise": "noise"}[pair.factor]]


def test_errors_are_those_of_the_held_out_images(finished_studies, lab):
    findings = read_findings(finished_studies, "stacked")
    tables = {}
    for variant in make_variants(lab)[0]:
        rows = []
        for seed in (0, 1):
            model = lab.trained_autoencoder(Learned(variant.encoder, variant.config, seed))
            images = lab.runtime.load(lab.held_out.take(np.arange(len(lab.held_out))))
            with evaluating(model):
                rows.append(((model(images) - images) ** 2).flatten(1).mean(dim=1).numpy())
        tables[variant.arm] = np.array(rows)
        told = next(line for line in findings.variants if line.arm == variant.arm)
        assert told.mse.mean == pytest.approx(tables[variant.arm].mean(), rel=1e-5)
        trained = [row.outcome.held_out_mse for row in findings.autoencoders if row.arm == variant.arm]
        assert tables[variant.arm].mean(axis=1) == pytest.approx(trained, rel=1e-4)
    assert len(findings.errors) >= 4
    for line in findings.errors:
        treated, control = tables[line.pair.treated].mean(), tables[line.pair.control].mean()
        assert line.effect.mean == pytest.approx(100 * (treated - control) / control, rel=1e-3)
        assert line.verdict == "reading"  # two seeds


def test_the_interval_of_errors_is_students_over_seeds_and_images():
    random = np.random.default_rng(0)
    values = random.normal(1.0, 0.1, (4, 1)) + np.zeros((1, 50))
    effect = error_effect(values)
    seeds = values[:, 0]
    half = 3.182446 * seeds.std(ddof=1) / 2
    assert effect.low == pytest.approx(seeds.mean() - half, rel=1e-4)
    images = random.normal(1.0, 0.1, 400)
    alone = error_effect(images[None])
    assert alone.high - alone.mean == pytest.approx(1.96 * images.std(ddof=1) / 20, rel=0.01)


def test_a_greedy_autoencoder_is_another_run_than_a_whole_one(lab):
    base = lab.config.autoencoder
    encoder = make_variants(lab)[0][-1].encoder
    runs = {
        lab.autoencoder_run(Learned(encoder, base.model_copy(update=changes), 0)).folder.name
        for changes in ({}, {"stacking": "greedy"}, {"stacking": "joined"}, {"switches": False}, {"noise": "masking"})
    }
    assert len(runs) == 5
    # What was not there before is left out of a key, so that earlier runs stay finished.
    assert not {"switches", "noise", "noise_level", "stacking"} & base.model_dump().keys()


def test_activations_and_filters_are_those_of_the_trained_model(finished_studies, lab):
    findings = read_findings(finished_studies, "sparse")
    assert [line.arm for line in findings.variants] == [
        UNTRAINED, BASE, IN_BATCHES, prepared("clip"), UNPENALISED, changed("rho", 0.2), changed("beta", 30),
        changed("lambda", 0.01),
    ]  # fmt: skip
    learned = PatchesLearned.of(lab.config.studies.sparse, 1)
    row = next(row for row in findings.rows if row.arm == BASE and row.seed == 1)
    model = lab.trained_patches(learned)
    _, held_out = lab.patches(learned)
    pixels = torch.from_numpy(as_numbers(held_out)).float().view(-1, *held_out.shape)
    stored = read_arrays(finished_studies / row.run / "filters.npz")
    assert mean_activations(model, pixels) == pytest.approx(stored["after"], abs=1e-6)
    described = describe_activations(stored["after"], learned.rho)
    assert asdict(row.outcome.activations) == pytest.approx(asdict(described))
    with torch.no_grad():
        output = model(pixels)
    assert row.outcome.held_out_mse == pytest.approx(float(((output.rebuilt - output.prepared) ** 2).mean()), rel=1e-5)
    assert not np.array_equal(stored["before"], stored["after"])


def test_the_sparse_study_sees_neither_labels_nor_test(finished_studies, monkeypatch, tmp_path):
    shutil.copytree(finished_studies, tmp_path / "copy")
    config = resolve(TINY, {"study": "sparse", "test": 20, "folds": 3})
    before = read_findings(finished_studies, "sparse").variants
    monkeypatch.setattr(
        "unlabeled.experiments.pretraining.fit_full_batch", lambda *_, **__: pytest.fail("trained again")
    )
    run_studies(config, load(config), folder=tmp_path / "copy")
    assert read_findings(tmp_path / "copy", "sparse").variants == before


def test_facts_of_filters_know_an_edge_from_noise_and_colour_from_grey():
    grey = np.zeros((1, 3, 8, 8), dtype=np.float32)
    grey[0, :, 1:4, 1:3], grey[0, :, 1:4, 3:5] = 1, -1
    edge = describe_filters(grey)
    assert edge.localised == 1
    assert edge.colour == pytest.approx(0, abs=1e-6)
    noise = describe_filters(np.random.default_rng(0).normal(size=(50, 3, 8, 8)).astype(np.float32))
    assert noise.localised == 0
    assert noise.oriented < 0.4
    assert noise.colour == pytest.approx(2 / 3, abs=0.03)
    stripes = np.broadcast_to(np.sin(np.arange(8)), (1, 3, 8, 8)).astype(np.float32)
    assert describe_filters(stripes).oriented == pytest.approx(1)
    red = np.zeros((1, 3, 8, 8), dtype=np.float32)
    red[0, 0], red[0, 1] = 1, -1
    assert describe_filters(red).colour == pytest.approx(1)


def test_features_of_patches_are_filters_times_cells(finished_studies):
    compared = read_findings(finished_studies, "convolved").comparison
    # Digits are 8x8 and patches 4x4: 5x5 places at stride 1, 2x2 at stride 4.
    expected = {("pixels", None): 64, ("sparse", 4): 8 * 4, ("sparse", 1): 8 * 16, ("report", 4): 8 * 4, ("deep", 4): 5 * 4,
                ("random", None): 8 * 4, ("centroids", None): 8 * 4, ("hand-made", None): 8 * 4, ("autoencoder", None): 8 * 4}  # fmt: skip
    for ((source, stride), count), model in itertools.product(expected.items(), ("logistic", "trees")):
        arm = compared.arm(ArmKey(source, model, stride=stride))
        assert arm.medians["features"] == count
        assert arm.runs == 4


def test_the_network_begins_with_the_sparse_filters(finished_studies, lab):
    findings = read_findings(finished_studies, "convolved")
    learned = PatchesLearned.of(lab.config.studies.sparse, 1)
    encoder = lab.config.encoder.model_validate(findings.network)
    started, scratch = (
        new_network(NetworkTask(SCRATCH, encoder, lab.config.network, 0, 1, start), lab) for start in (learned, None)
    )
    model = lab.trained_patches(learned)
    by_hand = (model.encoding[0].weight @ model.matrix).view(-1, 1, 4, 4)
    assert torch.allclose(started.encoder.convolutions[0].weight, by_hand, atol=1e-5)
    for name, tensor in scratch.head.state_dict().items():
        assert torch.equal(tensor, started.head.state_dict()[name])
    assert not torch.equal(scratch.encoder.convolutions[0].weight, started.encoder.convolutions[0].weight)


def test_every_network_of_the_joint_study_chooses_from_as_many_candidates(finished_studies):
    findings = read_findings(finished_studies, "joint")
    assert findings.weights == ((1.0, 0.5), (10.0, 0.5))
    assert {len(row.outcome.tried) for row in findings.rows} == {2}
    for row in findings.rows:
        best = min(row.outcome.tried, key=lambda trial: trial["valid_log_loss"])
        for name in ("reconstruction", "between", "trial"):
            assert row.outcome.choice.get(name) == best.get(name)
    scratch = next(row for row in findings.rows if row.arm == SCRATCH)
    assert len({trial["valid_log_loss"] for trial in scratch.outcome.tried}) == 2
    pairs = {(c.treated, c.control) for c in findings.comparison.contrasts}
    assert {(JOINT, SCRATCH), (JOINT, LABELED_ONLY), (LABELED_ONLY, SCRATCH)} <= pairs
    named = findings.comparison.named
    assert named.p == named.accuracy.p
    others = [c for c in findings.comparison.contrasts if not c.contrast.role]
    assert [c.p for c in others] == pytest.approx(holm([c.accuracy.p for c in others]))


def test_only_what_sees_unlabeled_images_depends_on_them(lab):
    fewer = Lab(lab.config.model_copy(update={"unlabeled": 100}), lab.splits, lab.folder)
    names = {}
    for unlabeled in (True, False):
        learning = Joint(((1.0, 0.5),), unlabeled)
        task = NetworkTask(JOINT, lab.config.encoder, lab.config.network, 0, 0, learning=learning)
        names[unlabeled] = [task.key(one).folder.name for one in (lab, fewer)]
    assert names[True][0] != names[True][1]
    assert names[False][0] == names[False][1]


def test_a_joint_network_begins_where_the_one_from_scratch_does(lab):
    task = NetworkTask(JOINT, lab.config.encoder, lab.config.network, 0, 1, learning=Joint(((1.0, 0.5),)))
    alone = NetworkTask(SCRATCH, lab.config.encoder, lab.config.network, 0, 1)
    joint, scratch = new_joint_network(task, lab).network.state_dict(), new_network(alone, lab).state_dict()
    assert joint.keys() == scratch.keys()
    assert all(torch.equal(tensor, joint[name]) for name, tensor in scratch.items())


@pytest.mark.usefixtures("undrawn")
def test_conclusions_of_joint_training_follow_the_numbers(finished_studies, tmp_path):
    copy = tmp_path / "run"
    copy_results(finished_studies, copy)
    path = copy / "joint" / "result.json"
    found = read_json(path)
    starts = {
        "helps": "Joint training helps: ",
        "hurts": "Joint training hurts: ",
        "no difference": "Joint training makes no difference: ",
        "imprecise": "Too imprecise to tell: joint training",
        "unfinished": "Not trained to the end: joint training",
        "reading": "No verdict with fewer than 3 seeds: joint training",
    }
    for verdict, start in starts.items():
        contrast = next(c for c in found["findings"]["comparison"]["contrasts"] if c["contrast"].get("named"))
        contrast["verdict"] = verdict
        contrast["accuracy"] |= {"mean": 2.34, "low": 1.5, "high": 3.25}
        write_json(path, found)
        section = Document(copy, "en").sections("joint")[0]
        assert section.conclusion[0].startswith(start)
        assert "+2.3 (+1.5 to +3.2) points" in section.conclusion[0]
        assert any(
            line.startswith("reconstructing while classifying vs from scratch: +2.3 (+1.5 to +3.2), ")
            for line in Document(copy).answer.lines
        )


@pytest.mark.usefixtures("undrawn")
def test_conclusions_on_the_penalty_follow_the_numbers(finished_studies, tmp_path):
    copy = tmp_path / "run"
    copy_results(finished_studies, copy)
    path = copy / "sparse" / "result.json"
    found = read_json(path)
    lines = {read_as(ArmKey, line["arm"]): line["means"] for line in found["findings"]["variants"]}
    for with_it, without, word in ((0.01, 0.2, "narrower"), (0.2, 0.01, "does not make")):
        lines[BASE]["activations"]["deviation"], lines[UNPENALISED]["activations"]["deviation"] = with_it, without
        write_json(path, found)
        text = " ".join(Document(copy, "en").sections("sparse")[0].conclusion)
        assert f"standard deviation {with_it:.3f} against {without:.3f}" in text
        assert word in text
    for share, start in ((0.9, "Most filters are localised"), (0.0, "The filters are not clearly more localised")):
        lines[BASE]["filters"]["localised"] = share
        write_json(path, found)
        assert start in Document(copy, "en").sections("sparse")[0].conclusion[0]


@pytest.mark.slow
def test_runs_that_diverged_are_told_in_every_section(finished_studies, tmp_path):
    """Whatever a single run of the second half comes to, its section is written."""
    copy = tmp_path / "run"
    copy_results(finished_studies, copy)
    deep, shallow = (ArmKey("autoencoder", depth=depth, way=way) for depth, way in ((2, "greedy"), (1, "whole")))
    for name, arms in (("stacked", (deep, replace(shallow, model="network"))), ("sparse", (BASE, changed("rho", 0.2))),
                       ("convolved", (FROM_FILTERS, ArmKey("centroids").on("logistic"))), ("joint", (JOINT,))):  # fmt: skip
        for arm in arms:
            findings = read_findings(finished_studies, name)
            rows = (*findings.rows, *getattr(findings, "autoencoders", ()))
            row = next(row for row in rows if row.arm == arm)
            write_json(copy / row.run / "result.json", {"diverged": "the loss became nan", "seconds": 0.0})
    config = resolve(TINY)
    for name in ("stacked", "sparse", "convolved", "joint"):
        one = config.model_copy(update={"study": name})
        run_studies(one, load(one), folder=copy)
        assert Document(copy, "ru").sections(name)[0].conclusion
    assert "diverged" in write_report(copy).read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparse": {"rhos": [1.0]}}, "--studies.sparse.rhos takes mean activations between 0 and 1"),
        ({"convolved": {"deep": [3, 4]}}, "--studies.convolved.deep needs an odd number of layers"),
        ({"stacked": {"kernel": 4}}, "--studies.stacked.kernel needs an odd number"),
        ({"convolved": {"strides": []}}, "--studies.convolved.strides needs at least one number"),
        (
            {"joint": {"reconstruction": [-1.0]}},
            "--studies.joint.reconstruction takes numbers of at least 0; it has -1",
        ),
    ],
)
def test_values_out_of_range_are_refused(changes, message):
    with pytest.raises(UserError) as caught:
        resolve(TINY, {"studies": changes})
    assert str(caught.value).startswith(message)


def test_a_batch_that_is_too_small_ends_the_study_in_words(tmp_path):
    config = resolve(TINY, {"study": "sparse", "studies": {"sparse": {"training": {"batch_size": 50}}}})
    with pytest.raises(UserError, match="a batch of 50 patches is too small for a sparsity penalty"):
        run_studies(config, load(config), folder=tmp_path)


@pytest.mark.slow
def test_the_set_up_of_2016_runs_on_images_in_stl_10s_layout(tmp_path):
    """Few and drawn, but the same files, side, folds and settings; only the sizes are smaller."""
    base = resolve({"preset": "patches-2016"})
    sparse = base.studies.sparse
    assert (base.study, base.data, base.pixels, base.own_folds) == ("convolved", "stl10", (96, 96), False)
    assert (sparse.side, sparse.patches, sparse.hidden, sparse.preparation) == (8, 10_000, 75, "clip")
    assert (sparse.rho, sparse.beta, sparse.decay, sparse.iterations) == (0.06, 3.0, 1e-4, 2000)
    assert (base.studies.convolved.unpooled, base.studies.convolved.deep) == ((8, 4), (100, 64, 100))
    assert base.classical.trees == 500
    shapes = {"train": 100, "test": 10, "unlabeled": 20, "seed": 0}
    write_shapes(tmp_path / "stl10_binary", resolve({"shapes": shapes}).shapes)
    config = resolve({
        "preset": "patches-2016", "data": f"stl10:{tmp_path / 'stl10_binary'}", "folds": 2, "jobs": 1, "device": "cpu",
        "autoencoder": {"training": {"epochs": 1}}, "network": {"training": {"epochs": 1}},
        "classical": {"trees": 3, "strengths": [0.01]},
        "studies": {"sparse": {"patches": 300, "hidden": 5, "iterations": 3}, "convolved": {"deep": [4, 3, 4]}},
    })  # fmt: skip
    run_studies(config, load(config), folder=tmp_path / "run")
    assert not read_study(tmp_path / "run" / "convolved").protocol.folds.own
    arms = read_findings(tmp_path / "run", "convolved").comparison.arms
    counts = {arm.arm: arm.medians.get("features") for arm in arms}
    assert counts[ArmKey("pixels").on("logistic")] == 3 * 96 * 96
    assert counts[ArmKey("report", stride=8).on("logistic")] == 5 * 12 * 12
    assert counts[ArmKey("report", stride=4).on("logistic")] == 5 * 23 * 23
    assert counts[ArmKey("deep", stride=8).on("trees")] == 3 * 12 * 12
    section = Document(tmp_path / "run", "en").sections("convolved")[0]
    assert "A course report of 2016" in " ".join(section.conclusion)


def test_a_short_last_batch_is_left_out(lab, monkeypatch):
    """650 patches in batches of 300: the 50 left over would be refused."""
    seen = []
    config = resolve(TINY, {"studies": {"sparse": {"patches": 650}}})
    one = Lab(config, lab.splits, lab.folder)
    monkeypatch.setattr(
        "unlabeled.experiments.pretraining.fit", lambda *a, **_: seen.append(len(a[2])) or Fitted([{"train_loss": 1.0}])
    )
    perform(one, PatchesTask(IN_BATCHES, PatchesLearned.of(config.studies.sparse, 0, solver="batches")))
    assert seen == [600]
