# SPDX-License-Identifier: GPL-2.0-only
"""How much is exposed: series in every mode, sums over vCPUs, chosen VMs, creation times."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from lpttrace import synthetic
from lpttrace.abi import CALLS, CLASSES, QUESTIONS, TIMERS
from lpttrace.catalog import LOSSES, METRICS, MOST_SERIES, MostSeries, markdown
from lpttrace.exporter import SnapshotCollector
from lpttrace.exporter_columns import LE
from lpttrace.exporter_vcpus import total
from lpttrace.exporter_view import View
from lpttrace.model import Guest
from lpttrace.plan import PROBES
from lpttrace.snapshot import (
    Account,
    Answers,
    Calls,
    Interrupts,
    LptUpdates,
    Probe,
    Snapshot,
    Stolen,
    VcpuCounters,
    VmCounters,
    VmKey,
)
from lpttrace.snapshot_upkeep import ProgramRuns

from .conftest import PSCI_VERSION, STRUCTURE, UPKEEP, WEB, served
from .test_exporter_text import (
    Samples,
    collector,
    ours,
    parse,
    samples,
    series,
    synthetic_snapshot,
)

VIEWS = {
    (): View(),
    ("--per-vm",): View(per_vcpu=False),
    ("--created",): View(created=True),
    ("--per-vm", "--created"): View(per_vcpu=False, created=True),
}


def busiest(vcpus: int) -> Snapshot:
    """A VM whose guest does all that it can, on a host that has all there is."""
    key, one = WEB, Account(1, 1000)
    trap = replace(served(1000), scheduled_out=one, userspace=one)
    vcpu = VcpuCounters(
        key,
        0,
        1,
        {cls: trap for cls in CLASSES[1:]},
        interrupts=dict.fromkeys(TIMERS, Interrupts(2, 1)),
        lateness=one,
        late=served(1000).service,
        stolen=Stolen(one, 1),
        answers=dict.fromkeys(QUESTIONS, Answers(2, 1, 0)),
        seen_ns=key.seen_ns,
    )
    moved = replace(STRUCTURE, sequence_number=4)
    lpt = LptUpdates({"published": one}, 1, 0, moved, 1, STRUCTURE)
    vm = VmCounters(key, 1, True, lpt, dict.fromkeys(CALLS, Calls(1, 1)))
    programs = tuple(ProgramRuns(probe.program, 1, 1) for probe in PROBES if probe.program)
    return Snapshot(
        1,
        2,
        (vm,),
        tuple(replace(vcpu, vcpu=number) for number in range(vcpus)),
        tuple(Probe(probe.name, True) for probe in PROBES),
        dict.fromkeys(LOSSES, 0),
        counter_hz=STRUCTURE.native_freq,
        upkeep=replace(UPKEEP, programs=programs),
    )


def openmetrics(of: SnapshotCollector) -> Samples:
    return samples(parse(ours(of, True), True))


@pytest.mark.parametrize(("options", "view"), VIEWS.items())
def test_no_guest_makes_more_series_than_documented(
    options: tuple[str, ...], view: View, guests: Mapping[VmKey, Guest]
) -> None:
    host, none, one, two = (
        len(openmetrics(collector(snapshot, guests, view)))
        for snapshot in (replace(busiest(0), vms=()), *map(busiest, (0, 1, 2)))
    )
    vcpu = two - one
    most = MOST_SERIES[options]
    assert (host, one - host - vcpu, vcpu) == (most.host, most.vm, most.vcpu)
    assert none - host < most.vm


def test_why_histograms_are_not_by_vcpu(guests: Mapping[VmKey, Guest]) -> None:
    found = openmetrics(collector(busiest(1), guests))
    histograms = [series for series in found if re.search(r"_(bucket|sum|count)$", series[0])]
    each = len(LE) + 2
    # Of every class, and of lateness.
    assert len(histograms) == each * len(CLASSES)
    assert f"because each is {each} series" in markdown()
    most = MOST_SERIES[()]
    assert len(histograms) > 0.9 * most.vm and len(histograms) > 2 * most.vcpu


@pytest.mark.parametrize(("options", "view"), VIEWS.items())
def test_series_of_512_vcpus(options: tuple[str, ...], view: View) -> None:
    snapshot = synthetic_snapshot(64, 8)
    guests, most = synthetic.identify(snapshot), MOST_SERIES[options]
    found = len(openmetrics(collector(snapshot, guests, view)))
    assert 0.9 * most.made_up < found < most.made_up
    assert found < formula(most, vms=64, vcpus=512)


def formula(most: MostSeries, vms: int, vcpus: int) -> int:
    """As docs/metrics.md has it."""
    return most.host + most.vm * vms + most.vcpu * vcpus


@pytest.mark.parametrize(("options", "view"), VIEWS.items())
def test_512_vcpus_of_the_busiest_guest_stay_under_the_formula(
    options: tuple[str, ...], view: View, guests: Mapping[VmKey, Guest]
) -> None:
    text = ours(collector(busiest(512), guests, view), True)
    found = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(found) == formula(MOST_SERIES[options], vms=1, vcpus=512)


def test_every_mode_is_documented() -> None:
    assert set(MOST_SERIES) == set(VIEWS)


def without_vcpu(found: Samples) -> Samples:
    sums: Samples = {}
    for (name, labels), value in found.items():
        key = name, frozenset(label for label in labels if label[0] != "vcpu")
        sums[key] = sums.get(key, 0) + value
    return sums


def test_sums_per_vm_are_those_of_its_vcpus(
    complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    made_up = synthetic_snapshot(4, 8)
    for snapshot, names in ((complete, guests), (made_up, synthetic.identify(made_up))):
        apart = series(collector(snapshot, names))
        sums = series(collector(snapshot, names, View(per_vcpu=False)))
        assert sums.keys() == without_vcpu(apart).keys()
        assert sums == pytest.approx(without_vcpu(apart))
        assert len(sums) < len(apart)


@pytest.mark.parametrize("view", VIEWS.values())
def test_vcpus_are_those_of_vms_that_are_alive(
    view: View, complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    again = VcpuCounters(WEB, 1, 1299, {PSCI_VERSION: served(300)}, seen_ns=5)
    busy = replace(complete, vcpus=(*complete.vcpus, again))
    ended = replace(busy, vms=tuple(replace(vm, alive=vm.key != WEB) for vm in busy.vms))
    web = "lpttrace_vm_vcpus", frozenset({("vm", "1234")})
    assert series(collector(busy, guests, view))[web] == 2
    assert web not in series(collector(ended, guests, view))


def test_a_vcpu_that_counts_anew_is_added(
    complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    before = series(collector(complete, guests))
    again = VcpuCounters(WEB, 1, 1299, {PSCI_VERSION: served(300)}, seen_ns=5)
    after = series(collector(replace(complete, vcpus=(*complete.vcpus, again)), guests))
    labels = frozenset({"vm": "1234", "vcpu": "1", "function": "psci_version"}.items())
    assert after["lpttrace_hypercalls_total", labels] == 2
    assert after.keys() == before.keys()
    assert all(value >= before[key] for key, value in after.items())


def test_the_sum_of_one_is_that_one(complete: Snapshot) -> None:
    for vcpu in complete.vcpus:
        assert total([vcpu]) == vcpu


@pytest.mark.parametrize(
    ("vms", "not_vms", "labels"),
    [
        ((), (), "1234 1234-2 2000 3000"),
        (("1234*",), (), "1234 1234-2"),
        (("CROSVM", "2000"), (), "2000 3000"),
        ((), ("qemu-*", "crosvm*"), "1234 2000"),
        (("1234*",), ("1234-2",), "1234"),
        (("nobody",), (), ""),
        ((), ("*",), ""),
    ],
)
def test_chosen_vms(
    vms: tuple[str, ...],
    not_vms: tuple[str, ...],
    labels: str,
    complete: Snapshot,
    guests: Mapping[VmKey, Guest],
) -> None:
    found = series(collector(complete, guests, View(vms=vms, not_vms=not_vms)))
    of_vms = {value for _, pairs in found for name, value in pairs if name == "vm"}
    assert of_vms == set(labels.split())
    assert found["lpttrace_vms_left_out", frozenset()] == 4 - len(of_vms)


def times(found: Samples, metric: str) -> dict[str, float]:
    """By VM, and vCPU where there is one."""
    return {
        "/".join(value for name, value in sorted(pairs, reverse=True) if name in ("vm", "vcpu")): at
        for (name, pairs), at in found.items()
        if name == f"{metric}_created"
    }


def test_counters_were_0_when_their_vcpu_was_first_seen(
    complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    seen = {0: 20 * 10**9, 1: 30 * 10**9}
    vcpus = tuple(
        replace(vcpu, seen_ns=seen[vcpu.vcpu]) for vcpu in complete.vcpus if vcpu.vm == WEB
    )
    snapshot = replace(complete, vcpus=vcpus, end_ns=40 * 10**9)
    found = openmetrics(collector(snapshot, guests, View(created=True)))
    # 40 seconds after boot it was 1.75e9.
    assert set(times(found, "lpttrace_hypercalls").items()) == {
        ("1234/0", 1.75e9 - 20),
        ("1234/1", 1.75e9 - 10),
    }
    assert times(found, "lpttrace_lpt_updates")["1234"] == 1.75e9 - 40
    assert times(found, "lpttrace_hypercall_service_duration_seconds") == {"1234": 1.75e9 - 40}
    assert times(found, "lpttrace_lost_events") == {"": 1.75e9 - 39}
    sums = openmetrics(collector(snapshot, guests, View(per_vcpu=False, created=True)))
    assert times(sums, "lpttrace_hypercalls") == {"1234": 1.75e9 - 40}


def test_a_clock_that_is_set_moves_no_creation_time(
    complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    clock = iter((1.75e9, 1.76e9))
    of = SnapshotCollector(
        lambda: complete, lambda _: guests, "live", lambda: next(clock), View(created=True)
    )
    first, second = openmetrics(of), openmetrics(of)
    stable = {key: at for key, at in first.items() if key[0].endswith("_created")}
    assert stable and all(second[key] == at for key, at in stable.items())


def test_what_begins_with_the_agent_was_0_then(
    complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    # Attached an hour before this process began, by the agent before it.
    hour = 3600 * 10**9
    began = time.monotonic_ns()
    of = SnapshotCollector(
        lambda: replace(complete, end_ns=time.monotonic_ns() + hour),
        lambda _: guests,
        "live",
        lambda: 1.75e9 + (time.monotonic_ns() - began) / 10**9,
        View(created=True),
    )
    found = openmetrics(of)
    for metric in ("lpttrace_scrapes", "lpttrace_scrape_seconds", "lpttrace_http_refused"):
        created = {at for (name, _), at in found.items() if name == f"{metric}_created"}
        assert len(created) == 1
        assert created.pop() == pytest.approx(1.75e9, abs=60)
    assert times(found, "lpttrace_lost_events")[""] < 1.75e9 - 3500


@pytest.mark.parametrize(("view", "format_"), [(View(), True), (View(created=True), False)])
def test_creation_times_only_where_asked_for(
    view: View, format_: bool, complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    assert "_created" not in ours(collector(complete, guests, view), format_)


def test_what_has_no_beginning_has_no_creation_time(
    complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    found = openmetrics(collector(complete, guests, View(created=True)))
    named = {name[: -len("_created")] for name, _ in found if name.endswith("_created")}
    kinds = {metric.family: metric.kind for metric in METRICS}
    assert {kinds[family] for family in named} == {"counter", "histogram"}
    assert all(at > 0 for at in times(found, "lpttrace_lpt_updates").values())


def test_scrapes_are_counted_when_they_are_done(
    complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    of = collector(complete, guests)
    abandoned = of.write(False)
    next(abandoned)
    one, two = series(of), series(of)
    name = "lpttrace_scrapes_total", frozenset[tuple[str, str]]()
    seconds = "lpttrace_scrape_seconds_total", frozenset[tuple[str, str]]()
    assert (one[name], two[name]) == (0, 1)
    assert one[seconds] == 0 < two[seconds]


def test_a_vm_without_vcpus_has_no_sums(guests: Mapping[VmKey, Guest]) -> None:
    found = series(collector(busiest(0), guests, View(per_vcpu=False)))
    assert not any(name.startswith("lpttrace_hypercall") for name, _ in found)
