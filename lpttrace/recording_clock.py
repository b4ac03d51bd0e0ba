# SPDX-License-Identifier: GPL-2.0-only
"""When blocks were recorded by a clock that nobody sets: their heads have the wall clock's times.

Where the times of heads go on as the others do, so does CLOCK_MONOTONIC; where they do not, it is
read from the first frame behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Callable, NamedTuple, Optional

from lpttrace.recording_format import BLOCK_NS, BlockHead

__all__ = ["Span", "spans_of", "steps_of"]

# Less is what a clock is set by all the time.
_STEP_NS = 10**9
# Frames are not exactly an interval apart.
_LATE_INTERVALS, _LATE_NS = 3, 10**9


class Span(NamedTuple):
    """Of a block, when its first and its last frame were (CLOCK_MONOTONIC), about; where the wall
    clock was set or the host slept meanwhile, it ends where the next one begins."""

    begin_ns: int
    end_ns: int


def spans_of(
    heads: Sequence[BlockHead], begin_of: Callable[[int], Optional[int]]
) -> Sequence[Span]:
    """Of blocks in order; begin_of reads when the first frame of one was, None if it is damaged."""
    late_ns = _LATE_INTERVALS * _interval_ns(heads) + _LATE_NS
    found: list[Span] = []
    offset_ns, told_ns = 0, None
    for number, head in enumerate(heads):
        if told_ns is None or not 0 <= head.first_ns - told_ns <= late_ns:
            begin_ns = begin_of(number)
            offset_ns = offset_ns if begin_ns is None else begin_ns - head.first_ns
            if found and told_ns is None:
                found[-1] = Span(found[-1].begin_ns, head.first_ns + offset_ns)
        length_ns = head.last_ns - head.first_ns
        steady = 0 <= length_ns <= BLOCK_NS + late_ns
        told_ns = head.last_ns if steady else None
        begin_ns = head.first_ns + offset_ns
        found.append(Span(begin_ns, begin_ns + (length_ns if steady else BLOCK_NS)))
    return found


def steps_of(heads: Sequence[BlockHead], spans: Sequence[Span]) -> Sequence[int]:
    """By how much the wall clock went on more, or less, than the other did, each time."""
    offsets = [head.first_ns - span.begin_ns for head, span in zip(heads, spans)]
    steps = [after - before for before, after in zip(offsets, offsets[1:])]
    return [step for step in steps if abs(step) >= _STEP_NS]


def _interval_ns(heads: Sequence[BlockHead]) -> float:
    apart = [abs(h.last_ns - h.first_ns) / (h.frames - 1) for h in heads if h.frames > 1]
    return median(apart) if apart else 0.0
