# SPDX-License-Identifier: GPL-2.0-only
"""plan.py: what stops, what is attached, and how a refusal is explained."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from lpttrace.errors import HostError, LpttraceError, PermissionError_
from lpttrace.host import NO, YES, Fact, HostFacts
from lpttrace.plan import PROBES, ProbeSpec, check_host, explain, make_plan

NAMES = ("architecture", "kvm", "privilege", "lockdown", "btf", "kallsyms", "kprobes")
GOOD = HostFacts(
    tuple(Fact(name, YES, "") for name in NAMES),
    {"kvm_vcpu.kvm": 0, "kvm_vcpu.vcpu_id": 36},
    {"kvm_running_vcpu": 0xFF00, "__per_cpu_offset": 0xEE00, "kvm_arch_vcpu_load": 0xDD00},
)


def spec(name: str) -> ProbeSpec:
    return next(probe for probe in PROBES if probe.name == name)


def without(name: str) -> HostFacts:
    broken = Fact(name, NO, f"{name} is bad", f"mend {name}")
    return replace(GOOD, facts=tuple(broken if f.name == name else f for f in GOOD.facts))


@pytest.mark.parametrize(
    ("name", "error", "status"),
    [
        ("architecture", HostError, 3),
        ("kvm", HostError, 3),
        ("btf", HostError, 3),
        ("privilege", PermissionError_, 4),
        ("lockdown", PermissionError_, 4),
    ],
)
def test_what_stops(name: str, error: type[LpttraceError], status: int) -> None:
    with pytest.raises(error, match=f"{name} is bad; mend {name}") as caught:
        check_host(without(name))
    assert caught.value.exit_status == status
    assert "\n" not in str(caught.value)


def test_a_good_host_passes() -> None:
    check_host(GOOD)


def test_defines() -> None:
    assert make_plan(GOOD, max_vcpus=7).defines == {
        "MAX_VCPUS": 7,
        "KVM_VCPU_KVM": 0,
        "KVM_VCPU_ID": 36,
        "KVM_RUNNING_VCPU": 0xFF00,
        "PER_CPU_OFFSET": 0xEE00,
    }


def test_hidden_symbols_leave_no_address() -> None:
    hidden = replace(GOOD, symbols={"kvm_running_vcpu": 0, "__per_cpu_offset": 0})
    assert "KVM_RUNNING_VCPU" not in make_plan(hidden, 7).defines


def test_another_lpt_symbol_moves_both_probes_and_no_other() -> None:
    plan = make_plan(GOOD, 7, lpt_symbol="my_update")
    moved = {p.name for p, q in zip(plan.probes, PROBES) if p != q}
    assert moved == {"kvm_update_lpt_time", "kvm_update_lpt_time_return"}
    assert {p.target for p in plan.probes if p.name in moved} == {"my_update"}


def test_nothing_is_named_before_traps_can_begin_and_end() -> None:
    order = [probe.name for probe in PROBES]
    assert order.index("kvm_entry") < order.index("kvm_exit") < order.index("kvm_hvc_arm64")
    assert order.index("kvm_update_lpt_time_return") < order.index("kvm_update_lpt_time")


@pytest.mark.parametrize(
    ("name", "facts", "code", "reason"),
    [
        ("kvm_hvc_arm64", GOOD, errno.ENOENT, "no tracepoint kvm_hvc_arm64"),
        ("kvm_update_lpt_time", GOOD, errno.ENOENT, "lacks the LPT patches"),
        ("kvm_write_guest", GOOD, errno.ENOENT, "no function kvm_write_guest"),
        ("kvm_arch_vcpu_load", GOOD, errno.EINVAL, "refused kprobe kvm_arch_vcpu_load: Invalid"),
        ("kvm_arch_vcpu_load", without("kprobes"), errno.ENOENT, "kprobes is bad"),
        ("kvm_exit", GOOD, 0, "refused program on_kvm_exit: invalid insn"),
    ],
)
def test_explain(name: str, facts: HostFacts, code: int, reason: str) -> None:
    assert reason in explain(spec(name), code, "invalid insn", facts)
