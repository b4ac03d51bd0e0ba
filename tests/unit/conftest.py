# SPDX-License-Identifier: GPL-2.0-only
"""Two snapshots a second apart that have a bit of everything, and the VMs in them."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest

from lpttrace.abi import BUCKET_BOUNDS, BUCKETS, TrapClass
from lpttrace.catalog import ANSWER_PROBES, LOSSES, LPT_PROBES, METRICS, TIMER_TRAP_PROBES
from lpttrace.model import Guest, Model, compare, tally
from lpttrace.snapshot import (
    Account,
    Answers,
    Calls,
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
from lpttrace.snapshot_upkeep import ProgramRuns, Room, Upkeep

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

SECOND = 1_000_000_000
WEB, WEB_TWIN, BUILDER, LATE = (VmKey(0, 10), VmKey(1, 20), VmKey(2, 30), VmKey(3, 40))
PSCI_VERSION = TrapClass("hypercall", "psci_version", "")
UNKNOWN = TrapClass("hypercall", "unknown", "")
CPU_ON = TrapClass("hypercall", "psci_cpu_on", "")
CTL_READ = TrapClass("timer", "cntp_ctl_el0", "read")
CTL_WRITE = TrapClass("timer", "cntp_ctl_el0", "write")
_SCALES = (9_607_679_205_057_058_133, 2_213_609_288_845_146_193)
STRUCTURE = LptStructure(0, 0, 2, 24_000_000, 100_000_000, *_SCALES, 61, 63)

# On a bound of Prometheus' buckets, and next to it.
BOUND_TIMES = (1024, 1024, 1025)

UPKEEP = Upkeep(
    SECOND,
    "0.26.0",
    Room(5, 512),
    Room(4, 512),
    (ProgramRuns("on_kvm_entry", 1_234, 567_890), ProgramRuns("on_kvm_hvc", 0, 0)),
)

NASTY = 'web "1"\n\x1b[31m\u202e\\[bold]'


def probes(*missing: str) -> tuple[Probe, ...]:
    names = dict.fromkeys(ANSWER_PROBES + TIMER_TRAP_PROBES + LPT_PROBES)
    reason = "this kernel has no function kvm_update_lpt_time, it lacks the LPT patches"
    return tuple(
        Probe(name, name not in missing, reason if name in missing else "") for name in names
    )


def losses(torn: int = 0) -> dict[str, int]:
    names = ("no_slot", "no_vm", "hypercalls", "timer_traps", "updates_untimed")
    return {**dict.fromkeys(names, 0), "torn": torn}


def histogram(*times: int) -> Histogram:
    """Of nanoseconds."""
    counts = [0] * BUCKETS
    for ns in times:
        counts[bisect_left(BUCKET_BOUNDS, ns)] += 1
    return Histogram.of(counts)


def served(*times: int, **more: Any) -> Trap:
    """Traps that took so many nanoseconds each."""
    return Trap(Account(len(times), sum(times)), service=histogram(*times), **more)


def _complete_vcpus() -> tuple[VcpuCounters, ...]:
    web = {
        PSCI_VERSION: served(*BOUND_TIMES, 900, scheduled_out=Account(1, 40_000), pending=1),
        CPU_ON: Trap(userspace=Account(2, 3_000_000)),
        UNKNOWN: served(*[1_300] * 7),
    }
    timer = {
        CTL_READ: served(*[3_000] * 101),
        CTL_WRITE: served(2_800, 2_900, 7_000_000, scheduled_out=Account(3, 900_000)),
    }
    granted, refused = Answers(2, 0, 0x4400_0000), Answers(1, 1, -1)
    return (
        VcpuCounters(WEB, 0, 1235, web, 1, 0xC600_0999, answers={"st": granted, "lpt": granted}),
        VcpuCounters(WEB, 1, 1236, {PSCI_VERSION: served(256)}, answers={"st": refused}),
        VcpuCounters(
            WEB_TWIN,
            0,
            1240,
            timer,
            interrupts={"physical": Interrupts(20, 2), "virtual": Interrupts(3)},
            lateness=Account(18, 18 * 4096),
            late=histogram(*[4096] * 18),
            stolen=Stolen(Account(5, 3_500), 1_234_567_890),
            answers={"features_lpt": Answers(1, 1, -1)},
        ),
        VcpuCounters(BUILDER, 0, 2001, {PSCI_VERSION: served(800, 900, 20_000_000_000)}),
        VcpuCounters(LATE, 0, 3001, {}),
    )


@pytest.fixture
def complete() -> Snapshot:
    """All that can be exposed: a VM that moved, one that failed, one that ended, one with a
    structure that is torn and has a wrong factor."""
    moved = replace(STRUCTURE, sequence_number=4)
    before = replace(STRUCTURE, native_freq=62_500_000)
    torn = replace(STRUCTURE, sequence_number=3, scale_mult=STRUCTURE.scale_mult + (1 << 40))
    published = {"published": Account(1, 12_300)}
    vms = (
        VmCounters(
            WEB,
            1234,
            True,
            LptUpdates(published, 1, 0, moved, 8 * SECOND, before),
            {"has": Calls(1), "set": Calls(2, 1)},
        ),
        VmCounters(WEB_TWIN, 1234, True, LptUpdates({"einval": Account(2, 3_000)}, 0, 22), {}),
        VmCounters(BUILDER, 2000, False, LptUpdates(nothing=1), {}),
        VmCounters(LATE, 3000, True, LptUpdates(published, 0, 0, torn, 9 * SECOND), {}),
    )
    every = dict.fromkeys(probe for metric in METRICS for probe in metric.probes)
    return Snapshot(
        11 * SECOND - 4_000_000,
        11 * SECOND,
        vms,
        _complete_vcpus(),
        tuple(Probe(name, True) for name in every),
        {**dict.fromkeys(LOSSES, 0), "torn": 2},
        counter_hz=24_000_000,
        upkeep=UPKEEP,
    )


@pytest.fixture
def before() -> Snapshot:
    """A second earlier: the builder has not begun, the late VM is not there."""
    vcpus = (
        VcpuCounters(WEB, 0, 1235, {PSCI_VERSION: Trap(Account(100, 100_000))}),
        VcpuCounters(WEB_TWIN, 0, 1240, {CTL_READ: Trap(Account(50, 150_000), pending=1)}),
    )
    vms = (
        VmCounters(WEB, 1234, True, LptUpdates(nothing=1)),
        VmCounters(WEB_TWIN, 1234, True, LptUpdates(nothing=1)),
    )
    return Snapshot(9 * SECOND, 10 * SECOND, vms, vcpus, probes(), losses())


@pytest.fixture
def after() -> Snapshot:
    """Every outcome, result and state; the builder has ended."""
    web = {
        PSCI_VERSION: Trap(Account(112, 118_000), Account(1, 40_000), Account(0, 0), 1),
        CPU_ON: Trap(userspace=Account(2, 3_000_000)),
        UNKNOWN: Trap(Account(7, 9_100)),
    }
    twin = {
        CTL_READ: Trap(Account(101, 303_000)),
        CTL_WRITE: Trap(Account(1009, 2_825_200), Account(3, 900_000)),
    }
    vcpus = (
        VcpuCounters(WEB, 0, 1235, web, unpaired=1, last_unknown=0xC600_0999),
        VcpuCounters(WEB, 1, 1236, {PSCI_VERSION: Trap(Account(5, 5_500))}),
        VcpuCounters(WEB_TWIN, 0, 1240, twin),
        VcpuCounters(BUILDER, 0, 2001, {PSCI_VERSION: Trap(Account(1_234_567, 987_654_321))}),
        VcpuCounters(LATE, 0, 3001, {}),
    )
    published = LptUpdates({"published": Account(1, 12_300)}, 1, 0, STRUCTURE, 8 * SECOND)
    failed = LptUpdates({"einval": Account(2, 3_000)}, 0, 22)
    vms = (
        VmCounters(WEB, 1234, True, published),
        VmCounters(WEB_TWIN, 1234, True, failed),
        VmCounters(BUILDER, 2000, False, LptUpdates(nothing=1)),
        VmCounters(LATE, 3000, True, LptUpdates()),
    )
    return Snapshot(11 * SECOND - 4_000_000, 11 * SECOND, vms, vcpus, probes(), losses(torn=2))


@pytest.fixture
def guests() -> Mapping[VmKey, Guest]:
    """Two VMs in one process, one with a name that wants to do harm."""
    return {
        WEB: Guest(
            *("1234", NASTY, 1234, "6a0d6f0e-0f6b-4b7c-9d0e-1f2e3d4c5b6a", "qemu"),
            *("OpenStack Nova", "instance-0000001a", NASTY, "web shop"),
            *("0a1b2c3d4e5f60718293a4b5c6d7e8f9", "m1.small"),
        ),
        WEB_TWIN: Guest("1234-2", "qemu-system-aarch64[1234]", 1234, vmm="qemu"),
        BUILDER: Guest("2000", "a name that is far too long for a table of eighty columns", 2000),
        LATE: Guest("3000", "crosvm[3000]", 3000, vmm="crosvm"),
    }


@pytest.fixture
def model(before: Snapshot, after: Snapshot, guests: Mapping[VmKey, Guest]) -> Model:
    """The second between the two."""
    return compare(tally(before), tally(after), guests)


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare with a file in tests/golden; LPTTRACE_UPDATE_GOLDEN=1 writes it instead."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if os.environ.get("LPTTRACE_UPDATE_GOLDEN") == "1":
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"differs from {path}"

    return check
