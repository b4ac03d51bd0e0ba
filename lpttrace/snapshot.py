# SPDX-License-Identifier: GPL-2.0-only
"""Raw counters of one moment, and the protocol of everything that delivers them.

Live maps, recordings and synthetic data are all a Source, so that everything after them is one
path. Nothing here computes a rate.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Optional, Protocol

from lpttrace.abi import BUCKETS, TrapClass
from lpttrace.snapshot_upkeep import Upkeep

__all__ = [
    "Account",
    "Answers",
    "Calls",
    "Event",
    "Histogram",
    "Interrupts",
    "LptStructure",
    "LptUpdates",
    "MOST_EVENTS",
    "Probe",
    "Snapshot",
    "Source",
    "Stolen",
    "Trap",
    "VcpuCounters",
    "VmCounters",
    "VmKey",
]

MOST_EVENTS = 1024
"""In a snapshot; as many wait in the kernel at most."""


@dataclass(frozen=True)
class Account:
    """So many traps, and the nanoseconds they took in all."""

    count: int = 0
    ns: int = 0


class Histogram(NamedTuple):
    """Counts of nanoseconds in the buckets of abi.BUCKET_BOUNDS.

    lanes has a count in every 64 bits: from the lowest on, those of the even buckets, then those of
    the odd ones, which is how they come out of pairs of 32 bits. So histograms are taken over,
    added and subtracted with a few operations each; a lane is never negative and never overflows.
    """

    lanes: int = 0

    @classmethod
    def of(cls, counts: Sequence[int]) -> Histogram:
        """From a count for each bucket, in order."""
        lanes = array("Q", (*counts[::2], *counts[1::2]))
        if sys.byteorder != "little":
            lanes.byteswap()
        return cls(int.from_bytes(lanes.tobytes(), "little"))

    def counts(self) -> list[int]:
        """The count of each bucket, in order."""
        lanes = array("Q", self.lanes.to_bytes(8 * BUCKETS, "little"))
        if sys.byteorder != "little":
            lanes.byteswap()
        counts = [0] * BUCKETS
        counts[::2], counts[1::2] = lanes[: BUCKETS // 2], lanes[BUCKETS // 2 :]
        return counts

    def total(self) -> int:
        """How many were counted."""
        # 2^64 is 1 modulo this, so what remains is the sum of the lanes.
        return self.lanes % ((1 << 64) - 1)

    def since(self, before: Histogram) -> Histogram:
        """What came after an earlier state of the same histogram."""
        return Histogram(self.lanes - before.lanes)


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

    served ran in the kernel on a CPU from handler to kvm_entry; scheduled_out lost the CPU on the
    way; userspace needed the VMM. pending is 1 while one more is being served. service has the
    times of those served.
    """

    served: Account = Account()
    scheduled_out: Account = Account()
    userspace: Account = Account()
    pending: int = 0
    service: Histogram = Histogram()

    @property
    def count(self) -> int:
        """All traps the guest made, the one being served included."""
        return self.served.count + self.scheduled_out.count + self.userspace.count + self.pending


@dataclass(frozen=True)
class Interrupts:
    """Interrupts of one timer of a vCPU that were made pending for the guest.

    overdue are those of an emulated timer whose deadline had passed when the guest set it.
    """

    delivered: int = 0
    overdue: int = 0


@dataclass(frozen=True)
class Stolen:
    """Updates of a vCPU's stolen time, and the nanoseconds that they told the guest of."""

    updates: Account = Account()
    stolen_ns: int = 0


@dataclass(frozen=True)
class Answers:
    """How often a guest asked one question about pvtime, was refused, and was told last.

    last is x0 as the guest got it, signed: an address, or 0, or negative for a refusal.
    """

    asked: int
    refused: int
    last: int


