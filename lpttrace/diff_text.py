# SPDX-License-Identifier: GPL-2.0-only
"""A difference as text for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lpttrace.diff_lpt import LPT_TITLES, lpt_cells
from lpttrace.diff_types import Difference
from lpttrace.diff_words import (
    ROW_TITLES,
    cells,
    load_cells,
    shown,
    side_line,
    summary,
    unmatched,
)
from lpttrace.printable import printable
from lpttrace.render_columns import table

__all__ = ["LOAD_TITLES", "text"]

LOAD_TITLES = ("VM", "vCPUs", "IRQ/s", "HVC/s", "TIMER/s", "LOST/s")


def text(found: Difference, everything: bool = False) -> str:
    """Hosts, loads and rows; of these those that say something, unless everything is wanted."""
    return "\n".join(_lines(found, everything)) + "\n"


def _lines(found: Difference, everything: bool) -> Iterator[str]:
    for side, facts in (("before", found.before), ("after", found.after)):
        yield from (f"{side:7}{side_line(one)}" for one in facts)
    yield from _hosts(found)
    yield from unmatched(found)
    if found.lpt:
        yield "\nLive Physical Time changed:"
        yield table(LPT_TITLES, [lpt_cells(change) for change in found.lpt], left=range(3))
    if found.loads:
        yield "\nload, per vCPU:"
        yield table(LOAD_TITLES, [load_cells(load) for load in found.loads], left=(0,))
    yield f"\n{summary(found)}"
    rows = shown(found, everything)
    if rows:
        yield table(ROW_TITLES, [cells(row) for row in rows], left=(0, 1, 3))
        reasons = dict.fromkeys(row.reason for row in rows if row.reason)
        yield from (f"cannot tell: {printable(reason)}" for reason in reasons)
    else:
        yield "nothing changed that can be told"


def _hosts(found: Difference) -> Iterator[str]:
    if not found.hosts:
        return
    yield "hosts differ:"
    for one in found.hosts:
        matters = f" ({one.matters})" if one.matters else ""
        yield f"  {one.what}: {printable(one.before)} -> {printable(one.after)}{matters}"
