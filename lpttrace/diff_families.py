# SPDX-License-Identifier: GPL-2.0-only
"""All comparisons of one measure; together they are corrected for their number. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

import numpy as np
import numpy.typing as npt

from lpttrace.abi import TrapClass
from lpttrace.blocks_sums import Subject
from lpttrace.diff_mix import Amounts, Mix, mix_of
from lpttrace.diff_stats import holm
from lpttrace.diff_tables import Groups, Item, Side
from lpttrace.diff_tails import LEAST_CHANGE, LEVELS, Tail, tails
from lpttrace.diff_tested import LEAST_SAMPLES, LEAST_TIMES, Tested, apart, tails_tested, tested
from lpttrace.diff_types import Options

__all__ = ["Family", "Sides", "corrected", "family", "tail_families"]

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Sides = tuple[Side, Side]


@dataclass
class Family:
    """vcpus is of the items, and vms of their groups without the items that are left_out, with
    the mix of vCPUs that there was before, which retest has found. amounts are of samples of the
    items. level is one of diff_tails.LEVELS, by its place."""

    measure: str
    items: Sequence[Item]
    groups: Groups
    vcpus: Tested
    p_vcpus: Array
    differs: Flags
    amounts: Amounts
    retest: Callable[[Mix], Tested]
    level: int = 0

    def __post_init__(self) -> None:
        """At first nothing is left out."""
        self._test(np.zeros(len(self.items), dtype=bool))
        self.corrected_vcpus = self.corrected_vms = np.zeros(0)

    def leave_out(self, left_out: Flags) -> None:
        """Test VMs anew, without these items."""
        if (left_out != self.left_out).any():
            self._test(left_out)

    def _test(self, left_out: Flags) -> None:
        self.left_out = left_out
        self.mix = mix_of(self.groups, self.amounts, left_out)
        self.vms = self.retest(self.mix)


def family(
    sides: Sides, items: Sequence[Item], measure: str, by_interrupt: bool, options: Options
) -> Family:
    """Everything about one measure but "tail"."""
    one, other = (side.table(items, measure, by_interrupt) for side in sides)
    groups = Groups.of(items)
    scale = _scale(measure, by_interrupt)

    def retest(mix: Mix) -> Tested:
        before, after = (groups.together(*pair) for pair in zip((one, other), mix.weights))
        return tested(before, after, options.alpha, scale)

    vcpus = tested(one, other, options.alpha, scale)
    p, differs = apart(vcpus, groups, options.threshold)
    amounts = vcpus.before.under / scale, vcpus.after.under / scale
    return Family(measure, items, groups, vcpus, p, differs, amounts, retest)


def _scale(measure: str, by_interrupt: bool) -> float:
    # Of what comes by time, ten milliseconds are a sample.
    if measure == "stolen":
        return 1e7
    return 0.01 if measure == "frequency" and not by_interrupt else 1.0


def tail_families(sides: Sides, items: Sequence[Item], options: Options) -> list[Family]:
    """One for each of diff_tails.LEVELS."""
    groups = Groups.of(items)
    found = [_tail(sides, [item.subject], item.cls) for item in items]
    return [
        _tail_family(sides, items, groups, found, level, options) for level in range(len(LEVELS))
    ]


def _tail(
    sides: Sides,
    subjects: Sequence[Subject],
    cls: TrapClass,
    weights: Sequence[Sequence[float]] = ((), ()),
) -> Tail:
    before, after = (side.times(subjects, cls, w) for side, w in zip(sides, weights))
    return tails(before, after)


def _tail_family(
    sides: Sides,
    items: Sequence[Item],
    groups: Groups,
    found: Sequence[Tail],
    level: int,
    options: Options,
) -> Family:
    def retest(mix: Mix) -> Tested:
        together, rates = [], []
        for group, (_, cls) in enumerate(groups.keys):
            places = mix.places(groups, group)
            subjects = [items[place].subject for place in places]
            tail = _tail(sides, subjects, cls, mix.of(places))
            together.append(tail)
            rates.append(_rate(sides[0], subjects, tail))
        return tails_tested(together, level, np.array(rates), options.alpha)

    rates = np.array([_rate(sides[0], [i.subject], tail) for i, tail in zip(items, found)])
    vcpus = tails_tested(found, level, rates, options.alpha)
    p, differs = apart(vcpus, groups, LEAST_CHANGE)
    # Of a tail, ten times as many are as much.
    scale = LEAST_TIMES / LEAST_SAMPLES
    amounts = vcpus.before.under / scale, vcpus.after.under / scale
    return Family("tail", items, groups, vcpus, p, differs, amounts, retest, level)


def _rate(side: Side, subjects: Sequence[Subject], tail: Tail) -> float:
    seconds = side.seconds(subjects)
    return float(tail.before.sum()) / seconds if seconds else 0.0


def corrected(families: Sequence[Family]) -> None:
    """Holm's correction over everything in all of them that was tested."""
    parts = []
    for one in families:
        usable = one.vcpus.enough & one.vcpus.there & (one.p_vcpus < 1)
        parts += [(one.p_vcpus, usable), (one.vms.change.p, one.vms.enough & one.vms.there)]
    every = np.concatenate([p[usable] for p, usable in parts]) if parts else np.zeros(0)
    found, taken = [], 0
    values = holm(every)
    for p, usable in parts:
        whole, count = np.ones(len(p)), int(usable.sum())
        whole[usable] = values[taken : taken + count]
        taken += count
        found.append(whole)
    for one, vcpus, vms in zip(families, found[::2], found[1::2]):
        one.corrected_vcpus, one.corrected_vms = vcpus, vms
