# SPDX-License-Identifier: GPL-2.0-only
"""The time in a recording, and the screen that shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from typer.testing import CliRunner

from lpttrace.cli_app import app
from lpttrace.recording_format import RecordingError
from lpttrace.recording_reader import Recording
from lpttrace.recording_replay import Cursor, Player, ReplaySource
from lpttrace.top import View
from lpttrace.top_replay import ReplayApp
from tests.unit.recorded import BEGIN, SECOND, Clock, record, synthetic
from tests.unit.test_top import press, settled

FRAMES = synthetic(2, 2, 100)


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    with Recording(str(record(tmp_path / "a", FRAMES))) as opened:
        yield opened


def test_a_cursor_goes_anywhere(recording: Recording) -> None:
    cursor = Cursor(recording)
    assert cursor.now == FRAMES[0] and cursor.before is None
    for second in (0, 1, 2, 50, 49, 51, 99, 3, 0, 22, 21, 11, 98):
        for extra in (0, SECOND // 2):
            assert cursor.at(BEGIN + second * SECOND + extra) == FRAMES[second]
            assert cursor.before == (FRAMES[second - 1] if second else None)
    assert cursor.next_ns == FRAMES[99].unix_ns
    assert cursor.at(BEGIN + 10**6 * SECOND) == FRAMES[99]
    assert cursor.next_ns is None
    assert cursor.at(0) == FRAMES[0]


def test_nothing_to_replay(tmp_path: Path) -> None:
    none = pytest.raises(RecordingError, match="no frame in it: nothing was recorded")
    with Recording(str(record(tmp_path / "a", []))) as recording, none:
        Cursor(recording)


def test_a_player() -> None:
    clock = Clock()
    player = Player(100, 100 + 60 * SECOND, clock=clock)
    clock.ns += SECOND
    assert player.position_ns == 100 + SECOND
    player.speed = 10
    clock.ns += SECOND
    assert player.position_ns == 100 + 11 * SECOND
    player.paused = True
    clock.ns += SECOND
    assert player.position_ns == 100 + 11 * SECOND
    player.seek(5)
    player.paused = False
    clock.ns += SECOND // 10
    assert player.position_ns == 100 + SECOND
    clock.ns += 10 * SECOND
    assert player.position_ns == 100 + 60 * SECOND == player.end_ns


def test_a_source_stays_at_the_end(recording: Recording) -> None:
    clock = Clock()
    with ReplaySource(recording, clock) as source:
        boot = source.unix_time() - FRAMES[0].snapshot.end_ns / SECOND
        for passed, number in ((0, 0), (1, 1), (30, 31), (1000, 99), (1, 99)):
            clock.ns += passed * SECOND
            snapshot = source.read()
            assert snapshot == FRAMES[number].snapshot
            assert source.identify(snapshot) == FRAMES[number].guests
            assert source.unix_time() - snapshot.end_ns / SECOND == pytest.approx(boot, abs=1e-3)
        assert source.warnings == ()


async def shows(app: ReplayApp, pilot: Pilot[Any], text: str) -> str:
    """The screen once it has that."""
    while text not in (seen := await settled(app, pilot)):
        await asyncio.sleep(0.05)
    return seen


async def test_the_screen(recording: Recording) -> None:
    source = ReplaySource(recording, Clock())
    app = ReplayApp(source, View(kind="replay", host="host-1"))
    async with app.run_test(size=(140, 24)) as pilot:
        app.feed.start()
        text = await shows(app, pilot, "1001 synthetic-0")
        assert "lpttrace host-1  REPLAY  09-21 14:13:20Z 0:00/1:39 x1  2 VMs 4 vCPUs" in text
        await press(app, pilot, "full_stop")
        await shows(app, pilot, "14:13:21Z 0:01/1:39 PAUSED")
        # A rate, for there was a frame before.
        assert app.feed.is_alive() and "n/a" not in text
        await press(app, pilot, "right_square_bracket")
        await shows(app, pilot, "0:11/1:39")
        await press(app, pilot, "right_curly_bracket", "comma")
        await shows(app, pilot, "0:19/1:39")
        await press(app, pilot, "left_square_bracket", "left_curly_bracket")
        await shows(app, pilot, "0:00/1:39")
        await press(app, pilot, "p", "plus", "plus")
        await shows(app, pilot, "0:00/1:39 x5")
        await press(app, pilot, "minus")
        await shows(app, pilot, "0:00/1:39 x2")
        assert "a tenth of the recording" in await press(app, pilot, "question_mark")
        app.feed.stop()
    app.feed.join()


async def test_it_plays_to_the_end_and_again(recording: Recording) -> None:
    source = ReplaySource(recording)
    source.player.speed = 1000.0
    app = ReplayApp(source, View(kind="replay"))
    async with app.run_test(size=(140, 24)) as pilot:
        app.feed.start()
        await shows(app, pilot, "1:39/1:39 END")
        source.player.speed = 1.0
        await press(app, pilot, "p")
        await shows(app, pilot, "/1:39 x1")
        app.feed.stop()
    app.feed.join()


async def test_what_is_wrong_with_the_file_is_told(tmp_path: Path) -> None:
    path = record(tmp_path / "a", FRAMES)
    path.write_bytes(path.read_bytes()[:-1])
    with Recording(str(path)) as recording:
        app = ReplayApp(ReplaySource(recording), View(kind="replay"))
        async with app.run_test(size=(140, 24)) as pilot:
            app.feed.start()
            await shows(app, pilot, "1001 synthetic-0")
            assert app.warnings and "is cut off or damaged at byte" in app.warnings[0]
            app.feed.stop()
        app.feed.join()


@pytest.mark.parametrize(("seconds", "told"), [(-3600, "-3600 s"), (28800, "+28800 s")])
def test_a_clock_that_was_set_is_told(tmp_path: Path, seconds: int, told: str) -> None:
    frames = synthetic(1, 1, 100)
    plain = record(tmp_path / "plain.lpt", frames)
    frames[45:] = [replace(f, unix_ns=f.unix_ns + seconds * SECOND) for f in frames[45:]]
    path = record(tmp_path / "set.lpt", frames)
    run = CliRunner().invoke
    found = run(app, ["replay", "--json", "--batch", str(path)])
    assert found.exit_code == 0 and len(found.stdout.splitlines()) == 99
    assert f"set.lpt: the host's clock was set, or it slept ({told})" in found.stderr
    assert run(app, ["replay", "--json", "--batch", str(plain)]).stderr == ""
    with Recording(str(path)) as recording:
        source = ReplaySource(recording)
        assert told in source.warnings[0]
        # All of it is there to be seen, one after the other.
        for number in (0, 44, 45, 46, 99, 3):
            source.player.seek(BEGIN + number * SECOND)
            source.player.paused = True
            assert source.read() == frames[number].snapshot
        source.player.seek(source.player.end_ns)
        assert source.read() == frames[99].snapshot
