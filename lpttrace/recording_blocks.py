# SPDX-License-Identifier: GPL-2.0-only
"""Frames in blocks, wherever these are: from the begin, from one of them on, or a few frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Callable, NamedTuple, Optional, TypeVar

from lpttrace.recording_clock import Span, spans_of, steps_of
from lpttrace.recording_decode import shape
from lpttrace.recording_format import BlockHead
from lpttrace.recording_types import Frame, RecordedHost
from lpttrace.snapshot import VmKey

__all__ = ["Block", "BlockFrames", "First"]

# Of the time between two looks: a whole frame at the begin of a block is looked at instead of one
# that comes so much earlier, and takes all those before it in its block to be made.
_LATER = 1 / 16

# Spans may be off by less than that.
_ABOUT_NS = 10 * 10**9

# That are told.
_MOST_STEPS = 3


_Self = TypeVar("_Self", bound="BlockFrames")


@dataclass(frozen=True)
class Block:
    """Frames that can be read without those of others: where in the file, and since when."""

    offset: int
    head: BlockHead

    def overlaps(self, begin_ns: int, end_ns: int) -> bool:
        """Whether there may be frames in it from begin_ns to end_ns (Unix time)."""
        # Its last frame may be the earlier one, where the clock was set back.
        times = self.head.first_ns, self.head.last_ns
        return max(times) >= begin_ns and min(times) <= end_ns


class First(NamedTuple):
    """The first frame of a block before it is made: when it was, by the wall clock and by
    CLOCK_MONOTONIC, which VMs and vCPUs are in it and in which state, to be compared with others
    only, and what makes it, or None if damaged."""

    unix_ns: int
    end_ns: int
    shape: Any
    make: Callable[[], Optional[Frame]]


class BlockFrames(ABC):
    """What can be done with blocks, the same for one file and for several. A context manager."""

    path: str
    blocks: tuple[Block, ...]

    def __enter__(self: _Self) -> _Self:
        return self

    @abstractmethod
    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None: ...

    @property
    @abstractmethod
    def host(self) -> RecordedHost:
        """Where it was made."""

    @property
    @abstractmethod
    def problem(self) -> Optional[str]:
        """Where reading ended early, as far as has been read."""

    @abstractmethod
    def frames_of(self, block: Block) -> Iterator[Frame]:
        """All of them; fewer if it is damaged."""

    @abstractmethod
    def first_of(self, block: Block) -> Optional[First]:
        """Its first frame; None if it is damaged."""

    @abstractmethod
    def ends_of(self, block: Block) -> Mapping[VmKey, int]:
        """VMs that are not alive in it, and since when (CLOCK_MONOTONIC)."""

    @abstractmethod
    def follows(self, block: Block, last_ns: int, end_ns: int) -> bool:
        """Whether a frame that ends then (CLOCK_MONOTONIC) may come after another."""

    @abstractmethod
    def is_end(self, block: Block) -> bool:
        """Whether nothing behind this block can be read."""

    @cached_property
    def spans(self) -> Sequence[Span]:
        """When each block was."""
        return spans_of([block.head for block in self.blocks], self._begin_of)

    @property
    def clock(self) -> Optional[str]:
        """What its times of day are not, as far as blocks tell; None if nothing is wrong."""
        steps = steps_of([block.head for block in self.blocks], self.spans)
        if not steps:
            return None
        told = ", ".join(f"{step / 1e9:+.0f} s" for step in steps[:_MOST_STEPS])
        more = f" and {len(steps) - _MOST_STEPS} more" if len(steps) > _MOST_STEPS else ""
        return (
            f"{self.path}: the host's clock was set, or it slept ({told}{more}): times of day are "
            "not evenly spaced, and may come twice"
        )

    def _begin_of(self, number: int) -> Optional[int]:
        first = self.first_of(self.blocks[number])
        return first and first.end_ns

    def frames(self) -> Iterator[Frame]:
        """All whole frames."""
        return self.frames_from(0)

    def frames_from(self, number: int) -> Iterator[Frame]:
        """All whole frames of blocks from that one on."""
        last_ns = 0
        for block in self.blocks[number:]:
            for frame in self.frames_of(block):
                if not self.follows(block, last_ns, frame.snapshot.end_ns):
                    return
                last_ns = frame.snapshot.end_ns
                yield frame
            if self.is_end(block):
                return

    def count(self, begin_ns: int = 0, end_ns: Optional[int] = None) -> int:
        """How many frames there are from begin_ns to end_ns; of blocks that are all within as many
        as they say themselves."""
        end_ns = 1 << 64 if end_ns is None else end_ns
        found = 0
        for block in self.blocks:
            first, last = block.head.first_ns, block.head.last_ns
            if begin_ns <= min(first, last) and max(first, last) <= end_ns:
                found += block.head.frames
            elif block.overlaps(begin_ns, end_ns):
                found += sum(begin_ns <= f.unix_ns <= end_ns for f in self.frames_of(block))
        return found

    def ends(self, begin_ns: int, end_ns: int) -> Mapping[VmKey, int]:
        """VMs that are not alive in frames from about begin_ns to end_ns, and since which of them
        (CLOCK_MONOTONIC). Of such a frame next to nothing is read."""
        found: dict[VmKey, int] = {}
        for block, span in zip(self.blocks, self.spans):
            if span.end_ns >= begin_ns - _ABOUT_NS and span.begin_ns <= end_ns + _ABOUT_NS:
                found = {**self.ends_of(block), **found}
        return found

    def thin(
        self,
        every_ns: int,
        begin_ns: int = 0,
        end_ns: Optional[int] = None,
        look_ns: Optional[int] = None,
    ) -> Iterator[Frame]:
        """Of the frames from begin_ns to end_ns (Unix time) the first one, the next after at least
        so long, and so on, and the last one. What is between is mostly not even read.

        With look_ns one is looked at that often, and is given, too, if VMs, vCPUs or the state of
        their LPT are not those of the last one looked at; so is that. Then frames are some later.
        """
        found = _Looks(self, begin_ns, end_ns, look_ns is not None)
        looks = found.every(every_ns if look_ns is None else min(every_ns, look_ns))
        return _given(looks, every_ns)


def _given(looks: Iterator[First], every_ns: int) -> Iterator[Frame]:
    due_ns, last, passed = 0, None, None
    for look in looks:
        changed = look.shape != last
        if changed or look.end_ns >= due_ns:
            for wanted in (passed, look) if changed and passed else (look,):
                frame = wanted.make()
                if frame is None:
                    return
                yield frame
            due_ns, passed = look.end_ns + every_ns, None
        else:
            passed = look
        last = look.shape
    frame = passed.make() if passed else None
    if frame is not None:
        yield frame


class _Looks:
    """The frames to look at; those with a shape are not made before they are wanted."""

    def __init__(
        self, source: BlockFrames, begin_ns: int, end_ns: Optional[int], later: bool
    ) -> None:
        self._source, self._begin_ns, self._later = source, begin_ns, later
        self._end_ns = 1 << 64 if end_ns is None else end_ns
        every = [*zip(source.blocks, source.spans)]
        self._blocks = [pair for pair in every if pair[0].overlaps(begin_ns, self._end_ns)]
        self._due_ns, self._given_ns = 0, -1
        self._last: Optional[Frame] = None

    def _is_in(self, unix_ns: int) -> bool:
        return self._begin_ns <= unix_ns <= self._end_ns

    def every(self, step_ns: int) -> Iterator[First]:
        """The first frame, the next ones at least so far from each other, and the last one."""
        for number, (block, span) in enumerate(self._blocks):
            following = self._blocks[number + 1][1] if number + 1 < len(self._blocks) else None
            if following is not None and self._passes(span, following, step_ns):
                continue
            for look in self._in_block(block, span, step_ns, following is None):
                self._due_ns, self._given_ns = look.end_ns + step_ns, look.end_ns
                self._last = None
                yield look
            if self._source.is_end(block):
                self._end_before(number)
                break
        if self._last is not None:
            yield _made(self._last)

    def _passes(self, span: Span, following: Span, step_ns: int) -> bool:
        if span.end_ns < self._due_ns:
            return True
        if not self._later or self._given_ns < 0 or span.begin_ns >= self._due_ns:
            return False
        return following.begin_ns <= self._due_ns + step_ns * _LATER

    def _in_block(self, block: Block, span: Span, step_ns: int, final: bool) -> Iterator[First]:
        begin_ns, end_ns = span
        alone = not final and self._due_ns <= begin_ns and end_ns < begin_ns + step_ns
        if self._later and alone:
            first = self._source.first_of(block)
            if first is not None and self._is_in(first.unix_ns):
                yield first
            return
        for frame in self._source.frames_of(block):
            if not self._is_in(frame.unix_ns):
                continue
            self._last = frame
            if frame.snapshot.end_ns >= self._due_ns:
                yield _made(frame)
                if end_ns < self._due_ns and not final:
                    break

    def _end_before(self, number: int) -> None:
        """Of the block before one that is damaged the last frame is the last of all."""
        if self._last is None and number:
            for frame in self._source.frames_of(self._blocks[number - 1][0]):
                if self._is_in(frame.unix_ns) and frame.snapshot.end_ns > self._given_ns:
                    self._last = frame


def _made(frame: Frame) -> First:
    snapshot = frame.snapshot
    return First(frame.unix_ns, snapshot.end_ns, shape(snapshot), lambda: frame)
