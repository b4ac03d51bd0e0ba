# SPDX-License-Identifier: GPL-2.0-only
"""plan.py: what stops, what is attached, and how a refusal is explained."""

from __future__ import annotations

import errno
import re
from dataclasses import replace
from pathlib import Path

import pytest

from lpttrace.errors import HostError, LpttraceError, PermissionError_
from lpttrace.host import NO, YES, Fact, HostFacts
from lpttrace.plan import PROBES, Plan, ProbeSpec, check_host, explain, make_plan

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


# The facts behind each group of macros of bpf/compat.h, and what they become.
GROUPS: dict[str, dict[str, int]] = {
    "guest registers": {"kvm_vcpu.arch.ctxt": 256},
    "hardware timers": {
        "kvm_vcpu.arch.ctxt.sys_regs": 1088,
        "CNTP_CTL_EL0": 177,
        "CNTV_CTL_EL0": 175,
    },
    "emulated timers": {
        "kvm_vcpu.arch.timer_cpu.timers": 4896,
        "arch_timer_context": 104,
        "arch_timer_context.hrtimer": 8,
        "hrtimer._softexpires": 32,
    },
    "timer to vcpu": {"arch_timer_context.vcpu": 0},
    "timer to its number": {"arch_timer_context.timer_id": 108},
    "timer offsets": {"arch_timer_context.offset": 64},
    "stolen time": {"kvm_vcpu.arch.steal.last_steal": 6040},
    "file to vm": {"file.private_data": 200},
}
MACROS: dict[str, dict[str, int]] = {
    "guest registers": {"KVM_VCPU_X0": 256},
    "hardware timers": {"KVM_VCPU_SYS_REGS": 1088, "CNTP_CTL": 177, "CNTV_CTL": 175},
    "emulated timers": {
        "KVM_VCPU_TIMERS": 4896,
        "TIMER_SIZE": 104,
        "TIMER_HRTIMER": 8,
        "HRTIMER_EXPIRES": 32,
    },
    "timer to vcpu": {"TIMER_VCPU": 0},
    "timer to its number": {"TIMER_ID": 108},
    "timer offsets": {"TIMER_OFFSET": 64},
    "stolen time": {"KVM_VCPU_LAST_STEAL": 6040},
    "file to vm": {"FILE_PRIVATE_DATA": 200},
}


def defines_with(numbers: dict[str, int]) -> dict[str, int]:
    """What further numbers add to the macros of GOOD."""
    extended = replace(GOOD, offsets={**GOOD.offsets, **numbers})
    plain = make_plan(GOOD, 7).defines
    return {k: v for k, v in make_plan(extended, 7).defines.items() if k not in plain}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_of_macros_comes_together(group: str) -> None:
    assert defines_with(GROUPS[group]) == MACROS[group]


@pytest.mark.parametrize(
    ("group", "missing"), [(g, n) for g, names in GROUPS.items() for n in names]
)
def test_a_group_of_macros_comes_not_in_part(group: str, missing: str) -> None:
    everything = {name: number for name, number in EVERYTHING.items() if name != missing}
    others = {macro: n for g, macros in MACROS.items() if g != group for macro, n in macros.items()}
    assert defines_with(everything) == others


def test_every_optional_macro_of_the_programs_is_planned() -> None:
    text = (Path(__file__).resolve().parents[2] / "bpf" / "compat.h").read_text()
    asked = set(re.findall(r"^#(?:ifdef |(?:el)?if defined\()(\w+)", text, re.M))
    planned = {macro for macros in MACROS.values() for macro in macros} | {"KVM_RUNNING_VCPU"}
    assert asked and asked <= planned


def test_hidden_symbols_leave_no_address() -> None:
    hidden = replace(GOOD, symbols={"kvm_running_vcpu": 0, "__per_cpu_offset": 0})
    assert "KVM_RUNNING_VCPU" not in make_plan(hidden, 7).defines


def test_another_lpt_symbol_moves_both_probes_and_no_other() -> None:
    plan = make_plan(GOOD, 7, lpt_symbol="my_update")
    moved = {p.name for p, q in zip(plan.specs, PROBES) if p != q}
    assert moved == {"kvm_update_lpt_time", "kvm_update_lpt_time_return"}
    assert {p.target for p in plan.probes if p.name in moved} == {"my_update"}


EVERYTHING = {name: number for names in GROUPS.values() for name, number in names.items()}
INTERRUPTS = {"kvm_timer_update_irq", "kvm_timer_hrtimer_expire"}
STEALS = {"kvm_update_stolen_time", "kvm_update_stolen_time_return"}
CALLS = {"kvm_arch_vm_ioctl", "kvm_arch_vm_ioctl_return"}


