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
from typing import Any, Optional

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
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def record(source: SourceOptions, options: RecordOptions, argv: Sequence[str]) -> int:
    """Record until the duration is over, COMMAND ends, or SIGINT or SIGTERM, which end it well."""
    _check_output(options)
    feed = feed_of(source)
    with ExitStack() as stack:
        signals = stack.enter_context(_Signals())
        command = stack.enter_context(Command(argv)) if argv else None
        stack.enter_context(feed.source)
        for text in feed.source.warnings:
            warn(text)
        signals.take_endings()
        status = _run(stack.enter_context(Recorder(feed, options)), signals, options, command)
    if signals.ended == signal.SIGHUP:
        raise Interrupted(signals.ended)
    return status


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
    recorder: Recorder, signals: _Signals, options: RecordOptions, command: Optional[Command]
) -> int:
    try:
        if command is not None:
            command.start()
        for due in _times(options):
            ended = _wait_until(due, recorder, signals, command)
            recorder.take()
            if ended:
                break
    except LpttraceError:
        # What has been taken is kept, if there is room for it.
        with suppress(LpttraceError):
            recorder.finish()
        raise
    if signals.has_asked():
        recorder.dump()
    recorder.finish()
    return (command.status or 0) if command and signals.ended is None else 0


def _times(options: RecordOptions) -> Iterator[int]:
    # When to take the next frame; the last one is at the end of the duration.
    begin = due = time.monotonic_ns()
    end = None if options.duration_ns is None else begin + options.duration_ns
    while end is None or due < end:
        # After a stop, go on from now: frames are not made up for.
        due = max(due + options.interval_ns, time.monotonic_ns())
        due = due if end is None else min(due, end)
        yield due


def _wait_until(
    due: int, recorder: Recorder, signals: _Signals, command: Optional[Command]
) -> bool:
    # True when the end came before that.
    look = time.monotonic_ns() + _LOOK_NS
    while True:
        if signals.ended is not None or (command is not None and command.wait(0)):
            return True
        if signals.has_asked():
            recorder.dump()
        now = time.monotonic_ns()
        if now >= due:
            return False
        if command is None:
            signals.wait(due - now)
            continue
        if now >= look:
            recorder.look()
            look = time.monotonic_ns() + _LOOK_NS
        signals.wait(min(due - now, _LOOK_NS // 10))


class _Signals:
    """SIGUSR1, and, once they are taken, those that end the recording: they are told when there is
    time for them, so that what is written is never half a frame."""

    def __init__(self) -> None:
        self.ended: Optional[int] = None
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Signals:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._ask)
        return self

    def take_endings(self) -> None:
        """From now on they end the recording, not the process."""
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._end)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd)
        os.close(self._read)
        os.close(self._write)

    def _ask(self, signum: int, frame: Optional[FrameType]) -> None:
        self._asked = True

    def _end(self, signum: int, frame: Optional[FrameType]) -> None:
        # A second one ends the process at once.
        self.ended = signum
        for number in _ENDING:
            if number in self._before:
                signal.signal(number, signal.SIG_DFL)

    def has_asked(self) -> bool:
        """Whether SIGUSR1 has come since this was asked last."""
        asked, self._asked = self._asked, False
        return asked

    def wait(self, ns: int) -> None:
        """For at most so long; any signal ends it."""
        if select.select([self._read], [], [], ns / _NS)[0]:
            os.read(self._read, 4096)
