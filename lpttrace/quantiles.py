# SPDX-License-Identifier: GPL-2.0-only
"""What the buckets of a histogram tell. Pure.

A quantile is the middle of its bucket: at most 12.5 % off (struct lpt_histogram).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import Optional

from lpttrace.abi import BUCKET_BOUNDS
from lpttrace.snapshot import Histogram

__all__ = ["COARSE_BOUNDS", "Quantiles", "cumulative", "quantiles"]

COARSE_BOUNDS = tuple(1 << shift for shift in (8, *range(9, 18), 20, 23, 26, 30, 34))
"""Bounds in ns of the buckets that Prometheus gets; each is one of abi.BUCKET_BOUNDS."""

_PLACES = tuple(BUCKET_BOUNDS.index(bound) for bound in COARSE_BOUNDS)


@dataclass(frozen=True)
class Quantiles:
    """Of a histogram, in ns. max is the upper bound of the last bucket that is not empty."""

    p50: float
    p90: float
    p99: float
    max: float


def quantiles(histogram: Histogram) -> Optional[Quantiles]:
    """None of an empty histogram."""
    counts = list(accumulate(histogram.counts()))
    total = counts[-1]
    if not total:
        return None
    # The smallest value that so many are not above: rank ceil(q n), as in "nearest rank".
    p50, p90, p99 = (_middle(bisect_left(counts, -(-total * q // 100))) for q in (50, 90, 99))
    return Quantiles(p50, p90, p99, _bounds(bisect_left(counts, total))[1])


def cumulative(histogram: Histogram) -> list[int]:
    """How many are at most each of COARSE_BOUNDS, and how many there are, which comes last."""
    counts = list(accumulate(histogram.counts()))
    return [*(counts[place] for place in _PLACES), counts[-1]]


def _middle(bucket: int) -> float:
    lower, upper = _bounds(bucket)
    return (lower + upper) / 2


def _bounds(bucket: int) -> tuple[int, int]:
    # Of the last bucket, which has no upper bound, the lower one twice.
    lower = BUCKET_BOUNDS[bucket - 1] if bucket else 0
    return lower, BUCKET_BOUNDS[min(bucket, len(BUCKET_BOUNDS) - 1)]
