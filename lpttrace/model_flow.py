# SPDX-License-Identifier: GPL-2.0-only
"""Traps of one kind or class: all since attach, and what an interval added to them. Pure.

Histograms are added up, and quantiles made of them, when they are asked for: what is out of sight
costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Optional

from lpttrace.abi import BUCKETS, TrapClass
from lpttrace.quantiles import Quantiles, quantiles
from lpttrace.snapshot import Account, Histogram, Trap

__all__ = ["NOTHING", "Change", "ClassFlow", "Flow", "Part", "added", "flow_of", "part_of"]

# Of a Trap: count and ns of each outcome in order, and pending.
_Sum = tuple[int, int, int, int, int, int, int]

_LANE_BEGINS = sum(1 << 64 * lane for lane in range(1, BUCKETS))


class Part:
    """The traps of one kind or class on one vCPU at one moment, and their sum."""

    __slots__ = ("_service", "sum", "traps")

    def __init__(self, counted: _Sum, traps: Sequence[Trap]) -> None:
        self.sum = counted
        self.traps = traps
        self._service: Optional[Histogram] = None

    @property
    def service(self) -> Histogram:
        """Of all of them; added up once, for what is now is what was before a frame later."""
        if self._service is None:
            self._service = Histogram(sum([trap.service.lanes for trap in self.traps]))
        return self._service


@dataclass(frozen=True)
class Change:
    """What an interval added: traps, and of those that were served, count and nanoseconds."""

    count: int
    served: Account


@dataclass(frozen=True)
class Flow:
    """Traps of one kind or class: since attach, and what the last interval added to them.

    total has no histogram: all_quantiles are of those served since attach.
    """

    total: Trap
    change: Optional[Change]
    seconds: Optional[float]
    parts: Sequence[tuple[Part, Part]] = field(default=(), repr=False)

    @property
    def per_second(self) -> Optional[float]:
        """Traps a second in the interval."""
        return self.change.count / self.seconds if self.change and self.seconds else None

    @property
    def mean_ns(self) -> Optional[float]:
        """Mean service time of those served in the interval."""
        served = self.change.served if self.change else Account()
        return served.ns / served.count if served.count else None

    @cached_property
    def quantiles(self) -> Optional[Quantiles]:
        """Service times of those served in the interval; None if none was."""
        if self.change is None or not self.change.served.count:
            return None
        before = (old.service for now, old in self.parts if not _counted_anew(now.sum, old.sum))
        return quantiles(added(self._all, _together(before)))

    @cached_property
    def all_quantiles(self) -> Optional[Quantiles]:
        """Service times of all those served since attach; None if none was."""
        return quantiles(self._all)

    @cached_property
    def _all(self) -> Histogram:
        return _together(now.service for now, _ in self.parts)


@dataclass(frozen=True)
class ClassFlow:
    """One class of traps on one vCPU."""

    trap: TrapClass
    flow: Flow


def part_of(traps: Sequence[Trap]) -> Part:
    """With their sum."""
    # Runs for every class of every vCPU once a frame, hence the plain integers.
    served = served_ns = out = out_ns = user = user_ns = pending = 0
    for trap in traps:
        account = trap.served
        served += account.count
        served_ns += account.ns
        account = trap.scheduled_out
        out += account.count
        out_ns += account.ns
        account = trap.userspace
        user += account.count
        user_ns += account.ns
        pending += trap.pending
    return Part((served, served_ns, out, out_ns, user, user_ns, pending), traps)


NOTHING = part_of(())
"""No traps: what a vCPU that is new had before."""


def flow_of(parts: Sequence[tuple[Part, Part]], seconds: Optional[float]) -> Flow:
    """Of pairs of now and before; seconds is None where there is no interval."""
    sums = zip(NOTHING.sum, *(now.sum for now, _ in parts))
    served, ns, out, out_ns, user, user_ns, pending = map(sum, sums)
    total = Trap(Account(served, ns), Account(out, out_ns), Account(user, user_ns), pending)
    if seconds is None:
        return Flow(total, None, None, parts)
    count = served = ns = 0
    for part, part_before in parts:
        now, before = part.sum, part_before.sum
        if _counted_anew(now, before):
            before = NOTHING.sum
        count += max(0, _ended(now) + now[6] - _ended(before) - before[6])
        served += now[0] - before[0]
        ns += max(0, now[1] - before[1])
    return Flow(total, Change(count, Account(served, ns)), seconds, parts)


def _ended(traps: _Sum) -> int:
    return traps[0] + traps[2] + traps[4]


def _counted_anew(now: _Sum, before: _Sum) -> bool:
    return _ended(now) < _ended(before) or now[0] < before[0]


def _together(histograms: Iterable[Histogram]) -> Histogram:
    return Histogram(sum([histogram.lanes for histogram in histograms]))


def added(now: Histogram, before: Histogram) -> Histogram:
    """What came after before, all of now if it has been counted anew since."""
    since = now.lanes - before.lanes
    # A lane that borrowed from the next one had shrunk.
    shrunk = since < 0 or (since ^ now.lanes ^ before.lanes) & _LANE_BEGINS
    return now if shrunk else Histogram(since)
