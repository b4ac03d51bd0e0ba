# SPDX-License-Identifier: GPL-2.0-only
"""live.py: reading a slot whose histograms are not in the same state as its counts."""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
import time
from typing import Callable, Optional

import pytest

from lpttrace import abi
from lpttrace.live import LiveSource
from lpttrace.maps import MappedArray
from lpttrace.snapshot import Account, VcpuCounters, VmCounters, VmKey

VM = VmKey(4, 1_000)
SEQUENCE = abi.Slot.sequence.offset
VERSION = abi.CLASSES.index(abi.TrapClass("hypercall", "psci_version", ""))
BUCKET = 9


def count_trap(slot: abi.Slot) -> None:
    """As close_all() does it, all at once."""
    slot.sequence += 2
    account = slot.cells[VERSION].by_outcome[0]
    account.count += 1
    account.ns += 1000
    slot.service[VERSION].low[BUCKET] += 1


class Slots:
    """Stands for the mapped slots; what happens around the nth reading of a part can be told."""

    entries = 1

    def __init__(self) -> None:
        self.slot = abi.Slot(vcpu_id=3, tid=77)
        self.stables = self.copies = 0
        self.before_copy: Callable[[int], None] = lambda nth: None
        self.after_copy: Callable[[int], None] = lambda nth: None
        self.never_pauses = False

    def stable(self, index: int, end: int = 0) -> Optional[bytes]:
        self.stables += 1
        return None if self.never_pauses else bytes(self.slot)[SEQUENCE:end]

    def u32(self, index: int, field: str) -> int:
        return int(getattr(self.slot, field))

    def copy(self, index: int, begin: int = 0, end: int = 0) -> bytes:
        self.copies += 1
        self.before_copy(self.copies)
        data = bytes(self.slot)[begin:end]
        self.after_copy(self.copies)
        return data


class Reader(LiveSource):
    """A source that reads slot 0 of these, and is not attached to anything."""

    def __init__(self, slots: Slots) -> None:
        super().__init__()
        self._slots = slots  # type: ignore[assignment]
        self.slots = slots

    def read_slot(self) -> bool:
        head = abi.SlotHead.from_buffer_copy(bytes(self.slots.slot))
        return self._read_slot(0, head, VM)

    def last(self) -> VcpuCounters:
        return self._last_whole[0][1]

    def served(self) -> Account:
        trap = self.last().traps[abi.CLASSES[VERSION]]
        assert trap.service.total() == trap.served.count
        return trap.served


@pytest.fixture
def reader() -> Reader:
    slots = Slots()
    count_trap(slots.slot)
    return Reader(slots)


def test_a_slot_at_rest_is_read_once(reader: Reader) -> None:
    assert reader.read_slot()
    assert reader.served() == Account(1, 1000)
    # The one class that there is: its histogram, and its cell before and after.
    assert (reader.slots.stables, reader.slots.copies) == (1, 3)


def test_a_slot_that_has_not_changed_is_not_taken_apart(reader: Reader) -> None:
    assert reader.read_slot()
    before = reader.last()
    assert reader.read_slot()
    assert reader.last() is before
    assert (reader.slots.stables, reader.slots.copies) == (2, 3)


def test_another_thread_shows_though_nothing_was_counted(reader: Reader) -> None:
    assert reader.read_slot()
    reader.slots.slot.tid = 78
    assert reader.read_slot()
    assert (reader.last().tid, reader.served()) == (78, Account(1, 1000))


def test_a_trap_after_the_counts_were_read(reader: Reader) -> None:
    # It is in the class's cell and its histogram alike: they are read again, together.
    reader.slots.before_copy = lambda nth: count_trap(reader.slots.slot) if nth == 1 else None
    assert reader.read_slot()
    assert reader.served() == Account(2, 2000)
    assert reader.slots.copies == 3


@pytest.mark.parametrize("moment", [1, 2])
def test_a_trap_while_a_class_is_read(reader: Reader, moment: int) -> None:
    reader.slots.after_copy = lambda nth: count_trap(reader.slots.slot) if nth == moment else None
    assert reader.read_slot()
    assert reader.served() == Account(2, 2000)
    assert (reader.slots.stables, reader.slots.copies) == (1, 6)


def test_a_trap_after_a_class_was_read(reader: Reader) -> None:
    reader.slots.after_copy = lambda nth: count_trap(reader.slots.slot) if nth == 3 else None
    assert reader.read_slot()
    assert (reader.slots.copies, reader.served()) == (3, Account(1, 1000))


def test_a_writer_that_is_always_ahead_is_given_up(reader: Reader) -> None:
    reader.slots.after_copy = lambda nth: count_trap(reader.slots.slot)
    assert not reader.read_slot()
    assert reader._last_whole == {}
    assert 8 <= reader.slots.copies < 1000


def test_the_last_whole_state_stays(reader: Reader) -> None:
    assert reader.read_slot()
    before = reader.last()
    reader.slots.after_copy = lambda nth: count_trap(reader.slots.slot)
    count_trap(reader.slots.slot)
    assert not reader.read_slot()
    assert reader.last() is before
    reader.slots.after_copy = lambda nth: None
    assert reader.read_slot()
    assert reader.served().ns == reader.served().count * 1000 > 2000


