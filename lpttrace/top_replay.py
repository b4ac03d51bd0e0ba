# SPDX-License-Identifier: GPL-2.0-only
"""The full screen on a recording: play, pause, seek, speed."""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from typing import Callable, Optional

from textual.binding import Binding

from lpttrace.model import Tally, compare, tally
from lpttrace.recording_replay import Player, ReplaySource
from lpttrace.recording_types import Frame
from lpttrace.top import TopApp, View
from lpttrace.top_run import show
from lpttrace.top_screens import HELP

__all__ = ["ReplayApp", "ReplayFeed", "run"]

_NS = 10**9
# However fast it plays, the screen can be read, and not more is decoded than can be shown.
_SHORTEST_NS = 200_000_000
_SPEEDS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_STEP_NS = 10 * _NS

_KEYS = """
 p                       pause, or play on
 ,  .                    a frame back, a frame on
 [  ]                    ten seconds back, on
 {  }                    a tenth of the recording back, on
 -  +                    slower, faster
"""


class ReplayFeed(threading.Thread):
    """Tells an app of the frames of a recording as its time passes."""

    def __init__(self, source: ReplaySource, app: ReplayApp) -> None:
        super().__init__(name="replay", daemon=True)
        self._source, self._app = source, app
        self._changed = threading.Condition()
        self._stopped = False
        self._shown: Optional[tuple[Frame, Tally]] = None

    def run(self) -> None:
        """The thread."""
        try:
            with self._source:
                self._app.attached(self._source.warnings)
                while not self._stopped:
                    self._tell()
                    self._wait()
        except Exception as error:
            self._app.failed(error)

    def _tell(self) -> None:
        cursor = self._source.cursor
        with self._changed:
            position = self._source.player.position_ns
        frame = cursor.at(position)
        if self._shown is None or frame is not self._shown[0]:
            self._shown = frame, self._show(frame, cursor.before)

    def _show(self, frame: Frame, recorded_before: Optional[Frame]) -> Tally:
        # Of the time since the frame shown last; after a seek, since the one recorded before.
        now, before = tally(frame.snapshot), None
        if self._shown is not None and self._continues(self._shown[0], frame):
            before = self._shown[1]
        elif recorded_before is not None:
            before = tally(recorded_before.snapshot)
        moment = datetime.fromtimestamp(frame.unix_ns / _NS, timezone.utc)
        self._app.frame(compare(before, now, frame.guests), None, moment)
        return now

    def _continues(self, last: Frame, frame: Frame) -> bool:
        passed = frame.snapshot.end_ns - last.snapshot.end_ns
        return 0 < passed <= _STEP_NS * max(1.0, self._source.player.speed)

    def _wait(self) -> None:
        with self._changed:
            player, due = self._source.player, self._source.cursor.next_ns
            if self._stopped:
                return
            if player.paused or due is None:
                self._changed.wait()
                return
            left = max(_SHORTEST_NS, round((due - player.position_ns) / player.speed))
            self._changed.wait(min(left, _NS) / _NS)

    def change(self, how: Callable[[Player], None]) -> None:
        """Do something with the time that passes."""
        with self._changed:
            how(self._source.player)
            self._changed.notify()

    def step(self, forward: bool) -> None:
        """Stand at the frame behind, or before."""
        cursor = self._source.cursor
        before = cursor.time_of(cursor.before or cursor.now)
        to = (cursor.next_ns or cursor.time_of(cursor.now)) if forward else before

        def stand(player: Player) -> None:
            player.paused = True
            player.seek(to)

        self.change(stand)

    def stop(self) -> None:
        """Ask it to end."""
        with self._changed:
            self._stopped = True
            self._changed.notify()


class ReplayApp(TopApp):
    """TopApp with a time that one can turn back."""

    BEFORE = "reading…"
    HELP_TEXT = HELP.replace(
        " p                       pause the screen; counting goes on\n", _KEYS[1:]
    )
    BINDINGS = [
        Binding("comma", "step(False)", "Step", key_display=", ."),
        Binding("full_stop", "step(True)", "Step", show=False),
        Binding("left_square_bracket", "seek(-1)", "10 s", key_display="[ ]"),
        Binding("right_square_bracket", "seek(1)", "10 s", show=False),
        Binding("left_curly_bracket", "leap(-1)", "10 %", key_display="{ }"),
        Binding("right_curly_bracket", "leap(1)", "10 %", show=False),
        Binding("minus", "speed(-1)", "Speed", key_display="- +"),
        Binding("plus,equals_sign", "speed(1)", "Speed", show=False),
    ]

    def __init__(self, source: ReplaySource, view: View) -> None:
        super().__init__(view)
        self._player = source.player
        self.feed = ReplayFeed(source, self)

    def pace(self) -> str:
        """Where it is, and how fast that changes."""
        player = self._player
        at, whole = player.position_ns - player.begin_ns, player.end_ns - player.begin_ns
        moment = datetime.fromtimestamp(player.position_ns / _NS, timezone.utc)
        state = "PAUSED" if player.paused else "END" if at == whole else f"x{player.speed:g}"
        return f"{moment:%m-%d %H:%M:%S}Z {_clock(at)}/{_clock(whole)} {state}"

    def _do(self, how: Callable[[Player], None]) -> None:
        self.feed.change(how)
        self._draw()

    def action_pause(self) -> None:
        """Stand, or go on; from the begin if it had ended."""

        def turn(player: Player) -> None:
            if not player.paused and player.position_ns == player.end_ns:
                player.seek(player.begin_ns)
            else:
                player.paused = not player.paused

        self._do(turn)

    def action_step(self, forward: bool) -> None:
        """One frame."""
        self.feed.step(forward)

    def action_seek(self, steps: int) -> None:
        """Ten seconds."""
        self._do(lambda player: player.seek(player.position_ns + steps * _STEP_NS))

    def action_leap(self, steps: int) -> None:
        """A tenth of all there is."""
        tenth = (self._player.end_ns - self._player.begin_ns) // 10
        self._do(lambda player: player.seek(player.position_ns + steps * tenth))

    def action_speed(self, steps: int) -> None:
        """Slower or faster."""
        place = min(range(len(_SPEEDS)), key=lambda n: abs(_SPEEDS[n] - self._player.speed)) + steps
        speed = _SPEEDS[min(max(place, 0), len(_SPEEDS) - 1)]
        self._do(lambda player: setattr(player, "speed", speed))


def _clock(ns: int) -> str:
    minutes, seconds = divmod(ns // _NS, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def run(source: ReplaySource, view: View) -> int:
    """Show the screen until the user quits; the exit status."""

    def make() -> tuple[ReplayApp, ReplayFeed]:
        app = ReplayApp(source, view)
        return app, app.feed

    return show(make)
