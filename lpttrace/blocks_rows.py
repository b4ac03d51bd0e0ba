# SPDX-License-Identifier: GPL-2.0-only
"""What a vCPU counts, as rows of the same columns. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lpttrace.abi import TrapClass
from lpttrace.snapshot import Histogram, Trap, VcpuCounters

__all__ = ["COLUMNS", "LATENESS", "STOLEN", "UPDATE", "Row", "interrupts", "rows_of"]

COLUMNS = ("count", "served", "served_ns", "out", "out_ns", "user", "user_ns")
"""Of traps: all, and the account of each outcome. What is no trap has no outcomes but served."""

Row = tuple[TrapClass, tuple[int, ...], Histogram]
"""What is counted, a number for each of COLUMNS, and the times of those served."""

LATENESS = TrapClass("lateness", "timer lateness", "")
"""Interrupts of emulated timers, and how late they were."""

STOLEN = TrapClass("stolen", "stolen time", "")
"""Updates of stolen time, and the time they told the guest of."""

UPDATE = TrapClass("update", "stolen-time update", "")
"""The same updates, and the time they took."""

_NO_TIMES = Histogram()


def interrupts(timer: str) -> TrapClass:
    """Those of one of abi.TIMERS."""
    return TrapClass("interrupts", timer, "")


def rows_of(vcpu: VcpuCounters) -> Iterator[Row]:
    """All that it has counted since it was first seen."""
    for cls, trap in vcpu.traps.items():
        yield cls, _trap(trap), trap.service
    for timer, made in vcpu.interrupts.items():
        yield interrupts(timer), (made.delivered, 0, 0, 0, 0, 0, 0), _NO_TIMES
    late = vcpu.lateness
    if late.count:
        yield LATENESS, _served(late.count, late.ns), vcpu.late
    if vcpu.stolen is not None:
        updates = vcpu.stolen.updates
        yield STOLEN, _served(updates.count, vcpu.stolen.stolen_ns), _NO_TIMES
        yield UPDATE, _served(updates.count, updates.ns), _NO_TIMES


def _trap(trap: Trap) -> tuple[int, ...]:
    served, out, user = trap.served, trap.scheduled_out, trap.userspace
    return trap.count, served.count, served.ns, out.count, out.ns, user.count, user.ns


def _served(count: int, ns: int) -> tuple[int, ...]:
    return count, count, ns, 0, 0, 0, 0
