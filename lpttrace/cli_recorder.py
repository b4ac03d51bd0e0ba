# SPDX-License-Identifier: GPL-2.0-only
"""From snapshots to a file, and a line about it on the terminal."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Protocol

from lpttrace.cli_guard import warn
from lpttrace.cli_source import Feed, telling
from lpttrace.errors import LpttraceError
from lpttrace.recording_files import Limits, Ring, RotatingWriter
from lpttrace.recording_format import Body
from lpttrace.recording_host import describe_host
from lpttrace.recording_types import Frame, RecordedHost
from lpttrace.recording_writer import Blocks, FileWriter
from lpttrace.snapshot import Snapshot

__all__ = ["RecordOptions", "Recorder"]

_NS = 10**9
# More than the objects of a few frames with 512 vCPUs, none of which is in a cycle.
_ALLOCATIONS_BETWEEN_COLLECTIONS = 200_000
# Back to the begin of the line, and nothing behind what is written.
_AGAIN, _CLEAR = "\r", "\x1b[K"


@dataclass(frozen=True)
class RecordOptions:
    """How to record; duration_ns is None for no end, ring_ns for no flight recorder."""

    output: Path
    interval_ns: int = _NS
    duration_ns: Optional[int] = None
    limits: Limits = Limits()
    ring_ns: Optional[int] = None
    overwrite: bool = False


class _Sink(Protocol):
    @property
    def written(self) -> int: ...

    def write(self, body: Body) -> None: ...

    def close(self) -> None: ...


class Recorder:
    """Takes frames from a feed whose source is entered; a context manager."""

    def __init__(self, feed: Feed, options: RecordOptions) -> None:
        self._feed, self._options = feed, options
        self._read = telling(feed.source.read, warn)
        self._frames = 0
        self._told = 0.0
        first = self._look()
        self._host = describe_host(feed.kind, first.snapshot.counter_hz)
        self._blocks = Blocks(self._write)
        self._sink = _sink(options, self._host, self._blocks.flush)
        self._begin = time.monotonic()
        self._add(first)

    def __enter__(self) -> Recorder:
        # A frame makes thousands of objects and frees them without the collector's help.
        gc.freeze()
        gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS)
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.close()

    def _write(self, body: Body) -> None:
        self._sink.write(body)

    def _look(self) -> Frame:
        snapshot = self._read()
        unix_ns = time.time_ns()
        guests = self._feed.identify(snapshot)
        # What it gives may go on changing.
        return Frame(unix_ns, snapshot, {vm.key: guests[vm.key] for vm in snapshot.vms})

    def look(self) -> None:
        """Learn the names of VMs that may end before the next frame."""
        self._look()

    def take(self) -> None:
        """A frame of now."""
        self._add(self._look())

    def _add(self, frame: Frame) -> None:
        self._blocks.add(frame)
        self._frames += 1
        if sys.stderr.isatty() and time.monotonic() - self._told >= 1.0:
            self._told = time.monotonic()
            text = self._status(frame.snapshot)[: shutil.get_terminal_size().columns - 1]
            print(f"{_AGAIN}{text}{_CLEAR}", end="", file=sys.stderr)
            sys.stderr.flush()

    def _status(self, snapshot: Snapshot) -> str:
        vms = sum(vm.alive for vm in snapshot.vms)
        what = f"{vms} VMs {len(snapshot.vcpus)} vCPUs  {self._frames} frames in {self._passed()}"
        where = self._options.output if self._options.ring_ns is None else "memory"
        return f"recording  {what}  {_size(self._sink.written)} in {where}  Ctrl-C ends it"

    def _passed(self) -> str:
        seconds = int(time.monotonic() - self._begin)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}"

    def dump(self) -> None:
        """Write what a flight recorder has kept; nothing where all is written anyway."""
        if not isinstance(self._sink, Ring):
            return
        try:
            path = self._sink.dump(time.time_ns())
        except LpttraceError as error:
            # What is kept is worth more than one file of it.
            warn(f"{error}; recording goes on, ask again when that is mended")
            return
        self._say(f"wrote {_size(path.stat().st_size)} to {path}")

    def finish(self) -> None:
        """Write what is not written yet, and say what there is."""
        self._blocks.flush()
        what = f"recorded {self._frames} frames in {self._passed()}"
        size = _size(self._sink.written)
        ring = self._options.ring_ns is not None
        where = f"{size} were kept in memory" if ring else f"{size} in {self._options.output}"
        self._say(f"{what}: {where}")

    def _say(self, text: str) -> None:
        begin = f"{_AGAIN}{_CLEAR}" if sys.stderr.isatty() else ""
        print(f"{begin}{text}", file=sys.stderr, flush=True)


def _sink(options: RecordOptions, host: RecordedHost, flush: Callable[[], None]) -> _Sink:
    if options.ring_ns is not None:
        print(f"SIGUSR1 to process {os.getpid()} writes what is kept", file=sys.stderr, flush=True)
        return Ring(options.output, host, options.ring_ns, flush)
    if options.limits != Limits():
        return RotatingWriter(options.output, host, options.limits)
    return FileWriter(options.output, host, options.overwrite)


def _size(count: int) -> str:
    if count < 10**6:
        return f"{count / 1e3:.1f} kB"
    return f"{count / 1e6:.1f} MB" if count < 10**9 else f"{count / 1e9:.2f} GB"
