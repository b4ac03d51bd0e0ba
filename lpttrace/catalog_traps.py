# SPDX-License-Identifier: GPL-2.0-only
"""Metrics of traps: hypercalls and accesses to timer registers."""

from __future__ import annotations

from lpttrace.catalog_metric import (
    HYPERCALL_PROBES,
    TIMER_TRAP_PROBES,
    Metric,
)

__all__ = [
    "HYPERCALLS",
    "HYPERCALLS_APART",
    "HYPERCALLS_SERVED",
    "HYPERCALL_APART_SECONDS",
    "HYPERCALL_SERVICE",
    "HYPERCALL_SERVICE_DURATION",
    "TIMER_TRAPS",
    "TIMER_TRAPS_APART",
    "TIMER_TRAPS_SERVED",
    "TIMER_TRAP_APART_SECONDS",
    "TIMER_TRAP_SERVICE",
    "TIMER_TRAP_SERVICE_DURATION",
    "UNPAIRED_TRAPS",
]

_HYPERCALL = ("vm", "vcpu", "function")
_TIMER = ("vm", "vcpu", "register", "direction")

HYPERCALLS = Metric(
    "lpttrace_hypercalls_total",
    "counter",
    _HYPERCALL,
    "Hypercalls of guests by SMCCC function, the one being served included "
    "(tracepoint kvm_hvc_arm64).",
    probes=HYPERCALL_PROBES,
    column="HVC/s",
)
HYPERCALL_SERVICE = Metric(
    "lpttrace_hypercall_service_seconds_total",
    "counter",
    _HYPERCALL,
    "Time from tracepoint kvm_hvc_arm64 to kvm_entry of hypercalls served in the kernel without "
    "losing the CPU; no world switch is in it.",
    "seconds",
    HYPERCALL_PROBES,
    "HVC MEAN",
)
HYPERCALLS_SERVED = Metric(
    "lpttrace_hypercalls_served_total",
    "counter",
    _HYPERCALL,
    "Those of lpttrace_hypercalls_total whose time is in lpttrace_hypercall_service_seconds_total: "
    "divide the two for the mean.",
    probes=HYPERCALL_PROBES,
)
HYPERCALL_SERVICE_DURATION = Metric(
    "lpttrace_hypercall_service_duration_seconds",
    "histogram",
    ("vm", "function"),
    "How the times in lpttrace_hypercall_service_seconds_total are distributed, over all "
    "vCPUs of the VM; a time equal to a bound is under it.",
    "seconds",
    HYPERCALL_PROBES,
)
HYPERCALLS_APART = Metric(
    "lpttrace_hypercalls_apart_total",
    "counter",
    (*_HYPERCALL, "reason"),
    "Those of lpttrace_hypercalls_total whose time is no cost of serving: before the kvm_entry "
    "after it the thread lost the CPU (scheduled_out) or the VMM was asked (userspace).",
    probes=HYPERCALL_PROBES,
)
HYPERCALL_APART_SECONDS = Metric(
    "lpttrace_hypercall_apart_seconds_total",
    "counter",
    (*_HYPERCALL, "reason"),
    "Time from kvm_hvc_arm64 to kvm_entry of the hypercalls in lpttrace_hypercalls_apart_total.",
    "seconds",
    HYPERCALL_PROBES,
)
TIMER_TRAPS = Metric(
    "lpttrace_timer_traps_total",
    "counter",
    _TIMER,
    "Accesses of guests to timer registers that trapped to the host, the one being served included "
    "(tracepoint kvm_handle_sys_reg); accesses that do not trap, or that the hypervisor serves "
    "itself, cannot be seen.",
    probes=TIMER_TRAP_PROBES,
    column="TIMER/s",
)
TIMER_TRAP_SERVICE = Metric(
    "lpttrace_timer_trap_service_seconds_total",
    "counter",
    _TIMER,
    "Time from tracepoint kvm_handle_sys_reg to kvm_entry of timer traps served in the kernel "
    "without losing the CPU; no world switch is in it.",
    "seconds",
    TIMER_TRAP_PROBES,
    "TMR MEAN",
)
TIMER_TRAPS_SERVED = Metric(
    "lpttrace_timer_traps_served_total",
    "counter",
    _TIMER,
    "Those of lpttrace_timer_traps_total whose time is in "
    "lpttrace_timer_trap_service_seconds_total: divide the two for the mean.",
    probes=TIMER_TRAP_PROBES,
)
TIMER_TRAP_SERVICE_DURATION = Metric(
    "lpttrace_timer_trap_service_duration_seconds",
    "histogram",
    ("vm", "register", "direction"),
    "How the times in lpttrace_timer_trap_service_seconds_total are distributed, over all "
    "vCPUs of the VM; a time equal to a bound is under it.",
    "seconds",
    TIMER_TRAP_PROBES,
)
TIMER_TRAPS_APART = Metric(
    "lpttrace_timer_traps_apart_total",
    "counter",
    (*_TIMER, "reason"),
    "Those of lpttrace_timer_traps_total whose time is no cost of serving: before the kvm_entry "
    "after it the thread lost the CPU (scheduled_out) or the VMM was asked (userspace).",
    probes=TIMER_TRAP_PROBES,
)
TIMER_TRAP_APART_SECONDS = Metric(
    "lpttrace_timer_trap_apart_seconds_total",
    "counter",
    (*_TIMER, "reason"),
    "Time from kvm_handle_sys_reg to kvm_entry of the timer traps in "
    "lpttrace_timer_traps_apart_total.",
    "seconds",
    TIMER_TRAP_PROBES,
)
UNPAIRED_TRAPS = Metric(
    "lpttrace_unpaired_traps_total",
    "counter",
    ("vm", "vcpu"),
    "Traps whose kvm_entry was not seen; they count as apart (scheduled_out), without time.",
)
