# SPDX-License-Identifier: GPL-2.0-only
"""One measure on all vCPUs and VMs: estimates, changes, and which vCPUs differ from their VM. Pure.

A vCPU is told apart from its VM only if its own change and what sets it apart from the others are
both there: its p-value is the greater of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from lpttrace.diff_stats import LEAST_BLOCKS, Change, Estimate, Sums, change, estimate
from lpttrace.diff_tables import Groups, Table
from lpttrace.diff_tails import Tail, sums_of

__all__ = ["LEAST_SAMPLES", "LEAST_TIMES", "Tested", "apart", "tails_tested", "tested"]

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

LEAST_SAMPLES = 100
"""With fewer on a side, nothing is said."""

LEAST_TIMES = 1000
"""With fewer on a side, nothing is said of the tail."""

LEAST_BEYOND = 40
"""With fewer in the tails of both sides, nothing is said of it."""


@dataclass(frozen=True)
class Tested:
    """enough says where there was enough to tell; there says where there was anything at all.
    effect_ns is per second and vCPU."""

    before: Estimate
    after: Estimate
    change: Change
    enough: Flags
    there: Flags
    effect_ns: Array


def tested(before: Table, after: Table, alpha: float, scale: float = 1.0) -> Tested:
    """Row by row; scale is how much of the denominator is one sample."""
    one, other = estimate(before.runs), estimate(after.runs)
    least = np.minimum(one.under, other.under) / scale
    blocks = np.minimum(_blocks(before), _blocks(after))
    enough = (least >= LEAST_SAMPLES) & (blocks >= LEAST_BLOCKS)
    weight = np.where(after.weight > 0, after.weight, before.weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(one.under > 0, one.under / before.exposure, other.under / after.exposure)
        difference = np.nan_to_num(other.value) - np.nan_to_num(one.value)
        effect = np.nan_to_num(difference * rate * weight, posinf=0, neginf=0)
    there = (one.over > 0) | (other.over > 0)
    return Tested(one, other, change(one, other, alpha), enough, there, effect)


def tails_tested(found: Sequence[Tail], level: int, rates: Array, alpha: float) -> Tested:
    """The share of times beyond the bound of a level; rates are of all times, per second."""
    if not found:
        return _nothing()
    one, other = (estimate(sums_of(found, level, side)) for side in (0, 1))
    blocks = min(sum(len(run) for run in found[0].under[side]) for side in (0, 1))
    enough = (np.minimum(one.under, other.under) >= LEAST_TIMES) & (blocks >= LEAST_BLOCKS)
    enough &= one.over + other.over >= LEAST_BEYOND
    effect = np.array([tail.lost[level] for tail in found]) * rates
    there = (one.over > 0) | (other.over > 0)
    return Tested(one, other, change(one, other, alpha), enough, there, effect)


def _nothing() -> Tested:
    none = [Sums(np.zeros((0, LEAST_BLOCKS)), np.zeros((0, LEAST_BLOCKS)))]
    one, flags = estimate(none), np.zeros(0, dtype=bool)
    return Tested(one, one, change(one, one, 0.5), flags, flags, np.zeros(0))


def _blocks(table: Table) -> int:
    return sum(run.over.shape[1] for run in table.runs)


def apart(found: Tested, groups: Groups, threshold: float) -> tuple[Array, Flags]:
    """p-values of vCPUs that differ from the others of their group, and whether by enough."""
    log = np.log(np.where(found.change.ratio > 0, found.change.ratio, 1e-9))
    usable = found.enough & found.there & np.isfinite(log)
    variance = found.before.variance + found.after.variance
    p, differs = np.ones(len(log)), np.zeros(len(log), dtype=bool)
    for group in range(len(groups.keys)):
        members = np.flatnonzero((groups.where == group) & usable)
        if len(members) < 2:
            continue
        logs, spread = log[members], variance[members]
        distance = np.array([logs[i] - np.median(np.delete(logs, i)) for i in range(len(members))])
        # Of a median of so many.
        error = np.sqrt(spread + np.pi / 2 * (spread.sum() - spread) / (len(members) - 1) ** 2)
        freedom = np.minimum(found.before.freedom, found.after.freedom)[members]
        with np.errstate(divide="ignore", invalid="ignore"):
            away = 2 * student.sf(np.abs(distance) / error, freedom)
        p[members] = np.maximum(found.change.p[members], np.nan_to_num(away, nan=1.0))
        least = np.log1p(threshold)
        differs[members] = (np.abs(distance) >= least) & (np.abs(logs) >= least)
        differs[members] &= np.sign(distance) == np.sign(logs)
    return p, differs
