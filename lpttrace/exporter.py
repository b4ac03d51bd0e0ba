# SPDX-License-Identifier: GPL-2.0-only
"""Prometheus text and OpenMetrics over HTTP. The only importer of prometheus_client."""

from __future__ import annotations

import ctypes
import gc
import html
import platform
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, Callable, Optional
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.registry import Collector

from lpttrace import __version__, catalog
from lpttrace.errors import LpttraceError
from lpttrace.exporter_families import empty_family, filled_family
from lpttrace.exporter_rows import Run, Tables
from lpttrace.exporter_tables import tabulate
from lpttrace.exporter_text import compress, encode
from lpttrace.exporter_view import EVERYTHING, View, select
from lpttrace.model import Guest
from lpttrace.snapshot import Snapshot, VmKey
from lpttrace.web_listen import address_of, listen_on
from lpttrace.web_server import Server
from lpttrace.web_settings import Settings, always_open
from lpttrace.web_wsgi import Start, plain

__all__ = ["MetricsServer", "SnapshotCollector", "make_registry"]

_NS = 10**9
_PYTHON = ".".join(map(str, sys.version_info[:3]))
_RELEASE = platform.release()

# malloc.h
_M_ARENA_MAX = -8


class SnapshotCollector(Collector):
    """Reads a fresh snapshot at every scrape, one scrape at a time."""

    def __init__(
        self,
        read: Callable[[], Snapshot],
        identify: Callable[[Snapshot], Mapping[VmKey, Guest]],
        source: str = "live",
        unix_time: Callable[[], float] = time.time,
        view: View = EVERYTHING,
        release: Optional[str] = None,
    ) -> None:
        """source says in lpttrace_build_info where the numbers come from; unix_time when those that
        were read last are of; release is that of the kernel, if it is not the running one's."""
        self._read = read
        self._identify = identify
        self._source = source
        self._unix_time = unix_time
        self._view = view
        self._release = _RELEASE if release is None else release
        self._lock = threading.Lock()
        self._scrapes = self._scrape_ns = 0
        self._seen = (0, 0)
        self._refused: Mapping[str, int] = dict.fromkeys(catalog.HTTP_REFUSALS, 0)
        # Of the first scrape, for good: when a counter was created must not change with the clock.
        self._boot: Optional[float] = None
        self._shared: Optional[tuple[Tables, list[catalog.Metric]]] = None
        self._born_ns, self._since_ns = time.monotonic_ns(), 0

    def describe(self) -> Iterable[Metric]:
        """Every family of the catalogue, without reading anything."""
        return [empty_family(metric, self._view) for metric in catalog.METRICS]

    def show(self, view: View) -> None:
        """Expose that from the next scrape on."""
        with self._lock:
            self._view = view

    def tell_refused(self, refused: Mapping[str, int]) -> None:
        """Expose how many clients were refused, by reason, which goes on being counted there."""
        self._refused = refused

    def summary(self) -> str:
        """What was seen last, in a few words."""
        vms, vcpus = self._seen
        return f"{vms} VMs with {vcpus} vCPUs are counted"

    def look(self) -> None:
        """Read between scrapes: VMs that end are named, and give back what they took."""
        with self._lock, _no_garbage():
            self._look()

    def _look(self) -> tuple[Snapshot, Mapping[VmKey, Guest]]:
        snapshot = self._read()
        alive = {vm.key for vm in snapshot.vms if vm.alive}
        self._seen = len(alive), sum(vcpu.vm in alive for vcpu in snapshot.vcpus)
        return snapshot, self._identify(snapshot)

    def _tables(self) -> tuple[Tables, list[catalog.Metric]]:
        every, guests = self._look()
        snapshot = select(every, guests, self._view)
        left_out = len(every.vms) - len(snapshot.vms)
        boot = self._unix_time() - snapshot.end_ns / _NS
        if self._boot is None:
            self._boot = boot
            # On the clock of the snapshot, which a recording has from elsewhere.
            self._since_ns = snapshot.end_ns - (time.monotonic_ns() - self._born_ns)
        versions = (__version__, self._source, _PYTHON, self._release)
        costs = (self._scrapes, self._scrape_ns, self._refused, self._since_ns)
        run = Run(*versions, boot, left_out, *costs)
        attached = {probe.name for probe in snapshot.probes if probe.attached}
        metrics = [metric for metric in catalog.METRICS if attached.issuperset(metric.probes)]
        return tabulate(snapshot, guests, run, self._view.per_vcpu), metrics

    def collect(self) -> Iterable[Metric]:
        """The families of now."""
        return self.families(created=False)

    def families(self, created: bool) -> Iterable[Metric]:
        """The same; created tells when counters were 0, if the view asks for it."""
        with self._lock, _no_garbage():
            tables, metrics = self._tables()
        boot = self._boot if created and self._view.created else None
        return [filled_family(metric, tables, self._view, boot) for metric in metrics]

    def write(self, openmetrics: bool, share: bool = False) -> Iterator[bytes]:
        """The same as text, made as it is taken; without the end mark of OpenMetrics.

        Those who share are given what was read for one of them, until forget().
        """
        begin = time.perf_counter_ns()
        with self._lock, _no_garbage():
            found = self._shared if share and self._shared else self._tables()
            self._shared = found if share else None
        tables, metrics = found
        boot = self._boot if openmetrics and self._view.created else None
        return self._timed(encode(tables, metrics, openmetrics, boot), begin)

    def forget(self) -> None:
        """Whoever comes now is to have what is read now."""
        self._shared = None

    def _timed(self, parts: Iterator[bytes], begin_ns: int) -> Iterator[bytes]:
        yield from parts
        with self._lock:
            self._scrapes += 1
            self._scrape_ns += time.perf_counter_ns() - begin_ns


