# SPDX-License-Identifier: GPL-2.0-only
"""Service times, timer interrupts and stolen time, as people see them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from lpttrace.model import Flow
from lpttrace.model_time import GuestTime, StolenFlow
from lpttrace.model_timer import Lateness, TimerFlow
from lpttrace.render import (
    NONE_YET,
    NOT_VISIBLE,
    count,
    duration,
    mean,
    quantiles_text,
    rate,
    share,
)

__all__ = [
    "flow_line",
    "interrupts_cell",
    "mean_cell",
    "p99_cell",
    "rate_cell",
    "service_lines",
    "share_cell",
    "time_lines",
    "traps_cell",
]


def rate_cell(flow: Optional[Flow]) -> str:
    """Traps a second in the interval."""
    return NOT_VISIBLE if flow is None else rate(flow.per_second)


def mean_cell(flow: Optional[Flow]) -> str:
    """Mean service time in the interval."""
    return NOT_VISIBLE if flow is None else duration(flow.mean_ns)


def p99_cell(flow: Optional[Flow]) -> str:
    """99th percentile of the service time in the interval."""
    if flow is None:
        return NOT_VISIBLE
    return duration(flow.quantiles.p99 if flow.quantiles else None)


def interrupts_cell(time: GuestTime) -> str:
    """Timer interrupts a second in the interval."""
    return NOT_VISIBLE if time.all_timers is None else rate(time.all_timers.per_second)


def traps_cell(time: GuestTime) -> str:
    """Traps per timer interrupt in the interval."""
    timers = time.all_timers
    if timers is None or not timers.sees_traps:
        return NOT_VISIBLE
    return rate(timers.traps_per_interrupt)


def share_cell(time: GuestTime) -> str:
    """The share of the interval that was stolen."""
    return NOT_VISIBLE if time.stolen is None else share(time.stolen.share)


def flow_line(name: str, flow: Optional[Flow]) -> str:
    """How many since attach, and their service times in the interval."""
    if flow is None:
        return f"{name}: {NOT_VISIBLE}"
    line = f"{name}: {count(flow.total.count)}"
    return f"{line}, {quantiles_text(flow.quantiles)}" if flow.quantiles else line


def service_lines(flow: Flow) -> tuple[str, ...]:
    """Service times in the interval and since attach, as far as there are."""
    spans = (("in this interval", flow.quantiles), ("since attach", flow.all_quantiles))
    return tuple(f"{span}: {quantiles_text(found)}" for span, found in spans if found)


def time_lines(time: GuestTime) -> Iterator[str]:
    """Timers, lateness and stolen time, as far as there is something to tell."""
    for timer in time.timers or ():
        yield _timer_line(timer)
    if time.timers is None:
        yield f"timer interrupts: {NOT_VISIBLE}"
    elif time.timers:
        yield f"late: {_lateness(time.lateness) if time.sight.lateness else NOT_VISIBLE}"
    if time.stolen is None or time.stolen.vcpus:
        yield f"stolen time: {_stolen_line(time.stolen)}"


def _timer_line(timer: TimerFlow) -> str:
    line = f"{timer.timer} timer: {rate(timer.per_second)} interrupts/s"
    if not timer.sees_traps:
        line += f", traps {NOT_VISIBLE}"
    elif timer.traps_per_interrupt is not None:
        traps, service = rate(timer.traps_per_interrupt), duration(timer.service_ns_per_interrupt)
        line += f" of {traps} traps, {service} each"
    return line + (f", {count(timer.total.overdue)} overdue" if timer.total.overdue else "")


def _lateness(lateness: Optional[Lateness]) -> str:
    if lateness is None:
        return f"{NOT_VISIBLE}, none is of an emulated timer"
    if lateness.quantiles is not None:
        return quantiles_text(lateness.quantiles)
    if lateness.all_quantiles is not None:
        return f"{quantiles_text(lateness.all_quantiles)} since attach"
    return NONE_YET


def _stolen_line(stolen: Optional[StolenFlow]) -> str:
    if stolen is None:
        return NOT_VISIBLE
    updates = stolen.total.updates
    told = f"{duration(stolen.total.stolen_ns)} since attach"
    return f"{share(stolen.share)}, {told}, {count(updates.count)} updates ({mean(updates)})"
