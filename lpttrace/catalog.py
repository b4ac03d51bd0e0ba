# SPDX-License-Identifier: GPL-2.0-only
"""Every metric once: the exposition, docs/metrics.md and the column titles of top come from here.

A help text names the kernel hook that is counted. A metric is exposed only where all of its probes
are attached: absent means "cannot be seen here", zero means "did not happen".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "HYPERCALL_PROBES",
    "LOSSES",
    "LPT_PROBES",
    "METRICS",
    "TIMER_TRAP_PROBES",
    "UPDATE_RESULTS",
    "Metric",
    "markdown",
    "plain",
]

HYPERCALL_PROBES = ("kvm_entry", "kvm_exit", "kvm_hvc_arm64")
TIMER_TRAP_PROBES = ("kvm_entry", "kvm_exit", "kvm_handle_sys_reg")
LPT_PROBES = ("kvm_update_lpt_time", "kvm_update_lpt_time_return", "kvm_write_guest")

UPDATE_RESULTS = ("published", "einval", "efault", "error")
"""Label values of result: what an LPT update can end with."""


@dataclass(frozen=True)
class Metric:
    """name is the one that is scraped, suffixes included; column the title in `lpttrace top`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    unit: str = ""
    probes: tuple[str, ...] = ()
    column: str = ""

    @property
    def family(self) -> str:
        """The name without the suffix its kind adds on the wire."""
        suffix = {"counter": "_total", "info": "_info", "gauge": ""}[self.kind]
        return self.name[: len(self.name) - len(suffix)]


_HYPERCALL = ("vm", "vcpu", "function")
_TIMER = ("vm", "vcpu", "register", "direction")

