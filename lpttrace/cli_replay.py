# SPDX-License-Identifier: GPL-2.0-only
"""What `lpttrace replay` does, once its options are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Optional

from lpttrace.cli_guard import warn
from lpttrace.cli_run import Printer, TopOptions, on_a_terminal
from lpttrace.errors import LpttraceError
from lpttrace.model import Guest, Model
from lpttrace.model_sampler import Sampler
from lpttrace.moment import moment_ns
from lpttrace.printable import printable
from lpttrace.recording_blocks import BlockFrames
from lpttrace.recording_replay import ReplaySource
from lpttrace.recording_set import open_recordings
from lpttrace.recording_types import Frame
from lpttrace.snapshot import Snapshot, VmKey

__all__ = ["Window", "replay", "window"]

_NS = 10**9
# A VM that has ended is in the frames of five minutes more: none is missed by looking that often.
_LOOK_NS = 60 * _NS


@dataclass(frozen=True)
class Window:
    """The part of a recording to look at, as the user says it; empty is from or to its end."""

    begin: str = ""
    end: str = ""


def replay(
    paths: Sequence[str], part: Window, options: TopOptions, every_ns: int, speed: float
) -> int:
    """Full screen on a terminal, else frames on stdout: as fast as they can be read."""
    with open_recordings(paths) as recording:
        batch = options.once or options.batch or options.as_json or options.count
        if on_a_terminal() and not batch:
            return _screen(recording, part, options, speed)
        show = Printer("replay", options)
        if options.once:
            _show(show, *_whole(window(recording, part, _LOOK_NS)))
        else:
            _frames(show, window(recording, part, every_ns), options.count)
        for text in filter(None, (recording.problem, recording.clock)):
            warn(text)
    return 0


def _screen(recording: BlockFrames, part: Window, options: TopOptions, speed: float) -> int:
    from lpttrace.top import View
    from lpttrace.top_replay import run

    source = ReplaySource(recording)
    begin_ns, end_ns = _bounds(recording, part)
    player = source.player
    player.end_ns = player.end_ns if end_ns is None else min(player.end_ns, end_ns)
    player.begin_ns = min(max(player.begin_ns, begin_ns or 0), player.end_ns)
    player.seek(player.begin_ns)
    player.speed = speed
    kind = (
        "replay"
        if recording.host.source == "live"
        else f"replay {printable(recording.host.source)}"
    )
    host = recording.host.hostname
    return run(source, View(1.0, options.sort, options.pattern, kind, host))


def _bounds(recording: BlockFrames, part: Window) -> tuple[Optional[int], Optional[int]]:
    begin_ns = recording.blocks[0].head.first_ns if recording.blocks else 0
    return (
        moment_ns(part.begin, f"--from {part.begin!r}", begin_ns),
        moment_ns(part.end, f"--until {part.end!r}", begin_ns),
    )


def window(recording: BlockFrames, part: Window, every_ns: int) -> Iterator[Frame]:
    """The frames of a part, at least so far from each other; LpttraceError if there is none."""
    begin_ns, end_ns = _bounds(recording, part)
    found = recording.thin(every_ns, begin_ns or 0, end_ns)
    first = next(found, None)
    if first is None:
        why = recording.problem or "no frame was recorded then"
        raise LpttraceError(f"cannot read frames of {recording.path}: {why}")
    yield first
    yield from found


class _Names:
    """Names of VMs, also of those that have ended."""

    def __init__(self) -> None:
        self.frame: Optional[Frame] = None
        self._known: dict[VmKey, Guest] = {}

    def read(self) -> Snapshot:
        assert self.frame is not None
        return self.frame.snapshot

    def identify(self, snapshot: Snapshot) -> Mapping[VmKey, Guest]:
        assert self.frame is not None
        self._known.update(self.frame.guests)
        return self._known


def _whole(frames: Iterator[Frame]) -> tuple[Model, Frame]:
    # One frame about all of it, with every VM that has ended meanwhile.
    names = _Names()
    sampler = Sampler(names.read, names.identify, keep=True)
    names.frame = last = next(frames)
    model = sampler.next()
    for last in frames:
        names.frame = last
        sampler.peek()
    if last is not None and last.snapshot is not model.snapshot:
        model = sampler.next()
    return model, last


def _frames(show: Printer, frames: Iterator[Frame], count: int) -> None:
    # The first is what the second is compared with, as in `lpttrace top`.
    names = _Names()
    sampler = Sampler(names.read, names.identify)
    for number, frame in enumerate(frames):
        names.frame = frame
        model = sampler.next()
        if number:
            _show(show, model, frame)
        if count and number == count:
            break


def _show(show: Printer, model: Model, frame: Frame) -> None:
    show(model, datetime.fromtimestamp(frame.unix_ns / _NS, timezone.utc))
