# SPDX-License-Identifier: GPL-2.0-only
"""A tool's process beside the measurement, which does not run while it is measured."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from types import TracebackType

from bench.workload import OTHER_CPU

READY_SECONDS = 120.0
END_SECONDS = 120.0


class ToolError(Exception):
    """A tool that did not do its part: which one, and what it said."""


class Background:
    """A process with its output in a file, to be used with `with`; killed if nothing ended it."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv

    def __enter__(self) -> Background:
        self._output = tempfile.TemporaryFile()
        pinned = ["taskset", "-c", str(OTHER_CPU), *self._argv]
        self._process = subprocess.Popen(
            pinned, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, text: str) -> None:
        """Until it has written that; ToolError if it ends before, or takes too long."""
        deadline = time.monotonic() + READY_SECONDS
        while text not in self.said():
            if self._process.poll() is not None:
                raise ToolError(
                    f"{self._argv[0]}: ended with {self._process.returncode}: {self.said()}"
                )
            if time.monotonic() > deadline:
                raise ToolError(f"{self._argv[0]}: not ready in {READY_SECONDS:g} s: {self.said()}")
            time.sleep(0.1)

    def freeze(self) -> None:
        """What the process costs by itself is not what a trap costs."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> str:
        """Interrupts it, as Ctrl-C would; returns all it said."""
        self.thaw()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"{self._argv[0]}: did not end: {self.said()}") from error
        return self.said()

    def said(self) -> str:
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")


def listening(agent: Background) -> str:
    """Waits for `lpttrace serve`; the address to scrape it at."""
    agent.wait_for("listening on ")
    return agent.said().split("listening on ", 1)[1].split()[0]
