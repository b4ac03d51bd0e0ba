# SPDX-License-Identifier: GPL-2.0-only
"""doctor.py: what it says of hosts that have and have not what a number needs."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from lpttrace import doctor
from lpttrace.attach import Outcome
from lpttrace.doctor import Diagnosis, diagnose, render_text
from lpttrace.host import NO, UNKNOWN, YES, Fact, HostFacts
from lpttrace.plan import PROBES, Plan

NAMES = ("architecture", "kvm", "privilege", "lockdown", "btf", "kallsyms", "kprobes", "tracefs")
NUMBERS = {
    "kvm_vcpu.kvm": 0,
    "kvm_vcpu.vcpu_id": 36,
    "kvm_vcpu.arch.ctxt": 256,
    "kvm_vcpu.arch.timer_cpu.timers": 4896,
    "arch_timer_context": 104,
    "arch_timer_context.hrtimer": 8,
    "hrtimer._softexpires": 32,
    "arch_timer_context.vcpu": 0,
    "kvm_vcpu.arch.steal.last_steal": 6040,
    "file.private_data": 200,
}
SYMBOLS = {probe.target: 0xFF00 for probe in PROBES}
GOOD = HostFacts(tuple(Fact(name, YES, "fine") for name in NAMES), NUMBERS, SYMBOLS, "nvhe")


class Attached:
    """In place of an Attachment: every probe but those missing, by name and errno."""

    missing: Mapping[str, int] = {}

    def __init__(self, plan: Plan) -> None:
        self.outcomes = tuple(
            Outcome(probe, probe.name not in self.missing, self.missing.get(probe.name, 0), "")
            for probe in plan.probes
        )

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(doctor, "Attachment", Attached)
    return monkeypatch


def examine(
    patch: pytest.MonkeyPatch, facts: HostFacts = GOOD, missing: Mapping[str, int] = {}
) -> Diagnosis:
    patch.setattr(doctor, "probe_host", lambda symbols: facts)
    patch.setattr(Attached, "missing", missing)
    return diagnose()


def ability(diagnosis: Diagnosis, name: str) -> Fact:
    (fact,) = (fact for fact in diagnosis.abilities if fact.name == name)
    return fact


EVERYTHING = (
    "hypercalls",
    "timer traps",
    "timer interrupts",
    "timer lateness",
    "stolen time",
    "pvtime answers",
    "VM attribute calls",
    "LPT updates",
    "previous LPT structure",
    "scheduled-out traps apart",
    "traps in the VMM apart",
)


def test_a_host_that_has_everything(patched: pytest.MonkeyPatch) -> None:
    diagnosis = examine(patched)
    assert (diagnosis.error, diagnosis.exit_status) == ("", 0)
    for name in EVERYTHING:
        fact = ability(diagnosis, name)
        assert fact.state == YES and fact.detail.startswith("by kvm_"), name


@pytest.mark.parametrize(
    ("probe", "code", "lost"),
    [
        ("kvm_timer_update_irq", errno.ENOENT, {"timer interrupts", "timer lateness"}),
        ("kvm_update_stolen_time_return", errno.EINVAL, {"stolen time"}),
        ("kvm_arch_vm_ioctl", errno.EINVAL, {"VM attribute calls"}),
        ("kvm_read_guest_return", errno.EINVAL, {"previous LPT structure"}),
        ("kvm_write_guest", errno.EINVAL, {"LPT updates", "previous LPT structure"}),
        ("kvm_hvc_arm64", errno.ENOENT, {"hypercalls", "pvtime answers"}),
        ("kvm_handle_sys_reg", errno.ENOENT, {"timer traps"}),
        ("kvm_arch_vcpu_load", errno.EINVAL, {"scheduled-out traps apart"}),
    ],
)
def test_a_probe_that_is_not_there(
    patched: pytest.MonkeyPatch, probe: str, code: int, lost: set[str]
) -> None:
    diagnosis = examine(patched, missing={probe: code})
    refused = {name for name in EVERYTHING if ability(diagnosis, name).state == NO}
    assert refused == lost
    target = probe.replace("_return", "")
    assert all(target in ability(diagnosis, name).detail for name in lost)


@pytest.mark.parametrize(
    ("number", "lost"),
    [
        ("hrtimer._softexpires", {"timer interrupts", "timer lateness"}),
        ("kvm_vcpu.arch.steal.last_steal", {"stolen time"}),
        ("kvm_vcpu.arch.ctxt", {"pvtime answers"}),
        ("file.private_data", {"VM attribute calls"}),
    ],
)
def test_a_number_that_the_kernel_does_not_tell(
    patched: pytest.MonkeyPatch, number: str, lost: set[str]
) -> None:
    numbers = {name: n for name, n in NUMBERS.items() if name != number}
    diagnosis = examine(patched, replace(GOOD, offsets=numbers))
    refused = {name: ability(diagnosis, name) for name in EVERYTHING}
    details = {name: fact.detail for name, fact in refused.items() if fact.state == NO}
    assert details.keys() == lost
    assert all(detail.startswith("the kernel's BTF does not tell w") for detail in details.values())
    assert all(detail.endswith(f": no {number}") for detail in details.values())


def test_a_kernel_without_lpt_is_told_what_it_lacks(patched: pytest.MonkeyPatch) -> None:
    lacks = {"kvm_update_lpt_time": errno.ENOENT, "kvm_update_lpt_time_return": errno.ENOENT}
    unpatched = {name: a for name, a in SYMBOLS.items() if name != "kvm_update_lpt_time"}
    diagnosis = examine(patched, replace(GOOD, symbols=unpatched), lacks)
    assert diagnosis.exit_status == 0
    for name in ("LPT updates", "previous LPT structure"):
        fact = ability(diagnosis, name)
        assert "no function kvm_update_lpt_time" in fact.detail
        assert "--lpt-symbol" in fact.advice


def test_without_the_main_job_the_verdict_is_no(patched: pytest.MonkeyPatch) -> None:
    diagnosis = examine(patched, missing={"kvm_hvc_arm64": errno.ENOENT})
    assert diagnosis.exit_status == 3
    assert "verdict: hypercalls or timer traps cannot be measured here" in render_text(diagnosis)


@pytest.mark.parametrize(
    ("el2", "state", "said"),
    [
        ("nvhe", YES, "accesses to CNTP_* always trap"),
        ("vhe", YES, "guests own the physical timer"),
        (None, UNKNOWN, "cannot tell whether this host runs VHE"),
    ],
)
def test_timer_registers(
    patched: pytest.MonkeyPatch, el2: str | None, state: str, said: str
) -> None:
    fact = ability(examine(patched, replace(GOOD, el2=el2)), "timer registers")
    assert fact.state == state and said in fact.detail


def test_what_is_out_of_sight_and_what_lpt_cannot_do_is_said(patched: pytest.MonkeyPatch) -> None:
    text = render_text(examine(patched))
    for said in (
        "a timer that hardware fires has no lateness here",
        "counter reads that a guest traps from its own user space go to the guest's own kernel",
        "firmware, and anything in the guest but its kernel, its user space too, still sees",
        "a guest of a guest gets no LPT",
        "only scales by powers of two",
    ):
        assert said in text
    assert text.splitlines()[-1] == "verdict: hypercalls and timer traps can be measured here"


def test_a_host_that_cannot_run_it(patched: pytest.MonkeyPatch) -> None:
    broken = Fact("kvm", NO, "no /dev/kvm", "boot at EL2")
    facts = replace(GOOD, facts=tuple(broken if f.name == "kvm" else f for f in GOOD.facts))
    diagnosis = examine(patched, facts)
    assert (diagnosis.abilities, diagnosis.exit_status) == ((), 3)
    assert "verdict: nothing can be measured: cannot trace KVM" in render_text(diagnosis)


def test_json_has_all_of_it(
    patched: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examine(patched)
    assert doctor.run(as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert {fact["name"] for fact in report["abilities"]} > set(EVERYTHING)
    assert [fact["name"] for fact in report["lpt_limits"]] == [f.name for f in doctor.LPT_LIMITS]
