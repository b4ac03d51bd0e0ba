# SPDX-License-Identifier: GPL-2.0-only
"""Buckets, the quantiles they give, and the coarse ones of Prometheus."""

from __future__ import annotations

import pytest

from lpttrace.abi import BUCKET_BOUNDS, BUCKETS
from lpttrace.quantiles import COARSE_BOUNDS, Quantiles, cumulative, quantiles
from lpttrace.snapshot import Histogram

from .conftest import histogram

LAST = BUCKET_BOUNDS[-1]


def exact(times: list[int], percent: int) -> int:
    """Nearest rank."""
    return sorted(times)[-(-len(times) * percent // 100) - 1]


def test_bounds() -> None:
    assert BUCKET_BOUNDS[0] == 64 and LAST == 1 << 34 and len(BUCKET_BOUNDS) == BUCKETS - 1
    assert list(BUCKET_BOUNDS) == sorted(set(BUCKET_BOUNDS))
    assert set(COARSE_BOUNDS) <= set(BUCKET_BOUNDS)
    assert all(not BUCKET_BOUNDS.index(bound) % 2 for bound in COARSE_BOUNDS)
    assert COARSE_BOUNDS[0] == 256 and COARSE_BOUNDS[-1] == LAST


def test_no_value_is_further_than_an_eighth_from_the_middle_of_its_bucket() -> None:
    for lower, upper in zip(BUCKET_BOUNDS, BUCKET_BOUNDS[1:]):
        middle = (lower + upper) / 2
        assert max(middle - lower, upper - middle) <= lower / 8


@pytest.mark.parametrize("place", range(len(BUCKET_BOUNDS)))
def test_a_value_equal_to_a_bound_is_under_it(place: int) -> None:
    bound = BUCKET_BOUNDS[place]
    counts = histogram(bound, bound, bound + 1).counts()
    assert (counts[place], counts[place + 1]) == (2, 1) and sum(counts) == 3


@pytest.mark.parametrize("bound", COARSE_BOUNDS)
def test_cumulative_counts_what_is_at_most_the_bound(bound: int) -> None:
    under = cumulative(histogram(bound - 1, bound, bound + 1))
    place = COARSE_BOUNDS.index(bound)
    assert len(under) == len(COARSE_BOUNDS) + 1
    assert under[:place] == [0] * place
    assert under[place] == 2
    assert under[place + 1 :] == [3] * (len(under) - place - 1)


def test_cumulative_of_every_bucket_at_once() -> None:
    counts = [3 * bucket + 1 for bucket in range(BUCKETS)]
    expected = [
        sum(count for count, upper in zip(counts, BUCKET_BOUNDS) if upper <= bound)
        for bound in COARSE_BOUNDS
    ]
    assert cumulative(Histogram.of(counts)) == [*expected, sum(counts)]


def test_nothing_has_no_quantiles() -> None:
    assert quantiles(Histogram()) is None
    assert cumulative(Histogram()) == [0] * (len(COARSE_BOUNDS) + 1)


def test_one_value() -> None:
    # 1000 is in the bucket from 896 to 1024.
    assert quantiles(histogram(1000)) == Quantiles(960, 960, 960, 960)
    assert quantiles(histogram(64)) == Quantiles(32, 32, 32, 32)


def test_what_is_over_all_bounds() -> None:
    assert quantiles(histogram(LAST + 1)) == Quantiles(LAST, LAST, LAST, LAST)


def test_ranks() -> None:
    # The 50th, 90th and 99th of a hundred are the last ones of theirs.
    of_hundred = quantiles(histogram(*[100] * 50, *[1000] * 40, *[10_000] * 9, 100_000))
    assert of_hundred == Quantiles(104, 960, 9216, 106_496)
    # One more, and the median is the next.
    assert quantiles(histogram(*[100] * 50, *[1000] * 51)) == Quantiles(960, 960, 960, 960)
    assert quantiles(histogram(100, 1000)) == Quantiles(104, 960, 960, 960)


@pytest.mark.parametrize("seed", range(20))
def test_close_to_the_exact_ones(seed: int) -> None:
    times = [
        65 + (seed * 7919 + number * 104_729) % 1009 ** (1 + number % 3) for number in range(997)
    ]
    found = quantiles(histogram(*times))
    assert found is not None
    every = (50, found.p50), (90, found.p90), (99, found.p99), (100, found.max)
    for percent, value in every:
        truth = exact(times, percent)
        assert abs(value - truth) <= truth / 8
    assert found.p50 <= found.p90 <= found.p99 <= found.max


@pytest.mark.parametrize("place", range(1, len(BUCKET_BOUNDS)))
def test_the_largest_is_as_close_wherever_it_is(place: int) -> None:
    lower, upper = BUCKET_BOUNDS[place - 1], BUCKET_BOUNDS[place]
    for time in (lower + 1, (lower + upper) // 2, upper):
        found = quantiles(histogram(*[64] * 1000, time))
        assert found is not None and abs(found.max - time) <= time / 8


def test_counts_beyond_32_bits() -> None:
    many = Histogram.of([0, 1 << 40, 0, 3, *[0] * (BUCKETS - 4)])
    assert cumulative(many)[-1] == many.total() == (1 << 40) + 3
    found = quantiles(many)
    assert found is not None and found.p99 < found.max
