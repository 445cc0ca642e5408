import json
import re
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import TINY_GAIN as TINY
from conftest import read_arrays, read_findings, read_json, read_study
from unlabeled.console.progress import RunProgress
from unlabeled.errors import TrainingDiverged, UserError
from unlabeled.evaluation import folds
from unlabeled.evaluation.features import encode
from unlabeled.experiments import classical, lab, networks, pretraining
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.networks import new_network
from unlabeled.experiments.specs import Learned, LearnedCodes
from unlabeled.experiments.tasks import NetworkTask
from unlabeled.keeping.results import read_result
from unlabeled.methods import METHODS
from unlabeled.methods.autoencoders import denoising, denoising_of_labeled, of_unlabeled
from unlabeled.methods.finetuned import FINETUNED
from unlabeled.methods.strong import STRONG_METHODS
from unlabeled.presets import resolve
from unlabeled.records import ArmKey, FoldsSummary
from unlabeled.report.page import write_report
from unlabeled.sources import load
from unlabeled.studies.course import run_gain
from unlabeled.studies.gain import best_use


def study(folder, **changes):
    config = resolve(TINY, changes)
    return run_gain(config, load(config), folder=folder)


def results(folder):
    """All that a run says, without what differs from run to run: times, speeds and memory."""

    def strip(value):
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if "second" not in k and k != "peak_memory_mb"}
        return [strip(entry) for entry in value] if isinstance(value, list) else value

    return strip(read_json(folder / "result.json"))


@pytest.fixture
def finished(finished_gain):
    return finished_gain


def test_every_arm_runs_on_every_fold_and_seed(finished):
    rows = read_findings(finished).rows
    assert len(rows) == 21 * 2 * 2
    assert len({(row.arm, row.fold, row.seed) for row in rows}) == 84
    labels = read_arrays(finished / "test.npz")["labels"]
    for row in rows:
        stored = read_arrays(finished / row.run / "test.npz")
        assert len(stored["predicted"]) == 60
        assert row.outcome.accuracy == pytest.approx((stored["predicted"] == labels).mean())
        assert row.outcome.log_loss == pytest.approx(stored["log_loss"].mean(), rel=1e-5)
        assert (finished / row.run / "config.json").exists()


def test_the_effect_is_the_mean_of_paired_differences(finished):
    findings = read_findings(finished)
    by = {(row.arm, row.fold, row.seed): 100 * row.outcome.accuracy for row in findings.rows}
    assert len(findings.comparison.contrasts) == 18
    for contrast in findings.comparison.contrasts:
        differences = [by[contrast.treated, f, s] - by[contrast.control, f, s] for f in (0, 1) for s in (0, 1)]
        assert contrast.accuracy.mean == pytest.approx(np.mean(differences))
        assert [d.accuracy for d in contrast.differences] == pytest.approx(differences)


def test_choices_are_the_least_validation_loss(finished):
    networks_of = [row for row in read_findings(finished).rows if row.arm.model == "network"]
    assert len(networks_of) == 5 * 2 * 2
    for row in networks_of:
        best = min(row.outcome.tried, key=lambda trial: trial["valid_log_loss"])
        assert row.outcome.choice["learning_rate"] == best["learning_rate"]
        assert len(row.outcome.tried) == 2


def test_a_network_that_takes_the_autoencoders_scale_takes_nothing_else_of_it(finished):
    config = resolve(TINY)
    own = Lab(config, load(config), finished)
    learned = Learned(config.encoder, config.autoencoder, 1)
    random, scaled = (
        new_network(NetworkTask(ArmKey("random"), config.encoder, config.network, 0, 1, start, scale_only=True), own)
        for start in (None, learned)
    )
    trained = own.trained_autoencoder(learned).encoder.state_dict()
    for name, before in random.encoder.state_dict().items():
        after = scaled.encoder.state_dict()[name]
        assert after.square().mean() == pytest.approx(float(trained[name].square().mean()), rel=1e-5)
        torch.testing.assert_close(after / after.norm(), before / before.norm())
    assert all(torch.equal(a, b) for a, b in zip(random.head.parameters(), scaled.head.parameters(), strict=True))


