# SPDX-License-Identifier: GPL-2.0-only
"""Rows of all that was tested; what one change explains is one row. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Optional

import numpy as np
from scipy.stats import t as student

from lpttrace.abi import TrapClass, timer_of_register
from lpttrace.blocks import Subject
from lpttrace.blocks_rows import LATENESS
from lpttrace.diff_families import Family, Sides
from lpttrace.diff_load import busier_vcpu
from lpttrace.diff_tables import Item, Side
from lpttrace.diff_tails import LEVELS, quantile, quantile_bounds
from lpttrace.diff_types import Bounds, Options, Row
from lpttrace.diff_verdict import row_of, tail_judged

__all__ = ["rows_of"]

_CHANGED = ("regressed", "improved")
_OTHER_MIX = "different workload mix: how often guests make this call is their choice"
_MOVED = "different workload mix: most of it is on other vCPUs than before"
_OTHER_TIMERS = (
    "different workload mix: the VM or vCPU is busier on one side, and may cancel more timers"
)
_OTHER_LOAD = "different load: the VM or vCPU is busier on one side, and this depends on it"
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
        for row in _of_family(one, sides, options):
            doubted = _with_doubt(row, sides, other_load, by_second)
            if one.measure == "tail":
                tail_rows.setdefault(_key(row), []).append(doubted)
            else:
                rows.append(doubted)
    means = {
        _key(row): row.verdict
        for row in rows
        if row.measure == "service" and row.verdict in _CHANGED
    }
    rows = [_with_p99(row, sides) for row in rows]
    for levels in tail_rows.values():
        rows += _telling([row for row in levels if not _explains(means, row)])
    return rows


def _key(row: Row) -> Key:
    return row.vm, row.vcpu, row.cls


def _explains(means: Mapping[Key, str], row: Row) -> bool:
    """A mean that changed has another tail, on all vCPUs that it changed on; but one that got
    better has no tail that got worse, or seems to."""
    seems = "regressed" if row.bounds and row.bounds.change > 0 else "improved"
    verdict = row.verdict if row.verdict in _CHANGED else seems
    return verdict in (means.get(_key(row)), means.get((row.vm, None, row.cls)))


def _of_family(one: Family, sides: Sides, options: Options) -> Iterator[Row]:
    def row_of_vcpu(place: int, p: float) -> Row:
        item = one.items[place]
        return _row((item, False), one, place, p, sides, options)

    for place in map(int, np.flatnonzero(one.left_out)):
        if one.differs[place] and one.corrected_vcpus[place] < options.alpha:
            yield row_of_vcpu(place, float(one.corrected_vcpus[place]))
    for place, (vm, cls) in enumerate(one.groups.keys):
        if one.vms.there[place]:
            p, item = float(one.corrected_vms[place]), Item(Subject(vm, 0), cls)
            row = _row((item, True), one, place, p, sides, options)
            alone = _alone(one, place) if row.verdict in _CHANGED else None
            if alone is None:
                yield row
                continue
            own = row_of_vcpu(alone, max(p, float(one.vcpus.change.p[alone])))
            yield own if own.verdict == row.verdict else row


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
    found = one.vcpus.change
    sure = one.vcpus.enough & ((found.low > 1) if whole > 0 else (found.high < 1))
    away = np.where(sure[members], logs * np.sign(whole), -np.inf)
    return int(members[np.argmax(away)]) if sure[members].any() else None


def _row(
    about: tuple[Item, bool],
    one: Family,
    place: int,
    p: float,
    sides: Sides,
    options: Options,
) -> Row:
    """Of an item, or of the whole VM."""
    item, whole = about
    row = row_of(item, whole, one.measure, one.vms if whole else one.vcpus, place, p, options)
    if one.measure == "tail":
        row = _tail_row(row, one, place, sides, options)
    if whole and one.mix.moved[place] and row.verdict in _CHANGED:
        return replace(row, verdict="cannot tell", reason=_MOVED)
    return row


def _with_doubt(row: Row, sides: Sides, other_load: Collection[str], by_second: bool) -> Row:
    """What changed, but not because of the host, is no verdict."""
    if row.verdict not in _CHANGED:
        return row
    reason = ""
    if row.measure in ("stolen", "out") or row.cls == LATENESS:
        reason = _OTHER_LOAD if _is_other_load(row, sides, other_load) else ""
    elif row.measure == "frequency" and by_second:
        reason = _NO_UNIT
    elif row.measure == "frequency" and timer_of_register(row.cls.name) is None:
        reason = _OTHER_MIX
    elif row.measure == "frequency" and _is_other_load(row, sides, other_load):
        reason = _OTHER_TIMERS
    return replace(row, verdict="cannot tell", reason=reason) if reason else row


def _is_other_load(row: Row, sides: Sides, other_load: Collection[str]) -> bool:
    return row.vm in other_load or (row.vcpu is not None and busier_vcpu(sides, row.vm, row.vcpu))


def _tail_row(row: Row, one: Family, place: int, sides: Sides, options: Options) -> Row:
    """The row of a share beyond a bound, told by its quantile."""
    level = LEVELS[one.level]
    places, weights, tests = [place], [[1.0], [1.0]], one.vcpus
    if row.vcpu is None:
        places, tests = one.mix.places(one.groups, place), one.vms
        weights = one.mix.of(places)
    subjects = [one.items[i].subject for i in places]
    histograms = [_histogram(sides[i], subjects, row.cls, weights[i]) for i in (0, 1)]
    before, after = (quantile(counts, level) for counts in histograms)
    row = replace(row, before=before, after=after, quantile=level)
    if row.bounds is None or row.p is None:
        return replace(row, bounds=None)
    pair = histograms[0], histograms[1]
    freedom = min(tests.before.freedom[place], tests.after.freedom[place])
    t = float(student.isf(options.alpha / 2, freedom))
    ratio, low, high = quantile_bounds(pair, level, (tests.before, tests.after), place, t)
    told = replace(row, bounds=Bounds(ratio - 1, low - 1, high - 1))
    verdict, reason = tail_judged(told, row.bounds, options)
    return replace(told, verdict=verdict, reason=reason)


def _histogram(
    side: Side, subjects: Sequence[Subject], cls: TrapClass, weights: Sequence[float] = ()
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    total = np.sum([times.sum(axis=0) for times in side.times(subjects, cls, weights)], axis=0)
    return np.asarray(total, dtype=np.float64)


def _telling(levels: Sequence[Row]) -> Iterator[Row]:
    """The row that says most, but one that got better hides none that got worse."""
    for verdict in _CHANGED:
        changed = [row for row in levels if row.verdict == verdict]
        if changed:
            yield min(changed, key=lambda row: (row.p, -abs(row.effect_ns)))
    if levels and not any(row.verdict in _CHANGED for row in levels):
        yield next((row for row in reversed(levels) if row.verdict == "same"), levels[0])


def _with_p99(row: Row, sides: Sides) -> Row:
    """A mean that changed says whether its tail did."""
    if row.measure != "service" or row.verdict not in _CHANGED:
        return row
    subjects = [
        subject
        for subject in dict.fromkeys(s for side in sides for run in side.runs for s in run.vcpus)
        if subject.vm == row.vm and row.vcpu in (None, subject.vcpu)
    ]
    before, after = (_histogram(side, subjects, row.cls) for side in sides)
    if not before.sum() or not after.sum():
        return row
    return replace(row, p99=(quantile(before, 0.99), quantile(after, 0.99)))
