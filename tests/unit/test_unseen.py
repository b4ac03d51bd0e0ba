# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's BTF does not tell is absent everywhere, never zero: from the plan to the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from lpttrace.attach import Attached, Outcome
from lpttrace.catalog import METRICS
from lpttrace.exporter import SnapshotCollector
from lpttrace.frame_json import document
from lpttrace.live import explain_outcomes
from lpttrace.model import Guest, compare, not_visible, tally
from lpttrace.plan import PROBES, Plan, make_plan
from lpttrace.snapshot import Probe, Snapshot, VmKey

from .conftest import WEB
from .test_plan import EVERYTHING, GOOD, plan_without

_STOLEN = ("stolen_time_updates_total", "stolen_time_update_seconds_total", "stolen_seconds_total")
_STEAL_LOSSES = ("untimed_stolen_time_updates_total", "lost_timer_interrupts_total")
_TIMERS = (
    *("timer_interrupts_total", "timer_interrupts_overdue_total", "timer_interrupts_timed_total"),
    *("timer_interrupt_lateness_seconds_total", "timer_lateness_seconds"),
)
# By member: metrics that go, and things that cannot be seen.
CASES: dict[str, tuple[tuple[str, ...], str]] = {
    "kvm_vcpu.arch.steal.last_steal": ((*_STOLEN, _STEAL_LOSSES[0]), "stolen time"),
    "kvm_vcpu.arch.ctxt": (("pv_time_questions_total",), "pvtime answers"),
    "hrtimer._softexpires": ((*_TIMERS, _STEAL_LOSSES[1]), "timer interrupts, timer lateness"),
    "file.private_data": (("vm_attribute_calls_total",), "VM attributes"),
}


class Everything(Attached):
    """A kernel in which all that was planned could be attached."""

    def __init__(self, plan: Plan) -> None:
        self.maps, self.links, self.programs = {}, {}, {}
        self.outcomes = tuple(Outcome(probe, True, 0, "") for probe in plan.probes)
        self.bcc = ""

    def close(self) -> None:
        """Nothing was attached."""


def probes_without(*members: str) -> tuple[Probe, ...]:
    plan = plan_without(*members)
    return explain_outcomes(Everything(plan), plan, GOOD)


def exposed(snapshot: Snapshot, guests: Mapping[VmKey, Guest]) -> set[str]:
    """Names of metrics."""
    text = b"".join(SnapshotCollector(lambda: snapshot, lambda _: guests).write(False)).decode()
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    return {name.replace("lpttrace_", "", 1) for name in types}


def test_a_kernel_that_tells_everything_shows_everything(
    complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    seeing = replace(complete, probes=probes_without())
    assert [probe.name for probe in seeing.probes] == [probe.name for probe in PROBES]
    assert all(probe.attached for probe in seeing.probes)
    assert exposed(seeing, guests) == {m.name.replace("lpttrace_", "", 1) for m in METRICS}


@pytest.mark.parametrize("member", CASES)
def test_a_member_that_is_not_told_takes_its_metrics_with_it(
    complete: Snapshot, guests: Mapping[VmKey, Guest], member: str
) -> None:
    gone, things = CASES[member]
    seeing, blind = (replace(complete, probes=probes_without(*m)) for m in ((), (member,)))
    assert exposed(seeing, guests) - exposed(blind, guests) == set(gone)
    ((not_seen, reason),) = not_visible(blind)
    assert not_seen == things and reason.endswith(f": no {member}")


def test_nothing_of_it_is_on_the_screen_or_in_json(
    complete: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    now = datetime(2026, 11, 22, tzinfo=timezone.utc)
    blind = replace(complete, probes=probes_without(*CASES))
    model = compare(None, tally(blind), guests)
    (vm,) = (vm for vm in model.vms if vm.counters.key == WEB)
    time = vm.time
    assert (time.answers, time.stolen, time.lateness, time.timers) == (None,) * 4
    (told,) = document(model, (vm,), now)["vms"]
    assert told["pv_time"] is None
    for vcpu in told["vcpus"]:
        assert (vcpu["timer_interrupts"], vcpu["lateness"], vcpu["stolen"]) == (None,) * 3


def test_what_an_agent_before_left_out_is_said() -> None:
    plan = make_plan(replace(GOOD, offsets={**GOOD.offsets, **EVERYTHING}), 7)
    attached = Everything(plan_without("file.private_data"))
    lacking = [probe for probe in explain_outcomes(attached, plan, GOOD) if not probe.attached]
    assert [probe.name for probe in lacking] == ["kvm_arch_vm_ioctl_return", "kvm_arch_vm_ioctl"]
    assert {probe.reason for probe in lacking} == {"it was left out when the others were attached"}
