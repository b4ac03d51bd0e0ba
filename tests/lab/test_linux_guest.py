# SPDX-License-Identifier: GPL-2.0-only
"""A real Linux guest, and what its timer interrupts cost with the timer that traps and without."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.lab.conftest import REPOSITORY, LabRun

SCRIPT = REPOSITORY / "deploy" / "lab" / "timer_interrupts.py"
SLEEPS = 100
# Longer than the period of the guest's tick, which interrupts too while the guest is busy.
SLEEP_US = 10_000


# What a trap costs its guest besides the service: docs/overhead.md, "What a guest sees of it".
SWITCH_SECONDS = 2.6e-6


@pytest.fixture(scope="module", params=["nvhe", "vhe"])
def mode(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def rows(mode: str, lab: Callable[[list[str], list[str]], LabRun]) -> list[dict[str, Any]]:
    # By instructions: a guest held up by a busy machine sets its timer anew when it fires already.
    options = ["--icount", "--smp", "1", "--mode", mode, "--add", f"{SCRIPT}:/tmp/"]
    arguments = ["--json", "--sleeps", str(SLEEPS), "--sleep-us", str(SLEEP_US)]
    done = lab(options, ["python3", "/tmp/timer_interrupts.py", *arguments])
    assert done.status == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def by_setting(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["setting"]["timer"], row["setting"]["load"]): row for row in rows}


def test_every_sleep_ends_by_an_interrupt_and_never_early(rows: list[dict[str, Any]]) -> None:
    assert len(rows) == 4
    for row in rows:
        assert row["late_ns"]["count"] == SLEEPS
        assert row["late_ns"]["p50"] > 0
        assert row["interrupts"] >= SLEEPS


def test_lpttrace_counts_the_interrupts_that_the_guest_counts(rows: list[dict[str, Any]]) -> None:
    """But for the few between the guest's own looks at its count and the ends of the trace."""
    for row in rows:
        assert abs(row["counted"] - row["interrupts"]) <= 5, row["setting"]


def test_only_emulated_timers_are_seen_late(rows: list[dict[str, Any]], mode: str) -> None:
    for row in rows:
        emulated = mode == "nvhe" and row["setting"]["timer"] == "physical"
        assert (row["due_seconds"] is not None) == emulated


def test_a_timer_is_no_later_than_its_guest_wakes(rows: list[dict[str, Any]], mode: str) -> None:
    """Waking late is the interrupt's lateness, the traps on the way, and the guest's own way.

    The own way is what a guest wakes late by whose timer does not trap. The rest is the lateness,
    with what else the host does for an emulated timer: a tenth of it would be too little.
    """
    if mode == "vhe":
        return
    for load in ("idle", "busy"):
        row, untrapped = (by_setting(rows)[timer, load] for timer in ("physical", "virtual"))
        late, own_way = row["late_ns"]["p50"] / 1e9, untrapped["late_ns"]["p50"] / 1e9
        switches = sum(row["traps"].values()) * SWITCH_SECONDS
        trapping = (row["served_seconds"] + switches) / row["interrupts"]
        assert (late - own_way - trapping) / 10 < row["due_seconds"] < late - own_way


def test_an_idle_guest_sets_its_timer_up_to_three_times(
    rows: list[dict[str, Any]], mode: str
) -> None:
    """By the interrupt's handler, and where Linux stops its tick and starts it again.

    Each time it reads CTL and writes CVAL and CTL; masking is a read and a write of CTL.
    """
    row = by_setting(rows)["physical", "idle"]
    if mode == "vhe":
        assert row["traps"] == {}
        return
    traps, interrupts = row["traps"], row["interrupts"]
    reads, settings = traps["cntp_ctl read"], traps["cntp_cval write"]
    assert set(traps) == {"cntp_ctl read", "cntp_ctl write", "cntp_cval write"}
    assert traps["cntp_ctl write"] == reads
    # Masked once for each interrupt, but for the few at the ends.
    assert abs(reads - settings - interrupts) <= 5
    assert interrupts < settings <= 3 * interrupts


def test_a_busy_guest_traps_five_times_an_interrupt(rows: list[dict[str, Any]], mode: str) -> None:
    """Linux masks the timer (read and write CNTP_CTL), then sets it (read CTL, write CVAL, CTL)."""
    row = by_setting(rows)["physical", "busy"]
    total = sum(row["traps"].values())
    if mode == "vhe":
        assert total == 0
        return
    assert 5 <= total / row["interrupts"] < 6
    assert set(row["traps"]) == {"cntp_ctl read", "cntp_ctl write", "cntp_cval write"}


def test_the_virtual_timer_never_traps(rows: list[dict[str, Any]]) -> None:
    virtual = [row for row in rows if row["setting"]["timer"] == "virtual"]
    assert [row["traps"] for row in virtual] == [{}, {}]
