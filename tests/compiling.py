"""A C compiler that makes the same library of the same source only once for all tests: the kernels take it some seconds.

Tests give the command a cache of its own again and again, so that it builds its kernels in each. ``CC`` names this one, started as
``python compiling.py FOLDER COMPILER ARGUMENT...``; tests of the building name compilers of their own.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path


def main(folder, compiler, *arguments):
    """Do what the compiler would; FOLDER keeps what it made."""
    if "-o" not in arguments:
        return subprocess.call([compiler, *arguments])
    source, _, made, *flags = arguments
    version = subprocess.check_output([compiler, "--version"])
    key = hashlib.sha256(b"\0".join([version, Path(source).read_bytes(), *map(str.encode, flags)])).hexdigest()
    kept = Path(folder) / f"{key}.so"
    with (Path(folder) / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept.exists():
            shutil.copyfile(kept, made)
            return 0
        status = subprocess.call([compiler, *arguments])
        if status == 0:
            shutil.copyfile(made, kept.with_suffix(".part"))
            kept.with_suffix(".part").replace(kept)
        return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
