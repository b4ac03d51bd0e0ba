# SPDX-License-Identifier: GPL-2.0-only
"""Raw counters of one moment, and the protocol of everything that delivers them.

Live maps, recordings and synthetic data are all a Source, so that everything after them is one
path. Nothing here computes a rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Optional, Protocol

from lpttrace.abi import TrapClass

__all__ = [
    "Account",
    "LptStructure",
    "LptUpdates",
    "Probe",
    "Snapshot",
    "Source",
    "Trap",
    "VcpuCounters",
    "VmCounters",
    "VmKey",
]


@dataclass(frozen=True)
class Account:
    """So many traps, and the nanoseconds they took in all."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True, order=True)
class VmKey:
    """One VM, for good: no later VM on this host has the same key.

    index is the VM's record in the kernel side; seen_ns when it was first seen (CLOCK_MONOTONIC).
    """

    index: int
    seen_ns: int


@dataclass(frozen=True)
class Trap:
    """The traps of one class on one vCPU since the vCPU was first seen.

    served ran in the kernel on a CPU from kvm_exit to kvm_entry; scheduled_out lost the CPU on the
    way; userspace needed the VMM. pending is 1 while one more is being served.
    """

    served: Account = Account()
    scheduled_out: Account = Account()
    userspace: Account = Account()
    pending: int = 0

    @property
    def count(self) -> int:
        """All traps the guest made, the one being served included."""
        return self.served.count + self.scheduled_out.count + self.userspace.count + self.pending


@dataclass(frozen=True)
class VcpuCounters:
    """One vCPU. traps has only classes that occurred; last_unknown is a function id or None."""

    vm: VmKey
    vcpu: int
    tid: int
    traps: Mapping[TrapClass, Trap]
    unpaired: int = 0
    last_unknown: Optional[int] = None


@dataclass(frozen=True)
class LptStructure:
    """What the host published to a guest; frequencies in Hz. Fields are the RFC's."""

    revision: int
    attributes: int
    sequence_number: int
    native_freq: int
    pv_freq: int
    scale_mult: int
    rscale_mult: int
    fracbits: int
    rfracbits: int


@dataclass(frozen=True)
class LptUpdates:
    """LPT updates of one VM.

    results maps "published", "einval", "efault" or "error" to its account; results that did not
    occur are absent. last_error is the errno of the last failure, 0 for none. nothing counts calls
    that had nothing to do: LPT off, or another vCPU had done it.
    """

    results: Mapping[str, Account] = field(default_factory=dict)
    nothing: int = 0
    last_error: int = 0
    structure: Optional[LptStructure] = None
    published_ns: int = 0


@dataclass(frozen=True)
class VmCounters:
    """One VM. lpt is None where LPT updates cannot be seen, which is not the same as none made."""

    key: VmKey
    tgid: int
    alive: bool
    lpt: Optional[LptUpdates]


@dataclass(frozen=True)
class Probe:
    """A place in the kernel this run counts at, or the reason why it does not."""

    name: str
    attached: bool
    reason: str = ""


@dataclass(frozen=True)
class Snapshot:
    """Everything counted, at a moment between start_ns and end_ns (CLOCK_MONOTONIC).

    probes says what the absence of a number means. losses maps the names of struct lpt_losses, and
    "torn" (vCPUs read at the second best), to counts.
    """

    start_ns: int
    end_ns: int
    vms: tuple[VmCounters, ...]
    vcpus: tuple[VcpuCounters, ...]
    probes: tuple[Probe, ...]
    losses: Mapping[str, int]

    def attached(self, name: str) -> bool:
        """Whether the probe of that name is attached."""
        return any(probe.attached for probe in self.probes if probe.name == name)


class Source(Protocol):
    """Delivers snapshots until closed; a context manager."""

    def read(self) -> Snapshot:
        """The counters of now. VMs that ended stay in it for a grace period, alive false."""

    def __enter__(self) -> Source: ...

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None: ...
