# SPDX-License-Identifier: GPL-2.0-only
"""Decoding of slots and VM records, and reading beside a writer."""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
from multiprocessing.process import BaseProcess

from lpttrace import abi
from lpttrace.live import decode_lpt, decode_vcpu
from lpttrace.maps import MappedArray
from lpttrace.snapshot import Account, Trap, VmKey

VERSION = abi.CLASSES.index(abi.TrapClass("hypercall", "psci_version", ""))
CTL_WRITE = abi.CLASSES.index(abi.TrapClass("timer", "cntp_ctl_el0", "write"))


def whole(layout: ctypes.Structure) -> bytes:
    return bytes(layout)[type(layout).sequence.offset :]


def test_a_slot() -> None:
    slot = abi.Slot(vcpu_id=3, tid=77, pending=CTL_WRITE, unpaired=2, last_unknown=9)
    slot.cells[VERSION].by_outcome[0] = abi.Account(5, 500)
    slot.cells[VERSION].by_outcome[2] = abi.Account(1, 90)
    vcpu = decode_vcpu(slot, VmKey(0, 1), whole(slot))
    assert (vcpu.vcpu, vcpu.tid, vcpu.unpaired, vcpu.last_unknown) == (3, 77, 2, None)
    assert vcpu.traps == {
        abi.CLASSES[VERSION]: Trap(Account(5, 500), Account(), Account(1, 90)),
        abi.CLASSES[CTL_WRITE]: Trap(pending=1),
    }
    assert vcpu.traps[abi.CLASSES[VERSION]].count == 6
    assert vcpu.traps[abi.CLASSES[CTL_WRITE]].count == 1


def test_an_unknown_function_is_named_by_its_id() -> None:
    slot = abi.Slot(last_unknown=0x12345678)
    slot.cells[abi.HVC_UNKNOWN].by_outcome[0] = abi.Account(1, 1)
    assert decode_vcpu(slot, VmKey(0, 1), whole(slot)).last_unknown == 0x12345678


def test_a_vm_without_lpt() -> None:
    vm = abi.Vm()
    vm.updates[0] = abi.Account(4, 400)
    lpt = decode_lpt(whole(vm))
    assert (lpt.results, lpt.nothing, lpt.structure) == ({}, 4, None)


def test_a_published_structure() -> None:
    vm = abi.Vm(published_ns=5, last_error=22)
    vm.published = abi.Structure(0, 0, 2, 25_000_000, 100_000_000, 1 << 63, 1 << 61, 61, 63)
    vm.updates[1] = abi.Account(1, 100)
    vm.updates[2] = abi.Account(2, 30)
    lpt = decode_lpt(whole(vm))
    assert lpt.results == {"published": Account(1, 100), "einval": Account(2, 30)}
    assert lpt.last_error == 22
    assert lpt.structure is not None
    assert (lpt.structure.scale_mult, lpt.structure.rfracbits) == (1 << 63, 63)


def test_an_odd_sequence_is_never_read() -> None:
    fd = os.memfd_create("slots")
    os.ftruncate(fd, mmap.PAGESIZE * 4)
    with MappedArray(fd, abi.Slot, 2) as slots:
        os.pwrite(fd, b"\x01", slots.stride + abi.Slot.sequence.offset)
        assert slots.stable(0) is not None
        assert slots.stable(1) is None
    os.close(fd)


def write_for_ever(fd: int) -> None:
    with mmap.mmap(fd, mmap.PAGESIZE * 2) as memory:
        slot = abi.Slot.from_buffer(memory)
        account = slot.cells[VERSION].by_outcome[0]
        while True:
            slot.sequence += 1
            account.count += 1
            account.ns += 1000
            slot.sequence += 1


def test_a_reader_beside_a_writer_sees_no_count_without_its_sum() -> None:
    fd = os.memfd_create("slots")
    os.ftruncate(fd, mmap.PAGESIZE * 2)
    # A process, not a thread: on two CPUs they really meet.
    fork = multiprocessing.get_context("fork")
    writer = fork.Process(target=write_for_ever, args=(fd,), daemon=True)
    writer.start()
    try:
        with MappedArray(fd, abi.Slot, 1) as slots:
            read_while_written(slots, writer)
    finally:
        writer.kill()
        writer.join()
        os.close(fd)


def read_while_written(slots: MappedArray, writer: BaseProcess) -> None:
    seen: set[int] = set()
    while len(seen) < 500:
        assert writer.is_alive()
        data = slots.stable(0)
        if data is None:
            continue
        vcpu = decode_vcpu(abi.Slot(), VmKey(0, 1), data)
        trap = vcpu.traps.get(abi.CLASSES[VERSION], Trap())
        assert trap.served.ns == trap.served.count * 1000
        seen.add(trap.count)
