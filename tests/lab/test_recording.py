# SPDX-License-Identifier: GPL-2.0-only
"""What is recorded on an arm64 host replays elsewhere to the guests' own counts."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lpttrace.recording_reader import Recording
from tests.lab.conftest import LabRun
from tests.lab.counts import Counts, shown_of, truth_of
from tests.lab.ops import labvmm_arguments


@pytest.fixture(scope="module")
def report(lab: Callable[[list[str], list[str]], LabRun]) -> dict[str, Any]:
    options = ["--kernel", "lpt-6.1", "--mode", "nvhe", "--timeout", "1200"]
    done = lab(options, ["python3", "/tmp/guest/recording.py", *labvmm_arguments()])
    assert done.status == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module", params=["alone", "beside"])
def run(request: pytest.FixtureRequest, report: dict[str, Any]) -> dict[str, Any]:
    chosen: dict[str, Any] = report[request.param]
    return chosen


@pytest.fixture(scope="module")
def path(run: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recording") / "run.lpt"
    file.write_bytes(base64.b64decode(run["recording"]))
    return file


@pytest.fixture(scope="module")
def replayed(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "lpttrace", "replay", str(path), "--once", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    frame: dict[str, Any] = json.loads(done.stdout)
    return frame


def vcpus(vms: list[dict[str, Any]], counts: Callable[[dict[str, Any]], Counts]) -> list[Any]:
    # Pids are another machine's; every count is a prime of its own.
    return sorted([sorted(counts(vcpu).items()) for vcpu in vm["vcpus"]] for vm in vms)


def test_recording_ends_with_the_command(run: dict[str, Any]) -> None:
    assert run["status"] == 0
    assert run["stderr"].startswith("recorded ") and "warning" not in run["stderr"]


def test_it_replays_to_the_guests_own_counts(run: dict[str, Any], replayed: dict[str, Any]) -> None:
    truth = vcpus(run["truth"]["vms"], lambda vcpu: truth_of(vcpu, True))
    assert vcpus(replayed["vms"], shown_of) == truth
    assert sum(count for vm in truth for vcpu in vm for _, count in vcpu) >= 100_000
    assert replayed["losses"] == dict.fromkeys(replayed["losses"], 0)


def test_lpt_and_its_events_are_in_it(run: dict[str, Any], replayed: dict[str, Any]) -> None:
    shown = {len(vm["vcpus"]): vm for vm in replayed["vms"]}
    truth = {len(vm["vcpus"]): vm for vm in run["truth"]["vms"]}
    for size in (1, 4):
        assert shown[size]["lpt"]["structure"] == truth[size]["lpt"]["structure"]
    updates = [event for event in replayed["events"] if event["kind"] == "update"]
    assert len(updates) == 2 and {event["error"] for event in updates} == {0}


def test_it_says_where_it_was_made(path: Path) -> None:
    with Recording(str(path)) as recording:
        host, frames = recording.host, list(recording.frames())
    assert (host.architecture, host.el2, host.source) == ("aarch64", "nvhe", "live")
    assert host.kernel.startswith("6.1") and len(host.build_id) == 40
    assert host.cpu.startswith("implementer 0x41 ")
    assert host.counter_hz and host.counter_hz == frames[-1].snapshot.counter_hz
    assert all(probe.attached for probe in frames[-1].snapshot.probes)
    assert len(frames) >= 3
