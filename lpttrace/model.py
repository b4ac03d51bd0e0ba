# SPDX-License-Identifier: GPL-2.0-only
"""From two snapshots to rates and means. Pure; None means "cannot be known", never zero.

Resets, vCPUs that appear and intervals are dealt with here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import NamedTuple, Optional

from lpttrace.abi import CLASSES
from lpttrace.model_flow import NOTHING, ClassFlow, Flow, Part, flow_of, part_of
from lpttrace.model_lpt import Finding, audit, lpt_state
from lpttrace.model_time import NEEDS, GuestTime, Sight, sight_of
from lpttrace.printable import bounded
from lpttrace.snapshot import (
    LptStructure,
    LptUpdates,
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
    "alarms",
    "compare",
    "losses_between",
    "not_visible",
    "shortages",
    "tally",
]

_NS = 1e9


@dataclass(frozen=True)
class Guest:
    """Who a VM is. vm is short and unique on the host; all else but the pid is the user's choice.

    vmm is the kind of VMM or the name of its executable, product the system's name in SMBIOS. What
    libvirt and OpenStack call it is empty where they do not run it.
    """

    vm: str
    name: str
    pid: int
    uuid: str = ""
    vmm: str = ""
    product: str = ""
    libvirt_name: str = ""
    openstack_name: str = ""
    openstack_project: str = ""
    openstack_project_uuid: str = ""
    openstack_flavor: str = ""

    def __post_init__(self) -> None:
        """Whoever makes one, the user's choice has an end, and is Unicode."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str):
                object.__setattr__(self, field.name, bounded(value))


class _VcpuTally:
    """A vCPU at one moment; its traps are summed up when a row in sight needs them."""

    __slots__ = ("_parts", "counters")

    def __init__(self, counters: Optional[VcpuCounters] = None) -> None:
        self.counters = counters
        self._parts: Optional[tuple[Part, Part]] = None if counters else (NOTHING, NOTHING)

    def parts(self) -> tuple[Part, Part]:
        """Hypercalls and timer traps."""
        if self._parts is None:
            hypercalls: list[Trap] = []
            timer_traps: list[Trap] = []
            assert self.counters is not None
            for cls, trap in self.counters.traps.items():
                (hypercalls if cls[0] == "hypercall" else timer_traps).append(trap)
            self._parts = part_of(hypercalls), part_of(timer_traps)
        return self._parts


_Pair = tuple[_VcpuTally, _VcpuTally]
_NEW = _VcpuTally()
_INDEX = {cls: index for index, cls in enumerate(CLASSES)}


def _flow(pairs: Iterable[_Pair], kind: int, seconds: Optional[float]) -> Flow:
    parts = [(now.parts()[kind], before.parts()[kind]) for now, before in pairs]
    return flow_of(parts, seconds)


@dataclass(frozen=True)
class _Counted:
    """Some vCPUs, now and before; a kind of traps that cannot be seen is None."""

    pairs: Sequence[_Pair]
    seconds: Optional[float]
    sight: Sight

    @cached_property
    def hypercalls(self) -> Optional[Flow]:
        """Of all functions."""
        return _flow(self.pairs, 0, self.seconds) if self.sight.hypercalls else None

    @cached_property
    def timer_traps(self) -> Optional[Flow]:
        """Of all registers."""
        return _flow(self.pairs, 1, self.seconds) if self.sight.timer_traps else None

    @cached_property
    def time(self) -> GuestTime:
        """Timers and pvtime."""
        pairs = [(now.counters, before.counters) for now, before in self.pairs if now.counters]
        return GuestTime(pairs, self.seconds, self.sight)


@dataclass(frozen=True)
class VcpuModel(_Counted):
    """One vCPU."""

    counters: VcpuCounters
    before: Optional[VcpuCounters]

    def classes(self) -> tuple[ClassFlow, ...]:
        """The classes that occurred, in the order of the ABI."""
        old = self.before.traps if self.before else {}
        return tuple(
            ClassFlow(cls, flow_of([(part_of([trap]), _part(old.get(cls)))], self.seconds))
            for cls, trap in sorted(self.counters.traps.items(), key=lambda item: _INDEX[item[0]])
        )


def _part(trap: Optional[Trap]) -> Part:
    return part_of([trap]) if trap else NOTHING


