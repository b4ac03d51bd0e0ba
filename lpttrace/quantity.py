# SPDX-License-Identifier: GPL-2.0-only
"""Times and sizes as people write them: 1s, 10m, 24h, 7d; 500M, 2G."""

from __future__ import annotations

import re

from lpttrace.errors import UsageError

__all__ = ["bytes_of", "ns_of"]

_NS = 10**9
_SECONDS = {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_LONGEST = 10 * 365 * 86400


def ns_of(text: str, option: str, least: float = 0.1) -> int:
    """Nanoseconds; UsageError if that is no time, or not so many seconds."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|[smhdw]?)", text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else -1.0
    if not least <= seconds <= _LONGEST:
        raise UsageError(
            f"cannot use {option} {text!r}: say a time of at least {least:g} s, such as 500ms, 1s, "
            "10m, 24h or 7d"
        )
    return round(seconds * _NS)


def bytes_of(text: str, option: str, least: int) -> int:
    """Bytes; UsageError if that is no size, or not so many."""
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)([kmgt]?)(?:i?b)?", text.strip().lower())
    size = round(float(found[1]) * _BYTES[found[2]]) if found else -1
    if size < least:
        raise UsageError(
            f"cannot use {option} {text!r}: say a size of at least {least // 2**20}M, such as 500M "
            "or 2G"
        )
    return size
