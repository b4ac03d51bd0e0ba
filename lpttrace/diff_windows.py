# SPDX-License-Identifier: GPL-2.0-only
"""What `--before 10:00..10:05` means: parts of a recording. Pure."""

from __future__ import annotations

from lpttrace.blocks import Window
from lpttrace.errors import UsageError
from lpttrace.moment import moment_ns

__all__ = ["parse_window"]


def parse_window(text: str, begin_ns: int) -> Window:
    """FROM..TO, each a moment; empty is the begin, or the end."""
    told = f"the window {text!r}"
    first, dots, last = text.partition("..")
    if not dots:
        raise UsageError(f"cannot use {told}: say FROM..TO, such as 10:00..10:05")
    begin, end = (moment_ns(word, told, begin_ns) for word in (first, last))
    begin = begin_ns if begin is None else begin
    end = 1 << 63 if end is None else end
    if end <= begin:
        raise UsageError(f"cannot use {told}: it ends before it begins")
    return begin, end
