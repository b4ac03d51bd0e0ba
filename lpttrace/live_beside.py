# SPDX-License-Identifier: GPL-2.0-only
"""Reading what a running agent has attached, instead of attaching everything a second time."""

from __future__ import annotations

from collections.abc import Sequence
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
        self._last: dict[VmKey, tuple[VmCounters, list[VcpuCounters]]] = {}

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
        return super().read()

    def _note(self, vms: Sequence[VmCounters], vcpus: Sequence[VcpuCounters]) -> None:
        # Whom the agent has let go of ends here with the counts that were read last.
        for key in self._last.keys() - {vm.key for vm in vms}:
            vm, last = self._last[key]
            self._ended.add(replace(vm, alive=False), last)
            self._retired.pop(key, None)
        of_vm: dict[VmKey, list[VcpuCounters]] = {vm.key: [] for vm in vms}
        for vcpu in vcpus:
            of_vm[vcpu.vm].append(vcpu)
        self._last = {vm.key: (vm, of_vm[vm.key]) for vm in vms}

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
