# SPDX-License-Identifier: GPL-2.0-only
"""LPT and pvtime of a VM, as people see it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Optional

from lpttrace.model import VmModel
from lpttrace.model_lpt import parts_per_billion, scale_errors
from lpttrace.render import NOT_VISIBLE, errno_name, frequency, mean
from lpttrace.snapshot import Answers, LptStructure, LptUpdates

__all__ = ["ALARM", "answers_line", "lpt_cell", "lpt_lines"]

ALARM = "ALARM"
"""Stands before what is wrong with what a guest was given."""

# A clock that drifts by this is off by 30 µs after a year; fixed point can do better.
_NO_DRIFT = Fraction(1, 10**12)

_WORDS = {
    "wrong": "wrong",
    "off": "off for this VM",
    "unknown": "unknown: no update seen, the VM ran before lpttrace was attached",
}
_SUBJECTS = {"LPT": ("features_lpt", "lpt"), "stolen time": ("features_st", "st")}


def lpt_cell(vm: VmModel) -> str:
    """The LPT state in one word of at most nine columns."""
    return vm.lpt_word or NOT_VISIBLE


def lpt_lines(vm: VmModel) -> tuple[str, ...]:
    """What is known of a VM's LPT; model.alarms says what is wrong with a wrong structure, whose
    numbers mean nothing."""
    lpt, state = vm.counters.lpt, vm.lpt_state
    if lpt is None or state is None:
        return (NOT_VISIBLE,)
    if lpt.structure is None or vm.findings:
        return (", ".join([*([_WORDS[state]] if state in _WORDS else []), *_updates(lpt)]),)
    head = (*_frequencies(lpt.structure, lpt.previous), f"sequence {lpt.structure.sequence_number}")
    return (", ".join(head), ", ".join((_scale_error(lpt.structure), *_updates(lpt))))


def _frequencies(structure: LptStructure, previous: Optional[LptStructure]) -> Iterator[str]:
    migrated = f" (migrated from {frequency(previous.native_freq)})" if previous else ""
    yield f"native {frequency(structure.native_freq)}{migrated}"
    yield f"PV {frequency(structure.pv_freq)}"


def _scale_error(structure: LptStructure) -> str:
    errors = scale_errors(structure)
    ways = ("native_to_pv", "native to PV"), ("pv_to_native", "PV to native")
    return "scale off by " + ", ".join(f"{_ppb(errors[way])} {words}" for way, words in ways)


def _ppb(error: Fraction) -> str:
    return "<0.001 ppb" if 0 < abs(error) < _NO_DRIFT else f"{parts_per_billion(error)} ppb"


def _updates(lpt: LptUpdates) -> Iterator[str]:
    for name, account in lpt.results.items():
        yield f"{account.count} {name} ({mean(account)})"
    if lpt.last_error:
        yield f"last error {errno_name(lpt.last_error)}"


def answers_line(answers: Optional[Mapping[str, Answers]]) -> str:
    """What the guest asked for and was told; empty if it did not ask, or cannot be seen."""
    told = (
        (subject, [answers[question] for question in questions if question in answers])
        for subject, questions in _SUBJECTS.items()
        if answers
    )
    return "; ".join(f"asked for {subject}: {_told(given)}" for subject, given in told if given)


def _told(answers: list[Answers]) -> str:
    asked = sum(answer.asked for answer in answers)
    refused = sum(answer.refused for answer in answers)
    if any(answer.last < 0 for answer in answers):
        return f"refused {refused} of {asked}"
    return f"granted {asked - refused} of {asked}"
