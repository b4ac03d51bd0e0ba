# SPDX-License-Identifier: GPL-2.0-only
"""host.py over trees that look like /proc and /sys of several hosts."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from lpttrace import host
from lpttrace.host import NO, UNKNOWN, YES, HostFacts, probe_host

SYMBOLS = ("kvm_running_vcpu", "__per_cpu_offset", "kvm_update_lpt_time")

NVHE = """\
           CPU0       CPU1
 11:       1021       2345     GICv3  30 Level     arch_timer
 12:          0          0     GICv3  27 Level     kvm guest vtimer
"""
VHE = """\
           CPU0
 11:       1021     GICv3  26 Level     arch_timer
 12:          0     GICv3  27 Level     kvm guest vtimer
 13:          0     GICv3  30 Level     kvm guest ptimer
"""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def facts_of(root: Path, files: dict[str, str]) -> HostFacts:
    write(root, files)
    return probe_host(SYMBOLS, root)


@pytest.mark.parametrize(
    ("interrupts", "mode", "state"),
    [(NVHE, "nvhe", YES), (VHE, "vhe", YES), ("CPU0\n", None, UNKNOWN)],
)
def test_el2(tmp_path: Path, interrupts: str, mode: str | None, state: str) -> None:
    facts = facts_of(tmp_path, {"proc/interrupts": interrupts})
    assert (facts.el2, facts["el2"].state) == (mode, state)


@pytest.mark.parametrize(
    ("level", "state"),
    [
        ("[none] integrity confidentiality", YES),
        ("none [integrity] confidentiality", YES),
        ("none integrity [confidentiality]", NO),
    ],
)
def test_lockdown(tmp_path: Path, level: str, state: str) -> None:
    facts = facts_of(tmp_path, {"sys/kernel/security/lockdown": level + "\n"})
    assert facts["lockdown"].state == state


def test_no_lockdown_file_is_unknown(tmp_path: Path) -> None:
    assert facts_of(tmp_path, {})["lockdown"].state == UNKNOWN


@pytest.mark.parametrize(
    ("caps", "state"),
    [
        ("000001ffffffffff", YES),
        ("000000c000000000", YES),
        ("0000008000000000", NO),
        ("0000000000000000", NO),
    ],
)
def test_privilege(tmp_path: Path, caps: str, state: str) -> None:
    facts = facts_of(tmp_path, {"proc/self/status": f"Name:\tx\nCapEff:\t{caps}\n"})
    assert facts["privilege"].state == state


def test_symbols_are_whole_names(tmp_path: Path) -> None:
    kallsyms = """\