class _OpenMetricsCollector(Collector):
    """The same collector for a format that can tell when a counter was created."""

    def __init__(self, collector: SnapshotCollector) -> None:
        self._collector = collector

    def describe(self) -> Iterable[Metric]:
        return self._collector.describe()

    def collect(self) -> Iterable[Metric]:
        return self._collector.families(created=True)


@contextmanager
def _no_garbage() -> Iterator[None]:
    # A scrape makes tens of thousands of objects, none of them in a cycle. The collector would go
    # through all of them again and again, which is a third of the time.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def make_registry(
    collector: SnapshotCollector, openmetrics: bool = False, own_costs: bool = True
) -> CollectorRegistry:
    """The collector for one of the two formats, and what this process costs."""
    registry = CollectorRegistry()
    registry.register(_OpenMetricsCollector(collector) if openmetrics else collector)
    if own_costs:
        ProcessCollector(registry=registry)
    return registry


def _share_memory() -> None:
    # Whoever reads takes turns, but in threads of their own, for each of which glibc would keep
    # the memory of a whole snapshot. Other C libraries have no such function.
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


class MetricsServer:
    """Serves /metrics, whether it is well, and a landing page from entering to leaving."""

    def __init__(
        self,
        listen: str,
        collector: SnapshotCollector,
        settings: Callable[[], Settings] = always_open,
    ) -> None:
        """Bind, so that a wrong or taken address is known before anything is attached."""
        self._collector = collector
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self._any_metrics = [
            make_wsgi_app(make_registry(collector, openmetrics)) for openmetrics in (False, True)
        ]
        self._listeners = listen_on(listen)
        self._scheme = "https" if settings().tls else "http"
        self._server = Server(self._listeners, self._answer, settings, collector.forget)
        collector.tell_refused(self._server.refused)

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return " and ".join(
            f"{self._scheme}://{address_of(listener)}/metrics" for listener in self._listeners
        )

    @property
    def alive(self) -> bool:
        """Whether somebody answers, between entering and leaving."""
        return self._server.alive

    def __enter__(self) -> MetricsServer:
        _share_memory()
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self.close()

    def close(self) -> None:
        """Give the address back."""
        self._server.close()

    def _answer(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        body: Iterable[bytes]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD", "OPTIONS"):
            body = plain(start, "405 Method Not Allowed", "only GET is served here\n")
        elif path == "/metrics":
            body = self._scrape({**environ, "REQUEST_METHOD": "GET"}, start)
        elif path == "/-/healthy":
            body = plain(start, "200 OK", "lpttrace is running\n")
        elif path == "/-/ready":
            body = self._ready(start)
        elif path == "/":
            body = plain(start, "200 OK", _LANDING, "text/html")
        else:
            body = plain(start, "404 Not Found", "not found; metrics are at /metrics\n")
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body

    def _ready(self, start: Start) -> Iterable[bytes]:
        try:
            self._collector.look()
        except LpttraceError as error:
            return plain(start, "503 Service Unavailable", f"{error}\n")
        return plain(start, "200 OK", "lpttrace can be scraped\n")

    def _scrape(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        try:
            accept = environ.get("HTTP_ACCEPT", "")
            chosen_names = "name[]" in parse_qs(environ.get("QUERY_STRING", ""))
            if chosen_names or "escaping=dots" in accept:
                kind = choose_encoder(accept)[1]
                chosen: Iterable[bytes] = self._any_metrics[_is_openmetrics(kind)](environ, start)
                return chosen
            return self._metrics(environ, start)
        except LpttraceError as error:
            print(f"warning: cannot answer a scrape: {error}", file=sys.stderr)
            return plain(start, "503 Service Unavailable", f"{error}\n")

    def _metrics(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        encode_process, kind = choose_encoder(environ.get("HTTP_ACCEPT", ""))
        # A part at a time: all of it is megabytes, which nobody would use again until next time.
        parts = chain(
            self._collector.write(_is_openmetrics(kind), share=True),
            [encode_process(self._process)],
        )
        headers = [("Content-Type", kind)]
        if not gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", "")):
            start("200 OK", headers)
            return parts
        packed = compress(parts)
        length = ("Content-Length", str(sum(map(len, packed))))
        start("200 OK", [*headers, ("Content-Encoding", "gzip"), length])
        return packed


def _is_openmetrics(content_type: str) -> bool:
    return content_type.startswith("application/openmetrics-text")


_LANDING = f"""<!DOCTYPE html>
<html lang="en"><head><title>lpttrace</title></head><body>
<h1>lpttrace {html.escape(__version__)}</h1>
<p>What guest time costs on this KVM/arm64 host: hypercalls, pvtime updates, timer traps.</p>
<p><a href="/metrics">Metrics</a></p>
</body></html>
"""
