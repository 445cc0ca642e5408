"""Compile the kernels for this very processor, once, with the system's own compiler.

Where there is no compiler, or none that can, there is no kernel, and PyTorch and NumPy do the work; a line says so. A library is code: one
from the cache is loaded only if it and its folder belong to this user (or to root), nobody else can write there, and its bytes are
those that its name tells. What was just compiled proves itself in a process of its own first.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from unlabeled.console.plain import printable
from unlabeled.errors import UserError
from unlabeled.keeping.caching import cache_folder
from unlabeled.keeping.files import sync_folder
from unlabeled.keeping.locks import abandoned, age_of, locked

_log = logging.getLogger("unlabeled")

_FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC", "-Wno-psabi", "-lpthread", "-lm")
# Seconds at the most; compiling takes 5 to 10, and more than a minute where several do so on busy cores.
_ASKING, _COMPILING, _PROVING = 10, 240, 20
_OTHERS_WRITE = 0o022
# What works on maps in half precision, and how many pointers it takes.
_HALVES = {"halve": 4, "spread": 4, "look_up": 4, "moments": 4, "normalise": 6, "collect": 8, "hand_back": 9}
# What works on pixels, and whether it takes pointers or numbers.
_PIXELS = {
    "move_pixels": "ppppppp", "count_tones": "pppnp", "tone_pixels": "pppnp", "mix_colours": "pppnppp", "cut_squares": "ppppnn",
}  # fmt: skip
_NAMES = ["encode", "scatter", "gather", *_HALVES, *_PIXELS]
_PROOF = f"import ctypes, sys; made = ctypes.CDLL(sys.argv[1]); [made[name] for name in {_NAMES}]"
_TEMPORARY = "unlabeled-kernels-"


class _Unusable(Exception):  # noqa: N818 - it never leaves this module
    """Why there are no kernels."""


class _Choice:
    """What this process was told: the cache to look in, and the library that its parent has, if it has one."""

    cache: Path | None = None
    library: Path | None = None
    off = False


def kernels() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where there are none or ``UNLABELED_KERNELS=off`` says so."""
    return None if _Choice.off or turned_off() else library()


def turned_off() -> bool:
    """Tell whether ``UNLABELED_KERNELS`` says that they are not to be used."""
    return os.environ.get("UNLABELED_KERNELS", "").lower() in ("off", "0", "no", "false")


def keep_in(cache: Path | None) -> None:
    """Name the cache folder to keep the library in; what is loaded already stays."""
    _Choice.cache = cache


@contextmanager
def without_kernels() -> Iterator[None]:
    """Let PyTorch's own layers do all work in this process: what is traced must be no kernel of ours."""
    before = _Choice.off
    _Choice.off = True
    try:
        yield
    finally:
        _Choice.off = before


def loaded_from() -> Path | None:
    """Return the file of the kernels that this process uses, for its children to use the same; None if it uses none."""
    return None if kernels() is None else _path()


def take(path: Path | None) -> None:
    """Use the very kernels of the parent process, or none: a run keeps to one arithmetic.

    Raises
    ------
    UserError
        If they can't be loaded here.
    """
    _Choice.library, _Choice.off = path, path is None
    if path is not None and kernels() is None:
        raise UserError(
            f"{path}: the kernels can't be loaded in a second process; give the same command again, or set UNLABELED_KERNELS=off"
        )


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None if they can't be built; the reason is told once."""
    path = _path()
    if path is None:
        return None
    try:
        return _load(path)
    except OSError as error:
        _log.warning(f"kernels are off ({error}); PyTorch and NumPy do the work, more slowly")
        return None


def _load(path: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(path))
    pointer, number = ctypes.c_void_p, ctypes.c_int
    loaded.encode.argtypes = [pointer] * 4 + [number] + [pointer] * 2
    loaded.scatter.argtypes = [pointer] * 6 + [number] + [pointer]
    loaded.gather.argtypes = [pointer] * 7 + [number] + [pointer] * 4
    for name, pointers in _HALVES.items():
        getattr(loaded, name).argtypes = [pointer] * pointers
    for name, arguments in _PIXELS.items():
        getattr(loaded, name).argtypes = [ctypes.c_int64 if one == "n" else pointer for one in arguments]
    return loaded


