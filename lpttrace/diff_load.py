# SPDX-License-Identifier: GPL-2.0-only
"""Which VM is which on the other side, and how busy it was on both. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Optional

from lpttrace.blocks import Blocks, Subject
from lpttrace.diff_tables import Side
from lpttrace.diff_types import Load
from lpttrace.model_time import sight_of

__all__ = ["busier", "busier_vcpu", "loads", "matched"]

# Loads that differ by less than this factor are alike.
_ALIKE = 1.25


def matched(
    before: Sequence[Blocks], after: Sequence[Blocks]
) -> tuple[Sequence[Blocks], Sequence[Blocks], tuple[str, ...], tuple[str, ...]]:
    """Both sides, and the VMs of each that have no counterpart; a lone VM on both sides is the
    same under whatever name."""
    one, other = _names(before), _names(after)
    if len(one) == len(other) == 1 and one != other:
        (old,), (new,) = one, other
        return before, [_renamed(run, new, old) for run in after], (), ()
    return before, after, tuple(sorted(one - other)), tuple(sorted(other - one))


def _names(runs: Sequence[Blocks]) -> set[str]:
    return {subject.vm for run in runs for subject in run.vcpus}


def _renamed(run: Blocks, old: str, new: str) -> Blocks:
    vcpus = (Subject(new if s.vm == old else s.vm, s.vcpu) for s in run.vcpus)
    lpt = {new if name == old else name: history for name, history in run.lpt.items()}
    return replace(run, vcpus=tuple(vcpus), lpt=lpt)


def loads(sides: Sequence[Side], subjects: Sequence[Subject]) -> list[Load]:
    """Of the VMs on both sides, the busiest first."""
    names = dict.fromkeys(subject.vm for subject in subjects)
    found = [_load(sides, name) for name in names]
    return sorted(found, key=lambda load: -sum(load.lost_ns))


def _load(sides: Sequence[Side], vm: str, vcpu: Optional[int] = None) -> Load:
    (one, other) = (_rates(side, vm, vcpu) for side in sides)
    counts = [sum(s.vm == vm for s in {s for r in side.runs for s in r.vcpus}) for side in sides]
    lost = one["lost"] or 0.0, other["lost"] or 0.0
    interrupts, hypercalls, traps = (
        (one[kind], other[kind]) for kind in ("interrupts", "hypercall", "timer")
    )
    return Load(vm, (counts[0], counts[1]), interrupts, hypercalls, traps, lost)


def _rates(side: Side, vm: str, wanted: Optional[int]) -> dict[str, Optional[float]]:
    """By kind, and of the time lost: per second and vCPU, of one or (None) all."""
    seconds = 0.0
    totals = dict.fromkeys(("interrupts", "hypercall", "timer", "lost"), 0.0)
    for run in side.runs:
        places = {
            place
            for place, subject in enumerate(run.vcpus)
            if subject.vm == vm and wanted in (None, subject.vcpu)
        }
        count, ns = run.column("count"), run.column("served_ns") + run.column("user_ns")
        for row, (vcpu, cls) in enumerate(run.series):
            if vcpu in places and cls.kind in totals:
                totals[cls.kind] += float(count[row].sum())
                totals["lost"] += float(ns[row].sum())
        seconds += float(run.exposure[sorted(places)].sum())
    sight = sight_of(side.runs[0].last)
    seen = {
        "interrupts": sight.interrupts,
        "hypercall": sight.hypercalls,
        "timer": sight.timer_traps,
    }
    return {
        kind: total / seconds if seconds and seen.get(kind, True) else None
        for kind, total in totals.items()
    }


def busier(found: Sequence[Load]) -> set[str]:
    """The VMs that are busier on one side, by timer interrupts, or by hypercalls without those."""
    return {load.vm for load in found if not _alike(_work(load))}


def busier_vcpu(sides: Sequence[Side], vm: str, vcpu: int) -> bool:
    """Whether a vCPU is busier on one side, by the same."""
    return not _alike(_work(_load(sides, vm, vcpu)))


def _work(load: Load) -> tuple[Optional[float], Optional[float]]:
    # A call that is made once a minute says little of how busy a guest is.
    return load.interrupts if all(load.interrupts) else load.hypercalls


def _alike(pair: tuple[Optional[float], Optional[float]]) -> bool:
    one, other = pair
    if not one or not other:
        return True
    return 1 / _ALIKE < other / one < _ALIKE
