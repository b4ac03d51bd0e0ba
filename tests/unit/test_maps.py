# SPDX-License-Identifier: GPL-2.0-only
"""maps.py: arrays in memory, also beside a writer."""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.process import BaseProcess

import pytest

from lpttrace import abi
from lpttrace.decode import COUNTS_END
from lpttrace.maps import MappedArray

SEQUENCE = abi.Slot.sequence.offset
VERSION = abi.CLASSES.index(abi.TrapClass("hypercall", "psci_version", ""))


def pages(length: int) -> int:
    return (length + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE


@pytest.fixture
def memory() -> Iterator[int]:
    """A file as large as two slots, in place of a map."""
    fd = os.memfd_create("slots")
    os.ftruncate(fd, pages(2 * ctypes.sizeof(abi.Slot)))
    yield fd
    os.close(fd)


def test_an_odd_sequence_is_never_read(memory: int) -> None:
    with MappedArray(memory, abi.Slot, 2) as slots:
        os.pwrite(memory, b"\x01", slots.stride + SEQUENCE)
        assert slots.stable(0) == bytes(slots.stride - SEQUENCE)
        assert slots.stable(0, COUNTS_END) == bytes(COUNTS_END - SEQUENCE)
        assert slots.stable(1) is None
        assert slots.stable(1, COUNTS_END) is None


def test_parts_of_an_element(memory: int) -> None:
    slot = abi.Slot(vcpu_id=3, tid=77)
    slot.service[VERSION].low[5] = 0x01020304
    with MappedArray(memory, abi.Slot, 2) as slots:
        os.pwrite(memory, bytes(slot), slots.stride)
        assert slots.u32(1, "tid") == 77
        assert slots.copy(1) == bytes(slot)
        assert slots.copy(1, 0, SEQUENCE) == bytes(slot)[:SEQUENCE]
        at = abi.Slot.service.offset + VERSION * ctypes.sizeof(abi.Histogram) + 5 * 4
        assert slots.copy(1, at, at + 4) == (0x01020304).to_bytes(4, "little")
        assert slots.copy(0) == bytes(slots.stride)
        slots.clear(1)
        assert slots.copy(1) == bytes(slots.stride)


def test_a_window_shows_the_same_as_the_whole() -> None:
    entries, window = 11, 3
    fd = os.memfd_create("slots")
    os.ftruncate(fd, pages(entries * ctypes.sizeof(abi.Slot)))
    with MappedArray(fd, abi.Slot, entries, window) as slots:
        with MappedArray(fd, abi.Slot, entries) as whole:
            os.close(fd)
            for index in (0, 10, 4, 5, 3, 9):
                whole.clear(index)
                slots.clear(index)
                at = index * whole.stride
                whole._memory[at + SEQUENCE + 4 : at + SEQUENCE + 8] = index.to_bytes(4, "little")
            for index in (10, 9, 0, 3, 4, 5, 1):
                assert slots.copy(index) == whole.copy(index)
                assert slots.u32(index, "work") == whole.u32(index, "work")
                assert slots.stable(index) == whole.stable(index)
            assert slots.u32(9, "work") == 9
        assert len(slots._memory) <= pages(window * slots.stride) + mmap.PAGESIZE


def test_a_word_is_replaced_and_nothing_beside_it() -> None:
    fd = os.memfd_create("words")
    os.ftruncate(fd, mmap.PAGESIZE)
    with MappedArray(fd, abi.Space, 2) as words:
        words.write_u64(1, 0x1122334455667788)
        assert os.pread(fd, 24, 0) == bytes(8) + (0x1122334455667788).to_bytes(8, "little") + bytes(
            8
        )
    os.close(fd)


def write_for_ever(fd: int) -> None:
    with mmap.mmap(fd, pages(ctypes.sizeof(abi.Slot))) as memory:
        slot = abi.Slot.from_buffer(memory)
        account = slot.cells[VERSION].by_outcome[0]
        while True:
            slot.sequence += 1
            account.count += 1
            account.ns += 1000
            slot.sequence += 1


def test_a_reader_beside_a_writer_sees_no_count_without_its_sum(memory: int) -> None:
    # A process, not a thread: on two CPUs they really meet.
    fork = multiprocessing.get_context("fork")
    writer = fork.Process(target=write_for_ever, args=(memory,), daemon=True)
    writer.start()
    try:
        with MappedArray(memory, abi.Slot, 1) as slots:
            read_while_written(slots, writer)
    finally:
        writer.kill()
        writer.join()


def read_while_written(slots: MappedArray, writer: BaseProcess) -> None:
    at = abi.Slot.cells.offset - SEQUENCE + VERSION * ctypes.sizeof(abi.Cell)
    seen: set[int] = set()
    while len(seen) < 500:
        assert writer.is_alive()
        data = slots.stable(0, COUNTS_END)
        if data is None:
            continue
        account = abi.Account.from_buffer_copy(data, at)
        assert account.ns == account.count * 1000
        seen.add(account.count)
