# SPDX-License-Identifier: GPL-2.0-only
"""decode.py: from slots, VM records and events as the kernel lays them out to counters."""

from __future__ import annotations

import ctypes
from typing import Optional

import pytest

from lpttrace import abi
from lpttrace.decode import (
    COUNTS_END,
    decode_calls,
    decode_event,
    decode_histogram,
    decode_lpt,
    decode_vcpu,
)
from lpttrace.snapshot import (
    Account,
    Answers,
    Calls,
    Event,
    Histogram,
    Interrupts,
    LptStructure,
    Stolen,
    Trap,
    VcpuCounters,
    VmKey,
)

VM = VmKey(4, 1_000)
VERSION = abi.CLASSES.index(abi.TrapClass("hypercall", "psci_version", ""))
CTL_WRITE = abi.CLASSES.index(abi.TrapClass("timer", "cntp_ctl_el0", "write"))
LAST = len(abi.CLASSES) - 1
SEQUENCE = abi.Slot.sequence.offset


class Reader:
    """Reads parts of a slot, and notes which."""

    def __init__(self, slot: abi.Slot) -> None:
        self.slot = slot
        self.asked: list[tuple[int, int]] = []

    def __call__(self, begin: int, end: int) -> bytes:
        self.asked.append((begin, end))
        return bytes(self.slot)[begin:end]

    def wait(self) -> None:
        """Nothing writes."""


def try_decode(
    slot: abi.Slot, before: Optional[VcpuCounters] = None, reader: Optional[Reader] = None
) -> Optional[VcpuCounters]:
    data = bytes(slot)
    head = abi.SlotHead.from_buffer_copy(data)
    return decode_vcpu(head, VM, data[SEQUENCE:COUNTS_END], reader or Reader(slot), before)


def decode(
    slot: abi.Slot, before: Optional[VcpuCounters] = None, reader: Optional[Reader] = None
) -> VcpuCounters:
    vcpu = try_decode(slot, before, reader)
    assert vcpu is not None
    return vcpu


def serve(slot: abi.Slot, index: int, buckets: dict[int, int], ns: int = 100) -> None:
    """As close_trap() counts: so many in each bucket, each of them so long."""
    account = slot.cells[index].by_outcome[0]
    for bucket, count in buckets.items():
        account.count += count
        account.ns += ns * count
        whole = slot.service[index].low[bucket] + count
        slot.service[index].low[bucket] = whole & 0xFFFFFFFF
        slot.service[index].high[bucket] += whole >> 32


def histogram(buckets: dict[int, int]) -> Histogram:
    return Histogram.of([buckets.get(bucket, 0) for bucket in range(abi.BUCKETS)])


def served_slot() -> abi.Slot:
    slot = abi.Slot(vcpu_id=3, tid=77)
    serve(slot, VERSION, {9: 5})
    serve(slot, CTL_WRITE, {0: 1, 20: 2, abi.BUCKETS - 1: 1})
    slot.lateness = abi.Account(2, 9_000)
    slot.late.low[30] = 2
    return slot


def test_an_untouched_slot_has_nothing() -> None:
    reader = Reader(abi.Slot(vcpu_id=3, tid=77))
    assert decode(reader.slot, reader=reader) == VcpuCounters(VM, 3, 77, {})
    assert reader.asked == []


def test_traps_by_outcome() -> None:
    slot = abi.Slot(vcpu_id=3, tid=77, pending=CTL_WRITE, unpaired=2, last_unknown=9)
    serve(slot, VERSION, {9: 5})
    slot.cells[VERSION].by_outcome[1] = abi.Account(4, 70)
    slot.cells[VERSION].by_outcome[2] = abi.Account(1, 90)
    vcpu = decode(slot)
    assert (vcpu.vcpu, vcpu.tid, vcpu.unpaired, vcpu.last_unknown) == (3, 77, 2, None)
    times = histogram({9: 5})
    assert vcpu.traps == {
        abi.CLASSES[VERSION]: Trap(Account(5, 500), Account(4, 70), Account(1, 90), 0, times),
        abi.CLASSES[CTL_WRITE]: Trap(pending=1),
    }
    assert [trap.count for trap in vcpu.traps.values()] == [10, 1]


def test_the_last_class_and_the_last_bucket() -> None:
    slot = abi.Slot()
    serve(slot, LAST, {abi.BUCKETS - 1: 7})
    assert decode(slot).traps == {
        abi.CLASSES[LAST]: Trap(Account(7, 700), service=histogram({abi.BUCKETS - 1: 7}))
    }


def test_an_unknown_function_is_named_by_its_id() -> None:
    slot = abi.Slot(last_unknown=0x12345678)
    serve(slot, abi.HVC_UNKNOWN, {3: 1})
    assert decode(slot).last_unknown == 0x12345678


