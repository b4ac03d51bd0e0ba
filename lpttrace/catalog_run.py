# SPDX-License-Identifier: GPL-2.0-only
"""Metrics of the run itself: what is watched, and what could not be counted."""

from __future__ import annotations

from collections.abc import Mapping

from lpttrace.catalog_metric import (
    HYPERCALL_PROBES,
    INTERRUPT_PROBES,
    LPT_PROBES,
    STOLEN_PROBES,
    TIMER_TRAP_PROBES,
    Metric,
)

__all__ = [
    "CNTFRQ",
    "KERNEL",
    "LOSSES",
    "LOST_EVENTS",
    "LOST_HYPERCALLS",
    "LOST_TIMER_INTERRUPTS",
    "LOST_TIMER_TRAPS",
    "NOT_REMEMBERED",
    "PROBE_ATTACHED",
    "TORN_READS",
    "UNTIMED_LPT_UPDATES",
    "UNTIMED_STOLEN_TIME_UPDATES",
    "VCPUS_WITHOUT_SLOT",
    "VM",
    "VM_VCPUS",
    "VMS_GONE_EARLY",
    "VMS_WITHOUT_RECORD",
]

PROBE_ATTACHED = Metric(
    "lpttrace_probe_attached",
    "gauge",
    ("probe",),
    "1 if lpttrace counts at this place of the kernel, or can read it (guest_registers), 0 if it "
    "could not attach there (the reason is in the log and in lpttrace doctor).",
)
KERNEL = Metric(
    "lpttrace_kernel_info",
    "info",
    ("release",),
    "Release of this host's kernel, as uname -r has it: to compare hosts by.",
)
CNTFRQ = Metric(
    "lpttrace_cntfrq_hertz",
    "gauge",
    (),
    "CNTFRQ_EL0 of this host: the frequency of its system counter, which guests without LPT see.",
    "hertz",
)
VM = Metric(
    "lpttrace_vm_info",
    "info",
    (
        *("vm", "name", "pid", "uuid", "vmm", "product", "libvirt_name"),
        *("openstack_name", "openstack_project", "openstack_project_uuid", "openstack_flavor"),
    ),
    "Which VM the label vm stands for, to join with: name and UUID given to its VMM (without a "
    "name, executable[pid]), kind of VMM, product in its SMBIOS, and what libvirt and OpenStack "
    "call it in /run/libvirt/qemu. What is not known is empty.",
)
VM_VCPUS = Metric(
    "lpttrace_vm_vcpus",
    "gauge",
    ("vm",),
    "vCPUs of the VM that are counted, each in a slot it took at kvm_arch_vcpu_load; absent once "
    "the VM has ended. Divide sums over vCPUs by it: with --per-vm no label vcpu can be counted.",
)
VCPUS_WITHOUT_SLOT = Metric(
    "lpttrace_vcpus_without_slot_total",
    "counter",
    (),
    "vCPUs that are not counted because all slots were taken: raise --max-vcpus.",
)
VMS_WITHOUT_RECORD = Metric(
    "lpttrace_vms_without_record_total",
    "counter",
    (),
    "VMs that are not counted because all records were taken: raise --max-vcpus.",
)
NOT_REMEMBERED = Metric(
    "lpttrace_refusals_not_remembered_total",
    "counter",
    (),
    "Times a vCPU got a CPU and could be neither given a slot nor noted as refused, so that it may "
    "be in lpttrace_vcpus_without_slot_total more than once: raise --max-vcpus.",
)
LOST_HYPERCALLS = Metric(
    "lpttrace_lost_hypercalls_total",
    "counter",
    (),
    "Hypercalls of vCPUs without a slot (tracepoint kvm_hvc_arm64).",
    probes=HYPERCALL_PROBES,
)
LOST_TIMER_TRAPS = Metric(
    "lpttrace_lost_timer_traps_total",
    "counter",
    (),
    "Timer traps of vCPUs without a slot (tracepoint kvm_handle_sys_reg).",
    probes=TIMER_TRAP_PROBES,
)
LOST_TIMER_INTERRUPTS = Metric(
    "lpttrace_lost_timer_interrupts_total",
    "counter",
    (),
    "Timer interrupts of vCPUs without a slot (tracepoint kvm_timer_update_irq).",
    probes=INTERRUPT_PROBES,
)
UNTIMED_STOLEN_TIME_UPDATES = Metric(
    "lpttrace_untimed_stolen_time_updates_total",
    "counter",
    (),
    "Updates of stolen time that are not counted because their end (kretprobe on "
    "kvm_update_stolen_time) was not seen.",
    probes=STOLEN_PROBES,
)
LOST_EVENTS = Metric(
    "lpttrace_lost_events_total",
    "counter",
    (),
    "LPT updates and calls about VM attributes that are not among the events because there was no "
    "room for them, their VM had no record, or the end of the call was not seen.",
)
UNTIMED_LPT_UPDATES = Metric(
    "lpttrace_untimed_lpt_updates_total",
    "counter",
    (),
    "LPT updates that are not counted because their begin (kprobe on kvm_update_lpt_time) could "
    "not be stored, or their end (kretprobe) was not seen. What they have published is shown.",
    probes=LPT_PROBES,
)
TORN_READS = Metric(
    "lpttrace_torn_reads_total",
    "counter",
    (),
    "Times a vCPU, or the record of a VM, was too busy to be read whole, so that its counts of the "
    "reading before were used again.",
)
VMS_GONE_EARLY = Metric(
    "lpttrace_vms_gone_early_total",
    "counter",
    (),
    "VMs that ended and whose series went before their time, because so many ended after them: of "
    "VMs that ended at most --max-vcpus (512 if that is less), and as many vCPUs, are exposed.",
)

LOSSES: Mapping[str, Metric] = {
    "no_slot": VCPUS_WITHOUT_SLOT,
    "no_vm": VMS_WITHOUT_RECORD,
    "not_remembered": NOT_REMEMBERED,
    "hypercalls": LOST_HYPERCALLS,
    "timer_traps": LOST_TIMER_TRAPS,
    "timer_interrupts": LOST_TIMER_INTERRUPTS,
    "steals_untimed": UNTIMED_STOLEN_TIME_UPDATES,
    "events": LOST_EVENTS,
    "updates_untimed": UNTIMED_LPT_UPDATES,
    "torn": TORN_READS,
    "gone_early": VMS_GONE_EARLY,
}
"""Metric of every key of Snapshot.losses."""
