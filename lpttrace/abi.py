# SPDX-License-Identifier: GPL-2.0-only
"""Python mirror of bpf/lpttrace_abi.h.

The header is the truth; tests/contract compiles it and compares every size, offset, enum value and
function id with this module. Structures keep the names of the header's.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple, Optional

__all__ = [
    "ABI_VERSION",
    "BUCKETS",
    "BUCKET_BOUNDS",
    "CALLS",
    "CLASSES",
    "EVENT_KINDS",
    "FUNCTIONS",
    "HVC_UNKNOWN",
    "NO_CLASS",
    "OUTCOMES",
    "QUESTIONS",
    "REGISTERS",
    "STATES",
    "TIMERS",
    "TIMER_INTIDS",
    "UPDATE_RESULTS",
    "Account",
    "Answers",
    "Calls",
    "Cell",
    "Event",
    "EventKey",
    "Histogram",
    "Interrupts",
    "Losses",
    "Room",
    "Slot",
    "SlotHead",
    "Space",
    "Stolen",
    "Structure",
    "TrapClass",
    "Vm",
    "timer_of_register",
]

ABI_VERSION = 5

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

TIMER_INTIDS = {"physical": 30, "virtual": 27, "hyp_virtual": 28, "hyp_physical": 26}
"""Timers of a vCPU in the order of LPT_TIMERS, with the INTID of each one's PPI."""

TIMERS = (*TIMER_INTIDS, "other")
"""enum lpt_timer in order; "other" is what has none of these INTIDs."""

_TIMER_REGISTERS = {"cntp": "physical", "cntv": "virtual"}


def timer_of_register(register: str) -> Optional[str]:
    """The timer that a register of REGISTERS sets or tells of; None of counters, and of the EL02
    aliases, which are another guest's inside."""
    prefix, _, rest = register.partition("_")
    return _TIMER_REGISTERS.get(prefix) if rest.endswith("_el0") else None


QUESTIONS = ("features_st", "features_lpt", "st", "lpt")
"""enum lpt_question in order: PV_TIME_FEATURES of the two, PV_TIME_ST, PV_TIME_LPT."""

CALLS = ("set", "get", "has")
"""enum lpt_call_kind in order."""

EVENT_KINDS = ("set_attr", "get_attr", "has_attr", "update")
"""enum lpt_event_kind in order."""

_FIRST_SHIFT = 6
_OCTAVES = 28
_SUB_BUCKETS = 4
BUCKETS = _OCTAVES * _SUB_BUCKETS + 2
"""LPT_BUCKETS."""

BUCKET_BOUNDS = (
    1 << _FIRST_SHIFT,
    *(
        ((_SUB_BUCKETS + sub + 1) << (_FIRST_SHIFT + octave)) // _SUB_BUCKETS
        for octave in range(_OCTAVES)
        for sub in range(_SUB_BUCKETS)
    ),
)
"""Upper bounds of the buckets in ns, each in its bucket; the last bucket has none."""


class Account(ctypes.Structure):
    """struct lpt_account."""

    _fields_ = [("count", ctypes.c_uint64), ("ns", ctypes.c_uint64)]


class Cell(ctypes.Structure):
    """struct lpt_cell."""

    _fields_ = [("by_outcome", Account * len(OUTCOMES))]


class Histogram(ctypes.Structure):
    """struct lpt_histogram."""

    _fields_ = [("low", ctypes.c_uint32 * BUCKETS), ("high", ctypes.c_uint16 * BUCKETS)]


class Interrupts(ctypes.Structure):
    """struct lpt_interrupts."""

    _fields_ = [("delivered", ctypes.c_uint64), ("overdue", ctypes.c_uint64)]


class Answers(ctypes.Structure):
    """struct lpt_answers."""

    _fields_ = [
        ("asked", ctypes.c_uint64),
        ("refused", ctypes.c_uint64),
        ("last", ctypes.c_uint64),
    ]


