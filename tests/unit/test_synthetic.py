# SPDX-License-Identifier: GPL-2.0-only
"""Made-up counters behave like real ones."""

from __future__ import annotations

import pytest

from lpttrace.abi import BUCKET_BOUNDS, CALLS, EVENT_KINDS, QUESTIONS, TIMERS, timer_of_register
from lpttrace.errors import UsageError
from lpttrace.model import compare, not_visible, tally
from lpttrace.model_lpt import audit, lpt_state
from lpttrace.quantiles import quantiles
from lpttrace.snapshot import MOST_EVENTS, Snapshot
from lpttrace.synthetic import SyntheticSource, identify, parse_size

SECOND = 10**9


def snapshots(vms: int, vcpus: int, *elapsed_ns: int) -> list[Snapshot]:
    times = iter((100, *(100 + elapsed for elapsed in elapsed_ns for _ in range(2))))
    with SyntheticSource(vms, vcpus, clock=lambda: next(times)) as source:
        return [source.read() for _ in elapsed_ns]


def test_counts_depend_on_the_time_alone() -> None:
    first, second = snapshots(4, 2, SECOND, 10 * SECOND)
    assert [second] == snapshots(4, 2, 10 * SECOND)
    model = compare(tally(first), tally(second), identify(second))
    assert model.seconds == 9.0
    assert not_visible(second) == ()
    assert len(model.vms) == 4 and len(second.vcpus) == 8
    for vm in model.vms:
        assert vm.guest.name.startswith("synthetic")
        assert vm.hypercalls is not None and (vm.hypercalls.per_second or 0) > 0
        assert vm.timer_traps is not None and 2_000 < (vm.timer_traps.mean_ns or 0) < 4_000


def test_no_two_vcpus_are_alike() -> None:
    (snapshot,) = snapshots(64, 8, 3600 * SECOND)
    assert len({vcpu.tid for vcpu in snapshot.vcpus}) == 512
    loads = [vcpu.interrupts["physical"].delivered for vcpu in snapshot.vcpus]
    assert len(set(loads)) > 200 and max(loads) < 4 * min(loads)


