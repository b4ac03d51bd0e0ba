# SPDX-License-Identifier: GPL-2.0-only
"""What a recording is made of. Pure data: record writes it; replay, report and diff read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Optional, Protocol, runtime_checkable

from lpttrace.model import Guest
from lpttrace.snapshot import Snapshot, VmKey

__all__ = ["Frame", "Frames", "RecordedHost", "ThinFrames"]


@dataclass(frozen=True)
class RecordedHost:
    """Where, and with what, a recording was made.

    kernel is the release, build_id of the running kernel in hex ("" if unknown), cpu the model as
    the kernel names it, el2 "vhe", "nvhe" or None, counter_hz None if unknown. source is "live" or
    "synthetic". Probes, with the reason where one is not attached, are in every snapshot.
    """

    hostname: str
    kernel: str
    build_id: str
    architecture: str
    cpu: str
    cpus: int
    el2: Optional[str]
    counter_hz: Optional[int]
    lpttrace: str
    layout: int
    source: str


@dataclass(frozen=True)
class Frame:
    """Raw counters at a moment: unix_ns is the wall clock's, at the end of the reading."""

    unix_ns: int
    snapshot: Snapshot
    guests: Mapping[VmKey, Guest]


class Frames(Protocol):
    """A recording that is open, or anything like it."""

    @property
    def host(self) -> RecordedHost:
        """The same for all frames."""

    @property
    def problem(self) -> Optional[str]:
        """Why reading ended early, as far as has been read; None if it did not."""

    def frames(self) -> Iterator[Frame]:
        """All whole frames from the first on, each time anew; in the order of time."""


@runtime_checkable
class ThinFrames(Protocol):
    """Frames that need not all be decoded."""

    def count(self, begin_ns: int = 0, end_ns: Optional[int] = None) -> int:
        """How many frames there are from begin_ns to end_ns."""

    def thin(
        self,
        every_ns: int,
        begin_ns: int = 0,
        end_ns: Optional[int] = None,
        look_ns: Optional[int] = None,
    ) -> Iterator[Frame]:
        """Of those from begin_ns to end_ns (Unix time) the first one, the next after at least so
        long by CLOCK_MONOTONIC, and so on, and the last one; recording_blocks has what look_ns is.
        """

    def ends(self, begin_ns: int, end_ns: int) -> Mapping[VmKey, int]:
        """VMs that are not alive in frames from about begin_ns to end_ns, and since which of them
        (CLOCK_MONOTONIC)."""
