import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import __main__ as benchmarks_main  # noqa: E402
from benchmarks import shards, strong  # noqa: E402
from benchmarks.drawing import draw_images  # noqa: E402
from benchmarks.encoding import run_encoding  # noqa: E402
from benchmarks.measuring import Outcome, compare, geometric_slope, take_turns  # noqa: E402
from benchmarks.reach import reach  # noqa: E402
from benchmarks.reading import run_folder, run_pipeline  # noqa: E402
from benchmarks.rivals import copy_weights, measure_loss, train_plainly  # noqa: E402
from benchmarks.strong import run_strong  # noqa: E402
from benchmarks.studying import run_study  # noqa: E402
from benchmarks.table import BEGIN, END, add_results, as_markdown, refresh_readme, write_results  # noqa: E402
from benchmarks.training import CASES, fit_ours, loss_of_ours, run_training  # noqa: E402

from conftest import TINY_GAIN  # noqa: E402
from unlabeled import training  # noqa: E402
from unlabeled.presets import resolve  # noqa: E402
from unlabeled.sources import load  # noqa: E402
from unlabeled.training.runtime import seeded  # noqa: E402

MACHINE = {"processor": "a processor", "threads": 2, "torch": "2", "python": "3", "gflops_fp32": 10.0, "gflops_bf16": 20.0,
           "copy_gb_per_second": 3.0, "load": [0.5]}  # fmt: skip


def test_contenders_take_turns_and_ratios_are_taken_within_a_turn():
    order, seconds = [], iter([1.0, 0.5, 2.0, 0.5, 4.0, 1.0])

    def contender(name):
        def run():
            order.append(name)
            return Outcome(10, next(seconds), 0.25)

        return run

    outcomes = take_turns({"rival": contender("rival"), "ours": contender("ours")}, 3, warmups={})
    assert order == ["rival", "ours"] * 3
    rows = compare("case", outcomes, rival="rival", goal=3.0)
    assert rows[0].ratio is None
    assert rows[1].ratio == 4.0
    assert rows[1].ratio_spread == (2.0, 4.0)
    assert rows[1].median == 20.0


def test_a_cost_that_grows_in_a_line_has_the_exponent_one():
    assert geometric_slope([10, 30, 100], [2.0, 6.0, 20.0]) == pytest.approx(1)
    assert geometric_slope([10, 100], [1.0, 100.0]) == pytest.approx(2)


def test_drawn_images_are_always_the_same_and_differ_from_each_other():
    images = draw_images(40)
    assert np.array_equal(images.pixels, draw_images(40).pixels)
    assert len(np.unique(images.pixels.reshape(40, -1), axis=0)) == 40
    assert len(np.unique(images.classes)) > 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ae1", "ae3", "net"])
def test_the_plain_model_is_the_packages_model(name):
    case, images = CASES[name], draw_images(24)
    ours, plain = case.ours(), case.plain()
    loss = measure_loss(plain, images, classify=case.classify)
    x = torch.from_numpy(images.pixels).float() / 127.5 - 1
    with torch.no_grad():
        output = ours(x)
        expected = (
            torch.nn.functional.cross_entropy(output, torch.from_numpy(images.classes))
            if case.classify
            else (output - x).square().mean()
        )
    assert loss == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("", True),
        ("--share 0.2", False),
        ("net", False),
        ("net --add", True),
        ("--readme", True),
        ("net --out .", False),
    ],
)
def test_a_look_at_a_part_leaves_the_kept_table_alone(words, kept):
    out = benchmarks_main._parse(words.split()).out
    assert (out == benchmarks_main.ROOT) == kept
    assert "--out" not in words or out == Path()
    if not kept and out != Path():
        out.rmdir()


@pytest.mark.parametrize(("name", "images"), [("net", 256), ("net", 300), ("net", 264), ("ae1", 132)])
def test_the_plain_loop_takes_the_packages_steps(name, images):
    """Also where an epoch's last batch would be so small that the package lets the last two share."""
    case, data = CASES[name], draw_images(images)
    plain, ours = case.plain(), case.ours()
    train_plainly(plain, data, classify=case.classify)
    fit_ours(case, ours, data)
    assert measure_loss(plain, data, classify=case.classify) == pytest.approx(loss_of_ours(case, ours, data), rel=1e-4)


