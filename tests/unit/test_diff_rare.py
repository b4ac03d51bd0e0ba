# SPDX-License-Identifier: GPL-2.0-only
"""What happens seldom, or on one side only: one event is no change, a thousand are one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from lpttrace.blocks import reduce
from lpttrace.diff import compare
from lpttrace.diff_stats import Sums, change, estimate
from lpttrace.diff_types import Row
from lpttrace.snapshot import Account, Stolen, VcpuCounters
from tests.unit.recordings import CTL_WRITE, Recording, record

Edit = Callable[[int, VcpuCounters], VcpuCounters]
Array = npt.NDArray[np.float64]
BLOCKS = 60


def edited(seed: int, edit: Edit) -> Recording:
    """Counters of each frame as edit leaves them."""
    whole = record(seed)
    made = []
    for i, frame in enumerate(whole.made):
        vcpus = tuple(edit(i, vcpu) for vcpu in frame.snapshot.vcpus)
        made.append(replace(frame, snapshot=replace(frame.snapshot, vcpus=vcpus)))
    return Recording(whole.host, made)


def rows(measure: str, before: Recording, after: Recording) -> list[Row]:
    one, other = reduce(before), reduce(after)
    assert one is not None and other is not None
    return [row for row in compare([one], [other]).difference.rows if row.measure == measure]


def exit_once(i: int, vcpu: VcpuCounters) -> VcpuCounters:
    if vcpu.vcpu or i < 60:
        return vcpu
    trap = replace(vcpu.traps[CTL_WRITE], userspace=Account(1, 50_000))
    return replace(vcpu, traps={**vcpu.traps, CTL_WRITE: trap})


@pytest.mark.parametrize("seed", range(3))
def test_one_trap_to_the_vmm_is_no_change(seed: int) -> None:
    pair = record(seed), edited(10_000 + seed, exit_once)
    for before, after in (pair, pair[::-1]):
        found = rows("vmm", before, after)
        assert {(row.verdict, row.cls) for row in found} == {("cannot tell", CTL_WRITE)}


@pytest.mark.parametrize("ns", [1_000, 5_000_000])
def test_one_steal_is_no_change(ns: int) -> None:
    def steal(i: int, vcpu: VcpuCounters) -> VcpuCounters:
        stolen = ns if i >= 50 and not vcpu.vcpu else 0
        return replace(vcpu, stolen=Stolen(Account(20 * i, 14_000 * i), stolen))

    def none(i: int, vcpu: VcpuCounters) -> VcpuCounters:
        return replace(vcpu, stolen=Stolen(Account(20 * i, 14_000 * i), 0))

    pair = edited(1, none), edited(10_001, steal)
    for before, after in (pair, pair[::-1]):
        found = rows("stolen", before, after)
        assert found and {row.verdict for row in found} == {"cannot tell"}


@pytest.mark.parametrize(("n", "verdict"), [(4, "cannot tell"), (1500, "regressed")])
def test_traps_that_never_lost_the_cpu_and_now_do(n: int, verdict: str) -> None:
    def lose(i: int, vcpu: VcpuCounters, of: int) -> VcpuCounters:
        count = of * i // 120 // 4
        out = Account(count, 90_000 * count)
        traps = {cls: replace(trap, scheduled_out=out) for cls, trap in vcpu.traps.items()}
        return replace(vcpu, traps=traps)

    before = edited(1, lambda i, vcpu: lose(i, vcpu, 0))
    after = edited(10_001, lambda i, vcpu: lose(i, vcpu, n))
    (row,) = (row for row in rows("out", before, after) if row.cls == CTL_WRITE)
    assert row.verdict == verdict and row.bounds is not None
    assert (row.bounds.low > 0) == (verdict == "regressed")
    (row,) = (row for row in rows("out", after, before) if row.cls == CTL_WRITE)
    assert row.verdict == verdict.replace("regressed", "improved") and row.bounds is not None
    assert (row.bounds.high < 0) == (verdict == "regressed")


def seldom(random: np.random.Generator, mean: float, cluster: int, sizes: float) -> Sums:
    """20,000 times, of so many clusters of events, with sizes that differ."""
    happened = random.poisson(mean / BLOCKS, (20_000, BLOCKS)) * cluster
    over: Array = happened * random.lognormal(0, sizes, happened.shape)
    under = np.full(happened.shape, 1000.0)
    return Sums(over, under, happened.astype(np.float64) if sizes else None)


@pytest.mark.parametrize("mean", [0.5, 2, 6, 15])
@pytest.mark.parametrize(("cluster", "sizes"), [(1, 0.0), (30, 0.0), (1, 0.7)])
def test_rare_events_raise_no_false_alarm(mean: float, cluster: int, sizes: float) -> None:
    random = np.random.default_rng(7)
    pair = [estimate([seldom(random, mean, cluster, sizes)]) for _ in range(2)]
    p = change(pair[0], pair[1], 0.01).p
    assert np.mean(p < 0.01) <= 0.012
    assert np.mean(p < 2e-4) <= 5e-4


def test_many_where_none_were_are_found() -> None:
    none, some = (Sums(np.full((1, BLOCKS), n), np.full((1, BLOCKS), 1e3)) for n in (0.0, 1.0))
    for pair in ((none, some), (some, none)):
        one, other = (estimate([side]) for side in pair)
        found = change(one, other, 0.01)
        assert found.p[0] < 1e-9 and (found.low[0] > 1 or found.high[0] < 1)
    # Runs that are few say little of how often it happens in another.
    few = change(estimate([none, none]), estimate([some, some]), 0.01)
    assert 0.01 < few.p[0] < 0.2 and few.low[0] < 1
