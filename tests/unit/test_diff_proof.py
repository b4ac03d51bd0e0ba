# SPDX-License-Identifier: GPL-2.0-only
"""Pairs of runs with a known truth: every planted change found, ranked first, nothing else told."""

from __future__ import annotations

from functools import cache

import pytest

from lpttrace.abi import TrapClass
from lpttrace.blocks import Blocks, reduce
from lpttrace.blocks_rows import LATENESS
from lpttrace.diff import compare
from lpttrace.diff_types import Difference, Row
from tests.unit.recordings import CTL_READ, CTL_WRITE, CVAL_WRITE, LOAD, PTP, RANDOM, Plan, record

SEEDS = range(5)
PAIRS = range(20)
_AFTER = 10_000

Told = tuple[str, object, TrapClass]


@cache
def run(seed: int, plan: Plan | None = None) -> Blocks:
    blocks = reduce(record(seed, plan))
    assert blocks is not None
    return blocks


def compared(seed: int, plan: Plan | None = None) -> Difference:
    return compare([run(seed)], [run(_AFTER + seed, plan)]).difference


def about(row: Row) -> Told:
    return row.measure, row.vcpu, row.cls


def changes(found: Difference, verdict: str = "") -> list[Told]:
    """In their order."""
    return [
        about(row)
        for row in found.rows
        if row.verdict in ((verdict,) if verdict else ("regressed", "improved"))
    ]


def test_no_change_is_none() -> None:
    """Twenty pairs, at most one false alarm in all of them."""
    assert sum(len(changes(compared(seed))) for seed in PAIRS) <= 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan(slower={(None, CTL_READ): 1.1}), ("service", None, CTL_READ)),
        (Plan(extra={CTL_WRITE: 1}), ("frequency", None, CTL_WRITE)),
        (Plan(slow={CTL_WRITE: (0.01, 10)}), ("service", None, CTL_WRITE)),
        (Plan(squeezed=True), ("tail", None, CTL_WRITE)),
    ],
    ids=["service-time", "traps-per-interrupt", "slow-few", "p99-alone"],
)
def test_what_is_planted_is_all_that_is_told(seed: int, plan: Plan, expected: Told) -> None:
    found = compared(seed, plan)
    assert changes(found) == [expected]
    assert changes(found, "regressed") == [expected] and found.rows[0].effect_ns > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_dearest_for_guests_is_first(seed: int) -> None:
    """The other one changed by more, but is made far less often."""
    found = compared(seed, Plan(slower={(None, CTL_READ): 1.2, (None, PTP): 1.5}))
    assert changes(found) == [("service", None, CTL_READ), ("service", None, PTP)]
    assert changes(found) == [about(row) for row in found.rows[:2]]


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_as_much_better_the_other_way_round(seed: int) -> None:
    slower = run(_AFTER + seed, Plan(slower={(None, CTL_READ): 1.1}))
    found = compare([slower], [run(seed)]).difference
    assert changes(found) == changes(found, "improved") == [("service", None, CTL_READ)]
    assert found.rows[0].effect_ns < 0


@pytest.mark.parametrize("seed", SEEDS)
def test_one_slow_vcpu_of_four_is_named(seed: int) -> None:
    found = compared(seed, Plan(slower={(2, None): 1.5}))
    told = set(changes(found, "regressed"))
    # Of the function that is called twice a second there may be too few.
    often = {("service", 2, cls) for cls in LOAD if LOAD[cls][0] > 0.1}
    assert often <= told <= {("service", 2, cls) for cls in LOAD}
    assert set(changes(found)) == told


@pytest.mark.parametrize("seed", [1, 14, 16])
def test_what_is_too_rare_to_be_found_is_not_called_the_same(seed: int) -> None:
    """Of twenty seeds, those whose 350 samples on the slow vCPU were too few."""
    found = compared(seed, Plan(slower={(2, None): 1.5}))
    told = [row for row in found.rows if (row.measure, row.cls) == ("service", RANDOM)]
    assert told and {row.verdict for row in told} == {"cannot tell"}
    assert all(row.reason.startswith("too few samples") for row in told)


@pytest.mark.parametrize("seed", SEEDS)
def test_twice_as_busy_is_no_regression(seed: int) -> None:
    found = compared(seed, Plan(busy=2))
    assert changes(found) == []
    (load,) = found.loads
    before, after = load.interrupts
    assert before and after and after > 1.5 * before
    stolen = [row for row in found.rows if row.measure == "stolen"]
    assert all(row.reason.startswith(("different load", "too few")) for row in stolen)


@pytest.mark.parametrize("seed", SEEDS)
def test_twice_as_busy_with_timers_that_are_cancelled_is_no_regression(seed: int) -> None:
    """Another setting for each interrupt, at the same costs."""
    found = compared(seed, Plan(busy=2, extra={CVAL_WRITE: 1, CTL_WRITE: 1}))
    assert changes(found) == []
    often = [row for row in found.rows if row.reason.startswith("different workload mix")]
    told = {(row.measure, row.vcpu, row.cls) for row in often}
    assert told == {("frequency", None, CVAL_WRITE), ("frequency", None, CTL_WRITE)}
    assert all(row.bounds and row.bounds.low > 0.3 for row in often)


@pytest.mark.parametrize("seed", SEEDS)
def test_later_interrupts_are_blamed_on_more_load_where_there_is_any(seed: int) -> None:
    """A vCPU that has more to do waits for its CPU more often, and its interrupts with it."""
    assert changes(compared(seed, Plan(late=1.5))) == [("service", None, LATENESS)]
    assert changes(compared(seed, Plan(late=1.5, more_calls=2))) == [("service", None, LATENESS)]
    busier = compared(seed, Plan(late=1.5, busy=2))
    assert changes(busier) == []
    rows = [row for row in busier.rows if row.cls == LATENESS]
    assert "different load" in {row.reason.split(":")[0] for row in rows}


@pytest.mark.parametrize("seed", SEEDS)
def test_another_mix_of_calls_is_told_as_that(seed: int) -> None:
    found = compared(seed, Plan(more_calls=2))
    assert changes(found) == []
    (row,) = [row for row in found.rows if row.reason.startswith("different workload mix")]
    assert (row.measure, row.cls, row.verdict) == ("frequency", PTP, "cannot tell")
    assert row.bounds is not None and row.bounds.low < 1.0 < row.bounds.high


def test_a_short_run_says_that_it_is_too_short() -> None:
    plan = Plan(seconds=5)
    found = compare([run(1, plan)], [run(_AFTER + 1, plan)]).difference
    assert {row.verdict for row in found.rows} == {"cannot tell"}
    assert all(row.reason.startswith("too few samples") for row in found.rows)


def test_runs_that_differ_among_themselves_are_noise() -> None:
    """Each run is by itself slower or faster throughout, by 5 %, so that two differ surely."""
    plan = Plan(run_noise=0.05)
    before, after = ([run(first + i, plan) for i in range(4)] for first in (20, 40))
    alone = [compare([one], [other]).difference for one, other in zip(before, after)]
    assert any(changes(found) for found in alone)
    assert changes(compare(before, after).difference) == []
    assert changes(compare(before, after[:1]).difference) == []


def test_what_is_more_than_the_noise_between_runs_is_found() -> None:
    before = [run(20 + i, Plan(run_noise=0.01)) for i in range(5)]
    after = [run(40 + i, Plan(run_noise=0.01, slower={(None, CTL_READ): 1.5})) for i in range(5)]
    assert changes(compare(before, after).difference) == [("service", None, CTL_READ)]
