# SPDX-License-Identifier: GPL-2.0-only
"""Two recordings of a day at 1 s with 512 vCPUs: what recording costs, and comparing them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.agent import MIB
from bench.day_files import Written
from bench.report import Limit, limit_table

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[2]

# `diff` looks at every 21st block of a day.
RECORDED = 21


@dataclass(frozen=True)
class Day:
    """Of both files, and of `lpttrace diff`."""

    files: list[Written]
    wall_seconds: float
    cpu_seconds: float
    resident_mib: float


def measure(whole: bool) -> Day:
    """Without whole, blocks that diff does not look at are copies of those that it does."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="lpttrace-day-") as directory:
        paths = [str(Path(directory, name)) for name in ("before.lpt", "after.lpt")]
        return Day(_made(paths, 1 if whole else RECORDED), *_compared(paths))


def _made(paths: list[str], every: int) -> list[Written]:
    script, environment = str(HERE / "day_files.py"), {**os.environ, "PYTHONPATH": str(PROJECT)}
    running = [
        subprocess.Popen(
            [sys.executable, script, path, str(seed), str(every)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for seed, path in enumerate(paths)
    ]
    said = [child.communicate()[0] for child in running]
    return [Written(**json.loads(text)) for text in said]


def _compared(paths: list[str]) -> tuple[float, float, float]:
    """Wall clock and CPU seconds, and the most memory, in MiB."""
    argv, begin = [sys.executable, "-m", "lpttrace", "diff", *paths], time.monotonic()
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"lpttrace diff ended with status {child.returncode}")
    wall = time.monotonic() - begin
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / MIB


def limits(day: Day) -> list[Limit]:
    """Those of the issue that asked for it."""
    share = 100 * max(file.record_seconds for file in day.files)
    return [
        Limit("`lpttrace record`, a frame a second: CPU of one core", share, 3, "%", 1),
        Limit("`lpttrace diff` of both: time", day.wall_seconds, 30, "s", 1),
        Limit("the same: most memory", day.resident_mib, 1024, "MiB"),
    ]


def section(day: Day) -> str:
    """The generated section of docs/overhead.md."""
    file = day.files[0]
    also = (
        f"Each file has {file.frames:,} frames in {file.size / 1e9:.2f} GB. Of {file.recorded:,} "
        f"frames that were recorded in each, one took {_ms(day, 'record_seconds')} ms, besides "
        f"{_ms(day, 'made_up_seconds')} ms to make its numbers up. The comparison took "
        f"{day.cpu_seconds:.1f} s of CPU."
    )
    return f"{limit_table(limits(day))}\n\n{also}"


def _ms(day: Day, what: str) -> str:
    return " and ".join(f"{1000 * getattr(file, what):.1f}" for file in day.files)
