# SPDX-License-Identifier: GPL-2.0-only
"""Arrays that snapshots are added up in, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Callable, NamedTuple, Optional, TypeVar

import numpy as np
import numpy.typing as npt

from lpttrace.abi import BUCKETS, TrapClass
from lpttrace.blocks_rows import COLUMNS, rows_of
from lpttrace.model import Guest
from lpttrace.model_flow import added
from lpttrace.snapshot import Histogram, Snapshot, VcpuCounters, VmKey

__all__ = ["Result", "Subject", "Sums"]

_HISTOGRAM_BYTES = 8 * BUCKETS

# Where the count of each bucket is among the lanes of a Histogram.
_LANES = [bucket // 2 + (BUCKETS // 2) * (bucket % 2) for bucket in range(BUCKETS)]

# With when it was first seen: a number that went and came back is there twice, and counts from 0
# again. Not with its thread, which may change while it counts on.
_Vcpu = tuple[VmKey, int, int]

_AT_ONCE = 256


class Subject(NamedTuple):
    """A vCPU; of several VMs with one name, those with this number together."""

    vm: str
    vcpu: int


class Result(NamedTuple):
    """The last fields of blocks.Blocks."""

    vcpus: tuple[Subject, ...]
    exposure: npt.NDArray[np.float64]
    series: tuple[tuple[int, TrapClass], ...]
    counts: npt.NDArray[np.float64]
    times: npt.NDArray[np.float32]


class _Known(NamedTuple):
    """What a class on a vCPU had counted when it was read last, and its row in the sums."""

    numbers: tuple[int, ...]
    times: Histogram
    target: int


_UNKNOWN = (0,) * len(COLUMNS), Histogram()


class _Added:
    """What a snapshot adds to the one before: a row for each class that has changed."""

    def __init__(self) -> None:
        self._targets: list[int] = []
        self._now: list[tuple[int, ...]] = []
        self._before: list[tuple[int, ...]] = []
        self._lanes: list[bytes] = []

    def take(
        self,
        vcpu: VcpuCounters,
        known: dict[TrapClass, _Known],
        target_of: Callable[[TrapClass], int],
    ) -> None:
        """All rows of a vCPU."""
        # Of every class of every vCPU in a frame that is looked at, hence so little for each.
        for cls, row, times in rows_of(vcpu):
            old = known.get(cls)
            if old is None:
                target, (before, times_before) = target_of(cls), _UNKNOWN
            else:
                before, times_before, target = old
                if row == before:
                    continue
                if row[0] < before[0] or row[1] < before[1]:
                    before, times_before = _UNKNOWN  # counted anew since
            known[cls] = _Known(row, times, target)
            self._targets.append(target)
            self._now.append(row)
            self._before.append(before)
            lanes = added(times, times_before).lanes
            self._lanes.append(lanes.to_bytes(_HISTOGRAM_BYTES, "little"))

    def to(self, counts: npt.NDArray[np.float64], times: npt.NDArray[np.float32]) -> None:
        """Add all of it to the sums of a block."""
        if not self._targets:
            return
        targets = np.array(self._targets)
        now, before = (np.array(rows, dtype=np.int64) for rows in (self._now, self._before))
        lanes = np.frombuffer(b"".join(self._lanes), "<u8").reshape(-1, BUCKETS)
        _add(counts, targets, np.maximum(now - before, 0))
        _add(times, targets, lanes)


class Sums:
    """Counts, times and exposure by block; rows are given out as classes are first seen."""

    def __init__(self, group: Callable[[Guest], Optional[str]], most: int) -> None:
        self._group = group
        self._most = most
        self._names: dict[VmKey, Optional[str]] = {}
        self._vcpus: dict[Subject, int] = {}
        self._series: dict[tuple[int, TrapClass], int] = {}
        self._exposure: npt.NDArray[np.float64] = np.zeros((0, most))
        self._counts: npt.NDArray[np.float64] = np.zeros((0, most, len(COLUMNS)))
        # A count in it is exact up to 2^24, and beyond that off by less than 1e-7.
        self._times: npt.NDArray[np.float32] = np.zeros((0, most, BUCKETS), np.float32)
        self._known: dict[_Vcpu, dict[TrapClass, _Known]] = {}
        self._ended: set[VmKey] = set()

    def begin(self, snapshot: Snapshot, guests: Mapping[VmKey, Guest]) -> None:
        """What was counted until then is in no block."""
        self._read(snapshot, guests)
        self._ended = {vm.key for vm in snapshot.vms if not vm.alive}

    def newly_ended(self, snapshot: Snapshot) -> set[VmKey]:
        """VMs that ended since the snapshot before."""
        return {vm.key for vm in snapshot.vms if not vm.alive} - self._ended

    def add(
        self,
        snapshot: Snapshot,
        guests: Mapping[VmKey, Guest],
        block: int,
        since_ns: int,
        ends: Mapping[VmKey, int],
    ) -> None:
        """What came since the snapshot before, which was taken at since_ns; ends says of VMs that
        ended when, if that was before this snapshot."""
        self._read(snapshot, guests).to(self._counts[:, block], self._times[:, block])
        until = {vm.key: snapshot.end_ns for vm in snapshot.vms if vm.key not in self._ended}
        self._expose(snapshot, block, since_ns, {**until, **ends})
        self._ended = {vm.key for vm in snapshot.vms if not vm.alive}

    def _expose(
        self, snapshot: Snapshot, block: int, since_ns: int, until: Mapping[VmKey, int]
    ) -> None:
        born: dict[tuple[VmKey, int], int] = {}
        for vcpu in snapshot.vcpus:
            number = vcpu.vm, vcpu.vcpu
            born[number] = min(born.get(number, vcpu.seen_ns), vcpu.seen_ns)
        for (vm, vcpu_id), seen_ns in born.items():
            name = self._names[vm]
            if name is not None and vm in until:
                seen_ns = max(since_ns, seen_ns)
                place = self._vcpus[Subject(name, vcpu_id)]
                self._exposure[place, block] += max(0, until[vm] - seen_ns) / 1e9

    def halve(self) -> None:
        """Make one of every two neighbours."""
        for array in (self._exposure, self._counts, self._times):
            half = array.shape[1] // 2
            array[:, :half] = array[:, ::2] + array[:, 1::2]
            array[:, half:] = 0

    def join_last(self, blocks: int) -> None:
        """Make one of the last two of so many."""
        for array in (self._exposure, self._counts, self._times):
            array[:, blocks - 2] += array[:, blocks - 1]

    def result(self, blocks: int) -> Result:
        """Of so many blocks; nothing can be added after that."""
        vcpus, series = len(self._vcpus), len(self._series)
        # A few at a time: all at once would be a second array as large.
        for first in range(0, series, _AT_ONCE):
            part = self._times[first : first + _AT_ONCE]
            part[:] = part[:, :, _LANES]
        return Result(
            tuple(self._vcpus),
            self._exposure[:vcpus, :blocks],
            tuple(self._series),
            self._counts[:series, :blocks],
            self._times[:series, :blocks],
        )

    def _read(self, snapshot: Snapshot, guests: Mapping[VmKey, Guest]) -> _Added:
        new, before = _Added(), self._known
        self._known = {}
        for vcpu in snapshot.vcpus:
            if vcpu.vm not in self._names:
                self._names[vcpu.vm] = self._group(guests[vcpu.vm])
            name = self._names[vcpu.vm]
            if name is not None:
                place = self._place(Subject(name, vcpu.vcpu))
                key = vcpu.vm, vcpu.vcpu, vcpu.seen_ns
                known = self._known[key] = before.get(key, {})
                new.take(vcpu, known, partial(self._row, place))
        self._make_room()
        return new

    def _place(self, subject: Subject) -> int:
        return self._vcpus.setdefault(subject, len(self._vcpus))

    def _row(self, place: int, cls: TrapClass) -> int:
        return self._series.setdefault((place, cls), len(self._series))

    def _make_room(self) -> None:
        self._exposure = _fitting(self._exposure, len(self._vcpus))
        self._counts = _fitting(self._counts, len(self._series))
        self._times = _fitting(self._times, len(self._series))


_Array = TypeVar("_Array", npt.NDArray[np.float64], npt.NDArray[np.float32])


def _add(
    sums: npt.NDArray[np.floating], rows: npt.NDArray[np.int64], new: npt.NDArray[np.integer]
) -> None:
    # Slow, but right where several VMs are added up in one row.
    if len(np.unique(rows)) < len(rows):
        np.add.at(sums, rows, new)
    else:
        sums[rows] += new


def _fitting(array: _Array, rows: int) -> _Array:
    if rows <= len(array):
        return array
    # At first exactly; later, when VMs come one by one, with some to spare.
    spare = rows // 8 if len(array) else 0
    more = np.zeros((rows + spare - len(array), *array.shape[1:]), array.dtype)
    return np.concatenate([array, more]) if len(array) else more
