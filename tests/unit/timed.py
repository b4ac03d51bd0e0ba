# SPDX-License-Identifier: GPL-2.0-only
"""Two snapshots a second apart of three VMs with timers and pvtime, made by hand.

MIGRATED has all there is, ASKER asked for LPT and was refused, WRONG got a wrong structure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace

from lpttrace.abi import BUCKET_BOUNDS, BUCKETS, TrapClass
from lpttrace.model import Guest, Model, compare, tally
from lpttrace.model_time import NEEDS
from lpttrace.snapshot import (
    Account,
    Answers,
    Calls,
    Event,
    Histogram,
    Interrupts,
    LptStructure,
    LptUpdates,
    Probe,
    Snapshot,
    Stolen,
    Trap,
    VcpuCounters,
    VmCounters,
    VmKey,
)

SECOND = 1_000_000_000
HZ = 25_000_000
MIGRATED, ASKER, WRONG = VmKey(0, 10), VmKey(1, 20), VmKey(2, 30)
GUESTS = {
    MIGRATED: Guest("100", "migrated", 100),
    ASKER: Guest("200", "asker", 200),
    WRONG: Guest("300", "wrong", 300),
}
CTL_WRITE = TrapClass("timer", "cntp_ctl_el0", "write")
CVAL_WRITE = TrapClass("timer", "cntp_cval_el0", "write")
COUNTER_READ = TrapClass("timer", "cntpct_el0", "read")
STRUCTURE = LptStructure(0, 0, 4, HZ, 100_000_000, 1 << 63, 1 << 61, 61, 63)
PREVIOUS = LptStructure(0, 0, 2, 62_500_000, 100_000_000, (8 << 63) // 5, (5 << 63) // 8, 63, 63)
# 2^-16 too fast: 15258.789 parts per billion.
OFF = replace(STRUCTURE, sequence_number=2, scale_mult=(1 << 63) + (1 << 47))


def histogram(times: Iterable[int]) -> Histogram:
    """Of nanoseconds."""
    counts = [0] * BUCKETS
    for ns in times:
        counts[bisect_left(BUCKET_BOUNDS, ns)] += 1
    return Histogram.of(counts)


def account(times: Iterable[int]) -> Account:
    """Of nanoseconds."""
    every = tuple(times)
    return Account(len(every), sum(every))


def trap(*times: int) -> Trap:
    """Served in so many nanoseconds each."""
    return Trap(account(times), service=histogram(times))


def probes(*missing: str) -> tuple[Probe, ...]:
    names = dict.fromkeys(name for needed in NEEDS.values() for name in needed)
    return tuple(Probe(name, name not in missing, f"no {name} here") for name in names)


def _migrated(traps: int, interrupts: int, late: tuple[int, ...], updates: int) -> VcpuCounters:
    return VcpuCounters(
        MIGRATED,
        0,
        101,
        {
            CTL_WRITE: trap(*[2_000] * traps),
            CVAL_WRITE: replace(trap(*[3_000] * traps), userspace=Account(1, 9_000)),
            COUNTER_READ: trap(500),
        },
        interrupts={"physical": Interrupts(interrupts, interrupts // 10)},
        lateness=account(late),
        late=histogram(late),
        stolen=Stolen(Account(updates, updates * 700), updates * 1_000_000),
        answers={
            "features_st": Answers(1, 0, 0),
            "st": Answers(1, 0, 0x4400_0000),
            "features_lpt": Answers(1, 0, 0),
            "lpt": Answers(1, 0, 0x43FF_F000),
        },
    )


def _vcpus(*migrated: VcpuCounters) -> tuple[VcpuCounters, ...]:
    refused = Answers(2, 2, -1)
    asker = VcpuCounters(
        ASKER,
        0,
        201,
        {},
        interrupts={"virtual": Interrupts(50)},
        answers={"features_lpt": refused, "lpt": Answers(1, 1, -1)},
    )
    return (*migrated, asker, VcpuCounters(WRONG, 0, 301, {}))


def _vms() -> tuple[VmCounters, ...]:
    done = {"published": Account(1, 12_300)}
    return (
        VmCounters(
            MIGRATED,
            100,
            True,
            LptUpdates(done, 1, 0, STRUCTURE, 8 * SECOND, PREVIOUS),
            {"set": Calls(2, 1)},
        ),
        VmCounters(ASKER, 200, True, LptUpdates(nothing=1), {}),
        VmCounters(WRONG, 300, True, LptUpdates(done, 0, 0, OFF, 8 * SECOND), {}),
    )


EVENTS = (
    Event(5 * SECOND, MIGRATED, "set_attr", 22, 3, 1, 0x10),
    Event(6 * SECOND, MIGRATED, "set_attr", 0, 3, 1, 100_000_000),
    Event(7 * SECOND, ASKER, "has_attr", 6, 3, 0),
    Event(8 * SECOND, MIGRATED, "update", 0, old_hz=62_500_000, new_hz=HZ),
    Event(8 * SECOND, WRONG, "update", 14),
)
LATE_BEFORE = (10_000,) * 8
LATE_AFTER = (*LATE_BEFORE, *[20_000] * 10, 1_000_000)


def before() -> Snapshot:
    vcpus = _vcpus(_migrated(100, 40, LATE_BEFORE, 10))
    losses = {"no_slot": 0}
    return Snapshot(9 * SECOND, 10 * SECOND, _vms(), vcpus, probes(), losses, EVENTS, HZ)


def after() -> Snapshot:
    """1200 traps more for 240 interrupts more; 20 ms stolen in one second."""
    vcpus = _vcpus(_migrated(700, 280, LATE_AFTER, 30))
    losses = {"no_slot": 0}
    return Snapshot(10 * SECOND, 11 * SECOND, _vms(), vcpus, probes(), losses, EVENTS, HZ)


def timed() -> Model:
    """The second between the two."""
    return compare(tally(before()), tally(after()), GUESTS)


def blind(*missing: str) -> Model:
    """The same without some probes."""
    old, new = (replace(snapshot, probes=probes(*missing)) for snapshot in (before(), after()))
    return compare(tally(old), tally(new), GUESTS)
