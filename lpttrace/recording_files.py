# SPDX-License-Identifier: GPL-2.0-only
"""Recordings that nobody watches: files that are replaced by younger ones, and the last hour."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from lpttrace.recording_format import Body, make_id
from lpttrace.recording_types import RecordedHost
from lpttrace.recording_writer import FileWriter, write_file

__all__ = ["Limits", "Ring", "RotatingWriter", "dated"]

_NS = 10**9
# All limits are kept by deleting whole files, so a file is a small part of what may stay.
_PARTS = 8


@dataclass(frozen=True)
class Limits:
    """How many bytes, and for how many ns, recordings stay; None for no limit."""

    size: Optional[int] = None
    age_ns: Optional[int] = None


def dated(path: Path, unix_ns: int) -> Path:
    """A name beside path that is not taken: host.lpt becomes host-20261125T101500Z.lpt."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(unix_ns // _NS))
    found, number = path.with_name(f"{path.stem}-{moment}{path.suffix}"), 1
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{moment}-{number}{path.suffix}")
    return found


def _is_dated(path: Path, of: Path) -> bool:
    stem, suffix = re.escape(of.stem), re.escape(of.suffix)
    return re.fullmatch(rf"{stem}-\d{{8}}T\d{{6}}Z(-\d+)?{suffix}", path.name) is not None


class RotatingWriter:
    """Writes recordings named by their first frame's time, and deletes the oldest: also those of
    runs before, by the same name."""

    def __init__(self, path: Path, host: RecordedHost, limits: Limits) -> None:
        self._path, self._host, self._limits = path, host, limits
        self._writer: Optional[FileWriter] = None
        self._begin_ns, self._run = 0, make_id()
        # Oldest first, and when they ended (CLOCK_MONOTONIC): the clock that names them may be set.
        self._ended: dict[Path, int] = {}
        self.written = 0

    def write(self, body: Body) -> None:
        """One block more, in a file of its own if the last one has grown enough."""
        if self._writer is None or self._is_enough(self._writer, body):
            self.close()
            self._writer = FileWriter(dated(self._path, body.first_ns), self._host, run=self._run)
            self._begin_ns = body.begin_ns
        before = self._writer.written
        self._ended[self._writer.path] = body.end_ns
        self._delete(body)
        self._writer.write(body)
        self.written += self._writer.written - before

    def _is_enough(self, writer: FileWriter, body: Body) -> bool:
        size, age_ns = self._limits.size, self._limits.age_ns
        grown = size is not None and writer.written + len(body.packed) > size // _PARTS
        return grown or (age_ns is not None and body.end_ns - self._begin_ns > age_ns // _PARTS)

    def _oldest_first(self) -> list[Path]:
        found = [path for path in self._path.parent.iterdir() if _is_dated(path, self._path)]
        before = [path for path in found if path not in self._ended]
        # Names tell the time, and the later of one second has a number behind it.
        before.sort(key=lambda path: (path.stem[: len(self._path.stem) + 17], len(path.stem), path))
        return [*before, *[path for path in self._ended if path in found]]

    def _age_ns(self, path: Path, status: os.stat_result, body: Body) -> int:
        if path in self._ended:
            return body.end_ns - self._ended[path]
        return body.last_ns - status.st_mtime_ns

    def _delete(self, body: Body) -> None:
        own = self._writer.path if self._writer else None
        stats = [(path, path.stat()) for path in self._oldest_first()]
        total = len(body.packed) + sum(stat.st_size for _, stat in stats)
        for path, stat in stats:
            size, age_ns = self._limits.size, self._limits.age_ns
            big = size is not None and total > size
            old = age_ns is not None and self._age_ns(path, stat, body) > age_ns
            if path != own and (big or old):
                path.unlink()
                self._ended.pop(path, None)
                total -= stat.st_size

    def close(self) -> None:
        """The last file is done."""
        if self._writer is not None:
            self._writer.close()


class Ring:
    """Keeps the last blocks in memory, and writes them to a file when asked."""

    def __init__(
        self, path: Path, host: RecordedHost, age_ns: int, flush: Callable[[], None]
    ) -> None:
        """flush has what is not yet a block written to this."""
        self._path, self._host, self._age_ns, self._flush = path, host, age_ns, flush
        self._bodies: deque[Body] = deque()
        self.written = 0

    def write(self, body: Body) -> None:
        """One block more; those that ended too long ago are forgotten."""
        self._bodies.append(body)
        self.written += len(body.packed)
        while self._bodies[0].end_ns < body.end_ns - self._age_ns:
            self.written -= len(self._bodies.popleft().packed)

    def dump(self, unix_ns: int) -> Path:
        """All that is kept, in a file that is named by the time, and appears whole."""
        self._flush()
        path = dated(self._path, unix_ns)
        write_file(path, self._host, self._bodies)
        return path

    def close(self) -> None:
        """Nothing is written that was not asked for."""
