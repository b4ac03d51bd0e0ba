# SPDX-License-Identifier: GPL-2.0-only
"""How a command ends: errors, signals and closed pipes become one line and an exit status."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Callable, Optional

from lpttrace.errors import LpttraceError

__all__ = ["Interrupted", "fail", "guarded", "warn"]

# syslog(3).
_ERROR, _WARNING = 3, 4
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end; contexts are left on the way out."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


def warn(text: str) -> None:
    """One line on stderr."""
    _say(_WARNING, f"warning: {text}")


def guarded(body: Callable[[], int]) -> int:
    """The exit status of body, whatever happens in it: see errors, and 128 + signal number."""
    try:
        with _signals_raise():
            status = body()
            sys.stdout.flush()
            return status
    except LpttraceError as error:
        return fail(str(error), error.exit_status)
    except Interrupted as interruption:
        return 128 + interruption.signum
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _stdout_is_closed():
            return 128 + signal.SIGPIPE
        about = f" {error.filename}" if error.filename else ""
        return fail(f"the system refused{about}: {(error.strerror or str(error)).lower()}", 1)


def fail(text: str, status: int) -> int:
    """One line on stderr, and the exit status to end with."""
    _say(_ERROR, f"error: {text}")
    return status


def _say(level: int, text: str) -> None:
    # For the journal with its level (sd-daemon(3)), which it takes off again.
    stream = os.environ.get("JOURNAL_STREAM", "")
    prefix = f"<{level}>" if stream and stream == _place(sys.stderr.fileno()) else ""
    print(f"{prefix}{text}", file=sys.stderr, flush=True)


def _place(fd: int) -> str:
    status = os.fstat(fd)
    return f"{status.st_dev}:{status.st_ino}"


def _stdout_is_closed() -> bool:
    # The pipe itself is asked: a broken pipe may also be one to a process of ours.
    poller = select.poll()
    poller.register(sys.stdout, 0)
    if not poller.poll(0):
        return False
    # What is left in the buffer has no reader; the interpreter must not try again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


@contextmanager
def _signals_raise() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(signum: int, frame: Optional[FrameType]) -> None:
    # A second signal ends the process at once; the kernel detaches what is attached then, too.
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    raise Interrupted(signum)
