# SPDX-License-Identifier: GPL-2.0-only
"""Prometheus text and OpenMetrics over HTTP. The only importer of prometheus_client."""

from __future__ import annotations

import html
import socket
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import Any, Callable
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from lpttrace import __version__, catalog
from lpttrace.errors import LpttraceError
from lpttrace.model import Guest
from lpttrace.model_lpt import lpt_state, scale_errors, scales
from lpttrace.render import printable
from lpttrace.snapshot import LptUpdates, Snapshot, Trap, VcpuCounters, VmKey

__all__ = ["MetricsServer", "SnapshotCollector", "make_registry", "parse_listen"]

_NS = 1e9
_CLIENT_TIMEOUT_SECONDS = 30


class _Exposition:
    """The families of one scrape: all metrics whose probes are attached, in catalogue order."""

    def __init__(self, attached: Callable[[str], bool]) -> None:
        self._families = {
            metric: _family(metric)
            for metric in catalog.METRICS
            if all(map(attached, metric.probes))
        }

    def add(self, metric: catalog.Metric, labels: tuple[str, ...], value: float) -> None:
        """A sample, unless the metric cannot be seen here."""
        family = self._families.get(metric)
        if family is not None:
            family.add_metric(labels, value)

    def info(self, metric: catalog.Metric, values: tuple[str, ...]) -> None:
        """A sample of an info metric."""
        self._families[metric].add_metric([], dict(zip(metric.labels, values)))

    def families(self) -> Iterable[Metric]:
        """What was added."""
        return self._families.values()


def _family(metric: catalog.Metric) -> Any:
    if metric.kind == "info":
        return InfoMetricFamily(metric.family, metric.help)
    kind = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}[metric.kind]
    return kind(metric.family, metric.help, labels=metric.labels, unit=metric.unit)


