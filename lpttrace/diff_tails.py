# SPDX-License-Identifier: GPL-2.0-only
"""Distributions compared as distributions: how many are beyond what was rare. Pure.

A quantile moves by whole buckets, and does not say how sure it is. So what is tested is the share
of times beyond a bound, the same on both sides; the quantile is told with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lpttrace.abi import BUCKET_BOUNDS
from lpttrace.diff_stats import Estimate, Sums

__all__ = ["LEVELS", "LEAST_CHANGE", "Tail", "quantile", "quantile_bounds", "sums_of", "tails"]

Array = npt.NDArray[np.float64]

LEVELS = (0.9, 0.99, 0.999)
"""The quantiles looked at."""

LEAST_CHANGE = 0.25
"""A bucket is as wide as this: what changes less may not have changed."""

_EDGES = np.array([0, *BUCKET_BOUNDS, 2 * BUCKET_BOUNDS[-1]], dtype=np.float64)
_MIDDLES = (_EDGES[:-1] + _EDGES[1:]) / 2


@dataclass(frozen=True)
class Tail:
    """The times of one thing on both sides: of each of LEVELS, the sums of those beyond its bound,
    for each recording. before and after are whole histograms, lost the mean ns by which a time is
    longer in that part."""

    over: tuple[list[Array], list[Array]]
    under: tuple[list[Array], list[Array]]
    before: Array
    after: Array
    lost: Array


def tails(before: Sequence[Array], after: Sequence[Array]) -> Tail:
    """Of histograms by recording, [blocks, BUCKETS]."""
    totals = [np.sum([run.sum(axis=0) for run in runs], axis=0) for runs in (before, after)]
    shares = [total / max(1.0, total.sum()) for total in totals]
    bound = np.searchsorted(np.cumsum(shares[0] + shares[1]) / 2, np.array(LEVELS) - 1e-9)
    beyond = (np.arange(len(_MIDDLES))[None, :] > bound[:, None]).astype(np.float64)
    lost = beyond @ (_MIDDLES * (shares[1] - shares[0]))
    over = [[beyond @ run.T for run in runs] for runs in (before, after)]
    under = [[run.sum(axis=1) for run in runs] for runs in (before, after)]
    return Tail((over[0], over[1]), (under[0], under[1]), totals[0], totals[1], lost)


def sums_of(found: Sequence[Tail], level: int, side: int) -> list[Sums]:
    """The ratios of one level, as estimate takes them."""
    runs = range(len(found[0].over[side]))
    return [
        Sums(
            np.array([tail.over[side][run][level] for tail in found]),
            np.array([tail.under[side][run] for tail in found]),
        )
        for run in runs
    ]


def quantile(counts: Array, level: float) -> float:
    """In ns; times are taken to be spread evenly in their bucket."""
    reached = np.cumsum(counts)
    wanted = min(max(level, 0.0), 1.0) * reached[-1]
    bucket = int(np.searchsorted(reached, wanted))
    below = reached[bucket - 1] if bucket else 0.0
    part = (wanted - below) / counts[bucket] if counts[bucket] else 1.0
    return float(_EDGES[bucket] + part * (_EDGES[bucket + 1] - _EDGES[bucket]))


def quantile_bounds(
    histograms: tuple[Array, Array],
    level: float,
    beyond: tuple[Estimate, Estimate],
    row: int,
    t: float,
) -> tuple[float, float, float]:
    """The ratio of the quantile, after to before, and its interval, by that of the share beyond
    (Woodruff)."""
    logs, reaches = [], []
    for counts, side in zip(histograms, beyond):
        spread = t * float(side.variance[row]) ** 0.5 * (1 - level)
        here, least, most = (quantile(counts, q) for q in (level, level - spread, level + spread))
        logs.append(np.log(here))
        reaches.append((np.log(here / max(least, 1.0)), np.log(most / here)))
    (down_b, up_b), (down_a, up_a) = reaches
    ratio = logs[1] - logs[0]
    low, high = ratio - np.hypot(down_a, up_b), ratio + np.hypot(up_a, down_b)
    return float(np.exp(ratio)), float(np.exp(low)), float(np.exp(high))
