"""The classifier that a run hands over: what is kept, that it says the same again, and what is done with files."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import unlabeled as ul
from conftest import own_cache, read_arrays, read_findings
from unlabeled.cli import main
from unlabeled.errors import DamagedFile, UserError
from unlabeled.evaluation.calibration import calibrate, find_temperature, reliability, warm
from unlabeled.finished import reopen
from unlabeled.finished.architectures import StrongArchitecture
from unlabeled.finished.classifier import Classifier, ClassifierConfig
from unlabeled.finished.exporting import Preprocess, export
from unlabeled.finished.keeping import AllLabels, decide, final_task
from unlabeled.finished.predicting import NONE, classify, find_images
from unlabeled.images import Images
from unlabeled.images.decoding import BATCH, decode_batch
from unlabeled.images.fitting import Wanted
from unlabeled.networks.strong import StrongNet
from unlabeled.presets import resolve
from unlabeled.sources import load
from unlabeled.studies.course import run_gain
from unlabeled.training.measuring import codes_of
from unlabeled.training.runtime import seeded

SMALL = {
    "preset": "quick", "folds": 2, "seeds": 3, "device": "cpu", "jobs": 1, "precision": "fp32",
    "leave_out": ["random", "pca", "frozen", "denoised", "consistency", "pretrained", "rotations"],
    "strong": {"widths": [4, 6], "training": {"steps": 8, "batch_size": 16}}, "classical": {"trees": 5, "strengths": [0.1]},
    "curve": {"labels": "none"},
}  # fmt: skip


def photograph(path, colour, random, size=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.clip(random.normal(60, 30, (*size, 3)) + 120 * np.eye(3)[colour], 0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("photos") / "mine", np.random.default_rng(0)
    for colour, name in enumerate(("red", "grün", "b&w")):
        for number in range(24):
            photograph(folder / "train" / name / f"{number}.png", colour, random)
        for number in range(6):
            photograph(folder / "test" / name / f"{number}.jpg", colour, random, (40, 25))
    for number in range(30):
        photograph(folder / "unlabeled" / f"{number}.png", number % 3, random)
    return folder


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    """A run by the command, so with all that the command leaves."""
    with own_cache(tmp_path_factory), pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("run") / "photos"
        config = resolve(SMALL, {"data": f"folder:{photos}", "side": 16, "out": str(folder)})
        patch.setattr("unlabeled.cli.resolve", lambda *_: config)
        main(["run"])
        return folder


@pytest.fixture
def classifier(finished):
    return ul.load_classifier(finished)


def files_of(photos):
    return sorted(map(str, (photos / "test").rglob("*.jpg")))


def test_a_finished_run_ends_with_a_classifier(finished, classifier, photos):
    folder = finished / "classifier"
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json", "README.md", "golden.npz"}
    assert classifier.classes == ("b&w", "grün", "red")
    assert classifier.config.input_size == (3, 16, 16)
    assert classifier.check_golden(folder) < 1e-6
    assert ul.load_classifier(folder).config == classifier.config
    kept = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert kept["architecture"] == {"kind": "strong", "widths": [4, 6], "layers": [1, 1]}
    assert kept["versions"]["unlabeled"] and kept["temperature"] > 0
    # By a pattern with its folder's digests nothing of it is a pickle.
    assert not [path for path in folder.iterdir() if path.suffix in (".pkl", ".pt", ".pth")]


def test_files_are_seen_as_the_store_had_them(classifier, photos, finished):
    """The same pixels through paths and through the store: preprocessing is one, in training and in use."""
    splits = load(reopen(finished).lab.config)
    by_store = classifier.predict_proba(splits.test)
    paths = [str(photos / "test" / name / f"{number}.jpg") for name in splits.class_names for number in range(6)]
    by_path = classifier.predict_proba(paths)
    assert np.abs(np.sort(by_path, axis=0) - np.sort(by_store, axis=0)).max() < 1e-6
    assert by_path.sum(axis=1) == pytest.approx(1, abs=1e-5)
    one = classifier.predict_proba(paths[0])
    np.testing.assert_allclose(one[0], by_path[0], atol=1e-6)
    assert classifier.predict([Path(paths[0])]) == [classifier.classes[int(by_path[0].argmax())]]
    assert classifier.predict_proba([]).shape == (0, 3)


def test_it_has_learned_from_all_labels_and_never_asks_the_test_images(finished):
    opened = reopen(finished)
    task = final_task(opened)
    lab = task.place.lab_of(opened.lab)
    (fold,) = lab.folds.folds
    assert fold.train.tolist() == list(range(len(opened.lab.splits.labeled)))
    assert lab.splits.test.labels is not None
    assert set(map(bytes, lab.splits.test.take(np.arange(3)))) <= set(
        map(bytes, opened.lab.splits.labeled.take(fold.train))
    )
    assert lab.splits.test.pixels is not opened.lab.splits.test.pixels
    folder = task.key(opened.lab).folder
    assert (folder / "weights.safetensors").exists()
    assert len(read_arrays(folder / "test.npz")["predicted"]) == len(fold.valid)
    choosing = AllLabels(choosing=True).lab_of(opened.lab).folds.folds[0]
    assert not set(choosing.train) & set(choosing.valid)
    assert sorted([*choosing.train, *choosing.valid]) == fold.train.tolist()


def test_the_folds_answer_together_where_they_gain_more_on_validation_images(finished, monkeypatch):
    opened = reopen(finished)
    assert not decide(opened).together  # no curve says what labels bring
    looks = replace(opened.findings.looks, together=(0.5, 0.9))
    opened = replace(opened, findings=replace(opened.findings, looks=looks))
    monkeypatch.setattr("unlabeled.finished.keeping._gain_of_labels", lambda _: 41.0)
    assert not decide(opened).together
    monkeypatch.setattr("unlabeled.finished.keeping._gain_of_labels", lambda _: 39.0)
    assert decide(opened).together


def test_an_ensemble_is_the_mean_of_its_networks_and_comes_back_whole(finished, monkeypatch, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    monkeypatch.setattr("unlabeled.finished.keeping._gain_of_labels", lambda _: -1000.0)
    folder = ul.keep_classifier(run)
    together = ul.load_classifier(folder)
    assert together.config.members == 6
    opened = reopen(run)
    images = opened.lab.splits.labeled.subset(np.arange(7))
    mean = np.mean([one.probabilities(images) for one in opened.networks(opened.arm)], axis=0)
    np.testing.assert_allclose(together.predict_proba(images), warm(mean, together.config.temperature), atol=1e-6)
    assert "6 networks, whose probabilities are averaged" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_small_networks_and_grey_images_are_kept_too(tmp_path):
    config = resolve(
        SMALL,
        {
            "data": "digits", "unlabeled": 120, "test": 60, "classifier": "small",
            "leave_out": ["random", "pca", "frozen", "denoised", "scaled", "denoised-network", "joint"],
            "network": {"learning_rates": [0.01], "training": {"epochs": 2}}, "autoencoder": {"training": {"epochs": 1}},
            "encoder": {"conv_out_channels": [4], "conv_kernel_size": 3, "conv_padding": 1},
        },
    )  # fmt: skip
    run = run_gain(config, load(config), folder=tmp_path / "run")
    classifier = ul.load_classifier(ul.keep_classifier(run))
    assert classifier.config.architecture.kind == "convnet"
    assert classifier.config.input_size == (1, 8, 8)
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "colour.png")
    Image.fromarray(colours).convert("L").save(tmp_path / "grey.png")
    both = classifier.predict_proba([tmp_path / "colour.png", tmp_path / "grey.png"])
    # Its own kernels are none of a graph's, and come back.
    assert export(run, out=tmp_path / "model.pt2", onnx=False)[1] < 1e-5
    np.testing.assert_allclose(both[0], both[1], atol=0.02)


def test_the_card_says_whose_numbers_they_are(finished):
    text = (finished / "classifier" / "README.md").read_text(encoding="utf-8")
    accuracy = read_findings(finished).comparison.arm(reopen(finished).arm).accuracy
    front, _, body = text.partition("---\n\n")
    assert front.startswith("---\nlibrary_name: unlabeled\npipeline_tag: image-classification\n")
    assert f"value: {accuracy.mean / 100:.4f}" in front
    assert "That is a number of the procedure,\nnot of this file" in body
    assert re.search(r"Made by `unlabeled run --data folder:.*`\.\n$", text)


def test_the_readmes_lines_run(finished, photos, monkeypatch, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "photos-quick").symlink_to(finished)
    shutil.copy(files_of(photos)[0], tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    readme = Path(__file__).parent.parent / "README.md"
    code = (
        readme.read_text(encoding="utf-8")
        .partition("## The classifier")[2]
        .partition("```python\n")[2]
        .partition("```")[0]
    )
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["classifier"].classes == ("b&w", "grün", "red")


# Reading


def test_what_is_no_classifier_is_refused(finished, tmp_path):
    with pytest.raises(UserError, match="no classifier in it; give the folder of a finished run"):
        ul.load_classifier(tmp_path)
    copy = shutil.copytree(finished / "classifier", tmp_path / "copy")
    (copy / "config.json").write_text("[1]")
    with pytest.raises(DamagedFile, match="no classifier's description"):
        ul.load_classifier(copy)
    later = json.loads((finished / "classifier" / "config.json").read_text(encoding="utf-8")) | {"format": 99}
    (copy / "config.json").write_text(json.dumps(later))
    with pytest.raises(UserError, match="is of format 99, and this version reads 1"):
        ul.load_classifier(copy)
    shutil.copy(finished / "classifier" / "config.json", copy / "config.json")
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DamagedFile, match="damaged"):
        ul.load_classifier(copy)


def test_golden_images_that_belong_to_another_classifier_are_told(finished, tmp_path, classifier):
    copy = shutil.copytree(finished / "classifier", tmp_path / "copy")
    kept = read_arrays(copy / "golden.npz")
    np.savez(copy / "golden.npz", images=kept["images"], probabilities=kept["probabilities"][:, ::-1])
    with pytest.raises(UserError, match=r"probabilities are off by .* the files do not belong together"):
        classifier.check_golden(copy)


def test_pixels_of_another_size_are_refused(classifier):
    with pytest.raises(
        UserError, match=r"images have shape \(3, 8, 8\); this classifier takes pixels of \(3, 16, 16\)"
    ):
        classifier.predict_proba(np.zeros((2, 3, 8, 8), dtype=np.uint8))


# Files


@pytest.fixture
def pile(tmp_path, photos):
    """Photographs of any size, and what is none."""
    folder, random = tmp_path / "pile", np.random.default_rng(1)
    for number in range(5):
        photograph(folder / "deep" / f"{number} ä.png", number % 3, random, (11 + number, 40))
    (folder / "broken.jpg").write_bytes(b"no picture")
    Image.fromarray(random.integers(0, 60000, (20, 20)).astype(np.uint16)).save(folder / "deep.png")
    return folder


def test_unreadable_files_are_named_and_skipped(classifier, pile):
    batches = list(classifier.stream([str(path) for path in sorted(pile.rglob("*.*"))]))
    problems = {Path(path).name: reason for batch in batches for path, reason in batch.problems}
    assert set(problems) == {"broken.jpg", "deep.png"}
    assert "more than 8 bits a pixel, and training saw none" in problems["deep.png"]
    assert sum(len(batch.paths) for batch in batches) == 5
    with pytest.raises(UserError, match=r"can't be read .*; \d of 7 can't; stream skips them"):
        classifier.predict_proba(sorted(pile.rglob("*.*")))


def test_deep_grey_has_the_scale_of_training(tmp_path):
    """Of 12 bits in 16, full scale is 4,095: an image that is half of it is grey as 8 bits have it."""
    with seeded(0):
        member = StrongNet((1, 8, 8), classes=2, widths=(4,))
    config = ClassifierConfig(("a", "b"), (1, 8, 8), "crop", StrongArchitecture((4,), (1,)), bits=12)
    made = Classifier(config, [member], device="cpu")
    Image.fromarray(np.full((8, 8), 2048, dtype=np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.full((8, 8), 128, dtype=np.uint8)).save(tmp_path / "flat.png")
    both = made.predict_proba([tmp_path / "deep.png", tmp_path / "flat.png"])
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)


def test_many_files_come_in_batches_in_their_order(classifier, tmp_path, photos):
    paths = [files_of(photos)[number % 18] for number in range(BATCH + 30)]
    batches = list(classifier.stream(paths))
    assert [len(batch.paths) for batch in batches] == [BATCH, 30]
    assert [path for batch in batches for path in batch.paths] == paths
    assert len(np.unique(np.concatenate([b.probabilities for b in batches]).round(5), axis=0)) <= 18


@pytest.mark.slow
def test_processes_that_classify_say_the_same_in_the_same_order(classifier, pile, photos, monkeypatch):
    """Many files are worth processes that decode and ask the networks each by itself."""
    monkeypatch.setattr("unlabeled.finished.classifier.BATCH", 8)
    monkeypatch.setattr("unlabeled.images.decoding.BATCH", 8)
    paths = [*files_of(photos), *map(str, sorted(pile.rglob("*.*")))]
    here = list(classifier.stream(paths))
    monkeypatch.setattr("unlabeled.finished.classifier._WORTH_PROCESSES", -1.0)
    apart = list(classifier.stream(paths))
    assert [(one.paths, one.problems) for one in here] == [(one.paths, one.problems) for one in apart]
    for one, other in zip(here, apart, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_what_is_written_is_what_was_predicted(finished, photos, tmp_path, classifier, ending):
    out, paths = tmp_path / "deep" / f"found.{ending}", files_of(photos)
    found = classify(finished, [str(photos / "test")], out=out, top=2)
    if ending == "csv":
        with out.open(encoding="utf-8", newline="") as file:
            rows = [(r["image"], r["class_1"], float(r["probability_1"]), r["class_2"]) for r in csv.DictReader(file)]
    elif ending == "json":
        rows = [
            (e["image"], e["classes"][0]["class"], e["classes"][0]["probability"], e["classes"][1]["class"])
            for e in json.loads(out.read_text())
        ]
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        table = parquet.read_table(out).to_pylist()
        rows = [(r["image"], r["class_1"], r["probability_1"], r["class_2"]) for r in table]
    known = dict(zip(paths, classifier.predict_proba(paths), strict=True))
    assert {row[0] for row in rows} == set(paths)
    for path, name, chance, second in rows:
        best = np.argsort(-known[path])
        assert (name, second) == (classifier.classes[best[0]], classifier.classes[best[1]])
        assert chance == pytest.approx(known[path].max(), abs=1e-4)
    assert found.total == len(paths)
    assert list(out.parent.iterdir()) == [out]


def test_unsure_images_are_none_of_the_classes_where_that_is_asked(finished, photos, classifier, tmp_path):
    chances = classifier.predict_proba(files_of(photos)).max(axis=1)
    threshold = float(np.median(chances)) + 1e-4
    found = classify(
        finished, [str(photos / "test")], none_below=threshold, copy_to=tmp_path / "sorted", tell=lambda _: None
    )
    assert found.none == (chances < threshold).sum() > 0
    assert len(list((tmp_path / "sorted" / NONE).iterdir())) > 0


def test_files_are_copied_into_a_folder_a_class_and_none_is_lost(finished, photos, tmp_path):
    """Names occur in every class: 0.jpg of three classes can come into one folder."""
    target = tmp_path / "sorted"
    for _ in range(2):  # a second time nothing changes
        classify(finished, [str(photos / "test")], copy_to=target, tell=lambda _: None)
        copied = sorted(path.read_bytes() for path in target.rglob("*.jpg"))
        assert copied == sorted(Path(path).read_bytes() for path in files_of(photos))


def test_the_command_says_counts_and_what_could_not_be_read(finished, pile, capsys, tmp_path):
    main(["predict", str(finished), str(pile), "--out", str(tmp_path / "found.csv"), "--none-below", "0.01"])
    said = capsys.readouterr().out
    assert re.search(r"5 images: .*found\.csv", said)
    assert "skipped, can't be read: " in said
    assert "0  none of these classes (0.0 %)" in said
    main(["predict", str(finished), str(pile / "deep" / "*.png"), "--top", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(re.search(r"\d ä\.png: (red|grün|b&w) \d+\.\d %$", line) for line in lines)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere/*.jpg"], "no image is there; give files, folders of images, or patterns"),
        (["{empty}"], "no image is there"),
        (["{pile}", "--out", "found.txt"], r"give a name that ends in \.csv, \.json or \.parquet"),
        (["{pile}", "--top", "0"], "--top 0: give 1 or more"),
        (["{pile}", "--none-below", "2"], "--none-below 2: give a probability"),
    ],
)
def test_senseless_wishes_are_refused(finished, pile, tmp_path, capsys, given, message):
    (tmp_path / "empty").mkdir()
    arguments = [one.format(empty=tmp_path / "empty", pile=pile) for one in given]
    with pytest.raises(SystemExit) as left:
        main(["predict", str(finished), *arguments])
    assert left.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_each_file_is_classified_once(pile):
    found = find_images([str(pile / "deep"), str(pile / "deep" / "*.png"), str(pile / "broken.jpg")])
    assert len(found) == 6


def test_a_strange_class_name_stays_in_the_folder(tmp_path, finished, photos):
    run = shutil.copytree(finished / "classifier", tmp_path / "copy")
    config = json.loads((run / "config.json").read_text(encoding="utf-8")) | {"classes": ["../../a", "..", "/etc/b"]}
    (run / "config.json").write_text(json.dumps(config))
    classify(run, [str(photos / "test")], copy_to=tmp_path / "in" / "sorted", tell=lambda _: None)
    assert len(list((tmp_path / "in" / "sorted").rglob("*.jpg"))) == 18
    assert {path.name for path in (tmp_path / "in").iterdir()} == {"sorted"}


# One graph


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_graph_brings_images_to_their_size_as_pillow_does(tmp_path, fit):
    """To the byte, for images that shrink, grow, are of odd proportions or one pixel high."""
    random = np.random.default_rng(0)
    for size in ((32, 32), (33, 20), (8, 24)):
        for shape in ((50, 31), (31, 50), (300, 200), (7, 90), (16, 16), (33, 32), (1, 5), size):
            image = random.integers(0, 256, (*shape, 3)).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / "image.png")
            expected = decode_batch([str(tmp_path / "image.png")], Wanted(size, fit)).pixels[0]
            found = Preprocess(Wanted(size, fit), 3)(torch.from_numpy(image[None]))[0].numpy()
            np.testing.assert_allclose((found + 1) * 127.5, expected, atol=1e-4)


def test_onnx_and_python_and_the_command_say_the_same_of_files(finished, photos, classifier, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    main(["export", str(finished), "--out", str(tmp_path / "model.onnx")])
    assert re.search(r"model\.onnx: the same numbers as in PyTorch to \d", capsys.readouterr().out)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    paths = [str(path) for path in sorted((photos / "train" / "red").iterdir())[:4]]
    classify(finished, paths, out=tmp_path / "found.json", top=3)
    said = {entry["image"]: entry["classes"] for entry in json.loads((tmp_path / "found.json").read_text())}
    for path, by_python in zip(paths, classifier.predict_proba(paths), strict=True):
        with Image.open(path) as picture:
            (by_onnx,) = session.run(None, {"images": np.asarray(picture.convert("RGB"))[None]})[0]
        np.testing.assert_allclose(by_onnx, by_python, atol=1e-4)
        by_command = {entry["class"]: entry["probability"] for entry in said[path]}
        np.testing.assert_allclose([by_command[name] for name in classifier.classes], by_python, atol=1e-4)
    assert not list(tmp_path.glob("*.data"))


def test_an_encoder_alone_gives_the_codes(finished, classifier, photos, tmp_path):
    path, off = export(finished, out=tmp_path / "encoder.pt2", onnx=False, encoder=True)
    assert off < 1e-5
    read = torch.export.load(path).module()
    with Image.open(files_of(photos)[0]) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    codes = read(torch.from_numpy(pixels[None].copy()))
    seen = decode_batch([files_of(photos)[0]], classifier.wanted).pixels
    expected = codes_of(classifier.members[0], Images(seen))
    np.testing.assert_allclose(codes.detach().numpy(), expected, atol=1e-3)


def test_a_graph_that_computes_something_else_is_not_kept(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "unlabeled.finished.exporting._write_torch", lambda *_: lambda images: np.zeros((len(images), 3))
    )
    (tmp_path / "model.pt2").touch()
    with pytest.raises(UserError, match=r"the graph's numbers are off by .*, so it is not kept"):
        export(finished, out=tmp_path / "model.pt2", onnx=False)
    assert not list(tmp_path.iterdir())


# Calibration


def test_the_temperature_that_made_probabilities_unsure_is_found():
    random = np.random.default_rng(0)
    honest = random.dirichlet([0.5] * 4, size=20_000)
    labels = (honest.cumsum(axis=1) > random.random((20_000, 1))).argmax(axis=1)
    for temperature in (0.5, 1.0, 2.5):
        shown = warm(honest, temperature)
        assert find_temperature(shown, labels) == pytest.approx(1 / temperature, rel=0.05)
        found = calibrate(shown, labels)
        assert found.after < 0.012
        assert found.before == pytest.approx(reliability(shown, labels)[0])
        assert found.before > found.after or temperature == 1


@given(st.floats(0.3, 10), st.integers(2, 6))
def test_a_temperature_changes_no_answer(temperature, classes):
    chances = np.random.default_rng(classes).dirichlet([1.0] * classes, size=50)
    warmed = warm(chances, temperature)
    assert warmed.sum(axis=1) == pytest.approx(1)
    assert (warmed.argmax(axis=1) == chances.argmax(axis=1)).all()
    np.testing.assert_allclose(warm(warmed, 1 / temperature), chances, atol=1e-6)


def test_certain_and_wrong_probabilities_have_a_temperature():
    chances = np.eye(3)[[0, 1, 2, 0]]
    assert np.isfinite(find_temperature(chances, np.array([0, 1, 2, 1])))
    error, bins = reliability(chances, np.array([0, 1, 2, 1]))
    assert error == pytest.approx(0.25)
    assert sum(one.count for one in bins) == 4
