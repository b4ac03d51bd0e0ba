# SPDX-License-Identifier: GPL-2.0-only
"""LPT that differs between sides or changes in one of them, and recordings that ended early."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Optional

import jsonschema
import pytest

from lpttrace.blocks import Blocks, reduce
from lpttrace.blocks_lpt import LptPhase
from lpttrace.cli_diff import DiffOptions, diff, report
from lpttrace.diff import compare
from lpttrace.diff_json import document
from lpttrace.diff_page import page
from lpttrace.diff_text import text
from lpttrace.diff_types import Difference
from lpttrace.recording_reader import Recording as FileRecording
from lpttrace.report import by_label, report_of
from lpttrace.report_page import page as report_page
from lpttrace.snapshot import Account, LptUpdates
from tests.unit import recorded, timed
from tests.unit.recordings import HOST, Plan, Recording, record
from tests.unit.test_diff import DOCS

Told = Callable[[int], Optional[LptUpdates]]

HZ = HOST.counter_hz or 0
PUBLISHED = LptUpdates(
    {"published": Account(1, 900)},
    structure=replace(timed.STRUCTURE, native_freq=HZ, sequence_number=2),
)
# Twice the PV frequency: one bit of the fraction more, and less.
FASTER = replace(
    timed.STRUCTURE,
    pv_freq=2 * timed.STRUCTURE.pv_freq,
    scale_mult=1 << 63,
    fracbits=60,
    rscale_mult=1 << 60,
    rfracbits=63,
)


def run(told: Told, problem: Optional[str] = None) -> Blocks:
    """A VM whose LPT is that at each second."""
    made = record(1, Plan(seconds=20, vcpus=1)).made
    frames = []
    for second, frame in enumerate(made):
        vms = tuple(replace(vm, lpt=told(second)) for vm in frame.snapshot.vms)
        frames.append(replace(frame, snapshot=replace(frame.snapshot, vms=vms)))
    found = reduce(Recording(HOST, frames, problem))
    assert found is not None
    return found


def compared(before: Told, after: Told) -> Difference:
    return compare([run(before)], [run(after)]).difference


def published(_second: int) -> LptUpdates:
    return PUBLISHED


def off(_second: int) -> LptUpdates:
    return LptUpdates(nothing=1)


def turned_on(second: int) -> LptUpdates:
    return published(second) if second >= 10 else off(second)


def migrated(second: int) -> LptUpdates:
    return replace(PUBLISHED, structure=FASTER) if second >= 10 else PUBLISHED


def broken(_second: int) -> LptUpdates:
    return replace(PUBLISHED, structure=replace(FASTER, revision=1))


def test_the_same_on_both_sides_is_not_told() -> None:
    assert compared(published, published).lpt == ()
    assert compared(lambda _: None, published).lpt == ()
    assert "Live Physical Time" not in text(compared(off, off))


def test_on_one_side_only() -> None:
    (change,) = compared(published, off).lpt
    assert [phase.state for phase in change.before.phases] == ["published"]
    assert [phase.state for phase in change.after.phases] == ["off"]
    assert change.before.updates == change.after.updates == 0


def test_within_a_side() -> None:
    (change,) = compared(turned_on, turned_on).lpt
    assert [phase.state for phase in change.after.phases] == ["off", "published"]
    assert change.after.updates == 1


def test_another_frequency_promised() -> None:
    (change,) = compared(published, migrated).lpt
    assert [phase.pv_hz for phase in change.after.phases] == [100_000_000, 200_000_000]
    assert change.before.phases == (LptPhase(change.before.phases[0].state, 100_000_000, HZ),)


def test_a_wrong_structure_is_a_state_not_a_frequency() -> None:
    (change,) = compared(published, broken).lpt
    assert change.after.phases == (LptPhase("wrong", 0, 0),)
    told = text(compare([run(published)], [run(broken)]).difference)
    assert "200 MHz" not in told


def test_it_is_told_everywhere() -> None:
    found = compare([run(published)], [run(turned_on)])
    told = text(found.difference)
    assert "Live Physical Time changed:" in told and "off, then " in told and "; 1 updates" in told
    assert "Live Physical Time changed" in page(found)
    (change,) = document(found.difference)["lpt"]
    assert change["after"]["phases"][0] == {"state": "off", "pv_hz": None, "native_hz": None}
    assert change["after"]["updates"] == 1


def test_a_recording_that_gone_early_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recorded.record(tmp_path / "a", recorded.synthetic(2, 2, 35))
    whole = str(path)
    cut = tmp_path / "cut"
    cut.write_bytes(path.read_bytes()[:-9])
    report([str(cut)])
    assert f"ended early: {cut} is cut off or damaged at byte" in capsys.readouterr().out
    report([whole])
    assert "ended early" not in capsys.readouterr().out
    diff(DiffOptions([whole], [str(cut)]))
    out = capsys.readouterr().out
    before, after = out.splitlines()[:2]
    assert "ended early" not in before and f"ended early: {cut} is cut off" in after


def test_pages_and_json_say_so_too(tmp_path: Path) -> None:
    path = recorded.record(tmp_path / "a", recorded.synthetic(1, 2, 35))
    path.write_bytes(path.read_bytes()[:-9])
    with FileRecording(str(path)) as recording:
        blocks = reduce(recording, by_label)
    assert blocks is not None
    assert "ended early: " in report_page(report_of(blocks))
    found = compare([blocks], [blocks])
    assert "ended early: " in page(found)
    told = document(found.difference)
    assert "cut off or damaged" in told["before"][0]["problem"]
    schema = (DOCS / "diff.schema.json").read_text()
    jsonschema.validate(told, json.loads(schema))