@functools.cache
def team() -> int:
    """Return the address of the way to start a team of PyTorch's own threads, or 0.

    A second pool would have to share the cores with PyTorch's, whose threads wait for work without sleeping.
    """
    candidates = [None, *sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))]
    for path in candidates:
        try:
            function = ctypes.CDLL(None if path is None else str(path)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    return 0


@functools.cache
def _path() -> Path | None:
    """Return the library to load: the parent's, one from the cache, or one that is built now."""
    try:
        if _Choice.library is not None:
            return _Choice.library if _is_trusted(_Choice.library) else None
        return _find_or_build()
    except _Unusable as error:
        _log.warning(f"kernels are off ({printable(str(error))}); PyTorch and NumPy do the work, more slowly")
        return None


def _find_or_build() -> Path:
    """Return the library; its name holds all that it was made from, and its own digest."""
    source, compiler = sources(), _compiler()
    known = _call([*compiler, "--version"], _ASKING)
    made_from = [source, known, " ".join([*compiler[1:], *_FLAGS]).encode(), processor().encode()]
    key = hashlib.sha256(b"\0".join(made_from)).hexdigest()[:20]
    try:
        folder = _own_folder()
        library = next((path for path in sorted(folder.glob(f"blocks-{key}-*.so")) if _is_trusted(path)), None)
        return library or _build(folder, key, source, compiler)
    except (OSError, UserError):
        # No home, a full or read-only disk, somebody else's folder: then for this process and its children alone.
        try:
            return _build(_temporary_folder(), key, source, compiler)
        except OSError as error:
            raise _Unusable(f"there is no folder to build them in: {error}") from None


def sources() -> bytes:
    """Return what is compiled, as one file."""
    return b"".join((files("unlabeled.kernels") / name).read_bytes() for name in ("blocks.c", "pixels.c"))


def _compiler() -> list[str]:
    try:
        compiler = shlex.split(os.environ.get("CC") or "cc")
    except ValueError as error:
        raise _Unusable(f"CC={os.environ['CC']!r}: {error}") from None
    if not compiler or shutil.which(compiler[0]) is None:
        raise _Unusable(f"no C compiler: {compiler[0] if compiler else 'CC'!r} is not there")
    return compiler


def _call(command: list[Any], seconds: float) -> bytes:
    """Return what a command prints; one that fails or takes too long is no use."""
    name, pipe = command[0], subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True)
    except OSError as error:
        raise _Unusable(f"{name} can't be started: {error.strerror}") from None
    with process:
        try:
            out, errors = process.communicate(timeout=seconds)
        except BaseException as error:
            # With what it has started itself.
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise _Unusable(f"{name} gave no answer within {seconds} s") from None
    if process.returncode:
        said = errors.decode(errors="replace").strip().partition("\n")[0][:200]
        raise _Unusable(f"{name} failed with status {process.returncode}{': ' if said else ''}{said}")
    return out


def _own_folder() -> Path:
    """Return the folder of libraries, where nobody else can write.

    Raises
    ------
    OSError
        If there is none, or it is not ours.
    """
    folder = cache_folder(_Choice.cache) / "kernels"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    facts = folder.stat()
    if facts.st_uid not in (os.geteuid(), 0):
        raise PermissionError(f"{folder} belongs to another user")
    if facts.st_mode & _OTHERS_WRITE:
        folder.chmod(stat.S_IMODE(facts.st_mode) & ~_OTHERS_WRITE)
    with locked(folder):  # nobody begins to build meanwhile
        for path in folder.glob(".building-*"):
            if abandoned(path):
                shutil.rmtree(path, ignore_errors=True)
    return folder


def _temporary_folder() -> Path:
    """Make a folder that goes when this process ends, and remove those whose process was killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*"):
        with suppress(OSError):
            facts = path.lstat()
            young = age_of(path) < _COMPILING
            if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and not young and abandoned(path):
                shutil.rmtree(path, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
    lock = locked(folder)
    lock.__enter__()  # held until the end

    def remove(owner: int = os.getpid()) -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)
            lock.__exit__(None, None, None)

    atexit.register(remove)
    inside = folder / "kernels"  # the folder itself is locked for as long as this process lives
    inside.mkdir(mode=0o700)
    return inside


def _build(folder: Path, key: str, source: bytes, compiler: list[str]) -> Path:
    with _building(folder) as inside:
        code, made = inside / "blocks.c", inside / "blocks.so"
        code.write_bytes(source)
        _call([*compiler, code, "-o", made, *_FLAGS], _COMPILING)
        if not made.is_file():
            raise _Unusable(f"{compiler[0]} made no library")
        made.chmod(0o600)
        try:
            # One that is broken can end the process that loads it.
            _call([sys.executable, "-I", "-S", "-c", _PROOF, made], _PROVING)
        except _Unusable:
            raise _Unusable(f"what {' '.join(compiler)} made can't be loaded") from None
        path = folder / f"blocks-{key}-{_digest(made)}.so"
        with made.open("rb") as file:
            os.fsync(file.fileno())
        # Another process may have been as far at the same time: both files are the same.
        made.replace(path)
    sync_folder(folder)
    for other in folder.glob(f"blocks-{key}-*.so"):
        if not _is_trusted(other):
            other.unlink(missing_ok=True)
    return path


@contextmanager
def _building(folder: Path) -> Iterator[Path]:
    with ExitStack() as stack:
        with locked(folder):
            inside = Path(tempfile.mkdtemp(prefix=".building-", dir=folder))
            stack.callback(shutil.rmtree, inside, ignore_errors=True)
            stack.enter_context(locked(inside))
        yield inside


def _is_trusted(path: Path) -> bool:
    """Tell whether a library is ours alone to write, and holds what its name tells."""
    try:
        above, facts = path.parent.stat(), path.lstat()
        sound = all(one.st_uid in (os.geteuid(), 0) and not one.st_mode & _OTHERS_WRITE for one in (above, facts))
        return sound and stat.S_ISREG(facts.st_mode) and path.stem.endswith(f"-{_digest(path)}")
    except OSError:
        return False


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def processor() -> str:
    """Return what the machine code depends on: the cache may lie on a disk that several machines share."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    facts = [
        next((line for line in lines if line.startswith(name)), "") for name in ("model name", "flags", "Features")
    ]
    return " ".join([platform.machine(), *facts])
