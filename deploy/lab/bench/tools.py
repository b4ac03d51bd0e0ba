# SPDX-License-Identifier: GPL-2.0-only
"""What is attached to the host while the workload runs: ours, nothing at all, and others'."""

from __future__ import annotations

import os
import re
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.background import Background, listening

EVENTS = ("kvm_entry", "kvm_hvc_arm64", "kvm_handle_sys_reg", "kvm_timer_update_irq")
TRACEFS = Path("/sys/kernel/tracing")
# For the samples of the whole measurement, because nobody empties it meanwhile.
PERF_BUFFER = "128M"
HERE = Path(__file__).resolve().parent
BPFTRACE_SETTLE_SECONDS = 2.0

# Once nothing is attached any more: how many events the tool has of the traps meanwhile.
Seen = Callable[[], int]
Tool = Callable[[], AbstractContextManager[Seen]]


@contextmanager
def nothing() -> Iterator[Seen]:
    yield lambda: 0


@contextmanager
def empty_programs() -> Iterator[Seen]:
    """A BPF program that returns at once on each of the raw tracepoints of EVENTS."""
    with Background(["python3", str(HERE / "empty.py"), *EVENTS]) as loader:
        loader.wait_for("attached")
        loader.freeze()
        yield lambda: 0
        loader.end()


@contextmanager
def lpttrace() -> Iterator[Seen]:
    seen = 0
    with Background(["lpttrace", "serve"]) as agent:
        url = listening(agent)
        agent.freeze()
        yield lambda: seen
        agent.thaw()
        with urllib.request.urlopen(url, timeout=60) as answer:
            seen = counted(answer.read().decode())
        agent.end()


def counted(exposition: str) -> int:
    """Hypercalls and timer traps in lpttrace's metrics."""
    pattern = r"^lpttrace_(?:hypercalls|timer_traps)_total\{.*\} (\S+)$"
    return int(sum(float(count) for count in re.findall(pattern, exposition, re.MULTILINE)))


@contextmanager
def ftrace() -> Iterator[Seen]:
    """The events in tracefs' ring buffer of its usual size, the oldest overwritten."""
    seen = 0
    (TRACEFS / "trace").write_text("")
    for event in EVENTS:
        (TRACEFS / "events/kvm" / event / "enable").write_text("1")
    try:
        yield lambda: seen
    finally:
        for event in EVENTS:
            (TRACEFS / "events/kvm" / event / "enable").write_text("0")
    seen = sum(ring_entries(path.read_text()) for path in TRACEFS.glob("per_cpu/cpu*/stats"))


def ring_entries(stats: str) -> int:
    """All that was ever written to one CPU's buffer."""
    fields = dict(line.split(": ", 1) for line in stats.splitlines())
    return int(fields["entries"]) + int(fields["overrun"])


class PerfKvmStat:
    """`perf kvm stat record` of the whole machine, to be used with `with`."""

    def __init__(self, *more: str) -> None:
        """`more` are more options of perf record."""
        self._more = more

    def __enter__(self) -> PerfKvmStat:
        self._directory = tempfile.TemporaryDirectory()
        self.data = Path(self._directory.name, "perf.data")
        control, self._ack = (Path(self._directory.name, name) for name in ("control", "ack"))
        for fifo in (control, self._ack):
            os.mkfifo(fifo)
        argv = ["perf", "kvm", "stat", "record", "-a", "-m", PERF_BUFFER, "-o", str(self.data)]
        argv += ["-D", "-1", f"--control=fifo:{control},{self._ack}", *self._more]
        self.process = Background(argv).__enter__()
        self.process.wait_for("Events disabled")
        control.write_text("enable\n")
        self.process.wait_for("Events enabled")
        return self

    def __exit__(self, *unused: object) -> None:
        self.process.__exit__(None, None, None)
        self._directory.cleanup()


@contextmanager
def perf_kvm_stat() -> Iterator[Seen]:
    seen = 0
    with PerfKvmStat() as perf:
        perf.process.freeze()
        yield lambda: seen
        seen = samples(perf.process.end())


def samples(said: str) -> int:
    """What perf record says at its end that it has written."""
    found = re.search(r"\((\d+) samples\)", said)
    return int(found[1]) if found else 0


@contextmanager
def bpftrace() -> Iterator[Seen]:
    seen = 0
    with Background(["bpftrace", str(HERE / "service.bt")]) as tool:
        tool.wait_for("ready")
        # It says so from a probe, and attaches them one after another.
        time.sleep(BPFTRACE_SETTLE_SECONDS)
        tool.freeze()
        yield lambda: seen
        seen = bpftrace_counts(tool.end())


def bpftrace_counts(said: str) -> int:
    """The sum of the map @count in bpftrace's output."""
    return sum(int(count) for count in re.findall(r"^@count\[.*\]: (\d+)$", said, re.MULTILINE))


# In the order of measuring. Beside each, how many events it must have of every trap.
TOOLS: dict[str, tuple[Tool, int]] = {
    "nothing": (nothing, 0),
    "empty": (empty_programs, 0),
    "lpttrace": (lpttrace, 1),
    "ftrace": (ftrace, 2),
    "perf": (perf_kvm_stat, 2),
    "bpftrace": (bpftrace, 1),
}
