# SPDX-License-Identifier: GPL-2.0-only
"""Several files as one recording: what `record` has written with --max-size or --keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Optional

from lpttrace.recording_blocks import Block, BlockFrames, First
from lpttrace.recording_format import MAGIC, RecordingError
from lpttrace.recording_reader import Recording
from lpttrace.recording_types import Frame, RecordedHost
from lpttrace.snapshot import VmKey

__all__ = ["RecordingSet", "open_recordings", "recordings_in", "runs_of"]

# How many intervals between two files may be missing, and how many ns, in what is one run.
_MISSED, _MISSED_NS = 2, 10**9


def recordings_in(directory: Path) -> list[str]:
    """The files in it that begin as recordings do, by name; RecordingError if there is none."""
    found = [str(path) for path in sorted(directory.iterdir()) if _is_recording(path)]
    if not found:
        raise RecordingError(f"cannot read {directory}: there is no recording in this directory")
    return found


def _is_recording(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def open_recordings(paths: Sequence[str]) -> BlockFrames:
    """One file, or several or those in directories as one recording; to be used with `with`."""
    every: list[str] = []
    for path in paths:
        every += recordings_in(Path(path)) if Path(path).is_dir() else [path]
    return Recording(every[0]) if len(every) == 1 else RecordingSet(every)


def runs_of(paths: Sequence[str]) -> list[list[str]]:
    """Files by run, in order of time: one that goes on where another ended, and was written by the
    same `record`, is of the same run."""
    with ExitStack() as stack:
        opened = [stack.enter_context(Recording(path)) for path in paths]
        found: list[list[str]] = []
        before: Optional[Recording] = None
        for recording in _in_order(opened):
            if before is not None and _goes_on(before, recording):
                found[-1].append(recording.path)
            else:
                found.append([recording.path])
            before = recording
        return found


def _first_ns(recording: Recording) -> int:
    return recording.blocks[0].head.first_ns if recording.blocks else 0


def _in_order(recordings: Sequence[Recording]) -> list[Recording]:
    # What one process has written stays together, though another has recorded meanwhile, and is in
    # order though the clock was set.
    runs: dict[object, list[Recording]] = {}
    for recording in sorted(recordings, key=_first_ns):
        runs.setdefault(recording.run or recording, []).append(recording)
    for run in runs.values():
        run.sort(key=lambda recording: recording.spans[0].begin_ns if recording.blocks else 0)
    return [recording for run in runs.values() for recording in run]


def _goes_on(before: Recording, after: Recording) -> bool:
    if not before.blocks or not after.blocks or before.run != after.run:
        return False
    if before.run is not None:
        gap_ns = after.spans[0].begin_ns - before.spans[-1].end_ns
        is_later = before.spans[0].begin_ns < after.spans[0].begin_ns
        return is_later and gap_ns <= _most_missed_ns(before)
    if not _is_same_boot(before, after):
        return False
    gap_ns = _first_ns(after) - before.blocks[-1].head.last_ns
    return 0 <= gap_ns <= _most_missed_ns(before)


def _most_missed_ns(recording: Recording) -> float:
    spans = recording.spans
    interval_ns = (spans[-1].end_ns - spans[0].begin_ns) / max(1, recording.count() - 1)
    return (1 + _MISSED) * interval_ns + _MISSED_NS


def _is_same_boot(before: Recording, after: Recording) -> bool:
    if before.host != after.host:
        return False
    ends = [next(r.frames(), None) for r in (before, after)]
    one, other = ends
    return one is None or other is None or one.snapshot.end_ns <= other.snapshot.end_ns


class RecordingSet(BlockFrames):
    """Recordings of one host since it booted, in order of time. Where one ends early, the next one
    goes on."""

    def __init__(self, paths: Sequence[str]) -> None:
        """RecordingError if one of them cannot be read, or they cannot be one."""
        with ExitStack() as stack:
            opened = [stack.enter_context(Recording(path)) for path in paths]
            found = _in_order([part for part in opened if part.blocks])
            self._parts = found or opened
            for before, after in zip(found, found[1:]):
                _check(before, after)
            self._open = stack.pop_all()
        self.path = f"{self._parts[0].path} and {len(paths) - 1} more"
        self.blocks = tuple(block for part in self._parts for block in part.blocks)
        self._of = {block: part for part in self._parts for block in part.blocks}

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._open.close()

    @property
    def host(self) -> RecordedHost:
        """Where all of them were made."""
        return self._parts[0].host

    @property
    def problem(self) -> Optional[str]:
        """Which of them are cut off or damaged, and where."""
        return "; ".join(part.problem for part in self._parts if part.problem) or None

    def frames_of(self, block: Block) -> Iterator[Frame]:
        """All of them; none of what is behind what is damaged in its file."""
        part = self._of[block]
        return iter(()) if part.is_end(block) else part.frames_of(block)

    def first_of(self, block: Block) -> Optional[First]:
        """Its first frame; None if it is damaged, or behind what is."""
        part = self._of[block]
        return None if part.is_end(block) else part.first_of(block)

    def ends_of(self, block: Block) -> Mapping[VmKey, int]:
        """VMs that are not alive in it, and since when."""
        return self._of[block].ends_of(block)

    def follows(self, block: Block, last_ns: int, end_ns: int) -> bool:
        """Whether time goes on."""
        return self._of[block].follows(block, last_ns, end_ns)

    def is_end(self, block: Block) -> bool:
        """Whether it is damaged, and there is no other file behind it."""
        part = self._of[block]
        return part is self._parts[-1] and part.is_end(block)


def _check(before: Recording, after: Recording) -> None:
    names = f"cannot read {before.path} and {after.path} as one recording"
    if before.host != after.host:
        raise RecordingError(f"{names}: their hosts, or what recorded them, are not the same")
    same_run = before.run is not None and before.run == after.run
    begins = [recording.spans[0].begin_ns for recording in (before, after)]
    late = not same_run and before.blocks[-1].head.last_ns > _first_ns(after)
    if late or (same_run and begins[0] >= begins[1]):
        raise RecordingError(f"{names}: they are of the same time")
    if not _is_same_boot(before, after):
        raise RecordingError(f"{names}: the host was booted between them; name those since")
