# SPDX-License-Identifier: GPL-2.0-only
"""Events: from the kernel's hash, where they wait, to the last ones that snapshots have."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from ctypes import sizeof

from lpttrace import abi
from lpttrace.decode import decode_event
from lpttrace.maps import delete, keys, lookup
from lpttrace.snapshot import MOST_EVENTS, Event, VmKey

__all__ = ["Events"]

_KEY, _VALUE = sizeof(abi.EventKey), sizeof(abi.Event)
_WAITS_NS = 10_000_000_000
# While others read beside us: how long events stay for them, and if there are many.
_SHOWS_NS = 5_000_000_000
_SHOWS_AT_LEAST_NS = 2_500_000_000
_MANY = 512


class Events:
    """The last ones. An event is lost if it goes without having been in any snapshot."""

    def __init__(self, fd: int) -> None:
        """fd is the hash's, and stays the caller's."""
        self._fd = fd
        self._seen: set[bytes] = set()
        self._waiting: list[bytes] = []
        self.last: deque[Event] = deque(maxlen=MOST_EVENTS)
        """For snapshots, in the order in which they were found."""
        self.lost = 0

    def read(self, vms: Mapping[int, VmKey]) -> None:
        """Find the new ones of these VMs, which are by index."""
        found = []
        self._waiting = keys(self._fd, _KEY)
        self._seen.intersection_update(self._waiting)
        for key in self._waiting:
            value = None if key in self._seen else lookup(self._fd, key, _VALUE)
            event = decode_event(key, value, vms) if value else None
            if event:
                found.append(event)
                self._seen.add(key)
        self.lost += max(0, len(found) - MOST_EVENTS)
        self.last.extend(sorted(found, key=lambda event: event.ns))

    def drop(self, shared: bool) -> None:
        """Make room in the hash; if it is shared, what others who look may not have seen stays.

        An event whose VM is newer than that reading's VMs waits for the next; one whose VM never
        had a record waits in vain.
        """
        shows_ns = _SHOWS_AT_LEAST_NS if len(self._waiting) >= _MANY else _SHOWS_NS
        now = time.monotonic_ns()
        for key in self._waiting:
            seen = key in self._seen
            stays_ns = _WAITS_NS if not seen else shows_ns if shared else 0
            if now - abi.EventKey.from_buffer_copy(key).ns > stays_ns:
                delete(self._fd, key)
                self.lost += not seen
