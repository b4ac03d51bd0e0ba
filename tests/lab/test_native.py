# SPDX-License-Identifier: GPL-2.0-only
"""The BPF programs on this machine's own kernel: no headers, no arm64, but a real verifier."""

from __future__ import annotations

import os
import resource
import sys
import venv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from lpttrace import attach, loader
from lpttrace.attach import LEDGER, Attachment
from lpttrace.errors import BccError
from lpttrace.host import probe_host
from lpttrace.live import LiveOptions, explain_outcomes
from lpttrace.maps import lookup_u32
from lpttrace.plan import PROBES, Plan, make_plan, symbols_wanted

FACTS = probe_host(symbols_wanted("kvm_update_lpt_time"))
BCC_PYTHON = "/usr/bin/python3"

# What an arm64 kernel has and this machine's need not: numbers of Debian's 6.12, by group of macros
# that come together. Nothing here runs, so that only the verifier sees them.
ARM64: Mapping[str, Mapping[str, int]] = {
    "guest registers": {"kvm_vcpu.arch.ctxt": 256},
    "hardware timers": {
        "kvm_vcpu.arch.ctxt.sys_regs": 1088,
        "CNTP_CTL_EL0": 177,
        "CNTV_CTL_EL0": 175,
    },
    "emulated timers": {
        "kvm_vcpu.arch.timer_cpu.timers": 4896,
        "arch_timer_context": 104,
        "arch_timer_context.hrtimer": 8,
        "hrtimer._softexpires": 32,
    },
    "timer to vcpu": {"arch_timer_context.vcpu": 0},
    "timer to its number": {"arch_timer_context.timer_id": 108},
    "timer offsets": {"arch_timer_context.offset": 64},
    "stolen time": {"kvm_vcpu.arch.steal.last_steal": 6040},
    "file to vm": {"file.private_data": 200},
}
# A kernel has one of the two, not both.
OR = ("timer to vcpu", "timer to its number")
NEWEST = tuple(group for group in ARM64 if group != OR[0])
NEEDED = {"kvm_vcpu.kvm": 0, "kvm_vcpu.vcpu_id": 36}
SYMBOLS = {"kvm_running_vcpu": 0xFFFF000000001000, "__per_cpu_offset": 0xFFFF000000002000}


def arm64_plan(*groups: str, max_vcpus: int = 16) -> Plan:
    """The plan for a kernel that has these groups of numbers only."""
    numbers = {name: n for group in groups for name, n in ARM64[group].items()}
    facts = replace(FACTS, offsets={**NEEDED, **numbers}, symbols=SYMBOLS)
    return make_plan(facts, max_vcpus)


def refused(attachment: Attachment) -> dict[str, str]:
    """Programs that the verifier refused, with its words. An errno means that a program was
    loaded and only its hook is not in this kernel."""
    outcomes = attachment.outcomes
    return {o.probe.name: o.detail for o in outcomes if not o.attached and not o.code}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(FACTS, max_vcpus=16)


def cpu_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_programs_load_in_little_time() -> None:
    before = cpu_seconds_of_children()
    with Attachment(arm64_plan(*NEWEST, max_vcpus=LiveOptions().max_vcpus)) as attachment:
        assert attachment.maps
    assert cpu_seconds_of_children() - before < 1.5


@pytest.mark.parametrize("max_vcpus", [1, 500, LiveOptions().max_vcpus, 8192])
def test_every_program_passes_the_verifier(max_vcpus: int) -> None:
    plan = arm64_plan(*NEWEST, max_vcpus=max_vcpus)
    assert plan.left_out == {}
    with Attachment(plan) as attachment:
        assert refused(attachment) == {}
        attached = {o.probe.name for o in attachment.outcomes if o.attached}
    assert {"kvm_entry", "kvm_userspace_exit"} <= attached


