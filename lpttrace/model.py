# SPDX-License-Identifier: GPL-2.0-only
"""From two snapshots to rates and means. Pure; None means "cannot be known", never zero.

Resets, vCPUs that appear and intervals are dealt with here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

from lpttrace.abi import CLASSES, TrapClass
from lpttrace.catalog import HYPERCALL_PROBES, LPT_PROBES, TIMER_TRAP_PROBES
from lpttrace.snapshot import (
    Account,
    Probe,
    Snapshot,
    Trap,
    VcpuCounters,
    VmCounters,
    VmKey,
)

__all__ = [
    "ClassFlow",
    "Flow",
    "Guest",
    "Model",
    "Tally",
    "VcpuModel",
    "VmModel",
    "compare",
    "not_visible",
    "shortages",
    "tally",
]

_NS = 1e9

# Of a Trap: count and ns of each outcome in order, and pending.
_Sum = tuple[int, int, int, int, int, int, int]


@dataclass(frozen=True)
class Guest:
    """Who a VM is. vm is short and unique on the host; name and uuid are the user's choice."""

    vm: str
    name: str
    pid: int
    uuid: str = ""


@dataclass(frozen=True)
class Change:
    """What an interval added: traps, and of those that were served, count and nanoseconds."""

    count: int
    served: Account


@dataclass(frozen=True)
class Flow:
    """Traps of one kind or class: since attach, and what the last interval added to them."""

    total: Trap
    change: Optional[Change]
    seconds: Optional[float]

    @property
    def per_second(self) -> Optional[float]:
        """Traps a second in the interval."""
        return self.change.count / self.seconds if self.change and self.seconds else None

    @property
    def mean_ns(self) -> Optional[float]:
        """Mean service time of those served in the interval."""
        served = self.change.served if self.change else Account()
        return served.ns / served.count if served.count else None


@dataclass(frozen=True)
class ClassFlow:
    """One class of traps on one vCPU."""

    trap: TrapClass
    flow: Flow


@dataclass(frozen=True)
class VcpuModel:
    """One vCPU; a kind of traps that cannot be seen is None."""

    counters: VcpuCounters
    before: Optional[VcpuCounters]
    hypercalls: Optional[Flow]
    timer_traps: Optional[Flow]
    seconds: Optional[float]

    def classes(self) -> tuple[ClassFlow, ...]:
        """The classes that occurred, in the order of the ABI."""
        old = self.before.traps if self.before else {}
        return tuple(
            ClassFlow(cls, _flow([(_sum([trap]), _sum([old.get(cls, _NEVER)]))], self.seconds))
            for cls, trap in sorted(self.counters.traps.items(), key=lambda item: _INDEX[item[0]])
        )


class _VcpuTally(NamedTuple):
    counters: Optional[VcpuCounters]
    hypercalls: _Sum
    timer_traps: _Sum


@dataclass(frozen=True)
class VmModel:
    """One VM with the sums over its vCPUs; a kind of traps that cannot be seen is None."""

    counters: VmCounters
    guest: Guest
    pairs: tuple[tuple[_VcpuTally, _VcpuTally], ...]
    hypercalls: Optional[Flow]
    timer_traps: Optional[Flow]
    seconds: Optional[float]

    def vcpus(self) -> tuple[VcpuModel, ...]:
        """Its vCPUs in order. Made when asked for: a collapsed VM needs none of them."""
        models = (self._vcpu(now, before) for now, before in self.pairs)
        return tuple(sorted(models, key=lambda vcpu: vcpu.counters.vcpu))

    def _vcpu(self, now: _VcpuTally, before: _VcpuTally) -> VcpuModel:
        assert now.counters is not None
        hvc, timer = (now.hypercalls, before.hypercalls), (now.timer_traps, before.timer_traps)
        return VcpuModel(
            now.counters,
            before.counters,
            _flow([hvc], self.seconds) if self.hypercalls else None,
            _flow([timer], self.seconds) if self.timer_traps else None,
            self.seconds,
        )


@dataclass(frozen=True)
class Model:
    """One frame. seconds is the interval it is about, None if there is only one snapshot."""

    snapshot: Snapshot
    seconds: Optional[float]
    vms: tuple[VmModel, ...]


_INDEX = {cls: index for index, cls in enumerate(CLASSES)}
_NEVER = Trap()


class Tally(NamedTuple):
    """A snapshot with the sums of each vCPU's traps."""

    snapshot: Snapshot
    vcpus: Mapping[tuple[VmKey, int], _VcpuTally]