@pytest.mark.parametrize("bucket", [0, 1, 2, 57, abi.BUCKETS - 2, abi.BUCKETS - 1])
@pytest.mark.parametrize("count", [1, 0xFFFFFFFF, 0x1_0000_0000, 0xFFFF_FFFF_FFFF])
def test_a_count_of_a_histogram_has_48_bits(bucket: int, count: int) -> None:
    raw = abi.Histogram()
    raw.low[bucket], raw.high[bucket] = count & 0xFFFFFFFF, count >> 32
    raw.low[40] = 5
    assert decode_histogram(bytes(raw)).counts() == [
        count if b == bucket else 5 if b == 40 else 0 for b in range(abi.BUCKETS)
    ]


def test_a_histogram_with_every_bucket_full_adds_up() -> None:
    raw = abi.Histogram((0xFFFFFFFF,) * abi.BUCKETS, (0xFFFF,) * abi.BUCKETS)
    decoded = decode_histogram(bytes(raw))
    assert decoded.counts() == [0xFFFF_FFFF_FFFF] * abi.BUCKETS
    assert decoded.total() == 0xFFFF_FFFF_FFFF * abi.BUCKETS


def test_a_histogram_beyond_32_bits_belongs_to_its_count() -> None:
    slot = abi.Slot()
    serve(slot, VERSION, {4: 0x1_0000_0003})
    trap = decode(slot).traps[abi.CLASSES[VERSION]]
    assert trap.service.total() == trap.served.count == 0x1_0000_0003


@pytest.mark.parametrize("change", [-1, 1])
def test_a_histogram_that_does_not_belong_to_the_counts(change: int) -> None:
    slot = served_slot()
    slot.service[CTL_WRITE].low[20] += change
    assert try_decode(slot) is None


@pytest.mark.parametrize("change", [-1, 1])
def test_lateness_that_does_not_belong_to_the_counts(change: int) -> None:
    slot = served_slot()
    slot.late.low[30] += change
    assert try_decode(slot) is None


def test_what_did_not_change_is_not_read_again() -> None:
    slot = served_slot()
    before, reader = decode(slot), Reader(slot)
    slot.cells[VERSION].by_outcome[1] = abi.Account(1, 50)
    after = decode(slot, before, reader)
    assert reader.asked == []
    assert after.late is before.late
    for trap_class, trap in after.traps.items():
        assert trap.service is before.traps[trap_class].service
    assert after.traps[abi.CLASSES[VERSION]].scheduled_out == Account(1, 50)


def test_only_what_changed_is_read_again() -> None:
    slot = served_slot()
    before, reader = decode(slot), Reader(slot)
    serve(slot, CTL_WRITE, {20: 1})
    after = decode(slot, before, reader)
    size = ctypes.sizeof(abi.Histogram)
    at = abi.Slot.service.offset + CTL_WRITE * size
    assert [asked for asked in reader.asked if asked[0] >= abi.Slot.late.offset] == [
        (at, at + size)
    ]
    assert after == decode(slot)


def test_new_lateness_is_read() -> None:
    slot = served_slot()
    before, reader = decode(slot), Reader(slot)
    slot.lateness = abi.Account(3, 9_500)
    slot.late.low[31] = 1
    after = decode(slot, before, reader)
    at = abi.Slot.late.offset
    asked = [asked for asked in reader.asked if asked[0] >= abi.Slot.late.offset]
    assert asked == [(at, at + ctypes.sizeof(abi.Histogram))]
    assert (after.lateness, after.late) == (Account(3, 9_500), histogram({30: 2, 31: 1}))


def test_interrupts_by_timer() -> None:
    slot = abi.Slot()
    slot.interrupts[0] = abi.Interrupts(10, 3)
    slot.interrupts[1] = abi.Interrupts(7, 0)
    slot.interrupts[4] = abi.Interrupts(1, 0)
    assert decode(slot).interrupts == {
        "physical": Interrupts(10, 3),
        "virtual": Interrupts(7, 0),
        "other": Interrupts(1, 0),
    }


def test_stolen_time() -> None:
    slot = abi.Slot()
    slot.stolen = abi.Stolen(abi.Account(3, 1_200), 50_000)
    assert decode(slot).stolen == Stolen(Account(3, 1_200), 50_000)


def test_an_update_that_added_no_stolen_time_is_an_update() -> None:
    slot = abi.Slot()
    assert decode(slot).stolen is None
    slot.stolen.updates = abi.Account(1, 300)
    assert decode(slot).stolen == Stolen(Account(1, 300), 0)


