# SPDX-License-Identifier: GPL-2.0-only
"""Ratios of sums over blocks, and what can be said of their change. Pure; docs/diff.md explains.

All is about many ratios at once: an array has a row for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

__all__ = ["LEAST_BLOCKS", "Change", "Estimate", "Sums", "change", "estimate", "holm"]

Array = npt.NDArray[np.float64]

LEAST_BLOCKS = 8
"""With fewer of them, nothing is said of a ratio."""

# Neighbouring blocks are made one until they have so little to do with each other, or until there
# would be too few of them.
_MOST_JOINED = 8
_FEWEST_JOINED = 16
_MOST_CORRELATION = 0.9

# Of something that was counted so rarely, the blocks do not show how much it varies.
_RARE = 50


class Sums(NamedTuple):
    """Of one recording, numerators and denominators of the same ratios: [ratios, blocks]."""

    over: Array
    under: Array


@dataclass(frozen=True)
class Estimate:
    """Ratios on one side; [ratios] each.

    variance is that of the logarithm, freedom its degrees of freedom. blocks is how many
    independent ones there were, joined how many neighbours were made one.
    """

    value: Array
    over: Array
    under: Array
    variance: Array
    freedom: Array
    blocks: Array
    joined: Array
    runs: int


@dataclass(frozen=True)
class Change:
    """From one estimate to another, as ratios after/before with the bounds of the interval."""

    ratio: Array
    low: Array
    high: Array
    p: Array


class _Spread(NamedTuple):
    """Of the sum of residuals of one recording."""

    square: Array
    blocks: Array
    joined: Array


def estimate(runs: Sequence[Sums]) -> Estimate:
    """Of one side: the ratio of all sums, with the spread within recordings and between them."""
    over = np.sum([run.over.sum(axis=1) for run in runs], axis=0)
    under = np.sum([run.under.sum(axis=1) for run in runs], axis=0)
    rare = over < 0.5
    seen = np.where(rare, 0.5, over)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = seen / under
        residuals = [run.over - value[:, None] * run.under for run in runs]
        spreads = [_spread(np.nan_to_num(residual)) for residual in residuals]
        within = np.sum([spread.square for spread in spreads], axis=0)
        between = _between(residuals) if len(runs) > 1 else np.zeros_like(within)
        variance = np.maximum(within, between) / seen**2
    blocks = np.sum([spread.blocks for spread in spreads], axis=0)
    freedom = blocks - 1 if len(runs) == 1 else np.full_like(value, len(runs) - 1)
    return Estimate(
        np.where(rare, 0.0, value),
        *(over, under),
        np.where(rare, 2 / seen, variance),
        # What never occurred is known by its Poisson distribution, not by its blocks.
        np.where(rare, 1e3, freedom),
        blocks,
        np.max([spread.joined for spread in spreads], axis=0),
        len(runs),
    )


def _between(residuals: Sequence[Array]) -> Array:
    sums = np.array([np.nan_to_num(residual).sum(axis=1) for residual in residuals])
    square: Array = (sums**2).sum(axis=0) * len(sums) / (len(sums) - 1)
    return square


def _spread(residuals: Array) -> _Spread:
    """Batch means: of blocks that are long enough to have little to do with each other."""
    ratios, blocks = residuals.shape
    square, count, joined = (np.zeros(ratios) for _ in range(3))
    open_rows = np.ones(ratios, dtype=bool)
    factor = 1
    while True:
        batches = _joined(residuals, factor)
        n = batches.shape[1]
        last = factor == _MOST_JOINED or n // 2 < _FEWEST_JOINED
        correlation = _correlation(batches)
        done = open_rows & (last | (correlation < 1.65 / max(1, n) ** 0.5))
        rho = np.clip(correlation, 0, _MOST_CORRELATION)
        inflated = (batches**2).sum(axis=1) * n / max(1, n - 1) * (1 + rho) / (1 - rho)
        square = np.where(done, inflated, square)
        # What so many that are correlated say of how much one of them varies.
        count = np.where(done, np.maximum(3, n * (1 - rho**2) / (1 + rho**2)), count)
        joined = np.where(done, factor, joined)
        open_rows &= ~done
        if last or not open_rows.any():
            return _Spread(square, count, joined)
        factor *= 2


def _joined(residuals: Array, factor: int) -> Array:
    ratios, blocks = residuals.shape
    whole = max(1, blocks // factor)
    kept = residuals[:, : whole * factor] if blocks >= factor else residuals
    batches: Array = kept.reshape(ratios, whole, -1).sum(axis=2)
    batches[:, -1] += residuals[:, kept.shape[1] :].sum(axis=1)
    return batches


def _correlation(batches: Array) -> Array:
    """Of neighbours; what is estimated of few is too low by about 1/n, which is put back."""
    n = batches.shape[1]
    if n < 3:
        return np.zeros(len(batches))
    square = (batches**2).sum(axis=1)
    product = (batches[:, 1:] * batches[:, :-1]).sum(axis=1)
    found = np.divide(product, square, out=np.zeros_like(square), where=square > 0)
    return np.asarray(found + 1 / n)


def change(before: Estimate, after: Estimate, alpha: float) -> Change:
    """Student's t of the difference of the logarithms, with the degrees of Welch."""
    one, other = _with_runs(before, after), _with_runs(after, before)
    variance = one + other
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = variance**2 / (one**2 / before.freedom + other**2 / after.freedom)
        freedom = np.where(variance > 0, freedom, 1e9)
        log = np.log(_never_zero(after) / _never_zero(before))
        error = np.sqrt(variance)
        p = 2 * student.sf(np.abs(log) / error, freedom)
        reach = student.isf(alpha / 2, freedom) * error
        low, high = np.exp(log - reach), np.exp(log + reach)
    ratio = np.divide(after.value, before.value, out=np.exp(log), where=before.value > 0)
    return Change(ratio, low, high, np.where(np.isnan(p), 1.0, p))


def _never_zero(side: Estimate) -> Array:
    return np.asarray(np.where(side.value > 0, side.value, 0.5 / np.maximum(side.under, 1e-300)))


def _with_runs(side: Estimate, other: Estimate) -> Array:
    """Variances; a side of one recording varies from run to run as the other does."""
    variance = np.where(side.over < _RARE, np.maximum(side.variance, _poisson(side)), side.variance)
    if side.runs == 1 and other.runs > 1:
        variance = np.maximum(variance, other.variance * other.runs)
    return np.asarray(variance)


def _poisson(side: Estimate) -> Array:
    return np.asarray(1 / np.maximum(side.over, 0.5))


def holm(p: Array) -> Array:
    """Corrected for their number: the chance that any is too small by accident."""
    order = np.argsort(p)
    factors = len(p) - np.arange(len(p))
    stepped = np.maximum.accumulate(np.minimum(1.0, p[order] * factors))
    corrected = np.empty_like(p)
    corrected[order] = stepped
    return corrected
