# SPDX-License-Identifier: GPL-2.0-only
"""Moments of a recording as people write them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Optional

from lpttrace.errors import UsageError
from lpttrace.quantity import ns_of

__all__ = ["moment_ns"]

_NS = 10**9
_FORMS = (
    "say a time since the begin (90s, +10m, 1h), a time of day in UTC (10:15, 10:15:30), or both "
    "(2026-11-25T10:15:30Z)"
)


def moment_ns(text: str, told: str, begin_ns: int) -> Optional[int]:
    """Unix time of a moment in a recording that begins then; None for an empty text. told is what
    the user said it in, for UsageError.

    A time of day is the first one that is not before the minute in which it begins.
    """
    if not text:
        return None
    if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text):
        return _time_of_day(text, told, begin_ns)
    if "-" in text:
        return _whole(text, told)
    try:
        return begin_ns + ns_of(text.removeprefix("+"), told, 0)
    except UsageError:
        raise UsageError(f"cannot use {told}: {_FORMS}") from None


def _time_of_day(text: str, told: str, begin_ns: int) -> int:
    hours, minutes, *seconds = map(int, text.split(":"))
    if hours > 23 or minutes > 59 or (seconds and seconds[0] > 59):
        raise UsageError(f"cannot use {told}: there is no such time of day")
    begin = datetime.fromtimestamp(begin_ns // _NS, timezone.utc).replace(second=0)
    found = begin.replace(hour=hours, minute=minutes, second=seconds[0] if seconds else 0)
    if found < begin:
        found += timedelta(days=1)
    return round(found.timestamp()) * _NS


def _whole(text: str, told: str) -> int:
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(f"cannot use {told}: {_FORMS}") from None
    found = found if found.tzinfo else found.replace(tzinfo=timezone.utc)
    return round(found.timestamp() * 10**6) * 1000
