"""Where things are kept that can be made again. Knows nothing of torch."""

from __future__ import annotations

import os
from pathlib import Path

from unlabeled.errors import UserError


def cache_folder(given: Path | None = None) -> Path:
    """Return the folder for stores and kernels: the given one, ``UNLABELED_CACHE``, or the user's cache folder.

    Raises
    ------
    UserError
        If none is given and there is no home folder.
    """
    named = given or os.environ.get("UNLABELED_CACHE")
    if named:
        return expand(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "unlabeled"
    except RuntimeError:
        raise UserError(
            "there is no home folder to keep shrunken images in; give a folder with --cache, or in the variable UNLABELED_CACHE"
        ) from None


def expand(path: Path | str) -> Path:
    """Return a path with ``~`` replaced by the home folder.

    Raises
    ------
    UserError
        If that folder is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{path}: the home folder of {Path(path).parts[0]!r} is not known; write the path in full"
        ) from None
