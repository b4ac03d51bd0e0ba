# SPDX-License-Identifier: GPL-2.0-only
"""The agent's side of who has which slot and record: what dead VMs leave is given back."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from lpttrace import abi
from lpttrace.maps import MappedArray, delete, insert, keys, lookup_u32
from lpttrace.snapshot import VcpuCounters

__all__ = ["Space"]

_SLOTS_FREED = abi.Room.slots.offset // 8
_VMS_FREED = abi.Room.vms.offset // 8
_FREE = abi.STATES.index("free")
# Longer than a program runs that has taken an index and not yet written its state.
_SETTLE_SECONDS = 0.01


class Space:
    """Slots and records of VMs. Only one process may change them; see keep.Keeper.

    Any step may be the last one of a process that is killed: `mend` finishes what was begun.
    """

    def __init__(self, maps: Mapping[str, int], slots: MappedArray, vms: MappedArray) -> None:
        """maps are descriptors by name; the arrays stay the caller's."""
        self._maps = maps
        self._slots = slots
        self._vms = vms
        self._room = MappedArray(maps["room"], abi.Room, 1)

    def close(self) -> None:
        """Unmap what is ours."""
        self._room.close()

    def free_slots(self) -> int:
        """How many slots nobody has."""
        return len(keys(self._maps["free_slots"], 4))

    def give_back(self, vm: int, vcpus: Mapping[int, VcpuCounters], refused: bool) -> None:
        """What a dead VM had: its record, and slots with what they counted last.

        refused says that vCPUs or VMs were refused for want of room, which is remembered.
        """
        for index, vcpu in vcpus.items():
            self._give_slot_back(index, vm, vcpu)
        if refused:
            self._forget_refused(vm)
        self._add_to(_SLOTS_FREED, len(vcpus))
        self._vms.clear(vm)
        insert(self._maps["free_vms"], vm)
        self._add_to(_VMS_FREED, 1)

    def _give_slot_back(self, index: int, vm: int, vcpu: VcpuCounters) -> None:
        tid = vcpu.tid.to_bytes(4, sys.byteorder)
        if lookup_u32(self._maps["tids"], tid) == index:
            delete(self._maps["tids"], tid)
        delete(self._maps["vcpus"], struct.pack("=II", vm, vcpu.vcpu))
        self._slots.clear(index)
        insert(self._maps["free_slots"], index)

    def _add_to(self, word: int, count: int) -> None:
        # Nobody else writes these.
        before = int.from_bytes(self._room.copy(0)[8 * word : 8 * word + 8], sys.byteorder)
        self._room.write_u64(word, before + count)

    def _forget_refused(self, vm: int) -> None:
        # What remembers that a vCPU got no slot: of this VM, whose index is somebody else's next,
        # and threads that are gone.
        for key in keys(self._maps["vcpus"], 8):
            if struct.unpack_from("=I", key)[0] == vm:
                delete(self._maps["vcpus"], key)
        for tid in keys(self._maps["tids"], 4):
            if not Path(f"/proc/{int.from_bytes(tid, sys.byteorder)}").exists():
                delete(self._maps["tids"], tid)

    def mend(self) -> int:
        """Give back what is free but in no list of free ones; how many there were."""
        lost = {name: set(self._lost(name)) for name in ("free_slots", "free_vms")}
        if any(lost.values()):
            # One may have been taken a moment ago: then its state says so by now.
            time.sleep(_SETTLE_SECONDS)
        for name, before in lost.items():
            for index in before & set(self._lost(name)):
                insert(self._maps[name], index)
            self._add_to(_SLOTS_FREED if name == "free_slots" else _VMS_FREED, len(before))
        return sum(map(len, lost.values()))

    def _lost(self, name: str) -> Iterator[int]:
        listed = {int.from_bytes(key, sys.byteorder) for key in keys(self._maps[name], 4)}
        array = self._slots if name == "free_slots" else self._vms
        for index in range(array.entries):
            if index not in listed and array.u32(index, "state") == _FREE:
                yield index
