# SPDX-License-Identifier: GPL-2.0-only
"""A recording as sums over blocks of time, in memory that does not grow with its length.

Blocks begin as short as the frames are apart. When there are MOST of them, neighbours are made
one, and new blocks are as long. Counters only grow, so a frame within a block need not be looked
at: the longer the recording, the fewer of its frames are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil
from typing import Callable, Optional

import numpy as np
import numpy.typing as npt

from lpttrace.abi import TrapClass
from lpttrace.blocks_lpt import LptHistory, LptWatch
from lpttrace.blocks_rows import COLUMNS
from lpttrace.blocks_sums import Subject, Sums
from lpttrace.model import Guest
from lpttrace.model_sampler import retain
from lpttrace.recording_types import Frame, Frames, RecordedHost, ThinFrames
from lpttrace.snapshot import Snapshot, VmKey

__all__ = ["MOST", "Blocks", "Group", "Subject", "Window", "by_name", "reduce"]

MOST = 64
"""There are no more blocks than this, and once there were so many, at least half of it."""

# VMs that ended stay in snapshots for five minutes: none is missed.
_LONGEST_STEP_NS = 240 * 10**9

# Frames are not exactly an interval apart.
_ABOUT = 0.98

Group = Callable[[Guest], Optional[str]]
"""The name under which a VM is counted, None to leave it out."""

_Ends = Callable[[int, int], Mapping[VmKey, int]]

Window = tuple[int, int]
"""From and to, in nanoseconds of the wall clock."""


@dataclass(frozen=True)
class Blocks:
    """What was counted in each of n blocks.

    begin_ns and end_ns are the wall clock's. exposure has the seconds that each vCPU was there,
    [vcpus, n]. series says what the rows of counts [series, n, COLUMNS] and of times
    [series, n, BUCKETS] are of: an index of vcpus, and the class. first and last are snapshots,
    last with all VMs that were ever seen. lpt is by name; problem says why reading ended early.
    """

    host: RecordedHost
    begin_ns: int
    end_ns: int
    frames: int
    first: Snapshot
    last: Snapshot
    guests: Mapping[VmKey, Guest]
    seconds: npt.NDArray[np.float64]
    vcpus: tuple[Subject, ...]
    exposure: npt.NDArray[np.float64]
    series: tuple[tuple[int, TrapClass], ...]
    counts: npt.NDArray[np.float64]
    times: npt.NDArray[np.float32]
    lpt: Mapping[str, LptHistory] = field(default_factory=dict)
    problem: Optional[str] = None

    @cached_property
    def rows(self) -> Mapping[tuple[Subject, TrapClass], int]:
        """Where the row of a vCPU and class is."""
        return {(self.vcpus[vcpu], cls): row for row, (vcpu, cls) in enumerate(self.series)}

    @cached_property
    def places(self) -> Mapping[Subject, int]:
        """Where the row of a vCPU is in exposure."""
        return {subject: place for place, subject in enumerate(self.vcpus)}

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """Of counts, one of COLUMNS: [series, n]."""
        return self.counts[:, :, COLUMNS.index(name)]


def by_name(guest: Guest) -> Optional[str]:
    """The Group that is the VM's name."""
    return guest.name


def reduce(
    recording: Frames, group: Group = by_name, window: Optional[Window] = None
) -> Optional[Blocks]:
    """All frames in the window; None if there are fewer than two."""
    ends = recording.ends if isinstance(recording, ThinFrames) else None
    reducer = _Reducer(recording.host, group, ends)
    for frame in _selected(recording, window, reducer):
        reducer.see(frame)
    found = reducer.end()
    return found and replace(found, problem=recording.problem)


def _selected(recording: Frames, window: Optional[Window], reducer: _Reducer) -> Iterator[Frame]:
    begin, end = window or (0, 1 << 63)
    if isinstance(recording, ThinFrames):
        ends = [frame.snapshot.end_ns for frame in recording.thin(1 << 62, begin, end)]
        if ends:
            every_ns, look_ns = reducer.expect(ends[-1] - ends[0])
            yield from recording.thin(every_ns, begin, end, look_ns)
            reducer.frames = recording.count(begin, end)
        return
    for frame in recording.frames():
        if frame.unix_ns > end:
            return
        if frame.unix_ns >= begin:
            yield frame


