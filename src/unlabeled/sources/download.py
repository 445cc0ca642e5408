"""Getting STL-10: a download that goes on where it broke off, checked by its MD5."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from unlabeled.errors import DataError
from unlabeled.keeping.caching import expand
from unlabeled.keeping.locks import locked
from unlabeled.sources.stl10 import ARCHIVE_MD5, URL

_log = logging.getLogger("unlabeled")

_TRIES = 5
_BLOCK = 1 << 20


def find_stl10(path: Path | None, cache: Path) -> Path:
    """Return the folder or archive to read: the given one, or the downloaded one, fetched first if need be."""
    if path is None:
        return fetch_stl10(cache)
    path = expand(path)
    if not path.exists():
        raise DataError(
            f"{path}: no such folder or archive; give one that holds stl10_binary, or leave the path out to download it"
        )
    return path


def fetch_stl10(cache: Path, *, url: str = URL, md5: str = ARCHIVE_MD5) -> Path:
    """Download the archive (2.6 GB) into the cache, unless it is there, and return its path.

    Raises
    ------
    DataError
        If the server can't be reached, or what it sent has another checksum.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    name = "stl10_binary.tar.gz"
    part = cache / f"{name}.part"
    cache.mkdir(parents=True, exist_ok=True)

    def download(address: str, output: str, _: Any) -> None:
        download_resumably(address, part)
        part.replace(output)

    try:
        # Two processes would write one file; the second finds what the first has fetched.
        with locked(cache, waiting=lambda: _log.info(f"another process downloads into {cache}; waiting for it")):
            found = pooch.retrieve(url, known_hash=f"md5:{md5}", fname=name, path=cache, downloader=download)
    except ValueError as error:
        raise DataError(
            f"{url}: what was downloaded is damaged ({error}); try again, or get a copy otherwise and give --data stl10:PATH"
        ) from None
    return Path(found)


def download_resumably(url: str, part: Path) -> None:
    """Download into ``part``, from where an earlier try ended, by HTTP Range requests.

    Raises
    ------
    DataError
        If the server can't be reached, or breaks off five times without sending anything new.
    """
    import requests
    from urllib3.exceptions import HTTPError

    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _download_rest(url, part, before):
                return
            error: Exception | None = None
        except (requests.RequestException, HTTPError) as caught:
            error = caught
        failures = failures + 1 if (part.exists() and part.stat().st_size == before) or not part.exists() else 0
        if failures == _TRIES or (before == 0 and not part.exists()):
            raise DataError(
                f"{url}: can't be downloaded ({error or 'the connection broke off'}); what came so far is kept, so try again, "
                "or get a copy otherwise and give --data stl10:PATH"
            )


def _download_rest(url: str, part: Path, start: int) -> bool:
    """Append what is missing; return whether all is there."""
    import requests
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    # The bytes as they are: a server that calls the archive an encoding would have it unpacked on the way.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return True  # nothing after what we have; the checksum decides
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial_content
        start = start if resumed else 0
        total = start + int(response.headers.get("Content-Length", 0))
        columns = (
            "[progress.description]{task.description}",
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with part.open("ab" if resumed else "wb") as file, Progress(*columns, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task(part.name.removesuffix(".part"), total=total or None, completed=start)
            for block in response.raw.stream(_BLOCK, decode_content=False):
                file.write(block)
                bar.update(task, advance=len(block))
        return part.stat().st_size >= total