def test_the_denoising_autoencoder_differs_in_its_noise_and_switches_alone(finished):
    config = resolve(TINY)
    own = Lab(config, load(config), finished)
    usual, noisy = of_unlabeled(own, 0, 1), denoising(own, 0, 1)
    assert noisy.config.model_dump() == usual.config.model_dump() | {"switches": False, "noise": "gaussian"}
    twin = denoising_of_labeled(own, 0, 1)
    assert (twin.encoder, twin.seed, twin.fold) == (noisy.encoder, noisy.seed, 0)
    assert twin.config.training.steps == noisy.config.training.steps_of(len(own.training_images()))


def test_networks_start_alike_but_for_the_autoencoders_training(finished):
    config = resolve(TINY)
    splits = load(config)
    own = Lab(config, splits, finished)
    learned = Learned(config.encoder, config.autoencoder, 1)
    scratch, copied = (
        new_network(NetworkTask(ArmKey("random"), config.encoder, config.network, 0, 1, start), own)
        for start in (None, learned)
    )
    untrained, trained = own.new_autoencoder(config.encoder, 1), own.trained_autoencoder(learned)
    for name, tensor in scratch.head.state_dict().items():
        assert torch.equal(tensor, copied.head.state_dict()[name])
    for name, tensor in scratch.encoder.state_dict().items():
        assert torch.equal(tensor, untrained.encoder.state_dict()[name])
        assert torch.equal(copied.encoder.state_dict()[name], trained.encoder.state_dict()[name])
    assert not torch.equal(trained.encoder.convolutions[0].weight, untrained.encoder.convolutions[0].weight)


def test_frozen_codes_are_those_of_the_bytes_that_were_written(finished):
    """Everything that stands on the autoencoder has run: its file is as it was, and what the models saw are its codes."""
    config = resolve(TINY)
    own = Lab(config, load(config), finished)
    rows = [row for row in read_findings(finished).autoencoders if row.seed == 1]
    assert len(rows) == 1
    stored = load_file(finished / rows[0].run / "weights.safetensors")
    encoder = own.new_autoencoder(config.encoder, 0).encoder
    encoder.load_state_dict(
        {name.removeprefix("encoder."): t for name, t in stored.items() if name.startswith("encoder.")}
    )
    features = own.features(LearnedCodes(Learned(config.encoder, config.autoencoder, 1)))
    assert np.array_equal(features.labeled, encode(encoder, own.splits.labeled, runtime=own.runtime))
    read_result(finished / rows[0].run).verify()


@pytest.mark.slow
def test_a_study_elsewhere_trains_the_same_autoencoders(finished, tmp_path):
    weights = sorted(finished.glob("runs/autoencoder/*/weights.safetensors"))
    assert len(weights) == 2 * 2  # with switches, and without
    before = [path.read_bytes() for path in weights]
    again = study(tmp_path / "again")
    assert [path.read_bytes() for path in sorted(again.glob("runs/autoencoder/*/weights.safetensors"))] == before
    assert results(again) == results(finished)


def test_a_finished_run_is_not_run_again(finished, monkeypatch):
    before = results(finished)
    for module, name in (
        (pretraining, "fit_stacked"),
        (networks, "fit"),
        (classical, "choose_logistic"),
        (classical, "choose_trees"),
        (lab, "fit_components"),
    ):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it was run again"))
    study(finished)
    assert results(finished) == before


@pytest.mark.slow
def test_an_interrupted_study_goes_on_and_ends_alike(finished, tmp_path, monkeypatch):
    class Interrupt(RunProgress):
        def done(self, name, outcome, took):
            super().done(name, outcome, took)
            if "random-network" in name:
                raise KeyboardInterrupt

    config = resolve(TINY)
    with pytest.raises(KeyboardInterrupt):
        run_gain(config, load(config), folder=tmp_path, progress=Interrupt())
    assert not (tmp_path / "result.json").exists()
    kept = len(list(tmp_path.glob("runs/*/*/result.json")))
    assert 5 < kept < 60
    # Another machine goes on with it, whose clock is days behind.
    clock = time.time
    monkeypatch.setattr("time.time", lambda: clock() - 1e6)
    study(tmp_path)
    assert results(tmp_path) == results(finished)