class SnapshotCollector(Collector):
    """Reads a fresh snapshot at every scrape, one scrape at a time."""

    def __init__(
        self,
        read: Callable[[], Snapshot],
        identify: Callable[[Snapshot], Mapping[VmKey, Guest]],
        source: str = "live",
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        """source says in lpttrace_build_info where the numbers come from."""
        self._read = read
        self._identify = identify
        self._source = source
        self._unix_time = unix_time
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Every family of the catalogue, without reading anything."""
        return [_family(metric) for metric in catalog.METRICS]

    def look(self) -> None:
        """Read between scrapes: VMs that end are named, and give back what they took."""
        self._look()

    def _look(self) -> tuple[Snapshot, Mapping[VmKey, Guest]]:
        with self._lock:
            snapshot = self._read()
            return snapshot, dict(self._identify(snapshot))

    def collect(self) -> Iterable[Metric]:
        """The families of now."""
        snapshot, guests = self._look()
        boot = self._unix_time() - snapshot.end_ns / _NS
        exposition = _Exposition(snapshot.attached)
        exposition.info(catalog.BUILD, (__version__, self._source))
        _add_run(exposition, snapshot)
        for vm in snapshot.vms:
            guest = guests[vm.key]
            identity = (guest.vm, printable(guest.name), str(guest.pid), printable(guest.uuid))
            exposition.info(catalog.VM, identity)
            if vm.lpt is not None:
                _add_lpt(exposition, guest.vm, vm.lpt, boot)
        for vcpu in snapshot.vcpus:
            if vcpu.vm in guests:
                _add_vcpu(exposition, guests[vcpu.vm].vm, vcpu)
        return exposition.families()


def _add_run(exposition: _Exposition, snapshot: Snapshot) -> None:
    for probe in snapshot.probes:
        exposition.add(catalog.PROBE_ATTACHED, (probe.name,), int(probe.attached))
    for name, value in snapshot.losses.items():
        exposition.add(catalog.LOSSES[name], (), value)
    exposition.add(catalog.READ_SECONDS, (), (snapshot.end_ns - snapshot.start_ns) / _NS)


def _add_lpt(exposition: _Exposition, vm: str, lpt: LptUpdates, boot: float) -> None:
    if lpt_state(lpt) == "unknown":
        return
    for result in catalog.UPDATE_RESULTS:
        account = lpt.results.get(result)
        exposition.add(catalog.LPT_UPDATES, (vm, result), account.count if account else 0)
        exposition.add(catalog.LPT_UPDATE_SECONDS, (vm, result), account.ns / _NS if account else 0)
    exposition.add(catalog.LPT_IDLE_CALLS, (vm,), lpt.nothing)
    structure = lpt.structure
    if structure is None:
        return
    exposition.add(catalog.LPT_SEQUENCE, (vm,), structure.sequence_number)
    exposition.add(catalog.LPT_NATIVE_FREQUENCY, (vm,), structure.native_freq)
    exposition.add(catalog.LPT_PV_FREQUENCY, (vm,), structure.pv_freq)
    for way, factor in scales(structure).items():
        exposition.add(catalog.LPT_SCALE, (vm, way), float(factor))
    for way, error in scale_errors(structure).items():
        exposition.add(catalog.LPT_SCALE_ERROR, (vm, way), float(error))
    # Both clocks are read at every scrape; their last digits would differ each time.
    exposition.add(catalog.LPT_PUBLISHED, (vm,), round(boot + lpt.published_ns / _NS, 2))


@dataclass(frozen=True)
class _Kind:
    traps: catalog.Metric
    service: catalog.Metric
    served: catalog.Metric
    apart: catalog.Metric
    apart_seconds: catalog.Metric


_KINDS = {
    "hypercall": _Kind(
        catalog.HYPERCALLS,
        catalog.HYPERCALL_SERVICE,
        catalog.HYPERCALLS_SERVED,
        catalog.HYPERCALLS_APART,
        catalog.HYPERCALL_APART_SECONDS,
    ),
    "timer": _Kind(
        catalog.TIMER_TRAPS,
        catalog.TIMER_TRAP_SERVICE,
        catalog.TIMER_TRAPS_SERVED,
        catalog.TIMER_TRAPS_APART,
        catalog.TIMER_TRAP_APART_SECONDS,
    ),
}


def _add_vcpu(exposition: _Exposition, vm: str, counters: VcpuCounters) -> None:
    vcpu = str(counters.vcpu)
    exposition.add(catalog.UNPAIRED_TRAPS, (vm, vcpu), counters.unpaired)
    for cls, trap in counters.traps.items():
        what = (cls.name, cls.direction) if cls.kind == "timer" else (cls.name,)
        _add_trap(exposition, _KINDS[cls.kind], (vm, vcpu, *what), trap)


def _add_trap(exposition: _Exposition, kind: _Kind, labels: tuple[str, ...], trap: Trap) -> None:
    exposition.add(kind.traps, labels, trap.count)
    exposition.add(kind.service, labels, trap.served.ns / _NS)
    exposition.add(kind.served, labels, trap.served.count)
    for reason in ("scheduled_out", "userspace"):
        account = getattr(trap, reason)
        if account.count:
            exposition.add(kind.apart, (*labels, reason), account.count)
            exposition.add(kind.apart_seconds, (*labels, reason), account.ns / _NS)


def make_registry(collector: SnapshotCollector) -> CollectorRegistry:
    """The collector, and what this process costs."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


def parse_listen(text: str) -> tuple[str, int]:
    """127.0.0.1:9753, [::1]:9753, :9753 (every address) as host and port."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not port.isdigit() or int(port) > 65535 or (":" in host and bare == host):
        raise LpttraceError(
            f"cannot listen on {text!r}: not an address and port; say 127.0.0.1:9753 or [::1]:9753"
        )
    return bare, int(port)


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_TIMEOUT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged: a scrape a few seconds would fill the journal."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 32

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int]) -> None:
        self.address_family = family
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Without the name lookup of HTTPServer.server_bind: it can take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        # A client that hangs up or stalls is its own affair.
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            print(f"warning: request of {client_address} failed: {error!r}", file=sys.stderr)


class MetricsServer:
    """Serves /metrics, /-/healthy and a landing page from entering to leaving the context."""

    def __init__(self, listen: str, collector: SnapshotCollector) -> None:
        """Bind, so that a wrong or taken address is known before anything is attached."""
        host, port = parse_listen(listen)
        self._metrics = make_wsgi_app(make_registry(collector))
        self._server = _bind(listen, host, port)
        self._server.set_app(self._answer)
        self._thread = threading.Thread(target=self._server.serve_forever, name="http")

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host, port = self._server.server_name, self._server.server_port
        return f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"

    def __enter__(self) -> MetricsServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self.close()

    def close(self) -> None:
        """Give the address back."""
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        body: Iterable[bytes]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD", "OPTIONS"):
            body = _plain(start, "405 Method Not Allowed", "only GET is served here\n")
        elif path == "/metrics":
            body = self._scrape(environ, start)
        elif path == "/-/healthy":
            body = _plain(start, "200 OK", "lpttrace is running\n")
        elif path == "/":
            body = _plain(start, "200 OK", _LANDING, "text/html")
        else:
            body = _plain(start, "404 Not Found", "not found; metrics are at /metrics\n")
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body

    def _scrape(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        try:
            body: Iterable[bytes] = self._metrics({**environ, "REQUEST_METHOD": "GET"}, start)
            return body
        except LpttraceError as error:
            print(f"warning: cannot answer a scrape: {error}", file=sys.stderr)
            return _plain(start, "503 Service Unavailable", f"{error}\n")


def _bind(listen: str, host: str, port: int) -> _Server:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _Server(family, (str(address[0]), port))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise LpttraceError(
            f"cannot listen on {listen}: {why}; choose another address with --listen"
        ) from error


def _plain(
    start: Callable[..., Any], status: str, text: str, kind: str = "text/plain"
) -> list[bytes]:
    body = text.encode()
    headers = [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body)))]
    start(status, headers)
    return [body]


_LANDING = f"""<!DOCTYPE html>
<html lang="en"><head><title>lpttrace</title></head><body>
<h1>lpttrace {html.escape(__version__)}</h1>
<p>What guest time costs on this KVM/arm64 host: hypercalls, pvtime updates, timer traps.</p>
<p><a href="/metrics">Metrics</a></p>
</body></html>
"""
