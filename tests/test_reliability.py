"""The programs under ``reliability``, a few trials of each; all of them are ``make reliability``."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("part", ["damage", "kills", "sanitizers"])
def test_a_few_trials_of_each_program_find_nothing(part):
    command = [sys.executable, "-W", "ignore", "-m", "reliability", "--short", "--seed", "1", part]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    tried, wrong = map(int, re.search(r"^reliability: (\d+) tried, (\d+) wrong", done.stdout, re.MULTILINE).groups())
    assert wrong == 0
    assert tried >= {"damage": 8, "kills": 1, "sanitizers": "left out" not in done.stdout}[part]
