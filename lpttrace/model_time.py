# SPDX-License-Identifier: GPL-2.0-only
"""What timers and pvtime did on some vCPUs: since attach, and in an interval. Pure.

Everything is worked out when it is asked for. None means "cannot be known here".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Optional

from lpttrace.abi import QUESTIONS
from lpttrace.catalog import (
    ANSWER_PROBES,
    CALL_PROBES,
    HYPERCALL_PROBES,
    INTERRUPT_PROBES,
    LATENESS_PROBES,
    LPT_PROBES,
    PREVIOUS_PROBES,
    STOLEN_PROBES,
    TIMER_TRAP_PROBES,
)
from lpttrace.model_timer import (
    Lateness,
    Pair,
    TimerFlow,
    account_added,
    account_sum,
    delivered_between,
    lateness_of,
    timers_of,
    together,
)
from lpttrace.snapshot import Answers, Snapshot, Stolen

__all__ = ["NEEDS", "GuestTime", "Sight", "StolenFlow", "sight_of"]

_NS = 1e9

NEEDS: Mapping[str, tuple[str, ...]] = {
    "hypercalls": HYPERCALL_PROBES,
    "timer traps": TIMER_TRAP_PROBES,
    "timer interrupts": INTERRUPT_PROBES,
    "timer lateness": LATENESS_PROBES,
    "stolen time": STOLEN_PROBES,
    "pvtime answers": ANSWER_PROBES,
    "LPT": LPT_PROBES,
    "what LPT was before": PREVIOUS_PROBES,
    "VM attributes": CALL_PROBES,
}
"""What can be seen where all of the probes named are attached."""


class Sight(NamedTuple):
    """What a run can see."""

    hypercalls: bool
    timer_traps: bool
    interrupts: bool
    lateness: bool
    stolen: bool
    answers: bool


def sight_of(snapshot: Snapshot) -> Sight:
    """From the probes that are attached."""
    on = {probe.name for probe in snapshot.probes if probe.attached}
    return Sight(
        hypercalls=on.issuperset(HYPERCALL_PROBES),
        timer_traps=on.issuperset(TIMER_TRAP_PROBES),
        interrupts=on.issuperset(INTERRUPT_PROBES),
        lateness=on.issuperset(LATENESS_PROBES),
        stolen=on.issuperset(STOLEN_PROBES),
        answers=on.issuperset(ANSWER_PROBES),
    )


@dataclass(frozen=True)
class StolenFlow:
    """Stolen time that so many vCPUs were told of; change is what the last interval added."""

    total: Stolen
    change: Optional[Stolen]
    seconds: Optional[float]
    vcpus: int

    @property
    def share(self) -> Optional[float]:
        """Of the interval on these vCPUs: seconds that were stolen, a second."""
        if self.change is None or not self.seconds or not self.vcpus:
            return None
        return self.change.stolen_ns / _NS / self.seconds / self.vcpus


@dataclass(frozen=True)
class GuestTime:
    """Timers and pvtime of some vCPUs; seconds is None where there is no interval."""

    pairs: Sequence[Pair]
    seconds: Optional[float]
    sight: Sight

    @cached_property
    def timers(self) -> Optional[tuple[TimerFlow, ...]]:
        """The timers that made interrupts, in the order of the ABI."""
        if not self.sight.interrupts:
            return None
        return timers_of(self.pairs, self.seconds, self.sight.timer_traps)

    @cached_property
    def all_timers(self) -> Optional[TimerFlow]:
        """All timers together."""
        if self.timers is None:
            return None
        return together(self.timers, self.seconds, self.sight.timer_traps)

    @cached_property
    def interrupts_per_second(self) -> Optional[float]:
        """Of all timers in the interval."""
        if not self.sight.interrupts or not self.seconds:
            return None
        return delivered_between(self.pairs) / self.seconds

    @cached_property
    def lateness(self) -> Optional[Lateness]:
        """None also where there are interrupts, but none of an emulated timer."""
        return lateness_of(self.pairs, self.seconds) if self.sight.lateness else None

    @cached_property
    def stolen(self) -> Optional[StolenFlow]:
        """Of the vCPUs whose guest gets stolen time, which may be none."""
        if not self.sight.stolen:
            return None
        told = [(now.stolen, old.stolen if old else None) for now, old in self.pairs if now.stolen]
        total = _sum(now for now, _ in told)
        new = None if self.seconds is None else _sum(_added(now, old) for now, old in told)
        return StolenFlow(total, new, self.seconds, len(told))

    @cached_property
    def answers(self) -> Optional[Mapping[str, Answers]]:
        """Questions that were asked, by name of abi.QUESTIONS; last is a refusal if any vCPU was
        refused when it asked last."""
        if not self.sight.answers:
            return None
        found = {}
        for question in QUESTIONS:
            told = [now.answers[question] for now, _ in self.pairs if question in now.answers]
            if told:
                asked, refused = sum(a.asked for a in told), sum(a.refused for a in told)
                found[question] = Answers(asked, refused, min(a.last for a in told))
        return found


def _sum(parts: Iterable[Stolen]) -> Stolen:
    every = tuple(parts)
    return Stolen(account_sum(part.updates for part in every), sum(p.stolen_ns for p in every))


def _added(now: Stolen, before: Optional[Stolen]) -> Stolen:
    if before is None or now.updates.count < before.updates.count:
        return now
    updates = account_added(now.updates, before.updates)
    return Stolen(updates, max(0, now.stolen_ns - before.stolen_ns))