@pytest.mark.parametrize("absent", OR)
def test_every_program_passes_the_verifier_with_all_that_arm64_has(absent: str) -> None:
    groups = [group for group in ARM64 if group != absent]
    with Attachment(arm64_plan(*groups, max_vcpus=LiveOptions().max_vcpus)) as attachment:
        assert refused(attachment) == {}


@pytest.mark.parametrize("group", ARM64)
def test_what_is_planned_passes_the_verifier_with_one_group_of_numbers(group: str) -> None:
    assert len(arm64_plan(group).defines) > len(arm64_plan().defines)
    with Attachment(arm64_plan(group)) as attachment:
        assert refused(attachment) == {}


def test_what_is_planned_passes_the_verifier_without_any_optional_number() -> None:
    facts = replace(FACTS, offsets=NEEDED, symbols={})
    with Attachment(make_plan(facts, 16)) as attachment:
        assert refused(attachment) == {}


def test_what_this_kernel_lacks_is_named(plan: Plan) -> None:
    with Attachment(plan) as attachment:
        probes = {probe.name: probe for probe in explain_outcomes(attachment, plan, FACTS)}
    assert probes["kvm_hvc_arm64"].reason == "this kernel has no tracepoint kvm_hvc_arm64"
    assert set(probes) == {probe.name for probe in PROBES}
    assert all(probe.attached or probe.reason for probe in probes.values())


def test_maps_arrive_filled_and_detaching_closes_every_descriptor(plan: Plan) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with Attachment(plan) as attachment:
        assert set(attachment.maps) == {*loader.MAPS, LEDGER}
        assert lookup_u32(attachment.maps["tids"], bytes(4)) is None
    assert set(os.listdir("/proc/self/fd")) == before


def test_the_agent_never_maps_llvm(plan: Plan) -> None:
    with Attachment(plan):
        mapped = Path("/proc/self/maps").read_text()
    assert "libbcc" not in mapped and "libLLVM" not in mapped
    assert "bcc" not in sys.modules


@pytest.mark.parametrize("groups", [(), tuple(ARM64)], ids=["nothing", "everything"])
def test_programs_compile_without_a_warning(groups: tuple[str, ...]) -> None:
    answer, fds = attach.ask_loader(BCC_PYTHON, arm64_plan(*groups), ["-Wall", "-Werror"])
    for fd in fds:
        os.close(fd)
    assert answer["ok"], answer


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("venv")
    venv.create(directory, with_pip=False, symlinks=True)
    return directory / "bin" / "python"


def test_bcc_missing(plan: Plan, bare_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "interpreters", lambda: iter([str(bare_python)]))
    with pytest.raises(BccError, match="cannot import bcc: .*; install python3-bpfcc"):
        Attachment(plan)


def test_the_wrong_bcc(plan: Plan, bare_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = next(bare_python.parent.parent.glob("lib/python*/site-packages"))
    (site / "bcc").mkdir()
    # As PyPI's package, it has no class BPF.
    (site / "bcc" / "__init__.py").write_text('"""N-dim invertible BCC lattice"""\n')
    monkeypatch.setattr(attach, "interpreters", lambda: iter([str(bare_python)]))
    with pytest.raises(BccError, match=r"bcc/__init__.py: it is PyPI's .*pip uninstall bcc"):
        Attachment(plan)


def test_a_wrong_bcc_does_not_hide_the_distributions(plan: Plan, bare_python: Path) -> None:
    def both() -> list[str]:
        return [str(bare_python), BCC_PYTHON]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attach, "interpreters", lambda: iter(both()))
        with Attachment(plan) as attachment:
            assert attachment.maps


def test_a_program_that_does_not_compile_says_where(plan: Plan) -> None:
    broken = replace(plan, defines={**plan.defines, "LPT_HVC_UNKNOWN": 1})
    with pytest.raises(BccError, match=r"cannot compile .*main.c:\d+:\d+: error"):
        Attachment(broken)
