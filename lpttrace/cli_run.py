# SPDX-License-Identifier: GPL-2.0-only
"""What `lpttrace top` does, once its options are known."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Optional

from lpttrace.cli_command import Command
from lpttrace.cli_guard import warn
from lpttrace.cli_source import Feed, SourceOptions, feed_of, telling
from lpttrace.model import Model
from lpttrace.model_order import arrange
from lpttrace.model_sampler import Sampler

__all__ = ["Printer", "TopOptions", "on_a_terminal", "top"]

# While COMMAND runs: how often to look which processes are VMs, before they are gone.
_LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class TopOptions:
    """How `lpttrace top` shows them; count is 0 for no end."""

    once: bool = False
    batch: bool = False
    as_json: bool = False
    interval: float = 1.0
    count: int = 0
    sort: str = "vm"
    pattern: str = ""
    vcpus: bool = False
    classes: bool = False
    events: bool = False


def top(source: SourceOptions, options: TopOptions, argv: Sequence[str]) -> int:
    """Full screen on a terminal, else frames on stdout."""
    feed = feed_of(source)
    screen = on_a_terminal() and not (
        options.once or options.batch or options.as_json or options.count
    )
    if not argv:
        return _screen(feed, options, None) if screen else _frames(feed, options, None)
    with Command(argv, capture=screen) as command:
        return (_screen if screen else _frames)(feed, options, command)


def on_a_terminal() -> bool:
    """Whether there is a screen to draw on."""
    terminals = sys.stdin.isatty() and sys.stdout.isatty()
    return terminals and os.environ.get("TERM", "dumb") not in ("", "dumb")


def _screen(feed: Feed, options: TopOptions, command: Optional[Command]) -> int:
    from lpttrace.top import View
    from lpttrace.top_run import run

    view = View(options.interval, options.sort, options.pattern, feed.kind)
    return run(feed.source, feed.identify, view, command)


def _frames(feed: Feed, options: TopOptions, command: Optional[Command]) -> int:
    with feed.source as source:
        for text in feed.source.warnings:
            warn(text)
        read = telling(source.read, warn)
        sampler = Sampler(read, feed.identify, keep=command is not None)
        sampler.next()
        if command is not None:
            command.start()
        return _loop(sampler, Printer(feed.kind, options), options, command)


def _loop(sampler: Sampler, show: Printer, options: TopOptions, command: Optional[Command]) -> int:
    frames = 1 if options.once else options.count
    shown, due = 0, time.monotonic()
    while True:
        # After a stop, go on from now: frames are not made up for.
        due = max(due + options.interval, time.monotonic())
        ended = _wait_until(due, sampler, command)
        if command and options.once and not ended:
            sampler.peek()
            continue
        show(sampler.next())
        shown += 1
        if ended and command:
            return command.status or 0
        if shown == frames:
            return 0


def _wait_until(due: float, sampler: Sampler, command: Optional[Command]) -> bool:
    # True when the command ended before that.
    if command is None:
        time.sleep(max(0.0, due - time.monotonic()))
        return False
    while True:
        left = due - time.monotonic()
        if command.wait(max(0.0, min(left, _LOOK_SECONDS))):
            return True
        if left <= _LOOK_SECONDS:
            return False
        sampler.peek()


class Printer:
    """Writes frames to stdout, each as a whole; kind is that of a feed."""

    def __init__(self, kind: str, options: TopOptions) -> None:
        self._kind = kind
        self._options = options
        self._first = True

    def __call__(self, model: Model, moment: Optional[datetime] = None) -> None:
        """A frame of that moment, or of now."""
        vms = arrange(model.vms, self._options.sort, self._options.pattern)
        now = moment or datetime.now(timezone.utc)
        synthetic = self._kind == "synthetic"
        if self._options.as_json:
            from lpttrace import frame_json

            text = frame_json.encode(model, vms, now, synthetic) + "\n"
        else:
            from lpttrace import frame_text

            title = "" if self._kind == "live" else self._kind
            level = (self._options.vcpus, self._options.classes)
            layout = frame_text.TextOptions(*level, _columns(), title, self._options.events)
            gap = "" if self._first else "\n"
            text = gap + frame_text.frame(model, vms, now, layout)
        self._first = False
        sys.stdout.write(text)
        sys.stdout.flush()


def _columns() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
