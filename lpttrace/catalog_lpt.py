# SPDX-License-Identifier: GPL-2.0-only
"""Metrics of Live Physical Time: its updates, and what was published."""

from __future__ import annotations

from lpttrace.catalog_metric import (
    LPT_PROBES,
    PREVIOUS_PROBES,
    Metric,
)

__all__ = [
    "LPT_IDLE_CALLS",
    "LPT_NATIVE_FREQUENCY",
    "LPT_PREVIOUS_NATIVE_FREQUENCY",
    "LPT_PUBLISHED",
    "LPT_PV_FREQUENCY",
    "LPT_SCALE",
    "LPT_SCALE_ERROR",
    "LPT_SEQUENCE",
    "LPT_UPDATES",
    "LPT_UPDATE_SECONDS",
    "LPT_WRONG",
]

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
    "sequence_number last published to the guest (kprobe on kvm_write_guest): grows by 2 with "
    "every host the VM runs on.",
    probes=LPT_PROBES,
)
LPT_NATIVE_FREQUENCY = Metric(
    "lpttrace_lpt_native_frequency_hertz",
    "gauge",
    ("vm",),
    "native_freq last published to the guest (kprobe on kvm_write_guest): the counter frequency of "
    "this host.",
    "hertz",
    LPT_PROBES,
)
LPT_PREVIOUS_NATIVE_FREQUENCY = Metric(
    "lpttrace_lpt_previous_native_frequency_hertz",
    "gauge",
    ("vm",),
    "native_freq that the guest's memory had from the host before this one (kretprobe on "
    "kvm_read_guest), if the guest has not changed it; only of a VM that came from another host.",
    "hertz",
    (*LPT_PROBES, *PREVIOUS_PROBES),
)
LPT_PV_FREQUENCY = Metric(
    "lpttrace_lpt_pv_frequency_hertz",
    "gauge",
    ("vm",),
    "pv_freq last published to the guest (kprobe on kvm_write_guest): the constant frequency that "
    "the guest was promised.",
    "hertz",
    LPT_PROBES,
)
LPT_SCALE = Metric(
    "lpttrace_lpt_scale_ratio",
    "gauge",
    ("vm", "direction"),
    "Factor last published to the guest (kprobe on kvm_write_guest): PV cycles per native cycle "
    "(native_to_pv, scale_mult and fracbits) and the reverse (pv_to_native, rscale_mult and "
    "rfracbits).",
    "ratio",
    LPT_PROBES,
)
LPT_SCALE_ERROR = Metric(
    "lpttrace_lpt_scale_error_ratio",
    "gauge",
    ("vm", "direction"),
    "Relative error of the factor last published (kprobe on kvm_write_guest) against the published "
    "frequencies: the rate at which the guest's clock drifts because of it. Absent if anything but "
    "factors is wrong.",
    "ratio",
    LPT_PROBES,
)
LPT_WRONG = Metric(
    "lpttrace_lpt_wrong",
    "gauge",
    ("vm", "reason"),
    "1 if this is wrong with the structure last published (kprobe on kvm_write_guest), 0 if it is "
    "right: revision or attributes not 0, sequence (torn, or not 2 more than before, bit 0 aside), "
    "native_frequency (0, or not this host's), pv_frequency (0, or not what the guest was "
    "promised), or a factor (native_to_pv, pv_to_native) off by more than fixed point explains.",
    probes=LPT_PROBES,
)
LPT_PUBLISHED = Metric(
    "lpttrace_lpt_published_timestamp_seconds",
    "gauge",
    ("vm",),
    "When the structure was last published to the guest (kprobe on kvm_write_guest), in Unix time.",
    "seconds",
    LPT_PROBES,
)
