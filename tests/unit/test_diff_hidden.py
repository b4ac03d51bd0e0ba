# SPDX-License-Identifier: GPL-2.0-only
"""What another change must not hide: slower tails under a better mean, one vCPU among idle ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lpttrace.abi import TrapClass
from lpttrace.blocks import reduce
from lpttrace.diff import compare
from lpttrace.diff_types import Difference
from tests.unit.recordings import CTL_READ, CTL_WRITE, Plan, record


def compared(seed: int, before: Plan, after: Plan) -> Difference:
    one, other = reduce(record(seed, before)), reduce(record(10_000 + seed, after))
    assert one is not None and other is not None
    return compare([one], [other]).difference


def told(found: Difference) -> set[tuple[str, str, object, object]]:
    return {
        (row.verdict, row.measure, row.vcpu, row.cls)
        for row in found.rows
        if row.verdict in ("regressed", "improved")
    }


@pytest.mark.parametrize("seed", range(3))
def test_a_mean_that_got_better_hides_no_tail_that_got_worse(seed: int) -> None:
    better = Plan(slower={(None, CTL_WRITE): 0.6}, slow={CTL_WRITE: (0.01, 15)})
    mean, tail = ("service", None, CTL_WRITE), ("tail", None, CTL_WRITE)
    assert told(compared(seed, Plan(), better)) == {("improved", *mean), ("regressed", *tail)}
    assert told(compared(seed, better, Plan())) == {("regressed", *mean), ("improved", *tail)}


@pytest.mark.parametrize("seed", range(3))
def test_a_tail_that_seems_worse_is_not_passed_over_either(seed: int) -> None:
    """By less than a bucket is wide, so that it cannot be told."""
    better = Plan(slower={(None, CTL_WRITE): 0.6}, slow={CTL_WRITE: (0.01, 10)})
    found = compared(seed, Plan(), better)
    assert told(found) == {("improved", "service", None, CTL_WRITE)}
    (row,) = (r for r in found.rows if (r.measure, r.cls) == ("tail", CTL_WRITE))
    assert (row.verdict, row.quantile) == ("cannot tell", 0.99)


@pytest.mark.parametrize("seed", [1, 4])
@pytest.mark.parametrize("idle", [0.01, 0.0005])
def test_idle_vcpus_do_not_hide_the_busy_one(seed: int, idle: float) -> None:
    """A vCPU that has hardly any samples is not told to be the one that changed."""
    loads = (1, idle, idle, idle)
    slower = Plan(loads=loads, slower={(None, CTL_READ): 1.1})
    found = compared(seed, Plan(loads=loads), slower)
    assert told(found) in (
        {("regressed", "service", 0, CTL_READ)},
        {("regressed", "service", None, CTL_READ)},
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("vcpus", [2, 4])
def test_load_that_moves_between_vcpus_that_are_not_alike_is_no_change(
    seed: int, vcpus: int
) -> None:
    """One is twice as slow as the others, on both sides."""
    slower: dict[tuple[int | None, TrapClass | None], float] = {(vcpus - 1, None): 2.0}
    before = Plan(vcpus=vcpus, slower=slower, loads=(1.5,) * (vcpus - 1) + (0.5,))
    after = replace(before, loads=(0.5,) * (vcpus - 1) + (1.5,))
    found = compared(seed, before, after)
    assert told(found) == set()
    worse = compared(seed, before, replace(after, slower={**slower, (None, CTL_READ): 1.2}))
    assert ("regressed", "service", None, CTL_READ) in told(worse)


def test_load_that_moved_altogether_cannot_be_told() -> None:
    """There is no vCPU to compare."""
    slower: dict[tuple[int | None, TrapClass | None], float] = {(1, None): 1.5}
    before = Plan(vcpus=2, slower=slower, loads=(1, 0))
    found = compared(1, before, replace(before, loads=(0, 1)))
    assert told(found) == set()
    (row,) = (r for r in found.rows if (r.measure, r.cls) == ("service", CTL_READ))
    assert row.verdict == "cannot tell" and row.reason.startswith("different workload mix")
