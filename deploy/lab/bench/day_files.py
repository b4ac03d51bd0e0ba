# SPDX-License-Identifier: GPL-2.0-only
"""A day of 512 vCPUs as the recorder writes it, in the time that the writing takes.

Numbers are made up, and so is the clock; what becomes of them is what `lpttrace record` does.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lpttrace.recording_host import describe_host
from lpttrace.recording_types import Frame
from lpttrace.recording_writer import Blocks, FileWriter
from lpttrace.synthetic import SyntheticSource, identify

VMS, VCPUS, FRAMES = 64, 8, 86_400

_NS = 10**9
_BEGIN_NS = 1_790_000_000 * _NS
# Load comes and goes over minutes.
_MEMORY, _SPREAD = 0.995, 0.02
_ALLOCATIONS_BETWEEN_COLLECTIONS = 200_000


@dataclass(frozen=True)
class Written:
    """A file, and the CPU time of a frame in seconds: to make its numbers up, and to record it."""

    path: str
    frames: int
    size: int
    made_up: float
    recorded: float


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


def _frames(seed: int, count: int) -> Iterator[Frame]:
    clock = _Clock(seed)
    source = SyntheticSource(VMS, VCPUS, clock=clock)
    for number in range(count):
        clock.tick()
        snapshot = replace(source.read(), start_ns=clock.ns - _NS // 1000, end_ns=clock.ns)
        yield Frame(_BEGIN_NS + number * _NS, snapshot, identify(snapshot))


def write(path: Path, seed: int, count: int = FRAMES) -> Written:
    """Every seed is another day."""
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS)
    made_up = recorded = 0.0
    with FileWriter(path, describe_host("synthetic"), overwrite=True) as writer:
        blocks = Blocks(writer.write)
        since = time.process_time()
        for frame in _frames(seed, count):
            made = time.process_time()
            blocks.add(frame)
            done = time.process_time()
            made_up, recorded, since = made_up + made - since, recorded + done - made, done
        blocks.flush()
    return Written(str(path), count, writer.written, made_up / count, recorded / count)


if __name__ == "__main__":
    print(json.dumps(asdict(write(Path(sys.argv[1]), *map(int, sys.argv[2:])))))
