"""Where things are kept that can be made again. Knows nothing of torch."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(given: Path | None = None) -> Path:
    """Return the folder for stores and kernels: the given one, ``UNLABELED_CACHE``, or the user's cache folder."""
    if given is not None:
        return given.expanduser()
    if os.environ.get("UNLABELED_CACHE"):
        return Path(os.environ["UNLABELED_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "unlabeled"