@pytest.mark.slow
def test_a_case_ends_with_both_at_the_same_loss_and_its_table_reaches_the_readme(tmp_path):
    rows = run_training("ae1", images=512, repeats=1)
    assert [row.contender for row in rows[:2]] == ["plain PyTorch", "unlabeled"]
    assert rows[1].losses[0] == pytest.approx(rows[0].losses[0], rel=1e-4)
    assert rows[1].more["share_of_bound"] > 0
    write_results(tmp_path, MACHINE, [row.as_json() for row in rows], {"peers": "left out, keras is not installed"})
    content = json.loads((tmp_path / "results.json").read_text())
    assert as_markdown(content) == (tmp_path / "results.md").read_text()
    assert "| ae1 | unlabeled |" in as_markdown(content)
    other = [{**rows[0].as_json(), "case": "net"}, {**rows[1].as_json(), "case": "ae1"}]
    machine, added, notes = add_results(content, {**MACHINE, "gflops_fp32": 7.0}, other, {})
    assert machine == MACHINE
    assert [row["case"] for row in added] == ["ae1", "net"]
    assert "another run (matrix product 7 GFLOP/s" in notes["net"]
    assert notes["peers"] == "left out, keras is not installed"
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    refresh_readme(readme, content)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| ae1 |" in text
    readme.write_text("nothing")
    with pytest.raises(ValueError, match="put them where the table belongs"):
        refresh_readme(readme, content)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        lambda tmp_path: run_strong(images=64, repeats=1),
        lambda tmp_path: run_study(images=64, repeats=1),
        lambda tmp_path: run_pipeline(images=200, repeats=1),
        lambda tmp_path: run_folder(folder=None, images=1000, repeats=1),
        lambda tmp_path: run_encoding(images=64, repeats=1),
    ],
    ids=["strong", "study", "pipeline", "folder", "encode"],
)
def test_each_case_runs_and_its_contenders_end_alike(case, tmp_path):
    """A case that needs no other package is measured by the present code, small; contenders that both have a loss end near it."""
    rows = case(tmp_path)
    losses = [row.losses[0] for row in rows if row.losses]
    assert all(row.median > 0 for row in rows)
    assert all(loss == pytest.approx(losses[0], rel=0.5, abs=0.05) for loss in losses)


def test_reach_trains_on_all_labels_then_on_and_goes_on_where_it_was(tmp_path, monkeypatch):
    config = resolve(
        TINY_GAIN,
        {"strong": {"widths": [4], "training": {"steps": 3, "batch_size": 16}, "consistency": {"steps": 2}}, "precision": "fp32"},
    )  # fmt: skip
    alone, further = reach(config, tmp_path)
    assert (alone.way, alone.steps, further.way, further.steps) == ("labels alone", 3, "consistency", 2)
    assert alone.labels == further.labels == len(load(config).labeled)
    assert 0 < alone.seconds < further.seconds
    monkeypatch.setattr(training._Training, "train_epoch", lambda self: pytest.fail("it was trained before"))
    assert [row.accuracy for row in reach(config, tmp_path)] == [alone.accuracy, further.accuracy]


def test_the_plain_strong_network_is_the_packages():
    with seeded(3):
        images = torch.randn(6, 3, 32, 32)
    source = strong._new()
    source.set_whitening(draw_images(50))
    plain = copy_weights(source, strong.PlainStrong(source))
    with torch.no_grad():
        assert torch.allclose(plain.train()(images), source.train()(images), atol=1e-5)


def test_the_steps_of_a_million_images_run_small(tmp_path):
    folder, cache = tmp_path / "shards", tmp_path / "cache"
    for number, count in enumerate((30, 7)):
        shards.draw_shard(folder, number, count)
    assert shards.finish(folder, "drop").startswith("index of ")
    for place in (str(folder), f"file://{folder}"):
        assert shards.compare(place, cache) == shards.read(place, cache) == ""
        assert len(shards.unlabeled_of(place, cache)) == 37
