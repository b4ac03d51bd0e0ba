# SPDX-License-Identifier: GPL-2.0-only
"""Rates and means from pairs of snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Optional

import pytest

from lpttrace.abi import CLASSES, TrapClass
from lpttrace.model import Flow, Guest, Model, VmModel, compare, not_visible, tally
from lpttrace.model_lpt import lpt_state, scale_errors, scales
from lpttrace.model_order import arrange
from lpttrace.model_sampler import Sampler, retain
from lpttrace.snapshot import (
    Account,
    LptStructure,
    LptUpdates,
    Probe,
    Snapshot,
    Trap,
    VcpuCounters,
    VmKey,
)
from tests.unit import timed

PSCI = TrapClass("hypercall", "psci_version", "")


def vm_of(model: Model, label: str) -> VmModel:
    return next(vm for vm in model.vms if vm.guest.vm == label)


def seen(flow: Optional[Flow]) -> Flow:
    assert flow is not None
    return flow


def with_traps(snapshot: Snapshot, *traps: Trap) -> Snapshot:
    """The first VM only, with one class on as many vCPUs."""
    key = snapshot.vms[0].key
    vcpus = tuple(VcpuCounters(key, n, 7 + n, {PSCI: trap}) for n, trap in enumerate(traps))
    return replace(snapshot, vms=snapshot.vms[:1], vcpus=vcpus)


def change(
    before: Snapshot, after: Snapshot, guests: Mapping[VmKey, Guest], old: Trap, new: Trap
) -> Flow:
    pair = tally(with_traps(before, old)), tally(with_traps(after, new))
    return seen(compare(*pair, guests).vms[0].hypercalls)


def test_rates_and_means(model: Model) -> None:
    web = vm_of(model, "1234")
    assert model.seconds == 1.0
    # vCPU 0: 12 served, 1 scheduled out, 1 pending, 2 to the VMM, 7 unknown; vCPU 1 is new with 5.
    assert seen(web.hypercalls).per_second == 12 + 1 + 1 + 2 + 7 + 5
    assert seen(web.hypercalls).mean_ns == (18_000 + 9_100 + 5_500) / (12 + 7 + 5)
    assert seen(web.timer_traps).per_second == 0
    assert seen(web.timer_traps).mean_ns is None


def test_totals_count_every_trap(model: Model) -> None:
    web = vm_of(model, "1234")
    assert seen(web.hypercalls).total.count == 112 + 1 + 1 + 2 + 7 + 5
    assert seen(web.hypercalls).total.pending == 1


def test_a_trap_that_ends_is_not_counted_twice(model: Model) -> None:
    twin = vm_of(model, "1234-2").vcpus()[0]
    read = next(item for item in twin.classes() if item.trap.direction == "read")
    assert read.flow.per_second == 101 - 51


def test_classes_come_in_the_order_of_the_abi(model: Model) -> None:
    classes = [item.trap for item in vm_of(model, "1234").vcpus()[0].classes()]
    assert classes == sorted(classes, key=CLASSES.index)
    assert len(classes) == 3


def test_first_frame_has_no_rates(after: Snapshot, guests: Mapping[VmKey, Guest]) -> None:
    model = compare(None, tally(after), guests)
    web = vm_of(model, "1234")
    assert model.seconds is None
    assert seen(web.hypercalls).per_second is None
    assert seen(web.hypercalls).total.count == 128


def test_a_reset_counts_from_zero(
    before: Snapshot, after: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    old, new = Trap(Account(1000, 9_000_000)), Trap(Account(3, 3_000))
    flow = change(before, after, guests, old, new)
    assert (flow.per_second, flow.mean_ns) == (3, 1000)


def test_a_pending_trap_read_too_early_is_no_reset(
    before: Snapshot, after: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    old, new = Trap(Account(10, 100), pending=1), Trap(Account(10, 100))
    assert change(before, after, guests, old, new).per_second == 0


def test_same_moment_twice_gives_no_rate(after: Snapshot, guests: Mapping[VmKey, Guest]) -> None:
    model = compare(tally(after), tally(after), guests)
    assert seen(model.vms[0].hypercalls).per_second is None


def test_no_traps_without_their_end(after: Snapshot, guests: Mapping[VmKey, Guest]) -> None:
    probes = tuple(replace(p, attached=p.name != "kvm_entry") for p in after.probes)
    model = compare(None, tally(replace(after, probes=probes)), guests)
    for vm in model.vms:
        assert vm.hypercalls is None and vm.timer_traps is None
        for vcpu in vm.vcpus():
            assert vcpu.hypercalls is None and vcpu.timer_traps is None


def test_what_is_not_visible_has_its_reason() -> None:
    seeing = timed.after()
    assert not_visible(seeing) == ()
    probes = (
        *(p for p in seeing.probes if p.name not in ("kvm_hvc_arm64", "kvm_update_lpt_time")),
        Probe("kvm_update_lpt_time", False, "this kernel has no function frob"),
    )
    assert not_visible(replace(seeing, probes=probes)) == (
        ("hypercalls, pvtime answers", "kvm_hvc_arm64 was not tried"),
        ("LPT", "this kernel has no function frob"),
    )


def test_lpt_states(model: Model) -> None:
    states = [lpt_state(vm.counters.lpt) for vm in model.vms]
    assert states == ["published", "failed", "off", "unknown"]
    assert lpt_state(None) is None


def test_scales_are_exact(model: Model) -> None:
    exact = LptStructure(0, 0, 2, 25_000_000, 100_000_000, 1 << 63, 1 << 61, 61, 63)
    assert scales(exact) == {"native_to_pv": 4, "pv_to_native": Fraction(1, 4)}
    assert set(scale_errors(exact).values()) == {0}
    wrong = replace(exact, scale_mult=(1 << 63) + (1 << 53))
    assert scale_errors(wrong)["native_to_pv"] == Fraction(1, 1 << 10)
    assert scale_errors(replace(exact, native_freq=0)) == {}


def labels(vms: list[VmModel]) -> list[str]:
    return [vm.guest.vm for vm in vms]


def test_sorting(model: Model) -> None:
    assert labels(arrange(model.vms)) == ["1234", "1234-2", "2000", "3000"]
    assert labels(arrange(model.vms, reverse=True)) == ["3000", "2000", "1234", "1234-2"]
    assert labels(arrange(model.vms, "hypercalls")) == ["2000", "1234", "1234-2", "3000"]
    assert labels(arrange(model.vms, "lpt")) == ["1234-2", "1234", "2000", "3000"]
    # Without a mean is last either way.
    assert labels(arrange(model.vms, "timer-trap-mean"))[0] == "1234-2"
    assert labels(arrange(model.vms, "timer-trap-mean", reverse=True))[0] == "1234-2"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", ["1234", "1234-2", "2000", "3000"]),
        ("CROSVM", ["3000"]),
        ("1234", ["1234", "1234-2"]),
        ("[1234]", ["1234-2"]),
        ("123?", ["1234"]),
        ("web*", ["1234"]),
        ("*osv*", ["3000"]),
        ("nosuch", []),
    ],
)
def test_patterns(model: Model, pattern: str, found: list[str]) -> None:
    assert labels(arrange(model.vms, pattern=pattern)) == found


def test_retain_keeps_vms_that_are_gone(after: Snapshot) -> None:
    later = replace(after, vms=after.vms[:1], vcpus=after.vcpus[:2])
    kept = retain(after, later)
    assert [vm.alive for vm in kept.vms] == [True, False, False, False]
    assert len(kept.vcpus) == len(after.vcpus)
    assert retain(later, after) == after


def test_sampler_keeps_what_it_peeked_at(
    before: Snapshot, after: Snapshot, guests: Mapping[VmKey, Guest]
) -> None:
    end = replace(before, end_ns=before.end_ns + 5_000_000_000)
    readings = iter((before, after, end))
    sampler = Sampler(lambda: next(readings), lambda _: guests, keep=True)
    sampler.next()
    sampler.peek()
    model = sampler.next()
    assert model.seconds == 5.0
    assert {vm.guest.vm: vm.counters.alive for vm in model.vms} == {
        "1234": True,
        "1234-2": True,
        "2000": False,
        "3000": False,
    }


def test_lpt_updates_default_to_nothing_seen() -> None:
    assert lpt_state(LptUpdates()) == "unknown"