def tally(snapshot: Snapshot) -> Tally:
    """Sum up the traps of every vCPU, by kind."""
    vcpus = {}
    for vcpu in snapshot.vcpus:
        hypercalls: list[Trap] = []
        timer_traps: list[Trap] = []
        for cls, trap in vcpu.traps.items():
            (hypercalls if cls[0] == "hypercall" else timer_traps).append(trap)
        vcpus[vcpu.vm, vcpu.vcpu] = _VcpuTally(vcpu, _sum(hypercalls), _sum(timer_traps))
    return Tally(snapshot, vcpus)


def _sum(traps: list[Trap]) -> _Sum:
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
    return served, served_ns, out, out_ns, user, user_ns, pending


_ZERO: _Sum = _sum([])
_NEW = _VcpuTally(None, _ZERO, _ZERO)


def _flow(pairs: Sequence[tuple[_Sum, _Sum]], seconds: Optional[float]) -> Flow:
    served, ns, out, out_ns, user, user_ns, pending = map(sum, zip(_ZERO, *(p[0] for p in pairs)))
    total = Trap(Account(served, ns), Account(out, out_ns), Account(user, user_ns), pending)
    if seconds is None:
        return Flow(total, None, None)
    count = served = ns = 0
    for now, before in pairs:
        ended, had_ended = now[0] + now[2] + now[4], before[0] + before[2] + before[4]
        if ended < had_ended or now[0] < before[0]:
            before, had_ended = _ZERO, 0  # counted anew since
        count += max(0, ended + now[6] - had_ended - before[6])
        served += now[0] - before[0]
        ns += max(0, now[1] - before[1])
    return Flow(total, Change(count, Account(served, ns)), seconds)


def compare(before: Optional[Tally], now: Tally, guests: Mapping[VmKey, Guest]) -> Model:
    """What happened between two snapshots, of which the first may be missing.

    A vCPU that is new in the second began at zero within the interval.
    """
    seconds, old = None, dict[tuple[VmKey, int], _VcpuTally]()
    if before is not None:
        seconds = (now.snapshot.end_ns - before.snapshot.end_ns) / _NS or None
        old = dict(before.vcpus)
    by_vm: dict[VmKey, list[tuple[_VcpuTally, _VcpuTally]]] = {}
    for key, vcpu in now.vcpus.items():
        by_vm.setdefault(key[0], []).append((vcpu, old.get(key, _NEW)))
    see = [
        all(map(now.snapshot.attached, probes)) for probes in (HYPERCALL_PROBES, TIMER_TRAP_PROBES)
    ]
    vms = now.snapshot.vms
    return Model(
        now.snapshot,
        seconds,
        tuple(_vm(vm, guests[vm.key], by_vm.get(vm.key, []), seconds, *see) for vm in vms),
    )


def _vm(
    vm: VmCounters,
    guest: Guest,
    pairs: list[tuple[_VcpuTally, _VcpuTally]],
    seconds: Optional[float],
    see_hypercalls: bool,
    see_timer_traps: bool,
) -> VmModel:
    hvc = [(now.hypercalls, before.hypercalls) for now, before in pairs]
    timer = [(now.timer_traps, before.timer_traps) for now, before in pairs]
    return VmModel(
        vm,
        guest,
        tuple(pairs),
        _flow(hvc, seconds) if see_hypercalls else None,
        _flow(timer, seconds) if see_timer_traps else None,
        seconds,
    )


def not_visible(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """What this run cannot see, each with the reason."""
    things = (
        ("hypercalls", HYPERCALL_PROBES),
        ("timer traps", TIMER_TRAP_PROBES),
        ("LPT", LPT_PROBES),
    )
    reasons = {probe.name: probe for probe in snapshot.probes}
    found = []
    for thing, needed in things:
        lacking = [_lack(reasons.get(name), name) for name in needed]
        found += [(thing, reason) for reason in lacking if reason][:1]
    return tuple(found)


def shortages(losses: Mapping[str, int]) -> dict[str, str]:
    """What is not counted for want of room, in words, by the name of the loss."""
    vcpus, vms = losses.get("no_slot", 0), losses.get("no_vm", 0)
    texts = {
        "no_slot": f"no free slot for {vcpus} vCPUs: they are not counted; raise --max-vcpus",
        "no_vm": f"no free record for {vms} VMs: they are not counted; raise --max-vcpus",
    }
    return {loss: text for loss, text in texts.items() if losses.get(loss)}


def _lack(probe: Optional[Probe], name: str) -> str:
    if probe is None:
        return f"{name} was not tried"
    return "" if probe.attached else probe.reason or f"{name} is not attached"
