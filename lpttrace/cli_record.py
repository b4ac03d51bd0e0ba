# SPDX-License-Identifier: GPL-2.0-only
"""What `lpttrace record` does, once its options are known."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from types import FrameType
from typing import Optional

from lpttrace.cli_command import Command
from lpttrace.cli_guard import Interrupted, warn
from lpttrace.cli_recorder import Recorder, RecordOptions
from lpttrace.cli_source import SourceOptions, feed_of
from lpttrace.errors import LpttraceError, UsageError
from lpttrace.recording_files import Limits

__all__ = ["RecordOptions", "record"]

_NS = 10**9
# While COMMAND runs: how often to look which processes are VMs, and whether it has ended.
_LOOK_NS = 250_000_000


def record(source: SourceOptions, options: RecordOptions, argv: Sequence[str]) -> int:
    """Record until the duration is over, COMMAND ends, or SIGINT or SIGTERM, which end it well."""
    _check_output(options)
    feed = feed_of(source)
    with ExitStack() as stack:
        command = stack.enter_context(Command(argv)) if argv else None
        # Before anything is said of it.
        wakeup = stack.enter_context(_Wakeup(wanted=options.ring_ns is not None))
        stack.enter_context(feed.source)
        for text in feed.source.warnings:
            warn(text)
        return _run(stack.enter_context(Recorder(feed, options)), wakeup, options, command)


def _check_output(options: RecordOptions) -> None:
    # Before anything is attached.
    directory, path = options.output.parent, options.output
    if not directory.is_dir():
        raise UsageError(f"cannot record to {path}: there is no directory {directory}")
    if path.is_dir():
        raise UsageError(f"cannot record to {path}: it is a directory; name a file in it")
    alone = options.ring_ns is None and options.limits == Limits()
    if alone and path.exists() and not options.overwrite:
        raise UsageError(f"cannot record to {path}: it exists; name another, or say --overwrite")


def _run(
    recorder: Recorder, wakeup: _Wakeup, options: RecordOptions, command: Optional[Command]
) -> int:
    try:
        if command is not None:
            command.start()
        ended = _loop(recorder, wakeup, options, command)
    except Interrupted as interruption:
        recorder.take()
        recorder.finish()
        if interruption.signum == signal.SIGHUP:
            raise
        return 0
    except LpttraceError:
        # What has been taken is kept, if there is room for it.
        with suppress(LpttraceError):
            recorder.finish()
        raise
    recorder.finish()
    return (command.status or 0) if command and ended else 0


def _loop(
    recorder: Recorder, wakeup: _Wakeup, options: RecordOptions, command: Optional[Command]
) -> bool:
    # Whether the command has ended.
    for due in _times(options):
        ended = _wait_until(due, recorder, wakeup, command)
        recorder.take()
        if ended:
            return True
    return False


def _times(options: RecordOptions) -> Iterator[int]:
    # When to take the next frame; the last one is at the end of the duration.
    begin = due = time.monotonic_ns()
    end = None if options.duration_ns is None else begin + options.duration_ns
    while end is None or due < end:
        # After a stop, go on from now: frames are not made up for.
        due = max(due + options.interval_ns, time.monotonic_ns())
        due = due if end is None else min(due, end)
        yield due


def _wait_until(due: int, recorder: Recorder, wakeup: _Wakeup, command: Optional[Command]) -> bool:
    # True when the command ended before that.
    looked = time.monotonic_ns()
    while True:
        left = due - time.monotonic_ns()
        if command is not None:
            if command.wait(0):
                return True
            if time.monotonic_ns() - looked >= _LOOK_NS:
                recorder.look()
                looked = time.monotonic_ns()
            left = min(left, due - time.monotonic_ns(), _LOOK_NS // 10)
        if left <= 0:
            return False
        if wakeup.wait(left):
            recorder.dump()


class _Wakeup:
    """SIGUSR1, which may come at any time, and is told when there is time for it."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._asked = False

    def __enter__(self) -> _Wakeup:
        if self._wanted:
            self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._before = signal.signal(signal.SIGUSR1, self._ask)
            self._fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._wanted:
            signal.set_wakeup_fd(self._fd)
            signal.signal(signal.SIGUSR1, self._before)
            os.close(self._read)
            os.close(self._write)

    def _ask(self, signum: int, frame: Optional[FrameType]) -> None:
        self._asked = True

    def wait(self, ns: int) -> bool:
        """For at most so long; whether SIGUSR1 has come."""
        if not self._wanted:
            time.sleep(ns / _NS)
            return False
        if not self._asked and select.select([self._read], [], [], ns / _NS)[0]:
            os.read(self._read, 4096)
        asked, self._asked = self._asked, False
        return asked
