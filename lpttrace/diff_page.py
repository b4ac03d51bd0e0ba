# SPDX-License-Identifier: GPL-2.0-only
"""A difference as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lpttrace.diff import Compared
from lpttrace.diff_host import alike
from lpttrace.diff_lpt import LPT_TITLES, lpt_cells
from lpttrace.diff_text import LOAD_TITLES
from lpttrace.diff_types import Difference, Row
from lpttrace.diff_words import (
    ROW_TITLES,
    cells,
    load_cells,
    meanings,
    shown,
    side_line,
    summary,
    unmatched,
    what,
)
from lpttrace.page import Figure, Page, Section, Table, html
from lpttrace.plot import Histogram, Interval, histograms, intervals
from lpttrace.printable import fit, printable
from lpttrace.render import duration

__all__ = ["page"]

_CHANGED = ("regressed", "improved")
_TIMED = ("service", "tail")
_MOST_INTERVALS = 24
_PANELS = 8
_NAME = 20

# Beyond this an interval says only that nothing is known.
_WIDEST = 3.0


def page(compared: Compared) -> str:
    """One file of HTML."""
    found = compared.difference
    sides = [("before", found.before), ("after", found.after)]
    facts = [f"{side}: {side_line(one)}" for side, all_of in sides for one in all_of]
    return html(Page(_title(found), _lead(found), facts, tuple(_sections(compared))))


def _title(found: Difference) -> str:
    names = [
        _named(side[0].host.hostname, side[0].host.kernel) for side in (found.before, found.after)
    ]
    return f"lpttrace diff: {names[0]} and {names[1]}"


def _named(host: str, kernel: str) -> str:
    return f"{printable(host)} (Linux {printable(kernel)})"


def _lead(found: Difference) -> str:
    changed = [row for row in found.rows if row.verdict in _CHANGED]
    if not changed:
        return f"Nothing changed that can be told. {summary(found)}."
    first = max(changed, key=lambda row: abs(row.effect_ns))
    how = "more" if first.effect_ns > 0 else "less"
    return (
        f"{_subject(first)}: {what(first)} {first.verdict}, which costs each vCPU "
        f"{duration(abs(first.effect_ns))} {how} per second. {summary(found)}."
    )


def _subject(row: Row) -> str:
    vm = printable(row.vm) or "all VMs"
    return vm if row.vcpu is None else f"{vm} vCPU {row.vcpu}"


def _sections(compared: Compared) -> Iterator[Section]:
    found = compared.difference
    yield _hosts(compared)
    if found.lpt:
        cells_of = [lpt_cells(change) for change in found.lpt]
        table = Table(LPT_TITLES, cells_of, range(3), prose=True)
        yield Section("Live Physical Time changed", tables=[table])
    rows = shown(found, False)
    yield Section(
        "What changed",
        lines=[] if rows else ["Nothing that can be told."],
        tables=[_rows(rows)] if rows else [],
        notes=[
            *meanings(rows),
            *_legend(found),
            *dict.fromkeys(printable(row.reason) for row in rows if row.reason),
        ],
        figures=list(_figures(compared)),
    )
    loads = [load_cells(load) for load in found.loads]
    yield Section(
        "How busy the VMs were",
        lines=list(unmatched(found)),
        tables=[Table(LOAD_TITLES, loads, (0,))] if loads else [],
        notes=["All are per second and vCPU, before and after. A busier VM is no regression."],
    )
    yield Section(f"All {len(found.rows)} rows", tables=[_rows(found.rows)], folded=True)


def _hosts(compared: Compared) -> Section:
    found, (before, after) = compared.difference, compared.sides
    title, notes = "What differs between the hosts", [*alike(before.runs, after.runs)]
    if not found.hosts:
        return Section(title, lines=["Nothing that is known."], notes=notes)
    rows = [
        (one.what, printable(one.before), printable(one.after), one.matters) for one in found.hosts
    ]
    table = Table(("WHAT", "BEFORE", "AFTER", "WHY IT MATTERS"), rows, range(4), prose=True)
    return Section(title, tables=[table], notes=notes)


def _legend(found: Difference) -> Iterator[str]:
    options = found.options
    yield (
        f"COST/s is the time that each vCPU loses more per second, at the load of before. "
        f"INTERVAL is that of {100 * (1 - options.alpha):g} % confidence; P is corrected for the "
        f"number of comparisons. Less than {100 * options.threshold:g} % is no change."
    )


def _rows(rows: Sequence[Row]) -> Table:
    kinds = [row.verdict.replace(" ", "-") for row in rows]
    return Table(ROW_TITLES, [cells(row) for row in rows], (0, 1, 3), kinds)


def _figures(compared: Compared) -> Iterator[Figure]:
    found = compared.difference
    told = [row for row in found.rows if _is_narrow(row)][:_MOST_INTERVALS]
    if told:
        yield Figure(
            intervals(
                "Changes with their intervals",
                [_interval(row) for row in told],
                found.options.threshold,
            ),
            "What is worse or better is coloured; the grey band is what counts as no change.",
        )
    timed = [row for row in found.rows if row.verdict in _CHANGED and row.measure in _TIMED]
    panels = [_panel(compared, row) for row in timed[:_PANELS]]
    if panels:
        yield Figure(
            histograms(panels),
            "Distributions of what changed, as shares of all; both axes are logarithmic.",
        )


def _is_narrow(row: Row) -> bool:
    return row.bounds is not None and max(abs(row.bounds.low), abs(row.bounds.high)) < _WIDEST


def _interval(row: Row) -> Interval:
    assert row.bounds is not None
    color = {"improved": 0, "regressed": 1}.get(row.verdict, 2)
    label = f"{fit(_subject(row), _NAME)} {what(row)}"
    return Interval(label, row.bounds.change, row.bounds.low, row.bounds.high, color)


def _panel(compared: Compared, row: Row) -> Histogram:
    counts = []
    for label, side in zip(("before", "after"), compared.sides):
        subjects = [
            subject
            for subject in dict.fromkeys(s for run in side.runs for s in run.vcpus)
            if subject.vm == row.vm and row.vcpu in (None, subject.vcpu)
        ]
        times = [run.sum(axis=0) for run in side.times(subjects, row.cls)]
        counts.append((label, np.sum(times, axis=0)))
    return Histogram(f"{fit(_subject(row), _NAME)} {row.cls.label}", counts)