class Stolen(ctypes.Structure):
    """struct lpt_stolen."""

    _fields_ = [("updates", Account), ("stolen_ns", ctypes.c_uint64)]


class SlotHead(ctypes.Structure):
    """struct lpt_slot up to `sequence`: what is not read as one state."""

    _fields_ = [
        ("vcpu", ctypes.c_uint64),
        ("taken_ns", ctypes.c_uint64),
        ("state", ctypes.c_uint32),
        ("vm", ctypes.c_uint32),
        ("vcpu_id", ctypes.c_uint32),
        ("tid", ctypes.c_uint32),
        ("begin_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("steal_ns", ctypes.c_uint64),
        ("steal_before", ctypes.c_uint64),
        ("lowered_ns", ctypes.c_uint64 * len(TIMER_INTIDS)),
        ("thread", ctypes.c_uint64),
        ("feature", ctypes.c_uint32),
    ]


class Slot(ctypes.Structure):
    """struct lpt_slot."""

    _fields_ = [
        *SlotHead._fields_,
        ("sequence", ctypes.c_uint32),
        ("work", ctypes.c_uint32),
        ("pending", ctypes.c_uint32),
        ("outcome", ctypes.c_uint32),
        ("raised", ctypes.c_uint32),
        ("unpaired", ctypes.c_uint64),
        ("last_unknown", ctypes.c_uint64),
        ("interrupts", Interrupts * len(TIMERS)),
        ("lateness", Account),
        ("stolen", Stolen),
        ("answers", Answers * len(QUESTIONS)),
        ("cells", Cell * len(CLASSES)),
        ("late", Histogram),
        ("service", Histogram * len(CLASSES)),
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


class Calls(ctypes.Structure):
    """struct lpt_calls."""

    _fields_ = [("done", ctypes.c_uint64), ("failed", ctypes.c_uint64)]


class Vm(ctypes.Structure):
    """struct lpt_vm."""

    _fields_ = [
        ("kvm", ctypes.c_uint64),
        ("seen_ns", ctypes.c_uint64),
        ("state", ctypes.c_uint32),
        ("tgid", ctypes.c_uint32),
        ("number", ctypes.c_uint64),
        ("sequence", ctypes.c_uint32),
        ("last_error", ctypes.c_uint32),
        ("published_ns", ctypes.c_uint64),
        ("published", Structure),
        ("previous", Structure),
        ("updates", Account * len(UPDATE_RESULTS)),
        ("calls", Calls * len(CALLS)),
    ]


class EventKey(ctypes.Structure):
    """struct lpt_event_key."""

    _fields_ = [("ns", ctypes.c_uint64), ("tid", ctypes.c_uint32), ("kind", ctypes.c_uint32)]


class Event(ctypes.Structure):
    """struct lpt_event."""

    _fields_ = [
        ("vm", ctypes.c_uint32),
        ("error", ctypes.c_uint32),
        ("group", ctypes.c_uint32),
        ("has_value", ctypes.c_uint32),
        ("attribute", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    ]


class Space(ctypes.Structure):
    """struct lpt_space."""

    _fields_ = [("freed", ctypes.c_uint64), ("full_at", ctypes.c_uint64)]


class Room(ctypes.Structure):
    """struct lpt_room."""

    _fields_ = [("slots", Space), ("vms", Space)]


class Losses(ctypes.Structure):
    """struct lpt_losses."""

    _fields_ = [
        ("no_slot", ctypes.c_uint64),
        ("no_vm", ctypes.c_uint64),
        ("not_remembered", ctypes.c_uint64),
        ("hypercalls", ctypes.c_uint64),
        ("timer_traps", ctypes.c_uint64),
        ("timer_interrupts", ctypes.c_uint64),
        ("updates_untimed", ctypes.c_uint64),
        ("steals_untimed", ctypes.c_uint64),
        ("events", ctypes.c_uint64),
    ]
