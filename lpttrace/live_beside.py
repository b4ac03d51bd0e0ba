# SPDX-License-Identifier: GPL-2.0-only
"""Reading what a running agent has attached, instead of attaching everything a second time."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Optional

from lpttrace import abi
from lpttrace.attach import Attached, Attachment
from lpttrace.errors import LpttraceError
from lpttrace.keep import PIN_ROOT, Beside
from lpttrace.live import LiveOptions, LiveSource
from lpttrace.plan import Plan
from lpttrace.snapshot import Snapshot, VcpuCounters, VmCounters, VmKey

__all__ = ["BesideSource"]

_ALIVE = abi.STATES.index("alive")


class BesideSource(LiveSource):
    """The counters of an agent, since it was attached. Changes nothing of it.

    A VM that the agent lets go of stays for the grace period with the counts that were read last.
    """

    _owns = False

    def __init__(self, options: LiveOptions, root: Path = PIN_ROOT) -> None:
        """LpttraceError if there is nothing under root that can be read."""
        self._beside = Beside(root)
        about = self._beside.attachment.about
        super().__init__(replace(options, max_vcpus=about.max_vcpus, lpt_symbol=about.lpt_symbol))
        self._last: dict[VmKey, tuple[VmCounters, tuple[VcpuCounters, ...]]] = {}

    def _obtain(self, plan: Plan) -> tuple[Attached, Optional[Attachment]]:
        self._begin_ns = self._beside.attachment.about.attached_ns
        return self._beside.attachment, None

    def __exit__(self, *unused: object) -> None:
        """Let go of it."""
        super().__exit__(None, None, None)
        self._beside.close()

    def read(self) -> Snapshot:
        """The counters of now; LpttraceError once something else counts."""
        if not self._beside.is_current():
            raise LpttraceError(
                "what the agent had attached is gone, or attached anew; run it again"
            )
        snapshot = super().read()
        present = {vm.key for vm in snapshot.vms}
        expiry = time.monotonic() + self._options.grace_seconds
        for key in self._last.keys() - present:
            vm, vcpus = self._last[key]
            self._ended.append((expiry, replace(vm, alive=False), vcpus))
            self._retired.pop(key, None)
        ended = {vm.key for _, vm, _ in self._ended}
        gone = [entry for entry in self._ended if entry[1].key not in present]
        self._last = {
            vm.key: (vm, tuple(v for v in snapshot.vcpus if v.vm == vm.key))
            for vm in snapshot.vms
            if vm.key not in ended
        }
        return replace(
            snapshot,
            vms=snapshot.vms + tuple(vm for _, vm, _ in gone),
            vcpus=snapshot.vcpus + tuple(v for _, _, vcpus in gone for v in vcpus),
        )

    def _read_slot(self, index: int, slot: abi.SlotHead, vm: VmKey) -> bool:
        # The agent may have cleared it meanwhile: then what was read before counts.
        before = self._last_whole.get(index)
        read = super()._read_slot(index, slot, vm)
        if before and self._slots.u32(index, "state") != _ALIVE:
            self._last_whole[index] = before
        return read

    def _may_bury(self, key: VmKey) -> bool:
        return False

    def _forget_kvm(self, kvm: int) -> None:
        pass
