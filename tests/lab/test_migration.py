# SPDX-License-Identifier: GPL-2.0-only
"""A running LPT guest goes from 62.5 MHz to 25 MHz and back: its clock, and what lpttrace shows.

On hosts that are right, and on hosts whose kernel makes its clock slow.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import LabRun

Lab = Callable[[list[str], list[str]], LabRun]

PV_HZ = 100_000_000
FAST, SLOW = 62_500_000, 25_000_000
FIRST = ["--vm", f"lpt=on,pv-freq={PV_HZ}", "--ops", "0.0:hvc:0x84000000=997", "--rounds", "18"]


@dataclass(frozen=True)
class Journey:
    """The hosts' kernel, how they run, and what is wrong with them."""

    kernel: str
    machine: tuple[str, ...]
    pause_us: int
    ppm: int
    within_ppm: int
    findings: tuple[str, ...]

    @property
    def host(self) -> list[str]:
        return ["--kernel", self.kernel, *self.machine]

    @property
    def pause(self) -> list[str]:
        return ["--pause-us", str(self.pause_us)]


SLOW_CLOCK = "factor native_to_pv is off by -20000 parts per billion"
JOURNEYS = (
    Journey("lpt-6.1", (), 300_000, ppm=0, within_ppm=1000, findings=()),
    # Pauses cost nothing under --icount, and its time is exact: the rate is good to below 1 ppm.
    Journey(
        "lpt-6.1-planted", ("--icount",), 5_000_000, ppm=-20, within_ppm=5, findings=(SLOW_CLOCK,)
    ),
)


def stop(lab: Lab, journey: Journey, hertz: int, state: Path, keep: bool) -> Any:
    """One host: the guest begins there, or goes on from state, and is saved to it if keep."""
    options = [*journey.host, "--cntfrq", str(hertz), "--timeout", "1800"]
    arguments = [*FIRST, *journey.pause]
    if state.exists():
        options += ["--add", f"{state}:/tmp/state"]
        arguments = ["--restore", "/tmp/state/saved", *journey.pause]
    kept = ["--keep"] if keep else []
    done = lab(options, ["python3", "/tmp/guest/instrument.py", "migrate", *kept, *arguments])
    assert done.status == 0, done.stderr
    report = json.loads(done.stdout)
    if keep:
        state.mkdir(exist_ok=True)
        (state / "saved").write_bytes(base64.b64decode(report.pop("state")))
    return report


@pytest.fixture(scope="module", params=JOURNEYS, ids=lambda journey: journey.kernel)
def journey(request: pytest.FixtureRequest) -> Journey:
    chosen: Journey = request.param
    return chosen


@pytest.fixture(scope="module")
def stops(
    journey: Journey, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    state = tmp_path_factory.mktemp("journey") / "state"
    return [
        stop(lab, journey, hertz, state, keep)
        for hertz, keep in ((FAST, True), (SLOW, True), (FAST, False))
    ]


def hosts(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What the guest says of each host it was on."""
    found: list[dict[str, Any]] = report["truth"]["vms"][0]["vcpus"][0]["clock"]["hosts"]
    return found


def test_the_clock_that_the_guest_has_on_all_hosts(
    stops: list[dict[str, Any]], journey: Journey
) -> None:
    for report in stops:
        assert report["status"] == 0
        clock = report["truth"]["vms"][0]["vcpus"][0]["clock"]
        assert clock["backwards"] == 0
    assert len(hosts(stops[-1])) == 3
    for host in hosts(stops[-1]):
        off = abs(host["rate"]["ppm"] - journey.ppm)
        assert off <= host["rate"]["bound_ppm"] < journey.within_ppm, host
    for host in hosts(stops[-1])[1:]:
        assert host["jump"]["right"]


def test_each_update_shows_old_and_new_frequency(stops: list[dict[str, Any]]) -> None:
    shown = [
        [(e["old_hz"], e["new_hz"]) for e in report["seen"]["events"] if e["kind"] == "update"]
        for report in stops
    ]
    assert shown == [[(0, FAST)], [(FAST, SLOW)], [(SLOW, FAST)]]


def test_structures_before_and_after(stops: list[dict[str, Any]]) -> None:
    for number, report in enumerate(stops, start=1):
        (vm,) = report["seen"]["vms"]
        published, previous = vm["lpt"]["structure"], vm["lpt"]["previous"]
        assert published["sequence_number"] == 2 * number
        assert published["pv_freq"] == PV_HZ
        assert published["native_freq"] == report["seen"]["counter_hz"]
        assert (previous or {}).get("sequence_number", 0) == 2 * (number - 1)


def test_what_the_audit_finds_on_each_host(stops: list[dict[str, Any]], journey: Journey) -> None:
    for report in stops:
        (vm,) = report["seen"]["vms"]
        assert vm["findings"] == list(journey.findings)
