"""COCO-like JSON of classes: images, the classes, and which image is of which; read as the rows of a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unlabeled.console.plain import printable
from unlabeled.errors import DataError

_PARTS = ("images", "categories")
_ROOTS = ("", "images", "..", "../images")


def read_coco(path: Path) -> Iterator[dict[str, str]]:
    """Yield a row an image: its path, its label (empty where nothing is said of it) and its split if the file names one.

    Paths are looked for in the file's folder, in ``images`` there, and in the folder above. An image may be annotated many times, as
    in data sets of detection, as long as the class is one.

    Raises
    ------
    DataError
        If it is no such file, an annotation names what is not there, or an image is of two classes.
    """
    shown = printable(str(path))
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{shown}: can't be read as JSON ({str(error).partition(chr(10))[0]})") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in _PARTS):
        raise DataError(
            f"{shown}: no JSON as COCO has it, with the lists images (id, file_name), categories (id, name) and annotations (image_id, "
            "category_id)"
        )
    names = {_get(one, "id", shown): str(_get(one, "name", shown)) for one in content["categories"]}
    images = {_get(one, "id", shown): one for one in content["images"]}
    if len(set(names.values())) != len(content["categories"]) or len(images) != len(content["images"]):
        raise DataError(f"{shown}: two categories have one id or name, or two images one id; give each its own")
    labels = _labels(content.get("annotations") or [], names, images, shown)
    folder = _folder(path, [str(_get(one, "file_name", shown)) for one in content["images"][:1]])
    for number, image in images.items():
        yield {
            "path": str(folder / str(_get(image, "file_name", shown))),
            "label": labels.get(number, ""),
            "split": str(image.get("split") or ""),
        }


def _labels(annotations: Any, names: dict[Any, str], images: dict[Any, Any], shown: str) -> dict[Any, str]:
    labels: dict[Any, str] = {}
    if not isinstance(annotations, list):
        raise DataError(f"{shown}: annotations is no list")
    for number, one in enumerate(annotations, 1):
        image, category = (_get(one, name, shown) for name in ("image_id", "category_id"))
        if image not in images or category not in names:
            wrong = f"image_id {image!r}" if image not in images else f"category_id {category!r}"
            raise DataError(f"{shown}: annotation {number} has the {wrong}, and there is none of that id")
        if labels.setdefault(image, names[category]) != names[category]:
            raise DataError(
                f"{shown}: image {image!r} ({printable(str(images[image].get('file_name')))}) is of the classes {labels[image]!r} and "
                f"{names[category]!r}; a classifier needs one class an image, so keep one or remove its annotations"
            )
    return labels


def _get(entry: Any, name: str, shown: str) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, str | int):
        raise DataError(f"{shown}: an entry has no {name}: {printable(json.dumps(entry)[:80])}")
    return value


def _folder(path: Path, some: Sequence[str]) -> Path:
    """Return the folder that files are named from: the first in which the first one is."""
    roots = [path.parent / root for root in _ROOTS]
    return next((root for root in roots if all((root / name).exists() for name in some)), roots[0]).absolute()
