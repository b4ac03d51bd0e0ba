# SPDX-License-Identifier: GPL-2.0-only
"""A day of 512 vCPUs as `lpttrace record` writes it; numbers are made up, and the time is, too."""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lpttrace.recording_format import Body
from lpttrace.recording_host import describe_host
from lpttrace.recording_types import Frame
from lpttrace.recording_writer import Blocks, FileWriter
from lpttrace.synthetic import SyntheticSource, identify

VMS, VCPUS = 64, 8
# What the recorder puts into a block, at 1 s; it is a day but for some seconds.
BLOCK_FRAMES, BLOCKS = 11, 86_400 // 11

_NS = 10**9
_BEGIN_NS = 1_790_000_000 * _NS
# Load comes and goes over minutes.
_MEMORY, _SPREAD = 0.995, 0.02
_ALLOCATIONS_BETWEEN_COLLECTIONS = 200_000


@dataclass(frozen=True)
class Written:
    """How many frames are in a file, and how many of them were recorded; of each of these the CPU
    time in seconds to make its numbers up, and to record it."""

    frames: int
    recorded: int
    size: int
    made_up_seconds: float
    record_seconds: float


class _Clock:
    """What it tells passes faster and slower, so that the load does."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._pace = 0.0
        self.ns = self.shown_ns = 5000 * _NS

    def __call__(self) -> int:
        return self.shown_ns

    def tick(self) -> None:
        """A second later."""
        step = self._random.gauss(0, _SPREAD * (1 - _MEMORY**2) ** 0.5)
        self._pace = _MEMORY * self._pace + step
        self.ns += _NS
        self.shown_ns += int(_NS * min(max(1 + self._pace, 0.5), 1.5))


class _Writer:
    """Takes the CPU time that is spent in it."""

    def __init__(self, file: FileWriter) -> None:
        self._file, self._blocks = file, Blocks(self._take)
        self.frames, self.spent = 0, 0.0
        self._last: Body | None = None

    def _take(self, body: Body) -> None:
        self._last = body
        self._file.write(body)

    def add(self, frame: Frame) -> None:
        begin = time.process_time()
        self._blocks.add(frame)
        self.spent += time.process_time() - begin
        self.frames += 1

    def copy(self, first_ns: int, last_ns: int) -> None:
        """The last block again, as if it were of another time."""
        assert self._last is not None
        self._file.write(replace(self._last, first_ns=first_ns, last_ns=last_ns))

    def flush(self) -> None:
        self._blocks.flush()


def write(path: Path, seed: int, every: int) -> Written:
    """Every seed is another day; of so many blocks one is recorded, and the others are copies of it
    but for their times."""
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS)
    clock, used = _Clock(seed), time.process_time()
    source = SyntheticSource(VMS, VCPUS, clock=clock)
    with FileWriter(path, describe_host("synthetic"), overwrite=True) as file:
        writer = _Writer(file)
        for number in range(BLOCKS * BLOCK_FRAMES):
            clock.tick()
            block, place = divmod(number, BLOCK_FRAMES)
            if block % every == 0 or block == BLOCKS - 1:
                writer.add(_frame(source, clock, number))
            elif place == 0:
                writer.copy(_unix_ns(number), _unix_ns(number + BLOCK_FRAMES - 1))
        writer.flush()
    made_up = time.process_time() - used - writer.spent
    each = made_up / writer.frames, writer.spent / writer.frames
    return Written(BLOCKS * BLOCK_FRAMES, writer.frames, file.written, *each)


def _frame(source: SyntheticSource, clock: _Clock, number: int) -> Frame:
    snapshot = replace(source.read(), start_ns=clock.ns - _NS // 1000, end_ns=clock.ns)
    return Frame(_unix_ns(number), snapshot, identify(snapshot))


def _unix_ns(number: int) -> int:
    return _BEGIN_NS + number * _NS


if __name__ == "__main__":
    print(json.dumps(asdict(write(Path(sys.argv[1]), *map(int, sys.argv[2:])))))
