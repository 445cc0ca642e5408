"""What options are called: what was meant by an unknown one, and why a value is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from unlabeled.config import Config

_LONGEST_SHOWN = 80


def explain(error: ValidationError) -> str:
    """Say what pydantic found, one finding a clause."""
    findings = []
    for item in error.errors():
        names = [part for part in item["loc"] if isinstance(part, str)]
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "there is no such option" + _nearest(names)
        given = "" if isinstance(item["input"], dict) else f" (given: {_shortened(item['input'])})"
        findings.append(f"{_option(names)}: {message}{given}")
    return "; ".join(dict.fromkeys(findings))


def suggestion(name: str) -> str:
    """Return which options an unknown one may mean, as the end of a sentence, or nothing.

    A name without its section finds its way, and so do names that other tools use.
    """
    asked = name.strip("-").replace("_", "-")
    last = asked.rpartition(".")[2]
    last = _OTHER_NAMES.get(last, last)
    known = sorted(option_names(), key=_familiarity)
    near = [option for option in known if option.rpartition(".")[2] == last]
    if not near:
        close = get_close_matches(asked, known, n=1) or get_close_matches(
            last, [option.rpartition(".")[2] for option in known], n=1
        )
        near = [option for option in known if close and option.endswith(close[0])]
    return f"; did you mean {' or '.join(f'--{option}' for option in near[:2])}?" if near else ""


def separate(arguments: Sequence[str]) -> list[str]:
    """Take apart what stands behind options that take several values: ``8,16`` and ``[8, 16]`` become 8 and 16, as other tools have it."""
    separated, several, fields = [], False, _fields()
    for argument in arguments:
        name, _, given = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        if name:
            annotation = fields.get(name[2:].replace("_", "-"))
            several = any(get_origin(kind) is tuple for kind in (annotation, *get_args(annotation)))
            separated.append(name if several else argument)
        if several and (given or not name):
            separated += given.strip("[]").replace(",", " ").split() or [given]
        elif not name:
            separated.append(argument)
    return separated


def option_names() -> list[str]:
    """Return the dotted name of every field, as the command line has it."""
    return list(_fields())


def _fields() -> dict[str, Any]:
    """Return every field's type, by its dotted name on the command line."""

    def walk(model: type[BaseModel], above: str) -> Iterator[tuple[str, Any]]:
        for name, field in model.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from walk(kind, f"{above}{name}.")
            else:
                yield f"{above}{name}".replace("_", "-"), kind

    return dict(walk(Config, ""))


# What other tools call them.
_OTHER_NAMES = {
    "lr": "learning-rate", "rate": "learning-rate", "epoch": "epochs", "n-epochs": "epochs", "num-epochs": "epochs", "bs": "batch-size",
    "batch": "batch-size", "wd": "weight-decay", "l2": "weight-decay", "optim": "optimizer", "seed": "seeds", "fold": "folds",
    "dataset": "data", "data-dir": "data", "path": "data", "input": "data", "output": "out", "output-dir": "out", "outdir": "out",
    "size": "side", "image-size": "side", "img-size": "side", "input-size": "side", "resize": "side", "workers": "jobs",
    "num-workers": "jobs", "n-jobs": "jobs", "gpu": "device", "cuda": "device", "amp": "precision", "n-estimators": "trees",
    "kernel-size": "conv-kernel-size", "filters": "conv-out-channels", "channels": "conv-out-channels", "language": "lang",
}  # fmt: skip
_FAMILIAR = ("", "network.training", "network", "autoencoder.training", "autoencoder", "encoder", "classical")


def _familiarity(option: str) -> int:
    section = option.rpartition(".")[0]
    return _FAMILIAR.index(section) if section in _FAMILIAR else len(_FAMILIAR)


def _nearest(names: list[str]) -> str:
    """Suggest the option that an unknown one in a file may have meant: of its own section, or of all."""
    model: Any = Config
    for name in names[:-1]:
        field = model.model_fields.get(name)
        model = field.annotation if field is not None else Config
    close = get_close_matches(names[-1], model.model_fields, n=1) if len(names) > 1 else []
    return f"; did you mean {_option([*names[:-1], *close])}?" if close else suggestion(".".join(names))


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _option(names: list[str]) -> str:
    return "--" + ".".join(names).replace("_", "-") if names else "configuration"
