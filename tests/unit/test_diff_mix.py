# SPDX-License-Identifier: GPL-2.0-only
"""What the vCPUs of a VM are weighted by, so that their shares are those of before."""

from __future__ import annotations

import numpy as np
import pytest

from lpttrace.blocks import Subject
from lpttrace.diff_mix import Mix, mix_of
from lpttrace.diff_tables import Groups, Item
from tests.unit.recordings import CTL_READ


def mix(before: list[float], after: list[float], left_out: int | None = None) -> Mix:
    groups = Groups.of([Item(Subject("web", i), CTL_READ) for i in range(len(before))])
    out = np.array([i == left_out for i in range(len(before))])
    return mix_of(groups, (np.array(before), np.array(after)), out)


def weights(
    before: list[float], after: list[float], left_out: int | None = None
) -> list[list[float]]:
    return [side.round(6).tolist() for side in mix(before, after, left_out).weights]


def test_shares_are_those_of_before() -> None:
    assert weights([300, 100], [200, 600]) == [[1, 1], [3, pytest.approx(1 / 3, abs=1e-6)]]
    # Twice as many of each are no other shares.
    assert weights([300, 100], [600, 200]) == [[1, 1], [1, 1]]


def test_what_is_left_out_has_no_share() -> None:
    assert weights([300, 100, 50], [200, 600, 900], left_out=2) == [
        [1, 1, 0],
        [3, pytest.approx(1 / 3, abs=1e-6), 0],
    ]


@pytest.mark.parametrize("little", [0, 29, 1900])
def test_nothing_is_made_of_little(little: float) -> None:
    """Of a vCPU that is all but idle afterwards there is not enough to have its share of before."""
    found = mix([10_000, 30_000], [little, 90_000])
    assert [side.tolist() for side in found.weights] == [[0, 1], [0, 1]]
    assert found.moved.tolist() == [False]


def test_a_few_on_both_sides_are_taken_as_they_are() -> None:
    assert weights([300, 100, 10], [200, 600, 40])[1][2] == 1


def test_load_that_moved_altogether_is_told_as_that() -> None:
    found = mix([10_000, 0], [0, 10_000])
    assert found.moved.tolist() == [True]
    assert [side.tolist() for side in found.weights] == [[1, 1], [1, 1]]
