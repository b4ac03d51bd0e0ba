# SPDX-License-Identifier: GPL-2.0-only
"""Progress of long work: one rewritten line on a terminal, else a line every 20 seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

LINE_SECONDS = 20.0
REDRAW_SECONDS = 0.2


def clock(seconds: float) -> str:
    """90.4 -> '1:30'."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    """Tells how far some work is, and how long all of it took. To be used with `with`."""

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._start = self._shown = time.monotonic()

    def __enter__(self) -> Progress:
        self._write("started")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write("done" if kind is None else "failed")
        if self._terminal:
            self._stream.write("\n")

    def update(self, detail: str) -> None:
        """Shows `detail` when it is time to."""
        pause = REDRAW_SECONDS if self._terminal else LINE_SECONDS
        if time.monotonic() - self._shown >= pause:
            self._write(detail)

    def _write(self, detail: str) -> None:
        self._shown = time.monotonic()
        line = f"lab: {self._what}: {detail}, {clock(self._shown - self._start)}"
        self._stream.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        self._stream.flush()
