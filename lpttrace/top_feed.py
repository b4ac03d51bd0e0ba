# SPDX-License-Identifier: GPL-2.0-only
"""The thread that owns the source while the screen is shown: attach, read, detach."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Mapping
from typing import Callable, Optional, Protocol

from lpttrace.model import Guest, Model
from lpttrace.model_sampler import Sampler
from lpttrace.snapshot import Snapshot, Source, VmKey

__all__ = ["Command", "Feed", "Listener", "WarningSource"]

# More than the objects of a few frames with 512 vCPUs.
_ALLOCATIONS_BETWEEN_COLLECTIONS = 200_000


class WarningSource(Source, Protocol):
    """A source that says what it cannot see."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Known once the context is entered."""


class Command(Protocol):
    """Something to run while counting."""

    def start(self) -> None: ...

    @property
    def status(self) -> Optional[int]: ...


class Listener(Protocol):
    """What a feed tells, from its own thread."""

    def attached(self, warnings: tuple[str, ...]) -> None:
        """Counting has begun."""

    def frame(self, model: Model, command_status: Optional[int]) -> None:
        """One a interval."""

    def failed(self, error: BaseException) -> None:
        """The feed has ended because of this."""


class Feed(threading.Thread):
    """Enters the source, starts the command, and tells the listener a frame an interval."""

    def __init__(
        self,
        source: WarningSource,
        identify: Callable[[Snapshot], Mapping[VmKey, Guest]],
        interval: float,
        command: Optional[Command],
        listener: Listener,
    ) -> None:
        super().__init__(name="feed", daemon=True)
        self._source = source
        self._sampler = Sampler(source.read, identify)
        self._interval = interval
        self._command = command
        self._listener = listener
        self._stop_wanted = threading.Event()

    def run(self) -> None:
        """The thread."""
        try:
            with self._source:
                self._listener.attached(self._source.warnings)
                self._loop()
        except Exception as error:
            self._listener.failed(error)

    def _loop(self) -> None:
        # A frame makes thousands of objects and frees them without the collector's help, which
        # would search all of the screen's objects again and again: a third of the whole cost.
        gc.freeze()
        gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS)
        self._tell()
        if self._command is not None:
            self._command.start()
        due = time.monotonic()
        while True:
            # After a stall (suspended, stopped) the frames missed are not made up for.
            due = max(due + self._interval, time.monotonic())
            if self._stop_wanted.wait(due - time.monotonic()):
                return
            self._tell()

    def _tell(self) -> None:
        model = self._sampler.next()
        self._listener.frame(model, self._command.status if self._command else None)

    def stop(self) -> None:
        """Ask it to detach and end; join() to wait for that."""
        self._stop_wanted.set()
