# SPDX-License-Identifier: GPL-2.0-only
"""diff and report as commands: what they print, write and end with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import jsonschema
import pytest

from lpttrace.analysis import MissingExtraError, need
from lpttrace.blocks import reduce
from lpttrace.cli_app import run
from lpttrace.cli_diff import FAILED, DiffOptions, Opener, diff, report
from lpttrace.diff import compare
from lpttrace.diff_windows import parse_window
from lpttrace.errors import LpttraceError, UsageError
from lpttrace.recording_types import Frames
from lpttrace.synthetic import SyntheticSource, identify
from tests.unit.conftest import NASTY
from tests.unit.recorded import record as to_file
from tests.unit.recordings import CTL_READ, HOST, SECOND, START, Plan, Recording, record

DOCS = Path(__file__).resolve().parents[2] / "docs"
OTHER_HOST = replace(HOST, hostname="host-b", kernel="6.12.0", el2="vhe", counter_hz=62_500_000)


@cache
def recordings() -> Mapping[str, Recording]:
    slower = record(11, Plan(slower={(None, CTL_READ): 1.3}))
    renamed = record(12, names=("web-2",))
    blind = record(13).without("kvm_handle_sys_reg", "kvm_update_stolen_time")
    return {
        "before": record(10),
        "slower": slower,
        "elsewhere": Recording(OTHER_HOST, slower.made),
        "renamed": renamed,
        "no-interrupts": record(14).without("kvm_timer_update_irq"),
        "blind": blind,
        "two": record(17, names=("web", "db")),
        "nasty": record(15, Plan(seconds=30), (NASTY, "b$x_{$")),
        "hostile": record(15, Plan(seconds=30), (NASTY,)).hostile(NASTY),
        "short": Recording(HOST, record(16, Plan(seconds=1)).made[:1]),
        "empty": Recording(HOST, []),
    }


@contextmanager
def opened(paths: Sequence[str]) -> Iterator[Frames]:
    (path,) = paths
    yield recordings()[Path(path).name]


def diffed(capsys: pytest.CaptureFixture[str], *args: str, **more: object) -> tuple[int, str]:
    options = DiffOptions(args[:1], args[1:] or args[:1], **more)  # type: ignore[arg-type]
    status = diff(options, opened)
    return status, capsys.readouterr().out


def test_text_has_the_change_first(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = diffed(capsys, "before", "slower")
    rows = text[text.index("VERDICT") :].splitlines()
    assert status == 0 and "hosts differ" not in text
    assert rows[1].startswith("regressed web  all cntp_ctl_el0 read mean")
    assert "1 regressed, 0 improved" in text and len(rows) == 2
    _, everything = diffed(capsys, "before", "slower", everything=True)
    assert "\nsame " in everything


def test_differences_of_the_hosts_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = diffed(capsys, "before", "elsewhere")
    for line in (
        "host: host-a -> host-b",
        "kernel: 6.1.0 -> 6.12.0",
        "hypervisor mode: nVHE -> VHE",
        "counter frequency: 25000000 Hz -> 62500000 Hz",
    ):
        assert text.index(line) < text.index("VERDICT")


def test_what_one_side_cannot_see_is_told_and_not_compared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, text = diffed(capsys, "before", "blind", everything=True)
    assert "timer traps: seen -> not seen: no kvm_handle_sys_reg here" in text
    assert "cannot tell: probe missing on one side (after): no kvm_update_stolen_time" in text
    assert "cntp_ctl" not in text and "vendor_hyp_kvm_ptp" in text


def test_without_interrupts_there_is_no_unit_of_work() -> None:
    before, after = (reduce(recordings()[name]) for name in ("no-interrupts", "no-interrupts"))
    busy = reduce(record(20, Plan(busy=3)).without("kvm_timer_update_irq"))
    assert before and after and busy
    rows = compare([before], [busy]).difference.rows
    told = {row.reason.split(":")[0] for row in rows if row.measure == "frequency"}
    assert "nothing to measure guest work by" in told
    assert not [row for row in rows if row.verdict in ("regressed", "improved")]
    assert {row.verdict for row in compare([before], [after]).difference.rows} == {
        "same",
        "cannot tell",
    }


def test_a_lone_vm_is_the_same_under_another_name(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = diffed(capsys, "before", "renamed")
    assert "only" not in text and "0 regressed" in text and "\nweb " in text
    _, text = diffed(capsys, "before", "nasty")
    assert "only before: web" in text and "\x1b" not in text


def test_vms_by_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = diffed(capsys, "before", "renamed", together=["web*"], as_json=True)
    assert {row["vm"] for row in json.loads(text)["rows"]} == {"web*"}
    with pytest.raises(LpttraceError, match="compare before, slower: no VM in them matches db"):
        diffed(capsys, "before", "slower", vms=["db"])


@pytest.mark.parametrize("verdict", ["regressed", "improved", "cannot-tell"])
def test_nothing_compared_is_no_success(verdict: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = DiffOptions(["before"], ["nasty"], fail_on=[verdict])
    assert diff(options, opened) == FAILED
    output = capsys.readouterr()
    assert "nothing was compared: no VM is on both sides" in output.err
    assert "cannot tell: VM on one side only: seen before" in output.out
    assert "cannot tell: VM on one side only: seen after" in output.out


def test_a_vm_on_one_side_only_cannot_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = diffed(capsys, "before", "two", fail_on=["cannot-tell"], as_json=True)
    found = json.loads(text)
    rows = [row for row in found["rows"] if (row["reason"] or "").startswith("VM on one side")]
    assert [(row["vm"], row["kind"], row["verdict"]) for row in rows] == [
        ("db", None, "cannot tell")
    ]
    assert found["only_after"] == ["db"] and status == FAILED
    assert diffed(capsys, "before", "two", fail_on=["regressed"])[0] == 0


@pytest.mark.parametrize("other", ["before", "slower", "elsewhere", "blind", "nasty", "two"])
def test_json_is_as_the_schema_says(capsys: pytest.CaptureFixture[str], other: str) -> None:
    _, text = diffed(capsys, "before", other, as_json=True)
    schema = json.loads((DOCS / "diff.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(text), schema)
    assert text.isascii() and text.count("\n") == 1


def test_status_for_ci(capsys: pytest.CaptureFixture[str]) -> None:
    assert diffed(capsys, "before", "slower", fail_on=["regressed"])[0] == FAILED
    assert diffed(capsys, "slower", "before", fail_on=["regressed"])[0] == 0
    assert diffed(capsys, "slower", "before", fail_on=["improved"])[0] == FAILED
    assert diffed(capsys, "before", "blind", fail_on=["cannot-tell"])[0] == FAILED
    assert diffed(capsys, "before", "slower", fail_on=["regressed"], threshold=50.0)[0] == 0


def test_windows_of_one_recording(capsys: pytest.CaptureFixture[str]) -> None:
    windows = {"before_window": "+0s..+50s", "after_window": "+60s..+110s"}
    _, text = diffed(capsys, "before", **windows, as_json=True)
    before, after = (json.loads(text)[side][0] for side in ("before", "after"))
    assert (before["frames"], after["frames"]) == (51, 51)
    assert before["end"] < after["begin"]


def test_several_runs_in_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("before", "renamed"):
        to_file(tmp_path / name, list(recordings()[name].made), HOST)
    (tmp_path / "notes.txt").write_text("no recording")
    diff(DiffOptions([str(tmp_path)], [str(tmp_path / "before")], as_json=True))
    text = capsys.readouterr().out
    assert [len(json.loads(text)[side]) for side in ("before", "after")] == [2, 1]
    (tmp_path / "none").mkdir()
    with pytest.raises(LpttraceError, match="no recording in this directory"):
        diffed(capsys, str(tmp_path / "none"), "slower")


def test_moments_of_windows() -> None:
    begin = START + 500  # 2026-09-21 14:13:20
    minute = 60 * SECOND
    assert parse_window("+90s..+5m", begin) == (begin + 90 * SECOND, begin + 5 * minute)
    assert parse_window("14:14:20..", begin)[0] == START + minute
    assert parse_window("..14:15:20", begin) == (begin, START + 2 * minute)
    assert parse_window("14:13:20..14:14:20", begin)[0] == START
    # The minute in which it begins is not tomorrow's, nor the second.
    assert parse_window("14:13..14:18", begin) == (START - 20 * SECOND, START + 280 * SECOND)
    assert parse_window("14:13..", begin)[0] == START - 20 * SECOND
    assert parse_window("14:00..14:05", begin)[0] == START + 86_400 * SECOND - 800 * SECOND
    assert parse_window("90s..1h", begin) == (begin + 90 * SECOND, begin + 60 * minute)
    day = "2026-09-21T14:14:20"
    assert parse_window(f"{day}Z..{day[:-2]}30", begin) == (
        START + minute,
        START + minute + 10 * SECOND,
    )


@pytest.mark.parametrize("text", ["10:00", "10:00..x", "25:00..26:00", "+5m..+1m", "+x..", "a..b"])
def test_windows_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="cannot use the window"):
        parse_window(text, START)


@pytest.mark.parametrize("name", ["short", "empty"])
def test_too_little_is_said(name: str) -> None:
    with pytest.raises(LpttraceError, match=f"cannot analyse {name}: fewer than two frames"):
        report([name], opener=opened)
    window = DiffOptions([name], ["before"], "+1000s..+2000s")
    with pytest.raises(LpttraceError, match=f"cannot analyse {name}"):
        diff(window, opened)


def test_report_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(["blind"], opener=opened) == 0
    text = capsys.readouterr().out
    assert "host-a: Linux 6.1.0, aarch64, 8 x Cortex-A57, nVHE, counter 25 MHz" in text
    assert "timer traps: no kvm_handle_sys_reg here" in text
    assert "1000 web all 4" in text and "n/a" in text
    report(["nasty"], opener=opened)
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("begin_ns", "no_slot", "lost"), [(0, 53, 3), (0, 3, 3), (SECOND, 3, 3), (SECOND, 53, 53)]
)
def test_losses_of_an_agent_that_began_anew(
    begin_ns: int, no_slot: int, lost: int, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *made = record(17, Plan(seconds=10)).made
    old = replace(first.snapshot, losses={"no_slot": 50, "torn": 7})
    frames = [replace(first, snapshot=old)]
    for frame in made:
        upkeep = replace(frame.snapshot.upkeep, begin_ns=begin_ns)
        new = replace(frame.snapshot, losses={"no_slot": no_slot, "torn": 0}, upkeep=upkeep)
        frames.append(replace(frame, snapshot=new))
    report(["restarted"], opener=lambda _: _opened(Recording(HOST, frames)))
    assert f"\nlosses: no_slot {lost}\n" in capsys.readouterr().out
    before, after = reduce(recordings()["before"]), reduce(Recording(HOST, frames))
    assert before and after
    told = {one.what: one.after for one in compare([before], [after]).difference.hosts}
    assert told == {"losses no_slot": str(lost)}


def test_what_a_file_says_does_no_harm_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report(["hostile"], opener=opened)
    for args in (("hostile",), ("hostile", "before"), ("before", "hostile")):
        diff(DiffOptions(args[:1], args[1:] or args[:1], everything=True), opened)
    text = capsys.readouterr().out
    assert "\\x1b[31m" in text and text.replace("\n", "").isprintable()


def test_report_of_made_up_hosts(capsys: pytest.CaptureFixture[str]) -> None:
    """With LPT in every state, events and answers."""
    now = [100 * SECOND]
    source = SyntheticSource(4, 2, clock=lambda: now[0])
    frames = []
    for second in range(30):
        snapshot = source.read()
        frames.append(
            replace(
                record_frame,
                unix_ns=START + second * SECOND,
                snapshot=snapshot,
                guests=identify(snapshot),
            )
        )
        now[0] += SECOND
    opener: Opener = lambda path: _opened(Recording(HOST, frames))  # noqa: E731
    report(["made-up"], opener=opener)
    text = capsys.readouterr().out
    assert "asked for LPT: refused 2 of 2" in text and "migrated from 62.5 MHz" in text
    assert "LPT update    EINVAL" in text and "everything was seen" in text


record_frame = record(0, Plan(seconds=1, vcpus=1)).made[0]


@contextmanager
def _opened(recording: Recording) -> Iterator[Frames]:
    yield recording


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diff", "a"], "nothing to compare with"),
        (["diff", "a", "--before", "+1s..+2s"], "nothing to compare with"),
        (["diff", "a", "b", "--fail-on", "worse"], "cannot fail on 'worse'"),
        (["report"], "missing argument"),
    ],
)
def test_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_without_the_extra_there_is_one_line_with_the_command() -> None:
    def load(name: str) -> object:
        raise ImportError(f"No module named {name!r}")

    with pytest.raises(MissingExtraError) as raised:
        need(load)
    assert "pip install 'lpttrace[analysis]'" in str(raised.value)
    need()
