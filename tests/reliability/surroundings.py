"""The system around the command misbehaves: a second process, no home, other compilers, planted code, full disks, odd output."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from reliability.trials import (
    CONTROL,
    OF_FOLDER,
    SMALL,
    Ended,
    Found,
    answer,
    finish,
    finished_job,
    left_over,
    start,
    write_photos,
)


def twice_at_once(work: Path) -> str:
    """Three times the same command in one folder, with one empty cache."""
    place = work / "twice"
    job, _ = finished_job(work)
    processes = [
        start([*SMALL, "--out", str(place / "out")], {"UNLABELED_CACHE": str(place / "cache")}, cwd=work)
        for _ in range(3)
    ]
    complaints = [complaint for process in processes if (complaint := finish(process).complaint(0))]
    if complaints or answer(place / "out") != answer(job):
        return f"{complaints or 'another answer'}"
    return f"left over: {left_over(place)}" if left_over(place) else ""


def no_home(work: Path) -> str:
    """Without a home folder the cache has to be named, and then it works."""
    env = {"UNLABELED_CACHE": "", "HOME": "", "XDG_CACHE_HOME": ""}
    prefix = ("env", "-u", "HOME", "-u", "UNLABELED_CACHE", "-u", "XDG_CACHE_HOME")
    stranger = ("setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups")
    unknown = (
        os.getuid() == 0
        # By way of another program: the first one may still have root's rights to pass folders.
        and subprocess.run([*stranger, "env", sys.executable, "-c", ""], check=False, capture_output=True).returncode
        == 0
    )
    if unknown:  # a user that the system does not know has no home either
        prefix = (*stranger, *prefix)
    readable = work / "open"
    readable.mkdir(mode=0o777, exist_ok=True)
    readable.chmod(0o777)
    show = ["data", "show", "--data", "digits"]
    without = finish(start(show, env, cwd=readable, prefix=prefix))
    if unknown and ("--cache" not in without.err or without.status != 2):
        return f"no advice: {without.status} {without.err[-200:]}"
    return without.complaint() or finish(
        start([*show, "--cache", str(readable / "c")], env, cwd=readable, prefix=prefix)
    ).complaint(0)


def ascii_only(work: Path) -> str:
    """Output that takes ASCII only: the answer is there, and a minus stays a minus."""
    job, cache = finished_job(work)
    ended = finish(
        start([*SMALL, "--out", str(job)], {"UNLABELED_CACHE": str(cache), "PYTHONIOENCODING": "ascii"}, cwd=work)
    )
    words = ended.out + ended.err
    return ended.complaint(0) or ("" if "report:" in words and words.isascii() else f"no answer: {words[-200:]!r}")


def output_that_is_full(work: Path) -> str:
    """Standard output on a full disk, and none at all."""
    job, cache = finished_job(work)
    env = os.environ | {"UNLABELED_CACHE": str(cache)}
    for shell in ("exec python report > /dev/full", "exec python report >&-"):
        command = shell.replace("python", f"{sys.executable} -m unlabeled").replace("report", f"report {job}")
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, env=env, cwd=work)
        complaint = Ended(done.returncode, done.stdout, done.stderr).complaint()
        if complaint or "Exception ignored" in done.stderr:
            return f"{shell}: {complaint or done.stderr[-200:]}"
    return ""


def compilers(work: Path) -> str:
    """Compilers that fail, hang, or make something else: the work goes on, and one line says how."""
    folder = work / "compilers"
    folder.mkdir(exist_ok=True)
    seek = 'while [ "$1" != -o ]; do shift; done'
    scripts = {
        "fails": "exit 1", "hangs": "exec sleep 1000", "makes nothing": "exit 0", "makes text": f'{seek}; echo hello > "$2"',
        "makes half": f'cc "$@"; {seek}; truncate -s 9000 "$2"',
        "makes another": f'{seek}; echo "int other;" | cc -shared -fPIC -xc - -o "$2"',
    }  # fmt: skip
    for name, body in scripts.items():
        path = folder / name.replace(" ", "-")
        version = "" if name in ("fails", "hangs") else 'case "$*" in *--version*) echo some compiler; exit 0;; esac\n'
        path.write_text(f"#!/bin/sh\n{version}{body}\n")
        path.chmod(0o755)
        cache, out = folder / "cache", folder / "out"
        ended = finish(
            start([*SMALL, "--out", str(out)], {"UNLABELED_CACHE": str(cache), "CC": str(path)}, cwd=work), 90
        )
        said = [line for line in ended.err.splitlines() if "kernels are off" in line]
        if ended.complaint(0) or len(said) != 1:
            return f"a compiler that {name}: {ended.complaint(0) or said}"
        shutil.rmtree(cache)
        shutil.rmtree(out)
    return ""


def libraries(work: Path) -> str | None:
    """Libraries in the cache that are damaged, or planted: never loaded, and made anew."""
    job, cache = finished_job(work)
    if not list((cache / "kernels").glob("*.so")):
        return None
    for name in ("cut", "empty", "planted", "writable by all", "of another user"):
        if name == "of another user" and os.getuid():
            continue
        place = work / "libraries"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(cache, place / "cache")
        (library,) = (place / "cache" / "kernels").glob("*.so")
        proof = place / "ran"
        if name in ("cut", "empty"):
            os.truncate(library, 0 if name == "empty" else 9000)
        else:
            code = f'#include <stdio.h>\n__attribute__((constructor)) static void f(void) {{ fclose(fopen("{proof}", "w")); }}\n'
            subprocess.run(["cc", "-shared", "-fPIC", "-xc", "-", "-o", library], input=code, text=True, check=True)
            library.chmod(0o666 if name == "writable by all" else 0o755)
            if name == "of another user":
                os.chown(library, 65534, 65534)
            if name != "planted":
                # Its name tells its own digest, so owner and mode are what decides.
                digest = hashlib.sha256(library.read_bytes()).hexdigest()[:32]
                library.rename(library.with_name(f"{library.stem.rpartition('-')[0]}-{digest}.so"))
        ended = finish(
            start([*SMALL, "--out", str(place / "out")], {"UNLABELED_CACHE": str(place / "cache")}, cwd=work)
        )
        if proof.exists() or ended.complaint(0) or answer(place / "out") != answer(job):
            return f"a library that is {name}: {'its code ran' if proof.exists() else ended.complaint(0) or 'another answer'}"
    return ""


def names(work: Path) -> str:
    """Folders and files with markup, controls and line ends in their names."""
    classes = (
        "<img src=x onerror=alert(1)>",
        "\x1b[31mred",
        "a\u202eb",
        "[bold]x[/bold]",
        "x\nerror: forged",
        "$x_{2}$ & %s {y}",
    )
    place = work / "<b>names"
    write_photos(place, names=classes)
    (place / "unlabeled" / "\x1b[2J<i>\nerror: forged.png").write_bytes(b"")
    ended = finish(
        start(
            [*OF_FOLDER, "--data", f"folder:{place}", "--out", str(work / "named")],
            {"UNLABELED_CACHE": str(work / "c")},
            cwd=work,
        )
    )
    words = ended.out + ended.err
    if ended.complaint(0) or CONTROL.search(words) or "\nerror: forged" in words:
        return ended.complaint(0) or "a name reaches the terminal as it is"
    page = (work / "named" / "report.html").read_text()
    return next(
        (f"{sign!r} stands in the page" for sign in ("<img src=x onerror", "<b>names", "<i>", "\x1b") if sign in page),
        "",
    )


def small_disk(work: Path) -> str | None:
    """Cache and results on disks that are too small; with space the same command ends well. Needs root."""
    if os.getuid():
        return None
    job, _ = finished_job(work)
    for what, size in (("cache", 60), ("cache", 300), ("out", 100), ("out", 500)):
        place = work / "small"
        place.mkdir(exist_ok=True)
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", place], capture_output=True
        ).returncode:
            return None
        try:
            other = work / "large" / f"{what}{size}"
            folders = {"cache": other / "cache", "out": other / "out", what: place / what}
            command = [*SMALL, "--out", str(folders["out"])]
            env = {"UNLABELED_CACHE": str(folders["cache"])}
            first = finish(start(command, env, cwd=work))
            subprocess.run(["mount", "-o", "remount,size=100m", place], check=True)
            second = finish(start(command, env, cwd=work))
            fault = (
                first.complaint()
                or second.complaint(0)
                or ("" if answer(folders["out"]) == answer(job) else "another answer")
            )
            if fault or left_over(place):
                return f"{what} of {size} kB: {fault or left_over(place)}"
        finally:
            subprocess.run(["umount", place], check=False)
    return ""


def a_foreign_result(work: Path) -> str:
    """A results folder is data: with sound digests, but code in place of names, nothing of it is run."""
    from unlabeled.keeping.results import read_result, write_result

    place = work / "foreign"
    env = {"UNLABELED_CACHE": str(work / "cache")}
    ended = finish(start(["run", "--study", "joint", *SMALL[1:], "--out", str(place)], env, cwd=work))
    if complaint := ended.complaint(0):
        return complaint
    stored = read_result(place / "joint")
    proof = work / "foreign-code-ran"
    code = {f"**(open({str(proof)!r}, 'w').close() or {{}}), layers_num": 1}
    findings = stored.content["findings"] | {"encoder": code}
    write_result(place / "joint", stored.content | {"findings": findings}, stored.files)
    ended = finish(start(["notebook", str(place)], env, cwd=work))
    return "its code ran" if proof.exists() else ended.complaint(2)


CHECKS: tuple[Callable[[Path], str | None], ...] = (
    twice_at_once, no_home, ascii_only, output_that_is_full, libraries, names, a_foreign_result, small_disk, compilers,
)  # fmt: skip


def run(work: Path, *, seconds: float = 1e9, only: tuple[Callable[[Path], str | None], ...] = CHECKS) -> Found:
    """Make the checks one after the other, as far as the time allows."""
    found = Found()
    began = time.monotonic()
    for check in only:
        if time.monotonic() - began > seconds:
            found.skipped.append(check.__name__)
            continue
        fault = check(work)
        if fault is None:
            found.skipped.append(check.__name__)
        else:
            found.count(f"{check.__name__}: {fault}" if fault else None)
    return found
