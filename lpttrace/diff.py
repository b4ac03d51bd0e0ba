# SPDX-License-Identifier: GPL-2.0-only
"""Two sides of recordings compared: what changed, ranked by what it costs guests. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lpttrace.blocks import Blocks, Subject
from lpttrace.diff_families import Family, Sides, corrected, family, tail_families
from lpttrace.diff_host import host_differences
from lpttrace.diff_load import busier, loads, matched
from lpttrace.diff_lpt import lpt_changes
from lpttrace.diff_rows import rows_of
from lpttrace.diff_sight import Blind, blind_rows, blindness, lone_rows
from lpttrace.diff_tables import Item, Side, items_of, subjects_of
from lpttrace.diff_tested import LEAST_TIMES
from lpttrace.diff_types import VERDICTS, Difference, Options, Row, SideFacts

__all__ = ["Compared", "compare"]

_MEASURES = ("service", "frequency", "out", "vmm", "stolen")


@dataclass(frozen=True)
class Compared:
    """A difference with what it was made from, in which a lone VM has the same name."""

    difference: Difference
    sides: Sides


_DEFAULT = Options()


def compare(
    before: Sequence[Blocks], after: Sequence[Blocks], options: Options = _DEFAULT
) -> Compared:
    """Each side is one recording or several, of runs of the same thing."""
    before, after, only_before, only_after = matched(before, after)
    sides = Side(tuple(before)), Side(tuple(after))
    subjects = subjects_of(sides)
    blind = blindness(sides)
    found = _families(sides, subjects, blind, options)
    load = loads(sides, subjects)
    rows = [
        *rows_of(found, sides, options, busier(load), not blind.interrupts_on_both),
        *blind_rows(blind),
        *lone_rows(only_before, only_after),
    ]
    difference = Difference(
        *(options, tuple(map(_facts, before)), tuple(map(_facts, after))),
        *(host_differences(before, after), tuple(load), tuple(sorted(rows, key=_rank))),
        *(only_before, only_after, lpt_changes(before, after)),
    )
    return Compared(difference, sides)


def _rank(row: Row) -> tuple[int, float]:
    return VERDICTS.index(row.verdict), -abs(row.effect_ns)


def _facts(run: Blocks) -> SideFacts:
    seconds = float(run.seconds.mean())
    blocks = len(run.seconds)
    times = run.begin_ns, run.end_ns
    return SideFacts(run.host, *times, run.frames, blocks, seconds, run.problem)


def _families(
    sides: Sides, subjects: Sequence[Subject], blind: Blind, options: Options
) -> list[Family]:
    found = []
    for measure in _MEASURES:
        items = [i for i in items_of(subjects, sides, measure) if blind.sees(i.cls, measure)]
        if items:
            by_interrupt = blind.interrupts_on_both
            found.append(family(sides, items, measure, by_interrupt, options))
    timed = [item for item in _timed(sides, subjects) if blind.sees(item.cls, "tail")]
    found += tail_families(sides, timed, options) if timed else []
    corrected(found)
    _set_apart(found, options)
    corrected(found)
    return found


def _timed(sides: Sides, subjects: Sequence[Subject]) -> Iterator[Item]:
    """What there are enough times of on both sides to have a tail, over all vCPUs of a VM."""
    items = items_of(subjects, sides, "tail")
    served: dict[object, list[float]] = {}
    tables = [side.table(items, "service") for side in sides]
    for place, item in enumerate(items):
        counts = served.setdefault((item.subject.vm, item.cls), [0.0, 0.0])
        for side, table in enumerate(tables):
            counts[side] += sum(float(run.under[place].sum()) for run in table.runs)
    for item in items:
        if min(served[item.subject.vm, item.cls]) >= LEAST_TIMES:
            yield item


def _set_apart(found: Sequence[Family], options: Options) -> None:
    """Take vCPUs that differ out of their VMs, and those with another mean out of tails, too."""
    slow: set[Item] = set()
    for one in found:
        apart = one.differs & (one.corrected_vcpus < options.alpha)
        if one.measure == "service":
            slow = {item for item, is_apart in zip(one.items, apart) if is_apart}
        if one.measure == "tail":
            apart |= [item in slow for item in one.items]
        one.leave_out(apart)
