# SPDX-License-Identifier: GPL-2.0-only
"""From facts and options to what is attached, and from the outcome to its explanation. Pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lpttrace.errors import HostError, LpttraceError, PermissionError_
from lpttrace.host import NO, HostFacts
from lpttrace.plan_numbers import defines_of, lacking

__all__ = [
    "LPT_SYMBOL",
    "PROBES",
    "RUNNING_VCPU_SYMBOLS",
    "Plan",
    "ProbeSpec",
    "can_fire",
    "check_host",
    "explain",
    "make_plan",
    "symbols_wanted",
]

LPT_SYMBOL = "kvm_update_lpt_time"
_LPT_PROGRAMS = ("on_lpt_update", "on_lpt_update_return")
_KPROBES = ("kprobe", "kretprobe")
RUNNING_VCPU_SYMBOLS = ("kvm_running_vcpu", "__per_cpu_offset")


@dataclass(frozen=True)
class ProbeSpec:
    """One attachment: kind "raw_tracepoint", "kprobe" or "kretprobe" at target runs program.

    Or, of kind "memory", no attachment, but what the programs of others read at target, a member of
    a structure. name is the probe's in metrics. Without an essential probe nothing can be measured;
    without another one, what `without` says.
    """

    name: str
    kind: str
    target: str
    program: str
    without: str
    essential: bool = False


# In the order of attaching: what ends a trap, and what tells how, before what begins it, so that a
# trap in service meanwhile is seen whole or not at all.
PROBES = (
    ProbeSpec(
        "kvm_entry", "raw_tracepoint", "kvm_entry", "on_kvm_entry", "no trap ends", essential=True
    ),
    ProbeSpec(
        "kvm_userspace_exit",
        "raw_tracepoint",
        "kvm_userspace_exit",
        "on_kvm_userspace_exit",
        "time spent in the VMM counts as service time",
    ),
    ProbeSpec(
        "kvm_arch_vcpu_load",
        "kprobe",
        "kvm_arch_vcpu_load",
        "on_vcpu_load",
        "time off the CPU counts as service time, and a thread is taken for the vCPU it ran first",
    ),
    ProbeSpec(
        "kvm_arch_destroy_vm",
        "kprobe",
        "kvm_arch_destroy_vm",
        "on_destroy_vm",
        "a VM is taken to live as long as its process",
    ),
    ProbeSpec(
        "kvm_vcpu_wakeup",
        "raw_tracepoint",
        "kvm_vcpu_wakeup",
        "on_vcpu_wakeup",
        "a wait that KVM polls through counts as service time",
    ),
    ProbeSpec(
        "kvm_timer_hrtimer_expire",
        "raw_tracepoint",
        "kvm_timer_hrtimer_expire",
        "on_timer_expire",
        "timer interrupts that another CPU raises (nohz_full) are not shown",
    ),
    ProbeSpec(
        "kvm_timer_update_irq",
        "raw_tracepoint",
        "kvm_timer_update_irq",
        "on_timer_update_irq",
        "timer interrupts are not shown",
    ),
    ProbeSpec(
        "kvm_update_stolen_time_return",
        "kretprobe",
        "kvm_update_stolen_time",
        "on_stolen_time_return",
        "stolen time is not shown",
    ),
    ProbeSpec(
        "kvm_update_stolen_time",
        "kprobe",
        "kvm_update_stolen_time",
        "on_stolen_time",
        "stolen time is not shown",
    ),
    ProbeSpec(
        "kvm_arch_vm_ioctl_return",
        "kretprobe",
        "kvm_arch_vm_ioctl",
        "on_vm_ioctl_return",
        "calls about VM attributes are not shown",
    ),
    ProbeSpec(
        "kvm_arch_vm_ioctl",
        "kprobe",
        "kvm_arch_vm_ioctl",
        "on_vm_ioctl",
        "calls about VM attributes are not shown",
    ),
    ProbeSpec(
        "kvm_write_guest",
        "kprobe",
        "kvm_write_guest",
        "on_write_guest",
        "LPT updates are not shown",
    ),
    ProbeSpec(
        "kvm_read_guest_return",
        "kretprobe",
        "kvm_read_guest",
        "on_read_guest_return",
        "what the host before had published to a guest is not shown",
    ),
    ProbeSpec(
        "kvm_read_guest",
        "kprobe",
        "kvm_read_guest",
        "on_read_guest",
        "what the host before had published to a guest is not shown",
    ),
    ProbeSpec(
        "kvm_update_lpt_time_return",
        "kretprobe",
        LPT_SYMBOL,
        "on_lpt_update_return",
        "LPT updates are not shown",
    ),
    ProbeSpec(
        "kvm_update_lpt_time",
        "kprobe",
        LPT_SYMBOL,
        "on_lpt_update",
        "LPT updates are not shown",
    ),
    ProbeSpec(
        "kvm_hvc_arm64",
        "raw_tracepoint",
        "kvm_hvc_arm64",
        "on_kvm_hvc",
        "hypercalls are not shown",
    ),
    ProbeSpec(
        "kvm_handle_sys_reg",
        "raw_tracepoint",
        "kvm_handle_sys_reg",
        "on_kvm_handle_sys_reg",
        "timer traps are not shown",
    ),
    ProbeSpec(
        "guest_registers",
        "memory",
        "kvm_vcpu.arch.ctxt",
        "",
        "what guests are answered about pvtime is not shown",
    ),
)


@dataclass(frozen=True)
class Plan:
    """What the loader is told: macros of the programs, and the probes in order.

    specs are all there could be; left_out has the reason why one of them is not among the probes.
    """

    defines: Mapping[str, int]
    specs: tuple[ProbeSpec, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def probes(self) -> tuple[ProbeSpec, ...]:
        """Those to attach."""
        wanted = (spec for spec in self.specs if spec.name not in self.left_out)
        return tuple(spec for spec in wanted if spec.kind != "memory")


def symbols_wanted(lpt_symbol: str) -> tuple[str, ...]:
    """Names to look up in kallsyms: those the programs need, and those that explain a failure."""
    functions = tuple(probe.target for probe in PROBES if probe.kind in _KPROBES)
    return (*RUNNING_VCPU_SYMBOLS, *functions, lpt_symbol)


def check_host(facts: HostFacts) -> None:
    """Raise what makes attaching pointless: HostError, or PermissionError_."""
    raises: tuple[tuple[str, type[LpttraceError]], ...] = (
        ("architecture", HostError),
        ("kvm", HostError),
        ("privilege", PermissionError_),
        ("lockdown", PermissionError_),
        ("btf", HostError),
    )
    for name, error in raises:
        fact = facts[name]
        if fact.state == NO:
            raise error(f"cannot trace KVM on this host: {fact.detail}; {fact.advice}")


def make_plan(facts: HostFacts, max_vcpus: int, lpt_symbol: str = LPT_SYMBOL) -> Plan:
    """What to attach on a host that passed check_host; max_vcpus sizes the maps."""
    defines = {"MAX_VCPUS": max_vcpus, **defines_of(facts.offsets)}
    running, per_cpu = (facts.symbols.get(name, 0) for name in RUNNING_VCPU_SYMBOLS)
    if running and per_cpu:
        defines.update(KVM_RUNNING_VCPU=running, PER_CPU_OFFSET=per_cpu)
    reasons = {probe.name: lacking(probe.name, facts.offsets) for probe in PROBES}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    return Plan(defines, tuple(_retarget(probe, lpt_symbol) for probe in PROBES), left_out)


def _retarget(probe: ProbeSpec, lpt_symbol: str) -> ProbeSpec:
    if probe.target != LPT_SYMBOL:
        return probe
    return replace(probe, target=lpt_symbol)


def can_fire(probe: ProbeSpec, facts: HostFacts) -> bool:
    """False if the probe, attached or not, sees nothing: kprobes can be switched off as a whole."""
    return probe.kind not in _KPROBES or facts["kprobes"].state != NO


def explain(probe: ProbeSpec, code: int, detail: str, facts: HostFacts) -> str:
    """Why a probe is not attached: code is an errno, 0 if the program itself was refused."""
    if code == errno.ENOENT and probe.kind == "raw_tracepoint":
        return f"this kernel has no tracepoint {probe.target}"
    if not can_fire(probe, facts):
        return f"{facts['kprobes'].detail} ({facts['kprobes'].advice}), so none at {probe.target}"
    known = probe.target in facts.symbols
    if probe.kind in _KPROBES and not known and facts["kallsyms"].state != "unknown":
        lpt = probe.program in _LPT_PROGRAMS
        hint = ": it lacks the LPT patches, or they renamed it (--lpt-symbol)" if lpt else ""
        return f"this kernel has no function {probe.target}{hint}"
    if code:
        return f"the kernel refused {probe.kind} {probe.target}: {os.strerror(code)}"
    return f"the kernel refused program {probe.program}: {detail}"
