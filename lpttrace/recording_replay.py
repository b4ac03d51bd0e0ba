# SPDX-License-Identifier: GPL-2.0-only
"""A recording as a Source: what was counted then, as if it were now."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Callable, Optional

from lpttrace.model import Guest
from lpttrace.recording_blocks import BlockFrames
from lpttrace.recording_format import RecordingError
from lpttrace.recording_types import Frame
from lpttrace.snapshot import Snapshot, VmKey

__all__ = ["Cursor", "Player", "ReplaySource"]

_NS = 10**9
# What ends of spans may be off by.
_ABOUT_NS = 10**9


class Cursor:
    """A place in a recording: the frame of a moment, and the one before it."""

    def __init__(self, recording: BlockFrames) -> None:
        """RecordingError if there is not one frame."""
        self._recording = recording
        begins = [block.head.first_ns for block in recording.blocks]
        # Where the wall clock was set, time goes on as it was at the begin.
        self._offset_ns: Optional[int] = None
        if recording.clock is not None:
            self._offset_ns = begins[0] - recording.spans[0].begin_ns
            begins = [span.begin_ns + self._offset_ns for span in recording.spans]
        self._begins = begins
        self._frames: Iterator[Frame] = iter(())
        self.before: Optional[Frame] = None
        self._now: Optional[Frame] = None
        self._next: Optional[Frame] = None
        self._go_to(0)

    def _go_to(self, block: int) -> None:
        self._block = block
        self._frames = self._recording.frames_from(block)
        self.before, self._now = None, None
        self._next = next(self._frames, None)
        self._step()

    def _step(self) -> None:
        if self._next is None:
            why = self._recording.problem or "nothing was recorded"
            raise RecordingError(f"cannot replay {self._recording.path}: no frame in it: {why}")
        self.before, self._now = self._now, self._next
        self._next = next(self._frames, None)

    def time_of(self, frame: Frame) -> int:
        """When it was, by a clock that is never set back."""
        if self._offset_ns is None:
            return frame.unix_ns
        return frame.snapshot.end_ns + self._offset_ns

    @property
    def end_ns(self) -> int:
        """When all frames have been."""
        last, offset_ns = self._recording.blocks[-1].head, self._offset_ns
        if offset_ns is None:
            return last.last_ns
        return self._recording.spans[-1].end_ns + offset_ns + _ABOUT_NS

    @property
    def now(self) -> Frame:
        """The frame it is at."""
        assert self._now is not None
        return self._now

    @property
    def next_ns(self) -> Optional[int]:
        """The time of the frame behind it, None at the end."""
        return self.time_of(self._next) if self._next else None

    def at(self, unix_ns: int) -> Frame:
        """Go to the last frame that is not after that, or to the first one."""
        # From a block before, so that there is a frame before this one.
        block = max(0, bisect_right(self._begins, unix_ns) - 2)
        now_ns = self.time_of(self.now)
        if unix_ns < now_ns or self._begins[block] > now_ns:
            self._go_to(block)
        while self._next is not None and self.time_of(self._next) <= unix_ns:
            self._step()
        return self.now


class Player:
    """The time in a recording, which passes as fast as one likes, from its begin to its end."""

    def __init__(
        self,
        begin_ns: int,
        end_ns: int,
        speed: float = 1.0,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.begin_ns, self.end_ns = begin_ns, max(begin_ns, end_ns)
        self._clock, self._speed, self._paused = clock, speed, False
        self._from_ns, self._since = begin_ns, clock()

    @property
    def position_ns(self) -> int:
        """What time it is there."""
        passed = 0 if self._paused else round((self._clock() - self._since) * self._speed)
        return min(self._from_ns + passed, self.end_ns)

    def seek(self, unix_ns: int) -> None:
        """Go on from there."""
        self._from_ns = min(max(unix_ns, self.begin_ns), self.end_ns)
        self._since = self._clock()

    @property
    def speed(self) -> float:
        """How many times as fast as it was recorded."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self.seek(self.position_ns)
        self._speed = speed

    @property
    def paused(self) -> bool:
        """Whether time stands."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self.seek(self.position_ns)
        self._paused = paused


class ReplaySource:
    """Plays a recording once, and stays at its end."""

    def __init__(
        self, recording: BlockFrames, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """RecordingError if there is not one frame."""
        self.recording = recording
        self.cursor = Cursor(recording)
        begin_ns = self.cursor.time_of(self.cursor.now)
        self.player = Player(begin_ns, self.cursor.end_ns, clock=clock)
        self._begun = time.time()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Whether there should be more of it, and other times."""
        told = self.recording.problem, self.recording.clock
        return tuple(text for text in told if text)

    def __enter__(self) -> ReplaySource:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.recording.__exit__(kind, value, trace)

    def read(self) -> Snapshot:
        """The counters of the moment that it is at."""
        return self.cursor.at(self.player.position_ns).snapshot

    def unix_time(self) -> float:
        """When what was read last was counted, had the recording begun when this was made. At the
        end it stands, as the counters do."""
        return self._begun + (self.cursor.time_of(self.cursor.now) - self.player.begin_ns) / _NS

    def identify(self, snapshot: Snapshot) -> Mapping[VmKey, Guest]:
        """Who the VMs were when that was read last."""
        return self.cursor.now.guests
