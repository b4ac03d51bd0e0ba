# SPDX-License-Identifier: GPL-2.0-only
"""What `--before 10:00..10:05` means: parts of a recording. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from lpttrace.blocks import Window
from lpttrace.errors import UsageError

__all__ = ["parse_window"]

_NS = 10**9
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_OFFSET = re.compile(r"\+(\d+(?:\.\d+)?)(s|m|h)?")
_UNITS = {"s": 1, "m": 60, "h": 3600}


def parse_window(text: str, begin_ns: int) -> Window:
    """FROM..TO, each a time of day (UTC, the first one after the recording's begin), +90s, +5m or
    +1h after its begin, or a date with time as of ISO 8601; empty is the begin, or the end."""
    first, dots, last = text.partition("..")
    if not dots:
        raise UsageError(f"cannot use the window {text!r}: say FROM..TO, such as 10:00..10:05")
    begin = _moment(first, begin_ns, text) if first else begin_ns
    end = _moment(last, begin_ns, text) if last else 1 << 63
    if end <= begin:
        raise UsageError(f"cannot use the window {text!r}: it ends before it begins")
    return begin, end


def _moment(word: str, begin_ns: int, text: str) -> int:
    offset = _OFFSET.fullmatch(word)
    if offset:
        return begin_ns + round(float(offset[1]) * _UNITS[offset[2] or "s"] * _NS)
    clock = _CLOCK.fullmatch(word)
    try:
        return _of_day(clock, begin_ns) if clock else _date(word)
    except ValueError:
        raise UsageError(
            f"cannot use the window {text!r}: {word!r} is no time; say 10:00, 10:00:30, +90s, "
            "or 2026-05-01T10:00"
        ) from None


def _of_day(clock: re.Match[str], begin_ns: int) -> int:
    begin = datetime.fromtimestamp(begin_ns // _NS, timezone.utc)
    hour, minute, second = (int(part or 0) for part in clock.groups())
    moment = begin.replace(hour=hour, minute=minute, second=second, microsecond=0)
    if moment < begin.replace(microsecond=0):
        moment += timedelta(days=1)
    return round(moment.timestamp()) * _NS


def _date(word: str) -> int:
    moment = datetime.fromisoformat(word.replace("Z", "+00:00"))
    return (
        round((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()) * _NS
    )
