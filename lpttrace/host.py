# SPDX-License-Identifier: GPL-2.0-only
"""Facts of this host, found by looking and trying, never by version.

Each is yes, no or unknown, with the reason and what to do about it. Nothing is decided here.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable, Optional

from lpttrace.btf import Btf, read_btf
from lpttrace.counter import counter_frequency
from lpttrace.errors import HostError

__all__ = ["NO", "UNKNOWN", "YES", "Fact", "HostFacts", "probe_host"]

YES, NO, UNKNOWN = "yes", "no", "unknown"

_CAP_PERFMON, _CAP_BPF, _CAP_SYS_ADMIN = 38, 39, 21

# The host's own timer tells at which level its kernel runs: with VHE it uses the EL2 physical
# timer, PPI 26; else the EL1 physical, 30 (arch_timer_select_ppi(), the same in 5.8 to 7.2; the
# numbers are those of the Arm Base System Architecture and of every device tree in the kernel).
_TIMER_PPIS = {26: "vhe", 30: "nvhe"}

_NEEDED_OFFSETS = ("kvm_vcpu.kvm", "kvm_vcpu.vcpu_id")
_OPTIONAL_OFFSETS = (
    "kvm_vcpu.arch.ctxt",
    "kvm_vcpu.arch.ctxt.sys_regs",
    "kvm_vcpu.arch.timer_cpu.timers",
    "kvm_vcpu.arch.steal.last_steal",
    "arch_timer_context.vcpu",
    "arch_timer_context.timer_id",
    "arch_timer_context.offset",
    "arch_timer_context.hrtimer",
    "hrtimer._softexpires",
    "file.private_data",
)
_SYSREGS = ("CNTP_CTL_EL0", "CNTV_CTL_EL0")
_TIMER_CONTEXT = "arch_timer_context"


@dataclass(frozen=True)
class Fact:
    """One thing this host has, has not, or does not tell."""

    name: str
    state: str
    detail: str
    advice: str = ""


@dataclass(frozen=True)
class HostFacts:
    """All facts, and the numbers that the programs need.

    offsets are bytes by "struct.member", sizes in bytes by structure, and values of enum
    vcpu_sysreg by enumerator; what the kernel has not is absent. symbols are kernel addresses by
    name, 0 where hidden; el2 is "vhe", "nvhe" or None where it cannot be told; counter_hz the
    frequency of the counter that guests see, None where it cannot be read.
    """

    facts: tuple[Fact, ...]
    offsets: Mapping[str, int] = field(default_factory=dict)
    symbols: Mapping[str, int] = field(default_factory=dict)
    el2: Optional[str] = None
    counter_hz: Optional[int] = None

    def __getitem__(self, name: str) -> Fact:
        """The fact of that name; KeyError if there is none."""
        for fact in self.facts:
            if fact.name == name:
                return fact
        raise KeyError(name)


def _architecture() -> Fact:
    machine = platform.machine()
    if machine == "aarch64":
        return Fact("architecture", YES, machine)
    return Fact(
        "architecture",
        NO,
        f"{machine}, not aarch64",
        "run it on an arm64 KVM host, or try the emulated one: make demo",
    )


def _privilege(root: Path) -> Fact:
    try:
        status = (root / "proc/self/status").read_text()
    except OSError as error:
        return Fact("privilege", UNKNOWN, f"cannot read /proc/self/status: {error.strerror}")
    match = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.M)
    caps = int(match[1], 16) if match else 0

    def has(bit: int) -> bool:
        return bool(caps >> bit & 1)

    if has(_CAP_SYS_ADMIN) or (has(_CAP_BPF) and has(_CAP_PERFMON)):
        return Fact("privilege", YES, f"uid {os.geteuid()}, may load BPF programs")
    return Fact(
        "privilege",
        NO,
        f"uid {os.geteuid()} has neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON",
        "run it as root",
    )


def _kvm(root: Path) -> Fact:
    if os.path.exists(root / "dev/kvm"):
        return Fact("kvm", YES, "/dev/kvm")
    return Fact(
        "kvm",
        NO,
        "/dev/kvm does not exist: the kernel has no KVM, or was not booted at EL2",
        "see the kernel's messages about kvm",
    )


def _lockdown(root: Path) -> Fact:
    # "yes" is good news in every fact: the kernel is not locked down.
    try:
        levels = (root / "sys/kernel/security/lockdown").read_text()
    except OSError:
        return Fact("lockdown", UNKNOWN, "no /sys/kernel/security/lockdown; likely not locked down")
    match = re.search(r"\[(\w+)\]", levels)
    level = match[1] if match else levels.strip()
    if level != "confidentiality":
        return Fact("lockdown", YES, level)
    return Fact(
        "lockdown",
        NO,
        "the kernel is locked down for confidentiality: no BPF program may read kernel memory",
        "boot with lockdown=integrity or none",
    )


def _tracefs(root: Path) -> Fact:
    for place in ("sys/kernel/tracing", "sys/kernel/debug/tracing"):
        try:
            os.stat(root / place / "events")
        except PermissionError:
            return Fact("tracefs", UNKNOWN, f"may not look into /{place}")
        except OSError:
            continue
        return Fact("tracefs", YES, f"/{place}")
    return Fact(
        "tracefs",
        NO,
        "not mounted; lpttrace attaches without it",
        "mount -t tracefs tracefs /sys/kernel/tracing",
    )


def _btf(root: Path) -> tuple[Fact, dict[str, int]]:
    path = root / "sys/kernel/btf/vmlinux"
    try:
        btf = read_btf(path)
        numbers = {name: btf.offset(name) for name in _NEEDED_OFFSETS}
    except OSError as error:
        advice = "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y"
        return Fact("btf", NO, f"cannot read /sys/kernel/btf/vmlinux: {error.strerror}", advice), {}
    except HostError as error:
        return Fact("btf", NO, str(error), "boot a kernel with KVM built in"), {}
    numbers.update(_optional_numbers(btf))
    return Fact("btf", YES, "/sys/kernel/btf/vmlinux"), numbers


def _optional_numbers(btf: Btf) -> dict[str, int]:
    lookups: dict[str, Callable[[], int]] = {
        **{name: partial(btf.offset, name) for name in _OPTIONAL_OFFSETS},
        **{name: partial(btf.enumerator, "vcpu_sysreg", name) for name in _SYSREGS},
        _TIMER_CONTEXT: partial(btf.size, _TIMER_CONTEXT),
    }
    numbers = {}
    for name, look_up in lookups.items():
        with contextlib.suppress(HostError):
            numbers[name] = look_up()
    return numbers


def _kprobes(root: Path) -> Fact:
    if not os.path.exists(root / "sys/bus/event_source/devices/kprobe"):
        advice = "boot a kernel built with CONFIG_KPROBE_EVENTS=y"
        return Fact("kprobes", NO, "this kernel has no kprobes", advice)
    switch = "sys/kernel/debug/kprobes/enabled"
    try:
        enabled = (root / switch).read_text().strip()
    except OSError:
        enabled = "1"
    if enabled == "0":
        return Fact("kprobes", NO, "kprobes are switched off on this host", f"echo 1 > /{switch}")
    return Fact("kprobes", YES, "/sys/bus/event_source/devices/kprobe")


def _symbols(root: Path, names: tuple[str, ...]) -> tuple[Fact, dict[str, int]]:
    try:
        text = (root / "proc/kallsyms").read_bytes()
    except OSError as error:
        return Fact("kallsyms", UNKNOWN, f"cannot read /proc/kallsyms: {error.strerror}"), {}
    wanted = b"|".join(re.escape(name.encode()) for name in names)
    found = re.findall(rb"^([0-9a-f]+) \S (" + wanted + rb")(?:[ \t].*)?$", text, re.M)
    symbols = {name.decode(): int(address, 16) for address, name in found}
    if symbols and not any(symbols.values()):
        advice = "run it as root, with kernel.kptr_restrict at most 1"
        return Fact("kallsyms", NO, "/proc/kallsyms hides addresses", advice), symbols
    return Fact("kallsyms", YES, "/proc/kallsyms"), symbols


def _el2(root: Path) -> tuple[Fact, Optional[str]]:
    try:
        interrupts = (root / "proc/interrupts").read_text()
    except OSError as error:
        return Fact("el2", UNKNOWN, f"cannot read /proc/interrupts: {error.strerror}"), None
    for line in interrupts.splitlines():
        match = re.search(r"\sGICv?\S*\s+(\d+)\s+\S+\s+arch_timer$", line)
        if match and int(match[1]) in _TIMER_PPIS:
            mode = _TIMER_PPIS[int(match[1])]
            return Fact("el2", YES, f"{mode}: the host's own timer is PPI {match[1]}"), mode
    return Fact("el2", UNKNOWN, "no arch_timer of a known number in /proc/interrupts"), None


def _counter() -> tuple[Fact, Optional[int]]:
    try:
        hertz = counter_frequency()
    except OSError as error:
        return Fact("counter", UNKNOWN, f"cannot read CNTFRQ_EL0: {error}"), None
    return Fact("counter", YES, f"{hertz} Hz"), hertz


def probe_host(symbols: tuple[str, ...], root: Path = Path("/")) -> HostFacts:
    """Everything about this host that needs no BPF; root is where /proc, /sys and /dev are."""
    btf, offsets = _btf(root)
    kallsyms, addresses = _symbols(root, symbols)
    el2, mode = _el2(root)
    counter, hertz = _counter()
    facts = (
        _architecture(),
        _privilege(root),
        _kvm(root),
        el2,
        counter,
        _lockdown(root),
        btf,
        kallsyms,
        _kprobes(root),
        _tracefs(root),
    )
    return HostFacts(facts, offsets, addresses, mode, hertz)
