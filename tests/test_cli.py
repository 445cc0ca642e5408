import errno
import os
import shlex
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import pytest
from pydantic import BaseModel
from rich.console import Console

from unlabeled import cli, commands
from unlabeled.cli import main
from unlabeled.config import Config
from unlabeled.errors import UserError
from unlabeled.presets import command_of, merge, read_file, resolve

SMALL = ["--classifier", "small",
    "--data", "digits", "--folds", "2", "--seeds", "1", "--unlabeled", "60", "--test", "40", "--device", "cpu",
    "--encoder.conv-out-channels", "3", "--encoder.conv-kernel-size", "3", "--encoder.conv-padding", "1",
    "--autoencoder.training.epochs", "1", "--network.training.epochs", "1", "--network.learning-rates", "1e-3", "1e-2",
    "--classical.trees", "3", "--classical.strengths", "0.01",
]  # fmt: skip


def fails(capsys, *arguments, status=2):
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert caught.value.code == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error.removeprefix("error: ").strip()


def test_run_answers_and_writes_the_report(tmp_path, capsys):
    main(["run", *SMALL, "--out", str(tmp_path / "out")])
    output = capsys.readouterr()
    assert "ConvNet from scratch" in output.out
    assert f"report: {tmp_path / 'out' / 'report.html'}" in output.out
    assert "[38/38] ConvNet from the autoencoder, labeled only, fold 2, seed 0: test accuracy" in output.err
    (tmp_path / "out" / "report.html").unlink()
    main(["report", str(tmp_path / "out")])
    assert (tmp_path / "out" / "report.html").exists()


def test_an_unknown_option_names_the_nearest(capsys):
    assert fails(capsys, "run", "--network.training.epoch", "3") == (
        "unknown option --network.training.epoch; did you mean --network.training.epochs or --autoencoder.training.epochs?"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "1"], "--folds: Input should be greater than or equal to 2 (given: '1')"),
        (["--preset", "fast"], "--preset: Input should be 'quick', 'standard', 'full' or 'patches-2016' (given: 'fast')"),
        (["--autoencoder.training.nesterov"], "--autoencoder.training.nesterov needs optimizer sgd, a momentum above 0 and dampening 0"),
        (
            ["--data", "photos"],
            "data 'photos' is not known; use shapes, digits, stl10, stl10:PATH, folder:PATH, table:FILE.csv, coco:FILE.json, "
            "arrays:FILE.npz, hf:FOLDER (a data set that Hugging Face's datasets saved), idx:FOLDER (the MNIST family), cifar:FOLDER "
            "(its binary version) or shards:FOLDER (or an address; unlabeled data pack writes them); for example unlabeled run --data "
            "folder:photos",
        ),
        (["--data", "digits", "--archive", "x"], "--archive goes with --data stl10, not with --data digits"),
        (
            ["--data", "stl10:nowhere"],
            "nowhere: no such folder or archive; give one that holds stl10_binary, or leave the path out to download it",
        ),
        (["--config", "no.toml"], "no.toml: no such file; --config takes a TOML file"),
        (["--data", "digits", "--device", "gpu"], "device 'gpu' is not known; use auto, cpu, cuda, cuda:1 or mps"),
        (
            ["--data", "digits", "--encoder.conv-kernel-size", "9", "--encoder.conv-padding", "0"],
            "block 1: a 9x9 kernel does not fit a 8x8 map (the image); use conv_kernel_size <= 8 there or conv_padding >= 1",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_status_2(capsys, tmp_path, arguments, message):
    assert fails(capsys, "run", "--out", str(tmp_path), *arguments) == message


def test_every_field_of_the_configuration_is_an_option_with_help_and_default(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(commands, "out", Console(width=400))
    main(["run", "--help", "all"])
    text = capsys.readouterr().out.replace("\n", " ")

    def check(model, prefix):
        for name, field in model.model_fields.items():
            option = f"{prefix}{name.replace('_', '-')}"
            if hasattr(field.annotation, "model_fields"):
                check(field.annotation, option + ".")
                continue
            assert f"--{option}" in text, option
            assert field.description, option

    check(Config, "")


def test_a_file_gives_values_and_options_win(tmp_path, capsys, monkeypatch):
    file = tmp_path / "study.toml"
    file.write_text(
        'data = "digits"\nfolds = 3\npreset = "standard"\n[encoder]\nconv_out_channels = [8, 16]\nconv_stride = 1\n'
        '[network.training]\nepochs = 7\noptimizer = "sgd"\n[autoencoder]\nloss = "mae"\n[classical]\ntrees = 9\n[shapes]\nseed = 4\n'
    )
    seen = []
    monkeypatch.setattr(cli, "_run", seen.append)
    main(["run", "--config", str(file), "--folds", "4", "--network.training.nesterov"])
    (config,) = seen
    assert (config.folds, config.preset, config.data) == (4, "standard", "digits")
    assert config.encoder.conv_out_channels == (8, 16)
    assert (config.network.training.epochs, config.network.training.nesterov, config.network.training.optimizer) == (
        7,
        True,
        "sgd",
    )
    assert (config.autoencoder.loss, config.classical.trees, config.shapes.seed) == ("mae", 9, 4)
    # Every section of the file arrives, whatever it is called.
    given = read_file(file)
    assert merge(config.model_dump(mode="json"), given | {"folds": 4}) == config.model_dump(mode="json")


def test_a_section_or_name_that_does_not_exist_is_refused(tmp_path, capsys):
    file = tmp_path / "study.toml"
    file.write_text("[run]\nfolds = 2\n")
    assert fails(capsys, "run", "--config", str(file)).startswith(f"{file}: --run: there is no such option")
    file.write_text("[network.training]\nepoch = 2\n")
    assert fails(capsys, "run", "--config", str(file)).startswith(
        f"{file}: --network.training.epoch: there is no such option; did you mean --network.training.epochs?"
    )
    file.write_text("folds = \n")
    assert fails(capsys, "run", "--config", str(file)).startswith(f"{file}: not a TOML file")


def test_presets_differ_and_the_data_have_their_own_defaults():
    quick, full = resolve({"preset": "quick"}), resolve({"preset": "full"})
    assert quick.network.training.epochs < full.network.training.epochs
    assert resolve({"data": "digits"}).pixels == (8, 8)
    assert not resolve({"data": "digits"}).network.training.flip
    assert resolve({"data": "digits", "network": {"training": {"flip": True}}}).network.training.flip
    with pytest.raises(UserError, match=r"--network\.training\.epochs: Input should be greater than or equal to 1"):
        resolve({"network": {"training": {"epochs": 0}}})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--strong.widths", "8", "16"],
        ["--strong.widths", "8,16"],
        ["--strong.widths=8,16"],
        ["--strong.widths", "[8,", "16]"],
        ["--strong.widths", "8,", "16"],
    ],
)
def test_several_values_stand_apart_or_with_commas(monkeypatch, arguments):
    seen = []
    monkeypatch.setattr(cli, "_run", seen.append)
    main(
        [
            "run",
            "--seeds",
            "1",
            *arguments,
            "--leave-out",
            "pca,joint",
            "--out",
            "c,d",
            "--data=folder:a,b",
            "--studies.finetune.labels",
            "10,20",
        ]
    )
    (config,) = seen
    assert config.strong.widths == (8, 16)
    assert config.leave_out == ("pca", "joint")
    assert config.studies.finetune.labels == (10, 20)
    assert (str(config.out), config.data, config.seeds) == ("c,d", "folder:a,b", 1)  # a name is a name


