# SPDX-License-Identifier: GPL-2.0-only
"""From the bytes of the maps to counters. Pure."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Optional, Protocol

from lpttrace import abi
from lpttrace.abi import TrapClass
from lpttrace.snapshot import (
    Account,
    Answers,
    Calls,
    Event,
    Histogram,
    Interrupts,
    LptStructure,
    LptUpdates,
    Stolen,
    Trap,
    VcpuCounters,
    VmKey,
)

__all__ = [
    "COUNTS_END",
    "Reader",
    "decode_calls",
    "decode_event",
    "decode_histogram",
    "decode_lpt",
    "decode_vcpu",
    "field_names",
]

COUNTS_END = abi.Slot.late.offset
"""Where the counts of a slot end and its histograms begin."""

_BEGIN = abi.Slot.sequence.offset
_CELL_WORDS = 2 * len(abi.OUTCOMES)
_LOW_BYTES = abi.Histogram.low.size
_ODD_LANES = 64 * (abi.BUCKETS // 2)
_EVEN = int.from_bytes(b"\xff\xff\xff\xff\0\0\0\0" * (abi.BUCKETS // 2), "little")
_NO_HIGH = bytes(abi.Histogram.high.size)
_HISTOGRAM = ctypes.sizeof(abi.Histogram)
_ACCOUNT_BYTES = ctypes.sizeof(abi.Account)
_CELL_BYTES = ctypes.sizeof(abi.Cell)
_CELLS = abi.Slot.cells.offset
_LATENESS = abi.Slot.lateness.offset
_SERVICE = abi.Slot.service.offset
_LATE = abi.Slot.late.offset
_NEVER = Account()
_ATTEMPTS = 200


class Reader(Protocol):
    """Reads parts of a slot, as they are."""

    def __call__(self, begin: int, end: int) -> bytes:
        """From begin to end, in bytes of the slot."""

    def wait(self) -> None:
        """What was read does not add up: its writer is in the middle, and may be stopped there."""


def field_names(layout: ctypes.Structure) -> list[str]:
    """The fields of a ctypes structure."""
    return [field[0] for field in layout._fields_]


def decode_histogram(raw: bytes) -> Histogram:
    """A struct lpt_histogram, as the kernel of a little-endian machine wrote it."""
    low = int.from_bytes(raw[:_LOW_BYTES], "little")
    lanes = (low & _EVEN) | (low >> 32 & _EVEN) << _ODD_LANES
    if raw[_LOW_BYTES:] != _NO_HIGH:
        high = memoryview(raw)[_LOW_BYTES:].cast("H").tolist()
        lanes += Histogram.of(high).lanes << 32
    return Histogram(lanes)


def decode_vcpu(
    slot: abi.SlotHead, vm: VmKey, counts: bytes, read: Reader, before: Optional[VcpuCounters]
) -> Optional[VcpuCounters]:
    """One vCPU from its slot; counts is the slot from `sequence` to COUNTS_END.

    What has changed since `before` is read again together with its histogram, so that the writer
    need not pause for longer than that takes. None if it never did.
    """
    whole = abi.Slot.from_buffer_copy(bytes(_BEGIN) + counts + bytes(_TAIL))
    traps = _traps(counts, whole.pending, read, before.traps if before else {})
    late = _late(whole.lateness, read, before)
    if traps is None or late is None:
        return None
    lateness, histogram = late
    unknown = any(cls.name == "unknown" for cls in traps)
    return VcpuCounters(
        vm,
        slot.vcpu_id,
        slot.tid,
        traps,
        whole.unpaired,
        whole.last_unknown if unknown else None,
        _interrupts(whole),
        lateness,
        histogram,
        _stolen(whole.stolen),
        _answers(whole),
        slot.taken_ns,
    )


_TAIL = ctypes.sizeof(abi.Slot) - COUNTS_END


def _account(account: abi.Account) -> Account:
    return Account(account.count, account.ns) if account.count else _NEVER


def _traps(
    counts: bytes, pending: int, read: Reader, before: Mapping[TrapClass, Trap]
) -> Optional[dict[TrapClass, Trap]]:
    words = memoryview(counts)[abi.Slot.cells.offset - _BEGIN :].cast("Q").tolist()
    traps = {}
    for index, trap_class in enumerate(abi.CLASSES):
        cell = words[index * _CELL_WORDS : (index + 1) * _CELL_WORDS]
        waiting = int(pending == index != abi.NO_CLASS)
        if not waiting and not any(cell):
            continue
        trap = _trap(cell, waiting, index, read, before.get(trap_class))
        if trap is None:
            return None
        traps[trap_class] = trap
    return traps


def _trap(
    cell: list[int], pending: int, index: int, read: Reader, before: Optional[Trap]
) -> Optional[Trap]:
    if before is not None and before.served.count == cell[0]:
        service, served = before.service, before.served
    else:
        at = _CELLS + index * _CELL_BYTES
        found = _with_histogram(at, at + _CELL_BYTES, _SERVICE + index * _HISTOGRAM, read)
        if found is None:
            return None
        now, service = found
        # The one that was being served may be among them by now.
        pending = pending if now[::2] == cell[::2] else 0
        cell, served = now, Account(now[0], now[1])
    _, _, out, out_ns, user, user_ns = cell
    apart = Account(out, out_ns) if out else _NEVER
    return Trap(served, apart, Account(user, user_ns) if user else _NEVER, pending, service)


def _with_histogram(
    begin: int, end: int, histogram: int, read: Reader
) -> Optional[tuple[list[int], Histogram]]:
    # Accounts and the histogram of the first of them, of one moment; None if the writer never
    # paused for so long. It counts into the account first and into the histogram last: if the
    # accounts are the same before and after, and add up to the histogram, it was not at these.
    for _ in range(_ATTEMPTS):
        accounts, raw = read(begin, end), read(histogram, histogram + _HISTOGRAM)
        if accounts != read(begin, end):
            continue
        words, counted = memoryview(accounts).cast("Q").tolist(), decode_histogram(raw)
        if counted.total() == words[0]:
            return words, counted
        read.wait()
    return None


def _late(
    lateness: abi.Account, read: Reader, before: Optional[VcpuCounters]
) -> Optional[tuple[Account, Histogram]]:
    if lateness.count == (before.lateness.count if before else 0):
        return (before.lateness, before.late) if before else (_NEVER, Histogram())
    found = _with_histogram(_LATENESS, _LATENESS + _ACCOUNT_BYTES, _LATE, read)
    return (Account(*found[0]), found[1]) if found else None


def _interrupts(whole: abi.Slot) -> dict[str, Interrupts]:
    return {
        timer: Interrupts(counts.delivered, counts.overdue)
        for timer, counts in zip(abi.TIMERS, whole.interrupts)
        if counts.delivered
    }


def _stolen(stolen: abi.Stolen) -> Optional[Stolen]:
    updates = _account(stolen.updates)
    return Stolen(updates, stolen.stolen_ns) if updates.count else None


def _answers(whole: abi.Slot) -> dict[str, Answers]:
    return {
        question: Answers(a.asked, a.refused, ctypes.c_int64(a.last).value)
        for question, a in zip(abi.QUESTIONS, whole.answers)
        if a.asked
    }


def decode_lpt(vm: abi.Vm) -> LptUpdates:
    """The LPT part of a struct lpt_vm."""
    accounts = {
        name: Account(account.count, account.ns)
        for name, account in zip(abi.UPDATE_RESULTS, vm.updates)
        if account.count
    }
    nothing = accounts.pop("nothing", _NEVER).count
    published = _structure(vm.published) if vm.published_ns else None
    # What is in memory in which no host has published anything before is no structure.
    before = _structure(vm.previous)
    previous = before if before.runs else None
    return LptUpdates(accounts, nothing, vm.last_error, published, vm.published_ns, previous)


def _structure(structure: abi.Structure) -> LptStructure:
    return LptStructure(**{name: int(getattr(structure, name)) for name in field_names(structure)})


def decode_calls(vm: abi.Vm) -> dict[str, Calls]:
    """Calls about attributes of a struct lpt_vm, by kind; those never made are absent."""
    return {
        kind: Calls(calls.done, calls.failed)
        for kind, calls in zip(abi.CALLS, vm.calls)
        if calls.done or calls.failed
    }


def decode_event(key: bytes, value: bytes, vms: Mapping[int, VmKey]) -> Optional[Event]:
    """A struct lpt_event; None if its VM is not among vms, which is by index."""
    k, event = abi.EventKey.from_buffer_copy(key), abi.Event.from_buffer_copy(value)
    vm = vms.get(event.vm)
    if vm is None or vm.seen_ns > k.ns or k.kind >= len(abi.EVENT_KINDS):
        return None
    kind = abi.EVENT_KINDS[k.kind]
    if kind == "update":
        old, new = event.value >> 32, event.value & 0xFFFFFFFF
        return Event(k.ns, vm, kind, event.error, old_hz=old, new_hz=new if event.has_value else 0)
    told = event.value if event.has_value else None
    return Event(k.ns, vm, kind, event.error, event.group, event.attribute, told)
