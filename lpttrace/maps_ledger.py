# SPDX-License-Identifier: GPL-2.0-only
"""What one owner of the maps has to tell the next: an array of words that stays with them."""

from __future__ import annotations

import ctypes
import os
import sys
from array import array
from functools import cached_property

from lpttrace.maps import MappedArray

__all__ = ["PLACES", "WORDS", "Ledger"]

PLACES = 1 << 15
"""For how many processes there is room: as many as a kernel has pids, unless told otherwise."""

_NEXT, _LOST_EVENTS, _FIRST = 0, 1, 2
WORDS = _FIRST + PLACES
"""Of the array, 8 bytes each."""

_PID_BITS = 32
_PID = (1 << _PID_BITS) - 1


class _Word(ctypes.Structure):
    _fields_ = [("word", ctypes.c_uint64)]


class Ledger:
    """The highest number that a VM of each process had, and how many events the owner lost.

    A process is forgotten after PLACES others, the one first that came first, unless it lives.
    Every step is the store of one word, so any may be the last of a process that is killed.
    """

    def __init__(self, fd: int) -> None:
        """fd is the array's, of WORDS words, and may be closed after."""
        self._words = MappedArray(fd, _Word, WORDS)

    def close(self) -> None:
        """Unmap; idempotent."""
        self._words.close()

    def _read(self, place: int) -> int:
        return int.from_bytes(self._words.copy(place), sys.byteorder)

    @property
    def lost_events(self) -> int:
        """By all owners that there were."""
        return self._read(_LOST_EVENTS)

    def lose_events(self, count: int) -> None:
        """So many more. Like all that writes, for the owner only."""
        if count:
            self._words.write_u64(_LOST_EVENTS, self._read(_LOST_EVENTS) + count)

    @cached_property
    def _places(self) -> dict[int, int]:
        words = array("Q", self._words.copy(0, 0, 8 * WORDS))
        return {word & _PID: place for place, word in enumerate(words) if place >= _FIRST and word}

    def last_number(self, pid: int) -> int:
        """The highest that was noted of the process, 0 if none was."""
        place = self._places.get(pid)
        return 0 if place is None else self._read(place) >> _PID_BITS

    def note_number(self, pid: int, number: int) -> None:
        """From now on it is at least that."""
        if number > self.last_number(pid):
            if pid not in self._places:
                self._places[pid] = self._take()
            self._words.write_u64(self._places[pid], number << _PID_BITS | pid)

    def _take(self) -> int:
        # The next place whose process is gone; if all of them live, which no host has room for, the
        # next.
        for _ in range(PLACES):
            place = self._step()
            pid = self._read(place) & _PID
            if not pid or not os.path.exists(f"/proc/{pid}"):
                break
        self._places.pop(pid, None)
        return place

    def _step(self) -> int:
        turn = self._read(_NEXT) % PLACES
        self._words.write_u64(_NEXT, (turn + 1) % PLACES)
        return _FIRST + turn
