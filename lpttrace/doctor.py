# SPDX-License-Identifier: GPL-2.0-only
"""What this host offers and what it cannot show, each with the reason and what to do.

The probes are tried for real and detached again: what a kernel has is found by doing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lpttrace.attach import Attachment
from lpttrace.catalog import (
    ANSWER_PROBES,
    CALL_PROBES,
    HYPERCALL_PROBES,
    INTERRUPT_PROBES,
    LATENESS_PROBES,
    LPT_PROBES,
    PREVIOUS_PROBES,
    STOLEN_PROBES,
    TIMER_TRAP_PROBES,
)
from lpttrace.errors import LpttraceError
from lpttrace.host import NO, UNKNOWN, YES, Fact, probe_host
from lpttrace.keep import PIN_ROOT, kept_directories, kept_elsewhere, owner, running
from lpttrace.live import explain_outcomes
from lpttrace.plan import LPT_SYMBOL, check_host, make_plan, symbols_wanted
from lpttrace.snapshot import Probe

__all__ = ["LPT_LIMITS", "Diagnosis", "diagnose", "kept_fact", "render_text", "run"]


@dataclass(frozen=True)
class _Ability:
    # Something to be seen where all probes are attached; note says what a "yes" does not.
    name: str
    probes: tuple[str, ...]
    note: str = ""
    advice: str = ""


_LPT_ADVICE = "needs a kernel with the LPT patches; if they renamed it, give --lpt-symbol"
_ABILITIES = (
    _Ability("hypercalls", HYPERCALL_PROBES),
    _Ability("timer traps", TIMER_TRAP_PROBES),
    _Ability("timer interrupts", INTERRUPT_PROBES),
    _Ability(
        "timer lateness",
        LATENESS_PROBES,
        "of timers that KVM emulates only (on nVHE the physical one): a timer that hardware fires "
        "has no lateness here",
    ),
    _Ability("stolen time", STOLEN_PROBES, "of guests that asked for it (PV_TIME_ST)"),
    _Ability("pvtime answers", ANSWER_PROBES),
    _Ability("VM attribute calls", CALL_PROBES),
    _Ability("LPT updates", LPT_PROBES, advice=_LPT_ADVICE),
    _Ability("previous LPT structure", (*LPT_PROBES, *PREVIOUS_PROBES), advice=_LPT_ADVICE),
    _Ability("scheduled-out traps apart", ("kvm_arch_vcpu_load",)),
    _Ability("traps in the VMM apart", ("kvm_userspace_exit",)),
)
# What the tool exists for; without the rest it is still worth running.
_MAIN_JOB = ("hypercalls", "timer traps")

_TIMERS = {
    "nvhe": Fact(
        "timer registers",
        YES,
        "this host runs nVHE: a guest's accesses to CNTP_* always trap and are counted; to CNTV_* "
        "and CNTVCT, which a Linux guest uses, never",
    ),
    "vhe": Fact(
        "timer registers",
        YES,
        "this host runs VHE: guests own the physical timer, so no timer register traps, and zero "
        "timer traps is the truth here, not a gap (from Linux 6.6 on a VM with a counter offset "
        "may trap CNTP_* on CPUs without FEAT_ECV; CNTPCT is then served at EL2, out of sight)",
    ),
    None: Fact(
        "timer registers",
        UNKNOWN,
        "cannot tell whether this host runs VHE, where no timer register traps",
        "look for 'kvm [1]: VHE mode initialized' in the kernel's messages",
    ),
}


# Out of sight on every host, whatever is attached (the kernel's hyp code, and its tracepoints).
_NEVER = (
    Fact(
        "AArch32 guests",
        NO,
        "timer accesses of 32-bit guests (CP15) pass another tracepoint and are not counted",
    ),
    Fact(
        "served at EL2",
        NO,
        "SMCCC_ARCH_WORKAROUND_1 to 3, some calls of protected VMs, and from Linux 6.6 on CNTPCT "
        "of VMs with a counter offset never reach the host kernel",
    ),
    Fact("SMC conduit", NO, "calls by SMC instead of HVC have no tracepoint"),
)

LPT_LIMITS = (
    Fact(
        "raw counter",
        NO,
        "firmware, and anything in the guest but its kernel, its user space too, still sees the "
        "raw counter, which changes its rate when the VM moves to a host of another frequency",
    ),
    Fact(
        "nested guests",
        NO,
        "a guest of a guest gets no LPT: a guest that is a hypervisor does not pass it on",
    ),
    Fact(
        "guest user space",
        NO,
        "counter reads that a guest traps from its own user space go to the guest's own kernel, "
        "and no number of lpttrace has them",
    ),
    Fact(
        "event stream",
        NO,
        "the counter's event stream, which ends waits in WFE, only scales by powers of two, so "
        "that after a migration it has only nearly the period that it had",
    ),
)
"""What a VM with LPT must not be taken to have (the RFC of 17 August 2020). The dashboard of LPT
and docs/architecture.md say it in the same words."""


@dataclass(frozen=True)
class Diagnosis:
    """facts of the host, what can be seen, every probe, and why nothing can be (or "").

    lpt_limits is what LPT itself does not do, on any host.
    """

    facts: tuple[Fact, ...]
    abilities: tuple[Fact, ...]
    probes: tuple[Probe, ...]
    error: str
    exit_status: int
    lpt_limits: tuple[Fact, ...] = LPT_LIMITS


def diagnose(lpt_symbol: str = LPT_SYMBOL, root: Path = PIN_ROOT) -> Diagnosis:
    """Look at this host and try every probe on it."""
    facts = probe_host(symbols_wanted(lpt_symbol))
    told = (*facts.facts, kept_fact(root))
    try:
        check_host(facts)
        plan = make_plan(facts, max_vcpus=1, lpt_symbol=lpt_symbol)
        with Attachment(plan) as attachment:
            probes = explain_outcomes(attachment, plan, facts)
    except LpttraceError as error:
        return Diagnosis(told, (), (), str(error), error.exit_status)
    abilities = (*_abilities(probes), _TIMERS[facts.el2], *_NEVER)
    able = all(fact.state == YES for fact in abilities if fact.name in _MAIN_JOB)
    return Diagnosis(told, abilities, probes, "", 0 if able else 3)


def kept_fact(root: Path) -> Fact:
    """Whether an agent runs, or what one that has ended has left counting in the kernel."""
    pins = kept_directories(root)
    pid = owner(root)
    if pid is not None:
        return Fact("agent", YES, f"{running(pid)} counts, and keeps it under {root}")
    if pins:
        return _left(root)
    if others := kept_elsewhere(root):
        return kept_fact(others[0])
    return Fact("agent", YES, "none runs, and none has left anything attached")


def _left(root: Path) -> Fact:
    option = "" if root == PIN_ROOT else f" --pin-dir {root}"
    return Fact(
        "agent",
        NO,
        f"no agent runs, but programs attached before go on counting under {root}",
        f"start lpttrace serve{option} again, or end them: lpttrace unload{option}",
    )


def _abilities(probes: tuple[Probe, ...]) -> tuple[Fact, ...]:
    missing = {probe.name: probe.reason for probe in probes if not probe.attached}
    return tuple(_ability(ability, missing) for ability in _ABILITIES)


def _ability(ability: _Ability, missing: Mapping[str, str]) -> Fact:
    for probe in ability.probes:
        if probe in missing:
            return Fact(ability.name, NO, missing[probe], ability.advice)
    by = f"by {', '.join(ability.probes)}"
    return Fact(ability.name, YES, f"{by}; {ability.note}" if ability.note else by)


def render_text(diagnosis: Diagnosis) -> str:
    """The diagnosis for people: one line a fact, ending with the verdict."""
    lines = ["this host"]
    lines += [_line(fact) for fact in diagnosis.facts]
    if diagnosis.abilities:
        lines += ["what lpttrace sees here"]
        lines += [_line(fact) for fact in diagnosis.abilities]
        lines += ["what LPT does not do for a guest, on any host"]
        lines += [_line(fact) for fact in diagnosis.lpt_limits]
    if diagnosis.error:
        lines.append(f"verdict: nothing can be measured: {diagnosis.error}")
    elif diagnosis.exit_status:
        lines.append("verdict: hypercalls or timer traps cannot be measured here")
    else:
        lines.append("verdict: hypercalls and timer traps can be measured here")
    return "\n".join(lines) + "\n"


_MARK = {YES: "ok", NO: "no", UNKNOWN: "?"}


def _line(fact: Fact) -> str:
    advice = f"; {fact.advice}" if fact.advice and fact.state != YES else ""
    return f"  {_MARK[fact.state]:2}  {fact.name:25}  {fact.detail}{advice}"


def run(as_json: bool, lpt_symbol: str = LPT_SYMBOL, root: Path = PIN_ROOT) -> int:
    """Print the diagnosis; the exit status says whether the main job can run (docs, errors)."""
    diagnosis = diagnose(lpt_symbol, root)
    print(json.dumps(asdict(diagnosis), indent=2) if as_json else render_text(diagnosis), end="")
    if as_json:
        print()
    return diagnosis.exit_status