def test_answers() -> None:
    slot = abi.Slot()
    slot.answers[0] = abi.Answers(1, 0, 0)
    slot.answers[1] = abi.Answers(2, 2, (1 << 64) - 1)
    slot.answers[2] = abi.Answers(4, 0, 0x8000_0040)
    assert decode(slot).answers == {
        "features_st": Answers(1, 0, 0),
        "features_lpt": Answers(2, 2, -1),
        "st": Answers(4, 0, 0x8000_0040),
    }


def test_a_vm_without_lpt() -> None:
    vm = abi.Vm()
    vm.updates[0] = abi.Account(4, 400)
    lpt = decode_lpt(vm)
    assert (lpt.results, lpt.nothing, lpt.structure, lpt.previous) == ({}, 4, None, None)


def test_a_published_structure() -> None:
    vm = abi.Vm(published_ns=5, last_error=22)
    vm.published = abi.Structure(0, 0, 2, 25_000_000, 100_000_000, 1 << 63, 1 << 61, 61, 63)
    vm.updates[1] = abi.Account(1, 100)
    vm.updates[2] = abi.Account(2, 30)
    lpt = decode_lpt(vm)
    assert lpt.results == {"published": Account(1, 100), "einval": Account(2, 30)}
    assert (lpt.last_error, lpt.published_ns, lpt.previous) == (22, 5, None)
    fields = (0, 0, 2, 25_000_000, 100_000_000, 1 << 63, 1 << 61, 61, 63)
    assert lpt.structure == LptStructure(*fields)


def test_the_structure_of_the_host_before() -> None:
    vm = abi.Vm(published_ns=5)
    vm.published = abi.Structure(0, 0, 4, 25_000_000, 100_000_000, 1 << 63, 1 << 61, 61, 63)
    vm.previous = abi.Structure(1, 2, 2, 62_500_000, 100_000_000, 3, 4, 5, 6)
    assert decode_lpt(vm).previous == LptStructure(1, 2, 2, 62_500_000, 100_000_000, 3, 4, 5, 6)


def test_memory_that_no_host_has_written_is_no_structure() -> None:
    vm = abi.Vm(published_ns=5)
    vm.previous = abi.Structure(native_freq=62_500_000)
    assert decode_lpt(vm).previous is None


def test_calls_about_attributes() -> None:
    vm = abi.Vm()
    assert decode_calls(vm) == {}
    vm.calls[0] = abi.Calls(2, 1)
    vm.calls[2] = abi.Calls(0, 3)
    assert decode_calls(vm) == {"set": Calls(2, 1), "has": Calls(0, 3)}


def event_of(kind: int, event: abi.Event, ns: int = 2_000) -> Optional[Event]:
    key = abi.EventKey(ns, 77, kind)
    return decode_event(bytes(key), bytes(event), {VM.index: VM})


def test_a_call_is_an_event() -> None:
    done = abi.Event(vm=4, group=1, has_value=1, attribute=2, value=100_000_000)
    assert event_of(0, done) == Event(2_000, VM, "set_attr", 0, 1, 2, 100_000_000)
    got = abi.Event(vm=4, has_value=1, attribute=1, value=0)
    assert event_of(1, got) == Event(2_000, VM, "get_attr", 0, 0, 1, 0)
    asked = abi.Event(vm=4, error=6, attribute=1, value=5)
    assert event_of(2, asked) == Event(2_000, VM, "has_attr", 6, 0, 1, None)


@pytest.mark.parametrize(
    ("wrote", "value", "old_hz", "new_hz"),
    [
        (1, 62_500_000 << 32 | 25_000_000, 62_500_000, 25_000_000),
        (1, 25_000_000, 0, 25_000_000),
        (0, 62_500_000 << 32, 62_500_000, 0),
        # What is left of an earlier publication was not published by this update.
        (0, 62_500_000 << 32 | 25_000_000, 62_500_000, 0),
    ],
)
def test_an_update_is_an_event(wrote: int, value: int, old_hz: int, new_hz: int) -> None:
    event = event_of(3, abi.Event(vm=4, error=14, has_value=wrote, value=value))
    assert event == Event(2_000, VM, "update", 14, old_hz=old_hz, new_hz=new_hz)


def test_events_of_others_are_dropped() -> None:
    assert event_of(0, abi.Event(vm=5)) is None
    # The index was another VM's then.
    assert event_of(0, abi.Event(vm=4), ns=VM.seen_ns - 1) is None
    assert event_of(0, abi.Event(vm=4), ns=VM.seen_ns) is not None


def test_an_event_of_a_kind_that_is_not_known_is_dropped() -> None:
    assert event_of(len(abi.EVENT_KINDS), abi.Event(vm=4)) is None
