# SPDX-License-Identifier: GPL-2.0-only
"""Quantiles, timer interrupts, lateness, stolen time and answers, of an interval."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional, TypeVar

import pytest

from lpttrace.model import VmModel, alarms, compare, not_visible, tally
from lpttrace.model_flow import added
from lpttrace.model_order import arrange
from lpttrace.model_sampler import retain
from lpttrace.model_timer import TimerFlow
from lpttrace.snapshot import Account, Answers, Interrupts, Snapshot, VcpuCounters
from tests.unit.timed import (
    ASKER,
    CTL_WRITE,
    EVENTS,
    GUESTS,
    LATE_AFTER,
    LATE_BEFORE,
    MIGRATED,
    after,
    before,
    blind,
    histogram,
    timed,
    trap,
)

_T = TypeVar("_T")


def sure(value: Optional[_T]) -> _T:
    assert value is not None
    return value


def vm(label: str) -> VmModel:
    return next(vm for vm in timed().vms if vm.guest.vm == label)


def timer(vm: VmModel) -> TimerFlow:
    (flow,) = sure(vm.time.timers)
    return flow


def one_vcpu(**changes: object) -> Snapshot:
    snapshot = before()
    vcpu = replace(snapshot.vcpus[0], **changes)  # type: ignore[arg-type]
    return replace(snapshot, vms=snapshot.vms[:1], vcpus=(vcpu,))


def between(old: Snapshot, new: Snapshot) -> VmModel:
    later = replace(new, end_ns=old.end_ns + 2_000_000_000)
    return compare(tally(old), tally(later), GUESTS).vms[0]


def test_quantiles_are_of_the_interval() -> None:
    old = one_vcpu(traps={CTL_WRITE: trap(*[1_000] * 1000)})
    new = one_vcpu(traps={CTL_WRITE: trap(*[1_000] * 1000, *[8_000] * 99, 100_000)})
    flow = sure(between(old, new).timer_traps)
    found, every = sure(flow.quantiles), sure(flow.all_quantiles)
    assert 7_000 < found.p50 == found.p90 == found.p99 <= 8_192
    assert 90_000 < found.max < 115_000
    assert 896 <= every.p50 == every.p90 <= 1_024
    assert every.p99 > 7_000 and every.max == found.max


def test_no_traps_no_quantiles() -> None:
    same = one_vcpu(traps={CTL_WRITE: trap(1_000)})
    flow = sure(between(same, same).timer_traps)
    assert flow.quantiles is None
    assert sure(flow.all_quantiles).p50 < 1_100
    assert sure(between(same, one_vcpu(traps={})).timer_traps).all_quantiles is None


def test_quantiles_after_a_reset_are_of_what_came_since() -> None:
    old = one_vcpu(traps={CTL_WRITE: trap(*[1_000] * 1000)})
    new = one_vcpu(traps={CTL_WRITE: trap(8_000, 8_000)})
    assert sure(sure(between(old, new).timer_traps).quantiles).p50 > 7_000


@pytest.mark.parametrize(
    ("now", "before", "since"),
    [
        ((100, 100, 900), (100,), (100, 900)),
        ((100,), (100, 100), (100,)),
        # More in all, but fewer in one bucket: counted anew.
        ((900, 900, 900), (100,), (900, 900, 900)),
        ((100, 100, 100), (900,), (100, 100, 100)),
        ((), (), ()),
    ],
)
def test_histograms_added(
    now: tuple[int, ...], before: tuple[int, ...], since: tuple[int, ...]
) -> None:
    assert added(histogram(now), histogram(before)) == histogram(since)


def test_timer_interrupts() -> None:
    flow = timer(vm("100"))
    assert (flow.timer, flow.per_second) == ("physical", 240)
    assert flow.total[:2] == (280, 28)
    assert sure(flow.change).overdue == 24
    # The trap that went to the VMM counts as one, its time does not; counter reads are no timer's.
    assert flow.traps_per_interrupt == 1200 / 240
    assert flow.service_ns_per_interrupt == 600 * 5_000 / 240
    assert flow.total.traps_per_interrupt == 1401 / 280


def test_all_timers_together() -> None:
    model = timed()
    flows = [sure(vm.time.all_timers) for vm in model.vms]
    assert [flow.per_second for flow in flows] == [240, 0, 0]
    assert [flow.traps_per_interrupt for flow in flows] == [5, None, None]
    assert [vm.time.interrupts_per_second for vm in model.vms] == [240, 0, 0]


def test_interrupts_of_a_vcpu_counted_anew() -> None:
    old = one_vcpu(interrupts={"physical": Interrupts(100)}, traps={CTL_WRITE: trap(*[9] * 100)})
    new = one_vcpu(interrupts={"physical": Interrupts(7)}, traps={CTL_WRITE: trap(*[9] * 14)})
    model = between(old, new)
    assert timer(model).per_second == 7 / 2 == model.time.interrupts_per_second
    assert timer(model).traps_per_interrupt == 2


def test_traps_before_the_first_interrupt_are_not_of_the_interval() -> None:
    old = one_vcpu(interrupts={}, traps={CTL_WRITE: trap(*[9] * 100)})
    new = one_vcpu(interrupts={"physical": Interrupts(5)}, traps={CTL_WRITE: trap(*[9] * 110)})
    assert timer(between(old, new)).traps_per_interrupt == 2


def test_lateness() -> None:
    late = sure(vm("100").time.lateness)
    assert late.total == Account(len(LATE_AFTER), sum(LATE_AFTER))
    assert sure(late.change).count == len(LATE_AFTER) - len(LATE_BEFORE)
    assert sure(late.quantiles).p50 > 16_000 and sure(late.quantiles).max > 900_000
    assert sure(late.all_quantiles).p50 > 16_000
    # Its timer is the hardware's: when its deadline was, nobody tells.
    assert vm("200").time.lateness is None
    # Without interrupts there was none to be late.
    assert sure(vm("300").time.lateness).quantiles is None


def test_stolen_time() -> None:
    stolen = sure(vm("100").time.stolen)
    assert (stolen.total.stolen_ns, stolen.total.updates.count) == (30_000_000, 30)
    assert stolen.share == pytest.approx(0.02)
    assert sure(vm("200").time.stolen).share is None


def test_stolen_time_is_a_share_of_the_vcpus_that_get_it() -> None:
    snapshot = after()
    other = replace(snapshot.vcpus[0], vcpu=1)
    more = replace(snapshot, vcpus=(snapshot.vcpus[0], other), vms=snapshot.vms[:1])
    (model,) = compare(tally(before()), tally(more), GUESTS).vms
    # All of the second one's is new.
    assert sure(model.time.stolen).share == pytest.approx((0.02 + 0.03) / 2)


def test_answers_add_up_and_a_refusal_wins() -> None:
    snapshot = after()
    told = ({"st": Answers(2, 0, 4096)}, {"st": Answers(3, 1, -1), "lpt": Answers(1, 1, -1)})
    vcpus = tuple(VcpuCounters(ASKER, n, n, {}, answers=a) for n, a in enumerate(told))
    model = compare(None, tally(replace(snapshot, vms=snapshot.vms[1:2], vcpus=vcpus)), GUESTS)
    assert model.vms[0].time.answers == {"st": Answers(5, 1, -1), "lpt": Answers(1, 1, -1)}


def test_lpt_words() -> None:
    assert [vm.lpt_state for vm in timed().vms] == ["published", "off", "wrong"]
    assert [vm.lpt_word for vm in timed().vms] == ["published", "refused", "wrong"]
    # A kernel without LPT refuses, too, and nothing else tells that the guest asked.
    snapshot = after()
    vms = tuple(replace(vm, lpt=None) for vm in snapshot.vms)
    model = compare(None, tally(replace(snapshot, vms=vms)), GUESTS)
    assert [vm.lpt_word for vm in model.vms] == [None, "refused", None]


def test_alarms() -> None:
    (alarm,) = alarms(timed().vms)
    assert alarm == f"LPT of 300: {vm('300').findings[0].text}"
    assert [finding.reason for finding in vm("300").findings] == ["native_to_pv"]


@pytest.mark.parametrize(
    ("probe", "attribute"),
    [
        ("kvm_timer_update_irq", "timers"),
        ("kvm_timer_update_irq", "lateness"),
        ("kvm_update_stolen_time_return", "stolen"),
        ("kvm_hvc_arm64", "answers"),
    ],
)
def test_what_cannot_be_seen_is_none(probe: str, attribute: str) -> None:
    for model in blind(probe).vms:
        assert getattr(model.time, attribute) is None
        assert all(getattr(vcpu.time, attribute) is None for vcpu in model.vcpus())


def test_without_traps_an_interrupt_has_no_cost() -> None:
    flow = timer(blind("kvm_handle_sys_reg").vms[0])
    assert (flow.per_second, flow.traps_per_interrupt) == (240, None)
    assert flow.service_ns_per_interrupt is None


def test_without_an_interval_there_are_totals_only() -> None:
    model = compare(None, tally(after()), GUESTS).vms[0]
    assert timer(model).total.delivered == 280 and timer(model).per_second is None
    assert sure(model.time.stolen).share is None
    assert sure(model.time.lateness).quantiles is None
    assert sure(model.time.lateness).all_quantiles is not None
    assert sure(model.timer_traps).quantiles is None


def test_things_not_visible_for_one_reason_are_one() -> None:
    found = not_visible(blind("kvm_timer_update_irq", "kvm_arch_vm_ioctl").snapshot)
    assert found == (
        ("timer interrupts, timer lateness", "no kvm_timer_update_irq here"),
        ("VM attributes", "no kvm_arch_vm_ioctl here"),
    )


def test_sorting() -> None:
    def by(key: str) -> str:
        return arrange(timed().vms, key)[0].guest.name

    keys = ("timer-trap-p99", "interrupts", "traps-per-interrupt")
    assert [by(key) for key in keys] == ["migrated"] * 3
    assert [vm.guest.name for vm in arrange(timed().vms, "lpt")] == ["wrong", "asker", "migrated"]


def test_events_of_vms_that_are_gone_are_kept() -> None:
    last = after()
    now = replace(last, vms=last.vms[1:], vcpus=last.vcpus[1:], events=EVENTS[2:3])
    kept = retain(last, now)
    assert kept.events == (EVENTS[0], EVENTS[1], EVENTS[2], EVENTS[3])
    assert retain(kept, now).events == kept.events
    assert {event.vm for event in kept.events} == {MIGRATED, ASKER}
