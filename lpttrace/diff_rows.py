# SPDX-License-Identifier: GPL-2.0-only
"""Rows of all that was tested; what one change explains is one row. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Optional

import numpy as np
from scipy.stats import t as student

from lpttrace.abi import TrapClass, timer_of_register
from lpttrace.blocks import Subject
from lpttrace.blocks_rows import LATENESS
from lpttrace.diff_families import Family, Sides
from lpttrace.diff_tables import Item
from lpttrace.diff_tails import LEVELS, quantile, quantile_bounds
from lpttrace.diff_tested import Tested
from lpttrace.diff_types import Bounds, Options, Row
from lpttrace.diff_verdict import row_of, tail_judged

__all__ = ["rows_of"]

_CHANGED = ("regressed", "improved")
_OTHER_MIX = "different workload mix: how often guests make this call is their choice"
_OTHER_LOAD = "different load: the VM is busier on one side, and this depends on it"
_NO_UNIT = "nothing to measure guest work by: timer interrupts cannot be seen"

Key = tuple[str, object, TrapClass]


def rows_of(
    found: Sequence[Family],
    sides: Sides,
    options: Options,
    other_load: Collection[str],
    by_second: bool,
) -> list[Row]:
    """Of all families; other_load are the VMs that are busier on one side."""
    rows: list[Row] = []
    tail_rows: dict[Key, list[Row]] = {}
    for one in found:
        for row, subjects in _of_family(one, options):
            if one.measure == "tail":
                level_row = _tail_row(row, subjects, one, sides, options)
                doubted = _with_doubt(level_row, other_load, by_second)
                tail_rows.setdefault(_key(row), []).append(doubted)
            else:
                rows.append(_with_doubt(row, other_load, by_second))
    explained = {_key(row) for row in rows if row.measure == "service" and row.verdict in _CHANGED}
    telling = [_most_telling(levels) for levels in tail_rows.values()]
    rows = [_with_p99(row, sides) for row in rows]
    return rows + [row for row in telling if not _explains(explained, row)]


def _key(row: Row) -> Key:
    return row.vm, row.vcpu, row.cls


def _explains(explained: Collection[Key], row: Row) -> bool:
    """A mean that changed has another tail, on all vCPUs that it changed on."""
    return _key(row) in explained or (row.vm, None, row.cls) in explained


def _of_family(one: Family, options: Options) -> Iterator[tuple[Row, list[Subject]]]:
    """Rows, with the vCPUs that they are about."""
    members: list[list[Subject]] = [[] for _ in one.groups.keys]
    for place, item in enumerate(one.items):
        if not one.left_out[place]:
            members[one.groups.where[place]].append(item.subject)
        elif one.differs[place] and one.corrected_vcpus[place] < options.alpha:
            p = float(one.corrected_vcpus[place])
            yield _row(item, False, one, one.vcpus, place, p, options), [item.subject]
    for place, (vm, cls) in enumerate(one.groups.keys):
        if one.vms.there[place] and members[place]:
            p, item = float(one.corrected_vms[place]), Item(Subject(vm, 0), cls)
            row = _row(item, True, one, one.vms, place, p, options)
            alone = _alone(one, place) if row.verdict in _CHANGED else None
            if alone is None:
                yield row, members[place]
            else:
                item = one.items[alone]
                yield _row(item, False, one, one.vcpus, alone, p, options), [item.subject]


def _alone(one: Family, group: int) -> Optional[int]:
    """The item that made all the change of its group, where most of the others had little of it.

    By itself it did not differ surely enough, but the group as a whole did.
    """
    members = np.flatnonzero((one.groups.where == group) & ~one.left_out)
    if len(members) < 3:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.nan_to_num(np.log(one.vcpus.change.ratio[members]), posinf=0, neginf=0)
        whole = float(np.log(one.vms.change.ratio[group]))
    if abs(float(np.median(logs))) >= abs(whole) / 2:
        return None
    return int(members[np.argmax(logs * np.sign(whole))])


def _row(
    item: Item, whole: bool, one: Family, tests: Tested, place: int, p: float, options: Options
) -> Row:
    row = row_of(item, whole, one.measure, tests, place, p, options)
    if one.measure != "tail":
        return row
    # Kept for _tail_row: what the interval of the quantile is made from.
    return replace(row, quantile=LEVELS[one.level])


def _with_doubt(row: Row, other_load: Collection[str], by_second: bool) -> Row:
    """What changed, but not because of the host, is no verdict."""
    if row.verdict not in _CHANGED:
        return row
    if row.vm in other_load and (row.measure in ("stolen", "out") or row.cls == LATENESS):
        return replace(row, verdict="cannot tell", reason=_OTHER_LOAD)
    if row.measure == "frequency" and by_second:
        return replace(row, verdict="cannot tell", reason=_NO_UNIT)
    if row.measure == "frequency" and timer_of_register(row.cls.name) is None:
        return replace(row, verdict="cannot tell", reason=_OTHER_MIX)
    return row


def _tail_row(
    row: Row, subjects: Sequence[Subject], one: Family, sides: Sides, options: Options
) -> Row:
    """The row of a share beyond a bound, told by its quantile."""
    level = LEVELS[one.level]
    histograms = [_histogram(sides, subjects, row.cls, side) for side in (0, 1)]
    before, after = (quantile(counts, level) for counts in histograms)
    row = replace(row, before=before, after=after)
    if row.bounds is None or row.p is None:
        return replace(row, bounds=None)
    tests, place = _place(one, row)
    pair = histograms[0], histograms[1]
    freedom = min(tests.before.freedom[place], tests.after.freedom[place])
    t = float(student.isf(options.alpha / 2, freedom))
    ratio, low, high = quantile_bounds(pair, level, (tests.before, tests.after), place, t)
    told = replace(row, bounds=Bounds(ratio - 1, low - 1, high - 1))
    verdict, reason = tail_judged(told, row.bounds, options)
    return replace(told, verdict=verdict, reason=reason)


def _place(one: Family, row: Row) -> tuple[Tested, int]:
    if row.vcpu is None:
        return one.vms, one.groups.keys.index((row.vm, row.cls))
    return one.vcpus, one.items.index(Item(Subject(row.vm, row.vcpu), row.cls))


def _histogram(
    sides: Sides, subjects: Sequence[Subject], cls: TrapClass, side: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    total = np.sum([times.sum(axis=0) for times in sides[side].times(subjects, cls)], axis=0)
    return np.asarray(total, dtype=np.float64)


def _most_telling(levels: Sequence[Row]) -> Row:
    changed = [row for row in levels if row.verdict in _CHANGED]
    if changed:
        return min(changed, key=lambda row: (row.p, -abs(row.effect_ns)))
    told = [row for row in levels if row.verdict == "same"]
    return told[-1] if told else levels[0]


def _with_p99(row: Row, sides: Sides) -> Row:
    """A mean that changed says whether its tail did."""
    if row.measure != "service" or row.verdict not in _CHANGED:
        return row
    subjects = [
        subject
        for subject in dict.fromkeys(s for side in sides for run in side.runs for s in run.vcpus)
        if subject.vm == row.vm and row.vcpu in (None, subject.vcpu)
    ]
    before, after = (_histogram(sides, subjects, row.cls, side) for side in (0, 1))
    if not before.sum() or not after.sum():
        return row
    return replace(row, p99=(quantile(before, 0.99), quantile(after, 0.99)))
