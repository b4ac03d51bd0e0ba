# SPDX-License-Identifier: GPL-2.0-only
"""The full screen from its begin to its end, with the thread that feeds it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from typing import Callable, Optional, Protocol

from lpttrace.model import Guest
from lpttrace.snapshot import Snapshot, VmKey
from lpttrace.top import TopApp, View
from lpttrace.top_feed import Command, Feed, WarningSource

__all__ = ["Runner", "run", "show"]

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Runner(Protocol):
    """A thread that tells an app of frames."""

    @property
    def ident(self) -> Optional[int]: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def join(self, timeout: Optional[float] = None) -> None: ...

    def is_alive(self) -> bool: ...


def run(
    source: WarningSource,
    identify: Callable[[Snapshot], Mapping[VmKey, Guest]],
    view: View,
    command: Optional[Command],
) -> int:
    """Show the screen until the user quits; the exit status is the command's if it has ended.

    Everything is detached on return. Raises what the source or the command raised.
    """

    def make() -> tuple[TopApp, Feed]:
        app = TopApp(view)
        return app, Feed(source, identify, view.interval, command, app)

    status = show(make)
    return status or (command.status if command else 0) or 0


def show(make: Callable[[], tuple[TopApp, Runner]]) -> int:
    """Show an app that a thread feeds until the user quits; raises what the thread raised."""
    return asyncio.run(_show(make))


async def _show(make: Callable[[], tuple[TopApp, Runner]]) -> int:
    # In here already: on Python 3.9 an App belongs to the loop that runs when it is made.
    app, feed = make()
    # A signal must give the terminal back, so none may end us from the moment it is taken.
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, app.exit, 128 + number)
    app.call_later(feed.start)
    try:
        result = await app.run_async()
    finally:
        _end(feed)
    for warning in app.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if isinstance(result, BaseException):
        raise result
    # Textual shows what went wrong in the screen itself, and only tells by its return code.
    return result or app.return_code or 0


def _end(feed: Runner) -> None:
    feed.stop()
    if feed.ident is None:
        return
    feed.join(1.0)
    if feed.is_alive():
        print("detaching…", file=sys.stderr, flush=True)
        feed.join()
