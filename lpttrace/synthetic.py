# SPDX-License-Identifier: GPL-2.0-only
"""Made-up counters that grow evenly: to try the screen, and to measure what the tool costs."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Callable, Optional

from lpttrace.abi import CLASSES, TrapClass
from lpttrace.catalog import HYPERCALL_PROBES, LOSSES, LPT_PROBES, TIMER_TRAP_PROBES
from lpttrace.errors import UsageError
from lpttrace.model import Guest
from lpttrace.snapshot import (
    Account,
    LptStructure,
    LptUpdates,
    Probe,
    Snapshot,
    Trap,
    VcpuCounters,
    VmCounters,
    VmKey,
)

__all__ = ["SyntheticSource", "identify", "parse_size"]

_FIRST_PID = 1001
_MOST_VCPUS = 100_000

# Traps a second and nanoseconds each, on vCPU 0 of VM 0; others have a little more.
_LOAD = {
    TrapClass("hypercall", "psci_version", ""): (2, 900),
    TrapClass("hypercall", "smccc_arch_features", ""): (1, 850),
    TrapClass("hypercall", "pv_time_features", ""): (3, 1_100),
    TrapClass("hypercall", "vendor_hyp_kvm_ptp", ""): (40, 1_500),
    TrapClass("timer", "cntp_ctl_el0", "read"): (250, 2_100),
    TrapClass("timer", "cntp_ctl_el0", "write"): (500, 2_600),
    TrapClass("timer", "cntp_cval_el0", "write"): (250, 2_700),
    TrapClass("timer", "cntp_tval_el0", "write"): (5, 2_650),
}
assert set(_LOAD) <= set(CLASSES)

_STRUCTURE = LptStructure(0, 0, 2, 25_000_000, 100_000_000, 1 << 63, 1 << 61, 61, 63)
_EVENTUALLY = {
    "published": LptUpdates({"published": Account(1, 12_345)}, 1, 0, _STRUCTURE, 0),
    "off": LptUpdates({}, 1),
    "failed": LptUpdates({"einval": Account(1, 1_890)}, 0, 22),
}


def parse_size(text: str) -> tuple[int, int]:
    """64x8 as 64 VMs of 8 vCPUs each."""
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    vms, vcpus = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 < vms * vcpus <= _MOST_VCPUS:
        raise UsageError(
            f"cannot make up VMs: {text!r} is not a size; say VMSxVCPUS, such as 64x8, "
            f"of at most {_MOST_VCPUS} vCPUs in all"
        )
    return vms, vcpus


def identify(snapshot: Snapshot) -> Mapping[VmKey, Guest]:
    """Names of VMs that do not exist."""
    return {
        vm.key: Guest(str(vm.tgid), f"synthetic-{vm.key.index}", vm.tgid) for vm in snapshot.vms
    }


class SyntheticSource:
    """vms VMs of vcpus vCPUs each; counts are a function of the time since it was made."""

    warnings: tuple[str, ...] = ()

    def __init__(self, vms: int, vcpus: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._shape = (vms, vcpus)
        self._clock = clock
        self._begin = clock()

    def __enter__(self) -> SyntheticSource:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Nothing to give back."""

    def read(self) -> Snapshot:
        """The counters of now."""
        start = self._clock()
        elapsed = start - self._begin
        vms, vcpus = self._shape
        keys = [VmKey(index, self._begin + index) for index in range(vms)]
        return Snapshot(
            start,
            self._clock(),
            tuple(VmCounters(key, _FIRST_PID + key.index, True, _lpt(key)) for key in keys),
            tuple(_vcpu(key, n, vcpus, elapsed) for key in keys for n in range(vcpus)),
            tuple(Probe(name, True) for name in _PROBES),
            dict.fromkeys(LOSSES, 0),
        )


_PROBES = tuple(dict.fromkeys(HYPERCALL_PROBES + TIMER_TRAP_PROBES + LPT_PROBES))


def _lpt(key: VmKey) -> LptUpdates:
    state = ("published", "off", "published", "failed")[key.index % 4]
    return _EVENTUALLY[state]


def _vcpu(key: VmKey, number: int, vcpus: int, elapsed_ns: int) -> VcpuCounters:
    weight = 4 + (key.index * 7 + number * 3) % 9
    traps = {
        cls: _trap(per_second * weight * elapsed_ns // 4_000_000_000, ns + 10 * weight)
        for cls, (per_second, ns) in _LOAD.items()
    }
    tid = _FIRST_PID + 1_000_000 + key.index * vcpus + number
    return VcpuCounters(key, number, tid, traps)


def _trap(count: int, mean_ns: int) -> Trap:
    out = count // 1000
    served = Account(count - out, (count - out) * mean_ns)
    return Trap(served, Account(out, out * 40 * mean_ns)) if out else Trap(served)
