"""What the tests of the pool give to its processes; they start in a moment where nothing of it needs torch."""

import os
import signal
import sys
import time

import numpy as np

_kept = []


def square_and_grow(number):
    """Return a number's square after a while, and hold 320 MB more."""
    time.sleep(0.6)
    _kept.append(np.ones(40_000_000))
    return number**2


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def imported_by(work, *arguments):
    """Do some work, and return the packages that this process has read since it began."""
    work(*arguments)
    return {name.partition(".")[0] for name in sys.modules}
