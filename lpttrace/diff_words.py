# SPDX-License-Identifier: GPL-2.0-only
"""A difference in words and units, the same on a terminal and on a page. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Optional

from lpttrace.diff_types import VERDICTS, Bounds, Difference, Load, Row, SideFacts
from lpttrace.printable import printable
from lpttrace.render import NONE_YET, NOT_VISIBLE, duration, rate, share

__all__ = [
    "ROW_TITLES",
    "cells",
    "cost",
    "load_cells",
    "meanings",
    "moment",
    "shown",
    "side_line",
    "span",
    "summary",
    "unmatched",
    "what",
]

ROW_TITLES = (
    "VERDICT",
    "VM",
    "vCPU",
    "WHAT",
    "BEFORE",
    "AFTER",
    "CHANGE",
    "INTERVAL",
    "P",
    "COST/s",
)

_TIMES = ("service", "tail", "vmm")

_MEANINGS = {
    "service": "mean is the time that the host takes to serve one such trap of the guest",
    "tail": "p90, p99 and p99.9 are the times that the slowest in ten, 100 and 1,000 exceed",
    "frequency": "per interrupt is how often the guest traps there for each timer interrupt",
    "out": "loses CPU is the share of traps in which the vCPU had to wait for a CPU",
    "vmm": "in VMM is the time that the VMM takes, divided by all such traps",
    "stolen": "share is the part of the time that guests were told was stolen from them",
}
_LATENESS = "timer lateness is the time from a timer's deadline until the guest gets its interrupt"
_REGISTERS = (
    "cntp_ registers are those of the guest's physical timer, cntv_ those of its virtual one"
)
_FEW = "too few samples"


def moment(ns: int) -> str:
    """A moment of the wall clock."""
    return datetime.fromtimestamp(ns // 10**9, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """45 s, 12 min 30 s, 26 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{rate(seconds)} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def side_line(side: SideFacts) -> str:
    """Where, when, and how much of it."""
    host = side.host
    early = f"; ended early: {printable(side.problem)}" if side.problem else ""
    return (
        f"{printable(host.hostname)}, Linux {printable(host.kernel)}, {moment(side.begin_ns)}, "
        f"{span((side.end_ns - side.begin_ns) / 1e9)}, {side.frames} frames in {side.blocks} "
        f"blocks of {span(side.block_seconds)}{early}"
    )


def unmatched(found: Difference) -> Iterator[str]:
    """VMs that could not be compared."""
    for side, names in (("before", found.only_before), ("after", found.only_after)):
        if names:
            yield f"only {side}: {', '.join(map(printable, names))}"


def summary(found: Difference) -> str:
    """How many rows of each verdict."""
    counts = Counter(row.verdict for row in found.rows)
    line = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    reasons = Counter(row.reason.split(":")[0] for row in found.having("cannot tell"))
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return f"{line} ({told})" if told else line


def shown(found: Difference, everything: bool) -> Sequence[Row]:
    """The rows to show: those that say something, unless everything is wanted."""
    if everything:
        return found.rows
    return [
        row for row in found.rows if row.verdict != "same" and not (row.reason.startswith(_FEW))
    ]


def what(row: Row) -> str:
    """What was compared, in few words."""
    label = row.cls.label
    if row.measure == "frequency":
        return f"{label} per interrupt" if row.cls.kind else label
    if row.measure == "tail":
        return f"{label} p{100 * (row.quantile or 0):g}"
    words = {"service": "mean", "out": "loses CPU", "vmm": "in VMM", "stolen": "share"}
    return f"{label} {words[row.measure]}" if row.cls.kind else label


def meanings(rows: Sequence[Row]) -> Iterator[str]:
    """What the words of these rows mean."""
    measures = {row.measure for row in rows if row.cls.kind in ("hypercall", "timer", "stolen")}
    words = [told for measure, told in _MEANINGS.items() if measure in measures]
    kinds = {row.cls.kind for row in rows}
    words += [_LATENESS] if "lateness" in kinds else []
    words += [_REGISTERS] if "timer" in kinds else []
    if words:
        yield f"In WHAT, {'; '.join(words)}."


def cells(row: Row) -> tuple[str, ...]:
    """One for each of ROW_TITLES."""
    whole = "all" if row.vcpu is None else str(row.vcpu)
    return (
        *(row.verdict, printable(row.vm) or "all", whole, what(row)),
        *(_value(row, row.before), _value(row, row.after)),
        *(_change(row.bounds), _interval(row.bounds), _p(row.p), cost(row.effect_ns)),
    )


def _value(row: Row, value: Optional[float]) -> str:
    if value is None:
        return NONE_YET
    if row.measure in _TIMES:
        return duration(value)
    return rate(value) if row.measure == "frequency" else share(value)


def _change(bounds: Optional[Bounds]) -> str:
    return _percent(bounds.change) if bounds else NONE_YET


def _interval(bounds: Optional[Bounds]) -> str:
    return f"{_percent(bounds.low)} to {_percent(bounds.high)}" if bounds else NONE_YET


def _percent(change: float) -> str:
    if change >= 9.995:
        return f"x{1 + change:.0f}" if change < 9999 else "x>9999"
    return f"{100 * change:+.1f}%"


def _p(p: Optional[float]) -> str:
    if p is None:
        return NONE_YET
    if p < 1e-9:
        return "<1e-9"
    return f"{p:.1e}" if p < 0.001 else f"{p:.3f}"


def cost(ns: float) -> str:
    """Time more, or less, per second and vCPU."""
    return f"{'-' if ns < 0 else '+'}{duration(abs(ns))}"


def load_cells(load: Load) -> tuple[str, ...]:
    """VM, vCPUs, and rates per second and vCPU, before and after."""
    rates = (load.interrupts, load.hypercalls, load.timer_traps)
    return (
        printable(load.vm),
        _pair(str(load.vcpus[0]), str(load.vcpus[1])),
        *(_pair(*(NOT_VISIBLE if v is None else rate(v) for v in pair)) for pair in rates),
        _pair(duration(load.lost_ns[0]), duration(load.lost_ns[1])),
    )


def _pair(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"