@dataclass(frozen=True)
class VmModel(_Counted):
    """One VM with the sums over its vCPUs."""

    counters: VmCounters
    guest: Guest
    counter_hz: Optional[int] = None

    def vcpus(self) -> tuple[VcpuModel, ...]:
        """Its vCPUs in order. Made when asked for: a collapsed VM needs none of them."""
        models = (
            VcpuModel([(now, before)], self.seconds, self.sight, now.counters, before.counters)
            for now, before in self.pairs
            if now.counters
        )
        return tuple(sorted(models, key=lambda vcpu: vcpu.counters.vcpu))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the structure published last."""
        lpt = self.counters.lpt
        if lpt is None or lpt.structure is None:
            return ()
        return _audited(lpt.structure, lpt.previous, self.counter_hz)

    @property
    def lpt_state(self) -> Optional[str]:
        """That of model_lpt, by findings."""
        lpt = self.counters.lpt
        if lpt is not None and lpt.structure is not None:
            return "wrong" if self.findings else "published"
        return lpt_state(lpt)

    @cached_property
    def lpt_word(self) -> Optional[str]:
        """The state; "refused" of a guest that asked for LPT and has none."""
        state = self.lpt_state
        if state not in (None, "off", "unknown"):
            return state
        answers = self.time.answers or {}
        told = [answers[question] for question in _LPT_QUESTIONS if question in answers]
        return "refused" if any(answer.last < 0 for answer in told) else state


@lru_cache(maxsize=4096)
def _audited(
    structure: LptStructure, previous: Optional[LptStructure], counter_hz: Optional[int]
) -> tuple[Finding, ...]:
    # Of every VM in every frame, though a structure changes only when its VM migrates.
    return audit(LptUpdates(structure=structure, previous=previous), counter_hz)


_LPT_QUESTIONS = ("features_lpt", "lpt")


@dataclass(frozen=True)
class Model:
    """One frame. seconds is the interval it is about, None if there is only one snapshot."""

    snapshot: Snapshot
    seconds: Optional[float]
    vms: tuple[VmModel, ...]


class Tally(NamedTuple):
    """A snapshot with its vCPUs by VM and number."""

    snapshot: Snapshot
    vms: Mapping[VmKey, Mapping[int, _VcpuTally]]


def tally(snapshot: Snapshot) -> Tally:
    """What compare needs of a snapshot."""
    vms: dict[VmKey, dict[int, _VcpuTally]] = {}
    key, vcpus = None, dict[int, _VcpuTally]()
    for vcpu in snapshot.vcpus:
        if vcpu.vm is not key:
            key, vcpus = vcpu.vm, vms.setdefault(vcpu.vm, {})
        vcpus[vcpu.vcpu] = _VcpuTally(vcpu)
    return Tally(snapshot, vms)


def compare(before: Optional[Tally], now: Tally, guests: Mapping[VmKey, Guest]) -> Model:
    """What happened between two snapshots, of which the first may be missing.

    A vCPU that is new in the second began at zero within the interval.
    """
    seconds, old = None, dict[VmKey, Mapping[int, _VcpuTally]]()
    if before is not None:
        seconds = (now.snapshot.end_ns - before.snapshot.end_ns) / _NS or None
        old = dict(before.vms)
    sight, counter_hz = sight_of(now.snapshot), now.snapshot.counter_hz
    models = []
    for vm in now.snapshot.vms:
        had = old.get(vm.key, {})
        vcpus = now.vms.get(vm.key, {}).items()
        pairs = [(vcpu, had.get(number, _NEW)) for number, vcpu in vcpus]
        models.append(VmModel(pairs, seconds, sight, vm, guests[vm.key], counter_hz))
    return Model(now.snapshot, seconds, tuple(models))


def alarms(vms: Iterable[VmModel]) -> list[str]:
    """What is wrong with what guests were given, in words."""
    return [f"LPT of {vm.guest.vm}: {finding.text}" for vm in vms for finding in vm.findings]


def not_visible(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """What this run cannot see, each with the reason; things with the same reason are together."""
    reasons = {probe.name: probe for probe in snapshot.probes}
    found: dict[str, list[str]] = {}
    for thing, needed in NEEDS.items():
        lacking = [_lack(reasons.get(name), name) for name in needed]
        for reason in [reason for reason in lacking if reason][:1]:
            found.setdefault(reason, []).append(thing)
    return tuple((", ".join(things), reason) for reason, things in found.items())


def losses_between(before: Snapshot, now: Snapshot) -> dict[str, int]:
    """How many more of each there are; a counter that began anew meanwhile began at zero."""
    anew = before.upkeep.begin_ns != now.upkeep.begin_ns
    old = {} if anew else before.losses
    more = {name: count - old.get(name, 0) for name, count in now.losses.items()}
    # Not every source tells when it began.
    return {name: now.losses[name] if count < 0 else count for name, count in more.items()}


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
