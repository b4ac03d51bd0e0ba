# SPDX-License-Identifier: GPL-2.0-only
"""The caller's terminal while a program of the machine has it."""

from __future__ import annotations

import os
import sys
import termios
import tty

ESCAPE = b"\x1d"
ESCAPES_TO_END = 3
# What a full-screen program that was cut off leaves set: the other screen, a hidden cursor, mouse
# reports, bracketed paste, colours.
RESET = b"\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[0m"


class RawTerminal:
    """Standard input in raw mode, so that every key goes to the machine. For use with `with`."""

    def __enter__(self) -> RawTerminal:
        self._before = termios.tcgetattr(sys.stdin)
        tty.setraw(sys.stdin)
        return self

    def __exit__(self, kind: type[BaseException] | None, *unused: object) -> None:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)
        if kind is not None:
            os.write(sys.stdout.fileno(), RESET)


def here() -> bool:
    """Whether standard input and output are both terminals."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def size() -> tuple[int, int]:
    """Rows and columns."""
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    return rows, columns


class EscapeCounter:
    """Notices Ctrl-] pressed three times in a row: the way out of a machine that hangs."""

    def __init__(self) -> None:
        self._run = 0

    def feed(self, keys: bytes) -> bool:
        for key in keys:
            self._run = self._run + 1 if key == ESCAPE[0] else 0
            if self._run == ESCAPES_TO_END:
                return True
        return False
