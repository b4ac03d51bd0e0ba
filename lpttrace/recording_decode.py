# SPDX-License-Identifier: GPL-2.0-only
"""The way back from recording_encode: a frame from what has changed since the one before. Pure.

Nothing that is read is trusted. What makes no sense raises one of NONSENSE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any, NamedTuple, Optional

from lpttrace.abi import BUCKETS
from lpttrace.model import Guest
from lpttrace.recording_encode import NO_FRAME, NO_TRAP, new_vcpu, vcpu_name
from lpttrace.recording_schema import Schema
from lpttrace.recording_types import Frame
from lpttrace.recording_values import changes_in
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
from lpttrace.snapshot_upkeep import ProgramRuns, Room, Upkeep

__all__ = ["NONSENSE", "apply", "ends_in", "first_change", "shape", "shape_of", "unfold"]

NONSENSE = (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError)
"""What is raised for what makes no sense."""

_MOST = 1 << 64
# Of a count or its nanoseconds, decades of them: several together are less than 2^63.
_MOST_COUNT = 1 << 60
_MOST_VCPU = 1 << 31
# Counts of a bucket have 48 bits, so that lanes never overflow however many frames are in a block.
_MOST_IN_BUCKET = 1 << 48
_SHIFT = [64 * (bucket // 2 + bucket % 2 * (BUCKETS // 2)) for bucket in range(BUCKETS)]
_NO_ACCOUNT = Account()
_NO_INTERRUPTS = Interrupts()
_NO_HISTOGRAM = Histogram()


def unfold(plain: bytes, schema: Schema) -> Iterator[Frame]:
    """The frames of a block, in order; ends at what is none by raising one of NONSENSE."""
    frame = NO_FRAME
    for change in changes_in(plain):
        frame = apply(frame, change, schema)
        yield frame


def first_change(plain: bytes) -> Any:
    """What makes the first frame of a block of none; one of NONSENSE if there is none."""
    for change in changes_in(plain):
        return change
    raise ValueError("no frame")


def shape_of(change: Any) -> tuple[int, int, Any]:
    """Of a frame that is made of none, its times, and what shape() will say of it."""
    unix_ns, _, end_ns, _, _, keys, vms, _, names, _ = change
    keys, names = keys or (), names or ()
    lives = [(alive is True, lpt[3] if lpt else None) for _, _, alive, lpt, _ in vms]
    structures = [structure for _, structure in lives]
    # Nothing but numbers: what is nested deeply cannot be compared.
    for numbers in (
        (unix_ns, 2 * unix_ns, end_ns),
        keys,
        names,
        *[told for told in structures if told],
    ):
        _numbers(numbers)
    states = [(alive, told or None) for alive, told in lives]
    return unix_ns, end_ns, (keys, states, names)


def ends_in(plain: bytes) -> Mapping[VmKey, int]:
    """VMs that are not alive in frames of a block, and the end of the first such frame."""
    found: dict[VmKey, int] = {}
    keys: list[VmKey] = []
    for _, _, end_ns, _, _, now, vms, *_ in changes_in(plain, (2, 5, 6)):
        _numbers((end_ns,))
        keys = keys if now is None else _keys(now)
        for place, _, alive, *_ in vms:
            if alive is not True:
                found.setdefault(keys[place], end_ns)
    return found


def shape(snapshot: Snapshot) -> Any:
    """Which VMs and vCPUs are in it, which of them are alive, and what LPT they have: equal to that
    of another one if these are."""
    keys = tuple([number for vm in snapshot.vms for number in (vm.key.index, vm.key.seen_ns)])
    names = tuple([number for vcpu in snapshot.vcpus for number in vcpu_name(vcpu)])
    structures = [vm.lpt.structure if vm.lpt else None for vm in snapshot.vms]
    told = [structure and astuple(structure) for structure in structures]
    return keys, [(vm.alive, lpt) for vm, lpt in zip(snapshot.vms, told)], names


def apply(before: Frame, change: Any, schema: Schema) -> Frame:
    """The frame that change makes of the one before."""
    unix_ns, start_ns, end_ns, about, events, keys, vms, guests, names, vcpus = change
    _numbers((unix_ns, 2 * unix_ns, start_ns, end_ns))
    old = before.snapshot
    if end_ns < old.end_ns:
        raise ValueError("time goes back")
    about_now = _about(old, about)
    places = [vm.key for vm in old.vms] if keys is None else _keys(keys)
    found = _vcpus(old.vcpus, names, vcpus, schema)
    if not (keys is None and names is None) and not {vcpu.vm for vcpu in found} <= {*places}:
        raise ValueError("a vCPU of no VM")
    snapshot = Snapshot(
        start_ns,
        end_ns,
        _vms(old.vms, places, vms, schema),
        found,
        about_now.probes,
        about_now.losses,
        old.events if events is None else _events(old.events, events, schema),
        about_now.counter_hz,
        about_now.upkeep,
    )
    return Frame(unix_ns, snapshot, _guests(before.guests, places, guests))


def _numbers(values: Sequence[Any]) -> None:
    # bool is no int here, and whatever is no number is no list either.
    if not set(map(type, values)) <= {int}:
        raise TypeError("not numbers")
    if values and not (min(values) >= 0 and max(values) < _MOST):
        raise ValueError("a number out of range")


def _counts(*values: int) -> None:
    if min(values) < 0 or max(values) >= _MOST_COUNT:
        raise ValueError("a count out of range")


def _differences(values: Sequence[Any]) -> None:
    if not set(map(type, values)) <= {int}:
        raise TypeError("not numbers")


def _or_zero(value: Any) -> Any:
    return 0 if value is None else value


def _groups(values: Sequence[Any], size: int) -> Iterator[tuple[Any, ...]]:
    if len(values) % size:
        raise ValueError("something is missing")
    return zip(*[iter(values)] * size)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _name(value: Any) -> str:
    # Of our own choice, and shown as it is.
    if not (_text(value).isascii() and value.isprintable()):
        raise ValueError("not a name")
    return _text(value)


class _About(NamedTuple):
    counter_hz: Optional[int]
    probes: tuple[Probe, ...]
    losses: Mapping[str, int]
    upkeep: Upkeep


def _about(old: Snapshot, told: Any) -> _About:
    if told is None:
        return _About(old.counter_hz, old.probes, old.losses, old.upkeep)
    counter_hz, probes, losses, upkeep = told
    _numbers([_or_zero(counter_hz)])
    losses = dict(losses)
    _numbers([*losses.values()])
    found = [Probe(_name(name), attached is True, _text(why)) for name, attached, why in probes]
    counts = {_name(name): count for name, count in losses.items()}
    return _About(counter_hz, tuple(found), counts, _upkeep(upkeep))


def _upkeep(told: Any) -> Upkeep:
    begin_ns, bcc, slots, records, programs = told
    _numbers([begin_ns])
    return Upkeep(begin_ns, _name(bcc), _room(slots), _room(records), tuple(map(_runs, programs)))


def _room(told: Any) -> Optional[Room]:
    if told is None:
        return None
    _numbers(told)
    return Room(*told)


def _runs(told: Any) -> ProgramRuns:
    program, runs, ns = told
    _numbers([runs, ns])
    return ProgramRuns(_name(program), runs, ns)


def _events(old: tuple[Event, ...], told: Any, schema: Schema) -> tuple[Event, ...]:
    dropped, new = told
    _numbers([dropped])
    return (*old[dropped:], *[_event(event, schema) for event in new])


def _event(told: Any, schema: Schema) -> Event:
    ns, index, seen_ns, kind, error, group, attribute, value, old_hz, new_hz = told
    _numbers([ns, index, seen_ns, error, group, attribute, _or_zero(value), old_hz, new_hz])
    name, vm = schema.events[kind], VmKey(index, seen_ns)
    return Event(ns, vm, name, error, group, attribute, value, old_hz, new_hz)


def _keys(told: Any) -> list[VmKey]:
    _numbers(told)
    keys = [VmKey(*pair) for pair in _groups(told, 2)]
    if len({*keys}) < len(keys):
        raise ValueError("a VM is there twice")
    return keys


def _vms(
    old: Sequence[VmCounters], keys: Sequence[VmKey], told: Any, schema: Schema
) -> tuple[VmCounters, ...]:
    known = {vm.key: vm for vm in old}
    for place, tgid, alive, lpt, calls in told:
        _numbers([place, tgid])
        key = keys[place]
        made = None if calls is None else _calls(calls, schema)
        known[key] = VmCounters(key, tgid, alive is True, _lpt(lpt, schema), made)
    return tuple([known[key] for key in keys])


def _calls(told: Any, schema: Schema) -> Mapping[str, Calls]:
    _numbers(told)
    return {schema.calls[name]: Calls(*made) for name, *made in _groups(told, 3)}


def _lpt(told: Any, schema: Schema) -> Optional[LptUpdates]:
    if told is None:
        return None
    made, nothing, error, structure, published_ns, previous = told
    _numbers(made)
    _numbers([nothing, error, published_ns])
    results = {schema.results[name]: Account(*account) for name, *account in _groups(made, 3)}
    found = _structure(structure), published_ns, _structure(previous)
    return LptUpdates(results, nothing, error, *found)


def _structure(told: Any) -> Optional[LptStructure]:
    if told is None:
        return None
    _numbers(told)
    return LptStructure(*told)


def _guests(old: Mapping[VmKey, Guest], keys: Sequence[VmKey], told: Any) -> Mapping[VmKey, Guest]:
    known = dict(old)
    for place, vm, name, pid, *texts in told:
        _numbers([place, pid])
        known[keys[place]] = Guest(_name(vm), _text(name), pid, *map(_text, texts))
    return {key: known[key] for key in keys}


def _vcpus(
    old: Sequence[VcpuCounters], told: Any, changed: Any, schema: Schema
) -> tuple[VcpuCounters, ...]:
    if told is None:
        vcpus = [*old]
    else:
        _numbers(told)
        if max(told[2::5], default=0) >= _MOST_VCPU:
            raise ValueError("not the number of a vCPU")
        had = {vcpu_name(vcpu): vcpu for vcpu in old}
        vms = {vcpu.vm: vcpu.vm for vcpu in old}
        vcpus = [
            had.get(name) or new_vcpu(name, vms.setdefault(VmKey(*name[:2]), VmKey(*name[:2])))
            for name in _groups(told, 5)
        ]
    for place, *change in changed:
        _differences((place,))
        if place < 0:
            place = ~place
            vcpus[place] = new_vcpu(vcpu_name(vcpus[place]), vcpus[place].vm)
        if change:
            vcpus[place] = _vcpu(vcpus[place], change, schema)
    return tuple(vcpus)


def _vcpu(old: VcpuCounters, change: Sequence[Any], schema: Schema) -> VcpuCounters:
    more, *changed = change
    traps, classes = dict(old.traps), schema.classes
    for told in changed:
        cls = classes[told[0]]
        if cls.kind == "none":
            raise ValueError("not a trap")
        traps[cls] = _trap(traps.get(cls, NO_TRAP), told)
    if more is None:
        return VcpuCounters(
            *(old.vm, old.vcpu, old.tid, traps, old.unpaired, old.last_unknown, old.interrupts),
            *(old.lateness, old.late, old.stolen, old.answers, old.seen_ns),
        )
    unpaired, last_unknown, late, interrupts, stolen, answers = more
    _numbers((unpaired, _or_zero(last_unknown)))
    return VcpuCounters(
        *(old.vm, old.vcpu, old.tid, traps, old.unpaired + unpaired, last_unknown),
        _interrupts(old.interrupts, interrupts, schema),
        *((old.lateness, old.late) if late is None else _late(old, late)),
        _stolen(old.stolen, stolen),
        {**old.answers, **_answers(answers, schema)},
        old.seen_ns,
    )


def _trap(old: Trap, told: Sequence[Any]) -> Trap:
    # The inner loop of replaying.
    number, count, ns, apart, *buckets = told
    _differences((number, count, ns))
    out, user, pending = old.scheduled_out, old.userspace, old.pending
    if apart is not None:
        _differences(apart)
        out_count, out_ns, user_count, user_ns, more = apart
        out, user = _account(out, out_count, out_ns), _account(user, user_count, user_ns)
        pending += more
        _counts(pending)
    service = _histogram(old.service, buckets) if buckets else old.service
    return Trap(_account(old.served, count, ns), out, user, pending, service)


def _account(old: Account, count: int, ns: int) -> Account:
    if not (count or ns):
        return old
    count, ns = old.count + count, old.ns + ns
    _counts(count, ns)
    return Account(count, ns)


def _histogram(old: Histogram, told: Sequence[Any]) -> Histogram:
    _numbers(told)
    buckets, counts = told[: len(told) // 2], told[len(told) // 2 :]
    if len(buckets) != len(counts) or max(counts) >= _MOST_IN_BUCKET:
        raise ValueError("not a histogram")
    if len(set(buckets)) < len(buckets):
        raise ValueError("a bucket is there twice")
    lanes = old.lanes
    for bucket, count in zip(buckets, counts):
        lanes += count << _SHIFT[bucket]
    return Histogram(lanes)


def _late(old: VcpuCounters, told: Sequence[Any]) -> tuple[Account, Histogram]:
    count, ns, *buckets = told
    _differences((count, ns))
    late = _histogram(old.late, buckets) if buckets else old.late
    return _account(old.lateness, count, ns), late


def _interrupts(
    old: Mapping[str, Interrupts], told: Any, schema: Schema
) -> Mapping[str, Interrupts]:
    _differences(told)
    found = dict(old)
    for timer, delivered, overdue in _groups(told, 3):
        name = schema.timers[timer]
        had = found.get(name, _NO_INTERRUPTS)
        counts = had.delivered + delivered, had.overdue + overdue
        _counts(*counts)
        found[name] = Interrupts(*counts)
    return found


def _stolen(old: Optional[Stolen], told: Any) -> Optional[Stolen]:
    if told is None:
        return old
    _differences(told)
    was = old or Stolen()
    count, ns, stolen_ns = told
    _counts(was.stolen_ns + stolen_ns)
    return Stolen(_account(was.updates, count, ns), was.stolen_ns + stolen_ns)


def _answers(told: Any, schema: Schema) -> dict[str, Answers]:
    _differences(told)
    return {schema.questions[name]: Answers(*counts) for name, *counts in _groups(told, 4)}