class _Reducer:
    """Takes frames in, one after the other."""

    def __init__(self, host: RecordedHost, group: Group, ends: Optional[_Ends]) -> None:
        """ends is what frames that are not given know of VMs that ended; None if all are given."""
        self._host, self._ends = host, ends
        self._sums = Sums(group, MOST)
        self._lpt = LptWatch(group)
        self._seconds: list[float] = []
        self._every_ns = 0.0
        self._step_ns = 0
        self.frames = 0
        self._begin_ns = self._read_ns = 0
        self._first: Optional[Snapshot] = None
        self._last: Optional[Snapshot] = None
        self._guests: dict[VmKey, Guest] = {}
        self._unread: Optional[Frame] = None

    def expect(self, span_ns: int) -> tuple[int, int]:
        """How far frames are to be apart, where it is known how long it all is, and how often to
        look; then blocks begin as long as they end, and all that is seen is wanted."""
        # Not quite as many as there may be: one more would make half of them.
        self._every_ns = max(0, span_ns) / (MOST - 2)
        looks = max(1, ceil(self._every_ns / _LONGEST_STEP_NS))
        self._step_ns = int(self._every_ns / looks * _ABOUT)
        return int(self._every_ns * _ABOUT), self._step_ns

    def _wants(self, now_ns: int) -> bool:
        """Whether a frame of then would be looked at, or passed over."""
        since = now_ns - self._last.end_ns if self._last else 0
        step_ns = self._step_ns or min(self._every_ns, _LONGEST_STEP_NS) * _ABOUT
        return self._last is None or since >= step_ns

    def see(self, frame: Frame) -> None:
        """The next frame."""
        self.frames += 1
        self._unread = frame
        if self._wants(frame.snapshot.end_ns):
            self._read(frame)

    def end(self) -> Optional[Blocks]:
        """Of everything seen."""
        if self._unread is not None:
            self._read(self._unread)
        if self._first is None or self._last is None or not self._seconds:
            return None
        if len(self._seconds) > 1 and self._seconds[-1] * 1e9 < self._every_ns / 2:
            self._sums.join_last(len(self._seconds))
            self._seconds[-2:] = [sum(self._seconds[-2:])]
        sums = self._sums.result(len(self._seconds))
        return Blocks(
            *(self._host, self._begin_ns, self._read_ns, self.frames),
            *(self._first, self._last, self._guests, np.array(self._seconds)),
            sums.vcpus,
            sums.exposure,
            sums.series,
            sums.counts,
            sums.times,
            self._lpt.histories(),
        )

    def _read(self, frame: Frame) -> None:
        self._unread = None
        snapshot = frame.snapshot
        self._guests.update(frame.guests)
        self._lpt.see(snapshot, frame.guests)
        if self._last is None:
            self._first, self._begin_ns = snapshot, frame.unix_ns
            self._sums.begin(snapshot, frame.guests)
        else:
            passed = (snapshot.end_ns - self._last.end_ns) / 1e9
            block, ends = self._block(passed), self._ends_before(frame)
            self._sums.add(snapshot, frame.guests, block, self._last.end_ns, ends)
            snapshot = retain(self._last, snapshot)
        self._last, self._read_ns = snapshot, frame.unix_ns

    def _ends_before(self, frame: Frame) -> Mapping[VmKey, int]:
        ended = self._sums.newly_ended(frame.snapshot)
        if not ended or self._ends is None or self._last is None:
            return {}
        found = self._ends(self._last.end_ns, frame.snapshot.end_ns)
        return {key: found[key] for key in ended if key in found}

    def _block(self, seconds: float) -> int:
        """The block that takes so many seconds more."""
        if self._seconds and self._seconds[-1] * 1e9 < self._every_ns * _ABOUT:
            self._seconds[-1] += seconds
            return len(self._seconds) - 1
        if len(self._seconds) == MOST:
            self._sums.halve()
            pairs = zip(self._seconds[::2], self._seconds[1::2])
            self._seconds = [one + other for one, other in pairs]
            self._every_ns = sum(self._seconds) / len(self._seconds) * 1e9
        self._seconds.append(seconds)
        return len(self._seconds) - 1
