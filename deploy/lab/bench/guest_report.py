# SPDX-License-Identifier: GPL-2.0-only
"""What the host and the guest say of the same traps, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.docs import table

HEADER = ("operation", "traps", "service, ns", "p50, ns", "guest, ns", "the rest, ns")


def section(result: Mapping[str, Any]) -> str:
    """The section of docs/overhead.md."""
    return f"""{table(HEADER, [_row(row) for row in result["rows"]])}

Reading the counter twice costs the guest {result["empty_ns"]:.0f} ns, which is subtracted."""


def _row(row: Mapping[str, Any]) -> Sequence[str]:
    times = (row["service"], row["service_p50"], row["observed"], row["observed"] - row["service"])
    counted = f"{row['count']}" if not row["apart"] else f"{row['count']} ({row['apart']} apart)"
    return f"`{row['label']}`", counted, *(f"{ns:,.0f}" for ns in times)
