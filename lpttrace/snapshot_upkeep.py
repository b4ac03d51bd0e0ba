# SPDX-License-Identifier: GPL-2.0-only
"""What a source holds and costs, beside what it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Optional

__all__ = ["ProgramRuns", "Room", "Upkeep"]


class Room(NamedTuple):
    """Places for vCPUs or VMs: those taken, and all there are."""

    used: int
    places: int


class ProgramRuns(NamedTuple):
    """How often a BPF program ran while that was counted, and the nanoseconds it took."""

    program: str
    runs: int
    ns: int


@dataclass(frozen=True)
class Upkeep:
    """begin_ns is when counting began (CLOCK_MONOTONIC); bcc the version that loaded the programs.

    slots and records are the room for vCPUs and VMs, None where there is no limit. programs is
    empty unless their runs are counted.
    """

    begin_ns: int = 0
    bcc: str = ""
    slots: Optional[Room] = None
    records: Optional[Room] = None
    programs: tuple[ProgramRuns, ...] = ()
