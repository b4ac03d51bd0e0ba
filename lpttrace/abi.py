# SPDX-License-Identifier: GPL-2.0-only
"""Python mirror of bpf/lpttrace_abi.h.

The header is the truth; tests/contract compiles it and compares every size, offset, enum value and
function id with this module. Structures keep the names of the header's.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

__all__ = [
    "ABI_VERSION",
    "CLASSES",
    "FUNCTIONS",
    "HVC_UNKNOWN",
    "NO_CLASS",
    "OUTCOMES",
    "REGISTERS",
    "STATES",
    "UPDATE_RESULTS",
    "Account",
    "Cell",
    "Losses",
    "Slot",
    "Structure",
    "TrapClass",
    "Vm",
]

ABI_VERSION = 1

FUNCTIONS = (
    "smccc_version",
    "smccc_arch_features",
    "smccc_arch_soc_id",
    "smccc_arch_workaround_1",
    "smccc_arch_workaround_2",
    "smccc_arch_workaround_3",
    "psci_0_1_cpu_suspend",
    "psci_0_1_cpu_off",
    "psci_0_1_cpu_on",
    "psci_0_1_migrate",
    "psci_version",
    "psci_cpu_suspend",
    "psci_cpu_off",
    "psci_cpu_on",
    "psci_affinity_info",
    "psci_migrate",
    "psci_migrate_info_type",
    "psci_migrate_info_up_cpu",
    "psci_system_off",
    "psci_system_reset",
    "psci_features",
    "psci_cpu_freeze",
    "psci_cpu_default_suspend",
    "psci_node_hw_state",
    "psci_system_suspend",
    "psci_set_suspend_mode",
    "psci_stat_residency",
    "psci_stat_count",
    "psci_system_reset2",
    "psci_mem_protect",
    "psci_mem_protect_check_range",
    "psci_system_off2",
    "trng_version",
    "trng_features",
    "trng_get_uuid",
    "trng_rnd32",
    "trng_rnd64",
    "pv_time_features",
    "pv_time_st",
    "pv_time_lpt",
    "vendor_hyp_call_uid",
    "vendor_hyp_kvm_features",
    "vendor_hyp_kvm_ptp",
    "vendor_hyp_kvm_hyp_meminfo",
    "vendor_hyp_kvm_mem_share",
    "vendor_hyp_kvm_mem_unshare",
    "vendor_hyp_kvm_mmio_guard",
    "vendor_hyp_kvm_discover_impl_ver",
    "vendor_hyp_kvm_discover_impl_cpus",
)
"""Labels of the SMCCC functions told apart, in the order of LPT_FUNCTIONS."""

REGISTERS = (
    "cntpct_el0",
    "cntvct_el0",
    "cntpctss_el0",
    "cntvctss_el0",
    "cntp_tval_el0",
    "cntp_ctl_el0",
    "cntp_cval_el0",
    "cntv_tval_el0",
    "cntv_ctl_el0",
    "cntv_cval_el0",
    "cntp_tval_el02",
    "cntp_ctl_el02",
    "cntp_cval_el02",
    "cntv_tval_el02",
    "cntv_ctl_el02",
    "cntv_cval_el02",
)
"""Labels of the timer registers told apart, in the order of LPT_TIMER_REGISTERS."""


class TrapClass(NamedTuple):
    """What was trapped.

    kind is "hypercall" or "timer"; name the function or register; direction "read" or "write" of a
    register, "" of a hypercall.
    """

    kind: str
    name: str
    direction: str

    @property
    def label(self) -> str:
        """The class in words: psci_version, or "cntp_ctl_el0 write"."""
        return f"{self.name} {self.direction}".rstrip()


def _classes() -> tuple[TrapClass, ...]:
    hypercalls = [TrapClass("hypercall", name, "") for name in ("unknown", *FUNCTIONS)]
    accesses = [TrapClass("timer", name, way) for name in REGISTERS for way in ("read", "write")]
    return (TrapClass("none", "none", ""), *hypercalls, *accesses)


CLASSES = _classes()
"""Every enum lpt_class in order; the index is the value."""

NO_CLASS = 0
HVC_UNKNOWN = 1

OUTCOMES = ("served", "scheduled_out", "userspace")
"""enum lpt_outcome in order."""

STATES = ("free", "alive", "dead")
"""enum lpt_state in order."""

UPDATE_RESULTS = ("nothing", "published", "einval", "efault", "error")
"""enum lpt_update_result in order."""


class Account(ctypes.Structure):
    """struct lpt_account."""

    _fields_ = [("count", ctypes.c_uint64), ("ns", ctypes.c_uint64)]


class Cell(ctypes.Structure):
    """struct lpt_cell."""

    _fields_ = [("by_outcome", Account * len(OUTCOMES))]


class Slot(ctypes.Structure):
    """struct lpt_slot."""

    _fields_ = [
        ("vcpu", ctypes.c_uint64),
        ("taken_ns", ctypes.c_uint64),
        ("state", ctypes.c_uint32),
        ("vm", ctypes.c_uint32),
        ("vcpu_id", ctypes.c_uint32),
        ("tid", ctypes.c_uint32),
        ("exit_ns", ctypes.c_uint64),
        ("outcome", ctypes.c_uint32),
        ("last_unknown", ctypes.c_uint32),
        ("sequence", ctypes.c_uint32),
        ("pending", ctypes.c_uint32),
        ("unpaired", ctypes.c_uint64),
        ("cells", Cell * len(CLASSES)),
    ]


class Structure(ctypes.Structure):
    """struct lpt_structure."""

    _fields_ = [
        ("revision", ctypes.c_uint32),
        ("attributes", ctypes.c_uint32),
        ("sequence_number", ctypes.c_uint64),
        ("native_freq", ctypes.c_uint32),
        ("pv_freq", ctypes.c_uint32),
        ("scale_mult", ctypes.c_uint64),
        ("rscale_mult", ctypes.c_uint64),
        ("fracbits", ctypes.c_uint32),
        ("rfracbits", ctypes.c_uint32),
    ]


class Vm(ctypes.Structure):
    """struct lpt_vm."""

    _fields_ = [
        ("kvm", ctypes.c_uint64),
        ("seen_ns", ctypes.c_uint64),
        ("state", ctypes.c_uint32),
        ("tgid", ctypes.c_uint32),
        ("sequence", ctypes.c_uint32),
        ("last_error", ctypes.c_uint32),
        ("published_ns", ctypes.c_uint64),
        ("published", Structure),
        ("updates", Account * len(UPDATE_RESULTS)),
    ]


class Losses(ctypes.Structure):
    """struct lpt_losses."""

    _fields_ = [
        ("no_slot", ctypes.c_uint64),
        ("no_vm", ctypes.c_uint64),
        ("not_remembered", ctypes.c_uint64),
        ("hypercalls", ctypes.c_uint64),
        ("timer_traps", ctypes.c_uint64),
        ("updates_untimed", ctypes.c_uint64),
    ]