def test_one_learning_rate_is_taken_as_the_only_one():
    config = resolve({"network": {"training": {"learning_rate": 0.02}}})
    assert config.network.learning_rates == (0.02,)
    with pytest.raises(UserError, match="give one of the two"):
        resolve({"network": {"training": {"learning_rate": 0.02}, "learning_rates": [0.1]}})


@pytest.mark.parametrize(
    "given",
    [
        {"network": {"learning_rates": [float("nan")]}},
        {"classical": {"strengths": [float("inf")]}},
        {"preset": ["quick"]},
    ],
)
def test_values_that_are_no_numbers_or_no_choice_are_refused(given):
    with pytest.raises(UserError):
        resolve(given)


def test_paths_of_the_wrong_kind_are_said_in_a_line(capsys, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for arguments in (["--out", str(file)], ["--cache", str(file)]):
        assert "give other paths" in fails(capsys, "run", *SMALL, *arguments).splitlines()[-1]
    assert "--config takes a TOML file" in fails(capsys, "run", *SMALL, "--config", str(tmp_path))


def test_ctrl_c_ends_with_130_and_says_what_to_do(capsys, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupt)
    with pytest.raises(SystemExit) as caught:
        main(["run"])
    assert caught.value.code == 130
    assert "the same command goes on from there" in capsys.readouterr().err


def test_a_full_disk_is_said_in_a_line(capsys, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x")

    monkeypatch.setattr(cli, "_run", full)
    assert fails(capsys, "run") == (
        "runs/x: No space left on device; free some space, or give other folders with --out and --cache; finished parts are kept"
    )


@pytest.mark.parametrize("error", [ValueError("a bug"), RuntimeError("another")])
def test_what_is_not_the_users_mistake_is_not_hidden(monkeypatch, error):
    def broken(_):
        raise error

    monkeypatch.setattr(cli, "_run", broken)
    with pytest.raises(type(error)):
        main(["run"])


def test_data_can_be_looked_at(capsys, tmp_path, folder_of_images):
    main(["data", "show", "--data", f"folder:{folder_of_images}"])
    output = capsys.readouterr().out
    assert "unlabeled         12" in output
    assert "exact copies: 0 unlabeled images in test" in output
    assert "near-copies: 0 unlabeled and 0 labeled images of 0 test images; dropped" in output
    main(["data", "sheet", str(tmp_path / "sheet.png"), "--data", "digits"])
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    main(["data", "draw", str(tmp_path / "drawn"), "--train", "100", "--test", "10", "--unlabeled", "10"])
    capsys.readouterr()
    assert "train_X.bin: 2,764,800 bytes instead of 138,240,000" in fails(
        capsys, "data", "verify", str(tmp_path / "drawn")
    )
    main(["data", "show", "--data", f"stl10:{tmp_path / 'drawn'}"])
    assert "folds: 10 of its own, of 20 to 20 images" in capsys.readouterr().out


def test_help_and_reports_do_not_wait_for_torch():
    code = "import sys; from unlabeled.cli import main; main(['--help']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_real_interrupt_leaves_whole_files_and_status_130(tmp_path):
    """The command itself, interrupted by a signal in the middle of a training."""
    import signal
    import time

    long = [
        option if SMALL[place - 1] != "--autoencoder.training.epochs" else "400" for place, option in enumerate(SMALL)
    ]
    # Whoever runs the tests in the background may have told their children to ignore interrupts.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from unlabeled.cli import main; main()"
    command = [sys.executable, "-c", code, "run", *long, "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment)
    checkpoint = None
    for _ in range(600):
        checkpoint = next(Path(tmp_path).glob("runs/autoencoder/*/checkpoint.safetensors"), None)
        if checkpoint or process.poll() is not None:
            break
        time.sleep(0.1)
    assert checkpoint
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130, error
    assert "interrupted; what was finished is kept" in error
    assert not list(Path(tmp_path).rglob("*.tmp"))


def test_a_study_prints_its_conclusion_and_writes_the_report_in_the_language(tmp_path, capsys):
    out = tmp_path / "out"
    main(
        [
            "run",
            *SMALL,
            "--study",
            "baselines",
            "--classical.boosting-iterations",
            "2",
            "--lang",
            "ru",
            "--jobs",
            "1",
            "--out",
            str(out),
        ]
    )
    output = capsys.readouterr()
    assert "\nБазовые модели\n  Точнее всех на пикселях " in output.out
    assert output.out.endswith(f"Отчёт: {out / 'report.ru.html'}\n")
    assert "[baselines 6/6]" in output.err
    assert (out / "baselines" / "result.json").exists()


@pytest.mark.slow
def test_the_main_job_answers_in_the_language(capsys, tmp_path):
    main(["run", *SMALL, "--lang", "ru", "--jobs", "1", "--out", str(tmp_path)])
    output = capsys.readouterr().out
    assert "ConvNet с нуля" in output
    assert f"report: {tmp_path / 'report.ru.html'}" in output
    assert "ConvNet от автокодировщика" in (tmp_path / "report.ru.html").read_text(encoding="utf-8")


def test_a_bundle_of_nothing_is_refused(capsys, tmp_path):
    message = fails(capsys, "bundle", str(tmp_path), "--surname", "A", "--name", "B")
    assert message == f"{tmp_path}: no result.json, so nothing was finished here; run unlabeled run again to go on"


def test_the_last_studies_are_bundled_if_no_folder_is_given(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = fails(capsys, "bundle", "--surname", "A", "--name", "B")
    assert message == "runs: no study was finished there; run unlabeled run --study all first, or give the folder"
    for number, name in enumerate(("old", "new", "older")):
        path = tmp_path / "runs" / name / "baselines" / "result.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        os.utime(path, (1e9 + (5, 9, 1)[number],) * 2)
    assert cli._studies(None) == Path("runs/new")
    assert cli._studies(Path("other")) == Path("other")


@pytest.mark.parametrize(
    "layer",
    [
        {},
        {"data": "digits", "seeds": 2, "network": {"learning_rates": [1e-3, 1e-2], "training": {"flip": True}}},
        {"study": "all", "data": "folder:my photos", "preset": "full", "side": "48x64"},
        {
            "network": {"hidden": [], "training": {"flip": False, "nesterov": True, "optimizer": "sgd"}},
            "own_folds": False,
        },
        {
            "encoder": {"conv_out_channels": [8, 16], "conv_kernel_size": 3},
            "studies": {"joint": {"between": [0.5]}},
            "labels": 100,
        },
        {"strong": {"training": {"operations": 0, "cutout": 0, "keep": "best"}}, "autoencoder": {"switches": True}},
        {"strong": {"training": {"epochs": 7, "smoothing": 0.0}}, "network": {"training": {"epochs": 3}}},
        {"preset": "patches-2016", "study": "gain", "data": "digits"},
        {"preset": "patches-2016", "data": "shapes"},
        {"preset": "patches-2016"},
    ],
)
def test_the_command_in_the_report_asks_for_the_same(layer, monkeypatch):
    asked = []
    monkeypatch.setattr("unlabeled.cli._run", asked.append)
    config = resolve(layer)
    main(shlex.split(command_of(config.question))[1:])
    assert asked[0].question == config.question
    assert command_of({"data": "digits", "preset": "no such"}) == ""
    # That a preset's number is left out can't be said.
    assert command_of(resolve({"preset": "standard", "strong": {"consistency": {"steps": None}}}).question) == ""


def left_out_of_keys(kind=Config, path=()):
    """Yield the dotted name and the value of each field that keys leave out where it has that value, of all sections."""
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from left_out_of_keys(field.annotation, (*path, name))
        elif field.exclude_if is not None and field.default is not None:
            yield ".".join((*path, name)), field.default


@pytest.mark.parametrize(
    "first", [["--preset", "quick"], ["--study", "network", "--preset", "standard"], ["--data", "digits"]]
)
def test_what_keys_leave_out_can_be_asked_for(first, monkeypatch):
    """A preset may have another value; each was lost on its way from the command line, and from the folder's name."""
    fields, asked = dict(left_out_of_keys()), []
    monkeypatch.setattr("unlabeled.cli._run", asked.append)
    words = [
        (f"--{name}" if value is True else f"--{name}={value}").replace("_", "-") for name, value in fields.items()
    ]
    main(["run", *first])
    main(["run", *first, *words])
    usual, config = asked
    got = {name: attrgetter(name)(config) for name in fields}
    assert got == fields
    changed = {name for name in fields if attrgetter(name)(usual) != fields[name]}
    assert len(fields) > 50 and changed and usual.folder != config.folder
    assert resolve(*(unflattened({name: fields[name]}) for name in fields), given_of(first)).folder == config.folder
    for name in changed:
        alone = resolve(unflattened({name: fields[name]}), given_of(first))
        assert alone.folder != usual.folder
        assert f"{name.replace('_', '-').rpartition('.')[2]}" in command_of(alone.question)


def unflattened(values):
    """Return a layer with values at their dotted names."""
    layer = {}
    for name, value in values.items():
        inner = value
        for part in reversed(name.split(".")):
            inner = {part: inner}
        layer = merge(layer, inner)
    return layer


def given_of(words):
    return {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}


def test_a_wrong_value_of_a_file_names_the_file(tmp_path, capsys):
    (tmp_path / "study.toml").write_text('seeds = "three"\n')
    assert fails(capsys, "run", "--config", str(tmp_path / "study.toml")).startswith(
        f"{tmp_path / 'study.toml'}: --seeds: "
    )
    (tmp_path / "study.toml").write_text("seeds = 3\n")
    message = fails(capsys, "run", "--config", str(tmp_path / "study.toml"), "--preset", "full", "--side", "3")
    assert message.startswith("--side: ")


@pytest.mark.parametrize("place", ["photos", "photos/unlabeled", "photos/train/out"])
def test_results_among_the_images_are_refused(tmp_path, capsys, place):
    message = fails(capsys, "run", "--data", f"folder:{tmp_path / 'photos'}", "--out", str(tmp_path / place))
    assert message.endswith("give a folder elsewhere")
    assert not (tmp_path / place).exists()


@pytest.mark.parametrize("depth", [3, 7, 3000])
def test_tables_of_any_depth_are_refused_in_words(depth):
    deep = {"epochs": 3}
    for _ in range(depth):
        deep = {"a": deep}
    with pytest.raises(UserError, match="a"):
        resolve(deep)


@pytest.mark.parametrize(
    ("given", "filters", "kernels"),
    [
        ({"conv_out_channels": [32, 64]}, (32, 64), (5, 3)),
        ({"conv_out_channels": [8, 8, 8, 8]}, (8, 8, 8, 8), (5, 3, 3, 3)),
        ({"layers_num": 1}, (32,), (5,)),
        ({"conv_out_channels": 8}, (8,), (5, 3, 3)),
        ({"conv_out_channels": [8, 8], "conv_kernel_size": [3, 3]}, (8, 8), (3, 3)),
    ],
)
def test_what_is_left_out_of_an_encoder_has_the_depth_that_is_asked_for(given, filters, kernels):
    encoder = resolve({"encoder": given}).encoder
    assert (encoder.conv_out_channels, encoder.conv_kernel_size) == (filters, kernels)
