# SPDX-License-Identifier: GPL-2.0-only
"""LPT and answers as people see them."""

from __future__ import annotations

from dataclasses import replace

from lpttrace.model import Model, compare, tally
from lpttrace.render_lpt import answers_line, lpt_cell, lpt_lines
from lpttrace.snapshot import Answers, LptUpdates
from tests.unit import timed


def test_lines(model: Model) -> None:
    assert [", ".join(lpt_lines(vm)) for vm in model.vms] == [
        "native 24 MHz, PV 100 MHz, sequence 2, "
        "scale off by <0.001 ppb native to PV, <0.001 ppb PV to native, 1 published (12.3 µs)",
        "2 einval (1.50 µs), last error EINVAL",
        "off for this VM",
        "unknown: no update seen, the VM ran before lpttrace was attached",
    ]


def test_what_cannot_be_seen() -> None:
    snapshot = timed.after()
    vms = tuple(replace(vm, lpt=None) for vm in snapshot.vms)
    model = compare(None, tally(replace(snapshot, vms=vms)), timed.GUESTS)
    assert [lpt_lines(vm) for vm in model.vms] == [("n/a",)] * 3
    assert [lpt_cell(vm) for vm in model.vms] == ["n/a", "refused", "n/a"]


def test_a_migrated_vm() -> None:
    vm = timed.timed().vms[0]
    assert lpt_lines(vm) == (
        "native 25 MHz (migrated from 62.5 MHz), PV 100 MHz, sequence 4",
        "scale off by 0 ppb native to PV, 0 ppb PV to native, 1 published (12.3 µs)",
    )


def test_a_wrong_structure_has_no_numbers() -> None:
    vm = timed.timed().vms[2]
    assert (lpt_cell(vm), lpt_lines(vm)) == ("wrong", ("wrong, 1 published (12.3 µs)",))


def test_a_structure_without_frequencies() -> None:
    snapshot = timed.after()
    lpt = LptUpdates(structure=replace(timed.STRUCTURE, native_freq=0, pv_freq=0))
    vm = replace(snapshot.vms[0], lpt=lpt)
    model = compare(None, tally(replace(snapshot, vms=(vm,))), timed.GUESTS)
    assert lpt_lines(model.vms[0]) == ("wrong",)
    assert len(model.vms[0].findings) >= 2


def test_answers() -> None:
    assert answers_line(None) == answers_line({}) == ""
    granted = {"features_st": Answers(2, 0, 0), "st": Answers(2, 0, 4096)}
    assert answers_line(granted) == "asked for stolen time: granted 4 of 4"
    told = {**granted, "features_lpt": Answers(3, 1, -1)}
    assert answers_line(told) == (
        "asked for LPT: refused 1 of 3; asked for stolen time: granted 4 of 4"
    )
