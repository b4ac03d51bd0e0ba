# SPDX-License-Identifier: GPL-2.0-only
"""Numbers and names as people see them."""

from __future__ import annotations

from typing import Optional

import pytest

from lpttrace.model import Model
from lpttrace.render import (
    count,
    duration,
    errno_name,
    frequency,
    rate,
    share,
    share_lines,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (0.254, "0.25"),
        (9.994, "9.99"),
        (12.34, "12.3"),
        (999.4, "999.4"),
        (999.6, "1000"),
        (99_999.4, "99999"),
        (100_000, "100k"),
        (1_234_567, "1.23M"),
    ],
)
def test_rates(value: Optional[float], text: str) -> None:
    assert rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (99_999, "99999"),
        (100_000, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (12_345_678, "12.3M"),
        (10**12, "1.00T"),
        (10**15, "1000T"),
    ],
)
def test_counts_take_six_columns(value: int, text: str) -> None:
    assert count(value) == text
    assert len(text) <= 6


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (None, "-"),
        (0, "0 ns"),
        (850.4, "850 ns"),
        (999.5, "1.00 µs"),
        (1_204, "1.20 µs"),
        (15_340, "15.3 µs"),
        (999_400, "999 µs"),
        (15_340_000, "15.3 ms"),
        (2e9, "2.00 s"),
        (7.2e12, "7200 s"),
    ],
)
def test_durations(ns: Optional[float], text: str) -> None:
    assert duration(ns) == text


@pytest.mark.parametrize(
    ("hertz", "text"),
    [
        (0, "0 Hz"),
        (62_500, "62.5 kHz"),
        (25_000_000, "25 MHz"),
        (1_000_000_001, "1.000000001 GHz"),
    ],
)
def test_frequencies_are_exact(hertz: int, text: str) -> None:
    assert frequency(hertz) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0 %"), (0.0012, "0.12 %"), (0.125, "12.5 %"), (1.5, "150.0 %")],
)
def test_shares_of_time(value: Optional[float], text: str) -> None:
    assert share(value) == text


def test_errno_names() -> None:
    assert (errno_name(22), errno_name(4096)) == ("EINVAL", "4096")


def test_shares(model: Model) -> None:
    flow = model.vms[0].hypercalls
    assert flow is not None
    assert share_lines(flow) == (
        "128 since attach, 124 served (1.07 µs), 1 being served",
        "kept apart: 1 scheduled out (40.0 µs), 2 in the VMM (1.50 ms)",
    )
    assert share_lines(model.vms[2].hypercalls or flow)[1] == ""
