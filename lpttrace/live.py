# SPDX-License-Identifier: GPL-2.0-only
"""The running kernel as a Source: attach, read the maps, give back what dead VMs leave."""

from __future__ import annotations

import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from ctypes import sizeof
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Optional

from lpttrace import abi
from lpttrace.attach import Attachment
from lpttrace.catalog import CALL_PROBES, LPT_PROBES
from lpttrace.decode import (
    COUNTS_END,
    decode_calls,
    decode_event,
    decode_lpt,
    decode_vcpu,
    field_names,
)
from lpttrace.errors import HostError
from lpttrace.host import NO, HostFacts, probe_host
from lpttrace.maps import MappedArray, delete, insert, keys, lookup, lookup_u32, push
from lpttrace.plan import (
    LPT_SYMBOL,
    Plan,
    ProbeSpec,
    can_fire,
    check_host,
    explain,
    make_plan,
    symbols_wanted,
)
from lpttrace.snapshot import Event, Probe, Snapshot, VcpuCounters, VmCounters, VmKey

__all__ = ["LiveOptions", "LiveSource", "attach_plan", "explain_outcomes"]

_SLOT_HEAD = sizeof(abi.SlotHead)
_STATE = {name: value for value, name in enumerate(abi.STATES)}
_MAX_EVENTS = 256
_EVENT_WAITS_NS = 10_000_000_000
# A slot is 61 KiB: 2 MiB at a time.
_SLOTS_MAPPED = 32


@dataclass(frozen=True)
class LiveOptions:
    """max_vcpus is how many vCPUs have a slot at a time; lpt_symbol the function that updates LPT.

    A VM that ended stays in snapshots for grace_seconds.
    """

    max_vcpus: int = 512
    lpt_symbol: str = LPT_SYMBOL
    grace_seconds: float = 300.0


def attach_plan(options: LiveOptions) -> tuple[HostFacts, Plan]:
    """Facts of this host and the plan for it; raises what check_host raises."""
    facts = probe_host(symbols_wanted(options.lpt_symbol))
    check_host(facts)
    return facts, make_plan(facts, options.max_vcpus, options.lpt_symbol)


def explain_outcomes(attachment: Attachment, facts: HostFacts) -> tuple[Probe, ...]:
    """Every probe with, where it sees nothing, the reason."""
    return tuple(
        Probe(o.probe.name, True)
        if o.attached and can_fire(o.probe, facts)
        else Probe(o.probe.name, False, explain(o.probe, o.code, o.detail, facts))
        for o in attachment.outcomes
    )


def _warnings(specs: list[ProbeSpec], missing: dict[str, str], facts: HostFacts) -> tuple[str, ...]:
    said = [
        f"{missing[spec.name]}: continuing without it, {spec.without}"
        for spec in specs
        if spec.name in missing
    ]
    tracefs = facts["tracefs"]
    if tracefs.state == NO:
        said.append(f"tracefs is {tracefs.detail}; {tracefs.advice}")
    # Two probes on one function say the same.
    return tuple(dict.fromkeys(said))


