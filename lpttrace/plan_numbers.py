# SPDX-License-Identifier: GPL-2.0-only
"""Numbers from the kernel's BTF: as macros of the programs, and which probe needs which. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["defines_of", "lacking"]


class _Numbers(NamedTuple):
    # Macros of bpf/compat.h, which come together, by the fact that each stands for; and in words
    # what they tell.
    macros: Mapping[str, str]
    tell: str


_OF_VM = _Numbers({"FILE_PRIVATE_DATA": "file.private_data"}, "which VM a file descriptor is of")
_REGISTERS = _Numbers(
    {"KVM_VCPU_X0": "kvm_vcpu.arch.ctxt"}, "where a vCPU has the guest's registers"
)
_STOLEN = _Numbers(
    {"KVM_VCPU_LAST_STEAL": "kvm_vcpu.arch.steal.last_steal"}, "where a vCPU has its stolen time"
)
_TIMERS = _Numbers(
    {
        "KVM_VCPU_TIMERS": "kvm_vcpu.arch.timer_cpu.timers",
        "TIMER_SIZE": "arch_timer_context",
        "TIMER_HRTIMER": "arch_timer_context.hrtimer",
        "HRTIMER_EXPIRES": "hrtimer._softexpires",
    },
    "which timers of a vCPU are emulated",
)
_TIMER_VCPU = _Numbers({"TIMER_VCPU": "arch_timer_context.vcpu"}, "which vCPU a timer is of")
_TIMER_ID = _Numbers({"TIMER_ID": "arch_timer_context.timer_id"}, "which vCPU a timer is of")
_NUMBERS = (
    _Numbers({"KVM_VCPU_KVM": "kvm_vcpu.kvm", "KVM_VCPU_ID": "kvm_vcpu.vcpu_id"}, "what a vCPU is"),
    _REGISTERS,
    _Numbers(
        {
            "KVM_VCPU_SYS_REGS": "kvm_vcpu.arch.ctxt.sys_regs",
            "CNTP_CTL": "CNTP_CTL_EL0",
            "CNTV_CTL": "CNTV_CTL_EL0",
        },
        "whether a timer that hardware fires had fired",
    ),
    _TIMERS,
    _TIMER_VCPU,
    _TIMER_ID,
    _Numbers({"TIMER_OFFSET": "arch_timer_context.offset"}, "whether timers have offsets"),
    _STOLEN,
    _OF_VM,
)
# What a probe would count wrong without, by its name: of each tuple one is enough.
_NEEDS: Mapping[str, tuple[tuple[_Numbers, ...], ...]] = {
    "kvm_timer_hrtimer_expire": ((_TIMERS,), (_TIMER_VCPU, _TIMER_ID)),
    "kvm_timer_update_irq": ((_TIMERS,),),
    "kvm_update_stolen_time_return": ((_STOLEN,),),
    "kvm_update_stolen_time": ((_STOLEN,),),
    "kvm_arch_vm_ioctl_return": ((_OF_VM,),),
    "kvm_arch_vm_ioctl": ((_OF_VM,),),
    "guest_registers": ((_REGISTERS,),),
}


def defines_of(known: Mapping[str, int]) -> dict[str, int]:
    """The macros of bpf/compat.h for numbers that are known, by the names that HostFacts has."""
    return {
        macro: known[name]
        for numbers in _NUMBERS
        if known.keys() >= {*numbers.macros.values()}
        for macro, name in numbers.macros.items()
    }


def lacking(probe: str, known: Mapping[str, int]) -> str:
    """Why a probe, given by name, would count wrong where only this is known; "" if not."""
    for choices in _NEEDS.get(probe, ()):
        absent = [
            " and ".join(fact for fact in numbers.macros.values() if fact not in known)
            for numbers in choices
        ]
        if all(absent):
            return f"the kernel's BTF does not tell {choices[0].tell}: no {' and no '.join(absent)}"
    return ""
