# SPDX-License-Identifier: GPL-2.0-only
"""Timer interrupts of some vCPUs: what one costs in traps, and how late they come. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Optional

from lpttrace.abi import CLASSES, TIMERS, timer_of_register
from lpttrace.model_flow import added
from lpttrace.quantiles import Quantiles, quantiles
from lpttrace.snapshot import Account, Histogram, VcpuCounters

__all__ = [
    "Lateness",
    "Pair",
    "Ticks",
    "TimerFlow",
    "account_added",
    "account_sum",
    "delivered_between",
    "lateness_of",
    "timers_of",
    "together",
]

Pair = tuple[VcpuCounters, Optional[VcpuCounters]]
"""A vCPU now and before; before is None if it is new, or if there is no interval."""


class Ticks(NamedTuple):
    """Interrupts of one timer, and the traps of its registers, served ones with their times."""

    delivered: int = 0
    overdue: int = 0
    traps: int = 0
    served: int = 0
    served_ns: int = 0

    @property
    def traps_per_interrupt(self) -> Optional[float]:
        """None without interrupts."""
        return self.traps / self.delivered if self.delivered else None

    @property
    def service_ns_per_interrupt(self) -> Optional[float]:
        """Of the traps that were served; None without interrupts."""
        return self.served_ns / self.delivered if self.delivered else None


@dataclass(frozen=True)
class TimerFlow:
    """One timer, or all together: since attach, and what the last interval added.

    Traps mean something only where sees_traps.
    """

    timer: str
    total: Ticks
    change: Optional[Ticks]
    seconds: Optional[float]
    sees_traps: bool

    @property
    def per_second(self) -> Optional[float]:
        """Interrupts a second in the interval."""
        return self.change.delivered / self.seconds if self.change and self.seconds else None

    @property
    def traps_per_interrupt(self) -> Optional[float]:
        """In the interval; None where traps cannot be seen."""
        return self.change.traps_per_interrupt if self.change and self.sees_traps else None

    @property
    def service_ns_per_interrupt(self) -> Optional[float]:
        """In the interval; None where traps cannot be seen."""
        return self.change.service_ns_per_interrupt if self.change and self.sees_traps else None


@dataclass(frozen=True)
class Lateness:
    """How late interrupts of emulated timers came; change is what the last interval added."""

    total: Account
    change: Optional[Account]
    pairs: Sequence[Pair]

    @cached_property
    def quantiles(self) -> Optional[Quantiles]:
        """Of the interval; None if there was no such interrupt."""
        if self.change is None or not self.change.count:
            return None
        none = Histogram()
        parts = (added(now.late, old.late if old else none).lanes for now, old in self.pairs)
        return quantiles(Histogram(sum(parts)))

    @cached_property
    def all_quantiles(self) -> Optional[Quantiles]:
        """Since attach."""
        return quantiles(Histogram(sum(now.late.lanes for now, _ in self.pairs)))


_NO = Account()
_NONE = Ticks()
_FIELDS = len(Ticks._fields)
_TIMER_OF = {cls: timer_of_register(cls.name) for cls in CLASSES if cls.kind == "timer"}


def timers_of(
    pairs: Sequence[Pair], seconds: Optional[float], sees_traps: bool
) -> tuple[TimerFlow, ...]:
    """The timers that made interrupts, in the order of the ABI."""
    total, change = {t: [0] * _FIELDS for t in TIMERS}, {t: [0] * _FIELDS for t in TIMERS}
    for now, before in pairs:
        old = _counts(before) if before else {}
        for timer, counts in _counts(now).items():
            _add(total[timer], counts)
            _add(change[timer], _new(counts, old.get(timer, _NONE)))
    return tuple(
        TimerFlow(
            timer,
            Ticks(*counts),
            None if seconds is None else Ticks(*change[timer]),
            seconds,
            sees_traps,
        )
        for timer, counts in total.items()
        if counts[0]
    )


def together(flows: Iterable[TimerFlow], seconds: Optional[float], sees_traps: bool) -> TimerFlow:
    """All timers as one."""
    total, change = [0] * _FIELDS, [0] * _FIELDS
    for flow in flows:
        _add(total, flow.total)
        _add(change, flow.change or _NONE)
    new = None if seconds is None else Ticks(*change)
    return TimerFlow("all", Ticks(*total), new, seconds, sees_traps)


def delivered_between(pairs: Iterable[Pair]) -> int:
    """Interrupts of all timers that the interval added, for less than timers_of costs."""
    delivered = 0
    for now, before in pairs:
        count, old = _delivered(now), _delivered(before) if before else 0
        delivered += count - old if count >= old else count
    return delivered


def _delivered(vcpu: VcpuCounters) -> int:
    return sum(interrupts.delivered for interrupts in vcpu.interrupts.values())


def _counts(vcpu: VcpuCounters) -> dict[str, list[int]]:
    # The fields of Ticks by timer. Of every vCPU in sight once a frame, hence the plain lists.
    found = {
        timer: [interrupts.delivered, interrupts.overdue, 0, 0, 0]
        for timer, interrupts in vcpu.interrupts.items()
    }
    for cls, trap in vcpu.traps.items():
        timer = _TIMER_OF.get(cls)
        if timer is not None:
            counts = found.setdefault(timer, [0] * _FIELDS)
            served = trap.served
            counts[2] += trap.count
            counts[3] += served.count
            counts[4] += served.ns
    return found


def _add(total: list[int], counts: Sequence[int]) -> None:
    for index, count in enumerate(counts):
        total[index] += count


def _new(now: Sequence[int], before: Sequence[int]) -> Sequence[int]:
    if now[0] < before[0] or now[3] < before[3]:
        return now  # counted anew since
    return [max(0, count - old) for count, old in zip(now, before)]


def lateness_of(pairs: Sequence[Pair], seconds: Optional[float]) -> Optional[Lateness]:
    """None where there are interrupts, but none of an emulated timer."""
    total = account_sum(now.lateness for now, _ in pairs)
    if not total.count and any(now.interrupts for now, _ in pairs):
        return None
    if seconds is None:
        return Lateness(total, None, pairs)
    new = (account_added(now.lateness, old.lateness if old else _NO) for now, old in pairs)
    return Lateness(total, account_sum(new), pairs)


def account_sum(accounts: Iterable[Account]) -> Account:
    """All of them together."""
    count = ns = 0
    for account in accounts:
        count += account.count
        ns += account.ns
    return Account(count, ns)


def account_added(now: Account, before: Account) -> Account:
    """What came after before, all of now if it has been counted anew since."""
    if now.count < before.count:
        return now
    return Account(now.count - before.count, max(0, now.ns - before.ns))
