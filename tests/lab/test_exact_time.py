# SPDX-License-Identifier: GPL-2.0-only
"""Where time is instructions: what must not change does not, and what must add up does.

Losing the CPU is no cost of serving a trap: it is counted apart, and the rest stays the same. A
timer interrupt is as late as its guest says, but for the guest's own way to it.
"""

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
    options = ["--icount", "--timeout", "1800"]
    done = lab(options, ["python3", "/tmp/guest/instrument.py", "hog", "late"])
    assert done.status == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def hog(report: dict[str, Any]) -> dict[str, Any]:
    """The same work alone and beside a hog: nothing else makes the two differ."""
    runs: dict[str, Any] = report["hog"]
    return runs


def p50(trap: dict[str, Any]) -> float:
    found = quantiles(Histogram.of(trap["service"]))
    assert found
    return found.p50


def mean_ns(trap: dict[str, Any]) -> float:
    served = trap["served"]
    mean: float = served["ns"] / served["count"]
    return mean


@pytest.mark.parametrize("label", CLASSES)
def test_the_median_stays(hog: dict[str, Any], label: str) -> None:
    alone, beside = (hog[run]["traps"][label] for run in ("alone", "beside"))
    assert alone["count"] == beside["count"] == CLASSES[label]
    assert p50(beside) == pytest.approx(p50(alone), rel=0.1)


@pytest.mark.parametrize("label", CLASSES)
def test_the_mean_of_what_was_served_stays(hog: dict[str, Any], label: str) -> None:
    """A bucket's middle does not tell a shift within the bucket; a mean does."""
    alone, beside = (mean_ns(hog[run]["traps"][label]) for run in ("alone", "beside"))
    assert beside == pytest.approx(alone, rel=0.1)


def test_what_the_hog_took_is_apart(hog: dict[str, Any]) -> None:
    alone, beside = (
        [trap["scheduled_out"] for trap in hog[run]["traps"].values()]
        for run in ("alone", "beside")
    )
    assert sum(a["count"] for a in beside) > sum(a["count"] for a in alone)
    lost = sum(a["ns"] for a in beside) / sum(a["count"] for a in beside)
    # A turn of the scheduler is milliseconds, a trap microseconds.
    assert lost > 100 * mean_ns(hog["alone"]["traps"]["psci_version"])


def test_an_interrupt_is_late_by_what_its_guest_saw_less_the_way_into_the_guest(
    report: dict[str, Any],
) -> None:
    (truth,) = report["late"]["truth"]["vms"][0]["vcpus"]
    (vcpu,) = report["late"]["seen"]["vcpus"]
    tick, timings = truth["ticks"]["physical"], truth["timings"]
    assert vcpu["interrupts"]["physical"] == {"delivered": tick["count"], "overdue": 0}
    assert vcpu["lateness"]["count"] == tick["count"]
    tick_ns = 1e9 / timings["counter_freq"]
    guest = tick["late_ticks"] * tick_ns / tick["count"]
    way = guest - vcpu["lateness"]["ns"] / vcpu["lateness"]["count"]
    # Of a trap the guest waits for the way out and the way in, besides its service.
    (version,) = (op for op in timings["ops"] if op["op"] == "hvc:0x84000000")
    both_ways = version["sum"] * tick_ns / version["count"] - mean_ns(vcpu["traps"]["psci_version"])
    assert 0 < way < both_ways < guest
