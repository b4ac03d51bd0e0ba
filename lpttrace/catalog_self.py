# SPDX-License-Identifier: GPL-2.0-only
"""Metrics of lpttrace itself: its version, the room it has, and what it costs."""

from __future__ import annotations

from lpttrace.catalog_metric import Metric

__all__ = [
    "BPF_PROGRAM_RUNS",
    "BPF_PROGRAM_RUN_SECONDS",
    "BUILD",
    "HTTP_REFUSED",
    "READ_SECONDS",
    "SCRAPES",
    "SCRAPE_SECONDS",
    "VCPU_SLOTS",
    "VMS_LEFT_OUT",
    "VM_RECORDS",
]

BUILD = Metric(
    "lpttrace_build_info",
    "info",
    ("version", "source", "python_version", "bcc_version", "layout_version"),
    "Versions of lpttrace, of Python, of the bcc that loaded the programs, and of the layout that "
    "programs and agent share; and whether the numbers are live, synthetic or a replay.",
)
VCPU_SLOTS = Metric(
    "lpttrace_vcpu_slots",
    "gauge",
    ("state",),
    "Slots for vCPUs (--max-vcpus) that are used, and that are free.",
)
VM_RECORDS = Metric(
    "lpttrace_vm_records",
    "gauge",
    ("state",),
    "Records for VMs (--max-vcpus) that are used, and that are free.",
)
VMS_LEFT_OUT = Metric(
    "lpttrace_vms_left_out",
    "gauge",
    (),
    "VMs that are counted in the kernel and not exposed here: --vm and --not-vm say so.",
)
READ_SECONDS = Metric(
    "lpttrace_read_duration_seconds",
    "gauge",
    (),
    "How long reading all counters for this exposition took.",
    "seconds",
)
SCRAPES = Metric(
    "lpttrace_scrapes_total",
    "counter",
    (),
    "Expositions made before this one, whole.",
)
SCRAPE_SECONDS = Metric(
    "lpttrace_scrape_seconds_total",
    "counter",
    (),
    "Time that the expositions in lpttrace_scrapes_total took, from asking to the last byte: "
    "reading, naming, writing, and waiting for a client that takes it slowly.",
    "seconds",
)
HTTP_REFUSED = Metric(
    "lpttrace_http_refused_total",
    "counter",
    ("reason",),
    "Connections of clients that were given no page: others came and there was no room (room), it "
    "took too long to ask or to read (slow), TLS or the certificate was not accepted (tls), what "
    "was sent is no HTTP (malformed), user and password are missing or wrong (password), or "
    "rate_limit was reached (rate).",
)
BPF_PROGRAM_RUNS = Metric(
    "lpttrace_bpf_program_runs_total",
    "counter",
    ("program",),
    "Runs of a BPF program of lpttrace, counted by the kernel (run_cnt of struct bpf_prog_info) "
    "while serve --bpf-stats asks for it; the program on_kvm_entry is at kvm_entry, and so on.",
)
BPF_PROGRAM_RUN_SECONDS = Metric(
    "lpttrace_bpf_program_run_seconds_total",
    "counter",
    ("program",),
    "Time that the runs in lpttrace_bpf_program_runs_total took (run_time_ns), the kernel's own "
    "reading of the clock included.",
    "seconds",
)