@dataclass(frozen=True)
class VcpuCounters:
    """One vCPU. What did not occur is absent from the mappings.

    traps is by class; interrupts by name of abi.TIMERS; answers by name of abi.QUESTIONS.
    lateness is of emulated timers, from deadline to the entry that delivers; late has its times.
    stolen is None if no update was made. unpaired counts traps whose end was not seen.
    last_unknown is a function id or None. seen_ns is when the vCPU was first seen, and all its
    counts were 0 (CLOCK_MONOTONIC).
    """

    vm: VmKey
    vcpu: int
    tid: int
    traps: Mapping[TrapClass, Trap]
    unpaired: int = 0
    last_unknown: Optional[int] = None
    interrupts: Mapping[str, Interrupts] = field(default_factory=dict)
    lateness: Account = Account()
    late: Histogram = Histogram()
    stolen: Optional[Stolen] = None
    answers: Mapping[str, Answers] = field(default_factory=dict)
    seen_ns: int = 0


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

    @property
    def runs(self) -> int:
        """On how many hosts the VM has run: the number without bit 0, which is reserved, so that
        the next host leaves it out, whatever the guest has written there."""
        return self.sequence_number >> 1


@dataclass(frozen=True)
class LptUpdates:
    """LPT updates of one VM.

    results maps "published", "einval", "efault" or "error" to its account; results that did not
    occur are absent. last_error is the errno of the last failure, 0 for none. nothing counts calls
    that had nothing to do: LPT off, or another vCPU had done it. previous is what the guest's
    memory had before: None for a VM that has not run elsewhere, or where that cannot be seen.
    """

    results: Mapping[str, Account] = field(default_factory=dict)
    nothing: int = 0
    last_error: int = 0
    structure: Optional[LptStructure] = None
    published_ns: int = 0
    previous: Optional[LptStructure] = None


@dataclass(frozen=True)
class Calls:
    """Calls of one kind about VM attributes."""

    done: int = 0
    failed: int = 0


@dataclass(frozen=True)
class VmCounters:
    """One VM. lpt is None where LPT updates cannot be seen, which is not the same as none made.

    calls is by name of abi.CALLS; None where they cannot be seen. number is which of its process's
    VMs it is, from 1, if the source knows; else 0.
    """

    key: VmKey
    tgid: int
    alive: bool
    lpt: Optional[LptUpdates]
    calls: Optional[Mapping[str, Calls]] = None
    number: int = 0


@dataclass(frozen=True)
class Event:
    """Something rare, at ns (CLOCK_MONOTONIC). kind is of abi.EVENT_KINDS; error an errno or 0.

    group, attribute and value are of a call about a VM attribute, value as the first 8 bytes at
    its address. old_hz and new_hz are the native frequencies of an LPT update: before (0: the VM
    had not run elsewhere) and published (0: nothing was).
    """

    ns: int
    vm: VmKey
    kind: str
    error: int
    group: int = 0
    attribute: int = 0
    value: Optional[int] = None
    old_hz: int = 0
    new_hz: int = 0


@dataclass(frozen=True)
class Probe:
    """A place in the kernel this run counts at, or the reason why it does not."""

    name: str
    attached: bool
    reason: str = ""


@dataclass(frozen=True)
class Snapshot:
    """Everything counted, at a moment between start_ns and end_ns (CLOCK_MONOTONIC).

    probes says what the absence of a number means. losses maps the names of struct lpt_losses,
    "torn" (vCPUs read at the second best) and "gone_early" (VMs that ended and did not stay for
    the whole grace period) to counts. events are the last MOST_EVENTS, oldest first. counter_hz is
    this host's counter frequency, None if unknown. upkeep is about the source.
    """

    start_ns: int
    end_ns: int
    vms: tuple[VmCounters, ...]
    vcpus: tuple[VcpuCounters, ...]
    probes: tuple[Probe, ...]
    losses: Mapping[str, int]
    events: tuple[Event, ...] = ()
    counter_hz: Optional[int] = None
    upkeep: Upkeep = Upkeep()

    def attached(self, name: str) -> bool:
        """Whether the probe of that name is attached."""
        return any(probe.attached for probe in self.probes if probe.name == name)


class Source(Protocol):
    """Delivers snapshots until closed; a context manager."""

    def read(self) -> Snapshot:
        """The counters of now. VMs that ended stay in it for a grace period, alive false; vCPUs
        stay as long as their VM."""

    def __enter__(self) -> Source: ...

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None: ...
