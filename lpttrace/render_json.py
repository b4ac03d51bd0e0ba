# SPDX-License-Identifier: GPL-2.0-only
"""Times, timer interrupts and stolen time as JSON has them: in seconds, null for n/a. Pure."""

from __future__ import annotations

from typing import Any, Optional

from lpttrace.model_time import GuestTime
from lpttrace.model_timer import Ticks, TimerFlow
from lpttrace.quantiles import Quantiles
from lpttrace.snapshot import Account, Stolen

__all__ = ["account", "lateness", "quantiles", "stolen", "timer_interrupts"]

_NS = 1e9


def account(counted: Account) -> dict[str, Any]:
    """Count and seconds."""
    return {"count": counted.count, "seconds": counted.ns / _NS}


def quantiles(found: Optional[Quantiles]) -> Optional[dict[str, float]]:
    """In seconds; null where nothing was timed."""
    if found is None:
        return None
    return {
        "p50_seconds": found.p50 / _NS,
        "p90_seconds": found.p90 / _NS,
        "p99_seconds": found.p99 / _NS,
        "max_seconds": found.max / _NS,
    }


def timer_interrupts(time: GuestTime) -> Optional[dict[str, Any]]:
    """By timer; those that made no interrupts are absent."""
    if time.timers is None:
        return None
    return {
        timer.timer: {
            **_ticks(timer, timer.total),
            "per_second": timer.per_second,
            "interval": _ticks(timer, timer.change) if timer.change else None,
        }
        for timer in time.timers
    }


def _ticks(timer: TimerFlow, ticks: Ticks) -> dict[str, Any]:
    service = ticks.service_ns_per_interrupt
    seconds = None if service is None else service / _NS
    return {
        "count": ticks.delivered,
        "overdue": ticks.overdue,
        "traps_per_interrupt": ticks.traps_per_interrupt if timer.sees_traps else None,
        "service_seconds_per_interrupt": seconds if timer.sees_traps else None,
    }


def lateness(time: GuestTime) -> Optional[dict[str, Any]]:
    """null also where no interrupt is of an emulated timer."""
    late = time.lateness
    if late is None:
        return None
    change = {**account(late.change), **_flat(late.quantiles)} if late.change else None
    return {**account(late.total), **_flat(late.all_quantiles), "interval": change}


def _flat(found: Optional[Quantiles]) -> dict[str, Optional[float]]:
    names = ("p50_seconds", "p90_seconds", "p99_seconds", "max_seconds")
    return {**dict.fromkeys(names), **(quantiles(found) or {})}


def stolen(time: GuestTime) -> Optional[dict[str, Any]]:
    """Without updates where the guest gets no stolen time."""
    flow = time.stolen
    if flow is None:
        return None
    change = _stolen(flow.change) if flow.change else None
    return {**_stolen(flow.total), "share": flow.share, "interval": change}


def _stolen(told: Stolen) -> dict[str, Any]:
    updates = told.updates
    return {
        "seconds": told.stolen_ns / _NS,
        "updates": account(updates),
        "mean_update_seconds": updates.ns / updates.count / _NS if updates.count else None,
    }
