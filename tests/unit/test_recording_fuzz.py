# SPDX-License-Identifier: GPL-2.0-only
"""Some thousand damaged recordings; `make fuzz` reads 100,000."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COUNT, SEED = 3000, 5


def test_damaged_recordings() -> None:
    # A process of its own, which may have 256 MiB of address space.
    command = [sys.executable, "-m", "tests.unit.fuzz_recording", str(COUNT), str(SEED)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = re.findall(r"^ +(\d+) (\w+) (whole|part|refused)$", done.stdout, re.M)
    assert sum(int(times) for times, _, _ in seen) == COUNT
    # Everything was tried, and what could be read of it was.
    assert len({kind for _, kind, _ in seen}) == 12
    assert {("dense", "whole"), ("bits", "part"), ("values", "part"), ("bomb", "part")} <= {
        (kind, how) for _, kind, how in seen
    }
