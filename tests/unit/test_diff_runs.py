# SPDX-License-Identifier: GPL-2.0-only
"""Several runs on a side: nothing is surer than what the runs differ by lets it be."""

from __future__ import annotations

import numpy as np
import pytest

from lpttrace.diff_stats import Estimate, Sums, change, estimate


def side(random: np.random.Generator, runs: int) -> Estimate:
    """20,000 ratios of 1, each 5 % more or less in a run and 2 % in a block."""
    found = []
    for _ in range(runs):
        under = random.uniform(500, 1500, (20_000, 60))
        noise = random.lognormal(0, 0.05, (20_000, 1)) * (1 + random.normal(0, 0.02, under.shape))
        found.append(Sums(noise * under, under))
    return estimate(found)


@pytest.mark.parametrize("runs", [(2, 1), (1, 4), (8, 1), (4, 4)])
def test_runs_that_differ_raise_no_false_alarm(runs: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    before, after = (side(random, n) for n in runs)
    p = change(before, after, alpha=0.01).p
    assert np.mean(p < 0.05) <= 0.055
    assert np.mean(p < 0.01) <= 0.012
    assert np.mean(p < 2e-4) <= 5e-4
