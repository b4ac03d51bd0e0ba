# SPDX-License-Identifier: GPL-2.0-only
"""The agent for half an hour, with VMs that come and go: does it take more and more of anything?"""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from bench.agent import MIB, cpu_seconds, serving
from bench.docs import table

SIZE, LIFE_SECONDS = "64x8", 60
MINUTES, SCRAPE_EVERY_SECONDS = 30, 5.0
# Until then it is still growing into its size: every VM has ended once by then.
SETTLED_MINUTES = 5


class Sample(NamedTuple):
    """Of the agent after a scrape."""

    minute: float
    resident_mib: float
    descriptors: int
    threads: int
    series: int
    vms_ever: int


@dataclass(frozen=True)
class Soak:
    """Samples of the whole time, and the CPU time of one scrape over all of it, looks included."""

    samples: Sequence[Sample]
    scrape_ms: float


def measure(minutes: float = MINUTES) -> Soak:
    """Takes so long."""
    samples = []
    with serving(f"{SIZE}/{LIFE_SECONDS}") as (process, url):
        begin, used, number = time.monotonic(), cpu_seconds(process), 0
        for text in _scrapes(url, begin + 60 * minutes):
            number += 1
            lines = [line for line in text.splitlines() if not line.startswith(b"#")]
            newest = max(int(line.split(b'pid="')[1].split(b'"')[0]) for line in _infos(lines))
            with process.oneshot():
                samples.append(
                    Sample(
                        (time.monotonic() - begin) / 60,
                        process.memory_info().rss / MIB,
                        process.num_fds(),
                        process.num_threads(),
                        len(lines),
                        newest - 1000,
                    )
                )
            if number % 60 == 0:
                print(f"bench: soak: {samples[-1]}", file=sys.stderr, flush=True)
        return Soak(samples, (cpu_seconds(process) - used) / number * 1000)


def _infos(lines: Sequence[bytes]) -> list[bytes]:
    return [line for line in lines if line.startswith(b"lpttrace_vm_info")]


def _scrapes(url: str, until: float) -> Iterator[bytes]:
    due = time.monotonic()
    while due < until:
        with urllib.request.urlopen(url, timeout=60) as answer:
            yield bytes(answer.read())
        due += SCRAPE_EVERY_SECONDS
        time.sleep(max(0.0, due - time.monotonic()))


def faults(soak: Soak) -> list[str]:
    """What is not flat: the last minutes against those after the agent had settled."""
    settled = [s for s in soak.samples if SETTLED_MINUTES <= s.minute < 2 * SETTLED_MINUTES]
    last = [s for s in soak.samples if s.minute >= soak.samples[-1].minute - SETTLED_MINUTES]
    # Memory by the median: a sample may fall into the middle of a reading. As many VMs have just
    # ended as at any time, but not exactly.
    found = [
        _grown("median resident MiB", _resident(settled), _resident(last), 0.5),
        _grown("most series", *_most(settled, last, "series"), 0.02 * soak.samples[-1].series),
        _grown("most descriptors", *_most(settled, last, "descriptors"), 1),
        _grown("most threads", *_most(settled, last, "threads"), 0),
    ]
    return [text for text in found if text]


def _grown(what: str, early: float, late: float, room: float) -> str:
    return f"soak: {what} grew from {early:,.1f} to {late:,.1f}" if late > early + room else ""


def _resident(part: Sequence[Sample]) -> float:
    return median(sample.resident_mib for sample in part)


def _most(settled: Sequence[Sample], last: Sequence[Sample], what: str) -> tuple[float, float]:
    early, late = (max(float(getattr(sample, what)) for sample in p) for p in (settled, last))
    return early, late


def section(soak: Soak) -> str:
    """The generated section of docs/overhead.md."""
    rows = []
    for minute in (1, 5, 10, 15, 20, 25, 30):
        part = [s for s in soak.samples if minute - 1 <= s.minute < minute]
        if part:
            rows.append(_row(minute, part))
    header = ("minute", "VMs so far", "resident, MiB", "most", "descriptors", "threads", "series")
    said = f"A scrape, with the looks between two, took {soak.scrape_ms:.1f} ms of CPU."
    return f"{table(header, rows)}\n\n{said}"


def _row(minute: int, part: Sequence[Sample]) -> tuple[str, ...]:
    return (
        f"{minute}",
        f"{part[-1].vms_ever:,}",
        f"{_resident(part):.1f}",
        f"{max(s.resident_mib for s in part):.1f}",
        f"{max(s.descriptors for s in part)}",
        f"{max(s.threads for s in part)}",
        f"{max(s.series for s in part):,}",
    )
