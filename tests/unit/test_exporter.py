# SPDX-License-Identifier: GPL-2.0-only
"""What Prometheus gets, and how."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import lpttrace.exporter
from lpttrace import catalog
from lpttrace.errors import HostError, LpttraceError
from lpttrace.exporter import MetricsServer, SnapshotCollector, make_registry, parse_listen
from lpttrace.model import Guest
from lpttrace.snapshot import Snapshot, VmKey


@pytest.fixture
def collector(
    monkeypatch: pytest.MonkeyPatch, after: Snapshot, guests: Mapping[VmKey, Guest]
) -> SnapshotCollector:
    """One that always reads the same, at a fixed time."""
    monkeypatch.setattr(lpttrace.exporter, "__version__", "1.2.3")
    return SnapshotCollector(lambda: after, lambda _: guests, "live", lambda: 1_795_370_400.0)


def exposition(collector: SnapshotCollector) -> str:
    registry = CollectorRegistry()
    registry.register(collector)
    text: bytes = generate_latest(registry)
    return text.decode()


def openmetrics(collector: SnapshotCollector) -> str:
    registry = CollectorRegistry()
    registry.register(collector)
    text: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
    return text.decode()


def test_text(collector: SnapshotCollector, golden: Callable[[str, str], None]) -> None:
    golden("metrics.txt", exposition(collector))


def test_openmetrics(collector: SnapshotCollector, golden: Callable[[str, str], None]) -> None:
    text = openmetrics(collector)
    golden("openmetrics.txt", text)
    parsed = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    assert {family.name for family in parsed} == {metric.family for metric in catalog.METRICS}


def test_promtool_finds_nothing_to_say(collector: SnapshotCollector) -> None:
    built = Path(__file__).resolve().parents[2] / "build/tools/usr/bin"
    promtool = shutil.which("promtool", path=f"{built}:{os.environ['PATH']}")
    assert promtool, "promtool is missing: tests/promtool.sh build/tools gets it"
    result = subprocess.run(
        [promtool, "check", "metrics"],
        input=exposition(collector),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_what_cannot_be_seen_is_absent(after: Snapshot, guests: Mapping[VmKey, Guest]) -> None:
    probes = tuple(
        replace(p, attached=False) if p.name in ("kvm_hvc_arm64", "kvm_write_guest") else p
        for p in after.probes
    )
    vms = tuple(replace(vm, lpt=None) for vm in after.vms)
    stock = replace(after, probes=probes, vms=vms)
    text = exposition(SnapshotCollector(lambda: stock, lambda _: guests))
    gone = {m.name for m in catalog.METRICS if {"kvm_hvc_arm64", "kvm_write_guest"} & {*m.probes}}
    assert "lpttrace_hypercalls_total" in gone and "lpttrace_lpt_updates_total" in gone
    for name in gone:
        assert name not in text
    assert "lpttrace_timer_traps_total{" in text
    assert 'lpttrace_probe_attached{probe="kvm_hvc_arm64"} 0.0' in text


def test_every_vm_has_one_identity(collector: SnapshotCollector) -> None:
    text = exposition(collector)
    assert len(re.findall(r"^lpttrace_vm_info\{", text, re.M)) == 4
    assert all(line.isprintable() for line in text.splitlines())


def test_registering_reads_nothing(guests: Mapping[VmKey, Guest]) -> None:
    def read() -> Snapshot:
        raise AssertionError("read before anything is attached")

    make_registry(SnapshotCollector(read, lambda _: guests))


def test_one_reading_at_a_time(after: Snapshot, guests: Mapping[VmKey, Guest]) -> None:
    inside, worst, lock = [0], [0], threading.Lock()

    def read() -> Snapshot:
        with lock:
            inside[0] += 1
            worst[0] = max(worst[0], inside[0])
        threading.Event().wait(0.02)
        with lock:
            inside[0] -= 1
        return after

    collector = SnapshotCollector(read, lambda _: guests)
    threads = [threading.Thread(target=exposition, args=(collector,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == [1]


@pytest.fixture
def server(collector: SnapshotCollector) -> Iterator[MetricsServer]:
    """Listening on a port of its own."""
    with MetricsServer("127.0.0.1:0", collector) as running:
        yield running


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, headers=names, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_scrape(server: MetricsServer, collector: SnapshotCollector) -> None:
    status, kind, text = get(server.url)
    assert status == 200
    assert kind.startswith("text/plain")
    assert text.startswith(exposition(collector))
    assert "process_cpu_seconds_total" in text


def test_openmetrics_is_negotiated(server: MetricsServer) -> None:
    status, kind, text = get(server.url, Accept="application/openmetrics-text; version=1.0.0")
    assert status == 200
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_other_pages(server: MetricsServer) -> None:
    base = server.url[: -len("/metrics")]
    assert get(f"{base}/-/healthy")[0] == 200
    assert '<a href="/metrics">' in get(f"{base}/")[2]
    assert get(f"{base}/nosuch")[0] == 404
    assert get(server.url, "POST")[0] == 405
    assert get(server.url, "HEAD")[0] == 200


def test_a_source_that_fails_is_unavailable(
    guests: Mapping[VmKey, Guest], capsys: pytest.CaptureFixture[str]
) -> None:
    def read() -> Snapshot:
        raise HostError("cannot read the maps: gone; start it again")

    with MetricsServer("127.0.0.1:0", SnapshotCollector(read, lambda _: guests)) as running:
        status, _, text = get(running.url)
    assert (status, text) == (503, "cannot read the maps: gone; start it again\n")
    assert capsys.readouterr().err.count("\n") == 1


def test_a_client_that_hangs_up_is_not_worth_a_word(
    server: MetricsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    port = int(server.url.split(":")[2].split("/")[0])
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert get(server.url)[0] == 200
    assert capsys.readouterr().err == ""


def test_addresses() -> None:
    assert parse_listen("127.0.0.1:9753") == ("127.0.0.1", 9753)
    assert parse_listen("[::1]:0") == ("::1", 0)
    assert parse_listen(":9753") == ("", 9753)
    assert parse_listen("host.example:80") == ("host.example", 80)


@pytest.mark.parametrize("text", ["", "9753", "::1:9753", "host:", "host:http", "1.2.3.4:65536"])
def test_addresses_that_make_no_sense(text: str) -> None:
    with pytest.raises(LpttraceError, match="cannot listen on"):
        parse_listen(text)


def test_a_taken_address(server: MetricsServer, collector: SnapshotCollector) -> None:
    address = server.url[len("http://") : -len("/metrics")]
    with pytest.raises(LpttraceError, match=f"cannot listen on {address}: address already in use"):
        MetricsServer(address, collector)


def test_ipv6(collector: SnapshotCollector) -> None:
    with MetricsServer("[::1]:0", collector) as running:
        assert running.url.startswith("http://[::1]:")
        assert get(running.url)[0] == 200
