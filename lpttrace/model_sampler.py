# SPDX-License-Identifier: GPL-2.0-only
"""From a source to frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Callable, Optional

from lpttrace.model import Guest, Model, Tally, compare, tally
from lpttrace.snapshot import Snapshot, VmKey

__all__ = ["Sampler", "retain"]


def retain(last: Snapshot, now: Snapshot) -> Snapshot:
    """now, and the VMs of last that are gone from it: their last counts, not alive, and events."""
    present = {vm.key for vm in now.vms}
    gone = tuple(replace(vm, alive=False) for vm in last.vms if vm.key not in present)
    keys = {vm.key for vm in gone}
    vcpus = tuple(vcpu for vcpu in last.vcpus if vcpu.vm in keys)
    events = dict.fromkeys((*(event for event in last.events if event.vm in keys), *now.events))
    return replace(
        now,
        vms=now.vms + gone,
        vcpus=now.vcpus + vcpus,
        events=tuple(sorted(events, key=lambda event: event.ns)),
    )


class Sampler:
    """Frames from a source: each next() is about the time since the one before."""

    def __init__(
        self,
        read: Callable[[], Snapshot],
        identify: Callable[[Snapshot], Mapping[VmKey, Guest]],
        keep: bool = False,
    ) -> None:
        """keep also shows VMs that ended so long ago that the source has let go of them."""
        self._read = read
        self._identify = identify
        self._keep = keep
        self._before: Optional[Tally] = None
        self._last: Optional[Snapshot] = None

    def peek(self) -> None:
        """Read without ending the interval: learns the names of VMs that may end before next()."""
        self._sample()

    def next(self) -> Model:
        """The frame of now."""
        snapshot, guests = self._sample()
        now = tally(snapshot)
        model = compare(self._before, now, guests)
        self._before = now
        return model

    def _sample(self) -> tuple[Snapshot, Mapping[VmKey, Guest]]:
        snapshot = self._read()
        if self._keep:
            snapshot = retain(self._last, snapshot) if self._last else snapshot
            self._last = snapshot
        return snapshot, self._identify(snapshot)
