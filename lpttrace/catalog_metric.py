# SPDX-License-Identifier: GPL-2.0-only
"""What a metric is, which probes a number needs, and the values that labels can have."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ANSWER_PROBES",
    "AUDIT_REASONS",
    "CALL_PROBES",
    "HTTP_REFUSALS",
    "HYPERCALL_PROBES",
    "INTERRUPT_PROBES",
    "LATENESS_PROBES",
    "LPT_PROBES",
    "PREVIOUS_PROBES",
    "STOLEN_PROBES",
    "TIMER_TRAP_PROBES",
    "UPDATE_RESULTS",
    "Metric",
]

HYPERCALL_PROBES = ("kvm_entry", "kvm_hvc_arm64")
ANSWER_PROBES = (*HYPERCALL_PROBES, "guest_registers")
TIMER_TRAP_PROBES = ("kvm_entry", "kvm_handle_sys_reg")
INTERRUPT_PROBES = ("kvm_timer_update_irq",)
LATENESS_PROBES = ("kvm_entry", "kvm_timer_update_irq")
STOLEN_PROBES = ("kvm_update_stolen_time", "kvm_update_stolen_time_return")
CALL_PROBES = ("kvm_arch_vm_ioctl", "kvm_arch_vm_ioctl_return")
PREVIOUS_PROBES = ("kvm_read_guest", "kvm_read_guest_return")
LPT_PROBES = ("kvm_update_lpt_time", "kvm_update_lpt_time_return", "kvm_write_guest")

UPDATE_RESULTS = ("published", "einval", "efault", "error")
"""Label values of result: what an LPT update can end with."""

HTTP_REFUSALS = ("room", "slow", "tls", "malformed", "password", "rate")
"""Label values of reason: why a client of the web server got nothing."""

AUDIT_REASONS = (
    *("revision", "attributes", "sequence", "native_frequency", "pv_frequency"),
    *("native_to_pv", "pv_to_native"),
)
"""Label values of reason: what can be wrong with a published LPT structure."""

_SUFFIXES = {"counter": "_total", "info": "_info", "gauge": "", "histogram": ""}


@dataclass(frozen=True)
class Metric:
    """name is the one that is scraped, suffixes included, but for those of a histogram's samples;
    column is the title in `lpttrace top`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    unit: str = ""
    probes: tuple[str, ...] = ()
    column: str = ""

    @property
    def has_created(self) -> bool:
        """Whether it counts from a moment on, which OpenMetrics can tell as NAME_created."""
        return self.kind in ("counter", "histogram")

    @property
    def family(self) -> str:
        """The name without the suffix its kind adds on the wire."""
        return self.name[: len(self.name) - len(_SUFFIXES[self.kind])]
