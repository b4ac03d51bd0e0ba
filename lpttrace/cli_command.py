# SPDX-License-Identifier: GPL-2.0-only
"""The COMMAND of `lpttrace top -- COMMAND`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from typing import IO, Any, Optional

from lpttrace.errors import LpttraceError

__all__ = ["Command", "CommandError"]

_SECONDS_TO_END = 5.0


class CommandError(LpttraceError):
    """COMMAND cannot be run; statuses are those of a shell."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class Command:
    """Runs from start() to its own end, or to that of the context.

    Its stdout goes to our stderr, because frames are on our stdout. With capture, for a full
    screen, both its outputs wait in a file until the end.
    """

    def __init__(self, argv: Sequence[str], capture: bool = False) -> None:
        self._argv = list(argv)
        self._capture = capture
        self._contexts = ExitStack()
        self._output: Optional[IO[bytes]] = None
        self._process: Optional[subprocess.Popen[bytes]] = None

    def __enter__(self) -> Command:
        if self._capture:
            self._output = self._contexts.enter_context(tempfile.TemporaryFile())
        return self

    def __exit__(self, *_: object) -> None:
        with self._contexts:
            self._stop()
            self._show_captured()

    def start(self) -> None:
        """CommandError if there is no such program."""
        streams: dict[str, Any] = {"stdout": sys.stderr}
        if self._output is not None:
            streams = {
                "stdin": subprocess.DEVNULL,
                "stdout": self._output,
                "stderr": subprocess.STDOUT,
            }
        try:
            self._process = subprocess.Popen(self._argv, **streams)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            status = 127 if isinstance(error, FileNotFoundError) else 126
            raise CommandError(f"cannot run {self._argv[0]!r}: {why}", status) from error

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, after at most so many seconds."""
        assert self._process is not None, "started before it is waited for"
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def status(self) -> Optional[int]:
        """As a shell tells it: 128 + number for a signal; None while it runs."""
        code = self._process.poll() if self._process else None
        return 128 - code if code is not None and code < 0 else code

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            if not self.wait(_SECONDS_TO_END):
                self._process.kill()
                self._process.wait()

    def _show_captured(self) -> None:
        if self._output is not None:
            self._output.seek(0)
            sys.stderr.write(self._output.read().decode(errors="replace"))
            sys.stderr.flush()
