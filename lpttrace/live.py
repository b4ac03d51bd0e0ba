# SPDX-License-Identifier: GPL-2.0-only
"""The running kernel as a Source: attach, read the maps, give back what dead VMs leave."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from ctypes import sizeof
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Callable, Optional

from lpttrace import abi
from lpttrace.attach import LEDGER, Attached, Attachment, Outcome
from lpttrace.catalog import CALL_PROBES, LPT_PROBES
from lpttrace.decode import (
    COUNTS_END,
    decode_calls,
    decode_lpt,
    decode_vcpu,
    field_names,
)
from lpttrace.errors import HostError
from lpttrace.host import NO, HostFacts, probe_host
from lpttrace.keep import GONE, Keeper
from lpttrace.live_ended import AT_LEAST, Ended
from lpttrace.live_events import Events
from lpttrace.live_programs import ProgramClock
from lpttrace.live_records import Records
from lpttrace.live_space import Space
from lpttrace.maps import MappedArray, delete
from lpttrace.maps_ledger import Ledger
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
from lpttrace.snapshot import Probe, Snapshot, VcpuCounters, VmCounters, VmKey
from lpttrace.snapshot_upkeep import Room, Upkeep

__all__ = ["LiveOptions", "LiveSource", "attach_plan", "explain_outcomes"]

_SLOT_HEAD = sizeof(abi.SlotHead)
_STATE = {name: value for value, name in enumerate(abi.STATES)}
_IMPATIENT = 20
_WAIT_SECONDS = 0.0002
# While others read beside us: how long dead VMs stay for them, if there is room.
_DYING_SECONDS = 2.5
# A slot is 61 KiB: 2 MiB at a time.
_SLOTS_MAPPED = 32


@dataclass(frozen=True)
class LiveOptions:
    """max_vcpus is how many vCPUs have a slot at a time; lpt_symbol the function that updates LPT.

    A VM that ended stays in snapshots for grace_seconds, unless then there were more than max_vcpus
    (or AT_LEAST) of such VMs, or of their vCPUs. With bpf_stats the kernel times the programs, and
    all others of the host.
    """

    max_vcpus: int = 512
    lpt_symbol: str = LPT_SYMBOL
    grace_seconds: float = 300.0
    bpf_stats: bool = False


def attach_plan(options: LiveOptions) -> tuple[HostFacts, Plan]:
    """Facts of this host and the plan for it; raises what check_host raises."""
    facts = probe_host(symbols_wanted(options.lpt_symbol))
    check_host(facts)
    return facts, make_plan(facts, options.max_vcpus, options.lpt_symbol)


def explain_outcomes(attachment: Attached, plan: Plan, facts: HostFacts) -> tuple[Probe, ...]:
    """Every probe of the plan with, where it sees nothing, the reason."""
    outcomes = {outcome.probe.name: outcome for outcome in attachment.outcomes}
    return tuple(_explained(spec, outcomes.get(spec.name), plan, facts) for spec in plan.specs)


def _explained(spec: ProbeSpec, outcome: Optional[Outcome], plan: Plan, facts: HostFacts) -> Probe:
    if spec.name in plan.left_out:
        return Probe(spec.name, False, plan.left_out[spec.name])
    if spec.kind == "memory":
        return Probe(spec.name, True)
    if outcome is None:
        return Probe(spec.name, False, "it was left out when the others were attached")
    if outcome.attached and can_fire(spec, facts):
        return Probe(spec.name, True)
    if outcome.detail == GONE:
        return Probe(spec.name, False, f"{spec.kind} {spec.target} {GONE}")
    return Probe(spec.name, False, explain(spec, outcome.code, outcome.detail, facts))


def _warnings(
    specs: Sequence[ProbeSpec], missing: dict[str, str], facts: HostFacts
) -> tuple[str, ...]:
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


class _PatientReader:
    # Reads parts of a slot. What does not add up again and again is of a writer whose CPU was taken
    # in the middle, by a hypervisor under this host: it is waited for.

    def __init__(self, copy: Callable[[int, int], bytes]) -> None:
        self._copy = copy
        self._waits = 0

    def __call__(self, begin: int, end: int) -> bytes:
        return self._copy(begin, end)

    def wait(self) -> None:
        self._waits += 1
        if self._waits > _IMPATIENT:
            time.sleep(_WAIT_SECONDS)


class LiveSource:
    """The counters of this host's VMs, counted from entering to leaving the context.

    With a keeper they go on where an agent before has left them, and stay when this one ends.
    """

    _owns = True

    def __init__(
        self, options: LiveOptions = LiveOptions(), keeper: Optional[Keeper] = None
    ) -> None:
        """Nothing is attached before the context is entered, which must be within the keeper's."""
        self._options = options
        self._keeper = keeper
        self._dying: dict[VmKey, float] = {}
        self._ended = Ended(options.grace_seconds, max(options.max_vcpus, AT_LEAST))
        self._last_whole: dict[int, tuple[bytes, VcpuCounters]] = {}
        self._retired: dict[VmKey, list[VcpuCounters]] = {}
        self._torn = self._slots_used = 0
        self._clock: Optional[ProgramClock] = None
        self.probes: tuple[Probe, ...] = ()
        self.warnings: tuple[str, ...] = ()

    def __enter__(self) -> LiveSource:
        """Attach. LpttraceError says why nothing can be measured; warnings say what cannot."""
        facts, plan = attach_plan(self._options)
        self._begin_ns = time.monotonic_ns()
        self._attachment, fresh = self._obtain(plan)
        try:
            self._open(plan, facts)
            self._begin(fresh)
            if self._options.bpf_stats:
                self._clock = ProgramClock(self._attachment.programs)
        except BaseException:
            self._attachment.close()
            raise
        return self

    def _obtain(self, plan: Plan) -> tuple[Attached, Optional[Attachment]]:
        # The second is what has just been attached and may be kept.
        kept = self._keeper.take_over() if self._keeper else None
        if kept:
            self._begin_ns = kept.about.attached_ns
            return kept, None
        attachment = Attachment(plan)
        return attachment, attachment

    def _begin(self, fresh: Optional[Attachment]) -> None:
        if self._keeper is None:
            return
        if fresh is None:
            self._space.mend()
        else:
            self._keeper.keep(fresh, self._begin_ns)
        self.warnings = (*self._keeper.said, *self.warnings)

    def _open(self, plan: Plan, facts: HostFacts) -> None:
        self.probes = explain_outcomes(self._attachment, plan, facts)
        missing = {probe.name: probe.reason for probe in self.probes if not probe.attached}
        for spec in plan.specs:
            if spec.essential and spec.name in missing:
                raise HostError(f"cannot measure traps: {missing[spec.name]}; {spec.without}")
        self.warnings = _warnings(plan.specs, missing, facts)
        self._sees_lpt = not any(name in missing for name in LPT_PROBES)
        self._sees_calls = not any(name in missing for name in CALL_PROBES)
        self._counter_hz = facts.counter_hz
        maps, entries = self._attachment.maps, self._options.max_vcpus
        self._slots = MappedArray(maps["slots"], abi.Slot, entries, _SLOTS_MAPPED)
        self._vms = MappedArray(maps["vms"], abi.Vm, entries)
        self._losses = MappedArray(maps["losses"], abi.Losses, 1)
        self._space = Space(maps, self._slots, self._vms)
        self._ledger = Ledger(maps[LEDGER])
        self._records = Records(self._vms, self._ledger if self._owns else None)
        self._events = Events(maps["events"])

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Detach everything that is not kept."""
        for mapped in (self._slots, self._vms, self._losses, self._space, self._ledger):
            mapped.close()
        if self._clock:
            self._clock.close()
        self._attachment.close()

    def read(self) -> Snapshot:
        """The counters of now; frees the slots of VMs that ended and keeps their last counts."""
        start = time.monotonic_ns()
        self._ended.expire()
        # First who is alive, then the counts: what is dead by now counts no more.
        vms = {vm.key.index: vm for vm in self._read_vms()}
        slots = {index: vcpu for index, vcpu in self._read_slots(vms)}
        self._read_events({index: vm.key for index, vm in vms.items()})
        for vm in [vm for vm in vms.values() if not vm.alive and self._may_bury(vm.key)]:
            self._bury(vm, {i: slots.pop(i) for i, v in [*slots.items()] if v.vm == vm.key})
            del vms[vm.key.index]
        alive = tuple(vms.values())
        present = {vm.key for vm in alive}
        running = tuple(v for key, gone in self._retired.items() if key in present for v in gone)
        running += tuple(slots.values())
        self._note(alive, running)
        return Snapshot(
            start,
            time.monotonic_ns(),
            alive + self._ended.vms,
            running + self._ended.vcpus,
            self.probes,
            self._read_losses(),
            tuple(self._events.last),
            self._counter_hz,
            self._upkeep(),
        )

    def _note(self, vms: Sequence[VmCounters], vcpus: Sequence[VcpuCounters]) -> None:
        # Those that have not ended, before the snapshot of them is made: for who reads beside.
        pass

    def _upkeep(self) -> Upkeep:
        return Upkeep(
            self._begin_ns,
            self._attachment.bcc,
            Room(self._slots_used, self._slots.entries),
            Room(self._records.used, self._vms.entries),
            self._clock.read() if self._clock else (),
        )

    def _read_vms(self) -> Iterator[VmCounters]:
        for index, vm in self._records.read():
            yield VmCounters(
                VmKey(index, vm.seen_ns),
                vm.tgid,
                vm.state == _STATE["alive"] and self._process_lives(vm),
                decode_lpt(vm) if self._sees_lpt else None,
                decode_calls(vm) if self._sees_calls else None,
                vm.number,
            )

    def _process_lives(self, vm: abi.Vm) -> bool:
        # Also where kvm_arch_destroy_vm is probed: a kprobe may miss (bpf_prog_active is taken).
        if Path(f"/proc/{vm.tgid}").exists():
            return True
        self._forget_kvm(int(vm.kvm))
        return False

    def _forget_kvm(self, kvm: int) -> None:
        delete(self._attachment.maps["kvms"], kvm.to_bytes(8, sys.byteorder))

    def _read_slots(self, vms: dict[int, VmCounters]) -> Iterator[tuple[int, VcpuCounters]]:
        self._slots_used = 0
        for index in range(self._slots.entries):
            if self._slots.u32(index, "state") != _STATE["alive"]:
                self._retire(index)
                continue
            self._slots_used += 1
            head = self._slots.copy(index, 0, _SLOT_HEAD)
            slot = abi.SlotHead.from_buffer_copy(head)
            vm = vms.get(slot.vm)
            if vm is None or vm.key.seen_ns > slot.taken_ns:
                continue
            if index in self._last_whole and self._last_whole[index][1].seen_ns != slot.taken_ns:
                self._retire(index)
            if not self._read_slot(index, slot, vm.key):
                self._torn += 1
            if index in self._last_whole:
                yield index, self._last_whole[index][1]

    def _retire(self, index: int) -> None:
        # The slot is not this vCPU's any more, but its VM lives: what it counted stays.
        if index in self._last_whole:
            vcpu = self._last_whole.pop(index)[1]
            self._retired.setdefault(vcpu.vm, []).append(vcpu)

    def _read_slot(self, index: int, slot: abi.SlotHead, vm: VmKey) -> bool:
        before = self._last_whole.get(index)
        counts = self._slots.stable(index, COUNTS_END)
        if counts is None:
            return False
        if before and before[0] == counts and before[1].tid == slot.tid:
            return True
        read = _PatientReader(partial(self._slots.copy, index))
        vcpu = decode_vcpu(slot, vm, counts, read, before[1] if before else None)
        if vcpu is None:
            return False
        self._last_whole[index] = counts, vcpu
        return True

    def _read_events(self, vms: dict[int, VmKey]) -> None:
        self._events.read(vms)
        if self._owns:
            self._events.drop(self._shared())
            self._ledger.lose_events(self._events.lost)
            self._events.lost = 0

    def _shared(self) -> bool:
        return self._keeper is not None and self._keeper.read_by_others()

    def _may_bury(self, key: VmKey) -> bool:
        # Others who look must see its last counts, too, as long as there is room.
        since = self._dying.setdefault(key, time.monotonic())
        if not self._shared() or time.monotonic() - since > _DYING_SECONDS:
            return True
        return 2 * self._space.free_slots() < self._slots.entries

    def _bury(self, vm: VmCounters, slots: dict[int, VcpuCounters]) -> None:
        self._ended.add(vm, (*slots.values(), *self._retired.pop(vm.key, [])))
        self._dying.pop(vm.key, None)
        for index in slots:
            self._last_whole.pop(index, None)
        losses = self._read_losses()
        refused = losses["no_slot"] + losses["no_vm"] + losses["not_remembered"]
        self._space.give_back(vm.key.index, slots, refused > 0)

    def _read_losses(self) -> dict[str, int]:
        losses = abi.Losses.from_buffer_copy(self._losses.copy(0))
        counts = {name: int(getattr(losses, name)) for name in field_names(losses)}
        counts["events"] += self._ledger.lost_events + self._events.lost
        torn = self._torn + self._records.torn
        return {**counts, "torn": torn, "gone_early": self._ended.let_go}
