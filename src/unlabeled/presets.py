"""The presets, and how they, a file and the command line become one configuration."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import ValidationError

from unlabeled.config import Config
from unlabeled.config.checks import check
from unlabeled.config.names import explain
from unlabeled.errors import DamagedFile, UserError
from unlabeled.keeping.files import fingerprint, read_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Nothing goes round the main job's code: with switches that say where everything is, a short code learns little of what it is.
_PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "folds": 3,
        "seeds": 3,
        # What is of little interest beside what it takes.
        "leave_out": ["scaled", "denoised-network", "joint", "consistency", "pretrained", "rotations"],
        "shapes": {"train": 3000, "test": 2000, "unlabeled": 8000},
        # Few steps: small batches and a larger rate make the most of them.
        "autoencoder": {
            "switches": False,
            "training": {"epochs": 4, "steps": 1200, "batch_size": 32, "learning_rate": 2e-3},
        },
        "network": {"training": {"epochs": 25, "steps": 5000, "patience": 8}},
        "strong": {"training": {"steps": 2400}},
        "curve": {"labels": [0.25, 0.5], "unlabeled": []},
        "classical": {"trees": 100, "min_samples_leaf": [1]},
        "studies": {"joint": {"reconstruction": [10.0]}},
    },
    "standard": {
        "leave_out": ["pretrained", "rotations"],
        "autoencoder": {"switches": False, "training": {"steps": 3500}},
        "network": {"training": {"steps": 5000}},
        # What the images are worth by consistency grows with its steps, long after labels alone have said all they can.
        "strong": {"consistency": {"steps": 19_200}},
        "studies": {"network": {"training": {"steps": 2000}}},
    },
    "full": {
        "folds": 10,
        "seeds": 3,
        "shapes": {"train": 5000, "test": 8000, "unlabeled": 100000},
        "autoencoder": {"switches": False, "training": {"epochs": 20, "steps": 7000}},
        "network": {"learning_rates": [5e-4, 1e-3, 3e-3], "training": {"epochs": 80, "steps": 10_000, "patience": 20}},
        "strong": {
            "widths": [64, 128, 256],
            "rounds": 2,
            "training": {"steps": 9600},
            "consistency": {"steps": 38_400},
        },
        "classical": {"trees": 500},
        "studies": {"joint": {"reconstruction": [3.0, 10.0, 30.0], "between": [0.0, 10.0]}},
    },
}

# What the default folder's name says anyway.
_NAMED = ("study", "data", "preset")

# The set-up of a course report of 2016 on STL-10: 10,000 patches of 3x8x8, clipped at three sigma to [0.1, 0.9], 75 hidden units,
# rho 0.06, beta 3, lambda 1e-4, L-BFGS-B up to 2,000 iterations; whole maps at strides 8 and 4, three hidden layers 100-64-100; all 5,000
# labels, of which a fifth is to choose with here; 500 trees.
_PRESETS["patches-2016"] = {
    "study": "convolved",
    "data": "stl10",
    "side": 96,
    "own_folds": False,
    "folds": 5,
    "seeds": 3,
    "autoencoder": {"training": {"epochs": 3}},
    "network": {"training": {"epochs": 20}},
    "classical": {"trees": 500, "min_samples_leaf": [1]},
    "studies": {
        "sparse": {
            "side": 8, "patches": 10_000, "hidden": 75, "preparation": "clip", "rho": 0.06, "beta": 3.0, "decay": 1e-4,
            "iterations": 2000,
        },
        "convolved": {"strides": [8], "unpooled": [8, 4], "deep": [100, 64, 100], "stride": 8},
    },
}  # fmt: skip

# What the studies take otherwise than the main job: they have many more runs, and undo a max-pool with its switches.
_STUDY_PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "folds": 3,
        "seeds": 3,
        "shapes": {"train": 3000, "test": 1000, "unlabeled": 5000},
        "autoencoder": {"switches": True, "training": {"epochs": 5, "steps": 750, "batch_size": 32, "learning_rate": 2e-3}},
        "network": {"training": {"epochs": 16, "steps": 1000, "patience": 6}},
        "classical": {"trees": 100, "min_samples_leaf": [1], "boosting_iterations": 8, "boosting_rate": 0.3},
        "studies": {
            "network": {
                "kernels": [2, 5, 8], "filters": [5, 20, 40], "blocks": [1, 2, 3], "weight_decays": [5e-4, 1e-2],
                "momenta": ["none", "0.9", "nesterov", "rising", "dampening"], "activations": ["sigmoid", "tanh", "relu"],
                "batch_sizes": [32, 128], "sgd_rates": [0.05, 0.2], "adam_rates": [1e-3, 5e-3], "adagrad_rates": [5e-3, 3e-2],
                "rmsprop_rates": [5e-4, 3e-3], "training": {"epochs": 10, "steps": 800, "learning_rate": 3e-3},
            },
            "autoencoder": {"images": 1500, "pools": [2], "filters": [12], "training": {"epochs": 5, "batch_size": 32}},
            "finetune": {"labels": [10], "unlabeled": [1000]},
            "stacked": {"filters": [16, 32], "noises": ["gaussian"]},
            "sparse": {
                "patches": 4000, "hidden": 48, "iterations": 150, "rhos": [0.2], "betas": [50.0], "decays": [1e-4],
                "training": {"epochs": 100},
            },
            "convolved": {"deep": [64, 40, 64]},
            "joint": {"reconstruction": [10.0]},
        },
    },
    "standard": {"folds": 3, "seeds": 3, "autoencoder": {"switches": True}},
    "full": {
        "autoencoder": {"switches": True},
        "studies": {
            "network": {"filters": [5, 10, 15, 20, 30, 40], "blocks": [1, 2, 3, 4, 5], "training": {"epochs": 30, "steps": 4000}},
            "autoencoder": {
                "images": 100_000, "kernels": [2, 3, 4, 5, 7], "paddings": [0, 1, 2], "strides": [1, 2], "pools": [1, 2, 3, 4],
                "filters": [4, 8, 12, 16, 32, 48],
            },
        },
    },
}  # fmt: skip

# Digits are small, and a mirrored or moved digit can be another one.
_DIGITS: dict[str, Any] = {
    "encoder": {"conv_kernel_size": 3, "conv_padding": 1},
    "autoencoder": {"training": {"batch_size": 32}},
    "network": {"training": {"steps": 2000, "flip": False, "shift": 0}},
    "strong": {"training": {"steps": 1000, "batch_size": 64, "flip": False, "shift": 1, "cutout": 2, "operations": 0}},
    "studies": {
        "network": {"training": {"flip": False, "shift": 0}},
        "autoencoder": {"filters": [4, 12]},
        "stacked": {"filters": [8, 16]},
        "sparse": {"side": 4, "hidden": 20},
        "convolved": {"strides": [1, 4], "unpooled": [4, 1]},
    },
}

# The demonstration: an answer in labels within minutes on two cores, from so few, 160 a fold, that they are what the networks lack.
# Which these are, and first weights, make more of a difference than one round of self-training does, but less than two.
_DRAWN: dict[str, Any] = {
    "leave_out": [
        "random", "pca", "scaled", "frozen", "denoised", "denoised-network", "joint", "consistency", "pretrained", "rotations",
    ],
    "side": 24,
    "folds": 5,
    "seeds": 1,
    "shapes": {"train": 1000},
    "autoencoder": {"training": {"steps": 150}},
    "network": {"training": {"steps": 1000}},
    "strong": {"widths": [16, 32, 64], "rounds": 2, "training": {"steps": 400, "batch_size": 96}},
    "curve": {"labels": [0.5]},
}  # fmt: skip
_LONGEST_NAME = 60
_MOST_LAYERS = 64
_DEEPEST = 4


def resolve(*layers: dict[str, Any]) -> Config:
    """Make the configuration: the preset, then what suits the data, then the layers, later ones winning.

    The default folder's name says what the layers change of that, so that another question gets another folder.

    Raises
    ------
    UserError
        If a value is out of range or a name is unknown.
    """
    given: dict[str, Any] = {}
    for layer in layers:
        given = merge(given, _epochs_for_steps(layer))
    preset = given.get("preset", Config.model_fields["preset"].default)
    base = _PRESETS.get(preset, {}) if isinstance(preset, str) else {}
    if given.get("study", "gain") != "gain" and isinstance(preset, str):
        base = merge(base, _STUDY_PRESETS.get(preset, {}))
    if str(given.get("data", "")).partition(":")[0] == "digits":
        base = merge(base, _DIGITS)
    if (given.get("data", "shapes"), preset) == ("shapes", "quick"):
        drawn = {"gain": _DRAWN, "open-set": {"strong": _DRAWN["strong"]}}
        base = merge(base, drawn.get(str(given.get("study", "gain")), {}))
    network = given.get("network", {})
    training = network.get("training") if isinstance(network, dict) else None
    if isinstance(training, dict) and "learning_rate" in training:
        # One learning rate leaves nothing to choose.
        if "learning_rates" in network:
            raise UserError(
                "--network.training.learning-rate goes without --network.learning-rates; give one of the two"
            )
        given = merge(given, {"network": {"learning_rates": [training["learning_rate"]]}})
    before = merge(Config().in_full(), base)
    before["encoder"] |= _of_depth(before["encoder"], given.get("encoder"))
    try:
        config = Config.model_validate(merge(before, given))
    except ValidationError as error:
        raise UserError(explain(error)) from None
    check(config)
    usual = Config.model_validate(merge(before, {name: given[name] for name in _NAMED if name in given}))
    return config.named(_differing(usual.asked, config.asked))


def _of_depth(usual: dict[str, Any], given: Any) -> dict[str, Any]:
    """Return an encoder's usual numbers for as many layers as are asked for: the first of them, or the last one once more."""
    if not isinstance(given, dict):
        return {}
    layers = given.get("layers_num") or max((len(v) for v in given.values() if isinstance(v, list | tuple)), default=1)
    if not isinstance(layers, int) or not 0 < layers < _MOST_LAYERS:
        return {}
    several = {name: list(numbers) for name, numbers in usual.items() if isinstance(numbers, list | tuple)}
    return {
        name: (numbers + numbers[-1:] * layers)[:layers]
        for name, numbers in several.items()
        if len(numbers) > 1 and (layers > 1 or "layers_num" in given)
    }


