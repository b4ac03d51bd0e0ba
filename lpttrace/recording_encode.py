# SPDX-License-Identifier: GPL-2.0-only
"""A frame as what has changed since another: lists of numbers for msgpack. Pure.

The first frame of a block is what has changed since none. recording_decode is the way back, and
docs/recording.md says what is where.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from itertools import compress
from typing import Any, Optional

from lpttrace.abi import BUCKETS
from lpttrace.model import Guest
from lpttrace.recording_schema import OURS
from lpttrace.recording_types import Frame
from lpttrace.snapshot import (
    Event,
    LptStructure,
    LptUpdates,
    Snapshot,
    Stolen,
    Trap,
    VcpuCounters,
    VmCounters,
    VmKey,
)
from lpttrace.snapshot_upkeep import Upkeep

__all__ = ["NO_FRAME", "NO_TRAP", "changes", "new_vcpu", "vcpu_name"]

NO_TRAP = Trap()
NO_FRAME = Frame(0, Snapshot(0, 0, (), (), (), {}), {})
"""What the first frame of a block is compared with."""

_CLASS = {cls: number for number, cls in enumerate(OURS.classes)}
_TIMER = {name: number for number, name in enumerate(OURS.timers)}
_QUESTION = {name: number for number, name in enumerate(OURS.questions)}
_CALL = {name: number for number, name in enumerate(OURS.calls)}
_RESULT = {name: number for number, name in enumerate(OURS.results)}
_EVENT = {name: number for number, name in enumerate(OURS.events)}
_NO_STOLEN = Stolen()
_LANE_BYTES = 8 * BUCKETS
_BUCKET_OF_LANE = (*range(0, BUCKETS, 2), *range(1, BUCKETS, 2))


def vcpu_name(vcpu: VcpuCounters) -> tuple[int, int, int, int, int]:
    """What tells it from all others of a snapshot."""
    vm = vcpu.vm
    return vm.index, vm.seen_ns, vcpu.vcpu, vcpu.tid, vcpu.seen_ns


def new_vcpu(name: Sequence[int], vm: VmKey) -> VcpuCounters:
    """One that has not done anything."""
    return VcpuCounters(vm, name[2], name[3], {}, seen_ns=name[4])


def changes(before: Frame, now: Frame) -> list[Any]:
    """What apply() of recording_decode makes now of, given before."""
    old, new = before.snapshot, now.snapshot
    keys, names = [vm.key for vm in new.vms], [vcpu_name(vcpu) for vcpu in new.vcpus]
    same_vms = keys == [vm.key for vm in old.vms]
    same_vcpus = names == [vcpu_name(vcpu) for vcpu in old.vcpus]
    about = _about(new)
    return [
        *(now.unix_ns, new.start_ns, new.end_ns),
        None if about == _about(old) and before is not NO_FRAME else about,
        None if new.events == old.events else _events(old.events, new.events),
        None if same_vms else [number for key in keys for number in (key.index, key.seen_ns)],
        _vms({vm.key: vm for vm in old.vms}, new.vms),
        _guests(before, now, keys),
        None if same_vcpus else [number for name in names for number in name],
        _vcpus(dict(zip(map(vcpu_name, old.vcpus), old.vcpus)), names, new.vcpus),
    ]


def _about(snapshot: Snapshot) -> list[Any]:
    probes = [[probe.name, probe.attached, probe.reason] for probe in snapshot.probes]
    return [snapshot.counter_hz, probes, dict(snapshot.losses), _upkeep(snapshot.upkeep)]


def _upkeep(upkeep: Upkeep) -> list[Any]:
    programs = [list(program) for program in upkeep.programs]
    return [upkeep.begin_ns, upkeep.bcc, upkeep.slots, upkeep.records, programs]


def _events(old: Sequence[Event], new: Sequence[Event]) -> list[Any]:
    # The first ones are dropped and others come behind; if not, all are new.
    dropped = old.index(new[0]) if new and new[0] in old else len(old)
    stay = len(old) - dropped
    if old[dropped:] != new[:stay]:
        dropped, stay = len(old), 0
    return [dropped, [_event(event) for event in new[stay:]]]


def _event(event: Event) -> list[Optional[int]]:
    about = event.ns, event.vm.index, event.vm.seen_ns, _EVENT[event.kind], event.error
    return [*about, event.group, event.attribute, event.value, event.old_hz, event.new_hz]


def _vms(old: dict[VmKey, VmCounters], new: Iterable[VmCounters]) -> list[Any]:
    return [
        [place, vm.tgid, vm.alive, _lpt(vm.lpt), _calls(vm)]
        for place, vm in enumerate(new)
        if vm is not old.get(vm.key) and vm != old.get(vm.key)
    ]


def _lpt(lpt: Optional[LptUpdates]) -> Optional[list[Any]]:
    if lpt is None:
        return None
    results = [
        number
        for name, made in lpt.results.items()
        for number in (_RESULT[name], made.count, made.ns)
    ]
    counts = lpt.nothing, lpt.last_error, _structure(lpt.structure), lpt.published_ns
    return [results, *counts, _structure(lpt.previous)]


def _structure(structure: Optional[LptStructure]) -> Optional[tuple[int, ...]]:
    return None if structure is None else astuple(structure)


def _calls(vm: VmCounters) -> Optional[list[int]]:
    if vm.calls is None:
        return None
    made = vm.calls.items()
    return [number for name, c in made for number in (_CALL[name], c.done, c.failed)]


def _guests(before: Frame, now: Frame, keys: Sequence[VmKey]) -> list[Any]:
    changed = []
    for place, key in enumerate(keys):
        guest: Optional[Guest] = now.guests.get(key)
        had = before.guests.get(key)
        if guest is not had and guest is not None and guest != had:
            changed.append([place, *astuple(guest)])
    return changed


def _vcpus(
    old: dict[Any, VcpuCounters], names: Sequence[Any], new: Sequence[VcpuCounters]
) -> list[Any]:
    changed = []
    for place, (name, vcpu) in enumerate(zip(names, new)):
        had = old.get(name)
        if had is vcpu:
            continue
        change = _vcpu(had, vcpu) if had is not None else None
        if change is None:
            # New, or not what it was: begins with nothing, which a negative place says.
            change = _vcpu(new_vcpu(name, vcpu.vm), vcpu) or []
            changed.append([~place, *change])
        elif change:
            changed.append([place, *change])
    return changed


def _vcpu(old: VcpuCounters, new: VcpuCounters) -> Optional[list[Any]]:
    # Empty if nothing has changed; None if new did not come of old by counting.
    traps: list[Any] = []
    before = old.traps
    for cls, trap in new.traps.items():
        had = before.get(cls)
        if had is trap:
            continue
        change = _trap(had or NO_TRAP, trap)
        if change is None:
            return None
        if change or had is None:
            traps.append([_CLASS[cls], *(change or (0, 0, None))])
    more = _more(old, new)
    if more is None or _has_lost(old, new):
        return None
    return [more or None, *traps] if more or traps else []


def _has_lost(old: VcpuCounters, new: VcpuCounters) -> bool:
    return (
        not (old.traps.keys() <= new.traps.keys() and old.answers.keys() <= new.answers.keys())
        or not old.interrupts.keys() <= new.interrupts.keys()
        or (old.stolen is not None and new.stolen is None)
    )


def _trap(old: Trap, new: Trap) -> Optional[list[Any]]:
    # The inner loop of recording.
    served, was = new.served, old.served
    count, ns = served.count - was.count, served.ns - was.ns
    apart = _apart(old, new)
    lanes = new.service.lanes - old.service.lanes
    if not lanes:
        return [count, ns, apart] if count or ns or apart else []
    if lanes < 0:
        return None
    return [count, ns, apart, *_buckets(lanes)]


def _apart(old: Trap, new: Trap) -> Optional[list[int]]:
    out, user, was_out, was_user = (
        new.scheduled_out,
        new.userspace,
        old.scheduled_out,
        old.userspace,
    )
    change = [
        *(out.count - was_out.count, out.ns - was_out.ns),
        *(user.count - was_user.count, user.ns - was_user.ns),
        new.pending - old.pending,
    ]
    return change if any(change) else None


def _buckets(lanes: int) -> list[int]:
    # What is not empty: buckets, and then counts.
    counts = array("Q", lanes.to_bytes(_LANE_BYTES, "little"))
    if sys.byteorder != "little":
        counts.byteswap()
    return [*compress(_BUCKET_OF_LANE, counts), *filter(None, counts)]


def _more(old: VcpuCounters, new: VcpuCounters) -> Optional[list[Any]]:
    # All but traps; empty if nothing has changed, None if something shrank.
    lanes, unpaired = new.late.lanes - old.late.lanes, new.unpaired - old.unpaired
    if lanes < 0 or unpaired < 0:
        return None
    count, ns = new.lateness.count - old.lateness.count, new.lateness.ns - old.lateness.ns
    late = [count, ns, *(_buckets(lanes) if lanes else ())] if count or ns or lanes else None
    stolen, steals = _stolen(old.stolen, new.stolen), _interrupts(old, new)
    answers = [] if old.answers == new.answers else _answers(new)
    same = new.last_unknown == old.last_unknown and not unpaired
    if same and not (late or stolen or steals or answers):
        return []
    return [unpaired, new.last_unknown, late, steals, stolen, answers]


def _stolen(old: Optional[Stolen], new: Optional[Stolen]) -> Optional[list[int]]:
    if new is None or new is old:
        return None
    was = old or _NO_STOLEN
    updates = new.updates.count - was.updates.count, new.updates.ns - was.updates.ns
    change = [*updates, new.stolen_ns - was.stolen_ns]
    return change if any(change) or old is None else None


def _interrupts(old: VcpuCounters, new: VcpuCounters) -> list[int]:
    change: list[int] = []
    for timer, made in new.interrupts.items():
        had = old.interrupts.get(timer)
        delivered, overdue = (had.delivered, had.overdue) if had else (0, 0)
        if had is None or made.delivered != delivered or made.overdue != overdue:
            change += (_TIMER[timer], made.delivered - delivered, made.overdue - overdue)
    return change


def _answers(vcpu: VcpuCounters) -> list[int]:
    made = vcpu.answers.items()
    return [n for name, a in made for n in (_QUESTION[name], a.asked, a.refused, a.last)]
