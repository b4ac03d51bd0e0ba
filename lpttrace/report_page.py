# SPDX-License-Identifier: GPL-2.0-only
"""A report as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from lpttrace.abi import TrapClass
from lpttrace.blocks import Blocks
from lpttrace.page import Figure, Page, Section, Table, html
from lpttrace.plot import COLORS, Heat, Histogram, Line, heats, histograms, lines
from lpttrace.printable import fit, printable
from lpttrace.render import duration, rate
from lpttrace.render_event import event_rows
from lpttrace.report import Report
from lpttrace.report_text import (
    COST_TITLES,
    USE_TITLES,
    cost_cells,
    ended,
    facts,
    lpt_texts,
    use_cells,
)

__all__ = ["page"]

Array = npt.NDArray[np.float64]

_MOST_ROWS = 200
_TOP = 20
_MOST_VCPUS = 48
_PANELS = 6
_TRAPS = ("hypercall", "timer")
_LABEL = 28

_USE_NOTES = (
    "All are per second and vCPU. IRQ: timer interrupts; TRAP/IRQ: accesses to timer registers "
    "that trapped, per interrupt; LOST: service time of traps, and time in the VMM; P50, P99: of "
    "service times; LATE: from a timer's deadline to its interrupt.",
)


def page(found: Report) -> str:
    """One file of HTML."""
    blocks = found.blocks
    title = f"lpttrace report: {printable(blocks.host.hostname)}"
    return html(Page(title, _lead(found), tuple(facts(found)), tuple(_sections(found))))


def _lead(found: Report) -> str:
    if not found.vms:
        return "No VM ran."
    vcpus = sum(use.vcpus for use in found.vms)
    seconds = sum(use.seconds for use in found.vms)
    lost = sum(use.lost_ns * use.seconds for use in found.vms) / seconds if seconds else 0.0
    lead = f"{len(found.vms)} VMs with {vcpus} vCPUs lost {duration(lost)} per second and vCPU"
    if not found.costs:
        return f"{lead}."
    top = found.costs[0]
    return (
        f"{lead}; most of it, {100 * top.share:.0f} %, to {top.cls.label} of {printable(top.vm)}."
    )


def _sections(found: Report) -> Iterator[Section]:
    if found.alarms:
        yield Section("Alarms", lines=[printable(alarm) for alarm in found.alarms])
    use = Table(USE_TITLES, [use_cells(use) for use in found.vms[:_MOST_ROWS]], (0, 1))
    yield Section("What ran", tables=[use], notes=_USE_NOTES, figures=list(_time_lines(found)))
    costs = [cost_cells(cost) for cost in found.costs[:_MOST_ROWS]]
    yield Section("Top costs", tables=[Table(COST_TITLES, costs[:_TOP], (0, 1))])
    if len(costs) > _TOP:
        yield Section("More costs", tables=[Table(COST_TITLES, costs[_TOP:], (0, 1))], folded=True)
    yield Section("Distributions", figures=list(_distributions(found)))
    yield Section("vCPUs", tables=[_vcpus(found)], figures=list(_by_vcpu(found)))
    titles, rows = event_rows(found.models, found.models.vms, ended(found))
    events = [Table(titles, rows, tuple(range(len(titles))))] if rows else []
    yield Section("Live Physical Time", lines=lpt_texts(found), tables=events)
    yield Section("Not seen on this host", lines=_blind(found))


def _blind(found: Report) -> list[str]:
    told = [f"{things}: {printable(why)}" for things, why in found.blind]
    return told or ["Everything was seen that lpttrace knows of."]


def _vcpus(found: Report) -> Table:
    uses = sorted(found.vcpus, key=lambda use: -use.lost_ns)[:_MOST_VCPUS]
    return Table(USE_TITLES, [use_cells(use) for use in uses], (0, 1))


def _minutes(blocks: Blocks) -> Array:
    edges: Array = np.concatenate([[0.0], np.cumsum(blocks.seconds)]) / 60
    return edges


def _rows(blocks: Blocks, vm: str, kinds: Sequence[str]) -> list[int]:
    return [
        row
        for row, (place, cls) in enumerate(blocks.series)
        if blocks.vcpus[place].vm == vm and cls.kind in kinds
    ]


def _time_lines(found: Report) -> Iterator[Figure]:
    blocks = found.blocks
    edges = _minutes(blocks)
    middles = (edges[:-1] + edges[1:]) / 2
    lost, ticks = [], []
    for use in found.vms[:COLORS]:
        places = [place for place, subject in enumerate(blocks.vcpus) if subject.vm == use.vm]
        seconds = blocks.exposure[places].sum(axis=0)
        per = np.where(seconds > 0, seconds, np.nan)
        label = fit(printable(use.vm), _LABEL)
        lost_ns = blocks.column("served_ns") + blocks.column("user_ns")
        ns = lost_ns[_rows(blocks, use.vm, _TRAPS)].sum(axis=0)
        lost.append(Line(label, middles, ns / per))
        count = blocks.column("count")[_rows(blocks, use.vm, ("interrupts",))].sum(axis=0)
        ticks.append(Line(label, middles, count / per))
    more = f", of the {COLORS} VMs that lost most" if len(found.vms) > COLORS else ""
    if lost:
        yield Figure(
            lines("Time lost in traps", "time per second and vCPU", lost),
            f"Service time of traps and time in the VMM{more}. A gap: the VM was not there.",
        )
        yield Figure(lines("Timer interrupts", "per second and vCPU", ticks), f"Guest work{more}.")


def _distributions(found: Report) -> Iterator[Figure]:
    blocks = found.blocks
    times = _times_by_class(blocks)
    if not times:
        return
    panels = [
        Histogram(f"{cls.label} ({rate(total.sum())} traps)", [("", total.sum(axis=0))])
        for cls, total in times
    ]
    yield Figure(
        histograms(panels),
        "Service times of the classes that took most time, all VMs together; both axes are "
        "logarithmic.",
    )
    heat = [Heat(cls.label, _minutes(blocks), total.T / blocks.seconds) for cls, total in times[:4]]
    yield Figure(
        heats(heat), "The same over time: the brighter, the more traps a second took so long."
    )


def _times_by_class(blocks: Blocks) -> list[tuple[TrapClass, Array]]:
    """The most expensive classes with histograms by block."""
    spent: dict[TrapClass, list[int]] = {}
    for row, (_, cls) in enumerate(blocks.series):
        if cls.kind in _TRAPS and blocks.times[row].any():
            spent.setdefault(cls, []).append(row)
    ns = blocks.column("served_ns").sum(axis=1)
    dearest = sorted(spent.items(), key=lambda item: -ns[item[1]].sum())[:_PANELS]
    return [(cls, blocks.times[rows].sum(axis=0, dtype=np.float64)) for cls, rows in dearest]


def _by_vcpu(found: Report) -> Iterator[Figure]:
    blocks = found.blocks
    dearest = sorted(found.vcpus, key=lambda use: -use.lost_ns)[:_MOST_VCPUS]
    if len(dearest) < 2:
        return
    wanted = sorted((use.vm, use.vcpu) for use in dearest)
    lost_ns = blocks.column("served_ns") + blocks.column("user_ns")
    values, labels = [], []
    for vm, vcpu in wanted:
        place = next(i for i, subject in enumerate(blocks.vcpus) if subject == (vm, vcpu))
        rows = [
            row for row, (at, cls) in enumerate(blocks.series) if at == place and cls.kind in _TRAPS
        ]
        seconds = blocks.exposure[place]
        values.append(lost_ns[rows].sum(axis=0) / np.where(seconds > 0, seconds, np.nan))
        labels.append(f"{fit(printable(vm), _LABEL)} vCPU {vcpu}")
    heat = Heat("Time lost per second", _minutes(blocks), np.array(values), labels)
    yield Figure(
        heats([heat], height=1.0 + 0.17 * len(labels), wide=True),
        "By vCPU over time: the brighter, the more time it lost in traps.",
    )