def _epochs_for_steps(layer: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """Let epochs that are asked for win over steps that a preset or an earlier layer has; no section lies deeper than a few others."""
    if depth > _DEEPEST:
        return layer
    inner = {
        name: _epochs_for_steps(value, depth + 1) if isinstance(value, dict) else value for name, value in layer.items()
    }
    return {"steps": None, **inner} if "epochs" in inner else inner


def command_of(asked: dict[str, Any]) -> str:
    """Return the command that asks for a configuration, as results hold it, or nothing if it is none of this version's, or none can."""
    named = {name: asked[name] for name in _NAMED if name in asked}
    try:
        usual, asked = resolve(named).asked, Config.model_validate(asked).asked
        # A preset can have a study and data of its own.
        alone = resolve({"preset": asked["preset"]}).asked | {"preset": Config().preset}
    except (UserError, ValidationError):
        return ""
    options = {name: asked[name] for name in _NAMED if asked[name] != alone[name]}
    parts = ["unlabeled", "run"]
    for name, value in (*options.items(), *_leaves(asked, usual)):
        given = value if isinstance(value, list) else [value]
        option = name.replace("_", "-")
        if isinstance(value, bool):
            parts.append(
                f"--{option}" if value else "--" + ".".join([*option.split(".")[:-1], f"no-{option.split('.')[-1]}"])
            )
        elif value is None:
            return ""  # it can't be said that a preset's number is left out
        else:
            parts += [f"--{option}", *(quote(str(entry)) for entry in given)]
    return " ".join(parts)


def _differing(usual: dict[str, Any], asked: dict[str, Any]) -> str:
    """Return an ending for a folder's name: what is asked otherwise than usual, or a digest of it where that is long."""
    changed = dict(_leaves(asked, usual))
    if not changed:
        return ""
    text = "".join(
        f"-{name.replace('_', '-')}-{'-'.join(map(str, value)) or 'none' if isinstance(value, list) else value}"
        for name, value in changed.items()
    )
    plain = all(letter.isalnum() or letter in "-." for letter in text)
    return text if plain and len(text) <= _LONGEST_NAME else f"-{fingerprint(changed)[:8]}"


def _leaves(asked: Any, usual: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that is not the usual one, by its dotted name."""
    if "epochs" in usual and usual["steps"] is not None and asked["steps"] is None:
        # However many, epochs that are asked for are no steps.
        yield f"{path}epochs", asked["epochs"]
        usual = usual | {"epochs": asked["epochs"], "steps": None}
    for name, value in asked.items():
        if isinstance(value, dict) and isinstance(usual.get(name), dict):
            yield from _leaves(value, usual[name], f"{path}{name}.")
        elif value != usual.get(name):
            yield f"{path}{name}", value


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return base with the values of over, section by section."""
    merged = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else value
    return merged


def read_file(path: Path) -> dict[str, Any]:
    """Read a TOML file of the same tree: top-level names, and a table for each section."""
    try:
        # Some editors begin a file with a mark of its encoding.
        return tomllib.loads(read_bytes(path).decode("utf-8-sig"))
    except DamagedFile as error:
        if path.exists():
            raise UserError(
                f"{path}: {str(error).partition(': ')[2].partition(';')[0]}; --config takes a TOML file"
            ) from None
        raise UserError(f"{path}: no such file; --config takes a TOML file") from None
    except (ValueError, RecursionError) as error:  # bad TOML, bad UTF-8, a path with a character 0
        raise UserError(f"{path}: not a TOML file: {error}") from None
