"""The help of ``unlabeled run``, written from the configuration: the options that people use, or every field by section."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unlabeled.config import Config

_USED = (
    "data", "preset", "study", "out", "side", "near", "labels", "unlabeled", "folds", "seeds", "difference", "leave_out",
    "jobs", "lang", "classifier", "strong.training.steps",
)  # fmt: skip
_ABOUT = (
    "Measure what the unlabeled images are worth, and write the report. A run that was interrupted goes on where it was; "
    "finished parts are never repeated."
)
_EXAMPLES = (
    ("unlabeled run", "the embedded data set, a few minutes"),
    (
        "unlabeled run --data folder:photos",
        "your images: train/CLASS/, unlabeled/, and test/CLASS/ if there is one",
    ),
    ("unlabeled run --data folder:photos --preset standard", "an answer to rely on"),
    ("unlabeled run --config study.toml --seeds 5", "a TOML file with the same names, and one of them given otherwise"),
)


def print_help(console: Console, *, everything: bool) -> None:
    """Print the dozen options that people use, or all."""
    console.print("Usage: unlabeled run [OPTIONS]\n")
    console.print(f"{_ABOUT}\n")
    if everything:
        _print_everything(console)
        return
    rows = [_row(name, *_find(name)) for name in _USED]
    rows.append(("--config FILE", Text("TOML file with the same names: top-level ones, and a table for each section.")))
    rows.append(("--archive FILE", Text("A copy of stl10_binary.tar.gz that is at hand, for --data stl10.")))
    _print_rows(console, rows)
    console.print("\nExamples")
    _print_rows(console, [(command, Text(text)) for command, text in _EXAMPLES])
    console.print(
        "\nunlabeled run --help all shows every field, by section. Defaults are those of the preset standard; options win over "
        "--config, and both over the preset."
    )


def _print_everything(console: Console) -> None:
    console.print("Defaults are those of the preset standard; options win over --config, and both over the preset.")
    for section, description, fields in _sections(Config, "", ""):
        console.print(f"\n{section or 'The run'}{': ' + description if description else ''}", soft_wrap=True)
        _print_rows(console, [_row(f"{section}.{name}".strip("."), field, default) for name, field, default in fields])


def _sections(
    model: type[BaseModel], path: str, description: str
) -> Iterator[tuple[str, str, list[tuple[str, FieldInfo, Any]]]]:
    """Yield every section with its own fields, then those below it."""
    own, below = [], []
    for name, field in model.model_fields.items():
        inside = f"{path}.{name}".strip(".")
        if _is_section(field.annotation):
            below.append((inside, field))
        else:
            own.append((name, field, _default(inside)))
    if own:
        yield path, description, own
    for inside, field in below:
        assert isinstance(field.annotation, type)
        yield from _sections(field.annotation, inside, field.description or "")


def _find(path: str) -> tuple[FieldInfo, Any]:
    model: Any = Config
    *above, last = path.split(".")
    for name in above:
        model = model.model_fields[name].annotation
    return model.model_fields[last], _default(path)


def _default(path: str) -> Any:
    value: Any = Config()
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _row(path: str, field: FieldInfo, default: Any) -> tuple[str, Text]:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    text = " ".join((field.description or "").split())
    if choices:
        text += f" One of {', '.join(map(str, choices))}."
    if default not in (None, ()):
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
        text += f" Default: {shown}."
    return f"--{path.replace('_', '-')}{_kind(field, choices)}", Text(text)


def _kind(field: FieldInfo, choices: tuple[Any, ...]) -> str:
    """Say what stands behind an option."""
    if field.annotation is bool:
        return ""
    several = " ..." if get_origin(field.annotation) is tuple else ""
    inside = [
        kind for part in get_args(field.annotation) or (field.annotation,) for kind in (get_args(part) or (part,))
    ]
    if choices or (several and get_origin(get_args(field.annotation)[0]) is Literal):
        return f" CHOICE{several}"
    if Path in inside:
        return " PATH"
    return f" {'TEXT' if str in inside and int not in inside else 'SIZE' if str in inside else 'NUMBER'}{several}"


def _print_rows(console: Console, rows: list[tuple[str, Text]]) -> None:
    # Where the terminal is narrow, what is told stands below the name.
    widest = max(len(name) for name, _ in rows)
    if widest + 44 > console.width:
        for name, text in rows:
            console.print(f"  {name}", markup=False, highlight=False)
            console.print(Padding(text, (0, 0, 0, 6)), highlight=False)
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2), pad_edge=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, text in rows:
        table.add_row(Text(name), text)
    console.print(table, highlight=False)
