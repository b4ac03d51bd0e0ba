# SPDX-License-Identifier: GPL-2.0-only
"""The agent's side on real maps of this machine's kernel, with VMs that come and go in them."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lpttrace import abi, live, live_events
from lpttrace.exporter import SnapshotCollector
from lpttrace.guests import Guests
from lpttrace.host import HostFacts, probe_host
from lpttrace.keep import Keeper
from lpttrace.live import LiveOptions, LiveSource
from lpttrace.live_beside import BesideSource
from lpttrace.live_ended import AT_LEAST
from lpttrace.maps import keys
from lpttrace.plan import LPT_SYMBOL, Plan, make_plan, symbols_wanted
from lpttrace.snapshot import MOST_EVENTS, Snapshot
from tests.lab.kernel_side import KernelSide

SECOND = 10**9
MAX_VCPUS = 8
GRACE_SECONDS = 0.2
OPTIONS = LiveOptions(max_vcpus=MAX_VCPUS, grace_seconds=GRACE_SECONDS)
COUNTERS = ("_total", "_count", "_bucket")


class Host:
    """Agents, one after the other, and what goes on in the kernel meanwhile."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._agent = ExitStack()
        self.start()
        self.kernel = KernelSide(self.source._attachment.maps, MAX_VCPUS)

    def start(self, options: LiveOptions = OPTIONS) -> None:
        """The first agent, or the next."""
        self._agent.close()
        keeper = self._agent.enter_context(Keeper(self.root, MAX_VCPUS, LPT_SYMBOL))
        self.source = self._agent.enter_context(LiveSource(options, keeper))
        self._collector = SnapshotCollector(self.source.read, Guests().identify)

    def scrape(self) -> dict[tuple[str, str, str], float]:
        """Counters of VMs, by name, VM, and all other labels."""
        text = b"".join(self._collector.write(openmetrics=False)).decode()
        return {
            (sample.name, sample.labels.pop("vm"), str(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if "vm" in sample.labels and sample.name.endswith(COUNTERS)
        }

    def close(self) -> None:
        self.kernel.close()
        self._agent.close()


def attach_plan(options: LiveOptions) -> tuple[HostFacts, Plan]:
    """That of live, for a host that is not arm64."""
    facts = probe_host(symbols_wanted(options.lpt_symbol))
    return facts, make_plan(facts, options.max_vcpus, options.lpt_symbol)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(live, "attach_plan", attach_plan)
    subprocess.run(["mount", "-t", "bpf", "bpf", tmp_path], check=True)
    host = Host(tmp_path / "lpttrace")
    yield host
    host.close()
    subprocess.run(["umount", tmp_path], check=True)


class Follower:
    """What Prometheus would see: no counter falls, and no VM that has gone is there again."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str, str], float] = {}
        self.vms: set[str] = set()
        self.gone: set[str] = set()
        self.wrong: list[str] = []

    def follow(self, now: dict[tuple[str, str, str], float]) -> None:
        for series, value in now.items():
            if value < self._last.get(series, 0):
                self.wrong.append(f"{series} fell to {value}")
        vms = {vm for _, vm, _ in now}
        self.wrong += [f"{vm} came back" for vm in vms & self.gone]
        self.gone |= self.vms - vms
        self.vms |= vms
        self._last.update(now)


def wait_for_no_vm(host: Host, follower: Follower) -> None:
    while host.source.read().vms:
        follower.follow(host.scrape())


def test_labels_of_vms_that_ended_never_come_back(host: Host) -> None:
    follower, pid = Follower(), os.getpid()
    for number in range(12):
        with subprocess.Popen(["sleep", "infinity"]) as other:
            vms = [host.kernel.begin(pid, 2), host.kernel.begin(other.pid)]
            for traps in (5, 3):
                for vm in vms:
                    host.kernel.trap(vm, traps * (number + 1))
                follower.follow(host.scrape())
            host.kernel.end(vms[0])
            # The other is not told of: its process ends.
            other.kill()
        follower.follow(host.scrape())
        if number % 3 == 0:
            wait_for_no_vm(host, follower)
            host.start()
    wait_for_no_vm(host, follower)
    follower.follow(host.scrape())
    assert follower.wrong == []
    of_this = {f"{pid}-{number}" if number > 1 else str(pid) for number in range(1, 13)}
    assert len(follower.vms) == 24 and of_this < follower.vms == follower.gone


def test_more_vms_than_can_be_shown_end_at_once(host: Host) -> None:
    host.start(replace(OPTIONS, grace_seconds=3600))
    for _ in range(AT_LEAST + MAX_VCPUS):
        vm = host.kernel.begin(os.getpid())
        host.kernel.trap(vm, 1)
        host.kernel.end(vm)
        snapshot = host.source.read()
        assert not any(vm.alive for vm in snapshot.vms)
        assert 0 < len(snapshot.vms) == len(snapshot.vcpus) <= AT_LEAST
    assert len(snapshot.vms) == AT_LEAST
    assert snapshot.losses["gone_early"] == MAX_VCPUS


def test_no_event_of_a_burst_is_lost(host: Host) -> None:
    vm = host.kernel.begin(os.getpid())
    begin = time.monotonic_ns()
    for number in range(MOST_EVENTS):
        host.kernel.tell(vm.index, begin + number)
    with pytest.raises(OSError, match=f"Errno {errno.E2BIG}"):
        host.kernel.tell(vm.index, begin + MOST_EVENTS)
    snapshot = host.source.read()
    assert [event.ns - begin for event in snapshot.events] == [*range(MOST_EVENTS)]
    # Those that others come in place of have been seen.
    host.kernel.tell(vm.index, begin + MOST_EVENTS)
    snapshot = host.source.read()
    assert [event.ns - begin for event in snapshot.events] == [*range(1, MOST_EVENTS + 1)]
    assert snapshot.losses["events"] == 0


def lost_events(snapshot: Snapshot) -> int:
    assert snapshot.events == ()
    return snapshot.losses["events"]


def test_an_event_whose_vm_has_no_record_is_lost_and_counted(host: Host) -> None:
    now = time.monotonic_ns()
    host.kernel.tell(0xFFFFFFFF, now - 11 * SECOND)
    # Its VM may be one that comes with the next reading.
    host.kernel.tell(MAX_VCPUS - 1, now + 3600 * SECOND)
    assert [lost_events(host.source.read()) for _ in range(2)] == [1, 1]
    # It is a counter: what it has counted stays.
    host.start()
    assert lost_events(host.source.read()) == 1


def ages(host: Host, now: int) -> list[int]:
    """In seconds, of the events that the agent has left in the kernel."""
    host.source.read()
    waiting = keys(host.source._attachment.maps["events"], ctypes.sizeof(abi.EventKey))
    return sorted((now - abi.EventKey.from_buffer_copy(key).ns) // SECOND for key in waiting)


def test_events_stay_for_those_who_read_beside(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    vm, now = host.kernel.begin(os.getpid()), time.monotonic_ns()
    monkeypatch.setattr(live_events, "time", SimpleNamespace(monotonic_ns=lambda: now))
    vm.record.seen_ns = now - 60 * SECOND
    told = [now - age * SECOND for age in (1, 3, 6)]
    with BesideSource(OPTIONS, host.root):
        for ns in told:
            host.kernel.tell(vm.index, ns)
        assert ages(host, now) == [1, 3]
        # Where there are many, not for so long.
        for number in range(MOST_EVENTS // 2):
            host.kernel.tell(vm.index, now - SECOND, tid=2 + number)
        assert ages(host, now) == [1] * (MOST_EVENTS // 2 + 1)
    assert ages(host, now) == []
    assert host.source.read().losses["events"] == 0


def test_who_reads_beside_keeps_the_last_counts_of_what_the_agent_lets_go(host: Host) -> None:
    vm = host.kernel.begin(os.getpid(), 2)
    host.kernel.trap(vm, 7)
    host.source.read()
    with BesideSource(OPTIONS, host.root) as beside:
        before = beside.read()
        assert [shown.alive for shown in before.vms] == [True] and len(before.vcpus) == 2
        host.kernel.end(vm)
        while any(shown.alive for shown in host.source.read().vms) or host.source._dying:
            time.sleep(0.05)
        after = beside.read()
        assert [shown.alive for shown in after.vms] == [False]
        assert after.vcpus == before.vcpus
        while (last := beside.read()).vms:
            time.sleep(0.05)
        assert (last.vcpus, last.losses["gone_early"]) == ((), 0)