def test_a_writer_whose_cpu_was_taken_in_the_middle_is_waited_for(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot, waits = reader.slots.slot, 0

    def begin(nth: int) -> None:
        # It has counted, but not into the histogram yet.
        if nth == 1:
            account = slot.cells[VERSION].by_outcome[0]
            account.count, account.ns = 2, 2000

    def wait(_seconds: float) -> None:
        nonlocal waits
        waits += 1
        # It gets its CPU back in the end.
        if waits == 7:
            slot.service[VERSION].low[BUCKET] = 2

    monkeypatch.setattr("time.sleep", wait)
    reader.slots.before_copy = begin
    assert reader.read_slot()
    assert (waits, reader.served()) == (7, Account(2, 2000))


def test_other_classes_may_go_on_meanwhile(reader: Reader) -> None:
    def go_on(nth: int) -> None:
        reader.slots.slot.sequence += 2

    reader.slots.after_copy = go_on
    assert reader.read_slot()
    assert (reader.slots.copies, reader.served()) == (3, Account(1, 1000))


def test_a_writer_that_never_pauses_is_given_up_at_once(reader: Reader) -> None:
    reader.slots.never_pauses = True
    assert not reader.read_slot()
    assert (reader.slots.stables, reader.slots.copies) == (1, 0)


def seen_by(reader: Reader) -> list[tuple[int, VcpuCounters]]:
    vms = {VM.index: VmCounters(VM, 70, True, None)}
    return list(reader._read_slots(vms))


def test_a_slot_in_use_is_a_vcpu(reader: Reader) -> None:
    slot = reader.slots.slot
    slot.state, slot.vm, slot.taken_ns = abi.STATES.index("alive"), VM.index, VM.seen_ns
    ((index, vcpu),) = seen_by(reader)
    assert (index, vcpu.vm, vcpu.vcpu, vcpu.tid) == (0, VM, 3, 77)
    assert reader.served() == Account(1, 1000)


@pytest.mark.parametrize(
    ("state", "vm", "taken_ns"),
    [
        ("free", VM.index, VM.seen_ns),
        ("alive", VM.index + 1, VM.seen_ns),
        # Taken for the VM that had this record before.
        ("alive", VM.index, VM.seen_ns - 1),
    ],
)
def test_a_slot_of_nobody_we_know(reader: Reader, state: str, vm: int, taken_ns: int) -> None:
    slot = reader.slots.slot
    slot.state, slot.vm, slot.taken_ns = abi.STATES.index(state), vm, taken_ns
    assert seen_by(reader) == []


def test_a_vcpu_that_cannot_be_read_whole_is_counted_and_shown_as_it_was(reader: Reader) -> None:
    slot = reader.slots.slot
    slot.state, slot.vm, slot.taken_ns = abi.STATES.index("alive"), VM.index, VM.seen_ns
    before = seen_by(reader)
    count_trap(slot)
    reader.slots.never_pauses = True
    assert seen_by(reader) == before
    assert reader._torn == 1


def retired_by(reader: Reader) -> list[VcpuCounters]:
    return [vcpu for vcpus in reader._retired.values() for vcpu in vcpus]


def test_what_a_vcpu_counted_stays_when_its_slot_is_given_back(reader: Reader) -> None:
    slot = reader.slots.slot
    slot.state, slot.vm, slot.taken_ns = abi.STATES.index("alive"), VM.index, VM.seen_ns
    ((_, vcpu),) = seen_by(reader)
    slot.state = abi.STATES.index("free")
    assert seen_by(reader) == []
    assert retired_by(reader) == [vcpu]
    assert seen_by(reader) == []
    assert retired_by(reader) == [vcpu]


def test_what_a_vcpu_counted_stays_when_its_slot_is_anothers(reader: Reader) -> None:
    slot = reader.slots.slot
    slot.state, slot.vm, slot.taken_ns = abi.STATES.index("alive"), VM.index, VM.seen_ns
    ((_, before),) = seen_by(reader)
    # The same thread, and the same counts: only the time tells.
    slot.taken_ns, slot.vcpu_id = VM.seen_ns + 5, 4
    ((_, after),) = seen_by(reader)
    assert (before.vcpu, before.seen_ns) == (3, VM.seen_ns)
    assert (after.vcpu, after.seen_ns) == (4, VM.seen_ns + 5)
    assert retired_by(reader) == [before]


def write_in_bursts(fd: int) -> None:
    with mmap.mmap(fd, 0) as memory:
        slot = abi.Slot.from_buffer(memory)
        account, low = slot.cells[VERSION].by_outcome[0], slot.service[VERSION].low
        while True:
            for _ in range(50):
                slot.sequence += 1
                account.count += 1
                account.ns += 1000
                low[BUCKET] += 1
                slot.sequence += 1
            time.sleep(0.0005)


def test_a_histogram_read_beside_its_writer_adds_up() -> None:
    fd = os.memfd_create("slots")
    length = (ctypes.sizeof(abi.Slot) + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
    os.ftruncate(fd, length)
    fork = multiprocessing.get_context("fork")
    writer = fork.Process(target=write_in_bursts, args=(fd,), daemon=True)
    writer.start()
    try:
        with MappedArray(fd, abi.Slot, 1) as slots:
            source = LiveSource()
            source._slots = slots
            seen: set[int] = set()
            while len(seen) < 200:
                assert writer.is_alive()
                if source._read_slot(0, abi.SlotHead(), VM):
                    seen.add(count_that_adds_up(source))
    finally:
        writer.kill()
        writer.join()
        os.close(fd)


def count_that_adds_up(source: LiveSource) -> int:
    trap = source._last_whole[0][1].traps.get(abi.CLASSES[VERSION])
    if trap is None:
        return 0
    assert trap.served.ns == trap.served.count * 1000
    assert trap.service.total() == trap.served.count
    return trap.served.count
