# SPDX-License-Identifier: GPL-2.0-only
"""What Prometheus gets, and how."""

from __future__ import annotations

import gzip
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
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import lpttrace.exporter
from lpttrace import catalog
from lpttrace.errors import HostError, LpttraceError
from lpttrace.exporter import MetricsServer, SnapshotCollector, make_registry
from lpttrace.model import Guest
from lpttrace.snapshot import Snapshot, VmKey
from lpttrace.web_listen import listen_on, parse_listen


@pytest.fixture
def new(
    monkeypatch: pytest.MonkeyPatch, complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> Callable[..., SnapshotCollector]:
    """Makes collectors that always read the same, at a fixed time."""
    monkeypatch.setattr(lpttrace.exporter, "__version__", "1.2.3")
    monkeypatch.setattr(lpttrace.exporter, "_PYTHON", "3.9.7")
    monkeypatch.setattr(lpttrace.exporter, "_RELEASE", "6.1.0")
    fixed = (lambda: complete, lambda _: guests, "live", lambda: 1_795_370_400.0)
    return lambda *view: SnapshotCollector(*fixed, *view)


@pytest.fixture
def collector(new: Callable[..., SnapshotCollector]) -> SnapshotCollector:
    """With everything in it that there is by default."""
    return new()


def exposition(collector: SnapshotCollector, openmetrics: bool = False) -> str:
    parts = collector.write(openmetrics)
    return b"".join(parts).decode() + ("# EOF\n" if openmetrics else "")


def test_text(collector: SnapshotCollector, golden: Callable[[str, str], None]) -> None:
    golden("metrics.txt", exposition(collector))


def test_openmetrics(collector: SnapshotCollector, golden: Callable[[str, str], None]) -> None:
    text = exposition(collector, openmetrics=True)
    golden("openmetrics.txt", text)
    parsed = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    assert {family.name for family in parsed} == {metric.family for metric in catalog.METRICS}


def test_promtool_finds_nothing_to_say(collector: SnapshotCollector) -> None:
    built = Path(__file__).resolve().parents[2] / "build/tools/usr/bin"
    promtool = shutil.which("promtool", path=f"{built}:{os.environ['PATH']}")
    assert promtool, "promtool is missing: make unit gets it"
    result = subprocess.run(
        [promtool, "check", "metrics"],
        input=exposition(collector),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("probe", sorted({p for m in catalog.METRICS for p in m.probes}))
def test_what_cannot_be_seen_is_absent(
    probe: str, complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    probes = tuple(replace(p, attached=p.name != probe) for p in complete.probes)
    text = exposition(SnapshotCollector(lambda: replace(complete, probes=probes), lambda _: guests))
    there = set(re.findall(r"^# HELP (\S+)", text, re.M))
    assert there == {m.name for m in catalog.METRICS if probe not in m.probes}
    assert f'lpttrace_probe_attached{{probe="{probe}"}} 0' in text


def test_what_a_vm_does_not_tell_is_absent(
    complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    vms = tuple(replace(vm, lpt=None, calls=None) for vm in complete.vms)
    stock = replace(complete, vms=vms, counter_hz=None)
    text = exposition(SnapshotCollector(lambda: stock, lambda _: guests))
    assert not re.search(r"^lpttrace_(lpt|vm_attribute|cntfrq)", text, re.M)
    assert "lpttrace_hypercalls_total{" in text


def test_every_vm_has_one_identity(collector: SnapshotCollector) -> None:
    text = exposition(collector)
    assert len(re.findall(r"^lpttrace_vm_info\{", text, re.M)) == 4
    assert all(line.isprintable() for line in text.splitlines())


def test_registering_reads_nothing(guests: Mapping[VmKey, Guest]) -> None:
    def read() -> Snapshot:
        raise AssertionError("read before anything is attached")

    make_registry(SnapshotCollector(read, lambda _: guests))


def test_one_reading_at_a_time(complete: Snapshot, guests: Mapping[VmKey, Guest]) -> None:
    inside, worst, lock = [0], [0], threading.Lock()

    def read() -> Snapshot:
        with lock:
            inside[0] += 1
            worst[0] = max(worst[0], inside[0])
        threading.Event().wait(0.02)
        with lock:
            inside[0] -= 1
        return complete

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


def test_scrape(server: MetricsServer, new: Callable[..., SnapshotCollector]) -> None:
    status, kind, text = get(server.url)
    assert status == 200
    assert kind.startswith("text/plain")
    assert text.startswith(exposition(new()))
    assert "process_cpu_seconds_total" in text


def test_openmetrics_is_negotiated(server: MetricsServer) -> None:
    status, kind, text = get(server.url, Accept="application/openmetrics-text; version=1.0.0")
    assert status == 200
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_compressed(server: MetricsServer, new: Callable[..., SnapshotCollector]) -> None:
    request = urllib.request.Request(server.url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        body = answer.read()
    assert int(answer.headers["Content-Length"]) == len(body)
    text = gzip.decompress(body).decode()
    assert text.startswith(exposition(new())) and "process_cpu_seconds_total" in text


def test_one_metric_may_be_asked_for(server: MetricsServer) -> None:
    status, _, text = get(f"{server.url}?name[]=lpttrace_lpt_sequence_number")
    assert status == 200
    assert re.findall(r"^\w+", text, re.M) == ["lpttrace_lpt_sequence_number"]


def test_another_query_changes_nothing(
    server: MetricsServer, new: Callable[..., SnapshotCollector]
) -> None:
    status, _, text = get(f"{server.url}?x=1&name=lpttrace_vm_info")
    assert status == 200 and text.startswith(exposition(new()))
    # prometheus_client's way, which takes ten times as long, is not counted as a scrape.
    assert "lpttrace_scrapes_total 1\n" in get(server.url)[2]


def test_names_may_be_asked_for_in_another_writing(server: MetricsServer) -> None:
    status, kind, text = get(server.url, Accept="text/plain; version=1.0.0; escaping=dots")
    assert status == 200
    written = "lpttrace__hypercalls__total" if "escaping=dots" in kind else "lpttrace_hypercalls"
    assert f"{written}{{" in text or f"{written}_total{{" in text


def test_other_pages(server: MetricsServer) -> None:
    base = server.url[: -len("/metrics")]
    assert get(f"{base}/-/healthy")[0] == 200
    assert get(f"{base}/-/ready")[0] == 200
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
        assert get(running.url.replace("/metrics", "/-/ready"))[::2] == (status, text)
        assert get(running.url.replace("/metrics", "/-/healthy"))[0] == 200
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
    assert parse_listen("[127.0.0.1]:9753") == ("127.0.0.1", 9753)
    assert parse_listen(":9753") == ("", 9753)
    assert parse_listen("host.example:80") == ("host.example", 80)


def test_no_address_is_every_address() -> None:
    with listen_on(":0")[0] as listener:
        port = listener.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port)).close()


def test_no_address_is_every_address_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen_on(":0")[0] as listener:
        assert listener.family == socket.AF_INET
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])).close()


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