BUILD = Metric(
    "lpttrace_build_info",
    "info",
    ("version", "source"),
    "Version of lpttrace, and whether the numbers are live or synthetic.",
)
PROBE_ATTACHED = Metric(
    "lpttrace_probe_attached",
    "gauge",
    ("probe",),
    "1 if lpttrace counts at this place of the kernel, 0 if it could not attach there "
    "(the reason is in the log and in lpttrace doctor).",
)
VM = Metric(
    "lpttrace_vm_info",
    "info",
    ("vm", "name", "pid", "uuid"),
    "Which VM the label vm stands for: name and UUID given to QEMU, else executable[pid].",
)
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
    "Time from tracepoint kvm_exit to kvm_entry of hypercalls served in the kernel without losing "
    "the CPU; no world switch is in it.",
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
HYPERCALLS_APART = Metric(
    "lpttrace_hypercalls_apart_total",
    "counter",
    (*_HYPERCALL, "reason"),
    "Those of lpttrace_hypercalls_total whose time is no cost of serving: between kvm_exit and "
    "kvm_entry the thread lost the CPU (scheduled_out) or the VMM was asked (userspace).",
    probes=HYPERCALL_PROBES,
)
HYPERCALL_APART_SECONDS = Metric(
    "lpttrace_hypercall_apart_seconds_total",
    "counter",
    (*_HYPERCALL, "reason"),
    "Time from kvm_exit to kvm_entry of the hypercalls in lpttrace_hypercalls_apart_total.",
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
    "Time from tracepoint kvm_exit to kvm_entry of timer traps served in the kernel without losing "
    "the CPU; no world switch is in it.",
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
TIMER_TRAPS_APART = Metric(
    "lpttrace_timer_traps_apart_total",
    "counter",
    (*_TIMER, "reason"),
    "Those of lpttrace_timer_traps_total whose time is no cost of serving: between kvm_exit and "
    "kvm_entry the thread lost the CPU (scheduled_out) or the VMM was asked (userspace).",
    probes=TIMER_TRAP_PROBES,
)
TIMER_TRAP_APART_SECONDS = Metric(
    "lpttrace_timer_trap_apart_seconds_total",
    "counter",
    (*_TIMER, "reason"),
    "Time from kvm_exit to kvm_entry of the timer traps in lpttrace_timer_traps_apart_total.",
    "seconds",
    TIMER_TRAP_PROBES,
)
UNPAIRED_TRAPS = Metric(
    "lpttrace_unpaired_traps_total",
    "counter",
    ("vm", "vcpu"),
    "Traps that began (kvm_exit) before lpttrace was attached and ended (kvm_entry) after it; "
    "they are in no other metric.",
)
LPT_UPDATES = Metric(
    "lpttrace_lpt_updates_total",
    "counter",
    ("vm", "result"),
    "LPT updates (kprobe and kretprobe on kvm_update_lpt_time) that published a structure or "
    "failed with the errno named.",
    probes=LPT_PROBES,
    column="LPT",
)
LPT_UPDATE_SECONDS = Metric(
    "lpttrace_lpt_update_seconds_total",
    "counter",
    ("vm", "result"),
    "Time spent in kvm_update_lpt_time by the updates in lpttrace_lpt_updates_total.",
    "seconds",
    LPT_PROBES,
)
LPT_IDLE_CALLS = Metric(
    "lpttrace_lpt_idle_calls_total",
    "counter",
    ("vm",),
    "Calls of kvm_update_lpt_time that had nothing to do: LPT is off for this VM, or another of "
    "its vCPUs had done it.",
    probes=LPT_PROBES,
)
LPT_SEQUENCE = Metric(
    "lpttrace_lpt_sequence_number",
    "gauge",
    ("vm",),
    "sequence_number last published to the guest: grows by 2 with every host the VM runs on.",
    probes=LPT_PROBES,
)
LPT_NATIVE_FREQUENCY = Metric(
    "lpttrace_lpt_native_frequency_hertz",
    "gauge",
    ("vm",),
    "native_freq last published to the guest: the counter frequency of this host.",
    "hertz",
    LPT_PROBES,
)
LPT_PV_FREQUENCY = Metric(
    "lpttrace_lpt_pv_frequency_hertz",
    "gauge",
    ("vm",),
    "pv_freq last published to the guest: the constant frequency the guest was promised.",
    "hertz",
    LPT_PROBES,
)
LPT_SCALE = Metric(
    "lpttrace_lpt_scale_ratio",
    "gauge",
    ("vm", "direction"),
    "Factor last published to the guest: PV cycles per native cycle (native_to_pv, scale_mult "
    "and fracbits) and the reverse (pv_to_native, rscale_mult and rfracbits).",
    "ratio",
    LPT_PROBES,
)
LPT_SCALE_ERROR = Metric(
    "lpttrace_lpt_scale_error_ratio",
    "gauge",
    ("vm", "direction"),
    "Relative error of the published factor against the published frequencies: the rate at which "
    "the guest's clock drifts because of it.",
    "ratio",
    LPT_PROBES,
)
LPT_PUBLISHED = Metric(
    "lpttrace_lpt_published_timestamp_seconds",
    "gauge",
    ("vm",),
    "When the structure was last published to the guest, in Unix time.",
    "seconds",
    LPT_PROBES,
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
UNTIMED_LPT_UPDATES = Metric(
    "lpttrace_untimed_lpt_updates_total",
    "counter",
    (),
    "LPT updates that are not counted because their begin could not be stored.",
    probes=LPT_PROBES,
)
TORN_READS = Metric(
    "lpttrace_torn_reads_total",
    "counter",
    (),
    "Times a vCPU was too busy to be read whole, so that its counts of the reading before were "
    "used again.",
)
READ_SECONDS = Metric(
    "lpttrace_read_duration_seconds",
    "gauge",
    (),
    "How long reading all counters for this exposition took.",
    "seconds",
)

LOSSES: Mapping[str, Metric] = {
    "no_slot": VCPUS_WITHOUT_SLOT,
    "no_vm": VMS_WITHOUT_RECORD,
    "not_remembered": NOT_REMEMBERED,
    "hypercalls": LOST_HYPERCALLS,
    "timer_traps": LOST_TIMER_TRAPS,
    "updates_untimed": UNTIMED_LPT_UPDATES,
    "torn": TORN_READS,
}
"""Metric of every key of Snapshot.losses."""

METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them, in the order of exposition."""


def markdown() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Generated by `lpttrace metrics --markdown`; edit `lpttrace/catalog.py` instead.",
        "",
        "A metric is exposed only while all of the probes it needs are attached: absent means",
        '"cannot be seen on this host", zero means "did not happen". Counters count from the',
        "moment lpttrace was attached. Series of a VM stay for a while after it ended, then go.",
        "The usual `process_*` metrics tell what lpttrace itself costs.",
        "",
        "Mean service time: `rate(..._service_seconds_total[5m]) / rate(..._served_total[5m])`.",
        "Total is served plus apart, plus the one trap a vCPU may be in.",
        "",
        "| metric | kind | labels | meaning | probes needed |",
        "|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_row(metric) for metric in METRICS]) + "\n"


def plain() -> str:
    """Name, labels and meaning, for a terminal."""
    return (
        "\n".join(
            f"{metric.name}{{{','.join(metric.labels)}}} {metric.kind}\n    {metric.help}"
            for metric in METRICS
        )
        + "\n"
    )


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    probes = ", ".join(f"`{probe}`" for probe in metric.probes)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} | {probes} |"
