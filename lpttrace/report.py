# SPDX-License-Identifier: GPL-2.0-only
"""What one recording says: what ran, what it cost, and what could not be seen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np
import numpy.typing as npt

from lpttrace.abi import TrapClass, timer_of_register
from lpttrace.blocks import Blocks
from lpttrace.blocks_rows import LATENESS, STOLEN
from lpttrace.model import (
    Guest,
    Model,
    alarms,
    compare,
    losses_between,
    not_visible,
    shortages,
    tally,
)
from lpttrace.model_time import Sight, sight_of
from lpttrace.quantiles import Quantiles, quantiles
from lpttrace.snapshot import Histogram

__all__ = ["Cost", "Report", "Use", "by_label", "report_of"]

Array = npt.NDArray[np.float64]

_TRAPS = ("hypercall", "timer")


@dataclass(frozen=True)
class Use:
    """What some vCPUs did, all per second and vCPU; None where it cannot be seen.

    lost_ns is service time and time in the VMM. traps_per_interrupt is of accesses to the registers
    that set timers. share is of the time of all traps of the recording.
    """

    vm: str
    vcpu: Optional[int]
    vcpus: int
    seconds: float
    interrupts: Optional[float]
    hypercalls: Optional[float]
    timer_traps: Optional[float]
    traps_per_interrupt: Optional[float]
    lost_ns: float
    service: Optional[Quantiles]
    lateness: Optional[Quantiles]
    stolen: Optional[float]


@dataclass(frozen=True)
class Cost:
    """A class on all vCPUs of a VM; share is of the time that all traps took."""

    vm: str
    cls: TrapClass
    count: int
    per_second: float
    mean_ns: Optional[float]
    service: Optional[Quantiles]
    lost_ns: float
    share: float


@dataclass(frozen=True)
class Report:
    """vms and costs have the most expensive first; models is the last frame, with all VMs that
    were ever seen."""

    blocks: Blocks
    models: Model
    vms: tuple[Use, ...]
    vcpus: tuple[Use, ...]
    costs: tuple[Cost, ...]
    blind: tuple[tuple[str, str], ...]
    alarms: tuple[str, ...]
    losses: Mapping[str, int]
    shortages: tuple[str, ...]


def by_label(guest: Guest) -> str:
    """Of the groups of a report: every VM by itself."""
    return f"{guest.vm} {guest.name}"


def report_of(blocks: Blocks) -> Report:
    """Of a recording whose blocks are by_label."""
    models = compare(None, tally(blocks.last), blocks.guests)
    sight = sight_of(blocks.last)
    names = dict.fromkeys(subject.vm for subject in blocks.vcpus)
    vms = [_use(blocks, sight, vm, None) for vm in names]
    vcpus = [_use(blocks, sight, *subject) for subject in sorted(blocks.vcpus)]
    return Report(
        *(blocks, models),
        tuple(sorted(vms, key=lambda use: -use.lost_ns * use.vcpus)),
        *(tuple(vcpus), _costs(blocks)),
        not_visible(blocks.last),
        tuple(alarms(models.vms)),
        losses_between(blocks.first, blocks.last),
        tuple(shortages(blocks.last.losses).values()),
    )


def _use(blocks: Blocks, sight: Sight, vm: str, vcpu: Optional[int]) -> Use:
    places = {
        place
        for place, subject in enumerate(blocks.vcpus)
        if subject.vm == vm and vcpu in (None, subject.vcpu)
    }
    rows = {row: cls for row, (place, cls) in enumerate(blocks.series) if place in places}
    seconds = float(blocks.exposure[list(places)].sum())
    ticks = [row for row, cls in rows.items() if cls.kind == "interrupts"]
    hypercalls, timers = (_of_kind(rows, kind) for kind in _TRAPS)
    setting = [row for row in timers if timer_of_register(rows[row].name)]
    interrupts = _count(blocks, ticks)
    return Use(
        *(vm, vcpu, len(places), seconds),
        _rate(interrupts, seconds, sight.interrupts),
        _rate(_count(blocks, hypercalls), seconds, sight.hypercalls),
        _rate(_count(blocks, timers), seconds, sight.timer_traps),
        _rate(_count(blocks, setting), interrupts, sight.interrupts and sight.timer_traps),
        _lost(blocks, [*hypercalls, *timers]) / seconds if seconds else 0.0,
        _times(blocks, [*hypercalls, *timers]),
        _times(blocks, [row for row, cls in rows.items() if cls == LATENESS]),
        _stolen(blocks, rows, seconds, sight),
    )


def _of_kind(rows: Mapping[int, TrapClass], kind: str) -> list[int]:
    return [row for row, cls in rows.items() if cls.kind == kind]


def _count(blocks: Blocks, rows: Sequence[int]) -> float:
    return float(blocks.column("count")[rows].sum())


def _rate(count: float, per: float, seen: bool) -> Optional[float]:
    return count / per if seen and per else None


def _lost(blocks: Blocks, rows: Sequence[int]) -> float:
    return float((blocks.column("served_ns")[rows] + blocks.column("user_ns")[rows]).sum())


def _times(blocks: Blocks, rows: Sequence[int]) -> Optional[Quantiles]:
    total = blocks.times[rows].sum(axis=(0, 1), dtype=np.float64)
    return quantiles(Histogram.of([round(float(count)) for count in total]))


def _stolen(
    blocks: Blocks, rows: Mapping[int, TrapClass], seconds: float, sight: Sight
) -> Optional[float]:
    told = [row for row, cls in rows.items() if cls == STOLEN]
    ns = float(blocks.column("served_ns")[told].sum())
    return _rate(ns / 1e9, seconds, sight.stolen and bool(told))


def _costs(blocks: Blocks) -> tuple[Cost, ...]:
    groups: dict[tuple[str, TrapClass], list[int]] = {}
    for row, (place, cls) in enumerate(blocks.series):
        if cls.kind in _TRAPS:
            groups.setdefault((blocks.vcpus[place].vm, cls), []).append(row)
    every = _lost(blocks, [row for rows in groups.values() for row in rows])
    seconds = _seconds(blocks)
    found = (_cost(blocks, *key, rows, every, seconds[key[0]]) for key, rows in groups.items())
    return tuple(sorted((c for c in found if c.count), key=lambda cost: -cost.share))


def _seconds(blocks: Blocks) -> dict[str, float]:
    found: dict[str, float] = {}
    for subject, exposed in zip(blocks.vcpus, blocks.exposure):
        found[subject.vm] = found.get(subject.vm, 0.0) + float(exposed.sum())
    return found


def _cost(
    blocks: Blocks, vm: str, cls: TrapClass, rows: Sequence[int], every: float, seconds: float
) -> Cost:
    count, lost = _count(blocks, rows), _lost(blocks, rows)
    served = float(blocks.column("served")[rows].sum())
    ns = float(blocks.column("served_ns")[rows].sum())
    return Cost(
        *(vm, cls, round(count), count / seconds if seconds else 0.0),
        ns / served if served else None,
        _times(blocks, rows),
        lost / seconds if seconds else 0.0,
        lost / every if every else 0.0,
    )