@pytest.mark.slow
def test_a_changed_field_repeats_only_what_depends_on_it(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    known = {path.parent.name for path in folder.glob("runs/*/*/result.json")}
    study(folder, classical={"trees": 6})
    new = {path.parent.parent.name for path in folder.glob("runs/*/*/result.json") if path.parent.name not in known}
    assert new == {f"{source}-trees" for source in ("pixels", "random", "pca", "autoencoder")}


@pytest.mark.slow
def test_a_diverged_network_ends_the_study_in_words_and_keeps_the_rest(tmp_path):
    rates = {
        "learning_rates": [100.0],
        "training": {"optimizer": "sgd", "schedule": "constant", "momentum": 0.99, "epochs": 30},
    }
    with pytest.raises(TrainingDiverged, match="try a learning rate of 10"):
        study(tmp_path, network=rates)
    assert not (tmp_path / "result.json").exists()
    assert list(tmp_path.glob("runs/autoencoder/*/result.json"))


def test_the_protocol_says_what_was_compared(finished):
    protocol, findings = read_study(finished).protocol, read_findings(finished)
    assert (protocol.data, protocol.image, protocol.unlabeled, protocol.test) == ("digits", (1, 8, 8), 120, 60)
    assert protocol.folds == FoldsSummary(2, own=False, correlation=0.0, train=(150, 150), valid=(150, 150))
    assert (findings.code_length, findings.pca_lengths[0] in (25, 50)) == (64, True)
    assert 25 <= findings.pca_lengths[0] <= findings.pca_lengths[1] <= 64


def test_results_are_plain_json(finished):
    paths = list(finished.rglob("*.json"))
    assert len(paths) > 80
    for path in paths:
        assert json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_an_earlier_result_stays_until_a_new_one_takes_its_place(finished, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(classical, "choose_trees", interrupt)
    with pytest.raises(KeyboardInterrupt):
        study(folder, classical={"trees": 7})
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_higher_loss_is_never_called_a_help(finished):
    contrasts = read_findings(finished).comparison.contrasts
    assert len(contrasts) == 18
    for contrast in contrasts:
        better = contrast.accuracy.mean > 0
        assert contrast.verdict != ("hurts" if better else "helps")


def test_no_choice_of_the_held_out_share_leaves_nothing_to_train_on(tmp_path):
    images = load(resolve(TINY)).unlabeled.subset(np.arange(12))
    for share in (0.01, 0.5, 0.999):
        watched, held_out = folds.hold_out(images, share)
        assert len(watched) >= 1
        assert len(held_out) >= 1
        assert len(watched) + len(held_out) == 12


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["standard", "full"])
def test_larger_presets_run_end_to_end_at_shrunken_sizes(tmp_path, preset):
    """Their own folds, epochs' schedules, learning rates and trees' choices; only the sizes are small."""
    small = {
        "data": "digits", "preset": preset, "labels": 100, "unlabeled": 60, "test": 40, "folds": 2, "seeds": 1, "device": "cpu",
        "jobs": 1, "encoder": {"conv_out_channels": [4]}, "autoencoder": {"training": {"epochs": 1}},
        "network": {"training": {"epochs": 1}}, "classical": {"trees": 3},
        "strong": {"widths": [4], "training": {"steps": 2, "batch_size": 16}, "consistency": {"steps": 2}}, "classifier": "both",
    }  # fmt: skip
    config = resolve(small)
    page = write_report(run_gain(config, load(config), folder=tmp_path)).read_text()
    rows = dict(re.findall(r"<tr><td>Augmentation of ([^<]*)</td><td>([^<]*)</td>", page))
    assert {name: "".join(row.split()) for name, row in rows.items()} == {
        "the strong network": "notmirrored,movedbyupto1pixels,aholeof2pixelsaside",
        "the small network": "notmirrored,movedbyupto0pixels",
    }
    findings = read_findings(tmp_path)
    strong = {method.arm for method in STRONG_METHODS}
    small = [row for row in findings.rows if row.arm.model == "network" and row.arm not in strong]
    assert {len(row.outcome.tried) for row in small} == {
        len(config.network.learning_rates)
        * len(config.studies.joint.reconstruction)
        * len(config.studies.joint.between)
    }
    assert all(arm.accuracy is not None for arm in findings.comparison.arms)


@pytest.mark.slow
def test_ways_can_be_left_out_but_not_what_the_answer_needs(tmp_path):
    folder = study(
        tmp_path / "few",
        leave_out=[
            "pca",
            "random",
            "frozen-twin",
            "denoised",
            "denoised-network",
            "joint",
            "scaled",
            "strong",
            "self-training",
        ],
    )
    findings = read_findings(folder)
    assert {arm.arm.source for arm in findings.comparison.arms} == {"pixels", "autoencoder", "random"}
    assert len(findings.comparison.contrasts) == 4  # codes against pixels twice, and the network's two
    assert [worth.arm for worth in findings.comparison.worths] == [FINETUNED.arm]
    assert findings.comparison.chosen == FINETUNED.arm
    # A twin goes with the last way that is held against it, and the other way stays without it.
    assert not {arm.arm.way for arm in findings.comparison.arms if arm.arm.model != "network"} & {"labeled"}
    assert findings.pca_lengths is None
    page = write_report(folder).read_text()
    (left_out,) = re.findall(r"<li>Left out: (.*?)\. Another way", page)
    # Ways of the unlabeled images alone, and of the network asked for.
    assert left_out.split("; ")[0] == "PCA"
    assert "strong" not in left_out
    assert "random" not in left_out
    assert "labeled only" not in left_out
    with pytest.raises(
        UserError, match="--leave-out nothing: there is no such way to leave out; take of pixels, random, "
    ):
        study(tmp_path / "none", leave_out=["nothing"])
    uses = [method.name for method in METHODS if "unlabeled" in method.uses]
    with pytest.raises(
        UserError, match="--leave-out leaves no way to use the unlabeled images together with what it is "
    ):
        study(tmp_path / "none", leave_out=uses)


def test_an_answer_without_autoencoders_trains_none(tmp_path):
    others = [
        "random",
        "frozen",
        "denoised",
        "denoised-network",
        "finetuned",
        "scaled",
        "scratch",
        "joint",
        "strong",
        "self-training",
    ]
    folder = study(tmp_path / "few", leave_out=others)
    findings = read_findings(folder)
    assert findings.autoencoders == ()
    assert not (folder / "runs" / "autoencoder").exists()
    page = write_report(folder).read_text(encoding="utf-8")
    assert "What the autoencoder learned" not in page
    assert 'id="in-labels"' in page


def test_validation_images_choose_the_answer_and_test_images_have_no_say(finished):
    findings = read_findings(finished)
    contrasts = [result.contrast for result in findings.comparison.contrasts]
    uses = {worth.arm for worth in findings.comparison.worths}
    valid = {arm: np.mean([r.outcome.valid_accuracy for r in findings.rows if r.arm == arm]) for arm in uses}
    assert valid[findings.comparison.chosen] == max(valid.values())
    assert findings.comparison.answer.arm == findings.comparison.chosen
    worst = min(uses, key=lambda arm: valid[arm])
    swayed = [
        replace(row, outcome=replace(row.outcome, accuracy=1.0 if row.arm == worst else 0.0)) for row in findings.rows
    ]
    assert best_use(swayed, contrasts) == findings.comparison.chosen
    raised = [
        replace(row, outcome=replace(row.outcome, valid_accuracy=1.0)) if row.arm == worst else row
        for row in findings.rows
    ]
    assert best_use(raised, contrasts) == worst
    # As one of several it is corrected for their number.
    assert findings.comparison.answer.p >= max(
        c.accuracy.p for c in (findings.comparison.answer.without, findings.comparison.answer.twin)
    )
