# SPDX-License-Identifier: GPL-2.0-only
"""What LPT VMs had in the course of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Callable, NamedTuple, Optional

from lpttrace.model import Guest
from lpttrace.model_lpt import lpt_state
from lpttrace.snapshot import Snapshot, VmCounters, VmKey

__all__ = ["LptHistory", "LptPhase", "LptWatch", "joined"]


class LptPhase(NamedTuple):
    """A state of model_lpt.lpt_state, and the frequencies published, 0 if none are or what was
    published is wrong."""

    state: str
    pv_hz: int
    native_hz: int


@dataclass(frozen=True)
class LptHistory:
    """The phases of VMs of one name, each once, in the order in which they were first seen, and
    how many updates were made meanwhile."""

    phases: tuple[LptPhase, ...]
    updates: int


def joined(histories: Iterable[LptHistory]) -> LptHistory:
    """Of several recordings."""
    every = tuple(histories)
    phases = dict.fromkeys(phase for history in every for phase in history.phases)
    return LptHistory(tuple(phases), sum(history.updates for history in every))


class LptWatch:
    """Sees snapshots in order of time; VMs whose LPT cannot be seen are not in its histories."""

    def __init__(self, group: Callable[[Guest], Optional[str]]) -> None:
        self._group = group
        self._names: dict[VmKey, Optional[str]] = {}
        self._phases: dict[str, dict[LptPhase, None]] = {}
        self._updates: dict[VmKey, tuple[int, int]] = {}
        self._begun = False

    def see(self, snapshot: Snapshot, guests: Mapping[VmKey, Guest]) -> None:
        """The next one."""
        for vm in snapshot.vms:
            if vm.key not in self._names:
                self._names[vm.key] = self._group(guests[vm.key])
            name, phase = self._names[vm.key], _phase(vm, snapshot.counter_hz)
            if name is not None and phase is not None:
                self._phases.setdefault(name, {})[phase] = None
                made = _made(vm)
                # Those of a VM that came later were all made meanwhile.
                first = self._updates.get(vm.key, (0 if self._begun else made, 0))[0]
                self._updates[vm.key] = first, made
        self._begun = True

    def histories(self) -> Mapping[str, LptHistory]:
        """By name."""
        totals = dict.fromkeys(self._phases, 0)
        for key, (first, last) in self._updates.items():
            totals[self._names[key] or ""] += max(0, last - first)
        return {
            name: LptHistory(tuple(phases), totals[name]) for name, phases in self._phases.items()
        }


def _phase(vm: VmCounters, counter_hz: Optional[int]) -> Optional[LptPhase]:
    state = lpt_state(vm.lpt, counter_hz)
    if vm.lpt is None or state is None:
        return None
    structure = vm.lpt.structure
    if structure is None or state == "wrong":
        return LptPhase(state, 0, 0)
    return LptPhase(state, structure.pv_freq, structure.native_freq)


def _made(vm: VmCounters) -> int:
    return sum(account.count for account in vm.lpt.results.values()) if vm.lpt else 0
