# SPDX-License-Identifier: GPL-2.0-only
"""What the buckets of a histogram tell. Pure.

A quantile, and max, is the middle of its bucket: at most 12.5 % off (struct lpt_histogram).
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
    """Of a histogram, in ns."""

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
    places = (bisect_left(counts, -(-total * percent // 100)) for percent in (50, 90, 99, 100))
    return Quantiles(*map(_middle, places))


def cumulative(histogram: Histogram) -> list[int]:
    """How many are at most each of COARSE_BOUNDS, and how many there are, which comes last."""
    counts = list(accumulate(histogram.counts()))
    return [*(counts[place] for place in _PLACES), counts[-1]]


def _middle(bucket: int) -> float:
    # Of the last bucket, which has no upper bound, the lower one.
    lower = BUCKET_BOUNDS[bucket - 1] if bucket else 0
    return (lower + BUCKET_BOUNDS[min(bucket, len(BUCKET_BOUNDS) - 1)]) / 2
