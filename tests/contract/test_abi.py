# SPDX-License-Identifier: GPL-2.0-only
"""lpttrace/abi.py against bpf/lpttrace_abi.h, as the C compiler lays it out."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
from pathlib import Path
from typing import Optional, cast

import pytest

from lpttrace import abi

HEADER = Path(__file__).resolve().parents[2] / "bpf" / "lpttrace_abi.h"

STRUCTURES = {
    "lpt_account": abi.Account,
    "lpt_cell": abi.Cell,
    "lpt_slot": abi.Slot,
    "lpt_structure": abi.Structure,
    "lpt_vm": abi.Vm,
    "lpt_losses": abi.Losses,
    "lpt_histogram": abi.Histogram,
    "lpt_interrupts": abi.Interrupts,
    "lpt_answers": abi.Answers,
    "lpt_stolen": abi.Stolen,
    "lpt_calls": abi.Calls,
    "lpt_event_key": abi.EventKey,
    "lpt_event": abi.Event,
    "lpt_space": abi.Space,
    "lpt_room": abi.Room,
}

ENUMS = {
    "LPT_{}": abi.STATES,
    "LPT_UPDATE_{}": abi.UPDATE_RESULTS,
    "LPT_TIMER_{}": abi.TIMERS,
    "LPT_ASKED_{}": abi.QUESTIONS,
    "LPT_CALL_{}": abi.CALLS,
    "LPT_EVENT_{}": abi.EVENT_KINDS,
}


def fields(layout: type[ctypes.Structure]) -> list[str]:
    return [field[0] for field in layout._fields_]


def enum_names() -> dict[str, int]:
    names = {
        pattern.format(name.upper()): value
        for pattern, values in ENUMS.items()
        for value, name in enumerate(values)
    }
    names |= {f"LPT_{name.upper()}": value for value, name in enumerate(abi.OUTCOMES)}
    names |= {f"LPT_HVC_{c.name.upper()}": i for i, c in enumerate(abi.CLASSES) if c.kind[0] == "h"}
    names |= {
        f"LPT_{c.direction.upper()}_{c.name.upper()}": i
        for i, c in enumerate(abi.CLASSES)
        if c.kind == "timer"
    }
    names["LPT_CLASS_NONE"] = abi.NO_CLASS
    names["LPT_CLASS_COUNT"] = len(abi.CLASSES)
    names["LPT_OUTCOME_COUNT"] = len(abi.OUTCOMES)
    names["LPT_UPDATE_RESULT_COUNT"] = len(abi.UPDATE_RESULTS)
    names["LPT_TIMER_COUNT"] = len(abi.TIMERS)
    names["LPT_QUESTION_COUNT"] = len(abi.QUESTIONS)
    names["LPT_CALL_COUNT"] = len(abi.CALLS)
    names["LPT_EVENT_KIND_COUNT"] = len(abi.EVENT_KINDS)
    names["LPT_BUCKETS"] = abi.BUCKETS
    names["LPT_ABI_VERSION"] = abi.ABI_VERSION
    return names


def probe_source() -> str:
    lines = ["#include <stddef.h>", "#include <stdio.h>", f'#include "{HEADER}"', "int main(void)"]
    lines += ["{", 'puts("{");']
    for c_name, layout in STRUCTURES.items():
        lines.append(f'printf("\\"{c_name}\\": %zu,\\n", sizeof(struct {c_name}));')
        for field in fields(layout):
            member = f"((struct {c_name} *)0)->{field}"
            lines.append(
                f'printf("\\"{c_name}.{field}\\": [%zu, %zu],\\n", '
                f"offsetof(struct {c_name}, {field}), sizeof({member}));"
            )
    lines += [f'printf("\\"{name}\\": %d,\\n", (int){name});' for name in enum_names()]
    return "\n".join([*lines, 'puts("\\"end\\": 0}");', "return 0;", "}"])


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    directory = tmp_path_factory.mktemp("abi")
    (directory / "probe.c").write_text(probe_source())
    warnings = ["-Wall", "-Wextra", "-Werror"]
    command = ["cc", *warnings, "-o", str(directory / "probe"), str(directory / "probe.c")]
    subprocess.run(command, check=True)
    output = subprocess.run([directory / "probe"], check=True, capture_output=True, text=True)
    result: dict[str, object] = json.loads(output.stdout)
    return result


@pytest.mark.parametrize("c_name", STRUCTURES)
def test_structure(compiled: dict[str, object], c_name: str) -> None:
    layout = STRUCTURES[c_name]
    assert compiled[c_name] == ctypes.sizeof(layout)
    for field in fields(layout):
        descriptor = getattr(layout, field)
        assert compiled[f"{c_name}.{field}"] == [descriptor.offset, descriptor.size], field


def test_enums_and_constants(compiled: dict[str, object]) -> None:
    assert {name: compiled[name] for name in enum_names()} == enum_names()


def test_every_structure_of_the_header_is_mirrored() -> None:
    declared = {
        line.split()[1] for line in HEADER.read_text().splitlines() if line.startswith("struct ")
    }
    assert declared == set(STRUCTURES)


def test_the_head_of_a_slot_is_what_comes_before_its_sequence(compiled: dict[str, object]) -> None:
    (sequence, _) = cast("list[int]", compiled["lpt_slot.sequence"])
    for field in fields(abi.SlotHead):
        assert getattr(abi.SlotHead, field).offset == getattr(abi.Slot, field).offset
    last = getattr(abi.SlotHead, fields(abi.SlotHead)[-1])
    assert last.offset + last.size == sequence


def test_all_histograms_of_a_vcpu_fit_into_64_kib() -> None:
    assert ctypes.sizeof(abi.Slot) <= 64 << 10


def test_timers_and_their_interrupts() -> None:
    text = HEADER.read_text()
    timers = text[text.index("define LPT_TIMERS") : text.index("define LPT_ENUM_TIMER")]
    found = {name.lower(): int(intid) for name, intid in re.findall(r"X\((\w+), (\d+)\)", timers)}
    assert list(found.items()) == list(abi.TIMER_INTIDS.items())


@pytest.mark.parametrize(
    ("register", "timer"),
    [
        ("cntp_ctl_el0", "physical"),
        ("cntp_tval_el0", "physical"),
        ("cntv_cval_el0", "virtual"),
        ("cntpct_el0", None),
        ("cntvctss_el0", None),
        ("cntp_ctl_el02", None),
        ("cntv_cval_el02", None),
    ],
)
def test_the_timer_of_a_register(register: str, timer: Optional[str]) -> None:
    assert register in abi.REGISTERS
    assert abi.timer_of_register(register) == timer


def test_every_function_has_an_id_and_every_id_a_function() -> None:
    text = HEADER.read_text()
    ids = text[text.index("define LPT_FUNCTION_IDS") : text.index("/* Timer registers")]
    named = {
        line.split(",")[1].split(")")[0].strip() for line in ids.splitlines() if "X(0x" in line
    }
    assert named == {name.upper() for name in abi.FUNCTIONS}