def plan_without(*members: str) -> Plan:
    known = {name: number for name, number in EVERYTHING.items() if name not in members}
    return make_plan(replace(GOOD, offsets={**GOOD.offsets, **known}), 7)


@pytest.mark.parametrize(
    ("member", "lost"),
    [
        ("kvm_vcpu.arch.ctxt", {"guest_registers"}),
        ("kvm_vcpu.arch.timer_cpu.timers", INTERRUPTS),
        ("arch_timer_context", INTERRUPTS),
        ("arch_timer_context.hrtimer", INTERRUPTS),
        ("hrtimer._softexpires", INTERRUPTS),
        ("kvm_vcpu.arch.steal.last_steal", STEALS),
        ("file.private_data", CALLS),
    ],
)
def test_what_would_count_wrong_without_a_member_is_left_out(member: str, lost: set[str]) -> None:
    plan = plan_without(member)
    assert plan.left_out.keys() == lost
    for reason in plan.left_out.values():
        assert reason.startswith("the kernel's BTF does not tell w")
        assert reason.endswith(f": no {member}")
    attached = {probe.name for probe in plan.probes}
    assert attached == {probe.name for probe in PROBES} - lost - {"guest_registers"}


def test_a_kernel_that_has_all_members_leaves_nothing_out() -> None:
    assert plan_without().left_out == {}


def test_one_of_two_members_is_enough() -> None:
    by_vcpu, by_number = "arch_timer_context.vcpu", "arch_timer_context.timer_id"
    assert plan_without(by_vcpu).left_out == plan_without(by_number).left_out == {}
    ((name, reason),) = plan_without(by_vcpu, by_number).left_out.items()
    assert name == "kvm_timer_hrtimer_expire"
    assert reason == (
        f"the kernel's BTF does not tell which vCPU a timer is of: no {by_vcpu} and no {by_number}"
    )


def test_what_is_read_and_not_attached_is_not_for_the_loader() -> None:
    assert all(probe.program and probe.kind != "memory" for probe in plan_without().probes)


def test_no_trap_begins_before_it_can_end() -> None:
    order = [probe.name for probe in PROBES]
    how = ("kvm_entry", "kvm_userspace_exit", "kvm_arch_vcpu_load", "kvm_vcpu_wakeup")
    ends = max(order.index(name) for name in how)
    assert ends < order.index("kvm_hvc_arm64") and ends < order.index("kvm_handle_sys_reg")
    assert order.index("kvm_write_guest") < order.index("kvm_update_lpt_time")


@pytest.mark.parametrize(
    "probe", [p for p in PROBES if p.kind == "kretprobe"], ids=lambda p: p.name
)
def test_what_returns_is_attached_before_what_calls(probe: ProbeSpec) -> None:
    order = [(p.kind, p.target) for p in PROBES]
    assert order.index(("kretprobe", probe.target)) < order.index(("kprobe", probe.target))
    assert probe.name == f"{probe.target}_return"


def test_names_and_programs_are_there_once() -> None:
    assert len({probe.name for probe in PROBES}) == len(PROBES)
    assert len({probe.program for probe in PROBES}) == len(PROBES)


@pytest.mark.parametrize(
    ("name", "facts", "code", "reason"),
    [
        ("kvm_hvc_arm64", GOOD, errno.ENOENT, "no tracepoint kvm_hvc_arm64"),
        ("kvm_update_lpt_time", GOOD, errno.ENOENT, "lacks the LPT patches"),
        ("kvm_write_guest", GOOD, errno.ENOENT, "no function kvm_write_guest"),
        ("kvm_timer_update_irq", GOOD, errno.ENOENT, "no tracepoint kvm_timer_update_irq"),
        ("kvm_arch_vm_ioctl_return", GOOD, errno.ENOENT, "no function kvm_arch_vm_ioctl"),
        ("kvm_arch_vcpu_load", GOOD, errno.EINVAL, "refused kprobe kvm_arch_vcpu_load: Invalid"),
        ("kvm_arch_vcpu_load", without("kprobes"), errno.ENOENT, "kprobes is bad"),
        ("kvm_entry", GOOD, 0, "refused program on_kvm_entry: invalid insn"),
    ],
)
def test_explain(name: str, facts: HostFacts, code: int, reason: str) -> None:
    assert reason in explain(spec(name), code, "invalid insn", facts)
