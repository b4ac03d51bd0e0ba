# SPDX-License-Identifier: GPL-2.0-only
"""The columns of the tables of VMs, vCPUs and classes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Callable, Optional, Union

from lpttrace.catalog import (
    HYPERCALL_SERVICE,
    HYPERCALLS,
    LPT_UPDATES,
    TIMER_TRAP_SERVICE,
    TIMER_TRAPS,
)
from lpttrace.model import ClassFlow, Flow, VcpuModel, VmModel
from lpttrace.model_time import GuestTime
from lpttrace.printable import fit, width
from lpttrace.render_time import interrupts_cell, mean_cell, p99_cell, rate_cell, traps_cell

__all__ = ["LPT_COLUMN", "NUMBERS", "Column", "Subject", "numbers", "table"]

Subject = Union[VmModel, VcpuModel, ClassFlow]

LPT_COLUMN = LPT_UPDATES.column

# Of terminals: where there is room for more than the most important columns.
_WIDE, _WIDEST = 100, 120
_NAME = 1
_MIN_NAME = 8


@dataclass(frozen=True)
class Column:
    """sort is the key of model_order.SORT_KEYS; least the room from which on it is shown."""

    title: str
    sort: str
    width: int
    least: int
    cell: Callable[[Subject], str]


def _of_traps(kind: str, show: Callable[[Optional[Flow]], str]) -> Callable[[Subject], str]:
    def cell(subject: Subject) -> str:
        if isinstance(subject, ClassFlow):
            return show(subject.flow) if subject.trap.kind == kind else ""
        return show(subject.hypercalls if kind == "hypercall" else subject.timer_traps)

    return cell


def _of_time(show: Callable[[GuestTime], str]) -> Callable[[Subject], str]:
    return lambda subject: "" if isinstance(subject, ClassFlow) else show(subject.time)


NUMBERS = (
    Column(HYPERCALLS.column, "hypercalls", 7, 0, _of_traps("hypercall", rate_cell)),
    Column(HYPERCALL_SERVICE.column, "hypercall-mean", 9, _WIDE, _of_traps("hypercall", mean_cell)),
    Column("HVC P99", "hypercall-p99", 8, 0, _of_traps("hypercall", p99_cell)),
    Column(TIMER_TRAPS.column, "timer-traps", 8, 0, _of_traps("timer", rate_cell)),
    Column(TIMER_TRAP_SERVICE.column, "timer-trap-mean", 9, _WIDE, _of_traps("timer", mean_cell)),
    Column("TMR P99", "timer-trap-p99", 8, 0, _of_traps("timer", p99_cell)),
    Column("IRQ/s", "interrupts", 7, _WIDEST, _of_time(interrupts_cell)),
    Column("TRAP/IRQ", "traps-per-interrupt", 9, _WIDEST, _of_time(traps_cell)),
)
"""What an interval counted, from left to right."""


@lru_cache(maxsize=64)
def numbers(room: int) -> tuple[Column, ...]:
    """Those of NUMBERS for which so many columns of a terminal have room."""
    return tuple(column for column in NUMBERS if column.least <= room)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int], room: int = 0
) -> str:
    """Columns as wide as needed, numbers to the right; column 1 gives way where room is short."""
    widths = [max(width(row[i]) for row in (head, *rows)) for i in range(len(head))]
    if room:
        others = sum(widths) - widths[_NAME] + len(widths) - 1
        widths[_NAME] = max(_MIN_NAME, min(widths[_NAME], room - others))
    return "\n".join(_line(row, widths, left) for row in (head, *rows))


def _line(row: Sequence[str], widths: Sequence[int], left: Sequence[int]) -> str:
    cells = []
    for index, (text, columns) in enumerate(zip(row, widths)):
        shown = fit(text, columns)
        gap = " " * (columns - width(shown))
        cells.append(shown + gap if index in left else gap + shown)
    return " ".join(cells).rstrip()
