# SPDX-License-Identifier: GPL-2.0-only
"""Losing the CPU is no cost of serving a trap: it is counted apart, and the rest stays the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lpttrace.quantiles import quantiles
from lpttrace.snapshot import Histogram
from tests.lab.conftest import LabRun

CLASSES = {"psci_version": 40009, "cntp_ctl_el0 read": 20011}


@pytest.fixture(scope="module")
def report(lab: Callable[[list[str], list[str]], LabRun]) -> dict[str, Any]:
    # Exact time, so that nothing but the hog makes the two runs differ.
    done = lab(["--icount", "--timeout", "1800"], ["python3", "/tmp/guest/instrument.py", "hog"])
    assert done.status == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)["hog"]
    return result


def p50(trap: dict[str, Any]) -> float:
    found = quantiles(Histogram.of(trap["service"]))
    assert found
    return found.p50


@pytest.mark.parametrize("label", CLASSES)
def test_the_median_stays(report: dict[str, Any], label: str) -> None:
    alone, beside = (report[run]["traps"][label] for run in ("alone", "beside"))
    assert alone["count"] == beside["count"] == CLASSES[label]
    assert p50(beside) == pytest.approx(p50(alone), rel=0.1)


def test_what_the_hog_took_is_apart(report: dict[str, Any]) -> None:
    alone, beside = (
        [trap["scheduled_out"] for trap in report[run]["traps"].values()]
        for run in ("alone", "beside")
    )
    assert sum(a["count"] for a in beside) > sum(a["count"] for a in alone)
    lost = sum(a["ns"] for a in beside) / sum(a["count"] for a in beside)
    served = report["alone"]["traps"]["psci_version"]["served"]
    # A turn of the scheduler is milliseconds, a trap microseconds.
    assert lost > 100 * served["ns"] / served["count"]
