# SPDX-License-Identifier: GPL-2.0-only
"""VMs that ended and stay in snapshots for a while, so that their last counts are read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence
from typing import NamedTuple

from lpttrace.snapshot import VcpuCounters, VmCounters

__all__ = ["AT_LEAST", "Ended"]

AT_LEAST = 512
"""Room for VMs that ended where there is room for few that run: they come and go all the more."""


class _Entry(NamedTuple):
    until: float
    vm: VmCounters
    vcpus: Sequence[VcpuCounters]


class Ended:
    """At most so many VMs, with at most so many vCPUs in all: room that guests come and go in
    cannot grow. Whom there is no room for any more goes first that ended first."""

    def __init__(self, seconds: float, most: int) -> None:
        """Each of them for so many seconds."""
        self._seconds, self._most = seconds, most
        self._entries: deque[_Entry] = deque()
        self._vcpus = 0
        self.let_go = 0
        """How many went before their time."""

    def add(self, vm: VmCounters, vcpus: Collection[VcpuCounters]) -> None:
        """It has just ended, with these last counts."""
        self._entries.append(_Entry(time.monotonic() + self._seconds, vm, tuple(vcpus)))
        self._vcpus += len(vcpus)
        while max(len(self._entries), self._vcpus) > self._most and len(self._entries) > 1:
            self._drop()
            self.let_go += 1

    def _drop(self) -> None:
        self._vcpus -= len(self._entries.popleft().vcpus)

    def expire(self) -> None:
        """Let go of those whose time is over."""
        now = time.monotonic()
        while self._entries and self._entries[0].until <= now:
            self._drop()

    @property
    def vms(self) -> tuple[VmCounters, ...]:
        """All of them."""
        return tuple(entry.vm for entry in self._entries)

    @property
    def vcpus(self) -> tuple[VcpuCounters, ...]:
        """All of theirs."""
        return tuple(vcpu for entry in self._entries for vcpu in entry.vcpus)
