# SPDX-License-Identifier: GPL-2.0-only
"""Metrics of timer interrupts and pvtime, without LPT."""

from __future__ import annotations

from lpttrace.catalog_metric import (
    ANSWER_PROBES,
    CALL_PROBES,
    INTERRUPT_PROBES,
    LATENESS_PROBES,
    STOLEN_PROBES,
    TIMER_TRAP_PROBES,
    Metric,
)

__all__ = [
    "PV_TIME_QUESTIONS",
    "STOLEN_SECONDS",
    "STOLEN_TIME_UPDATES",
    "STOLEN_TIME_UPDATE_SECONDS",
    "TIMER_INTERRUPTS",
    "TIMER_INTERRUPTS_OVERDUE",
    "TIMER_INTERRUPTS_TIMED",
    "TIMER_INTERRUPT_LATENESS",
    "TIMER_LATENESS",
    "VM_ATTRIBUTE_CALLS",
]

TIMER_INTERRUPTS = Metric(
    "lpttrace_timer_interrupts_total",
    "counter",
    ("vm", "vcpu", "timer"),
    "Timer interrupts made pending for the guest (tracepoint kvm_timer_update_irq), by "
    "timer. Traps per interrupt are lpttrace_timer_traps_total summed over the registers "
    "of that timer, divided by this: cntp_*_el0 belong to timer physical, cntv_*_el0 to "
    "virtual.",
    probes=INTERRUPT_PROBES,
)
TIMER_INTERRUPTS_OVERDUE = Metric(
    "lpttrace_timer_interrupts_overdue_total",
    "counter",
    ("vm", "vcpu", "timer"),
    "Those of lpttrace_timer_interrupts_total of emulated timers whose deadline had "
    "passed when the guest set it: they are raised at once, and are in no lateness.",
    probes=(*INTERRUPT_PROBES, *TIMER_TRAP_PROBES),
)
TIMER_INTERRUPTS_TIMED = Metric(
    "lpttrace_timer_interrupts_timed_total",
    "counter",
    ("vm", "vcpu"),
    "Timer interrupts of emulated timers whose lateness is in "
    "lpttrace_timer_interrupt_lateness_seconds_total: divide the two for the mean.",
    probes=LATENESS_PROBES,
)
TIMER_INTERRUPT_LATENESS = Metric(
    "lpttrace_timer_interrupt_lateness_seconds_total",
    "counter",
    ("vm", "vcpu"),
    "Time from the deadline of an emulated timer to the kvm_entry that delivers its interrupt.",
    "seconds",
    LATENESS_PROBES,
)
TIMER_LATENESS = Metric(
    "lpttrace_timer_lateness_seconds",
    "histogram",
    ("vm",),
    "How the times in lpttrace_timer_interrupt_lateness_seconds_total are distributed, "
    "over all vCPUs of the VM; a time equal to a bound is under it.",
    "seconds",
    LATENESS_PROBES,
)
STOLEN_TIME_UPDATES = Metric(
    "lpttrace_stolen_time_updates_total",
    "counter",
    ("vm", "vcpu"),
    "Updates of the vCPU's stolen time, one whenever it got a CPU (kprobe and kretprobe "
    "on kvm_update_stolen_time); none if the guest did not ask for stolen time.",
    probes=STOLEN_PROBES,
)
STOLEN_TIME_UPDATE_SECONDS = Metric(
    "lpttrace_stolen_time_update_seconds_total",
    "counter",
    ("vm", "vcpu"),
    "Time spent in kvm_update_stolen_time by the updates in lpttrace_stolen_time_updates_total.",
    "seconds",
    STOLEN_PROBES,
)
STOLEN_SECONDS = Metric(
    "lpttrace_stolen_seconds_total",
    "counter",
    ("vm", "vcpu"),
    "What the updates in lpttrace_stolen_time_updates_total added to the stolen time that the "
    "guest sees: the time its thread waited for a CPU.",
    "seconds",
    STOLEN_PROBES,
)
PV_TIME_QUESTIONS = Metric(
    "lpttrace_pv_time_questions_total",
    "counter",
    ("vm", "question", "answer"),
    "What the guest asked about pvtime, and whether x0 at the kvm_entry after it was an "
    "answer (granted) or negative (refused): PV_TIME_FEATURES about stolen time and LPT "
    "(features_st, features_lpt), PV_TIME_ST and PV_TIME_LPT (st, lpt).",
    probes=ANSWER_PROBES,
)
VM_ATTRIBUTE_CALLS = Metric(
    "lpttrace_vm_attribute_calls_total",
    "counter",
    ("vm", "call", "result"),
    "KVM_SET_DEVICE_ATTR, KVM_GET_DEVICE_ATTR and KVM_HAS_DEVICE_ATTR of the VMM on the "
    "VM, by which LPT is switched on (kprobe and kretprobe on kvm_arch_vm_ioctl).",
    probes=CALL_PROBES,
)
