# SPDX-License-Identifier: GPL-2.0-only
"""A recording in a real Prometheus, which was not there when it was made."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lpttrace.recording_types import Frame
from tests.contract.dashboards import TOOLS
from tests.lab.prometheus import BIN, Prometheus, prometheus
from tests.unit.recorded import HOST, SECOND, record, synthetic

# An hour, every 15 s, until an hour ago: Prometheus deletes what is older than 15 days.
FRAMES, EVERY = 241, 15 * SECOND


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    begin = time.time_ns() - 2 * 3600 * SECOND
    made = synthetic(2, 2, FRAMES, EVERY)
    return [replace(frame, unix_ns=begin + n * EVERY) for n, frame in enumerate(made)]


@pytest.fixture(scope="module")
def server(frames: list[Frame], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    path, exported = record(directory / "a.lpt", frames), directory / "a.om"
    export = [BIN / "lpttrace", "export", path, "--to", "openmetrics", "-o", exported]
    subprocess.run([str(word) for word in export], check=True)
    fill = [TOOLS / "promtool", "tsdb", "create-blocks-from", "openmetrics", exported]
    subprocess.run([str(word) for word in (*fill, directory / "data")], check=True)
    config = directory / "prometheus.yml"
    config.write_text("global: {}\n")
    with prometheus(directory, config) as running:
        yield running


def at(server: Prometheus, frame: Frame, query: str) -> dict[tuple[str, str], float]:
    """What it answers for the time of a frame, by VM and vCPU."""
    moment = f"{frame.unix_ns / SECOND:.3f}"
    series = server.get("query", query=query, time=moment)["result"]
    return {
        (one["metric"].get("vm", ""), one["metric"].get("vcpu", "")): float(one["value"][1])
        for one in series
    }


def interrupts(frame: Frame) -> dict[tuple[str, str], float]:
    return {
        (frame.guests[vcpu.vm].vm, str(vcpu.vcpu)): vcpu.interrupts["physical"].delivered
        for vcpu in frame.snapshot.vcpus
    }


@pytest.mark.parametrize("number", [0, 1, 100, FRAMES - 1])
def test_counters_are_those_of_the_frames(
    server: Prometheus, frames: list[Frame], number: int
) -> None:
    frame = frames[number]
    query = f'lpttrace_timer_interrupts_total{{instance="{HOST.hostname}",job="lpttrace"}}'
    assert at(server, frame, query) == interrupts(frame)


def test_rates_and_quantiles(server: Prometheus, frames: list[Frame]) -> None:
    rates = at(server, frames[-1], "rate(lpttrace_timer_interrupts_total[5m])")
    seconds = (frames[-1].unix_ns - frames[0].unix_ns) / SECOND
    for key, count in interrupts(frames[-1]).items():
        assert rates[key] == pytest.approx((count - interrupts(frames[0])[key]) / seconds, rel=0.01)
    p99 = at(
        server,
        frames[-1],
        "histogram_quantile(0.99, sum by (vm, le) "
        "(rate(lpttrace_timer_trap_service_duration_seconds_bucket[5m])))",
    )
    assert len(p99) == 2 and all(1e-6 < value < 1e-4 for value in p99.values())
