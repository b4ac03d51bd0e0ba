# SPDX-License-Identifier: GPL-2.0-only
"""What a comparison is asked and what it says. Pure data; docs/diff.md explains each of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from lpttrace.abi import TrapClass
from lpttrace.blocks_lpt import LptHistory
from lpttrace.recording_types import RecordedHost

__all__ = [
    "MEASURES",
    "VERDICTS",
    "Bounds",
    "Difference",
    "HostDifference",
    "Load",
    "LptChange",
    "Options",
    "Row",
    "SideFacts",
]

VERDICTS = ("regressed", "improved", "cannot tell", "same")

MEASURES = {
    "service": "mean service time",
    "tail": "slowest traps",
    "frequency": "traps per timer interrupt",
    "out": "share of traps that lost the CPU",
    "vmm": "time in the VMM per trap",
    "stolen": "share of time stolen",
}
"""What is compared, in words; of interrupts service and tail are lateness."""


@dataclass(frozen=True)
class Options:
    """alpha is the chance of any false alarm in all of a comparison, and 1 - alpha the confidence
    of every interval; threshold the relative change below which two values are the same."""

    alpha: float = 0.01
    threshold: float = 0.05


@dataclass(frozen=True)
class Bounds:
    """A relative change and its confidence interval: 0.1 is 10 % more."""

    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One thing compared. vcpu is None of what is about all vCPUs of the VM (but those that have
    rows of their own). quantile is that which a tail is told by.

    before and after are in ns ("service", "tail", "vmm") or plain ratios; None where there is
    nothing. effect_ns is the time that guests lose more than before, per second and vCPU, at the
    load of before. p is corrected.
    """

    vm: str
    vcpu: Optional[int]
    cls: TrapClass
    measure: str
    verdict: str
    reason: str
    before: Optional[float]
    after: Optional[float]
    bounds: Optional[Bounds]
    p: Optional[float]
    effect_ns: float
    samples: tuple[int, int] = (0, 0)
    blocks: tuple[int, int] = (0, 0)
    joined: int = 1
    quantile: Optional[float] = None
    p99: Optional[tuple[float, float]] = None


@dataclass(frozen=True)
class HostDifference:
    """Something that two sides do not have in common; matters if numbers depend on it."""

    what: str
    before: str
    after: str
    matters: str = ""


@dataclass(frozen=True)
class Load:
    """How busy a VM was, before and after; per second and vCPU, None where it cannot be seen.

    lost_ns is service time and time in the VMM.
    """

    vm: str
    vcpus: tuple[int, int]
    interrupts: tuple[Optional[float], Optional[float]]
    hypercalls: tuple[Optional[float], Optional[float]]
    timer_traps: tuple[Optional[float], Optional[float]]
    lost_ns: tuple[float, float]


@dataclass(frozen=True)
class LptChange:
    """A VM whose LPT is not the same on both sides, or was not throughout."""

    vm: str
    before: LptHistory
    after: LptHistory


@dataclass(frozen=True)
class SideFacts:
    """A recording, or the window of it that was compared; times are the wall clock's. problem says
    why reading ended early."""

    host: RecordedHost
    begin_ns: int
    end_ns: int
    frames: int
    blocks: int
    block_seconds: float
    problem: Optional[str] = None


@dataclass(frozen=True)
class Difference:
    """The answer. only_before and only_after are VMs without a counterpart."""

    options: Options
    before: tuple[SideFacts, ...]
    after: tuple[SideFacts, ...]
    hosts: tuple[HostDifference, ...]
    loads: tuple[Load, ...]
    rows: tuple[Row, ...]
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    lpt: tuple[LptChange, ...] = ()

    def having(self, verdict: str) -> tuple[Row, ...]:
        """The rows with this verdict, in order."""
        return tuple(row for row in self.rows if row.verdict == verdict)
