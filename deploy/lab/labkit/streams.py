# SPDX-License-Identifier: GPL-2.0-only
"""What comes out of the machine's ports. Pure."""

from __future__ import annotations


class Stream:
    """An output that ends with a mark: all that comes before it, as soon as it is sure."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._held = b""
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """The bytes to pass on now; those that may be the beginning of the mark are held back."""
        if self.ended:
            return b""
        data = self._held + data
        before, mark, _after = data.partition(self._mark)
        if mark:
            self.ended, self._held = True, b""
            return before
        held = self._begun(data)
        self._held = data[len(data) - held :]
        return data[: len(data) - held]

    def rest(self) -> bytes:
        """What was held back, once it is sure that no more comes."""
        held, self._held = self._held, b""
        return held

    def _begun(self, data: bytes) -> int:
        """How many of the last bytes of `data` begin the mark."""
        longest = min(len(data), len(self._mark) - 1)
        return next((n for n in range(longest, 0, -1) if self._mark.startswith(data[-n:])), 0)


class Control:
    """The lines of the machine's init: `running` when COMMAND starts, `status N` when it ended."""

    def __init__(self) -> None:
        self._held = b""
        self.running = False
        self.status: int | None = None

    def feed(self, data: bytes) -> None:
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            words = line.split()
            if words == [b"running"]:
                self.running = True
            elif len(words) == 2 and words[0] == b"status" and words[1].isdigit():
                self.status = int(words[1])
