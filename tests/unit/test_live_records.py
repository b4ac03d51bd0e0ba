# SPDX-License-Identifier: GPL-2.0-only
"""live_records.py: who a VM is stays, whatever its record and the agent do."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator

import pytest

from lpttrace import abi
from lpttrace.live_records import Records
from lpttrace.maps import MappedArray
from lpttrace.maps_ledger import WORDS, Ledger

ENTRIES = 8


class Table:
    """The records as the programs and the agent see them, and the ledger that stays with them."""

    def __init__(self, fd: int, ledger: int) -> None:
        self.array = MappedArray(fd, abi.Vm, ENTRIES)
        self.memory = mmap.mmap(fd, 0)
        self.ledger = ledger

    def agent(self) -> Records:
        """A new one."""
        return Records(self.array, Ledger(self.ledger))

    def at(self, index: int) -> abi.Vm:
        return abi.Vm.from_buffer(self.memory, index * self.array.stride)

    def begin(self, index: int, pid: int, seen_ns: int) -> abi.Vm:
        """As take_vm() does it."""
        vm = self.at(index)
        vm.kvm, vm.seen_ns, vm.tgid, vm.state = 0xABC, seen_ns, pid, abi.STATES.index("alive")
        return vm


def memory(name: str, size: int) -> int:
    """Whole pages, as the kernel has them."""
    fd = os.memfd_create(name)
    os.ftruncate(fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
    return fd


@pytest.fixture
def table() -> Iterator[Table]:
    fd, ledger = memory("vms", ENTRIES * ctypes.sizeof(abi.Vm)), memory("ledger", 8 * WORDS)
    found = Table(fd, ledger)
    with found.array:
        yield found
    os.close(fd)
    os.close(ledger)


def numbers(records: Records) -> dict[int, int]:
    return {index: vm.number for index, vm in records.read()}


def test_vms_of_a_process_are_numbered_as_they_came(table: Table) -> None:
    for index, pid, seen_ns in ((0, 7, 30), (3, 7, 10), (5, 8, 20)):
        table.begin(index, pid, seen_ns)
    records = table.agent()
    assert numbers(records) == {0: 2, 3: 1, 5: 1}
    assert records.used == 3


def test_the_next_agent_has_the_same_numbers(table: Table) -> None:
    table.begin(0, 7, 10)
    table.begin(1, 7, 20)
    table.agent().read()
    table.array.clear(0)
    table.begin(2, 7, 30)
    after = table.agent()
    assert numbers(after) == {1: 2, 2: 3}
    # Nor does it give a number twice.
    table.array.clear(2)
    table.begin(2, 7, 40)
    assert numbers(after) == {1: 2, 2: 4}


def test_no_number_comes_back_when_all_vms_of_a_process_have_gone(table: Table) -> None:
    table.begin(0, 7, 10)
    table.agent().read()
    table.array.clear(0)
    table.begin(0, 7, 20)
    assert numbers(table.agent()) == {0: 2}


def test_an_agent_that_is_killed_while_it_numbers_gives_no_number_twice(table: Table) -> None:
    table.begin(0, 7, 10)
    Ledger(table.ledger).note_number(7, 1)
    assert numbers(table.agent()) == {0: 2}


def test_who_reads_beside_changes_nothing(table: Table) -> None:
    table.begin(0, 7, 10)
    beside = Records(table.array, None)
    assert numbers(beside) == {0: 0}
    table.agent().read()
    assert numbers(beside) == {0: 1}


def test_a_record_that_is_never_at_rest_is_shown_as_it_was(table: Table) -> None:
    vm = table.begin(4, 7, 10)
    vm.updates[0].count = 5
    records = table.agent()
    records.read()
    vm.sequence, vm.updates[0].count = 1, 6
    ((index, torn),) = records.read()
    assert (index, torn.tgid, torn.seen_ns, torn.number) == (4, 7, 10, 1)
    assert (torn.updates[0].count, records.torn) == (5, 1)
    vm.sequence = 2
    ((_, whole),) = records.read()
    assert (whole.updates[0].count, records.torn) == (6, 1)


def test_a_record_that_was_never_read_whole_is_a_vm_all_the_same(table: Table) -> None:
    old = table.begin(4, 7, 10)
    old.updates[0].count = 5
    records = table.agent()
    records.read()
    table.array.clear(4)
    new = table.begin(4, 8, 20)
    new.sequence, new.updates[0].count = 1, 6
    ((_, vm),) = records.read()
    # Not with the counts of the VM that had the record before.
    assert (vm.tgid, vm.seen_ns, vm.updates[0].count) == (8, 20, 0)
