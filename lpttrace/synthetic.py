# SPDX-License-Identifier: GPL-2.0-only
"""Made-up counters that grow evenly: to try the screen, and to measure what the tool costs.

Hosts are nVHE with LPT: guests use the physical timer, which traps, and ask for pvtime.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import count
from types import TracebackType
from typing import Callable, NamedTuple, Optional

from lpttrace import catalog
from lpttrace.abi import BUCKET_BOUNDS, BUCKETS, TrapClass
from lpttrace.errors import UsageError
from lpttrace.model import Guest
from lpttrace.snapshot import (
    MOST_EVENTS,
    Account,
    Histogram,
    Interrupts,
    Probe,
    Snapshot,
    Stolen,
    Trap,
    VcpuCounters,
    VmCounters,
    VmKey,
)
from lpttrace.snapshot_upkeep import Upkeep
from lpttrace.synthetic_vm import HZ, answers, events, has_stolen_time, vm_counters

__all__ = ["SyntheticSource", "identify", "parse_size"]

_SECOND = 10**9
_FIRST_PID = 1001
_FIRST_TID = 1_001_001
_MOST_VCPUS = 100_000
_NEVER_ENDS = 1 << 63
_GRACE_NS = 10 * _SECOND

# Events a second of a vCPU that is neither busy nor idle, and how late interrupts are.
_INTERRUPTS = 250
_LATENESS_NS = 21_000
_STEALS = 20

# The same of traps, and nanoseconds each. What serves and sets a timer is 5.5 traps.
_LOAD = {
    TrapClass("timer", "cntpct_el0", "read"): (_INTERRUPTS // 2, 1_900),
    TrapClass("timer", "cntp_ctl_el0", "read"): (2 * _INTERRUPTS, 2_100),
    TrapClass("timer", "cntp_ctl_el0", "write"): (2 * _INTERRUPTS, 2_400),
    TrapClass("timer", "cntp_cval_el0", "write"): (_INTERRUPTS, 2_700),
    TrapClass("hypercall", "vendor_hyp_kvm_ptp", ""): (40, 1_500),
    TrapClass("hypercall", "trng_rnd64", ""): (2, 3_300),
}

# Of what takes ns, so many of 20 take so many percent of it.
_SPREAD = ((7, 100), (2, 125), (6, 90), (1, 200), (3, 125), (1, 600))


class _Times(NamedTuple):
    """Lanes of a histogram and ns, of the first 0, 1, ... 20 of a spread."""

    lanes: tuple[int, ...]
    ns: tuple[int, ...]

    def of(self, number: int) -> tuple[int, int]:
        """The same of so many."""
        whole, rest = divmod(number, len(self.ns) - 1)
        return (
            whole * self.lanes[-1] + self.lanes[rest],
            whole * self.ns[-1] + self.ns[rest],
        )


@cache
def _times(ns: int) -> _Times:
    lanes, sums, counts = [0], [0], [0] * BUCKETS
    for times, percent in _SPREAD:
        for _ in range(times):
            value = ns * percent // 100
            counts[bisect_left(BUCKET_BOUNDS, value)] += 1
            lanes.append(Histogram.of(counts).lanes)
            sums.append(sums[-1] + value)
    return _Times(tuple(lanes), tuple(sums))


def _trap(made: int, ns: int) -> Trap:
    # One of a thousand loses the CPU on the way.
    out = made // 1000
    lanes, sum_ns = _times(ns).of(made - out)
    served = Account(made - out, sum_ns)
    return Trap(served, Account(out, out * 40 * ns), service=Histogram(lanes))


def _boot(function: str, made: int) -> tuple[TrapClass, Trap]:
    return TrapClass("hypercall", function, ""), _trap(made, 1_100)


# What the kernel of a guest asks when it boots: every vCPU, and the first.
_BOOT = dict([_boot("pv_time_features", 1), _boot("pv_time_st", 1)])
_FIRST_BOOT = dict(
    [
        *(_boot("smccc_version", 1), _boot("smccc_arch_features", 4), _boot("psci_version", 1)),
        *(_boot("pv_time_features", 2), _boot("pv_time_st", 1), _boot("pv_time_lpt", 1)),
    ]
)


class _Vcpu:
    """One vCPU of the VM. No two are alike: it has between half and 1.5 of the load."""

    def __init__(self, vm: VmKey, number: int, tid: int) -> None:
        self._name = vm, number, tid
        self._load = 512 + (vm.index * 389 + number * 149) % 1024
        self._boot = _BOOT if number else _FIRST_BOOT
        self._steals = _STEALS if has_stolen_time(vm) else 0
        self._answers = answers(vm, number)

    def counters(self, elapsed_ns: int) -> VcpuCounters:
        """After so long."""
        time_ns = self._load * elapsed_ns >> 10
        traps = dict(self._boot)
        for cls, (per_second, ns) in _LOAD.items():
            traps[cls] = _trap(per_second * time_ns // _SECOND, ns)
        delivered = _INTERRUPTS * time_ns // _SECOND
        overdue = delivered // 50
        lanes, late_ns = _times(_LATENESS_NS).of(delivered - overdue)
        return VcpuCounters(
            *self._name,
            traps,
            interrupts={"physical": Interrupts(delivered, overdue)},
            lateness=Account(delivered - overdue, late_ns),
            late=Histogram(lanes),
            stolen=_stolen(self._steals * time_ns // _SECOND) if self._steals else None,
            answers=self._answers,
            seen_ns=self._name[0].seen_ns,
        )


def _stolen(updates: int) -> Stolen:
    return Stolen(Account(updates, updates * 700), updates * 150_000)


def parse_size(text: str) -> tuple[int, int, int]:
    """64x8 as 64 VMs of 8 vCPUs each; 64x8/60 with VMs that live for 60 s, otherwise 0."""
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})(?:/([1-9]\d{0,5}))?", text)
    vms, vcpus = (int(match[1]), int(match[2])) if match else (0, 0)
    if match is None or not 0 < vms * vcpus <= _MOST_VCPUS:
        raise UsageError(
            f"cannot make up VMs: {text!r} is not a size; say VMSxVCPUS, such as 64x8, "
            f"of at most {_MOST_VCPUS} vCPUs in all, or VMSxVCPUS/SECONDS for VMs that live so long"
        )
    return vms, vcpus, int(match[3] or 0)


def identify(snapshot: Snapshot) -> Mapping[VmKey, Guest]:
    """Names of VMs that do not exist."""
    return {
        vm.key: Guest(str(vm.tgid), f"synthetic-{vm.key.index}", vm.tgid) for vm in snapshot.vms
    }


class _Machine:
    """One VM, from its begin to its end (CLOCK_MONOTONIC); counts depend on its age alone."""

    def __init__(self, key: VmKey, pid: int, vcpus: int, tids: Iterator[int], end_ns: int) -> None:
        self.end_ns = end_ns
        self.vm = vm_counters(key, pid)
        self.events = events(key)
        self._vcpus = [_Vcpu(key, number, next(tids)) for number in range(vcpus)]

    def counters(self, now_ns: int, begin_ns: int) -> list[VcpuCounters]:
        """Of its vCPUs, which began to work then."""
        elapsed = max(0, min(now_ns, self.end_ns) - begin_ns)
        return [vcpu.counters(elapsed) for vcpu in self._vcpus]

    def at(self, now_ns: int) -> VmCounters:
        """Itself, which is alive or not."""
        return self.vm if now_ns < self.end_ns else replace(self.vm, alive=False)


class SyntheticSource:
    """vms VMs of vcpus vCPUs each; counts are a function of the time since it was made.

    With a life, in seconds, VMs end after so long, one after another, and others come in their
    place; those that ended stay in snapshots for a while, as they do in those of real ones.
    """

    warnings: tuple[str, ...] = ()

    def __init__(
        self, vms: int, vcpus: int, life: int = 0, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._clock = clock
        self._begin = clock()
        self._vcpus_each, self._life_ns = vcpus, life * _SECOND
        self._pids, self._tids = count(_FIRST_PID), count(_FIRST_TID)
        # Not all at once: the first of them end at times spread over a life.
        self._running = [
            self._machine(index, self._begin + index, (index + 1) / vms) for index in range(vms)
        ]
        self._ended: list[_Machine] = []

    def _machine(self, index: int, begin_ns: int, share: float = 1.0) -> _Machine:
        end = begin_ns + int(self._life_ns * share) if self._life_ns else _NEVER_ENDS
        key = VmKey(index, begin_ns)
        return _Machine(key, next(self._pids), self._vcpus_each, self._tids, end)

    def _live_on(self, now_ns: int) -> None:
        for index, machine in enumerate(self._running):
            while machine.end_ns <= now_ns:
                self._ended.append(machine)
                machine = self._running[index] = self._machine(index, machine.end_ns)
        grace = now_ns - _GRACE_NS
        self._ended = [machine for machine in self._ended if machine.end_ns > grace]

    def __enter__(self) -> SyntheticSource:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Nothing to give back."""

    def read(self) -> Snapshot:
        """The counters of now."""
        start = self._clock()
        self._live_on(start)
        machines = self._running + self._ended
        told = [event for machine in machines for event in machine.events]
        return Snapshot(
            start,
            self._clock(),
            tuple(machine.at(start) for machine in machines),
            tuple(
                [v for machine in machines for v in machine.counters(start, self._born(machine))]
            ),
            _PROBES,
            _NO_LOSSES,
            tuple(sorted(told, key=lambda event: event.ns)[-MOST_EVENTS:]),
            HZ,
            Upkeep(self._begin),
        )

    def _born(self, machine: _Machine) -> int:
        # The first ones all began to work together.
        return max(self._begin, machine.vm.key.seen_ns) if self._life_ns else self._begin


_PROBES = tuple(
    Probe(name, True)
    for name in dict.fromkeys(probe for metric in catalog.METRICS for probe in metric.probes)
)
_NO_LOSSES = dict.fromkeys(catalog.LOSSES, 0)
