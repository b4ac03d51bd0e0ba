# SPDX-License-Identifier: GPL-2.0-only
"""Ratios of sums over blocks, and what can be said of their change. Pure; docs/diff.md explains.

All is about many ratios at once: an array has a row for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

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

# What never occurred is taken as so much of one event.
_HALF = 0.5


class Sums(NamedTuple):
    """Of one recording, numerators and denominators of the same ratios: [ratios, blocks]. events
    is how many things the numerators are sums of; None where they count these."""

    over: Array
    under: Array
    events: Optional[Array] = None

    def counted(self) -> Array:
        """Of each block, the things in the numerator."""
        return self.over if self.events is None else self.events


@dataclass(frozen=True)
class Estimate:
    """Ratios on one side; [ratios] each.

    variance is that of the logarithm, freedom its degrees of freedom. events is how many things
    the numerator is a sum of. blocks is how many independent ones there were, joined how many
    neighbours were made one.
    """

    value: Array
    over: Array
    under: Array
    events: Array
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
    never = over <= 0
    events = np.where(never, 0.0, np.sum([run.counted().sum(axis=1) for run in runs], axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = over / under
        residuals = [run.over - value[:, None] * run.under for run in runs]
        spreads = [_spread(np.nan_to_num(residual)) for residual in residuals]
        within = np.sum([spread.square for spread in spreads], axis=0)
        between = _between(residuals) if len(runs) > 1 else np.zeros_like(within)
        variance = np.maximum(within, between) / over**2
    blocks = np.sum([spread.blocks for spread in spreads], axis=0)
    freedom = blocks - 1 if len(runs) == 1 else np.full_like(value, len(runs) - 1)
    if any(run.events is not None for run in runs):
        # So few say little of how much they differ, however many blocks there are.
        freedom = np.minimum(freedom, np.maximum(1, events - 1))
    return Estimate(
        np.where(never, 0.0, value),
        *(over, under, events),
        np.where(never, 2 / _HALF, variance),
        # What never occurred is known by its Poisson distribution, not by its blocks.
        np.where(never, 1e3, freedom),
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
    """Student's t of the difference of the logarithms, with the degrees of Welch; of what occurred
    on one side only, how likely that is by chance."""
    one, other = _with_runs(before, after), _with_runs(after, before)
    variance = one + other
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = _freedom(before, after, one, other)
        log = np.log(_never_zero(after, before) / _never_zero(before, after))
        error = np.sqrt(variance)
        p = 2 * student.sf(np.abs(log) / error, freedom)
        reach = student.isf(alpha / 2, freedom) * error
        low, high = np.exp(log - reach), np.exp(log + reach)
        new, gone = _appeared(before, after, alpha), _appeared(after, before, alpha)
        low = np.where(new.only, new.least, low)
        high = np.where(gone.only, 1 / np.maximum(gone.least, 1e-300), high)
        p = np.where(new.only, new.p, np.where(gone.only, gone.p, p))
    ratio = np.divide(after.value, before.value, out=np.exp(log), where=before.value > 0)
    return Change(ratio, low, high, np.where(np.isnan(p), 1.0, p))


def _never_zero(side: Estimate, other: Estimate) -> Array:
    """Half an event, of the size that they have on the other side, where there was none."""
    size = np.where(other.events > 0, other.over / np.maximum(other.events, 1e-300), 1.0)
    half = _HALF * size / np.maximum(side.under, 1e-300)
    return np.asarray(np.where(side.value > 0, side.value, half))


class _Appeared(NamedTuple):
    """only says of what never occurred on one side but on the other; least is the lower bound of
    the ratio, p the chance that all that occurred fell on that side."""

    only: npt.NDArray[np.bool_]
    least: Array
    p: Array


def _appeared(without: Estimate, having: Estimate, alpha: float) -> _Appeared:
    """Binomial, by as many independent events as the sum varies like. How many these are is
    known by so many blocks or runs only, hence Student's t of the root of the deviance, too."""
    lent = having.runs if without.runs == 1 else 1
    worth = 1 / np.maximum(having.variance * lent, 1 / np.maximum(having.events, 1e-300))
    deviance = worth * np.log1p(without.under / having.under)
    p = 2 * np.maximum(np.exp(-deviance), student.sf(np.sqrt(2 * deviance), having.freedom))
    wanted = student.isf(alpha / 2, having.freedom) ** 2 / 2
    share = np.exp(-np.maximum(wanted, -np.log(alpha / 2)) / worth)
    least = share / (1 - share) * without.under / having.under
    only = (without.events <= 0) & (having.events > 0)
    return _Appeared(only, least, np.minimum(1.0, p))


def _with_runs(side: Estimate, other: Estimate) -> Array:
    """Variances; a side of one recording varies from run to run as the other does."""
    poisson = 1 / np.maximum(side.events, _HALF)
    rare = side.events < _RARE
    variance = np.where(rare, np.maximum(side.variance, poisson), side.variance)
    if side.runs == 1 and other.runs > 1:
        variance = np.maximum(variance, other.variance * other.runs)
    return np.asarray(variance)


def _freedom(before: Estimate, after: Estimate, one: Array, other: Array) -> Array:
    """Welch's, of these variances; how much a lone run varies is known no better than how much
    the runs of the other side do, from which it is taken."""
    if min(before.runs, after.runs) == 1 < max(before.runs, after.runs):
        return before.freedom if before.runs > 1 else after.freedom
    variance = one + other
    welch = variance**2 / (one**2 / before.freedom + other**2 / after.freedom)
    return np.asarray(np.where(variance > 0, welch, 1e9))


def holm(p: Array) -> Array:
    """Corrected for their number: the chance that any is too small by accident."""
    order = np.argsort(p)
    factors = len(p) - np.arange(len(p))
    stepped = np.maximum.accumulate(np.minimum(1.0, p[order] * factors))
    corrected = np.empty_like(p)
    corrected[order] = stepped
    return corrected
