# SPDX-License-Identifier: GPL-2.0-only
"""From blocks to the numerators and denominators that are compared. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple, Optional

import numpy as np
import numpy.typing as npt

from lpttrace.abi import CLASSES, TIMERS, TrapClass, timer_of_register
from lpttrace.blocks import Blocks, Subject
from lpttrace.blocks_rows import LATENESS, STOLEN, UPDATE, interrupts
from lpttrace.diff_stats import Sums

__all__ = ["Groups", "Item", "Side", "Table", "items_of", "subjects_of"]

Array = npt.NDArray[np.float64]

_TRAPS = ("hypercall", "timer")
_ORDER = {cls: place for place, cls in enumerate((*CLASSES, LATENESS, STOLEN, UPDATE))}

# Traps whose purpose is that the vCPU waits: that they lose the CPU says nothing.
_WAITS = frozenset(
    f"psci_{name}"
    for name in (
        *("cpu_suspend", "cpu_off", "cpu_freeze", "cpu_default_suspend", "system_suspend"),
        *("0_1_cpu_suspend", "0_1_cpu_off"),
    )
)


class Item(NamedTuple):
    """A class on a vCPU."""

    subject: Subject
    cls: TrapClass


@dataclass(frozen=True)
class Table:
    """One measure on one side: sums for each recording, [items, blocks]; of all of it, seconds of
    exposure and the mean weight in ns of one of the numerator, [items]."""

    runs: tuple[Sums, ...]
    exposure: Array
    weight: Array


@dataclass(frozen=True)
class Groups:
    """Items by VM and class; where has for each item the place of its group in keys."""

    keys: tuple[tuple[str, TrapClass], ...]
    where: npt.NDArray[np.int64]

    @classmethod
    def of(cls, items: Sequence[Item]) -> Groups:
        """In the order in which they come."""
        places: dict[tuple[str, TrapClass], int] = {}
        where = [places.setdefault((i.subject.vm, i.cls), len(places)) for i in items]
        return cls(tuple(places), np.array(where, dtype=np.int64))

    def sum(self, values: Array, weights: Array) -> Array:
        """Of the items of each group, each as often as it weighs."""
        total = np.zeros((len(self.keys), *values.shape[1:]))
        np.add.at(total, self.where, (values.T * weights).T)
        return total

    def together(self, table: Table, weights: Array) -> Table:
        """A table with a row for each group."""
        # Events were as many as there were: they say how much is known.
        kept = (weights > 0).astype(np.float64)
        runs = tuple(
            Sums(
                *(self.sum(run.over, weights), self.sum(run.under, weights)),
                None if run.events is None else self.sum(run.events, kept),
            )
            for run in table.runs
        )
        over = np.sum([run.over.sum(axis=1) for run in table.runs], axis=0)
        total = self.sum(over, weights)
        weighed = self.sum(table.weight * over, weights)
        weight = np.divide(weighed, total, out=np.zeros_like(total), where=total > 0)
        return Table(runs, self.sum(table.exposure, kept), weight)


def subjects_of(sides: Sequence[Side]) -> list[Subject]:
    """vCPUs that are on all sides, in order."""
    common = set.intersection(*({s for run in side.runs for s in run.vcpus} for side in sides))
    return sorted(common)


def items_of(subjects: Sequence[Subject], sides: Sequence[Side], measure: str) -> list[Item]:
    """What a measure is about, on vCPUs in this order."""
    wanted = set(subjects)
    found = {
        Item(run.vcpus[vcpu], cls)
        for side in sides
        for run in side.runs
        for vcpu, cls in run.series
        if _is_about(measure, cls) and run.vcpus[vcpu] in wanted
    }
    return sorted(found, key=lambda item: (item.subject.vm, _ORDER[item.cls], item.subject.vcpu))


def _is_about(measure: str, cls: TrapClass) -> bool:
    if measure in ("service", "tail"):
        return cls.kind in _TRAPS or cls == LATENESS or (measure == "service" and cls == UPDATE)
    if measure == "stolen":
        return cls == STOLEN
    return cls.kind in _TRAPS and not (measure == "out" and cls.name in _WAITS)


@dataclass(frozen=True)
class Side:
    """The recordings of one side."""

    runs: tuple[Blocks, ...]

    def table(self, items: Sequence[Item], measure: str, by_interrupt: bool = True) -> Table:
        """Of one of MEASURES but "tail"; without by_interrupt, frequency is by second."""
        runs = tuple(_sums(run, items, measure, by_interrupt) for run in self.runs)
        exposure = np.sum([_exposure(run, items).sum(axis=1) for run in self.runs], axis=0)
        return Table(runs, exposure, self._weight(items, measure))

    def _weight(self, items: Sequence[Item], measure: str) -> Array:
        columns = {"frequency": ("served_ns", "served"), "out": ("out_ns", "out")}.get(measure)
        if columns is None:
            return np.ones(len(items))
        ns, count = (
            np.sum([_column(run, items, name).sum(axis=1) for run in self.runs], axis=0)
            for name in columns
        )
        weight: Array = np.divide(ns, count, out=np.zeros_like(ns), where=count > 0)
        return weight

    def seconds(self, subjects: Sequence[Subject]) -> float:
        """Of exposure of these vCPUs."""
        return float(
            sum(
                run.exposure[run.places[subject]].sum()
                for run in self.runs
                for subject in subjects
                if subject in run.places
            )
        )

    def times(
        self, subjects: Sequence[Subject], cls: TrapClass, weights: Sequence[float] = ()
    ) -> list[Array]:
        """Of each recording the histograms of these vCPUs together, each as often as it weighs, or
        once: [blocks, BUCKETS]."""
        found = []
        for run in self.runs:
            pairs = zip(subjects, weights or repeat(1.0))
            there = [(run.rows[s, cls], w) for s, w in pairs if (s, cls) in run.rows]
            rows, factors = [row for row, _ in there], np.array([w for _, w in there])
            found.append(np.tensordot(factors, run.times[rows], 1))
        return found


def _sums(run: Blocks, items: Sequence[Item], measure: str, by_interrupt: bool) -> Sums:
    if measure == "stolen":
        stolen = _column(run, items, "served_ns")
        return Sums(stolen, _exposure(run, items) * 1e9, _steals(stolen))
    if measure == "frequency":
        unit = _interrupts(run, items) if by_interrupt else _exposure(run, items)
        return Sums(_column(run, items, "count"), unit)
    if measure == "out":
        return Sums(_column(run, items, "out"), _column(run, items, "count"))
    columns = {"service": ("served_ns", "served", "served"), "vmm": ("user_ns", "count", "user")}
    return Sums(*(_column(run, items, name) for name in columns[measure]))


def _steals(stolen: Array) -> Array:
    """How often time was stolen is not counted, only how often the guest was told how much: as
    many times as leave, by Poisson, so many blocks without any."""
    found = stolen > 0
    blocks = found.shape[1]
    share = np.minimum(found.mean(axis=1), 1 - 0.5 / blocks)
    each = np.divide(-np.log1p(-share), share, out=np.zeros_like(share), where=share > 0)
    return np.asarray(found * each[:, None])


def _column(run: Blocks, items: Sequence[Item], name: str) -> Array:
    return _gathered(run.column(name), [run.rows.get(item) for item in items])


def _exposure(run: Blocks, items: Sequence[Item]) -> Array:
    return _gathered(run.exposure, [run.places.get(item.subject) for item in items])


def _interrupts(run: Blocks, items: Sequence[Item]) -> Array:
    """Of the timer that a register sets; of all timers, for what is of none."""
    counts, total = run.column("count"), np.zeros((len(items), len(run.seconds)))
    for timer in TIMERS:
        cls = interrupts(timer)
        rows = [
            run.rows.get((item.subject, cls))
            if timer_of_register(item.cls.name) in (None, timer)
            else None
            for item in items
        ]
        total += _gathered(counts, rows)
    return total


def _gathered(values: Array, rows: Sequence[Optional[int]]) -> Array:
    """Those rows; zeros where there is none."""
    found = np.zeros((len(rows), values.shape[1]))
    there = [place for place, row in enumerate(rows) if row is not None]
    found[there] = values[[row for row in rows if row is not None]]
    return found
