# SPDX-License-Identifier: GPL-2.0-only
"""Our writing of the exposition against prometheus_client's, and how much of it there can be."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Union

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from lpttrace import synthetic
from lpttrace.abi import CLASSES
from lpttrace.catalog import AUDIT_REASONS, LOSSES, METRICS
from lpttrace.exporter import SnapshotCollector, make_registry
from lpttrace.exporter_columns import COLUMNS, LE, TABLES, Distribution
from lpttrace.exporter_rows import Tables
from lpttrace.exporter_text import compress
from lpttrace.exporter_view import EVERYTHING, View
from lpttrace.model import Guest
from lpttrace.quantiles import COARSE_BOUNDS, cumulative
from lpttrace.snapshot import (
    Account,
    Histogram,
    LptUpdates,
    Snapshot,
    Trap,
    VcpuCounters,
    VmKey,
)
from tests.unit import timed

from .conftest import BOUND_TIMES, WEB, served

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
WITH_CREATED = View(created=True)
HOUR = 3600 * 10**9


def collector(
    snapshot: Snapshot, guests: Mapping[VmKey, Guest], view: View = EVERYTHING
) -> SnapshotCollector:
    return SnapshotCollector(lambda: snapshot, lambda _: guests, "live", lambda: 1.75e9, view)


def ours(of: SnapshotCollector, openmetrics: bool) -> str:
    text = b"".join(of.write(openmetrics)).decode()
    return f"{text}# EOF\n" if openmetrics else text


def theirs(of: SnapshotCollector, openmetrics: bool) -> str:
    registry = make_registry(of, openmetrics, own_costs=False)
    text: bytes = (
        generate_openmetrics(registry)  # type: ignore[no-untyped-call]
        if openmetrics
        else generate_latest(registry)
    )
    return text.decode()


def parse(text: str, openmetrics: bool) -> list[Any]:
    families: Iterable[Any] = (
        parse_openmetrics(text) if openmetrics else parse_text(text)  # type: ignore[no-untyped-call]
    )
    return list(families)


def samples(families: list[Any]) -> Samples:
    found = [((s.name, frozenset(s.labels.items())), s.value) for f in families for s in f.samples]
    assert len(dict(found)) == len(found), "a series is there twice"
    return dict(found)


def series(of: SnapshotCollector) -> Samples:
    return samples(parse(ours(of, False), False))


def synthetic_snapshot(vms: int, vcpus: int, elapsed_ns: int = HOUR) -> Snapshot:
    times = iter((1, 1 + elapsed_ns, 1 + elapsed_ns))
    return synthetic.SyntheticSource(vms, vcpus, clock=lambda: next(times)).read()


def assert_same(
    snapshot: Snapshot,
    guests: Mapping[VmKey, Guest],
    openmetrics: bool,
    view: View = WITH_CREATED,
) -> None:
    own, library = (
        parse(write(collector(snapshot, guests, view), openmetrics), openmetrics)
        for write in (ours, theirs)
    )
    assert [(f.name, f.type, f.documentation, f.unit) for f in own] == [
        (f.name, f.type, f.documentation, f.unit) for f in library
    ]
    assert samples(own) == samples(library)


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_same_as_prometheus_client(
    complete: Snapshot, guests: Mapping[VmKey, Guest], openmetrics: bool
) -> None:
    names = {key: replace(guest, name=guest.name + '%s 100% \\ "') for key, guest in guests.items()}
    assert_same(complete, names, openmetrics)
    assert_same(complete, names, openmetrics, View(per_vcpu=False))


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_same_of_many_vcpus(openmetrics: bool) -> None:
    snapshot = synthetic_snapshot(8, 9)
    assert_same(snapshot, synthetic.identify(snapshot), openmetrics)


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_same_of_nothing(openmetrics: bool) -> None:
    empty = Snapshot(1, 2, (), (), (), dict.fromkeys(LOSSES, 0))
    assert_same(empty, {}, openmetrics)


def test_large_numbers_are_exact(complete: Snapshot, guests: Mapping[VmKey, Guest]) -> None:
    count, ns = (1 << 53) + 1, 10**18 + 1
    vcpu = VcpuCounters(WEB, 0, 1, {CLASSES[1]: Trap(scheduled_out=Account(count, ns))})
    text = ours(collector(replace(complete, vcpus=(vcpu,)), guests), False)
    labels = '{function="unknown",vcpu="0",vm="1234"}'
    assert f"lpttrace_hypercalls_total{labels} {count}\n" in text
    labels = '{function="unknown",reason="scheduled_out",vcpu="0",vm="1234"}'
    apart = f"lpttrace_hypercall_apart_seconds_total{labels}"
    assert f"{apart} {ns}e-9\n" in text


def test_every_metric_is_in_the_complete_snapshot(
    complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    families = parse(ours(collector(complete, guests), True), True)
    assert {f.name for f in families if f.samples} == {metric.family for metric in METRICS}
    assert set(COLUMNS) == set(METRICS) and set(TABLES) == set(vars(Tables()))


SAID = (
    *("lpttrace_lpt_sequence_number", "lpttrace_lpt_native_frequency_hertz"),
    *("lpttrace_lpt_pv_frequency_hertz", "lpttrace_lpt_scale_ratio"),
)
ERROR, OFF = "lpttrace_lpt_scale_error_ratio", {"scale_mult": (1 << 63) // 5}
SOUND = replace(timed.STRUCTURE, sequence_number=2)


@pytest.mark.parametrize(
    ("wrong", "errors"),
    [
        ({}, {"native_to_pv": 0, "pv_to_native": 0}),
        (OFF, {"native_to_pv": -0.8, "pv_to_native": 0}),
        ({**OFF, "sequence_number": 3}, {}),
        ({"revision": 1}, {}),
        ({"attributes": 1}, {}),
        ({"sequence_number": 3}, {}),
        ({"native_freq": 0}, {}),
        ({"native_freq": 62_500_000}, {}),
        ({"pv_freq": 0}, {}),
    ],
)
def test_a_wrong_structure_is_an_alarm_not_a_number(
    wrong: dict[str, int], errors: dict[str, float]
) -> None:
    lpt = LptUpdates({}, structure=replace(SOUND, **wrong), published_ns=1)
    vms = tuple(replace(vm, lpt=lpt) for vm in timed.after().vms[:1])
    found = series(collector(replace(timed.after(), vms=vms, vcpus=()), timed.GUESTS))
    alarms = [value for (name, _), value in found.items() if name == "lpttrace_lpt_wrong"]
    assert any(alarms) == bool(wrong) and len(alarms) == len(AUDIT_REASONS)
    names = {name for name, _ in found}
    assert names & set(SAID) == (set() if wrong else set(SAID))
    assert "lpttrace_lpt_published_timestamp_seconds" in names
    told = {dict(labels)["direction"]: v for (name, labels), v in found.items() if name == ERROR}
    assert told == pytest.approx(errors)


def bucket(of: Samples, le: Union[str, float], **labels: str) -> float:
    name = "lpttrace_hypercall_service_duration_seconds_bucket"
    return of[name, frozenset({**labels, "le": str(le)}.items())]


def test_a_time_equal_to_a_bound_is_under_it(
    complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    found = series(collector(complete, guests))
    what = {"vm": "1234", "function": "psci_version"}
    assert BOUND_TIMES == (1024, 1024, 1025)
    # vCPU 0 has these and 900 ns, vCPU 1 has 256 ns.
    assert bucket(found, "2.56e-07", **what) == 1
    assert bucket(found, "5.12e-07", **what) == 1
    assert bucket(found, "1.024e-06", **what) == 4
    assert bucket(found, "2.048e-06", **what) == 5
    assert bucket(found, "+Inf", **what) == 5
    name = "lpttrace_hypercall_service_duration_seconds"
    assert found[f"{name}_count", frozenset(what.items())] == 5
    assert found[f"{name}_sum", frozenset(what.items())] == (1024 + 1024 + 1025 + 900 + 256) / 1e9


@pytest.mark.parametrize("bound", COARSE_BOUNDS)
def test_every_bound(bound: int, complete: Snapshot, guests: Mapping[VmKey, Guest]) -> None:
    vcpu = VcpuCounters(WEB, 0, 1, {CLASSES[2]: served(bound - 1, bound, bound + 1)})
    found = series(collector(replace(complete, vcpus=(vcpu,)), guests))
    what = {"vm": "1234", "function": CLASSES[2].name}
    values = [bucket(found, le, **what) for le in LE]
    place = COARSE_BOUNDS.index(bound)
    assert values[place] == 2
    assert values[place + 1 :] == [3] * (len(values) - place - 1)
    assert all(float(le) * 10**9 == bound for le, bound in zip(LE, COARSE_BOUNDS))


def test_distributions_are_those_of_quantiles() -> None:
    for counts in ([0] * 114, list(range(114)), [1] * 114, [1 << 47] * 114, [7] + [0] * 113):
        histogram = Histogram.of(counts)
        assert list(Distribution.of(histogram, 0).buckets) == cumulative(histogram)


def test_histograms_add_up_over_vcpus_and_stay_with_the_vm() -> None:
    snapshot = synthetic_snapshot(2, 3)
    guests = synthetic.identify(snapshot)
    ended = replace(snapshot, vms=tuple(replace(vm, alive=False) for vm in snapshot.vms))
    found = series(collector(snapshot, guests))
    counted = {it: value for it, value in found.items() if it[0] != "lpttrace_vm_vcpus"}
    assert series(collector(ended, guests)) == counted
    for (name, labels), value in found.items():
        if name == "lpttrace_timer_trap_service_duration_seconds_count":
            per_vcpu = [
                served
                for (other, more), served in found.items()
                if other == "lpttrace_timer_traps_served_total" and labels < more
            ]
            assert len(per_vcpu) == 3 and sum(per_vcpu) == value > 0


def test_counters_and_buckets_never_shrink() -> None:
    earlier: Samples = {}
    for elapsed in (*range(0, 400_000_000, 7_654_321), 10**10, HOUR):
        snapshot = synthetic_snapshot(4, 2, elapsed)
        found = series(collector(snapshot, synthetic.identify(snapshot)))
        growing = {k: v for k, v in found.items() if k[0].endswith(("_total", "_bucket", "_sum"))}
        assert all(growing[key] >= value for key, value in earlier.items())
        earlier = growing


def test_it_comes_in_small_parts() -> None:
    snapshot = synthetic_snapshot(64, 8)
    of = collector(snapshot, synthetic.identify(snapshot))
    parts = list(of.write(False))
    assert max(map(len, parts)) < 200_000
    assert gzip.decompress(b"".join(compress(parts))) == b"".join(parts)
