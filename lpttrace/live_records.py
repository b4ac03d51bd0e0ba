# SPDX-License-Identifier: GPL-2.0-only
"""The records of VMs as they are in the kernel, and the number that each has in its process."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import sizeof
from typing import Optional

from lpttrace import abi
from lpttrace.maps import MappedArray
from lpttrace.maps_ledger import Ledger

__all__ = ["Records"]

_HEAD = abi.Vm.sequence.offset
_FREE = abi.STATES.index("free")
_NUMBER = abi.Vm.number.offset


class Records:
    """Reads them all; a VM never goes away because its record could not be read whole.

    Whoever owns them numbers the VMs of a process in their order, and writes it to the records:
    what a VM is called must not change with the agent. Nor must another be called so, when it has
    long gone: the ledger remembers the numbers that were given.
    """

    def __init__(self, records: MappedArray, ledger: Optional[Ledger]) -> None:
        """Both stay the caller's; ledger is None for who does not own them."""
        self._records = records
        self._ledger = ledger
        self._whole: dict[int, tuple[int, bytes]] = {}
        self.torn = self.used = 0

    def read(self) -> Sequence[tuple[int, abi.Vm]]:
        """Those in use, by their index."""
        self.used = 0
        found = []
        for index in range(self._records.entries):
            if self._records.u32(index, "state") != _FREE:
                self.used += 1
                vm = self._read(index)
                if vm is not None:
                    found.append((index, vm))
        if self._ledger is not None:
            self._number(found, self._ledger)
        return found

    def _read(self, index: int) -> Optional[abi.Vm]:
        head = self._records.copy(index, 0, _HEAD)
        seen_ns = int(abi.Vm.from_buffer_copy(head.ljust(sizeof(abi.Vm), b"\0")).seen_ns)
        whole = self._records.stable(index)
        if whole is None:
            # Who it is, is written once; of the rest, what was read before.
            self.torn += 1
            before, whole = self._whole.get(index, (0, b""))
            whole = whole if before == seen_ns else b""
        self._whole[index] = seen_ns, whole
        # Its owner, if that is another process, may have given it back meanwhile.
        if self._records.u32(index, "state") == _FREE:
            return None
        return abi.Vm.from_buffer_copy((head + whole).ljust(sizeof(abi.Vm), b"\0"))

    def _number(self, found: Sequence[tuple[int, abi.Vm]], ledger: Ledger) -> None:
        for index, vm in sorted(found, key=lambda entry: int(entry[1].seen_ns)):
            if not vm.number:
                vm.number = ledger.last_number(vm.tgid) + 1
                # First there: of one that is killed in between, a number is left out.
                ledger.note_number(vm.tgid, vm.number)
                word = (index * self._records.stride + _NUMBER) // 8
                self._records.write_u64(word, vm.number)