ffff800008010000 T kvm_update_lpt_time_late
ffff800008010100 T kvm_update_lpt_time
ffff800008ab0000 d kvm_running_vcpu
ffff800009000000 D __per_cpu_offset\t[mod]
"""
    facts = facts_of(tmp_path, {"proc/kallsyms": kallsyms})
    assert facts.symbols == {
        "kvm_update_lpt_time": 0xFFFF800008010100,
        "kvm_running_vcpu": 0xFFFF800008AB0000,
        "__per_cpu_offset": 0xFFFF800009000000,
    }


def test_hidden_addresses(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, {"proc/kallsyms": "0000000000000000 T kvm_update_lpt_time\n"})
    assert facts["kallsyms"].state == NO
    assert "kptr_restrict" in facts["kallsyms"].advice


NEEDED = """
struct kvm { int a; };
struct kvm_vcpu { struct kvm *kvm; int pad[7]; int vcpu_id; };
struct kvm_vcpu vcpu;
"""

# As 6.12 has them, with other sizes.
WHOLE = """
struct kvm { int a; };
struct file { long mode; void *private_data; };
struct timerqueue_node { long rb[3]; long expires; };
struct hrtimer { struct timerqueue_node node; long _softexpires; void *function; };
struct kvm_vcpu;
struct arch_timer_context { struct kvm_vcpu *vcpu; struct hrtimer hrtimer; long ns_frac; };
struct arch_timer_cpu { struct arch_timer_context timers[4]; int enabled; };
enum vcpu_sysreg { __INVALID_SYSREG__, MPIDR_EL1, CNTV_CTL_EL0 = 175, CNTP_CTL_EL0 = 177 };
struct kvm_cpu_context { long regs[32]; unsigned long long sys_regs[200]; };
struct kvm_vcpu_arch {
	struct kvm_cpu_context ctxt;
	struct arch_timer_cpu timer_cpu;
	struct { long last_steal; long base; } steal;
};
struct kvm_vcpu { struct kvm *kvm; int pad[7]; int vcpu_id; long more; struct kvm_vcpu_arch arch; };
struct kvm_vcpu vcpu;
struct file file;
enum vcpu_sysreg sysreg;
"""
_CTXT = 48
_TIMERS = _CTXT + 8 * 32 + 8 * 200
_CONTEXT_SIZE = 8 + 6 * 8 + 8


def write_btf(root: Path, source: str) -> None:
    (root / "a.c").write_text(source)
    place = root / "sys/kernel/btf"
    place.mkdir(parents=True)
    subprocess.run(["cc", "-g", "-c", "-o", root / "a.o", root / "a.c"], check=True)
    detached = f"--btf_encode_detached={place / 'vmlinux'}"
    subprocess.run(["pahole", detached, root / "a.o"], check=True)


def test_numbers_of_a_kernel_that_has_everything(tmp_path: Path) -> None:
    write_btf(tmp_path, WHOLE)
    facts = probe_host(SYMBOLS, tmp_path)
    assert facts["btf"].state == YES
    assert facts.offsets == {
        "kvm_vcpu.kvm": 0,
        "kvm_vcpu.vcpu_id": 36,
        "kvm_vcpu.arch.ctxt": _CTXT,
        "kvm_vcpu.arch.ctxt.sys_regs": _CTXT + 8 * 32,
        "kvm_vcpu.arch.timer_cpu.timers": _TIMERS,
        "kvm_vcpu.arch.steal.last_steal": _TIMERS + 4 * _CONTEXT_SIZE + 8,
        "arch_timer_context": _CONTEXT_SIZE,
        "arch_timer_context.vcpu": 0,
        "arch_timer_context.hrtimer": 8,
        "hrtimer._softexpires": 32,
        "file.private_data": 8,
        "CNTP_CTL_EL0": 177,
        "CNTV_CTL_EL0": 175,
    }


def test_numbers_that_a_kernel_has_not_are_absent(tmp_path: Path) -> None:
    write_btf(tmp_path, NEEDED)
    facts = probe_host(SYMBOLS, tmp_path)
    assert facts["btf"].state == YES
    assert facts.offsets == {"kvm_vcpu.kvm": 0, "kvm_vcpu.vcpu_id": 36}


def test_a_kernel_without_kvm(tmp_path: Path) -> None:
    write_btf(tmp_path, "struct kvm { int a; } kvm;")
    facts = probe_host(SYMBOLS, tmp_path)
    assert (facts["btf"].state, facts.offsets) == (NO, {})
    assert "kvm_vcpu.kvm" in facts["btf"].detail


def test_the_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "counter_frequency", lambda: 25_000_000)
    facts = probe_host(SYMBOLS, tmp_path)
    assert (facts.counter_hz, facts["counter"].state) == (25_000_000, YES)
    assert facts["counter"].detail == "25000000 Hz"


def test_a_counter_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(host, "counter_frequency", refuse)
    facts = probe_host(SYMBOLS, tmp_path)
    assert (facts.counter_hz, facts["counter"].state) == (None, UNKNOWN)
    assert "Permission denied" in facts["counter"].detail


def test_an_empty_root_has_an_answer_to_everything(tmp_path: Path) -> None:
    facts = probe_host(SYMBOLS, tmp_path)
    machine = ("architecture", "counter")  # not read from files
    assert {fact.name: fact.state for fact in facts.facts if fact.name not in machine} == {
        "privilege": UNKNOWN,
        "kvm": NO,
        "el2": UNKNOWN,
        "lockdown": UNKNOWN,
        "btf": NO,
        "kallsyms": UNKNOWN,
        "kprobes": NO,
        "tracefs": NO,
    }
    assert all(fact.advice for fact in facts.facts if fact.state == NO)


def test_tracefs(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/debug/tracing/events").mkdir(parents=True)
    assert probe_host(SYMBOLS, tmp_path)["tracefs"].detail == "/sys/kernel/debug/tracing"


def test_kprobes_switched_off(tmp_path: Path) -> None:
    (tmp_path / "sys/bus/event_source/devices/kprobe").mkdir(parents=True)
    assert probe_host(SYMBOLS, tmp_path)["kprobes"].state == YES
    write(tmp_path, {"sys/kernel/debug/kprobes/enabled": "0\n"})
    fact = probe_host(SYMBOLS, tmp_path)["kprobes"]
    assert (fact.state, fact.advice) == (NO, "echo 1 > /sys/kernel/debug/kprobes/enabled")