class LiveSource:
    """The counters of this host's VMs, counted from entering to leaving the context."""

    def __init__(self, options: LiveOptions = LiveOptions()) -> None:
        """Nothing is attached before the context is entered."""
        self._options = options
        self._ended: list[tuple[float, VmCounters, tuple[VcpuCounters, ...]]] = []
        self._last_whole: dict[int, tuple[bytes, VcpuCounters]] = {}
        self._events: deque[Event] = deque(maxlen=_MAX_EVENTS)
        self._torn = 0
        self.probes: tuple[Probe, ...] = ()
        self.warnings: tuple[str, ...] = ()

    def __enter__(self) -> LiveSource:
        """Attach. LpttraceError says why nothing can be measured; warnings say what cannot."""
        facts, plan = attach_plan(self._options)
        self._attachment = Attachment(plan)
        try:
            self._open(facts)
        except BaseException:
            self._attachment.close()
            raise
        return self

    def _open(self, facts: HostFacts) -> None:
        self.probes = explain_outcomes(self._attachment, facts)
        missing = {probe.name: probe.reason for probe in self.probes if not probe.attached}
        specs = [outcome.probe for outcome in self._attachment.outcomes]
        for spec in specs:
            if spec.essential and spec.name in missing:
                raise HostError(f"cannot measure traps: {missing[spec.name]}; {spec.without}")
        self.warnings = _warnings(specs, missing, facts)
        self._sees_lpt = not any(name in missing for name in LPT_PROBES)
        self._sees_calls = not any(name in missing for name in CALL_PROBES)
        self._counter_hz = facts.counter_hz
        maps, entries = self._attachment.maps, self._options.max_vcpus
        self._slots = MappedArray(maps["slots"], abi.Slot, entries, _SLOTS_MAPPED)
        self._vms = MappedArray(maps["vms"], abi.Vm, entries)
        self._losses = MappedArray(maps["losses"], abi.Losses, 1)
        self._room = MappedArray(maps["room"], abi.Room, 1)

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Detach everything."""
        for mapped in (self._slots, self._vms, self._losses, self._room):
            mapped.close()
        self._attachment.close()

    def read(self) -> Snapshot:
        """The counters of now; frees the slots of VMs that ended and keeps their last counts."""
        start = time.monotonic_ns()
        self._ended = [entry for entry in self._ended if entry[0] > time.monotonic()]
        # First who is alive, then the counts: what is dead by now counts no more.
        vms = {vm.key.index: vm for vm in self._read_vms()}
        slots = {index: vcpu for index, vcpu in self._read_slots(vms)}
        self._read_events({index: vm.key for index, vm in vms.items()})
        for vm in vms.values():
            if not vm.alive:
                self._bury(vm, {i: v for i, v in slots.items() if v.vm == vm.key})
        alive = tuple(vm for vm in vms.values() if vm.alive)
        running = tuple(v for v in slots.values() if vms[v.vm.index].alive)
        return Snapshot(
            start,
            time.monotonic_ns(),
            alive + tuple(vm for _, vm, _ in self._ended),
            running + tuple(vcpu for _, _, vcpus in self._ended for vcpu in vcpus),
            self.probes,
            self._read_losses(),
            tuple(self._events),
            self._counter_hz,
        )

    def _read_vms(self) -> Iterator[VmCounters]:
        for index in range(self._vms.entries):
            state = self._vms.u32(index, "state")
            if state == _STATE["free"]:
                continue
            head = self._vms.copy(index, 0, abi.Vm.sequence.offset)
            whole = self._vms.stable(index)
            if whole is None:
                continue
            vm = abi.Vm.from_buffer_copy(head + whole)
            yield VmCounters(
                VmKey(index, vm.seen_ns),
                vm.tgid,
                state == _STATE["alive"] and self._process_lives(vm),
                decode_lpt(vm) if self._sees_lpt else None,
                decode_calls(vm) if self._sees_calls else None,
            )

    def _process_lives(self, vm: abi.Vm) -> bool:
        # Also where kvm_arch_destroy_vm is probed: a kprobe may miss (bpf_prog_active is taken).
        if Path(f"/proc/{vm.tgid}").exists():
            return True
        delete(self._attachment.maps["kvms"], int(vm.kvm).to_bytes(8, sys.byteorder))
        return False

    def _read_slots(self, vms: dict[int, VmCounters]) -> Iterator[tuple[int, VcpuCounters]]:
        for index in range(self._slots.entries):
            if self._slots.u32(index, "state") != _STATE["alive"]:
                continue
            head = self._slots.copy(index, 0, _SLOT_HEAD)
            slot = abi.SlotHead.from_buffer_copy(head)
            vm = vms.get(slot.vm)
            if vm is None or vm.key.seen_ns > slot.taken_ns:
                continue
            if not self._read_slot(index, slot, vm.key):
                self._torn += 1
            if index in self._last_whole:
                yield index, self._last_whole[index][1]

    def _read_slot(self, index: int, slot: abi.SlotHead, vm: VmKey) -> bool:
        before = self._last_whole.get(index)
        counts = self._slots.stable(index, COUNTS_END)
        if counts is None:
            return False
        if before and before[0] == counts and before[1].tid == slot.tid:
            return True
        read = partial(self._slots.copy, index)
        vcpu = decode_vcpu(slot, vm, counts, read, before[1] if before else None)
        if vcpu is None:
            return False
        self._last_whole[index] = counts, vcpu
        return True

    def _read_events(self, vms: dict[int, VmKey]) -> None:
        fd, found = self._attachment.maps["events"], []
        old = time.monotonic_ns() - _EVENT_WAITS_NS
        for key in keys(fd, sizeof(abi.EventKey)):
            value = lookup(fd, key, sizeof(abi.Event))
            event = decode_event(key, value, vms) if value else None
            if event:
                found.append(event)
            # Its VM may be newer than this reading's VMs: then it waits for the next.
            if event or abi.EventKey.from_buffer_copy(key).ns < old:
                delete(fd, key)
        self._events.extend(sorted(found, key=lambda event: event.ns))

    def _bury(self, vm: VmCounters, slots: dict[int, VcpuCounters]) -> None:
        expiry = time.monotonic() + self._options.grace_seconds
        self._ended.append((expiry, vm, tuple(slots.values())))
        maps = self._attachment.maps
        for index, vcpu in slots.items():
            tid = vcpu.tid.to_bytes(4, sys.byteorder)
            if lookup_u32(maps["tids"], tid) == index:
                delete(maps["tids"], tid)
            delete(maps["vcpus"], struct.pack("=II", vm.key.index, vcpu.vcpu))
            self._slots.clear(index)
            self._last_whole.pop(index, None)
            insert(maps["free_slots"], index)
        room = abi.Room.from_buffer_copy(self._room.copy(0))
        self._room.write_u64(0, room.freed + len(slots))
        if self._refusals():
            self._forget_refused(vm.key.index)
        self._vms.clear(vm.key.index)
        push(maps["free_vms"], vm.key.index)

    def _forget_refused(self, vm_index: int) -> None:
        # What remembers that a vCPU got no slot: of this VM, whose index is somebody else's next,
        # and threads that are gone.
        maps = self._attachment.maps
        for key in keys(maps["vcpus"], 8):
            if struct.unpack_from("=I", key)[0] == vm_index:
                delete(maps["vcpus"], key)
        for tid in keys(maps["tids"], 4):
            if not Path(f"/proc/{int.from_bytes(tid, sys.byteorder)}").exists():
                delete(maps["tids"], tid)

    def _refusals(self) -> int:
        losses = self._read_losses()
        return losses["no_slot"] + losses["no_vm"] + losses["not_remembered"]

    def _read_losses(self) -> dict[str, int]:
        losses = abi.Losses.from_buffer_copy(self._losses.copy(0))
        counts = {name: int(getattr(losses, name)) for name in field_names(losses)}
        return {**counts, "torn": self._torn}
