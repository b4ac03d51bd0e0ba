# SPDX-License-Identifier: GPL-2.0-only
"""A running LPT guest goes from 62.5 MHz to 25 MHz and back: its clock, and what lpttrace shows."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import LabRun

Lab = Callable[[list[str], list[str]], LabRun]

PV_HZ = 100_000_000
FAST, SLOW = 62_500_000, 25_000_000
FIRST = ["--vm", f"lpt=on,pv-freq={PV_HZ}", "--ops", "0.0:hvc:0x84000000=997", "--rounds", "18"]
PAUSE = ["--pause-us", "300000"]


def stop(lab: Lab, host: list[str], arguments: list[str], state: Path, keep: bool) -> Any:
    """One host: the guest begins there, or goes on from state, and is saved to it if keep."""
    options = [*host, "--timeout", "1800"]
    if state.exists():
        options += ["--add", f"{state}:/tmp/state"]
        arguments = ["--restore", "/tmp/state/saved", *PAUSE]
    kept = ["--keep"] if keep else []
    done = lab(options, ["python3", "/tmp/guest/instrument.py", "migrate", *kept, *arguments])
    assert done.status == 0, done.stderr
    report = json.loads(done.stdout)
    if keep:
        state.mkdir(exist_ok=True)
        (state / "saved").write_bytes(base64.b64decode(report.pop("state")))
    return report


@pytest.fixture(scope="module")
def journey(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    state = tmp_path_factory.mktemp("journey") / "state"
    return [
        stop(lab, ["--cntfrq", str(hertz)], [*FIRST, *PAUSE], state, keep)
        for hertz, keep in ((FAST, True), (SLOW, True), (FAST, False))
    ]


def hosts(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What the guest says of each host it was on."""
    found: list[dict[str, Any]] = report["truth"]["vms"][0]["vcpus"][0]["clock"]["hosts"]
    return found


def test_the_guest_has_a_good_clock_on_all_hosts(journey: list[dict[str, Any]]) -> None:
    for report in journey:
        assert report["status"] == 0
        clock = report["truth"]["vms"][0]["vcpus"][0]["clock"]
        assert clock["backwards"] == 0
    assert len(hosts(journey[-1])) == 3
    for host in hosts(journey[-1]):
        assert abs(host["rate"]["ppm"]) <= host["rate"]["bound_ppm"] < 1000, host
    for host in hosts(journey[-1])[1:]:
        assert host["jump"]["right"]


def test_each_update_shows_old_and_new_frequency(journey: list[dict[str, Any]]) -> None:
    shown = [
        [(e["old_hz"], e["new_hz"]) for e in report["seen"]["events"] if e["kind"] == "update"]
        for report in journey
    ]
    assert shown == [[(0, FAST)], [(FAST, SLOW)], [(SLOW, FAST)]]


def test_structures_before_and_after(journey: list[dict[str, Any]]) -> None:
    for number, report in enumerate(journey, start=1):
        (vm,) = report["seen"]["vms"]
        published, previous = vm["lpt"]["structure"], vm["lpt"]["previous"]
        assert published["sequence_number"] == 2 * number
        assert published["pv_freq"] == PV_HZ
        assert published["native_freq"] == report["seen"]["counter_hz"]
        assert (previous or {}).get("sequence_number", 0) == 2 * (number - 1)
        assert vm["findings"] == []


def test_a_host_with_a_wrong_scale_is_found_out(lab: Lab, tmp_path: Path) -> None:
    # Pauses cost nothing under --icount, and its time is exact: the rate is good to below 1 ppm.
    host = ["--kernel", "lpt-6.1-planted", "--icount"]
    arguments = [*FIRST, "--pause-us", "5000000"]
    report = stop(lab, host, arguments, tmp_path / "state", keep=True)
    (vm,) = report["seen"]["vms"]
    assert vm["findings"] == ["factor native_to_pv is off by -20000 parts per billion"]
    (seen,) = hosts(report)
    assert abs(seen["rate"]["ppm"] + 20) <= seen["rate"]["bound_ppm"] < 5
