# SPDX-License-Identifier: GPL-2.0-only
"""host.py over trees that look like /proc and /sys of several hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_an_empty_root_has_an_answer_to_everything(tmp_path: Path) -> None:
    facts = probe_host(SYMBOLS, tmp_path)
    assert {fact.name: fact.state for fact in facts.facts if fact.name != "architecture"} == {
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
