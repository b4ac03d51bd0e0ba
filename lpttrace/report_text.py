# SPDX-License-Identifier: GPL-2.0-only
"""A report as text for a terminal, and its tables as cells. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Optional

from lpttrace.printable import printable
from lpttrace.quantiles import Quantiles
from lpttrace.render import (
    NOT_VISIBLE,
    QUANTILE_COLUMNS,
    count,
    duration,
    frequency,
    quantile_cells,
    rate,
    share,
)
from lpttrace.render_columns import table
from lpttrace.render_event import event_table
from lpttrace.render_lpt import answers_line, lpt_lines
from lpttrace.report import Cost, Report, Use

__all__ = [
    "COST_TITLES",
    "USE_TITLES",
    "cost_cells",
    "ended",
    "facts",
    "lpt_texts",
    "text",
    "use_cells",
]

USE_TITLES = (
    *("VM", "vCPU", "IRQ/s", "HVC/s", "TIMER/s", "TRAP/IRQ", "LOST/s"),
    *("P50", "P99", "LATE P99", "STOLEN"),
)
COST_TITLES = ("VM", "CLASS", "COUNT", "PER s", "MEAN", *QUANTILE_COLUMNS, "LOST/s", "SHARE")

_MOST_ROWS = 20


def text(found: Report) -> str:
    """All of it."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Report) -> Iterator[str]:
    yield from facts(found)
    yield from (f"ALARM: {alarm}" for alarm in map(printable, found.alarms))
    yield "\nwhat ran, per second and vCPU (IRQ: timer interrupts; LOST: in traps):"
    yield table(
        USE_TITLES,
        [use_cells(use) for use in (*found.vms[:_MOST_ROWS], *_of_more(found))],
        left=(0,),
    )
    yield "\nthe top costs:"
    costs = found.costs[:_MOST_ROWS]
    yield table(COST_TITLES, [cost_cells(cost) for cost in costs], left=(0, 1))
    if len(found.costs) > len(costs):
        yield f"and {len(found.costs) - len(costs)} more, of less"
    yield "\nLive Physical Time:"
    yield from lpt_texts(found)
    yield f"\n{event_table(found.models, found.models.vms, ended(found))}"
    yield "\nnot seen on this host:"
    yield from (f"  {things}: {printable(why)}" for things, why in found.blind)
    if not found.blind:
        yield "  everything was seen that lpttrace knows of"


def _of_more(found: Report) -> list[Use]:
    """The vCPUs that lose most, of VMs that have more than one."""
    many = {use.vm for use in found.vms if use.vcpus > 1}
    vcpus = (use for use in found.vcpus if use.vm in many)
    return sorted(vcpus, key=lambda use: -use.lost_ns)[:_MOST_ROWS]


def ended(found: Report) -> datetime:
    """When the last frame was taken."""
    return datetime.fromtimestamp(found.blocks.end_ns / 1e9, timezone.utc)


def facts(found: Report) -> Iterator[str]:
    """Where and when, and what was lost on the way."""
    blocks = found.blocks
    host = blocks.host
    hertz = frequency(host.counter_hz) if host.counter_hz else "unknown"
    mode = {"vhe": "VHE", "nvhe": "nVHE"}.get(host.el2 or "", "mode unknown")
    yield (
        f"{printable(host.hostname)}: Linux {printable(host.kernel)}, "
        f"{printable(host.architecture)}, {host.cpus} x {printable(host.cpu)}, {mode}, "
        f"counter {hertz}"
    )
    begin = datetime.fromtimestamp(blocks.begin_ns / 1e9, timezone.utc)
    yield (
        f"{begin:%Y-%m-%d %H:%M:%S} to {ended(found):%Y-%m-%d %H:%M:%S} UTC, "
        f"{blocks.frames} frames, lpttrace {printable(host.lpttrace)}, {printable(host.source)}"
    )
    lost = {name: value for name, value in found.losses.items() if value}
    yield "losses: " + (", ".join(f"{name} {value}" for name, value in lost.items()) or "none")
    yield from found.shortages
    if blocks.problem:
        yield f"ended early: {printable(blocks.problem)}"


def use_cells(use: Use) -> tuple[str, ...]:
    """One for each of USE_TITLES."""
    rates = (use.interrupts, use.hypercalls, use.timer_traps, use.traps_per_interrupt)
    return (
        *(printable(use.vm), f"all {use.vcpus}" if use.vcpu is None else str(use.vcpu)),
        *(NOT_VISIBLE if value is None else rate(value) for value in rates),
        duration(use.lost_ns),
        *(_quantile(use.service, "p50"), _quantile(use.service, "p99")),
        *(_quantile(use.lateness, "p99"), share(use.stolen)),
    )


def _quantile(found: Optional[Quantiles], name: str) -> str:
    return duration(getattr(found, name) if found else None)


def cost_cells(cost: Cost) -> tuple[str, ...]:
    """One for each of COST_TITLES."""
    return (
        *(printable(cost.vm), cost.cls.label, count(cost.count), rate(cost.per_second)),
        duration(cost.mean_ns),
        *quantile_cells(cost.service),
        *(duration(cost.lost_ns), share(cost.share)),
    )


def lpt_texts(found: Report) -> Sequence[str]:
    """State, updates and answers of every VM."""
    lines = []
    for vm in found.models.vms:
        told = [*lpt_lines(vm), answers_line(vm.time.answers)]
        lines.append(f"{vm.guest.vm} {printable(vm.guest.name)}: {'; '.join(filter(None, told))}")
    return lines or ["no VM was seen"]
