# SPDX-License-Identifier: GPL-2.0-only
"""What a recording is made of. Pure data: record writes it; replay, report and diff read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Callable, Optional, Protocol, runtime_checkable

from lpttrace.model import Guest
from lpttrace.snapshot import Snapshot, VmKey

__all__ = ["Frame", "Frames", "RecordedHost", "SelectableFrames"]


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

    def frames(self) -> Iterator[Frame]:
        """All whole frames from the first on, each time anew; in the order of time."""


@runtime_checkable
class SelectableFrames(Protocol):
    """Frames that need not all be decoded."""

    @property
    def span(self) -> tuple[int, int]:
        """unix_ns of the first and the last."""

    def select(self, wanted: Callable[[int], bool], begin_ns: int, end_ns: int) -> Iterator[Frame]:
        """Frames whose unix_ns is between the two and wanted, which is asked in the order of time
        and after the frame before was taken; and in any case the last one between the two."""