@pytest.mark.parametrize("elapsed_ns", [0, 1, SECOND // 3, SECOND, 17 * SECOND, 3600 * SECOND])
def test_histograms_add_up_to_the_counts(elapsed_ns: int) -> None:
    (snapshot,) = snapshots(4, 2, elapsed_ns)
    for vcpu in snapshot.vcpus:
        assert vcpu.late.total() == vcpu.lateness.count
        for trap in vcpu.traps.values():
            assert trap.service.total() == trap.served.count
            found = quantiles(trap.service)
            if found is not None:
                assert found.p50 <= found.p99 <= found.max
                last = max(place for place, many in enumerate(trap.service.counts()) if many)
                assert trap.served.ns <= BUCKET_BOUNDS[last] * trap.served.count


def test_no_bucket_ever_shrinks() -> None:
    before, *later = snapshots(2, 2, *range(0, SECOND // 2, 7_654_321), 9 * SECOND)
    for now in later:
        for old, new in zip(before.vcpus, now.vcpus):
            for cls, trap in old.traps.items():
                grown = zip(new.traps[cls].service.counts(), trap.service.counts())
                assert all(count >= had for count, had in grown)
            assert all(map(int.__ge__, new.late.counts(), old.late.counts()))
        before = now


def test_timer_interrupts_take_five_to_six_traps() -> None:
    (snapshot,) = snapshots(4, 2, 600 * SECOND)
    for vcpu in snapshot.vcpus:
        interrupts = vcpu.interrupts["physical"]
        traps = [t.count for cls, t in vcpu.traps.items() if cls.name == "cntpct_el0"] + [
            trap.count
            for cls, trap in vcpu.traps.items()
            if timer_of_register(cls.name) == "physical"
        ]
        assert 5 <= sum(traps) / interrupts.delivered <= 6
        assert vcpu.lateness.count == interrupts.delivered - interrupts.overdue
        assert set(vcpu.interrupts) <= set(TIMERS)


def test_lpt_in_every_state() -> None:
    (snapshot,) = snapshots(4, 2, SECOND)
    states = [lpt_state(vm.lpt, snapshot.counter_hz) for vm in snapshot.vms]
    assert states == ["published", "off", "published", "failed"]
    moved = snapshot.vms[2].lpt
    assert moved is not None and moved.structure is not None and moved.previous is not None
    assert moved.previous.native_freq == 62_500_000 != moved.structure.native_freq
    for vm in snapshot.vms:
        assert vm.lpt is not None and audit(vm.lpt, snapshot.counter_hz) == ()
        assert vm.calls is not None and set(vm.calls) <= set(CALLS)


def test_answers_fit_what_was_given() -> None:
    (snapshot,) = snapshots(4, 2, SECOND)
    answers = {(v.vm.index, v.vcpu): v.answers for v in snapshot.vcpus}
    assert set(answers[0, 0]) == set(QUESTIONS) and set(answers[0, 1]) == {"features_st", "st"}
    assert [answers[vm, 0]["lpt"].refused for vm in range(4)] == [0, 1, 0, 1]
    assert [answers[vm, 0]["st"].refused for vm in range(4)] == [0, 1, 0, 0]
    for vcpu in snapshot.vcpus:
        asked = sum(a.asked for name, a in vcpu.answers.items() if name.startswith("features"))
        trap = {cls.name: trap for cls, trap in vcpu.traps.items()}
        assert trap["pv_time_features"].count == asked
        assert trap["pv_time_st"].count == vcpu.answers["st"].asked
        assert (vcpu.stolen is not None) == (vcpu.answers["st"].last >= 0)


def test_events_fit_the_counters() -> None:
    (snapshot,) = snapshots(4, 2, SECOND)
    assert {event.kind for event in snapshot.events} < set(EVENT_KINDS)
    for vm in snapshot.vms:
        own = [event for event in snapshot.events if event.vm == vm.key]
        for call, calls in (vm.calls or {}).items():
            of_call = [event.error for event in own if event.kind == f"{call}_attr"]
            assert of_call.count(0) == calls.done and len(of_call) == calls.done + calls.failed
    updates = [event for event in snapshot.events if event.kind == "update"]
    assert [(event.error, event.old_hz) for event in updates] == [(0, 0), (0, 62_500_000), (22, 0)]
    assert len(snapshots(1000, 1, SECOND)[0].events) == MOST_EVENTS


def test_sizes() -> None:
    assert parse_size("64x8") == (64, 8, 0)
    assert parse_size("64x8/60") == (64, 8, 60)


@pytest.mark.parametrize("text", ["", "64", "x8", "0x8", "64x", "-1x8", "1000x1000", "64X8 "])
def test_sizes_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="cannot make up VMs"):
        parse_size(text)


def test_vms_live_and_others_come_in_their_place() -> None:
    now = 100
    with SyntheticSource(4, 2, 8, clock=lambda: now) as source:
        first = source.read()
        assert [vm.alive for vm in first.vms] == [True] * 4 and len(first.vcpus) == 8
        # The first four end after 2, 4, 6 and 8 seconds, and are shown for 10 more.
        now += 5 * SECOND
        second = source.read()
        assert [vm.alive for vm in second.vms] == [True] * 4 + [False] * 2
        assert len({vm.key for vm in second.vms}) == len({vm.tgid for vm in second.vms}) == 6
        gone = {vm.key: vm for vm in second.vms if not vm.alive}
        assert set(gone) == {vm.key for vm in first.vms[:2]}
        now += 3 * SECOND
        third = source.read()
        kept = [v for v in second.vcpus if v.vm in gone]
        assert kept == [v for v in third.vcpus if v.vm in gone]
        now += 30 * SECOND
        assert not gone.keys() & {vm.key for vm in source.read().vms}
