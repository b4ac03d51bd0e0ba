# SPDX-License-Identifier: GPL-2.0-only
"""Does in the real maps what the programs do at a KVM/arm64 host: VMs come, trap and go."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from lpttrace import abi
from lpttrace.maps import bpf, delete, element_attr, keys

VERSION = abi.CLASSES.index(abi.TrapClass("hypercall", "psci_version", ""))
NS, BUCKET = 1000, abi.BUCKET_BOUNDS.index(1024)
ALIVE, DEAD = abi.STATES.index("alive"), abi.STATES.index("dead")

_UPDATE = 2
_STRIDE = {abi.Vm: (ctypes.sizeof(abi.Vm) + 7) // 8 * 8, abi.Slot: ctypes.sizeof(abi.Slot)}


def put(fd: int, key: bytes, value: bytes) -> None:
    """Into a hash."""
    buffers = [ctypes.create_string_buffer(data, len(data)) for data in (key, value)]
    code = bpf(_UPDATE, element_attr(fd, *buffers))[1]
    if code:
        raise OSError(code, os.strerror(code))


def u32(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


@dataclass(frozen=True)
class GuestVm:
    """A VM: its record, and the slots of its vCPUs."""

    kvm: int
    index: int
    record: abi.Vm
    slots: tuple[abi.Slot, ...]


class KernelSide:
    """All that the programs would write."""

    def __init__(self, maps: Mapping[str, int], entries: int) -> None:
        """maps by name; they may be closed after."""
        self._maps = {name: os.dup(fd) for name, fd in maps.items()}
        self._memory = {
            layout: mmap.mmap(self._maps[name], -(-entries * stride // 4096) * 4096)
            for (layout, stride), name in zip(_STRIDE.items(), ("vms", "slots"))
        }
        self._last_kvm = 0xFFFF_0000_0000_0000

    def close(self) -> None:
        for fd in self._maps.values():
            os.close(fd)

    def _take(self, name: str) -> int:
        index = keys(self._maps[name], 4)[0]
        delete(self._maps[name], index)
        return int.from_bytes(index, sys.byteorder)

    def begin(self, pid: int, vcpus: int = 1) -> GuestVm:
        """As take_vm() and take_slot()."""
        self._last_kvm += 4096
        index = self._take("free_vms")
        record = abi.Vm.from_buffer(self._memory[abi.Vm], index * _STRIDE[abi.Vm])
        record.kvm, record.seen_ns, record.tgid = self._last_kvm, time.monotonic_ns(), pid
        put(self._maps["kvms"], self._last_kvm.to_bytes(8, sys.byteorder), u32(index))
        record.state = ALIVE
        slots = tuple(self._slot(index, pid, number) for number in range(vcpus))
        return GuestVm(self._last_kvm, index, record, slots)

    def _slot(self, vm: int, pid: int, number: int) -> abi.Slot:
        index = self._take("free_slots")
        slot = abi.Slot.from_buffer(self._memory[abi.Slot], index * _STRIDE[abi.Slot])
        slot.vm, slot.vcpu_id, slot.tid = vm, number, pid + number
        slot.taken_ns = time.monotonic_ns()
        put(self._maps["vcpus"], struct.pack("=II", vm, number), u32(index))
        slot.state = ALIVE
        return slot

    def trap(self, vm: GuestVm, times: int) -> None:
        """So many calls of PSCI_VERSION on each vCPU, as close_all()."""
        for slot in vm.slots:
            account = slot.cells[VERSION].by_outcome[0]
            account.count += times
            account.ns += NS * times
            slot.service[VERSION].low[BUCKET] += times
            slot.sequence += 2

    def end(self, vm: GuestVm) -> None:
        """As on_destroy_vm()."""
        vm.record.state = DEAD
        delete(self._maps["kvms"], vm.kvm.to_bytes(8, sys.byteorder))

    def tell(self, vm: int, ns: int, tid: int = 1) -> None:
        """An event of the VM with that index, as tell(); OSError if there is no room."""
        key = abi.EventKey(ns, tid, abi.EVENT_KINDS.index("set_attr"))
        put(self._maps["events"], bytes(key), bytes(abi.Event(vm=vm)))
